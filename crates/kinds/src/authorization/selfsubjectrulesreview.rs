//! SelfSubjectRulesReview: what may I do in this namespace? `kubectl auth can-i --list` (API
//! reference: authorization-resources). A help for showing, not for deciding.

use super::question;
use skiff_api::kind::{Hooks, Kind, Review};
use skiff_api::view::Resource;

pub const RESOURCE: Resource =
    Resource::of("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview")
        .cluster();

pub fn kind() -> Kind {
    question(RESOURCE, Review::OwnRules, Hooks::NONE)
}
