//! Node selector and node affinity: labels and names that a node must have, or had better have (API reference:
//! NodeSelector).

use super::{Filter, MOST, Nodes, Plugin, Prepared, Refusal, Score};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use skiff_kinds::views::pod::{NODE_NAME, NodeSelectorRequirement, NodeSelectorTerm};
use std::sync::Arc;

pub struct NodeAffinity;

struct Matches(Arc<PodInfo>);

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn prepare(&self, info: &Arc<PodInfo>, _: &Snapshot) -> Prepared {
        match particular(info) {
            true => Prepared { nodes: named(info), ..Prepared::of(Matches(info.clone())) },
            false => Prepared::default(),
        }
    }

    fn rank(&self, info: &Arc<PodInfo>, _: &Snapshot) -> Option<Box<dyn Score>> {
        let none = info.pod.spec.affinity.node_affinity.preferred.is_empty();
        (!none).then(|| Box::new(Matches(info.clone())) as Box<dyn Score>)
    }
}

impl Filter for Matches {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        match self.0.pod.spec.wants(&info.node) {
            true => Vec::new(),
            false => Refusal::for_good("node(s) didn't match Pod's node affinity/selector"),
        }
    }
}

/// The weights of what matches, together.
impl Score for Matches {
    fn score(&self, info: &NodeInfo) -> i64 {
        let preferred = self.0.pod.spec.affinity.node_affinity.preferred.iter();
        preferred
            .filter(|it| it.preference.matches(&info.name, &info.node.metadata.labels))
            .map(|it| i64::from(it.weight))
            .sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        let most = scores.iter().max().copied().unwrap_or(0).max(1);
        scores.iter_mut().for_each(|score| *score = *score * MOST / most);
    }

    fn weight(&self) -> i64 {
        2
    }
}

/// Whether the pod will not go to any node.
pub fn particular(pod: &PodInfo) -> bool {
    let spec = &pod.pod.spec;
    !spec.node_selector.is_empty() || spec.affinity.node_affinity.required.is_some()
}

/// The nodes that the pod names, if each of its terms names some: so do the pods that belong one to each node.
fn named(pod: &PodInfo) -> Option<Nodes> {
    let required = pod.pod.spec.affinity.node_affinity.required.as_ref()?;
    let names = |term: &NodeSelectorTerm| {
        let by_name = |it: &&NodeSelectorRequirement| it.key == NODE_NAME && it.operator == "In";
        term.match_fields.iter().find(by_name).map(|it| it.values.clone())
    };
    let all: Option<Vec<Vec<String>>> = required.node_selector_terms.iter().map(names).collect();
    Some(all?.into_iter().flatten().collect())
}
