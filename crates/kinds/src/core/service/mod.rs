//! Service: a stable name and address in front of pods (API reference: service-resources).
//!
//! Which address and ports it gets is decided by the server's admission; here are its defaults, what follows from a
//! change of its type, its rules (`validate`) and its columns.

mod columns;
mod prepare;
mod update;
mod validate;

pub use prepare::settle;
pub use validate::cluster_ips as validate_cluster_ips;

use skiff_api::errors::Errors;
use skiff_api::kind::{
    Cell, Connect, Hooks, Kind, NameRule, Proxied, Verb, age_column, column, connect, name_column,
    status, wide,
};
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource = Resource::core("services", "Service");

/// How long ClientIP affinity lasts by default: three hours.
const AFFINITY_S: i64 = 10_800;

pub fn kind() -> Kind {
    Kind {
        short: vec!["svc".into()],
        categories: vec!["all".into()],
        name_rule: NameRule::Label,
        converts_fields: true,
        selectable: vec!["spec.clusterIP".into(), "spec.type".into()],
        subresources: vec![
            connect("proxy", Connect::Proxy(Proxied::Service), Verb::PROXY, "ServiceProxyOptions"),
            status(),
        ],
        shows_deleted: true,
        creates_on_update: true,
        columns: vec![
            name_column(),
            column("Type", Cell::With(|service| service.text("spec.type").into())),
            column("Cluster-IP", Cell::With(|service| columns::cluster_ip(service).into())),
            column("External-IP", Cell::With(|service| columns::external_ip(service).into())),
            column("Port(s)", Cell::With(|service| columns::ports(service).into())),
            age_column(),
            wide("Selector", Cell::With(|service| columns::selector(service).into())),
        ],
        hooks: Hooks {
            default,
            prepare: prepare::prepare,
            validate: validate::validate,
            validate_part,
            warn: validate::warn,
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn default(service: &mut Object) {
    service.set_absent("spec.sessionAffinity", "None");
    service.set_absent("spec.type", "ClusterIP");
    match service.text("spec.sessionAffinity") {
        "None" => drop(service.remove("spec.sessionAffinityConfig")),
        "ClientIP" => {
            service.set_absent("spec.sessionAffinityConfig.clientIP.timeoutSeconds", AFFINITY_S);
        }
        _ => {}
    }
    if let Some(Value::Array(ports)) = service.value_mut().pointer_mut("/spec/ports") {
        ports.iter_mut().for_each(default_port);
    }
    if externally_accessible(service) {
        service.set_absent("spec.externalTrafficPolicy", "Cluster");
    }
    match service.text("spec.type") {
        "ClusterIP" | "NodePort" => service.set_absent("spec.internalTrafficPolicy", "Cluster"),
        "LoadBalancer" => {
            service.set_absent("spec.internalTrafficPolicy", "Cluster");
            service.set_absent("spec.allocateLoadBalancerNodePorts", true);
            default_ingress(service);
        }
        _ => {}
    }
}

fn default_port(port: &mut Value) {
    if at(port, "protocol").is_none_or(|it| it == "") {
        port["protocol"] = "TCP".into();
    }
    if at(port, "targetPort").is_none_or(|it| it == "" || *it == json!(0)) {
        port["targetPort"] = port.get("port").cloned().unwrap_or(json!(0));
    }
}

fn default_ingress(service: &mut Object) {
    let ingress = service.value_mut().pointer_mut("/status/loadBalancer/ingress");
    for entry in ingress.and_then(Value::as_array_mut).into_iter().flatten() {
        if at(entry, "ip").is_some_and(|ip| ip != "") && at(entry, "ipMode").is_none() {
            entry["ipMode"] = "VIP".into();
        }
    }
}

fn validate_part(_: &str, new: &Object, old: &Object, errors: &mut Errors) {
    validate::status(new, old, errors);
}

/// Whether traffic from outside reaches it: node ports, load balancers, and external addresses.
pub fn externally_accessible(service: &Object) -> bool {
    match service.text("spec.type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !service.list("spec.externalIPs").is_empty(),
        _ => false,
    }
}

/// Whether load balancers ask a port of the node whether it has endpoints.
pub fn needs_health_check(service: &Object) -> bool {
    service.text("spec.type") == "LoadBalancer"
        && service.text("spec.externalTrafficPolicy") == "Local"
}

pub fn needs_cluster_ip(service: &Object) -> bool {
    service.text("spec.type") != "ExternalName"
}

pub fn needs_node_port(service: &Object) -> bool {
    matches!(service.text("spec.type"), "NodePort" | "LoadBalancer")
}

pub fn headless(service: &Object) -> bool {
    service.list("spec.clusterIPs").first().is_some_and(|it| it == "None")
}

/// The node ports that its ports name.
pub fn node_ports(service: &Object) -> Vec<i64> {
    let ports = service.list("spec.ports").iter();
    ports.filter_map(|port| at(port, "nodePort")?.as_i64()).filter(|port| *port != 0).collect()
}
