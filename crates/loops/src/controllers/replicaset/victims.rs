//! Which pods go when there are too many: those first that are missed least (KEP-2255 for the cost, KEP-2185 for the
//! logarithmic ages).

use skiff_base::Time;
use skiff_kinds::views::Pod;
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

/// What a user may say a pod is worth.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The pods to delete so that `keep` are left.
pub fn choose<'p>(
    mut pods: Vec<&'p Arc<Pod>>,
    related: &[Arc<Pod>],
    keep: usize,
    now: Time,
) -> Vec<&'p Arc<Pod>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| !pod.ended() && !pod.metadata.deleting()) {
        *on_node.entry(&pod.spec.node_name).or_default() += 1;
    }
    let rank = |pod: &Pod| on_node.get(&*pod.spec.node_name).copied().unwrap_or(0);
    if keep > 0 {
        pods.sort_by(|a, b| {
            let rest = || later(a, now).cmp(&later(b, now));
            first(a, b).then_with(|| rank(b).cmp(&rank(a))).then_with(rest)
        });
    }
    pods.truncate(pods.len().saturating_sub(keep));
    pods
}

/// Pods of which none is missed for the sake of its node: those that are missed least come first.
pub fn by_worth(mut pods: Vec<&Arc<Pod>>, now: Time) -> Vec<&Arc<Pod>> {
    pods.sort_by(|a, b| first(a, b).then_with(|| later(a, now).cmp(&later(b, now))));
    pods
}

/// What counts before the crowd on a node: no node, an earlier phase, not ready, cheaper.
fn first(a: &Pod, b: &Pod) -> Ordering {
    let key = |pod: &Pod| {
        let phase = match &*pod.status.phase {
            "Pending" => 0,
            "Unknown" => 1,
            "Running" => 2,
            // A pod that no node has spoken about yet is no further than a pending one.
            _ => 0,
        };
        (!pod.spec.node_name.is_empty(), phase, pod.ready(), cost(pod))
    };
    key(a).cmp(&key(b))
}

/// What counts after it: ready for a shorter time, restarted more often, younger. Ages count by their order of
/// magnitude, so that which of several pods of about one age goes is left to chance: to their UIDs. A time that is not
/// known is the youngest. It is a key, so that two pods are in one order whatever third one stands between them.
fn later(pod: &Pod, now: Time) -> impl Ord + '_ {
    let magnitude = |time: Option<Time>| {
        time.map(|time| {
            let nanos = now.as_nanosecond() - time.as_nanosecond();
            u128::try_from(nanos).ok().and_then(u128::checked_ilog2)
        })
    };
    let ready = pod.ready().then(|| magnitude(ready_since(pod)));
    let age = magnitude(pod.metadata.creation_timestamp);
    (ready, Reverse(restarts(pod)), age, &*pod.metadata.uid)
}

fn ready_since(pod: &Pod) -> Option<Time> {
    pod.status.condition("Ready").and_then(|ready| ready.last_transition_time)
}

fn cost(pod: &Pod) -> i32 {
    // The API refuses costs that are no numbers; one that came in all the same counts as none.
    pod.metadata.annotations.get(COST).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The most restarts of a container, then of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let sidecar = |name: &str| {
        let init = pod.spec.init_containers.iter().find(|container| container.name == name);
        init.is_some_and(|container| container.restart_policy.as_deref() == Some("Always"))
    };
    let containers = pod.status.container_statuses.iter().map(|status| status.restart_count);
    let sidecars = pod.status.init_container_statuses.iter().filter(|status| sidecar(&status.name));
    (containers.max().unwrap_or(0), sidecars.map(|s| s.restart_count).max().unwrap_or(0))
}

/// Orders by what is said to stay longest; for tests that show the whole order.
#[cfg(test)]
pub fn order(pods: &[Arc<Pod>], now: Time) -> Vec<&str> {
    let keep_one = choose(pods.iter().collect(), pods, 1, now);
    let mut names: Vec<&str> = keep_one.iter().map(|pod| &*pod.metadata.name).collect();
    let last = pods.iter().map(|pod| &*pod.metadata.name).find(|name| !names.contains(name));
    names.extend(last);
    names
}
