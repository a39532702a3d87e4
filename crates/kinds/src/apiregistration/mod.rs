//! The group `apiregistration.k8s.io`: which groups and versions are served, and by whom.

pub mod apiservice;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[apiservice::kind];
