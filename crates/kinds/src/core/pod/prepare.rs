//! What the server sets in a pod whatever its user says: status, QoS class, selectors completed by label keys.

use super::CONTAINER_LISTS;
use super::default::items;
use super::validate::resources::aggregate;
use skiff_api::object::{Object, at, at_mut};
use skiff_api::quantity::Quantity;
use skiff_json::{Map, Value, json};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Before a create or an update of the whole pod is validated.
pub fn prepare(pod: &mut Object, old: Option<&Object>) {
    let before = old.map(|old| old.at("spec").cloned().unwrap_or(Value::Null));
    if let Some(spec) = pod.value_mut().get_mut("spec") {
        drop_disabled(spec, before.as_ref());
    }
    match old {
        Some(old) => {
            pod.copy_from(old, "status");
            if pod.at("spec.resources").is_none() {
                pod.copy_from(old, "spec.resources");
            }
        }
        None => create(pod),
    }
}

/// Before a write through an entry of the pod is validated.
pub fn part(entry: &str, pod: &mut Object, old: &Object) {
    match entry {
        "status" => status(pod, old),
        "resize" if pod.at("spec.resources").is_none() => pod.copy_from(old, "spec.resources"),
        _ => {}
    }
    if entry == "resize" {
        only_resources(pod, old);
        if let Some(spec) = pod.value_mut().get_mut("spec") {
            pod_resources(spec);
        }
    }
}

/// Nodes may neither take the class away nor forget which generation they saw, nor touch owners.
fn status(pod: &mut Object, old: &Object) {
    pod.copy_from(old, "metadata.ownerReferences");
    for path in ["status.qosClass", "status.observedGeneration"] {
        if pod.at(path).is_none() {
            pod.copy_from(old, path);
        }
    }
    let mut before: Vec<&Value> = old.list("status.conditions").iter().collect();
    let Some(status) = pod.value_mut().get_mut("status") else { return };
    for condition in items(status, "conditions") {
        let place = before.iter().position(|it| it.get("type") == condition.get("type"));
        let Some(generation) = place.and_then(|at| before.remove(at).get("observedGeneration"))
        else {
            continue;
        };
        if let Some(map) = condition.as_object_mut() {
            map.entry("observedGeneration").or_insert(generation.clone());
        }
    }
}

/// Of containers that are the same in number and name, a resize takes resources and their policy alone.
fn only_resources(pod: &mut Object, old: &Object) {
    for list in ["containers", "initContainers"] {
        let path = format!("spec.{list}");
        let (now, was) = (pod.list(&path).to_vec(), old.list(&path));
        let name = |container: &Value| container.get("name").cloned();
        if now.is_empty()
            || now.len() != was.len()
            || !now.iter().map(name).eq(was.iter().map(name))
        {
            continue;
        }
        let mut merged = was.to_vec();
        for (into, from) in merged.iter_mut().zip(&now) {
            let Some(map) = into.as_object_mut() else { continue };
            for field in ["resources", "resizePolicy"] {
                match from.get(field) {
                    Some(value) => drop(map.insert(field.to_owned(), value.clone())),
                    None => drop(map.remove(field)),
                }
            }
        }
        pod.set(&path, merged);
    }
}

fn create(pod: &mut Object) {
    pod.set("status", json!({"phase": "Pending"}));
    let now = pod.at("metadata.creationTimestamp").cloned().unwrap_or(Value::Null);
    if !pod.list("spec.schedulingGates").is_empty() {
        pod.set(
            "status.conditions",
            json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                    "lastProbeTime": null, "lastTransitionTime": now}]),
        );
    }
    let labels = pod.map("metadata.labels").clone();
    if let Some(spec) = pod.value_mut().get_mut("spec") {
        complete_selectors(spec, &labels);
    }
    if let Some(spec) = pod.value_mut().get_mut("spec") {
        pod_resources(spec);
    }
    let class = qos_class(pod);
    pod.set("status.qosClass", class);
}

