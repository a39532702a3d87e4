//! The committer: the only writer. It takes what waits, decides it in order, makes it durable with
//! one fsync, then visible, then answers, then tells the watches.
//!
//! It never makes anything visible before it is durable, and never goes on after a write whose
//! outcome it does not know: then the store stops, and opening it again reads what is true.
//! A full disk is not such an error: nothing was written. Creates are refused, while deletes and
//! updates that do not grow go on in the space of a reserve that was held back for this.

use crate::compact::Compaction;
use crate::log::{Entry, Log, LogError, Marks, with_body};
use crate::shared::Shared;
use crate::watch::End;
use crate::{Clock, CommitError, Committed, Event, Key, Record, Revision, Write};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A batch that waits for the committer.
pub(crate) struct Request {
    pub writes: Vec<Write>,
    pub reply: oneshot::Sender<Result<Vec<Committed>, CommitError>>,
    /// Its share of the bytes that may wait; given back when it is answered.
    pub permit: Option<OwnedSemaphorePermit>,
}

pub(crate) struct Committer {
    shared: Arc<Shared>,
    log: Box<dyn Log>,
    compaction: Compaction,
    clock: Clock,
    /// The newest revision given out; only this place gives them out.
    revision: Revision,
    /// When the disk is full: the time of the next try to take the reserve back.
    full: Option<Duration>,
    stopped: Option<Arc<str>>,
}

/// Between two tries to take the reserve back.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// What an update may grow by while the disk is full: room for a deletionTimestamp and the like,
/// because a graceful deletion is an update first.
const FULL_GROWTH: usize = 1024;

/// A request with what was decided about it.
struct Decided {
    request: Request,
    outcome: Result<Vec<Committed>, CommitError>,
}

/// The writes of a group as they follow from each other, before anybody sees them.
struct Group {
    revision: Revision,
    pending: BTreeMap<Key, Option<Arc<Record>>>,
    entries: Vec<Entry>,
}

impl Committer {
    pub fn new(
        shared: Arc<Shared>,
        log: Box<dyn Log>,
        marks: Marks,
        keep: Duration,
        clock: Clock,
    ) -> Committer {
        let compaction = Compaction::new(keep, marks, clock());
        let revision = marks.high;
        Committer { shared, log, compaction, clock, revision, full: None, stopped: None }
    }

    /// Commits all requests under one fsync and answers them.
    pub fn group(&mut self, requests: Vec<Request>) {
        let began = (self.clock)();
        if let Some(reason) = &self.stopped {
            let error = CommitError::Stopped(reason.clone());
            requests.into_iter().for_each(|request| answer(request, Err(error.clone())));
            return;
        }
        if let Some(oldest) = self.compaction.tick(began, self.revision) {
            self.publish_compacted(oldest);
        }
        self.leave_full(began);
        let (mut decided, mut group) = self.decide(requests);
        let mut result = self.append(&group.entries);
        if result == Err(LogError::Full) && self.full.is_none() {
            self.enter_full(began);
            let requests = decided.into_iter().map(|decided| decided.request).collect();
            (decided, group) = self.decide(requests);
            result = self.append(&group.entries);
        }
        if let Err(error) = result {
            return self.refuse(decided, error);
        }
        self.revision = group.revision;
        let events: Vec<Arc<Event>> = group.entries.into_iter().map(|entry| entry.event).collect();
        self.shared.publish(&events);
        decided.into_iter().for_each(|decided| answer(decided.request, decided.outcome));
        self.shared.dispatch(&events);
        self.note_figures(began, events.len());
    }

    fn note_figures(&self, began: Duration, writes: usize) {
        let took = (self.clock)().saturating_sub(began);
        let mut figures = self.shared.figures();
        figures.commit_us.add_duration(took);
        figures.group_writes.add(writes as u64);
        figures.disk_bytes = self.log.disk_bytes();
        figures.full = self.full.is_some();
    }

    /// Compares every request with the state that the ones before it leave behind.
    fn decide(&self, requests: Vec<Request>) -> (Vec<Decided>, Group) {
        let mut group =
            Group { revision: self.revision, pending: BTreeMap::new(), entries: Vec::new() };
        let state = self.shared.read();
        let decided = requests
            .into_iter()
            .map(|request| {
                let newest = |group: &Group, key: &Key| match group.pending.get(key) {
                    Some(pending) => pending.clone(),
                    None => state.index.get(key).cloned(),
                };
                let outcome = match conflict(&request.writes, |key| newest(&group, key)) {
                    Some(error) => Err(error),
                    None if self.full.is_some()
                        && grows(&request.writes, |key| newest(&group, key)) =>
                    {
                        Err(CommitError::Full)
                    }
                    None => {
                        let write = |write| {
                            let old = newest(&group, Write::key(write));
                            group.add(write, old)
                        };
                        Ok(request.writes.iter().map(write).collect())
                    }
                };
                Decided { request, outcome }
            })
            .collect();
        (decided, group)
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        let sweep = self.compaction.sweep(entries.len());
        if entries.is_empty() && sweep.is_none() {
            return Ok(());
        }
        self.log.append(entries, self.compaction.compacted(), sweep)?;
        self.compaction.swept(sweep);
        Ok(())
    }

    fn refuse(&mut self, decided: Vec<Decided>, error: LogError) {
        let error = match error {
            LogError::Full => CommitError::Full,
            LogError::Failed(reason) => CommitError::Stopped(self.stop(reason.into())),
        };
        for Decided { request, outcome } in decided {
            answer(request, outcome.and(Err(error.clone())));
        }
    }

