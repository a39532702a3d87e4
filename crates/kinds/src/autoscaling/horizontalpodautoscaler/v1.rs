//! `autoscaling/v1`: the older face. It knows the share of processor time and nothing else; other metrics, the
//! behavior, and what the status says of them stand in annotations, as JSON.

use super::{BEHAVIOR, CONDITIONS, CURRENT_METRICS, METRICS, columns, cpu_metric, drop_carried};
use skiff_api::check::*;
use skiff_api::errors::Errors;
use skiff_api::json::ordered;
use skiff_api::kind::{Convert, Hooks, Kind};
use skiff_api::object::{Object, at};
use skiff_api::schema::decode::{Mode, decode};
use skiff_api::schema::{builtin, emit};
use skiff_api::view::Resource;
use skiff_json::{Map, Value, json};

pub const RESOURCE: Resource =
    Resource::of("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler");

/// The order of fields in annotations: it is that of upstream's types, all of them together.
const ORDER: &[&str] = &[
    "kind",
    "name",
    "apiVersion",
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "observedGeneration",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "metricName",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "targetAverageValue",
    "currentAverageUtilization",
    "currentAverageValue",
    "selector",
    "averageValue",
    "container",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Type",
    "Value",
    "PeriodSeconds",
    "Tolerance",
];
const SOURCES: [&str; 5] = ["object", "pods", "resource", "containerResource", "external"];

pub fn kind() -> Kind {
    let convert = Convert { to_stored, from_stored };
    Kind {
        convert: Some(convert),
        hooks: Hooks {
            default,
            validate,
            validate_part,
            generation: Some(|new, old| stored(new).at("spec") != stored(old).at("spec")),
            ..Hooks::NONE
        },
        ..super::named(RESOURCE, columns::all())
    }
}

/// What annotations carry is read at once, and shown as the stored face will have it.
fn default(new: &mut Object) {
    to_stored(new);
    super::default(new);
    from_stored(new);
}

fn stored(it: &Object) -> Object {
    let mut it = it.clone();
    to_stored(&mut it);
    it
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    super::validate::spec(&stored(new), old.map(stored).as_ref(), errors);
}

fn validate_part(entry: &str, new: &Object, old: &Object, errors: &mut Errors) {
    super::validate::status(entry, &stored(new), &stored(old), errors);
}

fn to_stored(it: &mut Object) {
    let mut metrics = carried(it, METRICS, "spec.metrics", |list| each(list, metric_in));
    if let Some(percent) = it.remove("spec.targetCPUUtilizationPercentage").and_then(|n| n.as_i64())
    {
        metrics.get_or_insert_default().push(cpu_metric(percent));
    }
    let metrics = metrics.filter(|metrics| !metrics.is_empty());
    it.set("spec.metrics", metrics.unwrap_or_else(|| vec![cpu_metric(super::CPU_DEFAULT)]));
    if let Some(behavior) = carried_behavior(it) {
        it.set("spec.behavior", behavior);
    }
    let percent = it.remove("status.currentCPUUtilizationPercentage").filter(Value::is_number);
    let of_percent = percent.map(|percent| {
        let current = json!({"averageUtilization": percent});
        vec![json!({"type": "Resource", "resource": {"name": "cpu", "current": current}})]
    });
    let current =
        carried(it, CURRENT_METRICS, "status.currentMetrics", |list| each(list, status_in));
    if let Some(current) = current.or(of_percent) {
        it.set("status.currentMetrics", current);
    }
    if let Some(conditions) = carried(it, CONDITIONS, "status.conditions", |list| list) {
        it.set("status.conditions", conditions);
    }
    drop_carried(it);
    emit::emit(it.value_mut(), schema());
}

fn from_stored(it: &mut Object) {
    drop_carried(it);
    let metrics = taken(it, "spec.metrics");
    let shares = |metric: &&Value| {
        text(metric, "type") == "Resource"
            && text(metric, "resource.name") == "cpu"
            && int(metric, "resource.target.averageUtilization").is_some()
    };
    let share = metrics.iter().find(shares);
    if let Some(percent) = share.and_then(|it| at(it, "resource.target.averageUtilization")) {
        it.set("spec.targetCPUUtilizationPercentage", percent.clone());
    }
    let others: Vec<Value> = metrics.iter().filter(|it| !shares(it)).map(metric_out).collect();
    carry(it, METRICS, others);
    let current = taken(it, "status.currentMetrics");
    let of_cpu = current.iter().filter(|it| text(it, "resource.name") == "cpu");
    if let Some(percent) =
        of_cpu.filter_map(|it| at(it, "resource.current.averageUtilization")).next_back()
    {
        it.set("status.currentCPUUtilizationPercentage", percent.clone());
    }
    carry(it, CURRENT_METRICS, current.iter().map(status_out).collect());
    let conditions = taken(it, "status.conditions");
    carry(it, CONDITIONS, conditions);
    if let Some(behavior) = it.remove("spec.behavior").filter(Value::is_object) {
        it.annotate(BEHAVIOR, &ordered(&go_rules(&behavior), |_| ORDER));
    }
    let schema = builtin("io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler");
    emit::emit(it.value_mut(), schema.expect("the table has it"));
}