/// Resources of the whole pod that its containers' add up to, where it says something of them (KEP-2837).
fn pod_resources(spec: &mut Value) {
    let set = |spec: &Value, field: &str| {
        at(spec, &format!("resources.{field}"))
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_else(Map::new)
    };
    let (mut limits, mut requests) = (set(spec, "limits"), set(spec, "requests"));
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    let huge = named(spec, "limits", |name| name.starts_with("hugepages-"));
    for name in huge.iter().filter(|name| !requests.contains_key(name)) {
        let sum = aggregate(spec, "limits", name).to_string();
        limits.entry(name.clone()).or_insert_with(|| sum.into());
    }
    for name in named(spec, "requests", |name| ["cpu", "memory"].contains(&name)) {
        let sum = aggregate(spec, "requests", &name).to_string();
        requests.entry(name).or_insert_with(|| sum.into());
    }
    let whole = |name: &str| ["cpu", "memory"].contains(&name) || name.starts_with("hugepages-");
    for (name, limit) in limits.iter().filter(|(name, _)| whole(name)) {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    let lists = ["containers", "initContainers"];
    for (name, request) in &requests {
        let mut containers =
            lists.iter().filter_map(|list| at(spec, list)).filter_map(Value::as_array).flatten();
        let limited = containers
            .all(|c| at(c, "resources.limits").is_some_and(|amounts| amounts.get(name).is_some()));
        if limits.contains_key(name) || !limited {
            continue;
        }
        let sum = aggregate(spec, "limits", name);
        let request =
            Quantity::parse(request.as_str().unwrap_or("")).unwrap_or_else(|_| Quantity::zero());
        limits.insert(name.clone(), sum.max(request).to_string().into());
    }
    for (field, amounts) in [("limits", limits), ("requests", requests)] {
        if !amounts.is_empty() {
            spec["resources"][field] = Value::Object(amounts);
        }
    }
}

/// The resources that containers name in their limits or requests.
fn named(spec: &Value, field: &str, wanted: fn(&str) -> bool) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for list in ["containers", "initContainers"] {
        for container in at(spec, list).and_then(Value::as_array).into_iter().flatten() {
            let amounts = at(container, &format!("resources.{field}")).and_then(Value::as_object);
            names.extend(amounts.into_iter().flatten().map(|(name, _)| name.clone()));
        }
    }
    names.retain(|name| wanted(name));
    names
}

/// Removes fields that are behind feature gates which 1.37 has off by default.
pub fn drop_disabled(spec: &mut Value, old: Option<&Value>) {
    let kept = |field: &str| old.is_some_and(|old| at(old, field).is_some());
    if let Some(map) = spec.as_object_mut() {
        for field in ["evictionResponders", "schedulingGroup"] {
            if !kept(field) {
                map.remove(field);
            }
        }
    }
    for list in CONTAINER_LISTS {
        items(spec, list).for_each(drop_disabled_in_container);
    }
    for volume in items(spec, "volumes") {
        take(volume, "emptyDir", "mode");
        for source in ["configMap", "secret", "downwardAPI", "projected"] {
            take(volume, source, "defaultUser");
            if let Some(source) = at_mut(volume, source) {
                drop_users(source);
            }
        }
    }
}

fn drop_disabled_in_container(container: &mut Value) {
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        take(container, &format!("{probe}.grpc"), "mode");
        take(container, &format!("{probe}.httpGet"), "protocol");
    }
    for hook in ["postStart", "preStop"] {
        take(container, &format!("lifecycle.{hook}.httpGet"), "protocol");
    }
    take(container, "lifecycle", "stopSignal");
    if at(container, "lifecycle").and_then(Value::as_object).is_some_and(Map::is_empty)
        && let Some(map) = container.as_object_mut()
    {
        map.remove("lifecycle");
    }
    for mount in items(container, "volumeMounts") {
        if let Some(map) = mount.as_object_mut() {
            map.remove("bindMountOptions");
        }
    }
}

