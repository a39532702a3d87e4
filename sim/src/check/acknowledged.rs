//! Nothing acknowledged is lost, and revisions never go back: what a client was told is in the log, each entry of
//! the log has a higher revision than the one before, and a store that is opened again holds exactly what the log
//! says.

use super::state::{self, Story};
use std::collections::BTreeSet;

pub fn check(story: &Story) -> Vec<String> {
    let record = story.record;
    let mut found = Vec::new();
    for pair in record.log.windows(2) {
        if pair[1].revision <= pair[0].revision {
            let (before, after) = (pair[0].revision, pair[1].revision);
            found.push(format!("revision {after} of {} came after {before}", pair[1].key));
        }
    }
    let written: BTreeSet<u64> = record.log.iter().map(|logged| logged.revision).collect();
    for told in &record.acknowledged {
        if !written.contains(&told.revision) {
            let (what, who, at) = (&told.what, &told.who, told.at);
            let revision = told.revision;
            found.push(format!(
                "{what} of {who} at {at:?} was acknowledged as {revision}: it is in no log"
            ));
        }
    }
    for (written, held) in &record.opened {
        let log = &record.log[..*written];
        let expected = state::at(log, u64::MAX);
        let held: state::Revisions = held.iter().map(|(key, at)| (&**key, *at)).collect();
        let differs = |key: &&str| expected.get(*key) != held.get(*key);
        let keys: BTreeSet<&str> = expected.keys().chain(held.keys()).copied().collect();
        for key in keys.into_iter().filter(differs) {
            let (had, has) = (expected.get(key), held.get(key));
            let last = log.last().map_or(0, |logged| logged.revision);
            found.push(format!(
                "the store opened at {last} with {key} at {has:?}, the log has {had:?}"
            ));
        }
    }
    found
}
