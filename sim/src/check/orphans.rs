//! No orphan: in the end each owner that is named is there, no pod waits for its end, what a kernel runs belongs to
//! a pod, and a pod that says that it serves has a container that runs.

use super::state::{self, Story, namespace, text};
use skiff_json::Value;
use std::collections::BTreeSet;

/// After so long all is cleaned up.
const LEAST_S: u64 = 120;

pub fn check(story: &Story) -> Vec<String> {
    let record = story.record;
    if record.end.saturating_sub(record.quiet).as_secs() < LEAST_S {
        return Vec::new();
    }
    let (mut found, all) = (Vec::new(), story.last(&[]));
    let uid = |object: &Value| text(object, "/metadata/uid").to_owned();
    let uids: BTreeSet<String> = all.values().map(|object| uid(object)).collect();
    for (key, object) in &all {
        for owner in state::items(object, "/metadata/ownerReferences") {
            if !uids.contains(text(owner, "/uid")) {
                let (kind, name) = (text(owner, "/kind"), text(owner, "/name"));
                found.push(format!("{key} is owned by {kind} {name}, which is not there"));
            }
        }
        let within = namespace(key);
        if !within.is_empty() && !all.contains_key(&*format!("namespaces//{within}")) {
            found.push(format!("{key} is in a namespace that is not there"));
        }
        if state::deleting(object) {
            let since = text(object, "/metadata/deletionTimestamp");
            found.push(format!("{key} is to go since {since}, and is there"));
        }
    }
    let running: BTreeSet<&str> =
        record.ran.iter().filter(|ran| ran.to.is_none()).map(|ran| &*ran.uid).collect();
    for ran in record.ran.iter().filter(|ran| ran.to.is_none() && !uids.contains(&ran.uid)) {
        found.push(format!("{} runs on {}, and is no pod", ran.pod, ran.node));
    }
    for (key, pod) in all.iter().filter(|(key, _)| key.starts_with("pods/")) {
        if state::healthy(pod) && !running.contains(text(pod, "/metadata/uid")) {
            found.push(format!("{key} says that it is ready, and nothing of it runs"));
        }
    }
    found
}
