//! DaemonSet: one pod on each node that will have it (API reference: workload-resources).
//!
//! How often its template changed is counted in an annotation, which is the server's: clients of old read it.

use crate::core::pod;
use crate::core::pod::validate::{self, internal};
use crate::workload;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Hooks, Kind, age_column, column, name_column, number, status};
use skiff_api::object::{Object, at};
use skiff_api::selector::Selector;
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource = Resource::of("apps", "v1", "daemonsets", "DaemonSet");

/// The annotation with the number of the template.
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

const NULL: &Value = &Value::Null;

pub fn kind() -> Kind {
    let mut columns = vec![name_column()];
    columns.extend(counts());
    columns.push(column("Node Selector", Cell::With(node_selector)));
    columns.push(age_column());
    columns.extend(workload::columns());
    Kind {
        short: vec!["ds".into()],
        categories: vec!["all".into()],
        subresources: vec![status()],
        columns,
        hooks: Hooks {
            default,
            prepare,
            prepare_part: |_, new, old| number_template(new, Some(old)),
            validate,
            validate_part,
            warn,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn counts() -> [Column; 5] {
    [
        number("Desired", Cell::With(|it| shown(it, "desiredNumberScheduled"))),
        number("Current", Cell::With(|it| shown(it, "currentNumberScheduled"))),
        number("Ready", Cell::With(|it| shown(it, "numberReady"))),
        number("Up-to-date", Cell::With(|it| shown(it, "updatedNumberScheduled"))),
        number("Available", Cell::With(|it| shown(it, "numberAvailable"))),
    ]
}

fn shown(set: &Object, count: &str) -> Value {
    set.at("status").and_then(|status| int(status, count)).unwrap_or(0).into()
}

fn node_selector(set: &Object) -> Value {
    let labels = set.map("spec.template.spec.nodeSelector");
    let mut labels: Vec<String> =
        skiff_api::object::texts(labels).map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    if labels.is_empty() { "<none>".into() } else { labels.join(",").into() }
}

fn default(new: &mut Object) {
    if new.text("spec.updateStrategy.type").is_empty() {
        new.set("spec.updateStrategy.type", "RollingUpdate");
    }
    if new.text("spec.updateStrategy.type") == "RollingUpdate" {
        new.set_absent("spec.updateStrategy.rollingUpdate.maxUnavailable", 1);
        new.set_absent("spec.updateStrategy.rollingUpdate.maxSurge", 0);
    } else if new.at("spec.updateStrategy.rollingUpdate").is_some() {
        new.set_absent("spec.updateStrategy.rollingUpdate.maxUnavailable", 0);
        new.set_absent("spec.updateStrategy.rollingUpdate.maxSurge", 0);
    }
    new.set_absent("spec.revisionHistoryLimit", 10);
    pod::default::template(new);
}

fn prepare(new: &mut Object, old: Option<&Object>) {
    if old.is_none() {
        let fields = ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled"];
        let mut status = json!({"numberReady": 0});
        fields.iter().for_each(|field| status[field] = json!(0));
        new.set("status", status);
    }
    workload::drop_disabled(new, old);
    number_template(new, old);
}

/// One that is no number stays, for validation to refuse it.
fn number_template(new: &mut Object, old: Option<&Object>) {
    let number = |set: &Object| match set.annotation(TEMPLATE_GENERATION) {
        None => Some(0),
        Some(text) => text.parse::<i64>().ok(),
    };
    let (Some(given), before) = (number(new), old.and_then(number).unwrap_or(0)) else { return };
    let number = match old {
        None => given.max(1),
        Some(old) => before + i64::from(new.at("spec.template") != old.at("spec.template")),
    };
    new.annotate(TEMPLATE_GENERATION, &number.to_string());
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    if let Some(number) = new.annotation(TEMPLATE_GENERATION)
        && number.parse::<i64>().is_err()
    {
        let path = Path::new("metadata.annotations");
        errors.invalid(&path.key(TEMPLATE_GENERATION), number, "must be a number of 64 bits");
    }
    workload::same_selector(new, old, errors);
    let spec = new.at("spec").unwrap_or(NULL);
    label_selector(spec, "selector", &path, errors);
    let at_template = path.child("template");
    let template = at(spec, "template").unwrap_or(NULL);
    // One that is not there matches nothing.
    if let Ok(selector) = Selector::from_object(at(spec, "selector")) {
        workload::matching(&selector, template, &at_template, errors);
    }
    workload::empty_selector("daemonset", spec, &path, errors);
    validate::template(template, &at_template, errors);
    workload::endless("DaemonSet", template, &at_template, errors);
    workload::counts(spec, &["minReadySeconds"], &path, errors);
    let update = at(spec, "updateStrategy").unwrap_or(NULL);
    strategy(update, &path.child("updateStrategy"), errors);
    workload::counts(spec, &["revisionHistoryLimit"], &path, errors);
}

fn strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    let here = path.child("rollingUpdate");
    match (text(strategy, "type"), at(strategy, "rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.required(&here, ""),
        ("RollingUpdate", Some(update)) => rolling_update(update, &here, errors),
        _ => {
            let known = "\"RollingUpdate\", \"OnDelete\"";
            internal::not_supported(errors, path, "DaemonSetUpdateStrategy", strategy, known);
        }
    }
}

fn rolling_update(update: &Value, path: &Path, errors: &mut Errors) {
    let fields = ["maxUnavailable", "maxSurge"];
    let paths = fields.map(|field| path.child(field));
    let amounts = fields.map(|field| at(update, field).cloned().unwrap_or(0.into()));
    let each = || amounts.iter().zip(&paths);
    each().for_each(|(amount, path)| workload::amount(amount, path, errors));
    each().for_each(|(amount, path)| workload::at_most_all(amount, path, errors));
    let [unavailable, surge] = &amounts;
    match (workload::none(unavailable), workload::none(surge)) {
        (false, false) => {
            let why = "may not be set when maxUnavailable is non-zero";
            errors.invalid(&paths[1], surge.clone(), why);
        }
        (true, true) => errors.required(&paths[0], "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

fn validate_part(_: &str, new: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::new("status");
    let Some(status) = new.at("status") else { return };
    let counts = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    workload::counts(status, &counts, &path, errors);
    workload::collisions(status, old, &path, errors);
}

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    match old {
        Some(old) if old.at("spec.template") == new.at("spec.template") => Vec::new(),
        _ => pod::warn::template_at("spec.template", new, old),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(more: Value) -> Object {
        let mut spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]}}});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let mut it = Object::new(json!({"metadata": {"name": "a"}, "spec": spec}));
        default(&mut it);
        it
    }

    fn check(more: Value) -> String {
        let mut errors = Errors::new();
        validate(&set(more), None, &mut errors);
        errors.text()
    }

    #[test]
    fn either_surges_or_misses_some() {
        let of = |update: Value| check(json!({"updateStrategy": {"rollingUpdate": update}}));
        assert_eq!(of(json!({})), "[]");
        assert_eq!(of(json!({"maxUnavailable": 0, "maxSurge": "10%"})), "[]");
        let path = "spec.updateStrategy.rollingUpdate";
        assert_eq!(
            of(json!({"maxSurge": 1})),
            format!(
                "{path}.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"
            )
        );
        assert_eq!(
            of(json!({"maxUnavailable": 0})),
            format!("{path}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0")
        );
    }

    #[test]
    fn templates_are_numbered() {
        let mut first = set(json!({}));
        prepare(&mut first, None);
        assert_eq!(first.annotation(TEMPLATE_GENERATION), Some("1"));
        let mut second = first.clone();
        second.set("spec.template.spec.hostNetwork", true);
        second.annotate(TEMPLATE_GENERATION, "9");
        prepare(&mut second, Some(&first));
        assert_eq!(second.annotation(TEMPLATE_GENERATION), Some("2"));
    }
}
