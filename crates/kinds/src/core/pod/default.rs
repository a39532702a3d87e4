//! Defaults of pods and of the pod templates of workloads: what users left out and everybody reads.
//!
//! A template gets less than a pod: what would make templates of older versions look changed is filled in pods only.

use super::{CONTAINER_LISTS, image};
use skiff_api::object::{Object, at, at_mut};
use skiff_json::{Map, Value, json};

/// The defaults of a pod.
pub fn pod(pod: &mut Object) {
    let Some(pod_spec) = pod.value_mut().get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    spec(pod_spec);
    if at(pod_spec, "terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0)
    {
        pod_spec["terminationGracePeriodSeconds"] = 1.into();
    }
    absent(pod_spec, "enableServiceLinks", true);
    let host_network = at(pod_spec, "hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers"] {
        for container in items(pod_spec, list) {
            requests_from_limits(container);
            if host_network {
                host_ports(container);
            }
        }
    }
    pod_ips(pod);
}

/// `podIP` and the first of `podIPs` are the same; the former wins.
fn pod_ips(pod: &mut Object) {
    let one = pod.text("status.podIP").to_owned();
    let first =
        pod.list("status.podIPs").first().and_then(|ip| ip.get("ip")).and_then(Value::as_str);
    match (&*one, first.map(str::to_owned)) {
        ("", Some(first)) => pod.set("status.podIP", first),
        ("", None) => {}
        (one, first) if first.as_deref() != Some(one) => {
            pod.set("status.podIPs", json!([{"ip": one}]))
        }
        _ => {}
    }
}

/// The defaults of a pod's spec wherever it stands.
pub fn spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    let text = |path: &str| at(spec, path).and_then(Value::as_str).unwrap_or("").to_owned();
    let account = [text("serviceAccountName"), text("serviceAccount")];
    if let Some(name) = account.into_iter().find(|name| !name.is_empty()) {
        spec["serviceAccountName"] = name.clone().into();
        spec["serviceAccount"] = name.into();
    }
    absent_text(spec, "dnsPolicy", "ClusterFirst");
    absent_text(spec, "restartPolicy", "Always");
    absent(spec, "securityContext", json!({}));
    absent(spec, "terminationGracePeriodSeconds", 30);
    absent_text(spec, "schedulerName", "default-scheduler");
    for list in CONTAINER_LISTS {
        items(spec, list).for_each(container);
    }
    items(spec, "volumes").for_each(volume);
}

fn container(container: &mut Value) {
    let policy = image::pull_policy(at(container, "image").and_then(Value::as_str).unwrap_or(""));
    absent_text(container, "imagePullPolicy", policy);
    absent_text(container, "terminationMessagePath", "/dev/termination-log");
    absent_text(container, "terminationMessagePolicy", "File");
    absent(container, "resources", json!({}));
    for type_ in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = at_mut(container, type_) {
            probe(found);
        }
    }
    for hook in ["lifecycle.postStart.httpGet", "lifecycle.preStop.httpGet"] {
        if let Some(get) = at_mut(container, hook) {
            http_get(get);
        }
    }
    for variable in items(container, "env") {
        if let Some(field) = at_mut(variable, "valueFrom.fieldRef") {
            absent_text(field, "apiVersion", "v1");
        }
        if let Some(field) = at_mut(variable, "valueFrom.resourceFieldRef") {
            absent(field, "divisor", "0");
        }
    }
}

fn probe(probe: &mut Value) {
    for (field, least) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if at(probe, field).is_none_or(|number| number == 0) {
            set(probe, field, least);
        }
    }
    if let Some(get) = at_mut(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = at_mut(probe, "grpc") {
        absent(grpc, "service", "");
    }
}

fn http_get(get: &mut Value) {
    absent_text(get, "path", "/");
    absent_text(get, "scheme", "HTTP");
}

