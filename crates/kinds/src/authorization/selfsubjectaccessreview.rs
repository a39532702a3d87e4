//! SelfSubjectAccessReview: may I do that? `kubectl auth can-i` (API reference:
//! authorization-resources).

use super::{question, validate_metadata, validate_selectors, validate_spec};
use skiff_api::errors::Errors;
use skiff_api::kind::{Hooks, Kind, Review};
use skiff_api::object::Object;
use skiff_api::view::Resource;

pub const RESOURCE: Resource = Resource::of(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
)
.cluster();

pub fn kind() -> Kind {
    question(RESOURCE, Review::OwnAccess, Hooks { validate, ..Hooks::NONE })
}

pub(super) fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    validate_spec(new, errors);
    validate_selectors(new, errors);
    validate_metadata(new, &["managedFields"], "must be empty", errors);
}
