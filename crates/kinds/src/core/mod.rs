//! The core group, `/api/v1`.

pub mod binding;
pub mod componentstatus;
pub mod configmap;
pub mod endpoints;
pub mod event;
pub mod limitrange;
pub mod namespace;
pub mod node;
pub mod persistentvolume;
pub mod persistentvolumeclaim;
pub mod pod;
pub mod podtemplate;
pub mod replicationcontroller;
pub mod resourcequota;
pub mod secret;
pub mod service;
pub mod serviceaccount;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[
    binding::kind,
    componentstatus::kind,
    configmap::kind,
    endpoints::kind,
    event::kind,
    limitrange::kind,
    namespace::kind,
    node::kind,
    persistentvolumeclaim::kind,
    persistentvolume::kind,
    pod::kind,
    podtemplate::kind,
    replicationcontroller::kind,
    resourcequota::kind,
    secret::kind,
    service::kind,
    serviceaccount::kind,
];
