//! What a write takes from the other managers, and whether it may.
//!
//! Managers own fields in the version in which they wrote; a change is looked at in each of these versions.

use skiff_json::Value;

use super::client_side;
use super::compare::{Delta, compare};
use super::conflict::{Conflict, Conflicts};
use super::entries::Entry;
use super::place::Place;
use super::set::Set;
use super::{Error, Force, Write};

/// One change, from one object to another, to be seen in other versions.
pub(super) struct Versions<'a> {
    pub write: &'a Write<'a>,
    pub old: &'a Value,
    pub new: &'a Value,
}

/// A change as it looks in another version.
pub(super) enum Change {
    Seen(Delta),
    /// Nobody can convert: what is owned in that version stays.
    Unseen,
    /// The version does not exist any more, nor does ownership in it.
    Gone,
}

impl Versions<'_> {
    pub fn change(&self, version: &str) -> Result<Change, String> {
        let Some(convert) = self.write.convert else { return Ok(Change::Unseen) };
        match (convert(self.old, version), convert(self.new, version)) {
            (Some((old, schema)), Some((new, _))) => {
                compare(&old, &new, Place::Fields(&schema)).map(Change::Seen)
            }
            _ => Ok(Change::Gone),
        }
    }
}

/// Finds what the merge takes from other managers, and takes it if it may.
pub(super) fn contend(
    versions: &Versions,
    entries: &mut Vec<Entry>,
    delta: Delta,
    force: Force,
) -> Result<(), Error> {
    let version = versions.write.version;
    let removed = delta.removed.clone();
    let anew = delta.set_anew();
    let mut found: Vec<(String, Conflict)> = Vec::new();
    let mut losses: Vec<(Set, Option<Set>)> = Vec::with_capacity(entries.len());
    for entry in entries.iter() {
        let (lost, gone) = if entry.version == version {
            (entry.set.intersection(&anew), None)
        } else {
            match versions.change(&entry.version).map_err(Error::Merge)? {
                Change::Unseen => (Set::default(), Some(Set::default())),
                Change::Gone => {
                    losses.push((entry.set.clone(), Some(Set::default())));
                    continue;
                }
                Change::Seen(mut delta) => {
                    let gone = std::mem::take(&mut delta.removed);
                    (entry.set.intersection(&delta.set_anew()), Some(gone))
                }
            }
        };
        if !lost.is_empty() {
            let order = format!("{:?}{:?}", entry.manager, entry.operation);
            let conflict = |path| (order.clone(), Conflict { manager: entry.shown(), path });
            found.extend(lost.paths().into_iter().map(conflict));
        }
        losses.push((lost, gone));
    }
    if force == Force::No && !found.is_empty() {
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let found: Vec<Conflict> = found.into_iter().map(|(_, conflict)| conflict).collect();
        let left = excused(versions, &found).unwrap_or(found);
        if !left.is_empty() {
            return Err(Error::Conflicts(Conflicts(left)));
        }
    }
    for (entry, (lost, gone)) in entries.iter_mut().zip(losses) {
        entry.set.subtract(&lost);
        entry.set.subtract(gone.as_ref().unwrap_or(&removed));
    }
    entries.retain(|entry| !entry.set.is_empty());
    Ok(())
}

/// The conflicts that are left when kubectl's own annotation excuses some; `None` when it cannot.
fn excused(versions: &Versions, found: &[Conflict]) -> Option<Vec<Conflict>> {
    let write = versions.write;
    if write.manager() != client_side::KUBECTL {
        return None;
    }
    client_side::remaining(found, versions.old, write.version, write.root())
}
