//! The group `autoscaling`.

pub mod horizontalpodautoscaler;

use horizontalpodautoscaler::v1;
use skiff_api::kind::Kind;

/// The kinds of the group; the face that is stored comes first.
pub const KINDS: &[fn() -> Kind] = &[horizontalpodautoscaler::kind, v1::kind];
