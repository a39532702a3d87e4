//! One implementation of the semantics over any log.

use crate::{OpenError, Revision, Store};
use std::{path::Path, sync::Arc, time::Duration};

/// A monotonic clock: time since any fixed point.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

#[derive(Clone)]
pub struct Options {
    pub clock: Clock,
    /// Revisions older than this are compacted.
    pub keep: Duration,
    /// Every revision given out from now on is above this one; what was before is compacted. A
    /// restore of an old copy raises it beyond whatever clients may have seen.
    pub origin: Revision,
    /// The cap of the events that memory holds for watches.
    pub window_bytes: usize,
    pub window_events: usize,
}

impl Options {
    pub fn new(clock: Clock) -> Options {
        Options {
            clock,
            keep: Duration::from_secs(300),
            origin: Revision(1),
            window_bytes: 8 << 20,
            window_events: 16 << 10,
        }
    }
}

/// Opens (or makes) the embedded engine's database in `folder`.
pub fn open(folder: &Path, _: Options) -> Result<Arc<dyn Store>, OpenError> {
    Err(OpenError::Locked { folder: folder.into() })
}

/// A store without a disk, for tests and simulation: no threads, commits happen inside the future.
pub fn memory(_: Options) -> Arc<dyn Store> {
    unimplemented!("follows")
}
