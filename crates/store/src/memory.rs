//! A log without a disk, for tests and simulation: the same semantics, durable for as long as somebody holds it.

use crate::engine::on_memory;
use crate::journal::{History, Stretch};
use crate::log::{Append, Content, Entry, Log, LogError, Marks, READ_ROWS, Row, Sweep, stretch};
use crate::{Event, Options, ReadError, Revision, Store};
use futures_util::future::{BoxFuture, ready};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// What becomes of an append to a [`MemoryDisk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is durable.
    Kept,
    /// There is no space for it: nothing was written, and the log goes on.
    Full,
    /// The disk failed before it was written.
    Lost,
    /// The disk failed after it was written: it is durable, and nobody was told.
    Unanswered,
}

/// Says what becomes of an append, by the events that it holds.
type Decide = dyn Fn(&[Arc<Event>]) -> Fate + Send + Sync;

/// Where the rows of stores without a disk lie. It outlives the stores that are opened over it, so that a simulation
/// can end one at any moment and open the next on what was durable, and it fails as it is told to.
#[derive(Clone)]
pub struct MemoryDisk {
    rows: MemoryLog,
    decide: Arc<Decide>,
    /// The store that was opened last is the only one that may write.
    opened: Arc<AtomicU64>,
}

impl MemoryDisk {
    /// `decide` is asked before each append of events.
    pub fn new(decide: impl Fn(&[Arc<Event>]) -> Fate + Send + Sync + 'static) -> MemoryDisk {
        MemoryDisk { rows: MemoryLog::default(), decide: Arc::new(decide), opened: Arc::default() }
    }

    /// A store over what is durable, as [`crate::memory`] gives it. One that was opened before writes no more.
    pub fn open(&self, options: Options) -> Arc<dyn Store> {
        let disk = self.clone();
        let log = move || -> Box<dyn Log> {
            let opened = disk.opened.fetch_add(1, Ordering::Relaxed) + 1;
            Box::new(OnDisk { disk: disk.clone(), opened })
        };
        on_memory(self.rows.clone(), log, options)
    }
}

/// The log of one store over a [`MemoryDisk`].
struct OnDisk {
    disk: MemoryDisk,
    opened: u64,
}

impl Log for OnDisk {
    fn append(
        &mut self,
        entries: &[Entry],
        compacted: Revision,
        sweep: Option<Sweep>,
    ) -> Result<(), LogError> {
        if self.disk.opened.load(Ordering::Relaxed) != self.opened {
            return Err(LogError::Failed("another store was opened over this disk".into()));
        }
        let events: Vec<Arc<Event>> = entries.iter().map(|entry| entry.event.clone()).collect();
        let fate = if events.is_empty() { Fate::Kept } else { (self.disk.decide)(&events) };
        match fate {
            Fate::Kept => self.disk.rows.append(entries, compacted, sweep),
            Fate::Full => Err(LogError::Full),
            Fate::Lost => Err(LogError::Failed("the disk failed".into())),
            Fate::Unanswered => {
                self.disk.rows.append(entries, compacted, sweep)?;
                Err(LogError::Failed("the disk failed after a write".into()))
            }
        }
    }

    fn tend(&mut self, last: Append) -> Result<(), LogError> {
        self.disk.rows.tend(last)
    }

    fn rewrite(&mut self) -> Result<(), LogError> {
        self.disk.rows.rewrite()
    }

    fn release_reserve(&mut self) -> Result<(), LogError> {
        self.disk.rows.release_reserve()
    }

    fn restore_reserve(&mut self) -> Result<(), LogError> {
        self.disk.rows.restore_reserve()
    }

    fn disk_bytes(&self) -> u64 {
        self.disk.rows.disk_bytes()
    }

    fn close(&mut self) -> Result<(), LogError> {
        self.disk.rows.close()
    }
}

/// Both halves share the rows.
#[derive(Clone, Default)]
pub(crate) struct MemoryLog {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    rows: BTreeMap<Revision, Row>,
    /// As of the last append; `None` before the first.
    marks: Option<Marks>,
}

impl MemoryLog {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics while it holds the rows")
    }

    /// Its rows, in order, as an opening reads them.
    pub fn replay(
        &self,
        origin: Revision,
        mut each: impl FnMut(&Marks, Row) -> Result<(), String>,
    ) -> Marks {
        let kept = self.kept();
        let new = Marks { high: origin, compacted: origin, swept: origin };
        let marks = kept.marks.unwrap_or(new);
        for row in kept.rows.values() {
            each(&marks, row.clone()).expect("nothing is checked of what is compacted");
        }
        marks
    }
}

impl Log for MemoryLog {
    fn append(
        &mut self,
        entries: &[Entry],
        compacted: Revision,
        sweep: Option<Sweep>,
    ) -> Result<(), LogError> {
        let mut kept = self.kept();
        kept.rows.extend(entries.iter().map(|entry| (entry.event.revision, row(entry))));
        let before = kept.marks.unwrap_or(Marks { high: compacted, compacted, swept: compacted });
        let high = entries.last().map_or(before.high, |entry| entry.event.revision);
        let swept = sweep.map_or(before.swept, |sweep| sweep.to);
        kept.marks = Some(Marks { high, compacted, swept });
        if let Some(sweep) = sweep {
            let range = (Bound::Excluded(sweep.after), Bound::Included(sweep.to));
            let mut gone = Vec::new();
            for (revision, row) in kept.rows.range(range) {
                gone.push(row.prev);
                gone.extend(matches!(row.content, Content::Delete(_)).then_some(*revision));
            }
            for revision in gone {
                kept.rows.remove(&revision);
            }
        }
        Ok(())
    }

    fn tend(&mut self, _: Append) -> Result<(), LogError> {
        Ok(())
    }

    fn rewrite(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    fn release_reserve(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    fn restore_reserve(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn close(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}

fn row(entry: &Entry) -> Row {
    let event = &entry.event;
    let newest = event.new.as_ref().or(event.old.as_ref()).expect("an event has a record");
    Row {
        revision: event.revision,
        prev: event.old.as_ref().map_or(Revision(0), |old| old.revision),
        key: newest.key.clone(),
        generation: newest.generation,
        facets: newest.facets.clone(),
        content: match &event.new {
            Some(new) => Content::Put(new.body.clone()),
            None => Content::Delete(entry.last.clone()),
        },
    }
}

impl History for MemoryLog {
    fn read(
        &self,
        after: Revision,
        to: Revision,
    ) -> BoxFuture<'static, Result<Stretch, ReadError>> {
        let kept = self.kept();
        let range = (Bound::Excluded(after), Bound::Included(to.max(after)));
        let range = if to > after { Some(kept.rows.range(range)) } else { None };
        let pair = |(_, row): (&Revision, &Row)| (row.clone(), kept.rows.get(&row.prev).cloned());
        let pairs = range.into_iter().flatten().take(READ_ROWS).map(pair).collect();
        Box::pin(ready(Ok(stretch(pairs, to))))
    }
}