fn volume(volume: &mut Value) {
    let Some(map) = volume.as_object_mut() else { return };
    if !map.iter().any(|(field, value)| field != "name" && !value.is_null()) {
        map.insert("emptyDir".into(), json!({}));
    }
    for source in ["configMap", "secret", "projected", "downwardAPI"] {
        if let Some(source) = at_mut(volume, source) {
            absent(source, "defaultMode", 420);
        }
    }
    if let Some(path) = at_mut(volume, "hostPath") {
        absent(path, "type", "");
    }
    if let Some(image) = at_mut(volume, "image") {
        let policy =
            image::pull_policy(at(image, "reference").and_then(Value::as_str).unwrap_or(""));
        absent_text(image, "pullPolicy", policy);
    }
    if let Some(template) = at_mut(volume, "ephemeral.volumeClaimTemplate") {
        absent(template, "metadata", json!({}));
        if let Some(claim) = at_mut(template, "spec") {
            absent(claim, "volumeMode", "Filesystem");
        }
    }
    if let Some(downward) = at_mut(volume, "downwardAPI") {
        items(downward, "items").for_each(downward_file);
    }
    let Some(projected) = at_mut(volume, "projected") else { return };
    for source in items(projected, "sources") {
        if let Some(token) = at_mut(source, "serviceAccountToken") {
            absent(token, "expirationSeconds", 3600);
        }
        if let Some(certificate) = at_mut(source, "podCertificate") {
            absent(certificate, "maxExpirationSeconds", 86400);
        }
        if let Some(downward) = at_mut(source, "downwardAPI") {
            items(downward, "items").for_each(downward_file);
        }
    }
}

fn downward_file(file: &mut Value) {
    if let Some(field) = at_mut(file, "fieldRef") {
        absent_text(field, "apiVersion", "v1");
    }
    if let Some(field) = at_mut(file, "resourceFieldRef") {
        absent(field, "divisor", "0");
    }
}

/// A container that is limited and asks for nothing asks for its limits (pods only).
fn requests_from_limits(container: &mut Value) {
    let Some(limits) = at(container, "resources.limits").and_then(Value::as_object).cloned() else {
        return;
    };
    if limits.is_empty() {
        return;
    }
    let resources = &mut container["resources"];
    absent(resources, "requests", json!({}));
    if let Some(requests) = resources["requests"].as_object_mut() {
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    }
}

/// On the host's network a container's port is the host's.
fn host_ports(container: &mut Value) {
    for port in items(container, "ports") {
        if at(port, "hostPort").is_none_or(|number| number == 0)
            && let Some(number) = at(port, "containerPort").cloned()
        {
            set(port, "hostPort", number);
        }
    }
}

/// The elements of a list below a value; none when it is absent.
pub fn items<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value
        .get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter(|i| i.is_object())
}

fn set(value: &mut Value, field: &str, to: impl Into<Value>) {
    if let Some(map) = value.as_object_mut() {
        map.insert(field.into(), to.into());
    }
}

/// Fills a field that is absent.
pub fn absent(value: &mut Value, field: &str, to: impl Into<Value>) {
    if at(value, field).is_none() {
        set(value, field, to);
    }
}

/// Fills a text that is absent or empty: API types cannot tell them apart.
pub fn absent_text(value: &mut Value, field: &str, to: &str) {
    if at(value, field).is_none_or(|text| text == "") {
        set(value, field, to);
    }
}

/// The pod template of a workload: its metadata and spec.
pub fn template(workload: &mut Object) {
    template_at("spec.template", workload);
}

/// The pod template at a path.
pub fn template_at(path: &str, workload: &mut Object) {
    workload.set_absent(path, Value::Object(Map::new()));
    if let Some(template) = at_mut(workload.value_mut(), path) {
        absent(template, "metadata", json!({}));
        absent(template, "spec", json!({}));
        spec(&mut template["spec"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_and_are_idempotent() {
        let mut it = Object::new(json!({"spec": {"hostNetwork": true, "serviceAccount": "s",
            "containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1"}}, "readinessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "v"}]}}));
        pod(&mut it);
        assert_eq!(it.text("spec.serviceAccountName"), "s");
        let container = &it.list("spec.containers")[0];
        assert_eq!(at(container, "resources.requests.cpu"), Some(&json!("1")));
        assert_eq!(container["ports"][0]["hostPort"], 80);
        assert_eq!(at(container, "readinessProbe.httpGet.scheme"), Some(&json!("HTTP")));
        assert_eq!(it.list("spec.volumes")[0]["emptyDir"], json!({}));
        let once = it.clone();
        pod(&mut it);
        assert_eq!(it, once);
    }
}
