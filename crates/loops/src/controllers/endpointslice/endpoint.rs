//! Endpoints: what a pod is behind a Service, and with which ports.

use super::Seen;
use skiff_api::view::{Key, Meta};
use skiff_kinds::views::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, HintName, IntOrString, Node, Pod,
    Service, ServicePort, TargetRef,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

const ZONE: &str = "topology.kubernetes.io/zone";

/// The ports of a slice, in an order that makes equal ones equal.
pub type Ports = Vec<EndpointPort>;

/// The endpoints of one address type.
pub struct Groups {
    pub by_ports: Vec<(Ports, Vec<Endpoint>)>,
    /// A pod was left out because its node is not known yet.
    pub waits_for_node: bool,
}

/// The address types of a service.
pub fn families(service: &Service) -> Vec<&'static str> {
    let spec = &service.spec;
    let family = |name: &String| if name == "IPv6" { "IPv6" } else { "IPv4" };
    if !spec.ip_families.is_empty() {
        return spec.ip_families.iter().map(family).collect();
    }
    match spec.cluster_ip.parse() {
        Ok(IpAddr::V6(_)) => vec!["IPv6"],
        Ok(IpAddr::V4(_)) => vec!["IPv4"],
        // A headless one of an unknown family takes what its pods have.
        Err(_) => vec!["IPv4", "IPv6"],
    }
}

pub fn groups(seen: &Seen, family: &str) -> Groups {
    let mut groups = Groups { by_ports: Vec::new(), waits_for_node: false };
    // What cannot be read is there: its endpoints stay as they were.
    let is_hidden = |pod: Key, node: &str| {
        seen.hidden.contains(&pod) || seen.hidden.contains(&Key::new("", node))
    };
    let slices =
        seen.slices.iter().filter(|it| !seen.hidden.is_empty() && it.address_type == family);
    for slice in slices {
        for endpoint in &slice.endpoints {
            let node = endpoint.node_name.as_deref().unwrap_or("");
            let pod = endpoint.target_ref.as_ref().map(|it| Key::new(&it.namespace, &it.name));
            if pod.is_some_and(|pod| is_hidden(pod, node)) {
                groups.add(&slice.ports, Some(endpoint.clone()));
            }
        }
    }
    let is_hidden =
        |pod: &Pod| !seen.hidden.is_empty() && is_hidden(pod.metadata.key(), &pod.spec.node_name);
    for pod in seen.pods.iter().filter(|pod| !pod.ended() && !is_hidden(pod)) {
        let addresses = addresses(pod, family);
        if pod.status.pod_ips.is_empty() && pod.status.pod_ip.is_empty() {
            continue;
        }
        let node = seen.nodes.get(&pod.spec.node_name);
        if node.is_none() && !seen.service.spec.publish_not_ready_addresses {
            groups.waits_for_node = true;
            continue;
        }
        let endpoint = (!addresses.is_empty())
            .then(|| endpoint(&seen.service, pod, node.map(|node| &**node), addresses));
        groups.add(&ports(&seen.service, pod), endpoint);
    }
    groups
}

impl Groups {
    fn add(&mut self, ports: &Ports, endpoint: Option<Endpoint>) {
        let at = self.by_ports.iter().position(|(known, _)| known == ports);
        let at = at.unwrap_or_else(|| {
            self.by_ports.push((ports.clone(), Vec::new()));
            self.by_ports.len() - 1
        });
        self.by_ports[at].1.extend(endpoint);
    }
}

pub fn addresses(pod: &Pod, family: &str) -> Vec<String> {
    let parsed = pod.status.pod_ips.iter().filter_map(|it| it.ip.parse::<IpAddr>().ok());
    parsed.filter(|ip| ip.is_ipv6() == (family == "IPv6")).map(|ip| ip.to_string()).collect()
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>, addresses: Vec<String>) -> Endpoint {
    let meta = &pod.metadata;
    let (serving, terminating) = (pod.ready(), meta.deleting());
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let node_name = Some(pod.spec.node_name.clone()).filter(|name| !name.is_empty());
    let zone =
        node.and_then(|node| node.metadata.labels.get(ZONE)).filter(|it| !it.is_empty()).cloned();
    let hints = hints(service, ready, zone.as_deref(), node_name.as_deref());
    Endpoint {
        addresses,
        conditions: EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        },
        hostname: hostname(service, pod),
        target_ref: Some(reference(meta)),
        node_name,
        zone,
        hints,
        deprecated_topology: BTreeMap::new(),
    }
}

/// A pod as its endpoints name it.
pub fn reference(pod: &Meta) -> TargetRef {
    TargetRef {
        kind: "Pod".into(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        ..TargetRef::default()
    }
}

/// The name that a pod has behind its service (API reference: Pod, `spec.subdomain`).
pub fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let named = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name;
    named.then(|| pod.spec.hostname.clone())
}

/// Where a service wants its traffic to stay, ready endpoints say whom they are for (KEP-4444, KEP-3015).
fn hints(
    service: &Service,
    ready: bool,
    zone: Option<&str>,
    node: Option<&str>,
) -> Option<EndpointHints> {
    let wish = &*service.spec.traffic_distribution;
    if !ready || !matches!(wish, "PreferClose" | "PreferSameZone" | "PreferSameNode") {
        return None;
    }
    let name = |name: &str| HintName { name: name.into() };
    let for_nodes = node.filter(|_| wish == "PreferSameNode").map(name).into_iter().collect();
    let hints = EndpointHints { for_zones: zone.map(name).into_iter().collect(), for_nodes };
    (hints != EndpointHints::default()).then_some(hints)
}

/// The ports of a service as this pod has them; one that the pod does not name is left out.
pub fn ports(service: &Service, pod: &Pod) -> Ports {
    let one = |port: &ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone()),
            protocol: Some(port.protocol.clone()),
            port: Some(target(port, pod)?),
            app_protocol: port.app_protocol.clone(),
        })
    };
    let mut ports: Ports = service.spec.ports.iter().filter_map(one).collect();
    order(&mut ports);
    ports
}

/// The API keeps names of ports apart, so names and numbers order them.
pub fn order(ports: &mut Ports) {
    ports.sort_by(|a, b| (&a.name, a.port, &a.protocol).cmp(&(&b.name, b.port, &b.protocol)));
}

fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    let name = match &port.target_port {
        IntOrString::Int(0) => return Some(port.port),
        IntOrString::Int(number) => return u16::try_from(*number).ok(),
        IntOrString::Text(name) => name,
    };
    let sidecars = pod.spec.init_containers.iter().filter(|container| container.is_sidecar());
    let mut all = pod.spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
    let found = all.find(|it| it.name == *name && it.protocol == port.protocol);
    found.map(|found| found.container_port)
}
