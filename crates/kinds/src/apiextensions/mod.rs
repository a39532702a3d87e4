//! The group `apiextensions.k8s.io`.

pub mod customresourcedefinition;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[customresourcedefinition::kind];
