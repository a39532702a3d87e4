//! The group `certificates.k8s.io`: certificates for keys that others made.

pub mod certificatesigningrequest;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[certificatesigningrequest::kind];