fn schema() -> &'static skiff_api::schema::Struct {
    let name = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler";
    builtin(name).expect("the table has it")
}

fn taken(it: &mut Object, path: &str) -> Vec<Value> {
    match it.remove(path) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn carry(it: &mut Object, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        it.annotate(name, &ordered(&Value::Array(list), |_| ORDER));
    }
}

/// What an annotation carries for a field, if it can stand there; what nobody can read is as if it were not there.
fn carried(
    it: &Object,
    name: &str,
    path: &str,
    read: impl Fn(Vec<Value>) -> Vec<Value>,
) -> Option<Vec<Value>> {
    let list: Vec<Value> = skiff_json::from_str(it.annotation(name)?).ok()?;
    let mut alone = Object::new(json!({}));
    alone.set(path, read(list));
    decode(alone.value_mut(), schema(), Mode::Ignore).ok()?;
    Some(taken(&mut alone, path))
}

fn carried_behavior(it: &Object) -> Option<Value> {
    let behavior: Value = skiff_json::from_str(it.annotation(BEHAVIOR)?).ok()?;
    let mut alone = Object::new(json!({}));
    alone.set("spec.behavior", rename(&behavior, |name| name[..1].to_lowercase() + &name[1..]));
    decode(alone.value_mut(), schema(), Mode::Ignore).ok()?;
    let behavior = alone.remove("spec.behavior")?;
    behavior.as_object().is_some_and(|map| !map.is_empty()).then_some(behavior)
}

/// Both directions with all their fields, under the names of upstream's own types.
fn go_rules(behavior: &Value) -> Value {
    let fields = ["stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance"];
    let mut all = json!({});
    for direction in ["scaleUp", "scaleDown"] {
        all[direction] = match at(behavior, direction) {
            Some(rules) => {
                let field =
                    |name: &str| (name.to_owned(), rules.get(name).cloned().unwrap_or(Value::Null));
                Value::Object(fields.map(field).into_iter().collect())
            }
            None => Value::Null,
        };
    }
    rename(&all, |name| name[..1].to_uppercase() + &name[1..])
}

fn rename(value: &Value, to: fn(&str) -> String) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|it| rename(it, to)).collect(),
        Value::Object(map) => {
            let plain = map.iter().filter(|(name, _)| name.is_char_boundary(1));
            let named = plain.map(|(name, value)| (to(name), rename(value, to)));
            Value::Object(named.collect())
        }
        other => other.clone(),
    }
}

fn each(list: Vec<Value>, of: fn(&Value) -> Value) -> Vec<Value> {
    list.iter().map(of).collect()
}

/// Fields of the source of one metric, from one shape to the other.
fn shaped(metric: &Value, of: impl Fn(&'static str, &Value) -> Value) -> Value {
    let mut shaped = json!({"type": text(metric, "type")});
    for source in SOURCES {
        if let Some(found) = at(metric, source) {
            shaped[source] = of(source, found);
        }
    }
    shaped
}

/// Copies fields that are there, under other names.
fn copy(from: &Value, names: &[(&str, &str)]) -> Value {
    let mut to = Object::new(Value::Object(Map::new()));
    for (there, here) in names {
        if let Some(value) = at(from, there) {
            to.set(here, value.clone());
        }
    }
    to.into_value()
}

fn metric_out(metric: &Value) -> Value {
    shaped(metric, |source, it| {
        let mut out = copy(it, names(source));
        let always = match source {
            "object" => "targetValue",
            "pods" => "targetAverageValue",
            _ => return out,
        };
        if out.get(always).is_none() {
            out[always] = json!("0");
        }
        out
    })
}

fn metric_in(metric: &Value) -> Value {
    shaped(metric, |source, it| {
        let turned: Vec<(&str, &str)> = names(source).iter().map(|(a, b)| (*b, *a)).collect();
        let mut out = Object::new(copy(it, &turned));
        let has = |field: &str| at(it, field).is_some();
        let type_ = match source {
            "pods" => "AverageValue",
            "object" if has("averageValue") => {
                // It has no way to say nothing but zero.
                if text(it, "targetValue") == "0" {
                    out.remove("target.value");
                }
                "AverageValue"
            }
            "object" => "Value",
            "external" if has("targetValue") => "Value",
            "external" => "AverageValue",
            _ if has("targetAverageUtilization") => "Utilization",
            _ => "AverageValue",
        };
        out.set("target.type", type_);
        out.into_value()
    })
}

/// Fields of the source of a metric: in v2, and here.
fn names(source: &str) -> &'static [(&'static str, &'static str)] {
    match source {
        "object" => &[
            ("describedObject", "target"),
            ("metric.name", "metricName"),
            ("target.value", "targetValue"),
            ("metric.selector", "selector"),
            ("target.averageValue", "averageValue"),
        ],
        "pods" => &[
            ("metric.name", "metricName"),
            ("target.averageValue", "targetAverageValue"),
            ("metric.selector", "selector"),
        ],
        "external" => &[
            ("metric.name", "metricName"),
            ("metric.selector", "metricSelector"),
            ("target.value", "targetValue"),
            ("target.averageValue", "targetAverageValue"),
        ],
        _ => &[
            ("name", "name"),
            ("target.averageUtilization", "targetAverageUtilization"),
            ("target.averageValue", "targetAverageValue"),
            ("container", "container"),
        ],
    }
}

