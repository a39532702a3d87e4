//! Environment variables that name the services of a pod's namespace (API reference:
//! PodSpec.enableServiceLinks; concepts: Service, "Environment variables").

use skiff_kinds::views::Service;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The variables. The API's own service is always named; the others where the pod wants links.
pub fn variables(
    services: &[Arc<Service>],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let (meta, ip) = (&service.metadata, &*service.spec.cluster_ip);
        if ip.is_empty() || ip == "None" {
            continue;
        }
        let api = meta.namespace == "default" && meta.name == "kubernetes";
        if links && meta.namespace == namespace {
            chosen.insert(&meta.name, service);
        } else if api {
            chosen.entry(&meta.name).or_insert(service);
        }
    }
    let mut out = BTreeMap::new();
    for (name, service) in chosen {
        of_service(name, service, &mut out);
    }
    out
}

fn of_service(name: &str, service: &Service, out: &mut BTreeMap<String, String>) {
    let ip = &service.spec.cluster_ip;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    let prefix = word(name);
    let Some(first) = service.spec.ports.first() else { return };
    let mut put = |key: String, value: String| out.insert(format!("{prefix}_{key}"), value);
    put("SERVICE_HOST".into(), ip.clone());
    put("SERVICE_PORT".into(), first.port.to_string());
    for port in service.spec.ports.iter().filter(|port| !port.name.is_empty()) {
        put(format!("SERVICE_PORT_{}", word(&port.name)), port.port.to_string());
    }
    for (n, port) in service.spec.ports.iter().enumerate() {
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        let lower = protocol.to_ascii_lowercase();
        let url = format!("{lower}://{host}:{}", port.port);
        if n == 0 {
            put("PORT".into(), url.clone());
        }
        let own = format!("PORT_{}_{protocol}", port.port);
        put(own.clone(), url);
        put(format!("{own}_PROTO"), lower);
        put(format!("{own}_PORT"), port.port.to_string());
        put(format!("{own}_ADDR"), ip.clone());
    }
}

fn word(name: &str) -> String {
    name.replace('-', "_").to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn names_of_a_service() {
        let service: Service = skiff_json::from_value(json!({
            "metadata": {"name": "my-web", "namespace": "n"},
            "spec": {"clusterIP": "10.0.0.7", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
        }))
        .expect("a service");
        let all = [Arc::new(service)];
        assert!(variables(&all, "n", false).is_empty());
        assert!(variables(&all, "other", true).is_empty());
        let text: Vec<String> =
            variables(&all, "n", true).iter().map(|(k, v)| format!("{k}={v}")).collect();
        expect_test::expect![[r#"
            MY_WEB_PORT=tcp://10.0.0.7:80
            MY_WEB_PORT_80_TCP=tcp://10.0.0.7:80
            MY_WEB_PORT_80_TCP_ADDR=10.0.0.7
            MY_WEB_PORT_80_TCP_PORT=80
            MY_WEB_PORT_80_TCP_PROTO=tcp
            MY_WEB_SERVICE_HOST=10.0.0.7
            MY_WEB_SERVICE_PORT=80
            MY_WEB_SERVICE_PORT_HTTP=80"#]]
        .assert_eq(&text.join("\n"));
    }
}
