//! Replaces pods of an older template, the highest ordinal first, never more than may be unavailable (KEP-961). A pod
//! is only deleted here; the next passes make its successor.

use super::{Pass, member};
use skiff_kinds::views::Pod;
use skiff_kinds::views::workloads::Rounding;
use std::sync::Arc;

impl Pass<'_> {
    pub(super) fn roll(&mut self) {
        let (set, rolling) = (self.set, &self.set.spec.update_strategy.rolling_update);
        let most = rolling.as_ref().and_then(|it| it.max_unavailable.as_ref());
        let most = most.map_or(1, |it| it.of(set.spec.replicas, Rounding::Down)).max(1);
        let out = |pod: &Arc<Pod>| !self.available(pod) || pod.metadata.deleting();
        let there = i32::try_from(self.replicas.len()).unwrap_or(i32::MAX);
        let unavailable = self.replicas.values().filter(|pod| out(pod)).count();
        let unavailable =
            i32::try_from(unavailable).unwrap_or(i32::MAX) + (set.spec.replicas - there);
        let partition = rolling.as_ref().map_or(0, |it| it.partition);
        let lowest = set.spec.ordinals.start.saturating_add(partition);
        let old: Vec<&Arc<Pod>> = self
            .replicas
            .range(lowest..)
            .rev()
            .map(|(_, pod)| *pod)
            .filter(|pod| member::revision(pod) != self.update.name && !pod.metadata.deleting())
            .collect();
        let budget = usize::try_from(most - unavailable).unwrap_or(0);
        let going: Vec<&Arc<Pod>> = if self.ordered() {
            old.into_iter().take(budget).collect()
        } else {
            // Those that serve nobody go first, and cost nothing: else they could hold up the update for ever.
            let (out, serving): (Vec<_>, Vec<_>) = old.into_iter().partition(|pod| out(pod));
            out.into_iter().chain(serving.into_iter().take(budget)).collect()
        };
        self.outdated = i32::try_from(going.len()).unwrap_or(i32::MAX);
        let going = going.into_iter().map(|pod| self.deletion(pod)).collect();
        self.together(going);
    }
}
