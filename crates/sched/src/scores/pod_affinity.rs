//! Affinity between pods that is only preferred: weights of the pods in the node's domain.

use crate::filters::pod_affinity::selects;
use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::WeightedPodTerm;

pub fn score(pod: &Pod, info: &NodeInfo, state: &State) -> i64 {
    let affinity = &pod.spec.affinity;
    let sum = |terms: &[WeightedPodTerm]| -> i64 {
        terms.iter().map(|it| i64::from(it.weight) * count(pod, it, info, state)).sum()
    };
    sum(&affinity.pod_affinity.preferred) - sum(&affinity.pod_anti_affinity.preferred)
}

fn count(pod: &Pod, term: &WeightedPodTerm, info: &NodeInfo, state: &State) -> i64 {
    let term = &term.pod_affinity_term;
    let Some(domain) = info.label(&term.topology_key) else { return 0 };
    let same = state.known().filter(|other| other.label(&term.topology_key) == Some(domain));
    same.flat_map(|other| other.pods.values()).filter(|p| selects(pod, term, p, state)).count()
        as i64
}
