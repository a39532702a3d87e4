//! What follows from an update of a Service: allocated values that the user left out stay, and those that its new type
//! has no use for go, unless the user changed them too (then validation says why not).

use super::{
    externally_accessible, needs_cluster_ip, needs_health_check, needs_node_port, node_ports,
};
use skiff_api::object::Object;
use skiff_json::Value;

/// Runs before addresses and ports are drawn, and again before validation; doing it twice changes nothing.
pub fn prepare(new: &mut Object, old: Option<&Object>) {
    if let Some(old) = old {
        drop_what_the_type_lacks(new, old);
    }
}

/// Keeps what was allocated, and brings `clusterIP` and `clusterIPs` together.
pub fn settle(new: &mut Object, old: Option<&Object>) {
    let Some(old) = old else {
        if !new.text("spec.clusterIP").is_empty() && new.list("spec.clusterIPs").is_empty() {
            new.set("spec.clusterIPs", vec![new.text("spec.clusterIP").to_owned()]);
        }
        return;
    };
    keep_allocated(new, old);
    let (before, after) = (old.text("spec.clusterIP"), new.text("spec.clusterIP").to_owned());
    let same_list = old.list("spec.clusterIPs") == new.list("spec.clusterIPs");
    if before != after && same_list {
        if !before.is_empty() && after.is_empty() {
            new.remove("spec.clusterIPs");
        } else {
            new.set("spec.clusterIPs", vec![after]);
        }
    }
}

fn keep_allocated(new: &mut Object, old: &Object) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        if new.text("spec.clusterIP").is_empty() {
            new.copy_from(old, "spec.clusterIP");
        }
        if new.list("spec.clusterIPs").is_empty()
            && new.text("spec.clusterIP") == old.text("spec.clusterIP")
        {
            new.copy_from(old, "spec.clusterIPs");
        }
    }
    if needs_node_port(old) && needs_node_port(new) {
        keep_node_ports(new, old);
    }
    if needs_health_check(old)
        && needs_health_check(new)
        && new.int("spec.healthCheckNodePort").unwrap_or(0) == 0
    {
        new.copy_from(old, "spec.healthCheckNodePort");
    }
}

/// A port that names no node port keeps the one that the port of its name had.
fn keep_node_ports(new: &mut Object, old: &Object) {
    let named = node_ports(new);
    let Some(Value::Array(ports)) = new.value_mut().pointer_mut("/spec/ports") else { return };
    for port in ports {
        if port["nodePort"].as_i64().unwrap_or(0) != 0 {
            continue;
        }
        let name = |port: &Value| port["name"].as_str().unwrap_or("").to_owned();
        let before = old.list("spec.ports").iter().rev().find(|it| name(it) == name(port));
        let number = before.and_then(|it| it["nodePort"].as_i64()).filter(|it| *it != 0);
        if let Some(number) = number.filter(|it| !named.contains(it)) {
            port["nodePort"] = number.into();
        }
    }
}

fn drop_what_the_type_lacks(new: &mut Object, old: &Object) {
    let unchanged = |new: &Object, path: &str| new.at(path) == old.at(path);
    if needs_cluster_ip(old) && !needs_cluster_ip(new) {
        if unchanged(new, "spec.clusterIP") && unchanged(new, "spec.clusterIPs") {
            new.remove("spec.clusterIP");
            new.remove("spec.clusterIPs");
        }
        for path in ["spec.ipFamilies", "spec.ipFamilyPolicy"] {
            if unchanged(new, path) {
                new.remove(path);
            }
        }
    }
    let before = node_ports(old);
    let no_more = needs_node_port(old) && !needs_node_port(new);
    if no_more && node_ports(new).iter().all(|port| before.contains(port)) {
        let ports = new.value_mut().pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    let balanced = |service: &Object| service.text("spec.type") == "LoadBalancer";
    let gone = [
        ("spec.healthCheckNodePort", needs_health_check(old) && !needs_health_check(new)),
        ("spec.allocateLoadBalancerNodePorts", balanced(old) && !balanced(new)),
        ("spec.loadBalancerClass", balanced(old) && !balanced(new)),
        ("spec.externalTrafficPolicy", externally_accessible(old) && !externally_accessible(new)),
    ];
    for (path, gone) in gone {
        if gone && unchanged(new, path) {
            new.remove(path);
        }
    }
    if !balanced(new) && new.at("status.loadBalancer").is_some() {
        new.set("status.loadBalancer", skiff_json::json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn after(old: &Value, new: Value) -> String {
        let (old, mut new) = (Object::new(old.clone()), Object::new(new));
        settle(&mut new, Some(&old));
        prepare(&mut new, Some(&old));
        new.value()["spec"].to_string()
    }

    #[test]
    fn allocated_values_stay_or_go_with_the_type() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"],
            "ports": [{"name": "a", "port": 80, "nodePort": 30001}]}});
        assert_eq!(
            after(
                &old,
                json!({"spec": {"type": "NodePort", "ports": [{"name": "a", "port": 81}]}})
            ),
            r#"{"clusterIP":"10.96.0.5","clusterIPs":["10.96.0.5"],"ports":[{"name":"a","nodePort":30001,"port":81}],"type":"NodePort"}"#
        );
        let mut to_cluster_ip = old.clone();
        to_cluster_ip["spec"]["type"] = "ClusterIP".into();
        assert_eq!(
            after(&old, to_cluster_ip),
            r#"{"clusterIP":"10.96.0.5","clusterIPs":["10.96.0.5"],"ports":[{"name":"a","port":80}],"type":"ClusterIP"}"#
        );
    }
}
