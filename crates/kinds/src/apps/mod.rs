//! The apps group, `/apis/apps/v1`.

pub mod deployment;
pub mod replicaset;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[deployment::kind, replicaset::kind];
