//! ReplicationController: what ReplicaSets were before them; it selects by a plain map of labels (API reference:
//! workload-resources).

use crate::apps::replicaset;
use crate::core::pod;
use crate::workload;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Hooks, Kind, NameRule, Unsaid, scale, status};
use skiff_api::object::{Object, at, texts};
use skiff_api::selector::Selector;
use skiff_api::view::Resource;
use skiff_json::{Map, Value};

pub const RESOURCE: Resource = Resource::core("replicationcontrollers", "ReplicationController");

pub fn kind() -> Kind {
    Kind {
        short: vec!["rc".into()],
        categories: vec!["all".into()],
        subresources: vec![scale(), status()],
        columns: replicaset::columns(),
        selectable: vec!["status.replicas".into()],
        converts_fields: true,
        unsaid: Unsaid::Orphan,
        name_rule: NameRule::LongName,
        hooks: Hooks {
            default,
            prepare,
            validate,
            validate_part,
            warn: pod::warn::workload,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

/// Without a selector it selects what its template makes, and without labels it has those.
fn default(new: &mut Object) {
    if new.at("spec.template").is_none() {
        return;
    }
    pod::default::template(new);
    let labels = new.map("spec.template.metadata.labels").clone();
    for path in ["spec.selector", "metadata.labels"] {
        if new.map(path).is_empty() && !labels.is_empty() {
            new.set(path, Value::Object(labels.clone()));
        }
    }
}

fn prepare(new: &mut Object, old: Option<&Object>) {
    if old.is_none() {
        new.set("status.replicas", 0);
    }
    workload::drop_disabled(new, old);
}

fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let none = Value::Object(Map::new());
    let spec = new.at("spec").unwrap_or(&none);
    workload::counts(spec, &["minReadySeconds"], &path, errors);
    let selector = Selector::from_labels(texts(new.map("spec.selector")));
    if selector.selects_everything() {
        errors.required(&path.child("selector"), "");
    }
    match int(spec, "replicas") {
        None => errors.required(&path.child("replicas"), ""),
        Some(replicas) => not_negative(&path.child("replicas"), replicas, errors),
    }
    let here = path.child("template");
    match at(spec, "template") {
        None => errors.required(&here, ""),
        Some(template) => {
            let owner = "ReplicationController";
            workload::always_running(owner, &selector, template, &here, errors);
        }
    }
}

fn validate_part(_: &str, new: &Object, _: &Object, errors: &mut Errors) {
    let path = Path::new("status");
    let Some(status) = new.at("status") else { return };
    let counts = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
    ];
    workload::status(status, &counts, 1..4, &path, errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn the_template_says_what_is_selected() {
        let mut it = Object::new(json!({"spec": {"replicas": 1, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]}}}}));
        default(&mut it);
        assert_eq!(it.at("spec.selector"), Some(&json!({"a": "b"})));
        assert_eq!(it.at("metadata.labels"), Some(&json!({"a": "b"})));
        let mut errors = Errors::new();
        validate(&it, None, &mut errors);
        assert_eq!(errors.text(), "[]");
        it.set("spec.selector", json!({"a": "c"}));
        validate(&it, None, &mut errors);
        assert!(errors.text().contains("`selector` does not match template `labels`"));
    }
}
