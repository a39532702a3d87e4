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
    const RESOURCE: Resource = crate::core::namespace::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    pub metadata: Meta,
    /// Names of secrets that are its own.
    #[serde(deserialize_with = "super::null_is_empty")]
    pub secrets: Vec<SecretName>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SecretName {
    pub name: String,
}

impl View for ServiceAccount {
    const RESOURCE: Resource = crate::core::serviceaccount::RESOURCE;
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
    const RESOURCE: Resource = crate::core::configmap::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Secret {
    pub metadata: Meta,
    #[serde(rename = "type")]
    pub type_: String,
    /// Values are base64.
    pub data: std::collections::BTreeMap<String, String>,
}

impl View for Secret {
    const RESOURCE: Resource = crate::core::secret::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Which object something is about (API reference: ObjectReference).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}
