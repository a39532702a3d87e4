//! The disk below the store: it tells the history what is on it, and fails when chance says so.

use crate::dice::Dice;
use crate::history::History;
use skiff_base::Lock;
use skiff_store::{Event, Fate, MemoryDisk};
use std::sync::Arc;

/// A disk that outlives the control planes that run on it.
#[derive(Clone)]
pub struct Disk {
    pub memory: MemoryDisk,
    /// What becomes of the next append, if it is not kept.
    next: Arc<Lock<Option<Fate>>>,
}

impl Disk {
    pub fn new(history: Arc<History>) -> Disk {
        let next: Arc<Lock<Option<Fate>>> = Arc::default();
        let due = next.clone();
        let memory = MemoryDisk::new(move |events| {
            let fate = due.lock().take().unwrap_or(Fate::Kept);
            if fate != Fate::Kept {
                history.tell(format_args!("disk: fails ({fate:?})"));
            }
            if let Fate::Kept | Fate::Unanswered = fate {
                note(&history, events);
            }
            fate
        });
        Disk { memory, next }
    }

    /// The next append fails, in one way or another.
    pub fn fail(&self, dice: &Dice) {
        *self.next.lock() = Some(*dice.one(&[Fate::Full, Fate::Lost, Fate::Unanswered]));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        *self.next.lock() = None;
    }
}

fn note(history: &History, events: &[Arc<Event>]) {
    for event in events {
        let old = event.old.as_ref().map(|record| record.body.clone());
        let new = event.new.as_ref().map(|record| record.body.clone());
        history.log(event.revision.0, &event.key, old, new);
    }
}
