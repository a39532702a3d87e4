//! ClusterRole as the loop that gathers rules reads it.

use super::null_is_empty;
use super::pod::LabelSelector;
use serde::Deserialize;
use skiff_api::view::{Meta, Resource, View};
use skiff_json::Value;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterRole {
    pub metadata: Meta,
    /// Untyped: they are gathered and compared as wholes.
    #[serde(deserialize_with = "null_is_empty")]
    pub rules: Vec<Value>,
    pub aggregation_rule: Option<AggregationRule>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AggregationRule {
    #[serde(deserialize_with = "null_is_empty")]
    pub cluster_role_selectors: Vec<LabelSelector>,
}

impl View for ClusterRole {
    const RESOURCE: Resource = crate::rbac::clusterrole::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        if self.aggregation_rule.is_some() {
            put("aggregates", "");
        }
    }
}
