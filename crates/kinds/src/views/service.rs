//! Service as the network, DNS and the endpoint slices read it.

use serde::Deserialize;
use skiff_api::selector::Selector;
use skiff_api::view::{Meta, Resource, View};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    pub metadata: Meta,
    pub spec: ServiceSpec,
    pub status: ServiceStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `None` is headless; empty only for `ExternalName`.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    pub external_name: String,
    pub ports: Vec<ServicePort>,
    pub selector: BTreeMap<String, String>,
    pub ip_families: Vec<String>,
    pub ip_family_policy: String,
    /// `None` or `ClientIP`.
    pub session_affinity: String,
    pub session_affinity_config: AffinityConfig,
    /// `Cluster` or `Local`.
    pub internal_traffic_policy: String,
    pub external_traffic_policy: String,
    pub traffic_distribution: String,
    pub publish_not_ready_addresses: bool,
    pub health_check_node_port: u16,
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
    pub load_balancer_source_ranges: Vec<String>,
    pub load_balancer_class: Option<String>,
    pub allocate_load_balancer_node_ports: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    pub app_protocol: Option<String>,
    pub port: u16,
    pub target_port: IntOrString,
    pub node_port: u16,
}

/// A port by number or by the name that a container gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    Int(i64),
    Text(String),
}

impl Default for IntOrString {
    fn default() -> IntOrString {
        IntOrString::Int(0)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AffinityConfig {
    #[serde(rename = "clientIP")]
    pub client_ip: ClientIp,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIp {
    pub timeout_seconds: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    pub load_balancer: LoadBalancer,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    pub ingress: Vec<Ingress>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    pub ip: String,
    pub hostname: String,
    /// `VIP` or `Proxy` (KEP-1860).
    pub ip_mode: Option<String>,
}

impl View for Service {
    const RESOURCE: Resource = crate::core::service::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    /// An empty one selects nothing: somebody else keeps the endpoints.
    fn selector(&self) -> Option<Selector> {
        let labels = self.spec.selector.iter().map(|(name, value)| (&**name, &**value));
        (!self.spec.selector.is_empty()).then(|| Selector::from_labels(labels))
    }
}

impl Service {
    pub fn headless(&self) -> bool {
        self.spec.cluster_ip == "None"
    }
}
