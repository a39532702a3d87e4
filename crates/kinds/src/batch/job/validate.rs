//! What is checked of a Job, and of the Jobs that a CronJob makes.

use super::{NAME_LABELS, UID_LABELS, idle, policy};
use crate::core::pod::validate as pods;
use crate::core::pod::validate::internal;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::{Object, at};
use skiff_api::selector::Selector;
use skiff_json::Value;

/// So many indexes can be in `completedIndexes` or `failedIndexes` without making a status too large.
const INDEXES_MOST: i64 = 100_000;
/// The bounds of those that are many and have limits each.
const FEWER_MOST: i64 = 10_000;
const MANAGER_MOST: usize = 63;

/// The hook of Jobs.
pub fn job(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let Some(spec) = new.at("spec") else { return };
    if old.is_none() {
        generated_selector(new, errors);
    }
    job_spec(spec, &path, errors);
    selector(spec, &path, errors);
    if let Some(old) = old {
        let null = Value::Null;
        update(spec, old.at("spec").unwrap_or(&null), idle(old), errors);
    }
    host_names(new, errors);
}

/// That a generated selector is whole: the template has the labels, and they match.
fn generated_selector(job: &Object, errors: &mut Errors) {
    if job.flag("spec.manualSelector") {
        return;
    }
    let labels = job.map("spec.template.metadata.labels");
    let metadata = Path::new("spec.template.metadata");
    let path = metadata.child("labels");
    let expected = [
        (UID_LABELS[0], job.uid()),
        (NAME_LABELS[0], job.name()),
        (UID_LABELS[1], job.uid()),
        (NAME_LABELS[1], job.name()),
    ];
    for (label, value) in expected {
        let why = format!("must be '{value}'");
        match labels.get(label) {
            None => errors.required(&path.key(label), &why),
            Some(found) if found == value => {}
            Some(_) => errors.invalid(&path.key(label), labels.clone(), &why),
        }
    }
    let Some(selector) = job.at("spec.selector") else { return };
    let value = |key: &str| expected.iter().find(|(label, _)| *label == key).map(|it| it.1);
    if Selector::from_object(Some(selector)).is_ok_and(|selector| !selector.matches(value)) {
        let path = Path::new("spec.selector");
        internal::invalid_selector(errors, &path, selector, "`selector` not auto-generated");
    }
}

/// The selector, and that it matches the template.
fn selector(spec: &Value, path: &Path, errors: &mut Errors) {
    if at(spec, "selector").is_none() {
        errors.required(&path.child("selector"), "");
    }
    label_selector(spec, "selector", path, errors);
    let labels = at(spec, "template.metadata.labels");
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let selector = match at(spec, "selector") {
        Some(selector) => Selector::from_object(Some(selector)),
        None => return not_selected(labels, path, errors),
    };
    if selector.is_ok_and(|selector| !selector.matches(label)) {
        not_selected(labels, path, errors);
    }
}

fn not_selected(labels: Option<&Value>, path: &Path, errors: &mut Errors) {
    let shown = labels.cloned().unwrap_or(Value::Null);
    let why = "`selector` does not match template `labels`";
    errors.invalid(&path.child("template.metadata.labels"), shown, why);
}

/// The spec of a Job or of a CronJob's Jobs, without its selector.
pub fn job_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    numbers(spec, path, errors);
    if let Some(manager) = at(spec, "managedBy").and_then(Value::as_str) {
        let path = path.child("managedBy");
        domain_prefixed(&path, manager, errors);
        if manager.len() > MANAGER_MOST {
            errors.too_long(&path, MANAGER_MOST);
        }
    }
    match at(spec, "completionMode").and_then(Value::as_str) {
        Some("Indexed") => indexed(spec, path, errors),
        Some("NonIndexed") | None => not_indexed(spec, path, errors),
        Some(mode) => {
            errors.not_supported(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
        }
    }
    policy::failure(spec, path, errors);
    policy::success(spec, path, errors);
    policy::replacement(spec, path, errors);
    let null = Value::Null;
    pods::template(at(spec, "template").unwrap_or(&null), &path.child("template"), errors);
    restart_policy(spec, path, errors);
}

fn numbers(spec: &Value, path: &Path, errors: &mut Errors) {
    let fields = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    for field in fields {
        if let Some(number) = int(spec, field) {
            not_negative(&path.child(field), number, errors);
        }
    }
    if at(spec, "maxFailedIndexes").is_some() && at(spec, "backoffLimitPerIndex").is_none() {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
}

fn indexed(spec: &Value, path: &Path, errors: &mut Errors) {
    let [completions, parallelism, failed] =
        ["completions", "parallelism", "maxFailedIndexes"].map(|field| int(spec, field));
    let over = |number: Option<i64>, most| number.filter(|number| *number > most);
    if completions.is_none() {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
    }
    let parallel = path.child("parallelism");
    if let Some(number) = over(parallelism, INDEXES_MOST) {
        let why =
            format!("must be less than or equal to {INDEXES_MOST} when completion mode is Indexed");
        errors.invalid(&parallel, number, &why);
    }
    let failing = path.child("maxFailedIndexes");
    if let Some(number) = over(failed, completions.unwrap_or(i64::MAX)) {
        errors.invalid(&failing, number, "must be less than or equal to completions");
    }
    if let Some(number) = over(failed, INDEXES_MOST) {
        errors.invalid(&failing, number, &format!("must be less than or equal to {INDEXES_MOST}"));
    }
    if over(completions, INDEXES_MOST).is_none() || at(spec, "backoffLimitPerIndex").is_none() {
        return;
    }
    if failed.is_none() {
        let why = format!("must be specified when completions is above {INDEXES_MOST}");
        errors.required(&failing, &why);
    }
    let why = format!(
        "must be less than or equal to {FEWER_MOST} when completions are above {INDEXES_MOST} and used with backoff \
         limit per index"
    );
    for (path, number) in [(&parallel, parallelism), (&failing, failed)] {
        if let Some(number) = over(number, FEWER_MOST) {
            errors.invalid(path, number, &why);
        }
    }
}

fn not_indexed(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if let Some(number) = int(spec, field) {
            errors.invalid(&path.child(field), number, "requires indexed completion mode");
        }
    }
}

