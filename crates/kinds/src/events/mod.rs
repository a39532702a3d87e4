//! The group `events.k8s.io`.

pub mod event;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[event::kind];
