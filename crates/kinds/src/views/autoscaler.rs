//! HorizontalPodAutoscaler (v2) as its controller reads it.

use super::{Condition, null_is_empty};
use serde::{Deserialize, Serialize};
use skiff_api::view::{Meta, Resource, View};
use skiff_json::Value;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HorizontalPodAutoscaler {
    pub metadata: Meta,
    pub spec: AutoscalerSpec,
    pub status: AutoscalerStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalerSpec {
    pub scale_target_ref: TargetRef,
    pub min_replicas: Option<i32>,
    pub max_replicas: i32,
    pub metrics: Vec<Metric>,
    pub behavior: Option<Behavior>,
}

/// An object of the same namespace, by its kind.
#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    pub kind: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
}

/// One of the sources is set, that of its type.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Metric {
    /// `Resource`, `ContainerResource`, `Pods`, `Object` or `External`.
    #[serde(rename = "type")]
    pub type_: String,
    pub resource: Option<MetricSource>,
    pub container_resource: Option<MetricSource>,
    pub pods: Option<MetricSource>,
    pub object: Option<MetricSource>,
    pub external: Option<MetricSource>,
}

/// What a metric is about, whatever its type; each has some of these fields.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricSource {
    /// Of a resource.
    pub name: String,
    pub container: String,
    pub metric: MetricName,
    pub described_object: TargetRef,
    pub target: MetricTarget,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct MetricName {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricTarget {
    /// `Utilization`, `Value` or `AverageValue`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Quantities.
    pub value: Option<String>,
    pub average_value: Option<String>,
    pub average_utilization: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Behavior {
    pub scale_up: Rules,
    pub scale_down: Rules,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Rules {
    pub stabilization_window_seconds: Option<i64>,
    /// `Max`, `Min` or `Disabled`.
    pub select_policy: String,
    pub policies: Vec<Policy>,
    /// A quantity: the part by which a metric may differ from its target.
    pub tolerance: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// `Pods` or `Percent`.
    #[serde(rename = "type")]
    pub type_: String,
    pub value: i32,
    pub period_seconds: i64,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalerStatus {
    pub observed_generation: Option<i64>,
    pub last_scale_time: Option<jiff::Timestamp>,
    pub current_replicas: i32,
    pub desired_replicas: i32,
    #[serde(deserialize_with = "null_is_empty")]
    pub current_metrics: Vec<Value>,
    pub conditions: Vec<Condition>,
}

impl TargetRef {
    /// The group of its kind.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// The value under which a cache finds the autoscalers of an object (index `target`).
pub fn target(namespace: &str, group: &str, kind: &str, name: &str) -> String {
    format!("{namespace}/{group}/{kind}/{name}")
}

impl View for HorizontalPodAutoscaler {
    const RESOURCE: Resource = crate::autoscaling::horizontalpodautoscaler::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        let to = &self.spec.scale_target_ref;
        put("target", &target(&self.metadata.namespace, to.group(), &to.kind, &to.name));
    }
}
