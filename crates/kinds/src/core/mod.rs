//! The core group, `/api/v1`.

pub mod binding;
pub mod configmap;
pub mod event;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod secret;
pub mod service;
pub mod serviceaccount;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[
    binding::kind,
    configmap::kind,
    event::kind,
    namespace::kind,
    node::kind,
    pod::kind,
    secret::kind,
    service::kind,
    serviceaccount::kind,
];
