//! Requests and limits as the kernel counts them: cgroup values and the OOM score (concepts:
//! "Resource management", "Node-pressure eviction: node out of memory behavior").

use crate::qos;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{Container, Quantities};
use skiff_runtime::spec::Resources;

/// The least that cgroup v1 takes.
const SHARES_LEAST: i64 = 2;
const PERIOD_US: i64 = 100_000;
/// Less than a millisecond of a period is refused by the kernel.
const QUOTA_LEAST_US: i64 = 1000;

/// The cgroup of one container.
pub fn container(container: &Container) -> Resources {
    let (limits, requests) = (&container.resources.limits, &container.resources.requests);
    let mut resources = amounts(requests, limits);
    resources.hugepages = hugepages(limits);
    resources
}

/// The cgroup of the whole pod: the sum, limited only where every container is.
pub fn pod(pod: &Pod) -> Resources {
    if let Some(own) = &pod.spec.resources {
        return amounts(&own.requests, &own.limits);
    }
    let total = qos::requests(pod);
    let mut resources =
        Resources { cpu_shares: Some(shares(total.milli_cpu)), ..Resources::default() };
    if let Some(milli) = qos::limit(pod, "cpu") {
        resources.cpu_quota = Some(quota(milli));
        resources.cpu_period = Some(PERIOD_US as u64);
    }
    resources.memory = qos::limit(pod, "memory").map(|milli| milli / 1000);
    resources
}

/// No limits at all.
pub fn lifted() -> Resources {
    or_lifted(Resources::default())
}

/// What is not limited any more has its limit lifted, where that of an earlier time may stand.
pub fn or_lifted(mut resources: Resources) -> Resources {
    resources.cpu_quota.get_or_insert(-1);
    resources.memory.get_or_insert(-1);
    resources
}

fn amounts(requests: &Quantities, limits: &Quantities) -> Resources {
    let limit = limits.get("cpu").map(|cpu| cpu.milli_value()).filter(|milli| *milli > 0);
    let request = requests.get("cpu").map(|cpu| cpu.milli_value()).or(limit).unwrap_or(0);
    Resources {
        cpu_shares: Some(shares(request)),
        cpu_quota: limit.map(quota),
        cpu_period: limit.map(|_| PERIOD_US as u64),
        memory: limits.get("memory").map(|memory| memory.value()).filter(|bytes| *bytes > 0),
        ..Resources::default()
    }
}

fn shares(milli_cpu: i64) -> u64 {
    (milli_cpu.saturating_mul(1024) / 1000).max(SHARES_LEAST) as u64
}

fn quota(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(PERIOD_US) / 1000).max(QUOTA_LEAST_US)
}

/// `hugepages-2Mi` is the kernel's `2MB`.
fn hugepages(limits: &Quantities) -> std::collections::BTreeMap<String, u64> {
    let sizes = limits.iter().filter_map(|(name, amount)| {
        let size = name.strip_prefix("hugepages-")?.strip_suffix('i')?;
        Some((format!("{size}B"), u64::try_from(amount.value()).ok()?))
    });
    sizes.collect()
}

/// Whom the kernel kills first when memory runs out; the higher the sooner.
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory: i64) -> i32 {
    match qos::class(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let request = container.resources.requests.get("memory").map_or(0, |m| m.value());
            let score = 1000 - request.saturating_mul(1000) / node_memory.max(1);
            score.clamp(3, 999) as i32
        }
    }
}
