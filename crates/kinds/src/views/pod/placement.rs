//! Where a pod may and should run: affinity, tolerations and spreading.

use super::PodSpec;
use crate::views::{Node, Taint};
use serde::Deserialize;

/// The one field of a node that a term may name.
pub const NODE_NAME: &str = "metadata.name";

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    pub node_affinity: NodeAffinity,
    pub pod_affinity: PodAffinity,
    pub pod_anti_affinity: PodAffinity,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub preferred: Vec<PreferredNode>,
}

/// Any of the terms must match.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// All requirements must match; a term without any matches nothing.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    pub match_expressions: Vec<NodeSelectorRequirement>,
    pub match_fields: Vec<NodeSelectorRequirement>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct NodeSelectorRequirement {
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    pub values: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct PreferredNode {
    pub weight: i32,
    pub preference: NodeSelectorTerm,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct PodAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Vec<PodAffinityTerm>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub preferred: Vec<WeightedPodTerm>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct WeightedPodTerm {
    pub weight: i32,
    pub pod_affinity_term: PodAffinityTerm,
}

/// `matchLabelKeys` are part of the selector already when a pod is stored.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAffinityTerm {
    /// Absent selects no pod.
    pub label_selector: Option<LabelSelector>,
    pub namespaces: Vec<String>,
    pub namespace_selector: Option<LabelSelector>,
    pub topology_key: String,
}

/// Read with `selector::Selector::from_object(Some(&selector.0))`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(transparent)]
pub struct LabelSelector(pub skiff_json::Value);

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    pub key: String,
    /// `Exists`, `Equal`, `Lt` or `Gt`; empty is `Equal`.
    pub operator: String,
    pub value: String,
    /// Empty is every effect.
    pub effect: String,
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// Whether it is for this taint.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let key = self.key.is_empty() || self.key == taint.key;
        let number = |text: &str| text.parse::<i64>().ok();
        let value = match &*self.operator {
            "Exists" => true,
            "Lt" => number(&taint.value) < number(&self.value),
            "Gt" => number(&taint.value) > number(&self.value),
            _ => self.value == taint.value && !self.key.is_empty(),
        };
        effect && key && value
    }
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologySpreadConstraint {
    pub max_skew: i32,
    pub topology_key: String,
    /// `DoNotSchedule` or `ScheduleAnyway`.
    pub when_unsatisfiable: String,
    pub label_selector: Option<LabelSelector>,
    pub min_domains: Option<i32>,
    /// `Honor` (also when absent) or `Ignore`.
    pub node_affinity_policy: Option<String>,
    /// `Ignore` (also when absent) or `Honor`.
    pub node_taints_policy: Option<String>,
}

impl PodSpec {
    /// Whether the node is one that the pod wants: by its selector and by what it requires of nodes.
    pub fn wants(&self, node: &Node) -> bool {
        let labels = &node.metadata.labels;
        let required = &self.affinity.node_affinity.required;
        self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && required.as_ref().is_none_or(|selector| {
                let mut terms = selector.node_selector_terms.iter();
                terms.any(|term| term.matches(&node.metadata.name, &node.metadata.labels))
            })
    }
}

/// Whether any of the tolerations is for this taint.
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_toleration_is_for_which_taint() {
        let taint = Taint {
            key: "k".into(),
            value: "v".into(),
            effect: "NoSchedule".into(),
            time_added: None,
        };
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: effect.into(),
            toleration_seconds: None,
        };
        for (given, wanted) in [
            (toleration("", "Exists", "", ""), true),
            (toleration("k", "Equal", "v", ""), true),
            (toleration("k", "", "v", "NoSchedule"), true),
            (toleration("k", "Equal", "w", ""), false),
            (toleration("k", "Exists", "", "NoExecute"), false),
            (toleration("x", "Exists", "", ""), false),
        ] {
            assert_eq!(tolerated(std::slice::from_ref(&given), &taint), wanted, "{given:?}");
        }
    }
}
