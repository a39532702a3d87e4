//! PriorityClass as the scheduler reads it.

use serde::Deserialize;
use skiff_api::view::{Meta, Resource, View};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PriorityClass {
    pub metadata: Meta,
    pub value: i64,
    pub global_default: bool,
    /// `PreemptLowerPriority` or `Never`.
    pub preemption_policy: String,
}

impl View for PriorityClass {
    const RESOURCE: Resource = crate::scheduling::priorityclass::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