/// The same for the status of a metric; the field that always shows stands first.
fn status_names(source: &str) -> &'static [(&'static str, &'static str)] {
    match source {
        "object" => &[
            ("current.value", "currentValue"),
            ("describedObject", "target"),
            ("metric.name", "metricName"),
            ("metric.selector", "selector"),
            ("current.averageValue", "averageValue"),
        ],
        "pods" => &[
            ("current.averageValue", "currentAverageValue"),
            ("metric.name", "metricName"),
            ("metric.selector", "selector"),
        ],
        "external" => &[
            ("current.value", "currentValue"),
            ("metric.name", "metricName"),
            ("metric.selector", "metricSelector"),
            ("current.averageValue", "currentAverageValue"),
        ],
        _ => &[
            ("current.averageValue", "currentAverageValue"),
            ("name", "name"),
            ("current.averageUtilization", "currentAverageUtilization"),
            ("container", "container"),
        ],
    }
}

fn status_out(status: &Value) -> Value {
    shaped(status, |source, it| {
        let mut out = copy(it, status_names(source));
        let always = status_names(source)[0].1;
        if out.get(always).is_none() {
            out[always] = json!("0");
        }
        out
    })
}

fn status_in(status: &Value) -> Value {
    shaped(status, |source, it| {
        let turned: Vec<(&str, &str)> =
            status_names(source).iter().map(|(a, b)| (*b, *a)).collect();
        copy(it, &turned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn what_v1_cannot_say_is_carried() {
        let stored = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "minReplicas": 1,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}],
                                       "selectPolicy": "Max"}},
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"},
                    "metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "5"}}}]},
            "status": {"desiredReplicas": 1, "currentMetrics": [{"type": ""}],
                "conditions": [{"type": "AbleToScale", "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "R"}]}});
        let mut it = Object::new(stored.clone());
        from_stored(&mut it);
        assert_eq!(it.int("spec.targetCPUUtilizationPercentage"), Some(50));
        let notes = it.map("metadata.annotations");
        let notes: Vec<String> = notes.values().filter_map(Value::as_str).map(Into::into).collect();
        expect![[r#"
            {"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":null,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":15}],"Tolerance":null}}
            [{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","reason":"R"}]
            [{"type":""}]
            [{"type":"Object","object":{"target":{"kind":"Service","name":"s"},"metricName":"hits","targetValue":"0","averageValue":"5"}}]"#]]
        .assert_eq(&notes.join("\n"));
        to_stored(&mut it);
        assert_eq!(it.at("metadata.annotations"), None);
        let back = |it: &Object, path: &str| it.at(path).cloned().unwrap_or(Value::Null);
        let was = Object::new(stored);
        for path in ["spec.behavior", "spec.metrics", "status.currentMetrics", "status.conditions"]
        {
            let (mut here, mut there) = (back(&it, path), back(&was, path));
            if let (Value::Array(a), Value::Array(b)) = (&mut here, &mut there) {
                // The share of processor time comes last.
                a.sort_by_key(ToString::to_string);
                b.sort_by_key(ToString::to_string);
            }
            assert_eq!(here, there, "{path}");
        }
    }

    #[test]
    fn what_nobody_can_read_is_not_there() {
        let mut it = Object::new(json!({"metadata": {"annotations": {
            METRICS: "[{\"type\":\"Pods\",\"pods\":{\"metricName\":{}}}]", BEHAVIOR: "{\"\":1}"}}}));
        to_stored(&mut it);
        assert_eq!(it.list("spec.metrics"), [cpu_metric(80)]);
        assert_eq!((it.at("spec.behavior"), it.at("metadata.annotations")), (None, None));
    }
}
