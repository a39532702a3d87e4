//! Deployment: replaces pods by newer ones, step by step (API reference: workload-resources).

use crate::core::pod;
use crate::core::pod::validate::internal;
use crate::workload;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column, scale, status};
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::of("apps", "v1", "deployments", "Deployment");

pub fn kind() -> Kind {
    let mut columns = vec![
        name_column(),
        column("Ready", Cell::With(ready)),
        column("Up-to-date", Cell::With(|it| it.int("status.updatedReplicas").unwrap_or(0).into())),
        column(
            "Available",
            Cell::With(|it| it.int("status.availableReplicas").unwrap_or(0).into()),
        ),
        age_column(),
    ];
    columns.extend(workload::columns());
    Kind {
        short: vec!["deploy".into()],
        categories: vec!["all".into()],
        subresources: vec![scale(), status()],
        columns,
        hooks: Hooks {
            default,
            prepare: workload::drop_disabled,
            validate,
            validate_part,
            warn: pod::warn::workload,
            generation: Some(changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn ready(deployment: &Object) -> Value {
    let count = |path| deployment.int(path).unwrap_or(0);
    format!("{}/{}", count("status.readyReplicas"), count("spec.replicas")).into()
}

/// Annotations count too: they are copied to the ReplicaSets.
fn changed(new: &Object, old: &Object) -> bool {
    Hooks::spec_changed(new, old)
        || new.map("metadata.annotations") != old.map("metadata.annotations")
}

fn default(new: &mut Object) {
    new.set_absent("spec.replicas", 1);
    if new.text("spec.strategy.type").is_empty() {
        new.set("spec.strategy.type", "RollingUpdate");
    }
    if new.text("spec.strategy.type") == "RollingUpdate" {
        new.set_absent("spec.strategy.rollingUpdate.maxUnavailable", "25%");
        new.set_absent("spec.strategy.rollingUpdate.maxSurge", "25%");
    }
    new.set_absent("spec.revisionHistoryLimit", 10);
    new.set_absent("spec.progressDeadlineSeconds", 600);
    pod::default::template(new);
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let Some(spec) = new.at("spec") else { return };
    workload::counts(spec, &["replicas"], &path, errors);
    workload::selected_template(spec, &path, errors);
    strategy(at(spec, "strategy").unwrap_or(&Value::Null), &path.child("strategy"), errors);
    workload::counts(spec, &["minReadySeconds", "revisionHistoryLimit"], &path, errors);
    workload::counts(spec, &["progressDeadlineSeconds"], &path, errors);
    if let Some(seconds) = int(spec, "progressDeadlineSeconds")
        && seconds <= int(spec, "minReadySeconds").unwrap_or(0)
    {
        let why = "must be greater than minReadySeconds";
        errors.invalid(&path.child("progressDeadlineSeconds"), seconds, why);
    }
    workload::same_selector(new, old, errors);
}

fn strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    let here = path.child("rollingUpdate");
    match (text(strategy, "type"), at(strategy, "rollingUpdate")) {
        ("Recreate", Some(_)) => {
            errors.forbidden(&here, "may not be specified when strategy `type` is 'Recreate'");
        }
        ("Recreate", None) => {}
        ("RollingUpdate", Some(update)) => rolling_update(update, &here, errors),
        ("RollingUpdate", None) => {
            errors.required(&here, "this should be defaulted and never be nil");
        }
        _ => {
            let known = "\"Recreate\", \"RollingUpdate\"";
            internal::not_supported(errors, path, "DeploymentStrategy", strategy, known);
        }
    }
}

fn rolling_update(update: &Value, path: &Path, errors: &mut Errors) {
    let fields = ["maxUnavailable", "maxSurge"];
    let [unavailable, surge] = fields.map(|field| at(update, field).cloned().unwrap_or(0.into()));
    workload::amount(&unavailable, &path.child("maxUnavailable"), errors);
    workload::amount(&surge, &path.child("maxSurge"), errors);
    let here = path.child("maxUnavailable");
    if workload::none(&unavailable) && workload::none(&surge) {
        errors.invalid(&here, unavailable.clone(), "may not be 0 when `maxSurge` is 0");
    }
    workload::at_most_all(&unavailable, &here, errors);
}

fn validate_part(_: &str, new: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::new("status");
    let Some(status) = new.at("status") else { return };
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    workload::status(status, &counts, 2..5, &path, errors);
    workload::collisions(status, old, &path, errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn check(spec: Value) -> String {
        let mut it = Object::new(json!({"metadata": {"name": "a"}, "spec": spec}));
        default(&mut it);
        let mut errors = Errors::new();
        validate(&it, None, &mut errors);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn selectors_and_templates_belong_together() {
        let template = json!({"metadata": {"labels": {"a": "b"}},
                              "spec": {"containers": [{"name": "c", "image": "x"}]}});
        let selector = json!({"matchLabels": {"a": "b"}});
        assert_eq!(check(json!({"selector": selector, "template": template})), "");
        assert_eq!(
            check(json!({"selector": {"matchLabels": {"a": "c"}}, "template": template,
                         "strategy": {"type": "X"}, "replicas": -1})),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0\n\
             spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template \
             `labels`\n\
             spec.strategy: Unsupported value: {\"Type\":\"X\",\"RollingUpdate\":null}: supported values: \
             \"Recreate\", \"RollingUpdate\""
        );
    }
}
