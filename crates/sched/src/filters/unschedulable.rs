//! A node that is cordoned takes no new pods, unless they tolerate its taint.

use super::{Refusal, taints};
use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;
use skiff_kinds::views::Taint;

pub fn filter(pod: &Pod, info: &NodeInfo, _: &State) -> Vec<Refusal> {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    match info.node.spec.unschedulable && !taints::tolerated(&pod.spec.tolerations, &taint) {
        true => Refusal::for_good("node(s) were unschedulable"),
        false => Vec::new(),
    }
}
