//! The built-in kinds. One file each; one line in this list each. Routes, discovery, OpenAPI, columns and RBAC names
//! are read off these values.

pub mod core;

use crate::kind::Kind;

/// Every built-in kind, in the order in which discovery shows them.
pub const KINDS: &[fn() -> Kind] = &[
    core::configmap::kind,
    core::namespace::kind,
    core::pod::kind,
    core::secret::kind,
    core::serviceaccount::kind,
];
