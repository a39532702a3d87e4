//! When history ends: which revision is the oldest that is kept, and what may be swept away.
//!
//! Compaction goes by age. The committer notes now and then which revision was current when; a
//! note that is old enough becomes the oldest retained revision. That is published first; the rows
//! go later, a few with each group commit, so that no commit waits for a great cleaning. Nothing
//! here needs a timer: an idle store has nothing to compact.

use crate::Revision;
use crate::log::{Marks, Sweep};
use std::collections::VecDeque;
use std::time::Duration;

pub(crate) struct Compaction {
    keep: Duration,
    notes: VecDeque<(Duration, Revision)>,
    compacted: Revision,
    swept: Revision,
}

/// Between two notes lies at least this part of `keep`.
const NOTES_PER_KEEP: u32 = 32;

/// So many revisions are swept with one group at least; each costs a few microseconds.
pub(crate) const SWEEP_REVISIONS: u64 = 64;

impl Compaction {
    pub fn new(keep: Duration, marks: Marks, now: Duration) -> Compaction {
        Compaction {
            keep,
            notes: [(now, marks.high)].into(),
            compacted: marks.compacted,
            swept: marks.swept,
        }
    }

    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// Notes the current revision; returns the new oldest retained one, if age made one.
    pub fn tick(&mut self, now: Duration, current: Revision) -> Option<Revision> {
        let interval = self.keep / NOTES_PER_KEEP;
        if self.notes.back().is_none_or(|(time, _)| now >= *time + interval) {
            self.notes.push_back((now, current));
        }
        let mut due = None;
        while let Some((time, revision)) = self.notes.front()
            && now >= *time + self.keep
        {
            due = Some(*revision);
            self.notes.pop_front();
        }
        due.filter(|oldest| self.raise(*oldest))
    }

    /// Makes `oldest` the oldest retained revision, unless it is already past that.
    pub fn raise(&mut self, oldest: Revision) -> bool {
        let raised = oldest > self.compacted;
        self.compacted = self.compacted.max(oldest);
        raised
    }

    /// The next piece to sweep, for a group of `writes`: more than the group adds, so that
    /// sweeping keeps up.
    pub fn sweep(&self, writes: usize) -> Option<Sweep> {
        let length = SWEEP_REVISIONS.max(2 * writes as u64);
        let to = Revision(self.swept.0.saturating_add(length)).min(self.compacted);
        (to > self.swept).then_some(Sweep { after: self.swept, to })
    }

    pub fn swept(&mut self, sweep: Option<Sweep>) {
        if let Some(sweep) = sweep {
            self.swept = self.swept.max(sweep.to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_age_and_in_pieces() {
        let marks = Marks { high: Revision(10), compacted: Revision(1), swept: Revision(1) };
        let at = Duration::from_secs;
        let mut compaction = Compaction::new(at(320), marks, at(0));
        assert_eq!(compaction.tick(at(5), Revision(20)), None);
        assert_eq!(compaction.tick(at(10), Revision(300)), None);
        assert_eq!(compaction.tick(at(319), Revision(400)), None);
        assert_eq!(compaction.tick(at(320), Revision(500)), Some(Revision(10)));
        assert_eq!(compaction.tick(at(330), Revision(600)), Some(Revision(300)));
        assert!(!compaction.raise(Revision(200)));
        let mut pieces = Vec::new();
        while let Some(sweep) = compaction.sweep(50) {
            pieces.push((sweep.after.0, sweep.to.0));
            compaction.swept(Some(sweep));
        }
        assert_eq!(pieces, [(1, 101), (101, 201), (201, 300)]);
    }
}
