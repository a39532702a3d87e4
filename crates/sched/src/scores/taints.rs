//! Taints that only prefer that a pod stays away: their number, the fewer the better.

use crate::filters::taints::tolerated;
use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;

pub fn score(pod: &Pod, info: &NodeInfo, _: &State) -> i64 {
    let soft = info.node.spec.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    soft.filter(|taint| !tolerated(&pod.spec.tolerations, taint)).count() as i64
}
