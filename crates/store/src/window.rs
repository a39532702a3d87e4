//! The newest events, in memory, for watches that start a little in the past and for lists at a
//! recent revision.
//!
//! The window has no gaps: it holds every event above its floor. It is capped in events and in
//! bytes, and gives up its oldest ones; those are still in the log until compaction.

use crate::journal::Past;
use crate::{Event, Key, Record, Revision, Scope};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(crate) struct Window {
    events: VecDeque<Past>,
    floor: Revision,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
}

/// What the keys that changed since some revision were then; `None`: did not exist.
pub(crate) type Overlay = BTreeMap<Key, Option<Arc<Record>>>;

impl Window {
    pub fn new(floor: Revision, max_events: usize, max_bytes: usize) -> Window {
        Window { events: VecDeque::new(), floor, bytes: 0, max_events, max_bytes }
    }

    /// Every event above it is here.
    pub fn floor(&self) -> Revision {
        self.floor
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, event: Arc<Event>, before: Option<Arc<Record>>) {
        let past = Past { event, before };
        self.bytes += past.weight();
        self.events.push_back(past);
        while self.events.len() > self.max_events || self.bytes > self.max_bytes {
            self.pop();
        }
    }

    /// Gives up everything up to `floor`: it is compacted.
    pub fn raise_floor(&mut self, floor: Revision) {
        while self.events.front().is_some_and(|held| held.event.revision <= floor) {
            self.pop();
        }
        self.floor = self.floor.max(floor);
    }

    fn pop(&mut self) {
        if let Some(past) = self.events.pop_front() {
            self.bytes -= past.weight();
            self.floor = past.event.revision;
        }
    }

    /// The events above `after`, which must not be below the floor.
    pub fn after(&self, after: Revision) -> impl Iterator<Item = &Arc<Event>> {
        self.held_after(after).map(|held| &held.event)
    }

    fn held_after(&self, after: Revision) -> impl Iterator<Item = &Past> {
        let from = self.events.partition_point(|held| held.event.revision <= after);
        self.events.range(from..)
    }

    /// Adds to `overlay` what the keys of `scope` were at revision `at`, unless it knows already.
    pub fn overlay(&self, at: Revision, scope: &Scope, overlay: &mut Overlay) {
        for Past { event, before } in self.held_after(at) {
            if scope.contains(&event.key) {
                remember(overlay, &event.key, || before.clone());
            }
        }
    }
}

/// The first change of a key after a revision tells what it was at that revision.
pub(crate) fn remember(
    overlay: &mut Overlay,
    key: &Key,
    old: impl FnOnce() -> Option<Arc<Record>>,
) {
    if !overlay.contains_key(key) {
        overlay.insert(key.clone(), old());
    }
}

impl Past {
    /// What it keeps in memory: the last body of a delete is another one than the stored.
    fn weight(&self) -> usize {
        let further = match (&self.before, &self.event.old) {
            (Some(before), Some(old)) if !Arc::ptr_eq(before, old) => before.body.len(),
            _ => 0,
        };
        weight(&self.event) + further
    }
}

/// What an event keeps in memory. The old record counts in full: most often nothing else holds it.
pub(crate) fn weight(event: &Event) -> usize {
    /// The event, its records and their counts, roughly.
    const FIXED: usize = 256;
    let body = |record: &Option<Arc<Record>>| record.as_ref().map_or(0, |r| r.body.len());
    FIXED + body(&event.old) + body(&event.new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facets;

    fn event(revision: u64, size: usize) -> Arc<Event> {
        let key: Key = "a/b/c".into();
        let record = Record {
            key: key.clone(),
            revision: Revision(revision),
            body: vec![0; size].into(),
            generation: 0,
            facets: facets(Vec::new()),
        };
        let new = Some(Arc::new(record));
        Arc::new(Event { revision: Revision(revision), key, old: None, new })
    }

    #[test]
    fn caps_and_floor() {
        let mut window = Window::new(Revision(1), 3, 2000);
        for revision in 2..=5 {
            window.push(event(revision, 10), None);
        }
        assert_eq!((window.floor(), window.len()), (Revision(2), 3));
        window.push(event(6, 1500), None);
        assert_eq!((window.floor(), window.len()), (Revision(5), 1));
        assert_eq!(window.after(Revision(5)).count(), 1);
        window.raise_floor(Revision(6));
        assert_eq!((window.floor(), window.len(), window.bytes()), (Revision(6), 0, 0));
        // A delete with a last body of its own keeps two.
        let ended = |size| event(7, size).new.clone();
        let gone = Event { new: None, old: ended(100), ..(*event(7, 0)).clone() };
        window.push(Arc::new(gone.clone()), gone.old.clone());
        assert_eq!(window.bytes(), 256 + 100);
        window.push(Arc::new(gone), ended(50));
        assert_eq!(window.bytes(), 2 * (256 + 100) + 50);
    }
}
