//! Claims of devices, as the loop that makes them for pods reads them.

use crate::resource::resourceclaim::POD_CLAIM;
use serde::{Deserialize, Serialize};
use skiff_api::view::{Meta, Resource, View};
use skiff_json::Value;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceClaim {
    pub metadata: Meta,
    pub status: ClaimStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimStatus {
    pub allocation: Option<Value>,
    pub reserved_for: Vec<Consumer>,
}

/// Who uses a claim.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Consumer {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    pub resource: String,
    pub name: String,
    pub uid: String,
}

impl Consumer {
    pub fn is_pod(&self) -> bool {
        self.api_group.is_empty() && self.resource == "pods"
    }
}

impl View for ResourceClaim {
    const RESOURCE: Resource = crate::resource::resourceclaim::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    /// Found by owners, and by the pods that use it.
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        super::owners(&self.metadata, put);
        let users = self.status.reserved_for.iter().filter(|it| it.is_pod());
        users.for_each(|user| put("user", &user.uid));
    }
}

impl ResourceClaim {
    /// The claim of its pod for which it was made.
    pub fn made_for(&self) -> Option<&str> {
        self.metadata.annotations.get(POD_CLAIM).map(String::as_str)
    }

    /// Whether this pod owns it.
    pub fn is_of(&self, pod: &Meta) -> bool {
        self.metadata.controlled_by(&pod.uid)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceClaimTemplate {
    pub metadata: Meta,
    pub spec: ClaimTemplateSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ClaimTemplateSpec {
    pub metadata: Meta,
    pub spec: Value,
}

impl View for ResourceClaimTemplate {
    const RESOURCE: Resource = crate::resource::resourceclaimtemplate::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
