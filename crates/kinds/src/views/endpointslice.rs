//! EndpointSlice as the network and DNS read it, and as the loop that makes them compares it.

use super::null_is_empty;
use serde::{Deserialize, Serialize};
use skiff_api::view::{Meta, Resource, View};
use std::collections::BTreeMap;

/// The label that names the Service of a slice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    pub metadata: Meta,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub endpoints: Vec<Endpoint>,
    #[serde(deserialize_with = "null_is_empty")]
    pub ports: Vec<EndpointPort>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    #[serde(deserialize_with = "null_is_empty")]
    pub addresses: Vec<String>,
    pub conditions: EndpointConditions,
    pub hostname: Option<String>,
    pub target_ref: Option<TargetRef>,
    pub node_name: Option<String>,
    pub zone: Option<String>,
    pub hints: Option<EndpointHints>,
    pub deprecated_topology: BTreeMap<String, String>,
}

/// Where an endpoint should be used from (KEP-2433, KEP-3015).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointHints {
    #[serde(deserialize_with = "null_is_empty")]
    pub for_zones: Vec<HintName>,
    #[serde(deserialize_with = "null_is_empty")]
    pub for_nodes: Vec<HintName>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HintName {
    pub name: String,
}

/// Absent means: ready and serving unknown, to be read as true; terminating as false.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

/// An ObjectReference, with whatever somebody put in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    pub name: Option<String>,
    pub protocol: Option<String>,
    /// Absent means every port.
    pub port: Option<u16>,
    pub app_protocol: Option<String>,
}

impl View for EndpointSlice {
    const RESOURCE: Resource = crate::discovery::endpointslice::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    /// Found by `service`, the name of its Service, within its namespace.
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        if let Some(service) = self.metadata.labels.get(SERVICE_NAME) {
            put("service", &format!("{}/{service}", self.metadata.namespace));
        }
    }
}
