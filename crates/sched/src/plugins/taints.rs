//! Taints keep pods off a node that do not tolerate them, or make it the worse choice (concepts: "Taints and
//! Tolerations").

use super::{Filter, MOST, Plugin, Prepared, Refusal, Score};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use skiff_kinds::views::Taint;
use skiff_kinds::views::pod::tolerated;
use std::sync::Arc;

pub struct Taints;

struct Tolerates(Arc<PodInfo>);

impl Plugin for Taints {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn prepare(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Prepared {
        match snapshot.tainted {
            0 => Prepared::default(),
            _ => Prepared::of(Tolerates(info.clone())),
        }
    }

    fn rank(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Option<Box<dyn Score>> {
        (snapshot.tainted > 0).then(|| Box::new(Tolerates(info.clone())) as Box<dyn Score>)
    }
}

impl Filter for Tolerates {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        match admits(&self.0, info) {
            true => Vec::new(),
            false => Refusal::for_good("node(s) had untolerated taint(s)"),
        }
    }
}

/// Of taints that only prefer that a pod stays away: the fewer the better.
impl Score for Tolerates {
    fn score(&self, info: &NodeInfo) -> i64 {
        let soft = info.node.spec.taints.iter().filter(|it| it.effect == "PreferNoSchedule");
        soft.filter(|taint| !tolerated(&self.0.pod.spec.tolerations, taint)).count() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        let worst = scores.iter().max().copied().unwrap_or(0).max(1);
        scores.iter_mut().for_each(|score| *score = MOST - *score * MOST / worst);
    }

    fn weight(&self) -> i64 {
        3
    }
}

/// Whether the pod tolerates what keeps others off the node.
pub fn admits(pod: &PodInfo, info: &NodeInfo) -> bool {
    let hard = |taint: &&Taint| matches!(&*taint.effect, "NoSchedule" | "NoExecute");
    let mut taints = info.node.spec.taints.iter().filter(hard);
    taints.all(|taint| tolerated(&pod.pod.spec.tolerations, taint))
}
