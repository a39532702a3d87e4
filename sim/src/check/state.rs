//! The log, replayed: what there was at each revision, decoded as far as a checker asks.

use crate::history::Logged;
use std::collections::BTreeMap;

/// All objects at one revision, by key: the revision of each.
pub type Revisions<'a> = BTreeMap<&'a str, u64>;

/// What the log says that there is after its writes up to `revision`.
pub fn at(log: &[Logged], revision: u64) -> Revisions<'_> {
    let mut all = Revisions::new();
    for logged in log.iter().take_while(|logged| logged.revision <= revision) {
        match logged.new {
            Some(_) => all.insert(&logged.key, logged.revision),
            None => all.remove(&*logged.key),
        };
    }
    all
}
