//! The watch is the log replayed: whoever follows a resource sees a state that there was, then every event of it
//! once and in order, over broken connections and crashes; and in the end the caches hold what the store holds.

use super::state::{self, Story};
use crate::history::{Logged, Sort, Watched};
use std::collections::BTreeSet;

pub fn check(story: &Story) -> Vec<String> {
    let record = story.record;
    let mut found: Vec<String> =
        record.watched.iter().filter_map(|watched| stretch(&record.log, watched)).collect();
    let last = record.log.last().map_or(0, |logged| logged.revision);
    let all = state::at(&record.log, last);
    for cached in &record.cached {
        let prefix = format!("{}/", cached.resource);
        let stored: state::Revisions =
            all.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(k, r)| (*k, *r)).collect();
        let held: state::Revisions = cached.objects.iter().map(|(k, r)| (&**k, *r)).collect();
        let keys: BTreeSet<&str> = stored.keys().chain(held.keys()).copied().collect();
        for key in keys.into_iter().filter(|key| stored.get(key) != held.get(key)) {
            let (has, holds) = (stored.get(key), held.get(key));
            found.push(format!("in the end a cache has {key} at {holds:?}, the store at {has:?}"));
        }
    }
    found
}

/// What is wrong with one stretch.
fn stretch(log: &[Logged], watched: &Watched) -> Option<String> {
    let Watched { who, from, reached, .. } = watched;
    let prefix = format!("{}/", watched.resource);
    if let Some(state) = &watched.state {
        let seen: state::Revisions = state.iter().map(|(key, at)| (&**key, *at)).collect();
        let mut there = state::at(log, *from);
        there.retain(|key, _| key.starts_with(&prefix));
        if seen != there {
            return Some(format!("{who} saw {seen:?} at {from}, there was {there:?}"));
        }
    }
    let within = |logged: &&Logged| {
        logged.key.starts_with(&prefix) && logged.revision > *from && logged.revision <= *reached
    };
    let expected = log.iter().filter(within).map(|logged| {
        let sort = if logged.new.is_some() { Sort::Put } else { Sort::Gone };
        (sort, logged.key.clone(), logged.revision)
    });
    let expected: Vec<_> = expected.collect();
    if expected == watched.events {
        return None;
    }
    let differ = expected.iter().zip(&watched.events).position(|(a, b)| a != b);
    let at = differ.unwrap_or(expected.len().min(watched.events.len()));
    let (was, seen) = (expected.get(at), watched.events.get(at));
    Some(format!("{who} saw {seen:?} after {from}, event {at} of the log was {was:?}"))
}
