//! A watch: a stream of events in strict revision order.

use crate::{Event, Record, Revision};
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a watch yields.
#[derive(Debug, Clone)]
pub enum WatchItem {
    /// A record of the state that an initial watch begins with, in key order.
    Initial(Arc<Record>),
    /// The initial state is complete, as of this revision.
    InitialEnd(Revision),
    Event(Arc<Event>),
    /// Everything up to this revision has been yielded; asked for by `request_progress`.
    Progress(Revision),
}

/// Why a watch ended; nothing follows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    #[error("the watch was too slow: what follows revision {at:?} has been compacted; list anew")]
    TooSlow { at: Revision },
    #[error("the store stopped and must be opened again: {0}")]
    Stopped(Arc<str>),
}

/// A stream of [`WatchItem`]s; dropping it ends the watch. It ends (`None`) when the store closes.
pub struct Watch {
    at: Revision,
}

impl Watch {
    pub async fn next(&mut self) -> Option<Result<WatchItem, WatchError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<WatchItem, WatchError>>> {
        Poll::Ready(None)
    }

    /// Everything this watch selects up to this revision has been yielded.
    pub fn progress(&self) -> Revision {
        self.at
    }

    /// Asks for one [`WatchItem::Progress`] with a revision at least the current one, as soon as
    /// everything up to it has been yielded.
    pub fn request_progress(&mut self) {}
}
