//! HorizontalPodAutoscaler: as many replicas of something as its metrics ask for (API reference: workload-resources).
//!
//! `autoscaling/v2` is what is stored; `autoscaling/v1` is another face of it, which carries in annotations what it has
//! no fields for.

mod columns;
pub mod v1;
mod validate;

use skiff_api::kind::{Column, Hooks, Kind, status};
use skiff_api::object::{Object, at, at_mut};
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource =
    Resource::of("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler");

/// What `v1` has no fields for, by the annotation that carries it there. No object that is stored has one.
const CARRIED: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Percent of the processor time that pods ask for, where nobody says what counts.
const CPU_DEFAULT: i64 = 80;

pub fn kind() -> Kind {
    Kind {
        hooks: Hooks {
            default,
            validate: validate::spec,
            validate_part: validate::status,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..named(RESOURCE, columns::all())
    }
}

/// What both faces have.
fn named(resource: Resource, columns: Vec<Column>) -> Kind {
    Kind {
        short: vec!["hpa".into()],
        categories: vec!["all".into()],
        subresources: vec![status()],
        columns,
        ..Kind::new(resource)
    }
}

fn default(new: &mut Object) {
    new.set_absent("spec.minReplicas", 1);
    if new.list("spec.metrics").is_empty() {
        new.set("spec.metrics", json!([cpu_metric(CPU_DEFAULT)]));
    }
    if let Some(behavior) = at_mut(new.value_mut(), "spec.behavior") {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        // How long a lower number must have been enough is the controller's to say.
        rules(behavior, "scaleDown", &[("policies", json!([percent]))]);
        let up = [("policies", json!([pods, percent])), ("stabilizationWindowSeconds", json!(0))];
        rules(behavior, "scaleUp", &up);
    }
    drop_carried(new);
}

fn cpu_metric(percent: i64) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// Fills what the rules for one direction do not say.
fn rules(behavior: &mut Value, direction: &str, defaults: &[(&str, Value)]) {
    if at(behavior, direction).is_none() {
        behavior[direction] = json!({});
    }
    let rules = &mut behavior[direction];
    for (field, value) in defaults.iter().chain(&[("selectPolicy", json!("Max"))]) {
        if at(rules, field).is_none() {
            rules[*field] = value.clone();
        }
    }
}

fn drop_carried(object: &mut Object) {
    let Some(notes) = at_mut(object.value_mut(), "metadata.annotations") else { return };
    let Some(map) = notes.as_object_mut() else { return };
    CARRIED.iter().for_each(|name| drop(map.remove(name)));
    if map.is_empty() {
        object.remove("metadata.annotations");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use skiff_api::errors::Errors;

    fn hpa(spec: Value) -> Object {
        let mut it = Object::new(json!({"metadata": {"name": "a"}, "spec": spec}));
        default(&mut it);
        it
    }

    #[test]
    fn defaults_say_what_counts_and_how_fast() {
        let it = hpa(json!({"maxReplicas": 3, "behavior": {"scaleUp": {"selectPolicy": "Min"}}}));
        expect![[r#"{"behavior":{"scaleDown":{"policies":[{"periodSeconds":15,"type":"Percent","value":100}],"selectPolicy":"Max"},"scaleUp":{"policies":[{"periodSeconds":15,"type":"Pods","value":4},{"periodSeconds":15,"type":"Percent","value":100}],"selectPolicy":"Min","stabilizationWindowSeconds":0}},"maxReplicas":3,"metrics":[{"resource":{"name":"cpu","target":{"averageUtilization":80,"type":"Utilization"}},"type":"Resource"}],"minReplicas":1}"#]]
            .assert_eq(&it.at("spec").expect("it has one").to_string());
    }

    #[test]
    fn a_target_of_nothing_and_no_target_are_refused() {
        let check = |spec: Value| {
            let mut errors = Errors::new();
            validate::spec(&hpa(spec), None, &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let to = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
        assert_eq!(check(json!({"scaleTargetRef": to, "maxReplicas": 1})), "");
        let zero = json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 0}}});
        expect![[r#"
            spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`
            spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"#]]
        .assert_eq(&check(json!({"scaleTargetRef": to, "minReplicas": 2, "maxReplicas": 1,
            "metrics": [zero]})));
        expect![[r#"
            spec.scaleTargetRef.kind: Required value
            spec.scaleTargetRef.name: Required value
            spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group
            spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas
            spec.maxReplicas: Required value"#]]
        .assert_eq(&check(json!({"minReplicas": 0})));
    }
}
