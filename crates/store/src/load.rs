//! Opening: from the rows of a log to the state in memory, in one pass.
//!
//! What cannot have been written is not read: above the compacted revision no row may be missing,
//! and each must follow the one it names. So a database that lost something does not open.

use crate::index::Index;
use crate::journal::History;
use crate::log::{Log, Marks, Row};
use crate::shared::State;
use crate::window::Window;
use crate::{Options, Record, Revision};
use std::sync::Arc;

/// A log that has been opened, and the state that it holds.
pub(crate) struct Opened {
    pub state: State,
    pub log: Box<dyn Log>,
    pub history: Arc<dyn History>,
    pub marks: Marks,
}

/// Builds the state from the rows of a log, and refuses rows that cannot be.
pub(crate) struct Loader {
    index: Index,
    window: Window,
    last: Revision,
}

impl Loader {
    pub fn new(options: &Options) -> Loader {
        let window = Window::new(Revision(0), options.window_events, options.window_bytes);
        Loader { index: Index::new(Revision(0)), window, last: Revision(0) }
    }

    /// Rows come in revision order. Above the compacted revision nothing may be missing.
    pub fn row(&mut self, marks: &Marks, row: Row) -> Result<(), String> {
        let revision = row.revision;
        let old: Option<Arc<Record>> = self.index.get(&row.key).cloned();
        if revision > marks.compacted {
            let expected = self.last.max(marks.compacted).0 + 1;
            if revision.0 != expected {
                return Err(format!("revision {expected} is missing"));
            }
            let found = old.as_ref().map_or(Revision(0), |record| record.revision);
            if found != row.prev {
                let (key, prev) = (&row.key, row.prev.0);
                return Err(format!("revision {prev} of {key} is missing"));
            }
        }
        let event = row.event(old);
        let before = self.index.apply(&event);
        self.last = revision;
        if revision > marks.compacted {
            self.window.raise_floor(marks.compacted);
            self.window.push(Arc::new(event), before);
        }
        Ok(())
    }

    pub fn finish(mut self, log: Box<dyn Log>, history: Arc<dyn History>, marks: Marks) -> Opened {
        self.index.raise_revision(marks.high);
        self.window.raise_floor(marks.compacted);
        let (index, window, compacted) = (self.index, self.window, marks.compacted);
        let state = State { index, window, compacted, height: 0 };
        Opened { state, log, history, marks }
    }
}
