//! Views of the core group that are a few lines each.

use super::{Meta, Resource, View};
use serde::Deserialize;

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

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    pub phase: String,
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