fn restart_policy(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("template.spec.restartPolicy");
    match text(spec, "template.spec.restartPolicy") {
        "Always" | "" => errors.required(&path, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" if at(spec, "podFailurePolicy").is_none() => {}
        "OnFailure" => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(&path, "OnFailure", why);
        }
        policy => errors.not_supported(&path, policy, &["OnFailure", "Never"]),
    }
}

/// The pods of an indexed Job are called after it on the network too, so its longest name must be one there.
fn host_names(job: &Object, errors: &mut Errors) {
    let completions = job.int("spec.completions").filter(|it| *it > 0);
    let (Some(completions), "Indexed") = (completions, job.text("spec.completionMode")) else {
        return;
    };
    let longest = format!("{}-{}", job.name(), completions - 1);
    if !names::label(&longest).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {longest}");
        errors.invalid(&Path::new("metadata.name"), job.name(), &why);
    }
}

/// `idle`: the template's resources and what steers its pods may change.
fn update(new: &Value, old: &Value, idle: bool, errors: &mut Errors) {
    let spec = Path::new("spec");
    let null = Value::Null;
    let changed = |field: &str| {
        let new = at(new, field).unwrap_or(&null);
        (new != at(old, field).unwrap_or(&null)).then_some(new)
    };
    let structure = |field: &str, name: &str, errors: &mut Errors| match changed(field) {
        None => {}
        Some(Value::Null) => {
            errors.invalid(&spec.child(field), Value::Null, "field is immutable");
        }
        Some(new) => internal::invalid(errors, &spec.child(field), name, new, "field is immutable"),
    };
    let scalar = |field: &str, errors: &mut Errors| {
        if let Some(new) = changed(field) {
            errors.invalid(&spec.child(field), new.clone(), "field is immutable");
        }
    };
    match (text(new, "completionMode"), changed("completions")) {
        ("Indexed", Some(count))
            if !count.is_null() && int(new, "parallelism") != count.as_i64() =>
        {
            let why = "can only be modified in tandem with spec.parallelism";
            errors.invalid(&spec.child("completions"), count.clone(), why);
        }
        ("Indexed", _) => {}
        _ => scalar("completions", errors),
    }
    if let Some(selector) = changed("selector") {
        internal::invalid_selector(errors, &spec.child("selector"), selector, "field is immutable");
    }
    match idle {
        true => idle_template(new, old, errors),
        false => structure("template", "PodTemplateSpec", errors),
    }
    scalar("completionMode", errors);
    structure("podFailurePolicy", "PodFailurePolicy", errors);
    scalar("backoffLimitPerIndex", errors);
    scalar("managedBy", errors);
    structure("successPolicy", "SuccessPolicy", errors);
}

/// The template of an idle Job: labels and annotations may change, and of its pods the resources and what says where
/// they run (KEP-2926, KEP-5440).
fn idle_template(new: &Value, old: &Value, errors: &mut Errors) {
    let null = Value::Null;
    let (new, old) = (at(new, "template.spec").unwrap_or(&null), at(old, "template.spec"));
    let mut old = old.cloned().unwrap_or(Value::Null);
    for field in ["nodeSelector", "tolerations", "schedulingGates", "affinity.nodeAffinity"] {
        take_over(new, &mut old, field);
    }
    if at(&old, "affinity").and_then(Value::as_object).is_some_and(|it| it.is_empty())
        && at(new, "affinity").is_none()
    {
        skiff_api::object::remove(&mut old, "affinity");
    }
    for containers in ["containers", "initContainers"] {
        let new = list(new, containers);
        let Some(old) = old.get_mut(containers).and_then(Value::as_array_mut) else { continue };
        if new.len() == old.len() {
            for (new, old) in new.iter().zip(old) {
                if text(new, "name") == text(old, "name") {
                    take_over(new, old, "resources");
                }
            }
        }
    }
    if *new != old {
        let path = Path::new("spec.template.spec");
        internal::invalid(errors, &path, "PodSpec", new, "field is immutable");
    }
}

/// Makes a field what it is elsewhere.
fn take_over(from: &Value, to: &mut Value, field: &str) {
    match at(from, field) {
        Some(value) => skiff_api::object::set(to, field, value.clone()),
        None => drop(skiff_api::object::remove(to, field)),
    }
}
