//! The trigger time: when what led to a change of endpoints happened, for those who measure how long it took to reach
//! the nodes (KEP-2830's predecessor, the annotation `endpoints.kubernetes.io/last-change-trigger-time`).

use skiff_base::Time;
use skiff_kinds::views::{Pod, Service};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was known at the last pass.
#[derive(Debug, Default)]
pub struct Memory {
    known: Option<BTreeMap<String, Time>>,
}

impl Memory {
    /// The earliest of the times that are new since the last pass; for a new service its own.
    pub fn trigger(&mut self, service: &Service, pods: &[Arc<Pod>]) -> Option<Time> {
        let changed_at = |pod: &Arc<Pod>| {
            let at = pod.status.condition("Ready")?.last_transition_time?;
            Some((pod.metadata.name.clone(), at))
        };
        let now: BTreeMap<String, Time> = pods.iter().filter_map(changed_at).collect();
        let before = self.known.replace(now.clone());
        let Some(before) = before else { return service.metadata.creation_timestamp };
        let is_new = |(name, at): &(&String, &Time)| before.get(*name).is_none_or(|old| old < at);
        now.iter().filter(is_new).map(|(_, at)| *at).min()
    }
}
