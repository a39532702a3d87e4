//! The group `discovery.k8s.io`.

pub mod endpointslice;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[endpointslice::kind];
