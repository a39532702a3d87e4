//! SelfSubjectReview: who am I? `kubectl auth whoami` (API reference: authentication-resources).

use crate::authorization::question;
use skiff_api::kind::{Hooks, Kind, Review};
use skiff_api::view::Resource;

pub const RESOURCE: Resource =
    Resource::of("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview")
        .cluster();

pub fn kind() -> Kind {
    question(RESOURCE, Review::Identity, Hooks::NONE)
}
