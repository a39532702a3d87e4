//! Taints keep pods off a node that do not tolerate them, or make it the worse choice (concepts: "Taints and
//! Tolerations").

use super::{Filter, MOST, Plugin, Prepared, Refusal, Score};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use skiff_kinds::views::Taint;
use skiff_kinds::views::pod::Toleration;
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

/// Whether any of the tolerations is for this taint.
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
        let key = toleration.key.is_empty() || toleration.key == taint.key;
        let number = |text: &str| text.parse::<i64>().ok();
        let value = match &*toleration.operator {
            "Exists" => true,
            "Lt" => number(&taint.value) < number(&toleration.value),
            "Gt" => number(&taint.value) > number(&toleration.value),
            _ => toleration.value == taint.value && !toleration.key.is_empty(),
        };
        effect && key && value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_toleration_is_for_which_taint() {
        let taint = Taint {
            key: "k".into(),
            value: "v".into(),
            effect: "NoSchedule".into(),
            time_added: None,
        };
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: effect.into(),
            toleration_seconds: None,
        };
        for (given, wanted) in [
            (toleration("", "Exists", "", ""), true),
            (toleration("k", "Equal", "v", ""), true),
            (toleration("k", "", "v", "NoSchedule"), true),
            (toleration("k", "Equal", "w", ""), false),
            (toleration("k", "Exists", "", "NoExecute"), false),
            (toleration("x", "Exists", "", ""), false),
        ] {
            assert_eq!(tolerated(std::slice::from_ref(&given), &taint), wanted, "{given:?}");
        }
    }
}
