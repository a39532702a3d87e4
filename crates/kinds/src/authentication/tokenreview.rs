//! TokenReview: whose token is this? (API reference: authentication-resources)

use crate::authorization::question;
use skiff_api::kind::{Hooks, Kind, Review};
use skiff_api::view::Resource;

pub const RESOURCE: Resource =
    Resource::of("authentication.k8s.io", "v1", "tokenreviews", "TokenReview").cluster();

pub fn kind() -> Kind {
    question(RESOURCE, Review::Token, Hooks::NONE)
}
