//! A pod that names its node runs there or nowhere.

use super::{Filter, Plugin, Prepared, Refusal};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use std::sync::Arc;

pub struct NodeName;

struct Named(String);

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn prepare(&self, info: &Arc<PodInfo>, _: &Snapshot) -> Prepared {
        let name = &info.pod.spec.node_name;
        if name.is_empty() {
            return Prepared::default();
        }
        Prepared { nodes: Some([name.clone()].into()), ..Prepared::of(Named(name.clone())) }
    }
}

impl Filter for Named {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        match self.0 == info.name {
            true => Vec::new(),
            false => Refusal::for_good("node(s) didn't match the requested node name"),
        }
    }
}
