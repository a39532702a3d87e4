//! The revisioned store: one ordered log of changes, an index of the newest state, and watches.
//!
//! It knows keys and bytes, never kinds. Revision N is resourceVersion N: one sequence for
//! everything, never reused, never going back. A write is acknowledged when it is durable (group
//! commit: many writers, one fsync), and only then does anybody see it. Memory holds the newest
//! record of each key and a window of recent events; older revisions come from the log until
//! compaction drops them.
//!
//! What decides conflicts and numbers revisions is a [`Journal`]: here, over a log of ours (SQLite,
//! [`open`], or memory, [`memory`]), or elsewhere ([`over`]: a real etcd). Everything above it
//! (index, window, watches) exists once and follows what the journal tells.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::Arc;

mod check;
mod codec;
mod committer;
mod compact;
mod engine;
mod facets;
mod here;
mod index;
mod interest;
mod journal;
mod list;
mod load;
mod log;
mod memory;
mod reserve;
pub mod saved;
mod seal;
mod select;
mod shared;
mod sqlite;
mod stats;
mod watch;
mod window;

pub use check::OpenError;
pub use engine::{Clock, Options, memory, open, over};
pub use facets::{facet_is, facets};
pub use journal::{Follower, History, Journal, Past, Snapshot, Stretch};
pub use memory::{Fate, MemoryDisk};
pub use seal::{SEALED, Seal};
pub use select::{Facet, Scope};
pub use stats::{Histogram, Stats};
pub use watch::{Watch, WatchError, WatchItem};

/// A position in the log. 0 is "before everything"; every transaction, or every write of one, has its own.
///
/// An empty store is at revision 1, because to a client resourceVersion 0 means "any".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// `resource/namespace/name`, for example `deployments.apps/default/web` or `nodes//n1`; ordered
/// as etcd orders its keys.
pub type Key = Arc<str>;

/// What the index and the watches may select on without reading the body: labels, selectable
/// fields, owner UIDs.
///
/// Names are prefixed by their sort: `l:app`, `f:spec.nodeName`, `o` (owner UID, several). Sorted
/// by name, then value, without repetition; [`facets`] makes one so.
pub type Facets = Arc<[Facet]>;

/// One object at one revision.
#[derive(Debug)]
pub struct Record {
    pub key: Key,
    /// The revision of the write that made this body.
    pub revision: Revision,
    /// The encoded object without its resourceVersion; the reader splices the revision in.
    pub body: Bytes,
    /// The generation of the schema that the body was written under.
    pub generation: u32,
    pub facets: Facets,
}

/// One write of a batch.
#[derive(Debug, Clone)]
pub enum Write {
    /// Creates or replaces. `expect`: `None` must not exist, `Some(r)` must exist at revision r.
    Put { key: Key, expect: Option<Revision>, body: Bytes, generation: u32, facets: Facets },
    /// Deletes what is at revision `expect`. `last`: the body that watchers get, when it differs
    /// from the stored one.
    Delete { key: Key, expect: Revision, last: Option<Bytes> },
}

impl Write {
    pub fn key(&self) -> &Key {
        match self {
            Write::Put { key, .. } | Write::Delete { key, .. } => key,
        }
    }
}

/// What happened to one key.
#[derive(Debug, Clone)]
pub struct Event {
    /// The revision of this change.
    pub revision: Revision,
    pub key: Key,
    /// `None` when it was created by this change.
    pub old: Option<Arc<Record>>,
    /// `None` when it was deleted by this change; `old` is then the last body (with the delete's
    /// revision to be spliced in).
    pub new: Option<Arc<Record>>,
}

/// Why a commit did not happen. Nothing of the batch was written (`Stopped`: the outcome is
/// unknown until the store is opened again; `Unknown`: until the next current read).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("key {key} is at revision {actual:?}, the write expected {expected:?}")]
    Conflict {
        key: Key,
        expected: Option<Revision>,
        actual: Option<Revision>,
        /// What beat the write shows in a read that has reached this revision.
        at: Revision,
    },
    #[error("key {key} occurs twice in one batch: split the batch")]
    Twice { key: Key },
    #[error("a transaction takes at most {most} writes: split the batch")]
    TooMany { most: usize },
    #[error("whether it was written is not known, read before trying again: {0}")]
    Unknown(Arc<str>),
    #[error("the disk is full: free space below the data folder; deletes still work")]
    Full,
    #[error("the store stopped and must be opened again: {0}")]
    Stopped(Arc<str>),
}

/// Why a list or a watch cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("revision {asked:?} has been compacted, the oldest retained is {oldest:?}: list anew")]
    Compacted { asked: Revision, oldest: Revision },
    #[error("revision {asked:?} is in the future, the newest is {current:?}: wait for it")]
    Future { asked: Revision, current: Revision },
    #[error("the store stopped and must be opened again: {0}")]
    Stopped(Arc<str>),
}

