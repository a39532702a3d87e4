//! What a write takes beside its own record, and how it is given back when the write does not come to be.

use skiff_store::{CommitError, Revision, Store, Write};

/// What became of the write that something was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is there, at this revision.
    Written(Revision),
    /// It is not there, and never will be: what was taken is to be given back.
    Refused,
    /// Nobody waited for it, or the store could not say.
    Unknown,
}

/// Is told, once.
type Tell = Box<dyn FnOnce(Fate) + Send>;

/// What plugins take for one write. Dropped before the commit began, it gives everything back.
#[derive(Default)]
pub struct Taking {
    /// Writes of the object's own transaction: taken when it is committed, and never without it.
    pub writes: Vec<Write>,
    taken: Taken,
}

/// Who is to be told, and what when nobody knows better.
struct Taken {
    tell: Vec<Tell>,
    otherwise: Fate,
}

impl Default for Taken {
    fn default() -> Taken {
        Taken { tell: Vec::new(), otherwise: Fate::Refused }
    }
}

impl Taking {
    /// Something was taken in a transaction of its own; whoever took it is told what became of the write. What a crash
    /// leaves, or a caller that did not wait for the commit, nobody gives back: something else must find it.
    pub fn took(&mut self, tell: impl FnOnce(Fate) + Send + 'static) {
        self.taken.tell.push(Box::new(tell));
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
        let mut writes = vec![write];
        writes.append(&mut self.writes);
        self.taken.otherwise = Fate::Unknown;
        let outcome = store.commit(writes).await;
        self.taken.otherwise = match &outcome {
            Ok(revisions) => revisions.first().map_or(Fate::Unknown, |at| Fate::Written(*at)),
            Err(CommitError::Stopped(_) | CommitError::Unknown(_)) => Fate::Unknown,
            Err(
                CommitError::Conflict { .. }
                | CommitError::Twice { .. }
                | CommitError::TooMany { .. }
                | CommitError::Full,
            ) => Fate::Refused,
        };
        outcome
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.tell.drain(..).for_each(|tell| tell(self.otherwise));
    }
}
