//! Views of StatefulSet and DaemonSet, and of the revisions that both keep.

use super::Condition;
use super::pod::LabelSelector;
use super::workloads::{Amount, Template};
use serde::{Deserialize, Serialize};
use skiff_api::selector::Selector;
use skiff_api::view::{Meta, Resource, View};
use skiff_json::Value;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    pub metadata: Meta,
    pub spec: StatefulSetSpec,
    pub status: StatefulSetStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetSpec {
    pub replicas: i32,
    pub selector: LabelSelector,
    pub template: Template,
    /// Untyped: claims are made of them as they are.
    pub volume_claim_templates: Vec<Value>,
    pub service_name: String,
    /// `OrderedReady` or `Parallel`.
    pub pod_management_policy: String,
    pub update_strategy: UpdateStrategy,
    pub revision_history_limit: Option<i32>,
    pub min_ready_seconds: i32,
    pub persistent_volume_claim_retention_policy: Retention,
    pub ordinals: Ordinals,
}

/// Of a StatefulSet or a DaemonSet.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    #[serde(rename = "type")]
    pub type_: String,
    pub rolling_update: Option<RollingSets>,
}

/// A StatefulSet has a partition, a DaemonSet a surge.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingSets {
    pub partition: i32,
    pub max_unavailable: Option<Amount>,
    pub max_surge: Option<Amount>,
}

/// What becomes of claims: `Retain` or `Delete`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    pub when_deleted: String,
    pub when_scaled: String,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Ordinals {
    pub start: i32,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetStatus {
    pub observed_generation: i64,
    pub replicas: i32,
    pub ready_replicas: i32,
    pub current_replicas: i32,
    pub updated_replicas: i32,
    pub available_replicas: i32,
    pub current_revision: String,
    pub update_revision: String,
    pub collision_count: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DaemonSet {
    pub metadata: Meta,
    pub spec: DaemonSetSpec,
    pub status: DaemonSetStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetSpec {
    pub selector: LabelSelector,
    pub template: Template,
    pub update_strategy: UpdateStrategy,
    pub min_ready_seconds: i32,
    pub revision_history_limit: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetStatus {
    pub current_number_scheduled: i32,
    pub number_misscheduled: i32,
    pub desired_number_scheduled: i32,
    pub number_ready: i32,
    pub observed_generation: i64,
    pub updated_number_scheduled: i32,
    pub number_available: i32,
    pub number_unavailable: i32,
    pub collision_count: Option<i32>,
}

/// A template that its owner had, by its number.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ControllerRevision {
    pub metadata: Meta,
    pub revision: i64,
    /// A strategic merge patch of the owner.
    pub data: Value,
}

impl View for StatefulSet {
    const RESOURCE: Resource = crate::apps::statefulset::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn selector(&self) -> Option<Selector> {
        Selector::from_object(Some(&self.spec.selector.0)).ok()
    }
}

impl View for DaemonSet {
    const RESOURCE: Resource = crate::apps::daemonset::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn selector(&self) -> Option<Selector> {
        Selector::from_object(Some(&self.spec.selector.0)).ok()
    }
}

impl View for ControllerRevision {
    const RESOURCE: Resource = crate::apps::controllerrevision::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        super::owners(&self.metadata, put);
    }
}
