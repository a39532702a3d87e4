//! Topology spread: the pods of a selector in even numbers over domains (API reference:
//! TopologySpreadConstraint).

use super::{Refusal, node_affinity, taints};
use crate::state::{NodeInfo, State};
use skiff_api::selector::Selector;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::TopologySpreadConstraint;
use std::collections::BTreeMap;

const REFUSED: &str = "node(s) didn't match pod topology spread constraints";

pub fn filter(pod: &Pod, info: &NodeInfo, state: &State) -> Vec<Refusal> {
    let hard = |c: &&TopologySpreadConstraint| c.when_unsatisfiable == "DoNotSchedule";
    let constraints = || pod.spec.topology_spread_constraints.iter().filter(hard);
    if constraints().any(|c| info.label(&c.topology_key).is_none()) {
        return Refusal::for_good(&format!("{REFUSED} (missing required label)"));
    }
    match constraints().all(|constraint| fits(pod, constraint, info, state)) {
        true => Vec::new(),
        false => Refusal::for_now(REFUSED),
    }
}

fn fits(pod: &Pod, constraint: &TopologySpreadConstraint, info: &NodeInfo, state: &State) -> bool {
    let counts = counts(pod, constraint, state);
    let fewest = counts.values().min().copied().unwrap_or(0);
    let domains = i32::try_from(counts.len()).unwrap_or(i32::MAX);
    let fewest =
        if constraint.min_domains.is_some_and(|least| domains < least) { 0 } else { fewest };
    let here = info.label(&constraint.topology_key).and_then(|domain| counts.get(domain));
    let own = i64::from(selected(constraint, pod));
    here.copied().unwrap_or(0) + own - fewest <= i64::from(constraint.max_skew)
}

/// Pods of the selector in each domain that counts for the pod.
pub fn counts<'a>(
    pod: &Pod,
    constraint: &TopologySpreadConstraint,
    state: &'a State,
) -> BTreeMap<&'a str, i64> {
    let mut counts = BTreeMap::new();
    for info in state.known() {
        let Some(domain) = info.label(&constraint.topology_key) else { continue };
        let affinity = constraint.node_affinity_policy.as_deref() != Some("Ignore");
        if affinity && !node_affinity::matches(pod, info) {
            continue;
        }
        let honor_taints = constraint.node_taints_policy.as_deref() == Some("Honor");
        if honor_taints && !taints::filter(pod, info, state).is_empty() {
            continue;
        }
        let namespace = &pod.metadata.namespace;
        let here = info.pods.values().filter(|other| {
            other.metadata.namespace == *namespace
                && !other.metadata.deleting()
                && selected(constraint, other)
        });
        *counts.entry(domain).or_default() += here.count() as i64;
    }
    counts
}

fn selected(constraint: &TopologySpreadConstraint, pod: &Pod) -> bool {
    let Some(selector) = &constraint.label_selector else { return false };
    let Ok(selector) = Selector::from_object(Some(&selector.0)) else { return false };
    selector.matches(|key| pod.metadata.labels.get(key).map(String::as_str))
}
