//! The group `storagemigration.k8s.io`: stored objects are written anew, as they are written today.

pub mod storageversionmigration;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[storageversionmigration::kind];
