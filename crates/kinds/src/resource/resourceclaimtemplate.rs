//! ResourceClaimTemplate: the claim that is made for each pod that names it (API reference: workload-resources).

use super::{GROUP, claim, declared, gated, resourceclaim, warn};
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Hooks, Kind};
use skiff_api::meta;
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource =
    Resource::of(GROUP, "v1", "resourceclaimtemplates", "ResourceClaimTemplate");

pub fn kind() -> Kind {
    Kind {
        hooks: Hooks {
            default: |new| resourceclaim::default(new, "spec.spec"),
            prepare: |new, old| gated::drop_claim(new, old, "spec.spec"),
            validate,
            warn,
            ..Hooks::NONE
        },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let metadata = path.child("metadata");
    let annotations = new.map("spec.metadata.annotations");
    meta::validate_annotations(&metadata.child("annotations"), annotations, errors);
    meta::validate_labels(&metadata.child("labels"), new.map("spec.metadata.labels"), errors);
    for field in ["name", "generateName", "namespace", "ownerReferences", "finalizers"] {
        let found = new.at(&format!("spec.metadata.{field}"));
        if found.is_some_and(|it| *it != *"" && it.as_array().is_none_or(|list| !list.is_empty())) {
            errors.forbidden(&metadata.child(field), "cannot be set");
        }
    }
    let spec = new.at("spec.spec").unwrap_or(&Value::Null);
    claim::validate(spec, &path.child("spec"), errors);
    if old.is_some_and(|old| old.at("spec") != new.at("spec")) {
        let spec = new.at("spec").cloned().unwrap_or_default();
        errors.invalid(&path, spec, "field is immutable");
    }
    declared::validate("ResourceClaimTemplate", new, old, errors);
}
