//! LocalSubjectAccessReview: a SubjectAccessReview within one namespace, so that asking itself can
//! be granted by a role of that namespace (API reference: authorization-resources).

use super::{question, validate_metadata, validate_selectors, validate_spec, validate_subject};
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Hooks, Kind, Review};
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource = Resource::of(
    "authorization.k8s.io",
    "v1",
    "localsubjectaccessreviews",
    "LocalSubjectAccessReview",
);

pub fn kind() -> Kind {
    question(RESOURCE, Review::Access, Hooks { validate, ..Hooks::NONE })
}

pub(super) fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    validate_spec(new, errors);
    validate_subject(new, errors);
    validate_selectors(new, errors);
    let why = "must be empty except for namespace";
    validate_metadata(new, &["managedFields", "namespace"], why, errors);
    let attributes = new.at("spec.resourceAttributes");
    let asked = new.text("spec.resourceAttributes.namespace");
    if attributes.is_some() && asked != new.namespace() {
        let path = Path::new("spec.resourceAttributes.namespace");
        errors.invalid(&path, asked, "must match metadata.namespace");
    }
    if let Some(path) = new.at("spec.nonResourceAttributes") {
        let text = |key| at(path, key).cloned().unwrap_or(Value::from(""));
        let value = json!({"Path": text("path"), "Verb": text("verb")});
        let why = "disallowed on this kind of request";
        errors.invalid(&Path::new("spec.nonResourceAttributes"), value, why);
    }
}
