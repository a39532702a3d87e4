//! A pod that names its node runs there or nowhere.

use super::Refusal;
use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;

pub fn filter(pod: &Pod, info: &NodeInfo, _: &State) -> Vec<Refusal> {
    match pod.spec.node_name.is_empty() || pod.spec.node_name == info.node.metadata.name {
        true => Vec::new(),
        false => Refusal::for_good("node(s) didn't match the requested node name"),
    }
}
