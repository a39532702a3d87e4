//! What workloads share: a number of replicas, a selector, and a template of pods that it selects.

use crate::core::pod::validate::internal;
use crate::core::pod::{self, validate};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, wide};
use skiff_api::object::{Object, at, at_mut};
use skiff_api::selector::Selector;
use skiff_json::Value;
use std::ops::Range;

/// The selector and the template of a workload that keeps its pods running.
pub fn selected_template(spec: &Value, path: &Path, errors: &mut Errors) {
    let here = path.child("selector");
    match at(spec, "selector") {
        None => errors.required(&here, ""),
        Some(_) => {
            label_selector(spec, "selector", path, errors);
            empty_selector("deployment", spec, path, errors);
        }
    }
    let null = Value::Null;
    let template = at(spec, "template").unwrap_or(&null);
    match Selector::from_object(at(spec, "selector")) {
        Err(_) => {
            let selector = at(spec, "selector").unwrap_or(&null);
            internal::invalid_selector(errors, &here, selector, "invalid label selector");
        }
        Ok(selector) => {
            always_running("ReplicaSet", &selector, template, &path.child("template"), errors);
        }
    }
}

/// The template of a workload that keeps its pods running; `owner` is what refusals call it.
pub fn always_running(
    owner: &str,
    selector: &Selector,
    template: &Value,
    path: &Path,
    errors: &mut Errors,
) {
    if !selector.selects_everything() {
        matching(selector, template, path, errors);
    }
    validate::template(template, path, errors);
    endless(owner, template, path, errors);
}

/// The labels of the template are such as the selector asks for.
pub fn matching(selector: &Selector, template: &Value, path: &Path, errors: &mut Errors) {
    let labels = template.get("metadata").and_then(|metadata| metadata.get("labels"));
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    if !selector.matches(label) {
        let shown = labels.cloned().unwrap_or(Value::Null);
        let why = "`selector` does not match template `labels`";
        errors.invalid(&path.child("metadata.labels"), shown, why);
    }
}

/// Pods of such a workload never end by themselves.
pub fn endless(kind: &str, template: &Value, path: &Path, errors: &mut Errors) {
    let policy = text(template, "spec.restartPolicy");
    if policy != "Always" {
        errors.not_supported(&path.child("spec.restartPolicy"), policy, &["Always"]);
    }
    if at(template, "spec.activeDeadlineSeconds").is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&path.child("spec.activeDeadlineSeconds"), &why);
    }
}

/// Refuses a selector that is there and selects everything.
pub fn empty_selector(kind: &str, spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(selector) = at(spec, "selector") else { return };
    let empty = list(selector, "matchExpressions").is_empty()
        && entries(selector, "matchLabels").next().is_none();
    if empty {
        let why = format!("empty selector is invalid for {kind}");
        internal::invalid_selector(errors, &path.child("selector"), selector, &why);
    }
}

/// Removes what is behind feature gates from the template, unless it was there before.
pub fn drop_disabled(new: &mut Object, old: Option<&Object>) {
    drop_disabled_at("spec.template.spec", new, old);
}

/// The same where the spec of the pods is elsewhere.
pub fn drop_disabled_at(path: &str, new: &mut Object, old: Option<&Object>) {
    let before = old.and_then(|old| old.at(path)).cloned();
    if let Some(spec) = at_mut(new.value_mut(), path) {
        pod::prepare::drop_disabled(spec, before.as_ref());
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

/// The number of a share like `25%`.
fn percent(amount: &Value) -> Option<i64> {
    let digits = amount.as_str()?.strip_suffix('%')?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// Whether an amount asks for nothing; a text that is no share counts by its number.
pub fn none(amount: &Value) -> bool {
    let number = || amount.as_i64().or_else(|| amount.as_str()?.parse().ok());
    percent(amount).or_else(number).unwrap_or(0) == 0
}

/// Refuses a share of more than everything.
pub fn at_most_all(amount: &Value, path: &Path, errors: &mut Errors) {
    if percent(amount).is_some_and(|percent| percent > 100) {
        errors.invalid(path, amount.clone(), "must not be greater than 100%");
    }
}

/// A number that is not negative, or a share.
pub fn amount(amount: &Value, path: &Path, errors: &mut Errors) {
    if let Some(number) = amount.as_i64() {
        not_negative(path, number, errors);
    } else if percent(amount).is_none() {
        let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                   regex used for validation is '[0-9]+%')";
        errors.invalid(path, amount.clone(), why);
    }
}

/// The count of collisions only goes up.
pub fn collisions(status: &Value, old: &Object, path: &Path, errors: &mut Errors) {
    let collisions = int(status, "collisionCount").unwrap_or(0);
    if old.int("status.collisionCount").is_some_and(|before| collisions < before) {
        errors.invalid(&path.child("collisionCount"), collisions, "cannot be decremented");
    }
}

/// Refuses negative numbers of these fields.
pub fn counts(value: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields {
        not_negative(&path.child(field), int(value, field).unwrap_or(0), errors);
    }
}

/// Refuses fields that are greater than another one.
pub fn at_most(
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
        wide("Containers", Cell::With(|workload| joined(workload, "spec.template", "name"))),
        wide("Images", Cell::With(|workload| joined(workload, "spec.template", "image"))),
        wide("Selector", Cell::With(|workload| selector_text(workload, "spec.selector"))),
    ]
}

/// A field of all containers of the template at a path.
pub fn joined(workload: &Object, template: &str, field: &str) -> Value {
    let containers = workload.list(&format!("{template}.spec.containers")).iter();
    containers.map(|container| text(container, field)).collect::<Vec<_>>().join(",").into()
}

/// The selector at a path; one that is not there selects nothing.
pub fn selector_text(workload: &Object, path: &str) -> Value {
    let Some(selector) = workload.at(path) else { return "<none>".into() };
    match Selector::of(Some(selector)) {
        Ok(selector) => selector.to_string().into(),
        Err(_) => "<invalid>".into(),
    }
}
