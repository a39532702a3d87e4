//! The group `coordination.k8s.io`.

pub mod lease;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[lease::kind];
