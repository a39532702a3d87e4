//! The group `authentication.k8s.io`: questions about who somebody is, answered at once and stored
//! nowhere (API reference: authentication-resources).

pub mod selfsubjectreview;
pub mod tokenrequest;
pub mod tokenreview;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[selfsubjectreview::kind, tokenreview::kind];
