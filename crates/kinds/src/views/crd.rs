//! CustomResourceDefinition as the loop that accepts and ends it reads it.

use super::{Condition, null_is_empty};
use serde::{Deserialize, Serialize};
use skiff_api::view::{Meta, Resource, View};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CustomResourceDefinition {
    pub metadata: Meta,
    pub spec: CrdSpec,
    pub status: CrdStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CrdSpec {
    pub group: String,
    pub names: CrdNames,
    pub versions: Vec<CrdVersion>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CrdVersion {
    pub name: String,
    pub served: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrdNames {
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub kind: String,
    pub list_kind: String,
    pub categories: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrdStatus {
    pub accepted_names: CrdNames,
    #[serde(deserialize_with = "null_is_empty")]
    pub conditions: Vec<Condition>,
}

impl View for CustomResourceDefinition {
    const RESOURCE: Resource = crate::apiextensions::customresourcedefinition::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    /// Found by `group`.
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        put("group", &self.spec.group);
    }
}

impl CustomResourceDefinition {
    /// Whether a condition of that type is true.
    pub fn is(&self, type_: &str) -> bool {
        self.status.conditions.iter().any(|it| it.type_ == type_ && it.status == "True")
    }
}
