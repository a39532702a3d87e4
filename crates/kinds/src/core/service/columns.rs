//! What `kubectl get services` shows.

use skiff_api::object::{Object, at, texts};
use skiff_json::Value;

/// Longer lists of load balancer addresses are cut, but in wide output.
const NONE: &str = "<none>";

pub fn cluster_ip(service: &Object) -> String {
    let first = service.list("spec.clusterIPs").first().and_then(Value::as_str);
    first.unwrap_or(NONE).to_owned()
}

pub fn external_ip(service: &Object) -> String {
    let given = service.list("spec.externalIPs").iter().filter_map(Value::as_str);
    let given: Vec<&str> = given.collect();
    match service.text("spec.type") {
        "ClusterIP" | "NodePort" if given.is_empty() => NONE.to_owned(),
        "ClusterIP" | "NodePort" => given.join(","),
        "LoadBalancer" => {
            let mut all = ingress(service);
            all.extend(given.iter().map(ToString::to_string));
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => service.text("spec.externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ingress(service: &Object) -> Vec<String> {
    let address = |entry: &Value| {
        let text = |field| at(entry, field).and_then(Value::as_str).filter(|it| !it.is_empty());
        text("ip").or_else(|| text("hostname")).map(str::to_owned)
    };
    let entries = service.list("status.loadBalancer.ingress").iter();
    let mut all: Vec<String> = entries.filter_map(address).collect();
    all.sort();
    all.dedup();
    all
}

pub fn ports(service: &Object) -> String {
    let show = |port: &Value| {
        let number = |field| at(port, field).and_then(Value::as_i64).unwrap_or(0);
        let protocol = at(port, "protocol").and_then(Value::as_str).unwrap_or("");
        match number("nodePort") {
            0 => format!("{}/{protocol}", number("port")),
            node => format!("{}:{node}/{protocol}", number("port")),
        }
    };
    let all: Vec<String> = service.list("spec.ports").iter().map(show).collect();
    if all.is_empty() { NONE.to_owned() } else { all.join(",") }
}

pub fn selector(service: &Object) -> String {
    let pairs = texts(service.map("spec.selector"));
    let mut all: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    all.sort();
    if all.is_empty() { NONE.to_owned() } else { all.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn columns_of_each_type() {
        let service = Object::new(
            json!({"spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            "selector": {"b": "2", "a": "1"}}}),
        );
        assert_eq!(ports(&service), "80:30000/TCP,53/UDP");
        assert_eq!(
            (external_ip(&service), selector(&service)),
            ("<pending>".into(), "a=1,b=2".into())
        );
        let named = Object::new(json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}));
        assert_eq!((cluster_ip(&named), external_ip(&named)), ("<none>".into(), "a.b".into()));
    }
}
