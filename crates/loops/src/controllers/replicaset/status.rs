//! What a ReplicaSet says of itself: counts, and the condition ReplicaFailure.

use crate::Next;
use crate::parts::conditions::{self, condition};
use crate::parts::pods;
use skiff_base::Time;
use skiff_kinds::views::workloads::ReplicaSetStatus;
use skiff_kinds::views::{Pod, ReplicaSet};
use std::sync::Arc;

const FAILURE: &str = "ReplicaFailure";

/// The status as it should be. `failure`: why pods could not be created or deleted.
pub fn of(
    set: &ReplicaSet,
    active: &[&Arc<Pod>],
    going: Option<i32>,
    failure: Option<&str>,
    now: Time,
) -> ReplicaSetStatus {
    let wanted = &set.spec.template.metadata.labels;
    let number = |matches: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active.iter().filter(|pod| matches(pod)).count()).unwrap_or(i32::MAX)
    };
    let labeled =
        |pod: &Pod| wanted.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value));
    let mut conditions = set.status.conditions.clone();
    match failure {
        None => conditions::remove(&mut conditions, FAILURE),
        // What is said first stays, so that a failure that repeats is no stream of writes.
        Some(_) if conditions::find(&conditions, FAILURE).is_some() => {}
        Some(message) => {
            let reason = match usize::try_from(set.spec.replicas).unwrap_or(0) > active.len() {
                true => "FailedCreate",
                false => "FailedDelete",
            };
            conditions.push(condition(FAILURE, "True", reason, message, now));
        }
    }
    ReplicaSetStatus {
        replicas: number(&|_| true),
        fully_labeled_replicas: number(&labeled),
        ready_replicas: number(&Pod::ready),
        available_replicas: number(&|pod| {
            pods::available_at(pod, set.spec.min_ready_seconds).is_some_and(|at| at <= now)
        }),
        terminating_replicas: going,
        observed_generation: set.metadata.generation,
        conditions,
    }
}

/// When the next ready pod becomes available by mere passing of time.
pub fn next_check(set: &ReplicaSet, active: &[&Arc<Pod>], now: Time) -> Next {
    let times = active
        .iter()
        .filter_map(|pod| pods::available_at(pod, set.spec.min_ready_seconds))
        .filter(|at| *at > now);
    times.min().map_or(Next::Wait, Next::At)
}