    fn stop(&mut self, reason: Arc<str>) -> Arc<str> {
        tracing::error!(%reason, "the store stopped");
        self.stopped = Some(reason.clone());
        self.shared.stopped.send_replace(Some(reason.clone()));
        self.shared.end_watches(&End::Stopped(reason.clone()));
        reason
    }

    fn enter_full(&mut self, now: Duration) {
        tracing::warn!("the disk is full: creates are refused until there is space again");
        self.full = Some(now + FULL_RETRY);
        if let Err(error) = self.log.release_reserve() {
            tracing::warn!(%error, "the reserve for a full disk could not be released");
        }
        // History is what can be given up.
        self.compaction.raise(self.revision);
        self.publish_compacted(self.revision);
        while self.compaction.sweep(0).is_some() {
            if let Err(error) = self.append(&[]) {
                tracing::warn!(%error, "compaction on a full disk did not finish");
                break;
            }
        }
    }

    fn leave_full(&mut self, now: Duration) {
        if self.full.is_none_or(|retry| now < retry) {
            return;
        }
        match self.log.restore_reserve() {
            Ok(()) => {
                tracing::info!("the disk has space again");
                self.full = None;
            }
            Err(error) => {
                tracing::debug!(%error, "the disk is still full");
                self.full = Some(now + FULL_RETRY);
            }
        }
    }

    /// Readers are refused first; the rows go after that.
    fn publish_compacted(&self, oldest: Revision) {
        tracing::debug!(oldest = oldest.0, "compacted");
        let mut state = self.shared.write();
        state.compacted = state.compacted.max(oldest);
        state.window.raise_floor(oldest);
    }

    /// Makes `oldest` (at most the current revision) the oldest retained one, durably.
    pub fn compact(&mut self, oldest: Revision) -> Result<(), CommitError> {
        if let Some(reason) = &self.stopped {
            return Err(CommitError::Stopped(reason.clone()));
        }
        let oldest = oldest.min(self.revision);
        if self.compaction.raise(oldest) {
            self.publish_compacted(oldest);
        }
        while self.idle_sweep()? {}
        Ok(())
    }

    /// Sweeps one piece, when nothing else is to be done; false when nothing is left.
    pub fn idle_sweep(&mut self) -> Result<bool, CommitError> {
        if self.stopped.is_some() || self.compaction.sweep(0).is_none() {
            return Ok(false);
        }
        match self.append(&[]) {
            Ok(()) => Ok(true),
            Err(LogError::Full) => Err(CommitError::Full),
            Err(LogError::Failed(reason)) => Err(CommitError::Stopped(self.stop(reason.into()))),
        }
    }

    pub fn close(&mut self) {
        if self.stopped.is_some() {
            return;
        }
        if let Err(error) = self.log.close() {
            // Nothing is lost: what was acknowledged is durable, and the next opening reads it.
            tracing::warn!(%error, "the log did not close in good order");
        }
        let reason: Arc<str> = "it was closed".into();
        self.stopped = Some(reason.clone());
        self.shared.stopped.send_replace(Some(reason));
        self.shared.end_watches(&End::Closed);
    }
}

impl Group {
    /// Takes the next revision for a write that has been found good.
    fn add(&mut self, write: &Write, old: Option<Arc<Record>>) -> Committed {
        self.revision = Revision(self.revision.0 + 1);
        let (revision, key) = (self.revision, write.key().clone());
        let (old, new, last) = match write {
            Write::Put { key, body, generation, facets, .. } => {
                // One allocation of the key for all records of it.
                let key = old.as_ref().map_or(key, |old| &old.key).clone();
                let (body, facets) = (body.clone(), facets.clone());
                let record = Record { key, revision, body, generation: *generation, facets };
                (old, Some(Arc::new(record)), None)
            }
            Write::Delete { last, .. } => {
                let ended = match (&old, last) {
                    (Some(old), Some(last)) => Some(with_body(old, last.clone())),
                    _ => old,
                };
                (ended, None, last.clone())
            }
        };
        let record = new.as_ref().or(old.as_ref()).expect("a delete's record was compared").clone();
        self.pending.insert(record.key.clone(), new.clone());
        let event = Arc::new(Event { revision, key, old, new });
        self.entries.push(Entry { event, last });
        Committed { revision, record }
    }
}

/// Whether a batch cannot be written on top of what is there.
fn conflict(writes: &[Write], newest: impl Fn(&Key) -> Option<Arc<Record>>) -> Option<CommitError> {
    for (at, write) in writes.iter().enumerate() {
        let key = write.key();
        if writes[..at].iter().any(|before| before.key() == key) {
            return Some(CommitError::Twice { key: key.clone() });
        }
        let expected = match write {
            Write::Put { expect, .. } => *expect,
            Write::Delete { expect, .. } => Some(*expect),
        };
        let actual = newest(key).map(|record| record.revision);
        if actual != expected {
            return Some(CommitError::Conflict { key: key.clone(), expected, actual });
        }
    }
    None
}

/// Whether a batch needs space that a full disk does not have.
fn grows(writes: &[Write], newest: impl Fn(&Key) -> Option<Arc<Record>>) -> bool {
    writes.iter().any(|write| match write {
        Write::Delete { .. } => false,
        Write::Put { key, body, .. } => {
            newest(key).is_none_or(|old| body.len() > old.body.len() + FULL_GROWTH)
        }
    })
}

fn answer(request: Request, outcome: Result<Vec<Committed>, CommitError>) {
    drop(request.permit);
    // Whoever asked may have gone away; the outcome stands all the same.
    let _ = request.reply.send(outcome);
}
