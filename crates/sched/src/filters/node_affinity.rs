//! Node selector and node affinity: labels and names that a node must have (API reference:
//! NodeSelector).

use super::Refusal;
use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{NodeSelectorRequirement, NodeSelectorTerm};

pub fn filter(pod: &Pod, info: &NodeInfo, _: &State) -> Vec<Refusal> {
    match matches(pod, info) {
        true => Vec::new(),
        false => Refusal::for_good("node(s) didn't match Pod's node affinity/selector"),
    }
}

/// Whether the node is one that the pod wants.
pub fn matches(pod: &Pod, info: &NodeInfo) -> bool {
    let mut labels = pod.spec.node_selector.iter();
    let required = &pod.spec.affinity.node_affinity.required;
    labels.all(|(key, value)| info.label(key) == Some(value))
        && required.as_ref().is_none_or(|selector| {
            selector.node_selector_terms.iter().any(|candidate| term(candidate, info))
        })
}

/// All requirements of a term; an empty one matches nothing.
pub fn term(term: &NodeSelectorTerm, info: &NodeInfo) -> bool {
    let (labels, fields) = (&term.match_expressions, &term.match_fields);
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let name = &info.node.metadata.name;
    labels.iter().all(|r| requirement(r, info.label(&r.key)))
        && fields.iter().all(|r| requirement(r, (r.key == "metadata.name").then_some(name)))
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