fn drop_users(source: &mut Value) {
    for file in items(source, "items") {
        if let Some(map) = file.as_object_mut() {
            map.remove("user");
        }
    }
    for part in items(source, "sources") {
        let Some(map) = part.as_object_mut() else { continue };
        for inner in map.values_mut().filter(|inner| inner.is_object()) {
            if let Some(fields) = inner.as_object_mut() {
                fields.remove("user");
            }
            drop_users(inner);
        }
    }
}

fn take(value: &mut Value, parent: &str, field: &str) {
    if let Some(map) = at_mut(value, parent).and_then(Value::as_object_mut) {
        map.remove(field);
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` become requirements of the selectors (KEP-3633, KEP-3243).
fn complete_selectors(spec: &mut Value, labels: &Map) {
    for constraint in items(spec, "topologySpreadConstraints") {
        complete(constraint, labels, &[("matchLabelKeys", "In")]);
    }
    let keys = [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")];
    for type_ in ["affinity.podAffinity", "affinity.podAntiAffinity"] {
        let Some(affinity) = at_mut(spec, type_) else { continue };
        for preferred in items(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = at_mut(preferred, "podAffinityTerm") {
                complete(term, labels, &keys);
            }
        }
        for term in items(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            complete(term, labels, &keys);
        }
    }
}

fn complete(term: &mut Value, labels: &Map, keys: &[(&str, &str)]) {
    if at(term, "labelSelector").is_none() {
        return;
    }
    for (field, operator) in keys {
        let named = at(term, field).and_then(Value::as_array).cloned().unwrap_or_else(Vec::new);
        for key in named.iter().filter_map(Value::as_str) {
            let Some(value) = labels.get(key) else { continue };
            let selector = &mut term["labelSelector"];
            if at(selector, "matchExpressions").is_none() {
                selector["matchExpressions"] = json!([]);
            }
            if let Some(list) = selector["matchExpressions"].as_array_mut() {
                list.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
}

/// The quality of service class (Kubernetes concepts, "Pod Quality of Service Classes").
pub fn qos_class(pod: &Object) -> &'static str {
    if let Some(resources) = pod.at("spec.resources")
        && ["limits", "requests"].iter().any(|f| at(resources, f).is_some_and(|m| m != &json!({})))
    {
        return class_of(resources);
    }
    let none = json!({});
    let lists = ["initContainers", "containers"].map(|list| super::containers(pod, list));
    let mut classes =
        lists.into_iter().flatten().map(|c| class_of(at(c, "resources").unwrap_or(&none)));
    let first = classes.next().unwrap_or("BestEffort");
    if classes.all(|class| class == first) { first } else { "Burstable" }
}

fn class_of(resources: &Value) -> &'static str {
    let amount = |field: &str, name: &str| {
        let text = at(resources, field).and_then(|map| map.get(name)).and_then(Value::as_str);
        text.and_then(|text| Quantity::parse(text).ok()).unwrap_or_else(Quantity::zero)
    };
    let one = |name: &str| {
        let (request, limit) = (amount("requests", name), amount("limits", name));
        match request.cmp(&limit) {
            Ordering::Equal if request.is_zero() => "BestEffort",
            Ordering::Equal => "Guaranteed",
            _ => "Burstable",
        }
    };
    let (cpu, memory) = (one("cpu"), one("memory"));
    if cpu == memory { cpu } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qos_classes() {
        let of = |containers: Value| {
            qos_class(&Object::new(json!({"spec": {"containers": containers}})))
        };
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}});
        assert_eq!(of(json!([{"resources": {}}])), "BestEffort");
        assert_eq!(of(json!([{"resources": full}])), "Guaranteed");
        assert_eq!(of(json!([{"resources": full}, {}])), "Burstable");
        assert_eq!(of(json!([{"resources": {"requests": {"cpu": "1"}}}])), "Burstable");
    }

    #[test]
    fn label_keys_become_requirements() {
        let mut it = Object::new(json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "topologySpreadConstraints": [{"matchLabelKeys": ["a", "x"], "labelSelector": {}}]}}));
        prepare(&mut it, None);
        let selector = at(&it.list("spec.topologySpreadConstraints")[0], "labelSelector").cloned();
        let wanted = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]});
        assert_eq!(selector, Some(wanted));
    }
}
