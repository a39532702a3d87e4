//! The group `policy`.

pub mod eviction;
pub mod poddisruptionbudget;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[poddisruptionbudget::kind];
