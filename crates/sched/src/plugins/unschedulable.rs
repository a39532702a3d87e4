//! A node that is cordoned takes no new pods, unless they tolerate its taint.

use super::{Filter, Plugin, Prepared, Refusal};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use skiff_kinds::views::pod::tolerated;
use skiff_kinds::views::{Taint, UNSCHEDULABLE};
use std::sync::Arc;

pub struct Unschedulable;

struct NotCordoned;

impl Plugin for Unschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn prepare(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Prepared {
        let taint =
            Taint { key: UNSCHEDULABLE.into(), effect: "NoSchedule".into(), ..Taint::default() };
        if snapshot.cordoned == 0 || tolerated(&info.pod.spec.tolerations, &taint) {
            return Prepared::default();
        }
        Prepared::of(NotCordoned)
    }
}

impl Filter for NotCordoned {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        match info.node.spec.unschedulable {
            true => Refusal::for_good("node(s) were unschedulable"),
            false => Vec::new(),
        }
    }
}
