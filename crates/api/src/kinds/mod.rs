//! The built-in kinds. One file each; one line in this list each. Routes, discovery, OpenAPI, columns and RBAC names
//! are read off these values.

<<<<<<< HEAD
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod scheduling;
=======
pub mod authentication;
pub mod authorization;
pub mod core;
pub mod rbac;
>>>>>>> main

use crate::kind::Kind;

/// Every built-in kind, in the order in which discovery shows them.
pub const KINDS: &[fn() -> Kind] = &[
    core::configmap::kind,
<<<<<<< HEAD
    core::event::kind,
    core::namespace::kind,
    core::node::kind,
    core::secret::kind,
    core::service::kind,
    core::serviceaccount::kind,
    coordination::lease::kind,
    discovery::endpointslice::kind,
    events::event::kind,
    scheduling::priorityclass::kind,
=======
    core::namespace::kind,
    core::secret::kind,
    core::serviceaccount::kind,
    authentication::selfsubjectreview::kind,
    authentication::tokenreview::kind,
    authorization::localsubjectaccessreview::kind,
    authorization::selfsubjectaccessreview::kind,
    authorization::selfsubjectrulesreview::kind,
    authorization::subjectaccessreview::kind,
    rbac::clusterrolebinding::kind,
    rbac::clusterrole::kind,
    rbac::rolebinding::kind,
    rbac::role::kind,
>>>>>>> main
];