/// How new what a read shows must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Currency {
    /// Everything that anybody had committed when the read began.
    #[default]
    Current,
    /// At least this revision.
    AtLeast(Revision),
    /// What is visible here: all that this process wrote, and what it has been told. Never waits.
    Seen,
}

/// Which records, from where, as of when.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    pub scope: Scope,
    /// Only records with exactly this facet (an index lookup).
    pub facet: Option<Facet>,
    /// Only keys after this one: the last key of the page before.
    pub after: Option<Key>,
    /// At most so many; `None` is all.
    pub limit: Option<usize>,
    /// The snapshot at this revision; `None` is the newest state, which is as new as `currency` says.
    pub at: Option<Revision>,
    pub currency: Currency,
}

/// A page of a snapshot, in key order.
#[derive(Debug)]
pub struct Listed {
    pub records: Vec<Arc<Record>>,
    /// The revision of the snapshot; a watch from here sees everything that came after.
    pub revision: Revision,
    /// How many more records match behind this page; 0 on the last one.
    pub remaining: usize,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchStart {
    /// With the current state: each record as [`WatchItem::Initial`], then
    /// [`WatchItem::InitialEnd`], then every event after that.
    Initial,
    /// With the next event.
    Now,
    /// With the first event after this revision.
    After(Revision),
}

#[derive(Debug, Clone)]
pub struct WatchRequest {
    pub scope: Scope,
    /// Only events whose old or new record has exactly this facet.
    pub facet: Option<Facet>,
    pub start: WatchStart,
}

/// The contract that the server is written against; `Arc<dyn Store>` is how it travels.
///
/// Futures do not borrow the store. They need no particular runtime.
pub trait Store: Send + Sync {
    /// Writes a batch in one transaction, at most one write per key, and one per resource that
    /// somebody watches: a watch goes on from a revision, never from within one. Returns the
    /// revision of each write, in the order of the batch; they may all be the same. When this
    /// returns `Ok`, the batch is durable and visible here. Dropping the future leaves it open
    /// whether the batch is written.
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<Vec<Revision>, CommitError>>;

    /// The newest record of a key as it is *seen* here, from memory. A read that must be current
    /// waits for [`Store::reach`] first.
    fn get(&self, key: &str) -> Option<Arc<Record>>;

    /// How many records have keys with this first part, and the bytes of their bodies.
    fn size(&self, first: &str) -> (usize, usize);

    /// A page of the newest state, or of the snapshot at a retained revision.
    fn list(&self, request: ListRequest) -> BoxFuture<'static, Result<Listed, ReadError>>;

    /// Events in strict revision order, none left out; from what is seen here.
    fn watch(&self, request: WatchRequest) -> Result<Watch, ReadError>;

    /// The newest visible revision.
    fn current(&self) -> Revision;

    /// The oldest revision at which a list, and after which a watch, is still answered.
    fn oldest_retained(&self) -> Revision;

    /// Waits until get, list and watch see what is as new as that. Where revisions are decided
    /// here, everything committed is seen already.
    fn reach(&self, currency: Currency) -> BoxFuture<'static, Result<(), ReadError>>;

    /// Drops what only revisions before `oldest` need. The store does this by itself by age
    /// ([`Options::keep`]); a `oldest` beyond the current revision compacts to the current one.
    fn compact(&self, oldest: Revision) -> BoxFuture<'static, Result<(), CommitError>>;

    /// Drops all history, and whatever of it the disk still holds: for when what was written before must not be there
    /// any more. Writers wait meanwhile, about a second for each 100 MB.
    fn purge(&self) -> BoxFuture<'static, Result<(), CommitError>>;

    /// Figures for metrics; cheap enough for every scrape.
    fn stats(&self) -> Stats;

    /// Counts how often much less was kept in memory than there had been: a good time to give some
    /// back.
    fn shrunk(&self) -> tokio::sync::watch::Receiver<u64>;

    /// Resolves when the store stopped, by itself or by `close`, with the reason.
    fn stopped(&self) -> BoxFuture<'static, Arc<str>>;

    /// Resolves while the store runs: at once, or when it was opened again. Never after a `close`.
    fn opened(&self) -> BoxFuture<'static, ()>;

    /// Opens a store again that stopped by itself: reads what is durable and goes on. Watches
    /// ended with the stop, and whoever had one begins anew from what it saw last. Does nothing
    /// where nothing stopped.
    fn reopen(&self) -> BoxFuture<'static, Result<(), OpenError>>;

    /// Finishes the queued commits, then closes the log; watches end.
    fn close(&self) -> BoxFuture<'static, ()>;
}
