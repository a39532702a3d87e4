//! What a DaemonSet says of itself: how many nodes should have a pod, and how far their pods are.

use super::Pass;
use super::placement::Fit;
use crate::parts::pods;
use crate::parts::status::{this, write};
use crate::{Changes, Next};
use skiff_kinds::views::DaemonSetStatus;

impl Pass<'_> {
    fn status(&self) -> DaemonSetStatus {
        let mut status = DaemonSetStatus {
            observed_generation: self.set.metadata.generation,
            collision_count: self.seen.history.collisions(),
            ..DaemonSetStatus::default()
        };
        for node in &self.seen.nodes {
            let oldest = self.pods_on(&node.metadata.name).first();
            if self.seen.daemon.fit(node) != Fit::Runs {
                status.number_misscheduled += i32::from(oldest.is_some());
                continue;
            }
            status.desired_number_scheduled += 1;
            let Some(pod) = oldest else { continue };
            status.current_number_scheduled += 1;
            status.number_ready += i32::from(pod.ready());
            status.number_available += i32::from(self.available(pod));
            status.updated_number_scheduled += i32::from(self.updated(pod));
        }
        status.number_unavailable = status.desired_number_scheduled - status.number_available;
        status
    }

    pub(super) fn tell(&self, out: &mut Changes) {
        write(self.set, this(&self.set.metadata), (&self.set.status, &self.status()), out);
    }

    /// When time alone will change something.
    pub(super) fn next(&self) -> Next {
        let pods = self.on.values().flatten().map(|pod| &***pod);
        let available = pods::next_available(pods, self.set.spec.min_ready_seconds, self.now);
        let times = available.into_iter().chain(self.retry);
        times.min().map_or(Next::Wait, Next::At)
    }
}
