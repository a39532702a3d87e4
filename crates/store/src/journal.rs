//! The journal: what decides conflicts, numbers revisions and keeps them. It has two shapes.
//!
//! One decides here and appends to a log of its own (SQLite, memory): the newest revision is the
//! visible one, and each write has a revision to itself. The other asks elsewhere and follows (etcd): others write too,
//! an answer may come before or after its events, one transaction is one revision, and a transaction takes only so many
//! writes. Everything above (index, window, watches) follows either by what it is told through a [`Follower`], and
//! assumes neither.

use crate::index::Index;
use crate::shared::{Shared, State};
use crate::watch::End;
use crate::window::Window;
use crate::{CommitError, Event, OpenError, Options, ReadError, Record, Revision, Write};
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// Who decides and keeps. Futures do not borrow it.
pub trait Journal: Send + Sync {
    /// Writes a batch in one transaction, durable on return. The revisions are those of the writes, in order: all
    /// different, or all the same. Whether its events have been told by then is the journal's own affair.
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<Vec<Revision>, CommitError>>;

    /// The newest revision that anybody had committed when this was asked; `None`: it was decided here, and what is
    /// visible is the newest.
    fn newest(&self) -> Option<BoxFuture<'static, Result<Revision, ReadError>>>;

    /// What came before the events that memory holds.
    fn history(&self) -> Arc<dyn History>;

    /// Forgets what only revisions before `oldest` need, and tells so.
    fn compact(&self, oldest: Revision) -> BoxFuture<'static, Result<(), CommitError>>;

    /// Forgets what is superseded, and leaves nothing of it on the disk; what there is keeps its place.
    fn purge(&self) -> BoxFuture<'static, Result<(), CommitError>>;

    /// After a stop: reads what is durable and goes on. Nothing happens when it has not stopped.
    fn reopen(&self) -> BoxFuture<'static, Result<(), OpenError>>;

    /// Finishes what was begun and ends.
    fn close(&self) -> BoxFuture<'static, ()>;

    /// Batches, and bytes of them, that wait to be decided.
    fn queued(&self) -> (usize, usize);
}

/// The reading half of a journal.
pub trait History: Send + Sync {
    /// Events in `(after, to]`, from the oldest on; not necessarily all, but whole transactions.
    fn read(&self, after: Revision, to: Revision)
    -> BoxFuture<'static, Result<Stretch, ReadError>>;
}

/// A piece of history without gaps.
#[derive(Debug)]
pub struct Stretch {
    pub events: Vec<Past>,
    /// Everything up to here is in it.
    pub reached: Revision,
}

/// An event, and the record that was stored before it: the event of a delete may show another body.
#[derive(Debug, Clone)]
pub struct Past {
    pub event: Arc<Event>,
    pub before: Option<Arc<Record>>,
}

/// Where a journal that follows begins: all that there was at one revision.
#[derive(Debug)]
pub struct Snapshot {
    pub revision: Revision,
    /// The oldest revision that its history goes back to.
    pub compacted: Revision,
    pub records: Vec<Arc<Record>>,
}

impl Snapshot {
    pub(crate) fn state(self, options: &Options) -> State {
        let mut index = Index::new(self.revision);
        for record in self.records {
            let (revision, key) = (record.revision, record.key.clone());
            index.apply(&Event { revision, key, old: None, new: Some(record) });
        }
        index.raise_revision(self.revision);
        let window = Window::new(self.revision, options.window_events, options.window_bytes);
        State { index, window, compacted: self.compacted, height: 0 }
    }
}

/// What follows a journal: the visible state and the watches of one store.
#[derive(Clone)]
pub struct Follower(pub(crate) Arc<Shared>);

impl Follower {
    /// Makes events visible, then puts them into the watches: all of whole transactions, in order, none twice.
    pub fn tell(&self, events: &[Arc<Event>]) {
        self.0.publish(events);
        self.0.dispatch(events);
    }

    /// Lists at, and watches after, anything older are refused from now on.
    pub fn compacted(&self, oldest: Revision) {
        self.0.compacted(oldest);
    }

    /// Nothing is decided any more, and the newest outcomes are unknown: whoever watches must look anew.
    pub fn stop(&self, reason: &Arc<str>) {
        self.0.stop(End::Stopped(reason.clone()));
    }

    /// Nothing comes any more, for nobody wants it.
    pub fn close(&self) {
        self.0.stop(End::Closed);
    }

    /// Goes on from what is durable, after a stop.
    pub fn restart(&self, from: Snapshot, options: &Options) {
        self.0.restart(from.state(options));
    }
}
