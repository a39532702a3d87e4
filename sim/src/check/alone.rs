//! Never two at once: no container of a pod runs beside an older one of it, and of a StatefulSet no two pods of one
//! name run, as the kernels saw it (concepts: StatefulSet, "at most one pod with a given identity").

use super::state::Story;
use crate::history::Ran;
use std::collections::BTreeMap;

pub fn check(story: &Story) -> Vec<String> {
    let mut by_name: BTreeMap<&str, Vec<&Ran>> = BTreeMap::new();
    for ran in &story.record.ran {
        by_name.entry(&ran.pod).or_default().push(ran);
    }
    let mut found = Vec::new();
    for (pod, runs) in by_name {
        for (at, one) in runs.iter().enumerate() {
            let beside = runs[at + 1..].iter().find(|other| overlap(one, other));
            let Some(other) = beside else { continue };
            let (from, to) = (other.from, one.to);
            let (here, there) = (&one.node, &other.node);
            found.push(format!("{pod} ran on {here} until {to:?} and on {there} from {from:?}"));
        }
    }
    found
}

/// Whether they were there at the same time. What belongs to no StatefulSet has a name of its own.
fn overlap(one: &Ran, other: &Ran) -> bool {
    let ends = |ran: &Ran| ran.to.unwrap_or(std::time::Duration::MAX);
    one.from < ends(other) && other.from < ends(one)
}
