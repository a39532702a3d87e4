//! The built-in kinds. One file each; one line in this list each. Routes, discovery, OpenAPI, columns and RBAC names
//! are read off these values.

pub mod apiextensions;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod rbac;
pub mod scheduling;

use crate::kind::Kind;

/// Every built-in kind, in the order in which discovery shows groups; within a group by name.
pub const KINDS: &[fn() -> Kind] = &[
    core::binding::kind,
    core::configmap::kind,
    core::event::kind,
    core::namespace::kind,
    core::node::kind,
    core::pod::kind,
    core::secret::kind,
    core::service::kind,
    core::serviceaccount::kind,
    apps::deployment::kind,
    apps::replicaset::kind,
    events::event::kind,
    authentication::selfsubjectreview::kind,
    authentication::tokenreview::kind,
    authorization::localsubjectaccessreview::kind,
    authorization::selfsubjectaccessreview::kind,
    authorization::selfsubjectrulesreview::kind,
    authorization::subjectaccessreview::kind,
    rbac::clusterrole::kind,
    rbac::clusterrolebinding::kind,
    rbac::role::kind,
    rbac::rolebinding::kind,
    apiextensions::customresourcedefinition::kind,
    scheduling::priorityclass::kind,
    coordination::lease::kind,
    discovery::endpointslice::kind,
];
