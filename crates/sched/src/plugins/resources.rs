//! What a pod asks for must be free on the node; the more is free, the better.

use super::{Event, EventKind, Filter, MOST, Plugin, Prepared, Refusal, Score};
use crate::pod::{Amount, PodInfo};
use crate::snapshot::{NodeInfo, Snapshot};
use std::sync::Arc;

pub struct Resources;

struct Fit(Arc<PodInfo>);

impl Plugin for Resources {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn prepare(&self, info: &Arc<PodInfo>, _: &Snapshot) -> Prepared {
        Prepared::of(Fit(info.clone()))
    }

    fn rank(&self, info: &Arc<PodInfo>, _: &Snapshot) -> Option<Box<dyn Score>> {
        Some(Box::new(Fit(info.clone())))
    }

    fn listens(&self) -> &'static [EventKind] {
        &[EventKind::Node, EventKind::Left, EventKind::Changed]
    }

    fn helps(&self, info: &Arc<PodInfo>, event: &Event, _: &Snapshot) -> bool {
        match event {
            Event::Node(new) => new.is_some_and(|node| Fit(info.clone()).filter(node).is_empty()),
            Event::Left(_) => true,
            Event::Changed { old, new } => {
                old.requests.iter().any(|(name, amount)| new.requests.get(name) < amount)
            }
            _ => false,
        }
    }
}

impl Filter for Fit {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        let full = info.pods.len() as Amount + 1 > info.pods_most;
        let mut refusals = Vec::new();
        if !full && self.0.requests.fit(&info.allocatable, &info.requested) {
            return refusals;
        }
        if full {
            refusals.push(Refusal { reason: "Too many pods".into(), for_good: false });
        }
        for (name, wanted) in self.0.requests.iter().filter(|(_, wanted)| *wanted > 0) {
            let has = info.allocatable.get(name);
            if wanted > has - info.requested.get(name) {
                let reason = match name {
                    "cpu" => "Insufficient cpu".into(),
                    "memory" => "Insufficient memory".into(),
                    other => format!("Insufficient {other}").into(),
                };
                refusals.push(Refusal { reason, for_good: wanted > has });
            }
        }
        refusals
    }
}

impl Score for Fit {
    fn score(&self, info: &NodeInfo) -> i64 {
        let (cpu, memory) = self.0.weighed;
        let (has, taken) = (&info.allocatable, info.weighed);
        (free(has.cpu, taken.0 + cpu) + free(has.memory, taken.1 + memory)) / 2
    }
}

/// Which part of all would be free, in hundredths.
fn free(has: Amount, wanted: Amount) -> i64 {
    if has == 0 || wanted > has {
        return 0;
    }
    // Nearly always 64 bits are enough, and much faster.
    let small = i64::try_from(has).ok().zip(i64::try_from(has - wanted).ok());
    match small.and_then(|(has, left)| Some(left.checked_mul(MOST)? / has)) {
        Some(part) => part,
        None => ((has - wanted) * Amount::from(MOST) / has) as i64,
    }
}
