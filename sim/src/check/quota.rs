//! Quotas are never exceeded, and in the end they say what is used.

use super::state::{self, Objects, Story, namespace, text};
use skiff_base::Time;
use skiff_json::Value;
use std::time::Duration;

/// After so long everything is counted.
const LEAST_S: u64 = 60;

pub fn check(story: &Story) -> Vec<String> {
    let mut found = Vec::new();
    let last = story.replay(&["pods", "resourcequotas"], |logged, new, all| {
        // Only a new pod uses more.
        if !logged.key.starts_with("pods/") || new.is_null() || all.contains_key(&*logged.key) {
            return;
        }
        let within = namespace(&logged.key);
        for (key, quota) in all.iter().filter(|(key, _)| is_quota_of(key, within)) {
            let (pods, cpu) = used(all, within, logged.time);
            let (pods, cpu) = (pods + 1, cpu + state::cpu(&new["spec"]));
            if exceeds(quota, pods, cpu) {
                let at = logged.revision;
                found.push(format!("{key}: {pods} pods use {cpu}m of processors at {at}"));
            }
        }
    });
    let record = story.record;
    if record.end.saturating_sub(record.quiet).as_secs() < LEAST_S {
        return found;
    }
    for (key, quota) in last.iter().filter(|(key, _)| key.starts_with("resourcequotas/")) {
        let Some(now) = record.log.last().map(|logged| logged.time) else { continue };
        let (pods, cpu) = used(&last, namespace(key), now);
        let says = (
            text(quota, "/status/used/pods").parse().unwrap_or(-1),
            state::amount(text(quota, "/status/used/requests.cpu")),
        );
        if says != (pods, cpu) {
            found.push(format!("{key} says in the end {says:?}, used are {:?}", (pods, cpu)));
        }
    }
    found
}

pub fn is_quota_of(key: &str, within: &str) -> bool {
    key.starts_with("resourcequotas/") && namespace(key) == within
}

/// Pods of a namespace, and what they ask for in thousandths of processors.
pub fn used(all: &Objects, within: &str, now: Time) -> (i64, i64) {
    let counts = |key: &str, pod: &Value| {
        let there = !state::ended(pod) && !overdue(pod, now);
        key.starts_with("pods/") && namespace(key) == within && there
    };
    let counted = all.iter().filter(|(key, pod)| counts(key, pod));
    counted.fold((0, 0), |(pods, cpu), (_, pod)| (pods + 1, cpu + state::cpu(&pod["spec"])))
}

/// Whether the node of a pod should have ended it long ago: such a one uses nothing of a quota.
fn overdue(pod: &Value, now: Time) -> bool {
    let Ok(due) = text(pod, "/metadata/deletionTimestamp").parse::<Time>() else { return false };
    let grace_s = pod.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64);
    let until = due.checked_add(Duration::from_secs(grace_s.unwrap_or(0)));
    until.is_ok_and(|until| now > until)
}

/// Whether this is more than a quota allows.
pub fn exceeds(quota: &Value, pods: i64, cpu: i64) -> bool {
    let hard = |name: &str| quota.pointer("/spec/hard").and_then(|hard| hard[name].as_str());
    let most = hard("pods").map_or(i64::MAX, |text| text.parse().unwrap_or(0));
    let most_cpu = hard("requests.cpu").map_or(i64::MAX, state::amount);
    pods > most || cpu > most_cpu
}
