//! No livelock: when nobody asks for anything and nothing fails, the cluster comes to rest. What was refused by a
//! quota is tried again after longer and longer pauses, and a deadline may pass: that is written now and then, and
//! not for ever.

use super::state::{Story, resource};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Of a hundred parts of the quiet time, the first so many are for coming to rest.
const SETTLING: u32 = 60;
/// What is written in each of so many equal parts of the rest has not come to rest.
const PARTS: u32 = 4;
/// What is written for ever.
const ENDLESS: [&str; 1] = ["leases.coordination.k8s.io"];
/// A quiet time that is shorter says nothing: a container that crashed waits for its next start.
const LEAST_S: u64 = 300;

pub fn check(story: &Story) -> Vec<String> {
    let record = story.record;
    let span = record.end.saturating_sub(record.quiet);
    if span.as_secs() < LEAST_S {
        return Vec::new();
    }
    let from = record.quiet + span * SETTLING / 100;
    let part = record.end.saturating_sub(from) / PARTS;
    let place = |at: Duration| at.saturating_sub(from).as_millis() / part.as_millis().max(1);
    let mut written: BTreeMap<&str, BTreeSet<u128>> = BTreeMap::new();
    let late = record.log.iter().filter(|logged| logged.at >= from);
    for logged in late.filter(|logged| !ENDLESS.contains(&resource(&logged.key))) {
        written.entry(&logged.key).or_default().insert(place(logged.at));
    }
    let restless = written.into_iter().filter(|(_, parts)| parts.len() >= PARTS as usize);
    restless.map(|(key, _)| format!("{key} is written again and again")).collect()
}
