//! The built-in kinds. One file each; one line in this list each. Routes, discovery, OpenAPI, columns and RBAC names
//! are read off these values.

pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod scheduling;

use crate::kind::Kind;

/// Every built-in kind, in the order in which discovery shows them.
pub const KINDS: &[fn() -> Kind] = &[
    core::configmap::kind,
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
];
