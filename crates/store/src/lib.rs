//! The revisioned store: one ordered log of changes, an index of the newest state, and watches from any retained revision.
//!
//! It knows keys and bytes, never kinds. Revision N is resourceVersion N: one sequence for everything. A write is
//! acknowledged when it is durable (group commit: many writers, one fsync). The trait leaves room for a real etcd.

use bytes::Bytes;
use std::sync::Arc;

/// A position in the log. 0 is "before everything"; every committed record has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// `resource/namespace/name`, for example `deployments.apps/default/web` or `nodes//n1`; ordered as etcd orders its keys.
pub type Key = Arc<str>;

/// What the index and the watches may select on without reading the body: labels, selectable fields, owner UIDs.
///
/// Names are prefixed by their sort: `l:app`, `f:spec.nodeName`, `o` (owner UID, several). Sorted by name, then value.
pub type Facets = Arc<[(Box<str>, Box<str>)]>;

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
    /// Deletes what is at revision `expect`. `last`: the body that watchers get, when it differs from the stored one.
    Delete { key: Key, expect: Revision, last: Option<Bytes> },
}

/// What happened to one key.
#[derive(Debug, Clone)]
pub struct Event {
    /// The revision of this change.
    pub revision: Revision,
    pub key: Key,
    /// `None` when it was created by this change.
    pub old: Option<Arc<Record>>,
    /// `None` when it was deleted by this change; `old` is then the last body (with the delete's revision to be spliced in).
    pub new: Option<Arc<Record>>,
}

/// Why a commit did not happen. Nothing of the batch was written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("key {key} is at revision {actual:?}, the write expected {expected:?}")]
    Conflict { key: Key, expected: Option<Revision>, actual: Option<Revision> },
    #[error("the disk is full: free space below the data folder; deletes still work")]
    Full,
    #[error("the store stopped after a failed write and must be opened again: {0}")]
    Stopped(Arc<str>),
}
