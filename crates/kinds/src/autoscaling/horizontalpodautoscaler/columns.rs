//! What `kubectl get hpa` shows: above all how the metrics stand to their targets.

use skiff_api::check::*;
use skiff_api::kind::{Cell, Column, age_column, column, name_column};
use skiff_api::object::{Object, at};
use skiff_json::Value;

/// So many metrics are shown, the others are counted.
const SHOWN: usize = 2;

pub fn all() -> Vec<Column> {
    vec![
        name_column(),
        column("Reference", Cell::With(reference)),
        column("Targets", Cell::With(targets)),
        column("MinPods", Cell::With(least)),
        column("MaxPods", Cell::With(|it| it.int("spec.maxReplicas").unwrap_or(0).into())),
        column("Replicas", Cell::With(|it| it.int("status.currentReplicas").unwrap_or(0).into())),
        age_column(),
    ]
}

fn reference(it: &Object) -> Value {
    let target = ["kind", "name"].map(|field| it.text(&format!("spec.scaleTargetRef.{field}")));
    target.join("/").into()
}

fn least(it: &Object) -> Value {
    it.int("spec.minReplicas").map_or("<unset>".to_owned(), |least| least.to_string()).into()
}

fn targets(it: &Object) -> Value {
    let (metrics, current) = (it.list("spec.metrics"), it.list("status.currentMetrics"));
    if metrics.is_empty() {
        return "<none>".into();
    }
    let shown = metrics.iter().enumerate().take(SHOWN);
    let shown = shown.map(|(at, metric)| target(metric, current.get(at).unwrap_or(&Value::Null)));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match metrics.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        Some(more) => format!("{shown} + {more} more...").into(),
        None => shown.into(),
    }
}

/// `cpu: 10%/80%`, `<unknown>/5 (avg)`.
fn target(metric: &Value, current: &Value) -> String {
    let (source, of_resource) = match text(metric, "type") {
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "External" => ("external", false),
        _ => return "<unknown type>".into(),
    };
    let null = Value::Null;
    let source_of = |value: &'_ Value| at(value, source).cloned().unwrap_or(Value::Null);
    let (wanted, now) = (source_of(metric), source_of(current));
    let amount = |value: &Value, field: &str| match at(value, field) {
        Some(Value::String(quantity)) => Some(quantity.clone()),
        Some(Value::Number(percent)) => Some(format!("{percent}%")),
        _ => None,
    };
    let wants = at(&wanted, "target").unwrap_or(&null);
    let has = at(&now, "current").unwrap_or(&null);
    let (field, unset, after) = match (at(wants, "averageValue").is_some(), of_resource) {
        (true, true) => ("averageValue", "", ""),
        (true, false) if source == "pods" => ("averageValue", "", ""),
        (true, false) => ("averageValue", "", " (avg)"),
        (false, true) => ("averageUtilization", "<auto>", ""),
        (false, false) => ("value", "<nil>", ""),
    };
    let current = amount(has, field).unwrap_or("<unknown>".into());
    let wanted_text = amount(wants, field).unwrap_or(unset.into());
    match of_resource {
        true => format!("{}: {current}/{wanted_text}{after}", text(&wanted, "name")),
        false => format!("{current}/{wanted_text}{after}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn targets_show_how_things_stand() {
        let cpu = |target: Value| {
            json!({"type": "Resource",
            "resource": {"name": "cpu", "target": target}})
        };
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "5"}}});
        let it = Object::new(json!({
            "spec": {"metrics": [cpu(json!({"averageUtilization": 80})), pods, pods, pods]},
            "status": {"currentMetrics": [{"type": "Resource",
                "resource": {"current": {"averageUtilization": 12, "averageValue": "3m"}}}]}}));
        assert_eq!(targets(&it), "cpu: 12%/80%, <unknown>/5 + 2 more...");
    }
}
