//! What the loops read that keep the server's own configuration: what it serves, which requests wait, what is written
//! anew.

use super::{Condition, null_is_empty};
use serde::{Deserialize, Serialize};
use skiff_api::view::{Meta, Resource, View};
use skiff_json::Value;

/// Conditions and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Conditions {
    #[serde(deserialize_with = "null_is_empty")]
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ApiService {
    pub metadata: Meta,
    pub spec: ApiServiceSpec,
    pub status: Conditions,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiServiceSpec {
    pub group: String,
    pub version: String,
    pub group_priority_minimum: i64,
    pub version_priority: i64,
    pub service: Option<ApiServiceBackend>,
    pub ca_bundle: String,
    #[serde(rename = "insecureSkipTLSVerify")]
    pub insecure_skip_tls_verify: bool,
}

/// The Service that serves it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ApiServiceBackend {
    pub namespace: String,
    pub name: String,
    pub port: i64,
}

impl View for ApiService {
    const RESOURCE: Resource = crate::apiregistration::apiservice::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    /// Found by the Service that it names.
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        if let Some(service) = &self.spec.service {
            put("service", &format!("{}/{}", service.namespace, service.name));
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FlowSchema {
    pub metadata: Meta,
    pub spec: Value,
    pub status: Conditions,
}

impl FlowSchema {
    /// The level that it names.
    pub fn level(&self) -> &str {
        self.spec["priorityLevelConfiguration"]["name"].as_str().unwrap_or("")
    }
}

impl View for FlowSchema {
    const RESOURCE: Resource = crate::flowcontrol::flowschema::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        put("level", self.level());
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PriorityLevelConfiguration {
    pub metadata: Meta,
    pub spec: Value,
}

impl View for PriorityLevelConfiguration {
    const RESOURCE: Resource = crate::flowcontrol::prioritylevelconfiguration::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StorageVersionMigration {
    pub metadata: Meta,
    pub spec: MigrationSpec,
    pub status: MigrationStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct MigrationSpec {
    pub resource: GroupResource,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct GroupResource {
    pub group: String,
    pub resource: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MigrationStatus {
    #[serde(deserialize_with = "null_is_empty")]
    pub conditions: Vec<Condition>,
    pub resource_version: String,
}

impl View for StorageVersionMigration {
    const RESOURCE: Resource = crate::storagemigration::storageversionmigration::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl StorageVersionMigration {
    pub fn is(&self, type_: &str) -> bool {
        self.status.conditions.iter().any(|it| it.type_ == type_ && it.status == "True")
    }

    /// Nothing more happens to it.
    pub fn ended(&self) -> bool {
        self.is("Succeeded") || self.is("Failed")
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ValidatingAdmissionPolicy {
    pub metadata: Meta,
    /// As it is: whoever reads expressions compiles them.
    pub spec: skiff_json::Value,
    pub status: PolicyStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    pub observed_generation: i64,
}

impl View for ValidatingAdmissionPolicy {
    const RESOURCE: Resource = crate::admissionregistration::validatingadmissionpolicy::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
