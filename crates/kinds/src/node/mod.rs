//! The group `node.k8s.io`.

pub mod runtimeclass;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[runtimeclass::kind];
