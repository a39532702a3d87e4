//! What the node reads of objects other than pods: small views of its own.

use crate::sources::{Data, decode};
use serde::Deserialize;
use skiff_api::Status;
use skiff_api::views::{Meta, Resource, View};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    pub metadata: Meta,
    pub data: BTreeMap<String, String>,
    pub binary_data: BTreeMap<String, String>,
}

impl ConfigMap {
    pub fn into_data(self) -> Result<Data, Status> {
        let mut data = decode(self.binary_data)?;
        data.extend(self.data.into_iter().map(|(key, text)| (key, text.into_bytes())));
        Ok(data)
    }
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
    pub data: BTreeMap<String, String>,
}

impl Secret {
    pub fn into_data(self) -> Result<Data, Status> {
        decode(self.data)
    }
}

impl View for Secret {
    const RESOURCE: Resource = Resource::core("secrets", "Secret");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    pub metadata: Meta,
    pub spec: ServiceSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    pub ports: Vec<ServicePort>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServicePort {
    pub name: String,
    pub port: u16,
    pub protocol: String,
}

impl View for Service {
    const RESOURCE: Resource = Resource::core("services", "Service");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
