//! The log below the index: the only part in which engines differ.
//!
//! A log keeps entries in revision order, durably, and gives them back. It decides nothing: it
//! does not compare revisions, does not know watches, and never changes an entry.

use crate::journal::{Past, Stretch};
use crate::{Event, Facets, Key, Record, Revision};
use bytes::Bytes;
use std::sync::Arc;

/// An event on its way into the log.
pub(crate) struct Entry {
    pub event: Arc<Event>,
    /// The body that a delete ends with, where it differs from the stored one.
    pub last: Option<Bytes>,
}

/// An entry as the log gives it back.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub revision: Revision,
    /// The revision of the entry before it with the same key; 0 when it created the key.
    pub prev: Revision,
    pub key: Key,
    pub generation: u32,
    pub facets: Facets,
    pub content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Put(Bytes),
    /// With the last body, where it differs from the one before.
    Delete(Option<Bytes>),
}

impl Row {
    /// The record that this row put; `None` for a delete.
    pub fn record(&self) -> Option<Arc<Record>> {
        let Content::Put(body) = &self.content else { return None };
        Some(Arc::new(Record {
            key: self.key.clone(),
            revision: self.revision,
            body: body.clone(),
            generation: self.generation,
            facets: self.facets.clone(),
        }))
    }

    /// The event that this row was, given the record before it.
    pub fn event(&self, old: Option<Arc<Record>>) -> Event {
        let old = match (&self.content, old) {
            (Content::Delete(Some(last)), Some(old)) => Some(with_body(&old, last.clone())),
            (_, old) => old,
        };
        Event { revision: self.revision, key: self.key.clone(), old, new: self.record() }
    }
}

/// The same record with another body: what a delete ends with.
pub(crate) fn with_body(record: &Record, body: Bytes) -> Arc<Record> {
    Arc::new(Record {
        key: record.key.clone(),
        revision: record.revision,
        body,
        generation: record.generation,
        facets: record.facets.clone(),
    })
}

/// Forget what was superseded by the entries in `(after, to]`, and the deletes among them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep {
    pub after: Revision,
    pub to: Revision,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogError {
    /// Nothing was written, and the log goes on.
    #[error("no space left on the disk")]
    Full,
    /// The log must not be used any more.
    #[error("{0}")]
    Failed(String),
}

/// What a log knows about itself when it is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    /// The newest revision ever given out.
    pub high: Revision,
    /// Everything before it is compacted, of which everything up to `swept` is gone.
    pub compacted: Revision,
    pub swept: Revision,
}

/// What an append was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Append {
    Entries,
    /// Nothing waits, only sweeping is left to do.
    SweepOnly,
}

/// The writing half; only the committer has it.
pub(crate) trait Log: Send {
    /// Appends all entries, marks `compacted`, and sweeps, all or nothing, durable on return.
    fn append(
        &mut self,
        entries: &[Entry],
        compacted: Revision,
        sweep: Option<Sweep>,
    ) -> Result<(), LogError>;

    /// What the log does for itself between two appends (checkpoints, giving space back), after
    /// their writers have been answered.
    fn tend(&mut self, last: Append) -> Result<(), LogError>;

    /// Writes anew all that it holds, so that nothing of what it has forgotten is left on the disk.
    fn rewrite(&mut self) -> Result<(), LogError>;

    /// Gives up the space held back for a full disk, so that deletes and compaction go on.
    fn release_reserve(&mut self) -> Result<(), LogError>;

    /// Takes that space back; `Full` while it is not there.
    fn restore_reserve(&mut self) -> Result<(), LogError>;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;

    /// Ends the log in good order.
    fn close(&mut self) -> Result<(), LogError>;
}

/// At most this many rows in one reading, so that a reader with a large backlog neither holds
/// much memory nor keeps others waiting.
pub(crate) const READ_ROWS: usize = 256;

/// A row together with the one it superseded (`None`: it created the key).
pub(crate) type Pair = (Row, Option<Row>);

/// What was read of `(.., to]`: fewer rows than go into one reading are all.
pub(crate) fn stretch(pairs: Vec<Pair>, to: Revision) -> Stretch {
    let more = pairs.len() >= READ_ROWS;
    let reached = pairs.last().filter(|_| more).map_or(to, |(row, _)| row.revision);
    let past = |(row, old): (Row, Option<Row>)| {
        let before = old.as_ref().and_then(Row::record);
        Past { event: Arc::new(row.event(before.clone())), before }
    };
    Stretch { events: pairs.into_iter().map(past).collect(), reached }
}
