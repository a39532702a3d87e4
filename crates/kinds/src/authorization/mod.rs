//! The group `authorization.k8s.io`: questions about rights, answered at once and stored nowhere.
//! The answers come from the server's authorizer; here is what a well-formed question is (API
//! reference: authorization-resources).

pub mod localsubjectaccessreview;
pub mod selfsubjectaccessreview;
pub mod selfsubjectrulesreview;
pub mod subjectaccessreview;

use super::rbac::plain_columns;
use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Backend, Hooks, Kind, Review, Verb};
use skiff_api::object::{Object, at};
use skiff_api::selector::label_value_problems;
use skiff_api::view::Resource;
use skiff_json::{Map, Value, json};

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[
    localsubjectaccessreview::kind,
    selfsubjectaccessreview::kind,
    selfsubjectrulesreview::kind,
    subjectaccessreview::kind,
];

/// A kind of question.
pub(crate) fn question(resource: Resource, review: Review, hooks: Hooks) -> Kind {
    Kind {
        backend: Backend::Answered(review),
        verbs: Verb::CREATE,
        columns: plain_columns(),
        hooks,
        ..Kind::new(resource)
    }
}

/// Exactly one of the two sorts of attributes, and selectors that make sense.
fn validate_spec(new: &Object, errors: &mut Errors) {
    let spec = Path::new("spec");
    let path = new.at("spec.nonResourceAttributes");
    if new.at("spec.resourceAttributes").is_some() == path.is_some() {
        let text = |key| at(path.unwrap_or(&Value::Null), key).cloned().unwrap_or("".into());
        // The value is shown under the names that its fields have in Go.
        let value = match path {
            Some(_) => json!({"Path": text("path"), "Verb": text("verb")}),
            None => Value::Null,
        };
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.invalid(&spec, value, why);
    }
}

/// The selectors of the attributes (KEP-4601).
fn validate_selectors(new: &Object, errors: &mut Errors) {
    let attributes = Path::new("spec.resourceAttributes");
    for field in ["fieldSelector", "labelSelector"] {
        let Some(selector) = new.at(&format!("spec.resourceAttributes.{field}")) else { continue };
        let path = attributes.child(field);
        let raw = at(selector, "rawSelector").and_then(Value::as_str).unwrap_or("");
        let all = at(selector, "requirements").and_then(Value::as_array);
        let all = all.map_or(&[][..], Vec::as_slice);
        if !raw.is_empty() && !all.is_empty() {
            let why = "may not specified at the same time as requirements";
            errors.invalid(&path.child("rawSelector"), raw, why);
        }
        if raw.is_empty() && all.is_empty() {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.required(&path.child("requirements"), &why);
        }
        let requirements = path.child("requirements");
        for (index, requirement) in all.iter().enumerate() {
            let here = requirements.index(index);
            validate_requirement(&here, requirement, field == "labelSelector", errors);
        }
    }
}

fn validate_requirement(path: &Path, requirement: &Value, label: bool, errors: &mut Errors) {
    let text = |key: &str| at(requirement, key).and_then(Value::as_str).unwrap_or("");
    let given = at(requirement, "values").and_then(Value::as_array).is_some_and(|v| !v.is_empty());
    let values = path.child("values");
    match text("operator") {
        "In" | "NotIn" if !given => {
            errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if given => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(&values, why);
        }
        // Operators that are not known here only make the question broader.
        _ => {}
    }
    if label {
        let given = at(requirement, "values").and_then(Value::as_array).into_iter().flatten();
        for (index, value) in given.filter_map(Value::as_str).enumerate() {
            for why in label_value_problems(value) {
                errors.invalid(&values.index(index), value, &why);
            }
        }
        check::qualified(&path.child("key"), text("key"), errors);
    } else if text("key").is_empty() {
        errors.required(&path.child("key"), "must be specified");
    }
}

fn validate_subject(new: &Object, errors: &mut Errors) {
    if new.text("spec.user").is_empty() && new.list("spec.groups").is_empty() {
        let why = "at least one of user or group must be specified";
        errors.invalid(&Path::new("spec.user"), "", why);
    }
}

/// A question has no metadata of its own, but perhaps a namespace.
fn validate_metadata(new: &Object, allowed: &[&str], why: &str, errors: &mut Errors) {
    let given: Map = new
        .map("metadata")
        .iter()
        .filter(|(key, value)| !value.is_null() && !allowed.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !given.is_empty() {
        let value = new.at("metadata").cloned().unwrap_or(Value::Null);
        errors.invalid(&Path::new("metadata"), value, why);
    }
}

#[cfg(test)]
mod tests;
