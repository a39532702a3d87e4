//! A list: a page of the newest state, or of the snapshot at a retained revision.
//!
//! A snapshot is the newest state with an overlay of what changed keys were then. The changes come
//! from the window; where that does not reach back far enough, from the log first. The list looks
//! at index and window under one lock, so it can never mix two revisions.

use crate::journal::History;
use crate::select::Selection;
use crate::shared::Shared;
use crate::window::{Overlay, remember};
use crate::{ListRequest, Listed, ReadError, Revision};

/// A list in the making: what the log had to add to what memory knows.
pub(crate) struct Listing {
    request: ListRequest,
    overlay: Overlay,
    /// The overlay knows every change in (at, known].
    known: Revision,
}

pub(crate) enum Step {
    Done(Result<Listed, ReadError>),
    /// The log is needed for (first, second].
    Read(Revision, Revision),
}

impl Listing {
    pub fn new(request: ListRequest) -> Listing {
        let known = request.at.unwrap_or_default();
        Listing { request, overlay: Overlay::new(), known }
    }

    pub fn step(&mut self, shared: &Shared) -> Step {
        let state = shared.read();
        let request = &self.request;
        if let Some(at) = request.at {
            if let Err(error) = Shared::check(&state, at) {
                return Step::Done(Err(error));
            }
            if self.known < state.window.floor() {
                return Step::Read(self.known, state.window.floor());
            }
            state.window.overlay(self.known, &request.scope, &mut self.overlay);
        }
        let selection = Selection { scope: request.scope.clone(), facet: request.facet.clone() };
        let limit = request.limit.unwrap_or(usize::MAX);
        let after = request.after.as_deref();
        let (records, remaining) = state.index.page(&selection, after, limit, &self.overlay);
        let revision = request.at.unwrap_or(state.index.revision());
        Step::Done(Ok(Listed { records, revision, remaining }))
    }

    /// Reads the log as far as memory does not reach back, then answers.
    pub async fn with_log(
        mut self,
        shared: &Shared,
        history: &dyn History,
        mut after: Revision,
        mut to: Revision,
    ) -> Result<Listed, ReadError> {
        loop {
            let read = history.read(after, to).await?;
            self.known = read.reached;
            for past in read.events {
                if self.request.scope.contains(&past.event.key) {
                    remember(&mut self.overlay, &past.event.key, || past.before);
                }
            }
            // This also finds out whether rows went away while they were read.
            match self.step(shared) {
                Step::Done(result) => return result,
                Step::Read(next_after, next_to) => (after, to) = (next_after, next_to),
            }
        }
    }
}
