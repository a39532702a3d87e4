//! The disk below the store: it tells the history what is on it, and fails when chance says so.

use crate::dice::Dice;
use crate::history::History;
use skiff_base::Lock;
use skiff_store::{Event, Fate, MemoryDisk};
use std::sync::Arc;

/// How a disk is to fail, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Full,
    Lost,
    Unanswered,
}

/// A disk that outlives the control planes that run on it.
#[derive(Clone)]
pub struct Disk {
    pub memory: MemoryDisk,
    next: Arc<Lock<Option<Failure>>>,
}

impl Disk {
    pub fn new(history: Arc<History>) -> Disk {
        let next: Arc<Lock<Option<Failure>>> = Arc::default();
        let due = next.clone();
        let memory = MemoryDisk::new(move |events| {
            let failure = due.lock().take();
            if let Some(failure) = failure {
                history.tell(format_args!("disk: fails ({failure:?})"));
            }
            match failure {
                None => note(&history, events),
                Some(Failure::Unanswered) => {
                    note(&history, events);
                    return Fate::Unanswered;
                }
                Some(Failure::Full) => return Fate::Full,
                Some(Failure::Lost) => return Fate::Lost,
            }
            Fate::Kept
        });
        Disk { memory, next }
    }

    /// The next append fails, in one way or another.
    pub fn fail(&self, dice: &Dice) {
        let failure = *dice.one(&[Failure::Full, Failure::Lost, Failure::Unanswered]);
        *self.next.lock() = Some(failure);
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
