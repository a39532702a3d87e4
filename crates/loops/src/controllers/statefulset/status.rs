//! What a StatefulSet says of itself: counts, and between which revisions it is.

use super::{Pass, member};
use crate::parts::pods;
use crate::parts::status::{this, write};
use crate::{Changes, Next};
use skiff_kinds::views::Pod;
use skiff_kinds::views::StatefulSetStatus;
use std::sync::Arc;

impl Pass<'_> {
    fn members(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.replicas.values().copied().chain(self.condemned.iter().map(|(_, pod)| *pod))
    }

    fn status(&self) -> StatefulSetStatus {
        let number = |matches: &dyn Fn(&Pod) -> bool| {
            i32::try_from(self.members().filter(|pod| matches(pod)).count()).unwrap_or(i32::MAX)
        };
        let of = |name: &str| {
            number(&|pod: &Pod| !pod.metadata.deleting() && member::revision(pod) == name)
        };
        let running = |pod: &Pod| self.running(pod);
        let mut status = StatefulSetStatus {
            observed_generation: self.set.metadata.generation,
            replicas: number(&|_: &Pod| true),
            ready_replicas: number(&running),
            available_replicas: number(&|pod: &Pod| running(pod) && self.available(pod)),
            current_replicas: (of(&self.current) - self.outdated).max(0),
            updated_replicas: of(&self.update.name),
            current_revision: self.current.clone(),
            update_revision: self.update.name.clone(),
            collision_count: Some(self.seen.history.collisions().unwrap_or(0)),
            conditions: self.set.status.conditions.clone(),
        };
        let wanted = self.set.spec.replicas;
        if [status.updated_replicas, status.ready_replicas, status.replicas] == [wanted; 3] {
            // The update is done: where the set came from no longer matters.
            status.current_replicas = status.updated_replicas;
            status.current_revision = status.update_revision.clone();
        }
        status
    }

    /// Writes the status, and says when time alone will change it.
    pub(super) fn tell(&self, out: &mut Changes) -> Next {
        let status = self.status();
        write(self.set, this(&self.set.metadata), (&self.set.status, &status), out);
        let pods = self.members().map(|pod| &**pod);
        let next = pods::next_available(pods, self.set.spec.min_ready_seconds, self.now);
        next.map_or(Next::Wait, Next::At)
    }
}
