//! What makes a claim invalid, in the fields and words that users know: what it asks for stays, but for its size and
//! the class of its attributes once it is bound.

use super::{CLASS, amount};
use crate::core::pod::validate::claim::claim_spec;
use crate::core::pod::validate::{diff, internal};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::{Object, at, remove};
use skiff_api::quantity::Quantity;
use skiff_json::Value;

/// How far the growing of a volume may be.
const RESIZES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

pub fn claim(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    claim_spec(new.at("spec").unwrap_or(&Value::Null), &Path::new("spec"), errors);
    if let Some(old) = old {
        update(new, old, errors);
    }
}

fn update(new: &Object, old: &Object, errors: &mut Errors) {
    let of = |claim: &Object| claim.at("spec").cloned().unwrap_or_default();
    let (mut is, mut was) = (of(new), of(old));
    if text(&was, "volumeName").is_empty() {
        copy(&mut was, &is, "volumeName");
    }
    class(new, old, (&mut is, &was), errors);
    if new.text("status.phase") == "Bound" {
        if entries(&is, "resources.requests").next().is_some() {
            copy(&mut is, &was, "resources.requests.storage");
        }
        copy(&mut is, &was, "volumeAttributesClassName");
    }
    let [was, is] = [was, is].map(|spec| internal::pretty("PersistentVolumeClaimSpec", &spec));
    if is != was {
        let difference = diff::unified(&was, &is);
        let why = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
             bound claims\n{difference}"
        );
        errors.forbidden(&Path::new("spec"), &why);
    }
    size(new, old, errors);
    if new.at("spec.volumeMode") != old.at("spec.volumeMode") {
        let shown = new.at("spec.volumeMode").cloned().unwrap_or(Value::Null);
        errors.invalid(&Path::new("volumeMode"), shown, "field is immutable");
    }
    attributes(new, old, errors);
}

/// Takes a field over from another value; its absence too.
fn copy(to: &mut Value, from: &Value, path: &str) {
    match at(from, path) {
        Some(value) => skiff_api::object::set(to, path, value.clone()),
        None => drop(remove(to, path)),
    }
}

/// The class may move from the annotation that it once was to its field, and may be given to a claim without one.
fn class(new: &Object, old: &Object, (is, was): (&mut Value, &Value), errors: &mut Errors) {
    let [now, before] = [new, old].map(|claim| claim.at("spec.storageClassName"));
    let [noted, before_noted] = [new, old].map(|claim| claim.annotation(CLASS));
    let given = now.and_then(Value::as_str);
    let moved = before_noted.is_some()
        && given == before_noted
        && noted.is_none_or(|_| noted == before_noted);
    if before.is_none() && moved {
        drop(remove(is, "storageClassName"));
        return;
    }
    if noted.unwrap_or("") != before_noted.unwrap_or("") {
        let path = Path::new("metadata.annotations");
        errors.invalid(&path.child(CLASS), noted.unwrap_or(""), "field is immutable");
    }
    if before.is_none() && given.is_some() && before_noted.is_none_or(|class| given == Some(class))
    {
        copy(is, was, "storageClassName");
    }
}

/// It may not shrink, but after a growth that failed to what it has at least.
fn size(new: &Object, old: &Object, errors: &mut Errors) {
    let parse = |text: &str| Quantity::parse(text).unwrap_or_else(|_| Quantity::zero());
    let requests = "spec.resources.requests";
    let (is, was) = (parse(amount(new, requests)), parse(amount(old, requests)));
    if is < was && is <= parse(amount(old, "status.capacity")) {
        let path = Path::new("spec.resources.requests.storage");
        errors.forbidden(&path, "field can not be less than status.capacity");
    }
}

fn attributes(new: &Object, old: &Object, errors: &mut Errors) {
    let path = "spec.volumeAttributesClassName";
    let changed = new.at(path) != old.at(path);
    if !changed || old.at("status.currentVolumeAttributesClassName").is_none() {
        return;
    }
    let what = match new.at(path).and_then(Value::as_str) {
        None => "nil",
        Some("") => "empty string",
        Some(_) => return,
    };
    let why = format!(
        "update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
    );
    errors.forbidden(&Path::new(path), &why);
}

pub fn status(claim: &Object, errors: &mut Errors) {
    if claim.list("spec.accessModes").is_empty() {
        errors.required(&Path::new("Spec.accessModes"), "");
    }
    let null = Value::Null;
    let status = claim.at("status").unwrap_or(&null);
    let path = Path::new("status");
    let negative = |amount: &Value, path: &Path, errors: &mut Errors| {
        let amount = amount.as_str().and_then(|text| Quantity::parse(text).ok());
        if let Some(amount) = amount.filter(Quantity::is_negative) {
            errors.invalid(path, amount.value(), "must be a valid resource quantity");
        }
    };
    for (name, amount) in entries(status, "capacity") {
        negative(amount, &path.child("capacity").key(name), errors);
    }
    let here = path.child("allocatedResourceStatuses");
    for (name, state) in entries(status, "allocatedResourceStatuses") {
        resource(name, &here, errors);
        if !state.as_str().is_some_and(|state| RESIZES.contains(&state)) {
            let mut known = RESIZES.to_vec();
            known.sort_unstable();
            errors.not_supported(&here, name, &known);
        }
    }
    let here = path.child("allocatedResources");
    for (name, amount) in entries(status, "allocatedResources") {
        if resource(name, &here, errors) {
            negative(amount, &here.key(name), errors);
        }
    }
}

/// Of what is Kubernetes' own, only storage can be had; whether that is what was named.
fn resource(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let wrong = names::qualified(name);
    if !wrong.is_empty() {
        refuse(path, name, wrong, errors);
        return false;
    }
    let own = !name.contains('/') || name.contains("kubernetes.io/");
    if own && name != "storage" {
        errors.not_supported(path, name, &["storage"]);
    }
    !own || name == "storage"
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn object(phase: &str, size: &str, more: Value) -> Object {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": size}}});
        for (field, value) in more.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        Object::new(json!({"metadata": {"name": "a"}, "spec": spec,
            "status": {"phase": phase, "capacity": {"storage": "2Gi"}}}))
    }

    fn check(new: &Object, old: &Object) -> String {
        let mut errors = Errors::new();
        claim(new, Some(old), &mut errors);
        errors.text()
    }

    #[test]
    fn only_bound_claims_grow() {
        let small = object("Pending", "3Gi", json!({}));
        let text = check(&object("Pending", "4Gi", json!({})), &small);
        assert!(
            text.starts_with("spec: Forbidden: spec is immutable after creation except "),
            "{text}"
        );
        let small = object("Bound", "3Gi", json!({}));
        assert_eq!(check(&object("Bound", "4Gi", json!({})), &small), "[]");
        assert_eq!(
            check(&object("Bound", "2Gi", json!({})), &small),
            "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
        );
    }

    #[test]
    fn a_volume_and_a_class_are_given_once() {
        let old = object("Pending", "1Gi", json!({}));
        let given = object("Pending", "1Gi", json!({"volumeName": "v", "storageClassName": "c"}));
        assert_eq!(check(&given, &old), "[]");
        let other = object("Pending", "1Gi", json!({"volumeName": "w", "storageClassName": "c"}));
        let text = check(&other, &given);
        assert!(text.contains("\n- \"VolumeName\": \"v\",\n+ \"VolumeName\": \"w\","), "{text}");
    }
}
