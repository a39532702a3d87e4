//! What workloads share: a number of replicas, a selector, and a template of pods that it selects.

use crate::core::pod::validate;
use crate::core::pod::validate::internal;
use serde_json::Value;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, wide};
use skiff_api::object::{Object, at};
use skiff_api::selector::Selector;
use std::ops::Range;

/// The selector and the template of a workload that keeps its pods running.
pub fn selected_template(spec: &Value, path: &Path, errors: &mut Errors) {
    let here = path.child("selector");
    match at(spec, "selector") {
        None => errors.required(&here, ""),
        Some(selector) => {
            label_selector(spec, "selector", path, errors);
            let empty = list(selector, "matchExpressions").is_empty()
                && entries(selector, "matchLabels").next().is_none();
            if empty {
                let why = "empty selector is invalid for deployment";
                internal::invalid_selector(errors, &here, selector, why);
            }
        }
    }
    let null = Value::Null;
    let template = at(spec, "template").unwrap_or(&null);
    match Selector::from_object(at(spec, "selector")) {
        Err(_) => {
            let selector = at(spec, "selector").unwrap_or(&null);
            internal::invalid_selector(errors, &here, selector, "invalid label selector");
        }
        Ok(selector) => always_running(&selector, template, &path.child("template"), errors),
    }
}

fn always_running(selector: &Selector, template: &Value, path: &Path, errors: &mut Errors) {
    let labels = template.get("metadata").and_then(|metadata| metadata.get("labels"));
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    if !selector.selects_everything() && !selector.matches(label) {
        let shown = labels.cloned().unwrap_or(Value::Null);
        let why = "`selector` does not match template `labels`";
        errors.invalid(&path.child("metadata.labels"), shown, why);
    }
    validate::template(template, path, errors);
    let policy = text(template, "spec.restartPolicy");
    if policy != "Always" {
        errors.not_supported(&path.child("spec.restartPolicy"), policy, &["Always"]);
    }
    if at(template, "spec.activeDeadlineSeconds").is_some() {
        let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(&path.child("spec.activeDeadlineSeconds"), why);
    }
}

/// A selector stays what it was: pods that were selected by another would be lost.
pub fn same_selector(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if old.is_none_or(|old| old.at("spec.selector") == new.at("spec.selector")) {
        return;
    }
    let selector = new.at("spec.selector").unwrap_or(&Value::Null);
    let path = Path::new("spec.selector");
    internal::invalid_selector(errors, &path, selector, "field is immutable");
}

/// What holds of the counts of a workload's status, of which those at `pods` count some of its replicas.
pub fn status(
    status: &Value,
    counts: &[&str],
    pods: Range<usize>,
    path: &Path,
    errors: &mut Errors,
) {
    self::counts(status, counts, path, errors);
    let why = "cannot be greater than status.replicas";
    at_most(status, &counts[pods], "replicas", why, path, errors);
    let why = "cannot be greater than readyReplicas";
    at_most(status, &["availableReplicas"], "readyReplicas", why, path, errors);
}

/// Refuses negative numbers of these fields.
pub fn counts(value: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields {
        not_negative(&path.child(field), int(value, field).unwrap_or(0), errors);
    }
}

/// Refuses fields that are greater than another one.
fn at_most(
    value: &Value,
    fields: &[&str],
    most: &str,
    why: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let most = int(value, most).unwrap_or(0);
    for field in fields {
        let number = int(value, field).unwrap_or(0);
        if number > most {
            errors.invalid(&path.child(field), number, why);
        }
    }
}

/// The columns of `-o wide` that tell what the pods are.
pub fn columns() -> [Column; 3] {
    [
        wide("Containers", Cell::With(|workload| joined(workload, "name"))),
        wide("Images", Cell::With(|workload| joined(workload, "image"))),
        wide("Selector", Cell::With(selector_text)),
    ]
}

fn joined(workload: &Object, field: &str) -> Value {
    let containers = workload.list("spec.template.spec.containers").iter();
    containers.map(|container| text(container, field)).collect::<Vec<_>>().join(",").into()
}

fn selector_text(workload: &Object) -> Value {
    match Selector::from_object(workload.at("spec.selector")) {
        Ok(selector) => selector.to_string().into(),
        Err(_) => "<invalid>".into(),
    }
}
