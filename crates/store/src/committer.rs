//! The committer: the only writer. It takes what waits, decides it in order, makes it durable with
//! one fsync, then visible, then answers, then tells the watches.
//!
//! It never makes anything visible before it is durable, and never goes on after a write whose
//! outcome it does not know: then the store stops, and opening it again reads what is true.
//! A full disk is not such an error: nothing was written. Creates are refused, while deletes and
//! updates that do not grow go on in the space of a reserve that was held back for this.

use crate::compact::Compaction;
use crate::log::{Append, Entry, Log, LogError, Marks, with_body};
use crate::shared::{Shared, State};
use crate::watch::End;
use crate::{Clock, CommitError, Event, Key, Record, Revision, Write};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What a batch became: the revision of each write.
pub(crate) type Outcome = Result<Vec<Revision>, CommitError>;

/// A batch that waits for the committer.
pub(crate) struct Request {
    pub writes: Vec<Write>,
    pub reply: oneshot::Sender<Outcome>,
    /// Its share of the bytes that may wait; given back when it is answered.
    pub permit: Option<OwnedSemaphorePermit>,
}

pub(crate) struct Committer {
    shared: Arc<Shared>,
    /// `None` after a stop that it was let go for.
    log: Option<Box<dyn Log>>,
    compaction: Compaction,
    keep: Duration,
    clock: Clock,
    /// The newest revision given out; only this place gives them out.
    revision: Revision,
    /// When the disk is full: the time of the next try to take the reserve back.
    full: Option<Duration>,
    stopped: Option<Arc<str>>,
}

/// Between two tries to take the reserve back.
const FULL_RETRY: Duration = Duration::from_secs(5);

/// What an update may grow by while the disk is full: room for a deletionTimestamp and the like,
/// because a graceful deletion is an update first.
const FULL_GROWTH: usize = 1024;

/// Pieces of sweeping with no writes beside them, in writes: while idle short enough (some ms) that
/// a write which comes in hardly waits; on a full disk large, but well inside the reserve.
const IDLE_SWEEP: usize = 64;
const FULL_SWEEP: usize = 500;

/// The size on disk is asked for once in so many groups: it costs more than all other figures.
const DISK_BYTES_GROUPS: u64 = 64;

