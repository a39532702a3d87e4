//! A log without a disk, for tests and simulation: the same semantics with nothing durable.

use crate::journal::{History, Stretch};
use crate::log::{Append, Content, Entry, Log, LogError, Marks, READ_ROWS, Row, Sweep, stretch};
use crate::{ReadError, Revision};
use futures_util::future::{BoxFuture, ready};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

/// Both halves share the rows.
#[derive(Clone, Default)]
pub(crate) struct MemoryLog {
    rows: Arc<Mutex<BTreeMap<Revision, Row>>>,
}

impl MemoryLog {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<Revision, Row>> {
        self.rows.lock().expect("nothing panics while it holds the rows")
    }

    /// Its rows, in order, as an opening reads them.
    pub fn replay(
        &self,
        origin: Revision,
        mut each: impl FnMut(&Marks, Row) -> Result<(), String>,
    ) -> Marks {
        let rows = self.rows();
        let high = rows.last_key_value().map_or(origin, |(newest, _)| origin.max(*newest));
        // What was swept is not remembered: only the newest state is sure to be whole.
        let compacted = if rows.is_empty() { origin } else { high };
        let marks = Marks { high, compacted, swept: origin };
        for row in rows.values() {
            each(&marks, row.clone()).expect("nothing is checked of what is compacted");
        }
        marks
    }
}

impl Log for MemoryLog {
    fn append(
        &mut self,
        entries: &[Entry],
        _: Revision,
        sweep: Option<Sweep>,
    ) -> Result<(), LogError> {
        let mut rows = self.rows();
        rows.extend(entries.iter().map(|entry| (entry.event.revision, row(entry))));
        if let Some(sweep) = sweep {
            let range = (Bound::Excluded(sweep.after), Bound::Included(sweep.to));
            let mut gone = Vec::new();
            for (revision, row) in rows.range(range) {
                gone.push(row.prev);
                gone.extend(matches!(row.content, Content::Delete(_)).then_some(*revision));
            }
            for revision in gone {
                rows.remove(&revision);
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
        let rows = self.rows();
        let range = (Bound::Excluded(after), Bound::Included(to.max(after)));
        let range = if to > after { Some(rows.range(range)) } else { None };
        let pair = |(_, row): (&Revision, &Row)| (row.clone(), rows.get(&row.prev).cloned());
        let pairs = range.into_iter().flatten().take(READ_ROWS).map(pair).collect();
        Box::pin(ready(Ok(stretch(pairs, to))))
    }
}
