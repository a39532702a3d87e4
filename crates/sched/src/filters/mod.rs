//! Filters: whether a pod may run on a node. One file each, pure; the first that says no speaks for
//! the node. The words are those that users of upstream know.

pub mod node_affinity;
mod node_name;
pub mod pod_affinity;
mod ports;
mod resources;
pub mod spread;
pub mod taints;
mod unschedulable;

use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;

/// Why a node is not for a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    pub reason: String,
    /// The node would still refuse if other pods left it.
    pub for_good: bool,
}

impl Refusal {
    pub fn for_good(reason: &str) -> Vec<Refusal> {
        vec![Refusal { reason: reason.into(), for_good: true }]
    }

    pub fn for_now(reason: &str) -> Vec<Refusal> {
        vec![Refusal { reason: reason.into(), for_good: false }]
    }
}

/// Empty: the pod may run there.
pub type Filter = fn(&Pod, &NodeInfo, &State) -> Vec<Refusal>;

/// In the order in which they are asked.
pub const FILTERS: &[Filter] = &[
    unschedulable::filter,
    node_name::filter,
    taints::filter,
    node_affinity::filter,
    ports::filter,
    resources::filter,
    spread::filter,
    pod_affinity::filter,
];
