//! SubjectAccessReview: may this user do that? (API reference: authorization-resources)

use super::{question, validate_metadata, validate_selectors, validate_spec, validate_subject};
use skiff_api::errors::Errors;
use skiff_api::kind::{Hooks, Kind, Review};
use skiff_api::object::Object;
use skiff_api::view::Resource;

pub const RESOURCE: Resource =
    Resource::of("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview")
        .cluster();

pub fn kind() -> Kind {
    question(RESOURCE, Review::Access, Hooks { validate, ..Hooks::NONE })
}

pub(super) fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    validate_spec(new, errors);
    validate_subject(new, errors);
    validate_selectors(new, errors);
    validate_metadata(new, &["managedFields"], "must be empty", errors);
}
