//! The group `scheduling.k8s.io`.

pub mod priorityclass;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[priorityclass::kind];
