//! Affinity and anti-affinity between pods: near or far by a label of the nodes (API reference:
//! PodAffinityTerm). Anti-affinity counts both ways.

use super::Refusal;
use crate::state::{NodeInfo, State};
use skiff_api::selector::Selector;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::PodAffinityTerm;

pub fn filter(pod: &Pod, info: &NodeInfo, state: &State) -> Vec<Refusal> {
    let affinity = &pod.spec.affinity;
    if !affinity.pod_affinity.required.iter().all(|term| near(pod, term, info, state)) {
        return Refusal::for_good("node(s) didn't match pod affinity rules");
    }
    let anti = &affinity.pod_anti_affinity.required;
    if anti.iter().any(|term| any_in_domain(pod, term, info, state)) {
        return Refusal::for_now("node(s) didn't match pod anti-affinity rules");
    }
    if shunned(pod, info, state) {
        return Refusal::for_now("node(s) didn't satisfy existing pods anti-affinity rules");
    }
    Vec::new()
}

/// A pod of the term is in the node's domain; the first of a group that wants its own kind may go
/// anywhere where the label is.
fn near(pod: &Pod, term: &PodAffinityTerm, info: &NodeInfo, state: &State) -> bool {
    if info.label(&term.topology_key).is_none() {
        return false;
    }
    let somewhere =
        || state.known().any(|other| other.pods.values().any(|p| selects(pod, term, p, state)));
    any_in_domain(pod, term, info, state) || selects(pod, term, pod, state) && !somewhere()
}

fn any_in_domain(pod: &Pod, term: &PodAffinityTerm, info: &NodeInfo, state: &State) -> bool {
    let Some(domain) = info.label(&term.topology_key) else { return false };
    let same = state.known().filter(|other| other.label(&term.topology_key) == Some(domain));
    same.flat_map(|other| other.pods.values()).any(|other| selects(pod, term, other, state))
}

/// A pod that is there does not want this one in its domain.
fn shunned(pod: &Pod, info: &NodeInfo, state: &State) -> bool {
    state.known().any(|other| {
        other.pods.values().any(|there| {
            there.spec.affinity.pod_anti_affinity.required.iter().any(|term| {
                let domain = other.label(&term.topology_key);
                domain.is_some()
                    && domain == info.label(&term.topology_key)
                    && selects(there, term, pod, state)
            })
        })
    })
}

/// Whether a term of `owner` is about the other pod.
pub fn selects(owner: &Pod, term: &PodAffinityTerm, other: &Pod, state: &State) -> bool {
    let namespace = &other.metadata.namespace;
    let by_selector = term.namespace_selector.as_ref().is_some_and(|selector| {
        let labels = state.namespaces.get(namespace).map(|n| &n.metadata.labels);
        let Ok(selector) = Selector::from_object(Some(&selector.0)) else { return false };
        selector.matches(|key| labels.and_then(|l| l.get(key)).map(String::as_str))
    });
    let by_default = term.namespaces.is_empty()
        && term.namespace_selector.is_none()
        && *namespace == owner.metadata.namespace;
    if !(by_default || by_selector || term.namespaces.contains(namespace)) {
        return false;
    }
    let Some(selector) = &term.label_selector else { return false };
    let Ok(selector) = Selector::from_object(Some(&selector.0)) else { return false };
    selector.matches(|key| other.metadata.labels.get(key).map(String::as_str))
}
