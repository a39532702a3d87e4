//! Node selector and node affinity: labels and names that a node must have, or had better have (API reference:
//! NodeSelector).

use super::{Filter, MOST, Nodes, Plugin, Prepared, Refusal, Score};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use skiff_kinds::views::pod::{NodeSelectorRequirement, NodeSelectorTerm};
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
        match matches(&self.0, info) {
            true => Vec::new(),
            false => Refusal::for_good("node(s) didn't match Pod's node affinity/selector"),
        }
    }
}

/// The weights of what matches, together.
impl Score for Matches {
    fn score(&self, info: &NodeInfo) -> i64 {
        let preferred = self.0.pod.spec.affinity.node_affinity.preferred.iter();
        preferred.filter(|it| term(&it.preference, info)).map(|it| i64::from(it.weight)).sum()
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

/// Whether the node is one that the pod wants.
pub fn matches(pod: &PodInfo, info: &NodeInfo) -> bool {
    let spec = &pod.pod.spec;
    let mut labels = spec.node_selector.iter();
    let required = &spec.affinity.node_affinity.required;
    labels.all(|(key, value)| info.label(key) == Some(value))
        && required.as_ref().is_none_or(|selector| {
            selector.node_selector_terms.iter().any(|candidate| term(candidate, info))
        })
}

/// The nodes that the pod names, if each of its terms names some: so do the pods that belong one to each node.
fn named(pod: &PodInfo) -> Option<Nodes> {
    let required = pod.pod.spec.affinity.node_affinity.required.as_ref()?;
    let names = |term: &NodeSelectorTerm| {
        let by_name = |it: &&NodeSelectorRequirement| it.key == NAME && it.operator == "In";
        term.match_fields.iter().find(by_name).map(|it| it.values.clone())
    };
    let all: Option<Vec<Vec<String>>> = required.node_selector_terms.iter().map(names).collect();
    Some(all?.into_iter().flatten().collect())
}

/// The one field of a node that a term may name.
const NAME: &str = "metadata.name";

/// All requirements of a term; an empty one matches nothing.
fn term(term: &NodeSelectorTerm, info: &NodeInfo) -> bool {
    let (labels, fields) = (&term.match_expressions, &term.match_fields);
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let name = &info.name;
    labels.iter().all(|r| requirement(r, info.label(&r.key)))
        && fields.iter().all(|r| requirement(r, (r.key == NAME).then_some(name)))
}

fn requirement(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let among = |value: &str| requirement.values.iter().any(|wanted| wanted == value);
    let number = |text: &str| text.parse::<i64>().ok();
    let wanted = requirement.values.first().and_then(|text| number(text));
    match &*requirement.operator {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(number).zip(wanted).is_some_and(|(value, wanted)| value > wanted),
        "Lt" => value.and_then(number).zip(wanted).is_some_and(|(value, wanted)| value < wanted),
        _ => false,
    }
}
