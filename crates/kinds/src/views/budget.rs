//! PodDisruptionBudget as its controller, evictions and the scheduler read it.

use super::Condition;
use super::pod::LabelSelector;
use super::workloads::Amount;
use serde::{Deserialize, Serialize};
use skiff_api::selector::Selector;
use skiff_api::view::{Meta, Resource, View};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodDisruptionBudget {
    pub metadata: Meta,
    pub spec: BudgetSpec,
    pub status: BudgetStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetSpec {
    pub min_available: Option<Amount>,
    pub max_unavailable: Option<Amount>,
    /// Absent selects no pod.
    pub selector: Option<LabelSelector>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    pub observed_generation: i64,
    /// Pods whose eviction was allowed and is not seen yet, with the time of that.
    pub disrupted_pods: BTreeMap<String, jiff::Timestamp>,
    pub disruptions_allowed: i32,
    pub current_healthy: i32,
    pub desired_healthy: i32,
    pub expected_pods: i32,
    pub conditions: Vec<Condition>,
}

impl View for PodDisruptionBudget {
    const RESOURCE: Resource = crate::policy::poddisruptionbudget::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn selector(&self) -> Option<Selector> {
        Selector::from_object(self.spec.selector.as_ref().map(|it| &it.0)).ok()
    }
}
