//! What a write takes beside its own record, and how it is given back when the write does not come to be.

use skiff_store::{CommitError, Revision, Store, Write};

/// Gives back what was taken.
type Back = Box<dyn FnOnce() + Send>;

/// What plugins take for one write. Dropped before the commit began, it gives everything back.
#[derive(Default)]
pub struct Taking {
    /// Writes of the object's own transaction: taken when it is committed, and never without it.
    pub writes: Vec<Write>,
    back: Vec<Back>,
}

impl Taking {
    /// Something was taken in a transaction of its own. Its record must name for whom, so that it counts as free when
    /// they never came to be: nobody gives back what a crash left, or a caller that did not wait for the commit.
    pub fn took(&mut self, back: impl FnOnce() + Send + 'static) {
        self.back.push(Box::new(back));
    }

    /// Commits a write with what belongs into its transaction. What was taken before is given back when it is known
    /// that nothing was written; a caller that leaves meanwhile does not know that.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn commit(
        mut self,
        store: &dyn Store,
        write: Write,
    ) -> Result<Vec<Revision>, CommitError> {
        let back = std::mem::take(&mut self.back);
        let mut writes = vec![write];
        writes.append(&mut self.writes);
        let outcome = store.commit(writes).await;
        match &outcome {
            Ok(_) | Err(CommitError::Stopped(_) | CommitError::Unknown(_)) => {}
            Err(
                CommitError::Conflict { .. }
                | CommitError::Twice { .. }
                | CommitError::TooMany { .. }
                | CommitError::Full,
            ) => self.back = back,
        }
        outcome
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.back.drain(..).for_each(|back| back());
    }
}