/// A request with what was decided about it.
struct Decided {
    request: Request,
    outcome: Outcome,
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
        let log = Some(log);
        Committer { shared, log, compaction, keep, clock, revision, full: None, stopped: None }
    }

    /// Ends the log of a committer that a failure stopped, so that it can be opened again; false: it goes on as it is.
    pub fn let_go(&mut self) -> bool {
        if self.stopped.is_some() {
            self.log = None;
        }
        self.stopped.is_some()
    }

    /// Goes on with what the log was found to hold.
    pub fn begin_again(&mut self, state: State, log: Box<dyn Log>, marks: Marks) {
        self.log = Some(log);
        self.compaction = Compaction::new(self.keep, marks, (self.clock)());
        (self.revision, self.full, self.stopped) = (marks.high, None, None);
        self.shared.restart(state);
    }

    /// The log, of which a stopped committer asks nothing.
    fn log(&mut self) -> &mut dyn Log {
        self.log.as_deref_mut().expect("only a stopped committer has let its log go")
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
            self.shared.compacted(oldest);
        }
        self.leave_full(began);
        if self.full.is_some() {
            self.give_up_history();
        }
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
        self.tend(Append::Entries);
        self.note_figures(began, events.len());
    }

    fn note_figures(&mut self, began: Duration, writes: usize) {
        let took = (self.clock)().saturating_sub(began);
        let shared = self.shared.clone();
        let mut figures = shared.figures();
        figures.commit_us.add_duration(took);
        figures.group_writes.add(writes as u64);
        if figures.group_writes.count % DISK_BYTES_GROUPS == 1 {
            figures.disk_bytes = self.log().disk_bytes();
        }
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
                let beaten = conflict(&request.writes, group.revision, |key| newest(&group, key));
                let outcome = match beaten {
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
        let compacted = self.compaction.compacted();
        self.log().append(entries, compacted, sweep)?;
        self.compaction.swept(sweep);
        Ok(())
    }

    /// Lets the log care for itself. A full disk is met here first: the log is whole, but cannot
    /// move what it has to where it belongs.
    fn tend(&mut self, last: Append) {
        match self.log().tend(last) {
            Ok(()) => {}
            Err(LogError::Full) if self.full.is_none() => self.enter_full((self.clock)()),
            Err(LogError::Full) => tracing::debug!("no space for a checkpoint yet"),
            Err(LogError::Failed(reason)) => {
                self.stop(reason.into());
            }
        }
    }

    fn refuse(&mut self, decided: Vec<Decided>, error: LogError) {
        let error = match error {
            LogError::Full => CommitError::Full,
            LogError::Failed(reason) => CommitError::Stopped(self.stop(reason.into())),
        };
        for Decided { request, outcome } in decided {
            let outcome = match outcome {
                // It was beaten by what is not written now: it may try again at once.
                Err(CommitError::Conflict { key, expected, actual, .. }) => {
                    Err(CommitError::Conflict { key, expected, actual, at: self.revision })
                }
                outcome => outcome.and(Err(error.clone())),
            };
            answer(request, outcome);
        }
    }

    /// Decides nothing more: what is true is known after an opening.
    pub fn stop(&mut self, reason: Arc<str>) -> Arc<str> {
        tracing::error!(%reason, "the store stopped");
        self.stopped = Some(reason.clone());
        self.shared.stop(End::Stopped(reason.clone()));
        reason
    }

    fn enter_full(&mut self, now: Duration) {
        tracing::warn!("the disk is full: creates are refused until there is space again");
        self.full = Some(now + FULL_RETRY);
        if let Err(error) = self.log().release_reserve() {
            tracing::warn!(%error, "the reserve for a full disk could not be released");
        }
        self.give_up_history();
        loop {
            let swept = self.sweep_piece(FULL_SWEEP);
            let tended = swept.and_then(|more| self.log().tend(Append::SweepOnly).map(|()| more));
            match tended {
                Ok(true) => {}
                Ok(false) => return,
                Err(LogError::Failed(reason)) => {
                    self.stop(reason.into());
                    return;
                }
                Err(LogError::Full) => {
                    tracing::warn!("compaction on a full disk goes on with the next writes");
                    return;
                }
            }
        }
    }

    /// On a full disk history is what there is to give up: what is superseded makes room for what
    /// comes.
    fn give_up_history(&mut self) {
        if self.compaction.raise(self.revision) {
            self.shared.compacted(self.revision);
        }
    }

    /// Sweeps as much as goes with so many writes; false when nothing was left.
    fn sweep_piece(&mut self, writes: usize) -> Result<bool, LogError> {
        let Some(sweep) = self.compaction.sweep(writes) else { return Ok(false) };
        let compacted = self.compaction.compacted();
        self.log().append(&[], compacted, Some(sweep))?;
        self.compaction.swept(Some(sweep));
        Ok(true)
    }

    fn leave_full(&mut self, now: Duration) {
        if self.full.is_none_or(|retry| now < retry) {
            return;
        }
        match self.log().restore_reserve() {
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

    /// Makes `oldest` (at most the current revision) the oldest retained one, durably.
    pub fn compact(&mut self, oldest: Revision) -> Result<(), CommitError> {
        if let Some(reason) = &self.stopped {
            return Err(CommitError::Stopped(reason.clone()));
        }
        let oldest = oldest.min(self.revision);
        if self.compaction.raise(oldest) {
            self.shared.compacted(oldest);
        }
        while self.idle_sweep()? {}
        Ok(())
    }

    /// Leaves nothing on the disk but the newest records, in the form in which they are written today.
    pub fn purge(&mut self) -> Result<(), CommitError> {
        self.compact(self.revision)?;
        match self.log().rewrite() {
            Ok(()) => Ok(()),
            Err(LogError::Full) => Err(CommitError::Full),
            Err(LogError::Failed(reason)) => Err(CommitError::Stopped(self.stop(reason.into()))),
        }
    }

    /// Sweeps one piece, when nothing else is to be done; false when nothing is left.
    pub fn idle_sweep(&mut self) -> Result<bool, CommitError> {
        if self.stopped.is_some() {
            return Ok(false);
        }
        match self.sweep_piece(IDLE_SWEEP) {
            Ok(more) => {
                if more {
                    self.tend(Append::SweepOnly);
                }
                Ok(more)
            }
            Err(LogError::Full) => Err(CommitError::Full),
            Err(LogError::Failed(reason)) => Err(CommitError::Stopped(self.stop(reason.into()))),
        }
    }

    pub fn close(&mut self) {
        if self.stopped.is_some() {
            // It may have been about to be opened again.
            self.shared.stop(End::Closed);
            return;
        }
        if let Err(error) = self.log().close() {
            // Nothing is lost: what was acknowledged is durable, and the next opening reads it.
            tracing::warn!(%error, "the log did not close in good order");
        }
        let reason: Arc<str> = "it was closed".into();
        self.stopped = Some(reason);
        self.shared.stop(End::Closed);
    }
}

impl Drop for Committer {
    /// A committer that ends without an end would leave everybody waiting.
    fn drop(&mut self) {
        if self.stopped.is_none() && std::thread::panicking() {
            self.stop("its committer panicked".into());
        }
    }
}

impl Group {
    /// Takes the next revision for a write that has been found good.
    fn add(&mut self, write: &Write, old: Option<Arc<Record>>) -> Revision {
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
        revision
    }
}

/// Whether a batch cannot be written on top of what is there.
fn conflict(
    writes: &[Write],
    at: Revision,
    newest: impl Fn(&Key) -> Option<Arc<Record>>,
) -> Option<CommitError> {
    for (place, write) in writes.iter().enumerate() {
        let key = write.key();
        if writes[..place].iter().any(|before| before.key() == key) {
            return Some(CommitError::Twice { key: key.clone() });
        }
        let expected = match write {
            Write::Put { expect, .. } => *expect,
            Write::Delete { expect, .. } => Some(*expect),
        };
        let actual = newest(key).map(|record| record.revision);
        if actual != expected {
            return Some(CommitError::Conflict { key: key.clone(), expected, actual, at });
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

fn answer(request: Request, outcome: Outcome) {
    drop(request.permit);
    // Whoever asked may have gone away; the outcome stands all the same.
    let _ = request.reply.send(outcome);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Sweep;
    use crate::memory::MemoryLog;
    use crate::{Currency, Options, Store, WatchError, WatchRequest, WatchStart, engine, facets};
    use std::sync::Mutex;

    /// A log on a disk of so many bytes, which can also break.
    #[derive(Clone)]
    struct Disk {
        rows: MemoryLog,
        state: Arc<Mutex<DiskState>>,
    }

    #[derive(Default)]
    struct DiskState {
        free: usize,
        reserved: bool,
        broken: bool,
    }

    const RESERVE: usize = 100;

    impl Log for Disk {
        fn append(
            &mut self,
            entries: &[Entry],
            compacted: Revision,
            sweep: Option<Sweep>,
        ) -> Result<(), LogError> {
            let mut state = self.state.lock().unwrap();
            let size = |entry: &Entry| entry.event.new.as_ref().map_or(1, |new| new.body.len());
            let size: usize = entries.iter().map(size).sum();
            if state.broken {
                return Err(LogError::Failed("input/output error".into()));
            }
            state.free = state.free.checked_sub(size).ok_or(LogError::Full)?;
            self.rows.append(entries, compacted, sweep)
        }

        fn tend(&mut self, _: Append) -> Result<(), LogError> {
            Ok(())
        }

        fn rewrite(&mut self) -> Result<(), LogError> {
            Ok(())
        }

        fn release_reserve(&mut self) -> Result<(), LogError> {
            let mut state = self.state.lock().unwrap();
            assert!(state.reserved);
            state.reserved = false;
            state.free += RESERVE;
            Ok(())
        }

        fn restore_reserve(&mut self) -> Result<(), LogError> {
            let mut state = self.state.lock().unwrap();
            state.free = state.free.checked_sub(RESERVE).ok_or(LogError::Full)?;
            state.reserved = true;
            Ok(())
        }

        fn disk_bytes(&self) -> u64 {
            0
        }

        fn close(&mut self) -> Result<(), LogError> {
            Ok(())
        }
    }

    struct Fixture {
        store: Arc<dyn Store>,
        disk: Disk,
        time: Arc<Mutex<Duration>>,
    }

    impl Fixture {
        fn new(free: usize) -> Fixture {
            let state = DiskState { free, reserved: true, broken: false };
            let disk = Disk { rows: MemoryLog::default(), state: Arc::new(Mutex::new(state)) };
            let time = Arc::new(Mutex::new(Duration::ZERO));
            let clock = time.clone();
            let options = Options::new(Arc::new(move || *clock.lock().unwrap()));
            let log = disk.clone();
            let open = move || -> Box<dyn Log> { Box::new(log.clone()) };
            let store = engine::on_memory(disk.rows.clone(), open, options);
            Fixture { store, disk, time }
        }

        async fn put(&self, key: &str, size: usize) -> Result<u64, CommitError> {
            let expect = self.store.get(key).map(|record| record.revision);
            let (body, facets) = (vec![0; size].into(), facets(Vec::new()));
            let write = Write::Put { key: key.into(), expect, body, generation: 0, facets };
            self.store.commit(vec![write]).await.map(|done| done[0].0)
        }

        async fn delete(&self, key: &str) -> Result<u64, CommitError> {
            let expect = self.store.get(key).unwrap().revision;
            let write = Write::Delete { key: key.into(), expect, last: None };
            self.store.commit(vec![write]).await.map(|done| done[0].0)
        }
    }

    #[tokio::test]
    async fn a_full_disk_takes_deletes() {
        let fixture = Fixture::new(50);
        assert_eq!(fixture.put("a/b/c", 20).await, Ok(2));
        assert_eq!(fixture.put("a/b/d", 40).await, Err(CommitError::Full));
        assert!(fixture.store.get("a/b/d").is_none());
        // Now there is space, but it is the reserve: creates wait, the rest does not.
        assert_eq!(fixture.put("a/b/d", 1).await, Err(CommitError::Full));
        assert_eq!(fixture.put("a/b/c", 30).await, Ok(3));
        assert_eq!(fixture.put("a/b/c", 30 + FULL_GROWTH + 1).await, Err(CommitError::Full));
        assert_eq!(fixture.delete("a/b/c").await, Ok(4));
        assert!(fixture.store.stats().full);
        // History was given up for it.
        assert_eq!(fixture.store.oldest_retained(), Revision(3));
        // Somebody frees space; it is found out a little later.
        fixture.disk.state.lock().unwrap().free += 1000;
        assert_eq!(fixture.put("a/b/d", 1).await, Err(CommitError::Full));
        *fixture.time.lock().unwrap() += FULL_RETRY;
        assert_eq!(fixture.put("a/b/d", 1).await, Ok(5));
        assert!(fixture.disk.state.lock().unwrap().reserved);
        assert_eq!(fixture.store.current(), Revision(5));
    }

    #[tokio::test]
    async fn a_failed_write_stops_the_store() {
        let fixture = Fixture::new(1000);
        assert_eq!(fixture.put("a/b/c", 1).await, Ok(2));
        let scope = crate::Scope::prefix("a");
        let request = WatchRequest { scope, facet: None, start: WatchStart::Now };
        let mut watch = fixture.store.watch(request.clone()).unwrap();
        let late = fixture.store.reach(Currency::AtLeast(Revision(3)));
        fixture.disk.state.lock().unwrap().broken = true;
        let reason: Arc<str> = "input/output error".into();
        let stopped = CommitError::Stopped(reason.clone());
        assert_eq!(fixture.put("a/b/c", 2).await, Err(stopped.clone()));
        // Even when the disk is well again: what it holds is known only after an opening.
        fixture.disk.state.lock().unwrap().broken = false;
        assert_eq!(fixture.put("a/b/c", 2).await, Err(stopped.clone()));
        assert_eq!(fixture.store.compact(Revision(2)).await, Err(stopped));
        assert_eq!(fixture.store.stopped().await, reason);
        assert_eq!(fixture.store.get("a/b/c").unwrap().revision, Revision(2));
        let next = watch.next().await.map(|item| item.map(|_| ()));
        assert_eq!(next, Some(Err(WatchError::Stopped(reason.clone()))));
        let stopped = crate::ReadError::Stopped(reason);
        assert_eq!(late.await, Err(stopped.clone()));
        assert_eq!(fixture.store.watch(request.clone()).err(), Some(stopped));
        // Opened again it goes on with what is there; who watched begins from what it saw.
        fixture.store.reopen().await.unwrap();
        assert_eq!(watch.next().await.map(|item| item.map(|_| ())), None);
        assert_eq!(fixture.store.current(), Revision(2));
        let mut watch = fixture.store.watch(request).unwrap();
        let late = fixture.store.reach(Currency::AtLeast(Revision(3)));
        assert_eq!(fixture.put("a/b/c", 3).await, Ok(3));
        let next = watch.next().await.map(|item| item.map(|_| ()));
        assert_eq!((next, late.await), (Some(Ok(())), Ok(())));
        fixture.store.close().await;
        fixture.store.reopen().await.unwrap_err();
    }

    #[test]
    fn a_group_is_decided_in_order() {
        let fixture = Fixture::new(1000);
        let disk = fixture.disk.clone();
        let marks = Marks { high: Revision(1), compacted: Revision(1), swept: Revision(1) };
        let state = crate::shared::State {
            index: crate::index::Index::new(Revision(1)),
            window: crate::window::Window::new(Revision(1), 10, 10_000),
            compacted: Revision(1),
            height: 0,
        };
        let shared = Arc::new(Shared::new(state));
        let clock: Clock = Arc::new(|| Duration::ZERO);
        let log = Box::new(disk);
        let mut committer = Committer::new(shared, log, marks, Duration::ZERO, clock);
        let put = |expect: Option<u64>| {
            let (body, facets) = (vec![0; 1].into(), facets(Vec::new()));
            let (key, expect) = ("a/b/c".into(), expect.map(Revision));
            vec![Write::Put { key, expect, body, generation: 0, facets }]
        };
        let delete = vec![Write::Delete { key: "a/b/c".into(), expect: Revision(3), last: None }];
        let batches = [put(None), put(Some(2)), put(Some(2)), delete, put(None)];
        let (requests, answers): (Vec<_>, Vec<_>) = batches
            .into_iter()
            .map(|writes| {
                let (reply, answer) = oneshot::channel();
                (Request { writes, reply, permit: None }, answer)
            })
            .unzip();
        committer.group(requests);
        let outcome = |mut answer: oneshot::Receiver<Outcome>| {
            answer.try_recv().unwrap().map(|done| done[0].0)
        };
        let (expected, actual) = (Some(Revision(2)), Some(Revision(3)));
        let at = Revision(3);
        let conflict = CommitError::Conflict { key: "a/b/c".into(), expected, actual, at };
        let outcomes: Vec<_> = answers.into_iter().map(outcome).collect();
        assert_eq!(outcomes, [Ok(2), Ok(3), Err(conflict), Ok(4), Ok(5)]);
    }
}
