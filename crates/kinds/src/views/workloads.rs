//! Views of the apps group: what keeps a number of pods alike.

use super::Condition;
use super::pod::{LabelSelector, PodSpec};
use serde::{Deserialize, Serialize};
use skiff_api::selector::Selector;
use skiff_api::view::{Meta, Resource, View};
use skiff_json::Value;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    pub metadata: Meta,
    pub spec: ReplicaSetSpec,
    pub status: ReplicaSetStatus,
}

/// The same under another name, with a plain map of labels as its selector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct ReplicationController(pub ReplicaSet);

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    pub replicas: i32,
    pub min_ready_seconds: i32,
    pub selector: LabelSelector,
    pub template: Template,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    pub replicas: i32,
    pub fully_labeled_replicas: i32,
    pub ready_replicas: i32,
    pub available_replicas: i32,
    pub terminating_replicas: Option<i32>,
    pub observed_generation: i64,
    pub conditions: Vec<Condition>,
}

/// What pods are made of, untyped: a controller copies and compares it as a whole.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Template {
    pub metadata: Meta,
    pub spec: Value,
}

impl Template {
    /// The spec as pods have it.
    pub fn pod_spec(&self) -> Result<PodSpec, skiff_json::Error> {
        PodSpec::deserialize(&self.spec)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    pub metadata: Meta,
    pub spec: DeploymentSpec,
    pub status: DeploymentStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    pub replicas: i32,
    pub selector: LabelSelector,
    pub template: Template,
    pub strategy: Strategy,
    pub min_ready_seconds: i32,
    pub revision_history_limit: Option<i32>,
    pub progress_deadline_seconds: Option<i32>,
    pub paused: bool,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    /// `RollingUpdate` or `Recreate`.
    #[serde(rename = "type")]
    pub type_: String,
    pub rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    pub max_unavailable: Amount,
    pub max_surge: Amount,
}

/// A number, or a share of a number (`25%`).
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Amount {
    Number(i32),
    Share(String),
}

impl Default for Amount {
    fn default() -> Amount {
        Amount::Number(0)
    }
}

/// Where a share of a number falls when it is no whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    Up,
    Down,
}

impl Amount {
    /// The number itself, or this share of `total`. A text that is no share counts as nothing; validation lets none in.
    pub fn of(&self, total: i32, rounding: Rounding) -> i32 {
        match self {
            Amount::Number(number) => *number,
            Amount::Share(text) => {
                let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok());
                let hundredfold = percent.unwrap_or(0) * i64::from(total);
                let whole = match rounding {
                    Rounding::Up => (hundredfold + 99).div_euclid(100),
                    Rounding::Down => hundredfold.div_euclid(100),
                };
                i32::try_from(whole).unwrap_or(i32::MAX)
            }
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    pub observed_generation: i64,
    pub replicas: i32,
    pub updated_replicas: i32,
    pub ready_replicas: i32,
    pub available_replicas: i32,
    pub unavailable_replicas: i32,
    pub terminating_replicas: Option<i32>,
    pub collision_count: Option<i32>,
    pub conditions: Vec<Condition>,
}

impl View for ReplicaSet {
    const RESOURCE: Resource = crate::apps::replicaset::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        super::owners(&self.metadata, put);
    }
    fn selector(&self) -> Option<Selector> {
        Selector::from_object(Some(&self.spec.selector.0)).ok()
    }
}

impl AsRef<ReplicaSet> for ReplicaSet {
    fn as_ref(&self) -> &ReplicaSet {
        self
    }
}

impl AsRef<ReplicaSet> for ReplicationController {
    fn as_ref(&self) -> &ReplicaSet {
        &self.0
    }
}

impl View for ReplicationController {
    const RESOURCE: Resource = crate::core::replicationcontroller::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.0.metadata
    }
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        super::owners(&self.0.metadata, put);
    }
    fn selector(&self) -> Option<Selector> {
        Selector::of(Some(&self.0.spec.selector.0)).ok()
    }
}

impl View for Deployment {
    const RESOURCE: Resource = crate::apps::deployment::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        super::owners(&self.metadata, put);
    }
    fn selector(&self) -> Option<Selector> {
        Selector::from_object(Some(&self.spec.selector.0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_as_asked() {
        let share = Amount::Share("25%".into());
        assert_eq!((share.of(10, Rounding::Up), share.of(10, Rounding::Down)), (3, 2));
        assert_eq!(Amount::Number(4).of(10, Rounding::Up), 4);
    }
}
