//! Views of the core group that are a few lines each.

use super::Condition;
use serde::{Deserialize, Serialize};
use skiff_api::view::{Meta, Resource, View};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    pub metadata: Meta,
    pub spec: NamespaceSpec,
    pub status: NamespaceStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    pub finalizers: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct NamespaceStatus {
    pub phase: String,
    pub conditions: Vec<Condition>,
}

impl View for Namespace {
    const RESOURCE: Resource = Resource::core("namespaces", "Namespace").cluster();
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    pub metadata: Meta,
}

impl View for ServiceAccount {
    const RESOURCE: Resource = Resource::core("serviceaccounts", "ServiceAccount");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConfigMap {
    pub metadata: Meta,
    pub data: std::collections::BTreeMap<String, String>,
    /// Values are base64.
    pub binary_data: std::collections::BTreeMap<String, String>,
}

impl View for ConfigMap {
    const RESOURCE: Resource = Resource::core("configmaps", "ConfigMap");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Secret {
    pub metadata: Meta,
    #[serde(rename = "type")]
    pub sort: String,
    /// Values are base64.
    pub data: std::collections::BTreeMap<String, String>,
}

impl View for Secret {
    const RESOURCE: Resource = Resource::core("secrets", "Secret");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
