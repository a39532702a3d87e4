//! The batch group, `/apis/batch/v1`.

pub mod cronjob;
pub mod indexes;
pub mod job;
pub mod schedule;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[cronjob::kind, job::kind];
