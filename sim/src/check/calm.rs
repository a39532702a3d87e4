//! No livelock: when nobody asks for anything and nothing fails, the cluster comes to rest. What goes on for ever are
//! signs of life.

use super::state::{Story, resource};
use std::collections::BTreeMap;

/// Of a hundred parts of the quiet time, the first so many are for coming to rest.
const SETTLING: u32 = 60;
/// An event is counted again when a quota refuses again, after longer and longer pauses.
const EVENTS_MOST: usize = 2;
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
    let mut writes: BTreeMap<&str, usize> = BTreeMap::new();
    let late = record.log.iter().filter(|logged| logged.at >= from);
    for logged in late.filter(|logged| !ENDLESS.contains(&resource(&logged.key))) {
        *writes.entry(&logged.key).or_default() += 1;
    }
    let restless = |(key, times): &(&str, usize)| match resource(key) {
        "events" => *times > EVENTS_MOST,
        _ => *times > 0,
    };
    writes
        .into_iter()
        .filter(restless)
        .map(|(key, times)| format!("{key} is still written, {times} times"))
        .collect()
}
