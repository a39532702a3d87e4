//! A journal that decides elsewhere, as a cluster of etcd does for a store that follows it; in memory, and unkind:
//! events come late and several at once, answers come before or after them, other servers write too, one transaction
//! may be one revision and takes only so many writes, and some outcomes stay unknown. What it does follows from its
//! seed. Its tasks run on the caller's runtime.

use futures_util::future::BoxFuture;
use skiff_store::{
    CommitError, Event, Follower, History, Journal, Key, OpenError, Options, Past, ReadError,
    Record, Revision, Snapshot, Store, Stretch, Write, over,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};

/// How revisions are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// One for each write, as our own logs do.
    Write,
    /// One for each transaction, as etcd does.
    Transaction,
}

/// So many writes a transaction takes.
pub const MOST: usize = 8;
/// About so many events are read of its history at once.
const STRETCH: usize = 5;

/// The journal, and the hand that a test has in it.
#[derive(Clone)]
pub struct Elsewhere(Arc<Inner>);

struct Inner {
    truth: Mutex<Truth>,
    follower: Follower,
    options: Options,
    numbers: Numbers,
    told: Notify,
}

struct Truth {
    revision: Revision,
    compacted: Revision,
    records: BTreeMap<Key, Arc<Record>>,
    log: Vec<Past>,
    untold: VecDeque<Untold>,
    held: bool,
    lose: Option<Lost>,
    stopped: Option<Arc<str>>,
    seed: u64,
}

enum Untold {
    Events(Vec<Arc<Event>>),
    Compacted(Revision, oneshot::Sender<()>),
}

/// What becomes of a write whose answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    Written,
    Unwritten,
}

/// A store that follows an empty journal of that sort.
pub fn store(options: &Options, numbers: Numbers, seed: u64) -> (Arc<dyn Store>, Elsewhere) {
    let truth = Truth {
        revision: options.origin,
        compacted: options.origin,
        records: BTreeMap::new(),
        log: Vec::new(),
        untold: VecDeque::new(),
        held: false,
        lose: None,
        stopped: None,
        seed,
    };
    let mut made = None;
    let store = over(truth.snapshot(), options, |follower| {
        let inner = Inner {
            truth: Mutex::new(truth),
            follower,
            options: options.clone(),
            numbers,
            told: Notify::new(),
        };
        let journal = Elsewhere(Arc::new(inner));
        tokio::spawn(journal.clone().deliver());
        made = Some(journal.clone());
        Arc::new(journal)
    });
    (store, made.expect("it was made"))
}

impl Elsewhere {
    /// What another server writes.
    pub fn write(&self, writes: &[Write]) -> Result<Vec<Revision>, CommitError> {
        let decided = self.truth().decide(writes, self.0.numbers);
        self.0.told.notify_one();
        decided
    }

    /// Nothing is told until it is let go.
    pub fn hold(&self) {
        self.truth().held = true;
    }

    pub fn let_go(&self) {
        self.truth().held = false;
        self.0.told.notify_one();
    }

    /// The next answer is lost.
    pub fn lose(&self, lost: Lost) {
        self.truth().lose = Some(lost);
    }

    /// Its connection breaks: what was not told is lost to this follower.
    pub fn break_off(&self) {
        let reason: Arc<str> = "the connection broke".into();
        let mut truth = self.truth();
        truth.stopped = Some(reason.clone());
        truth.untold.clear();
        drop(truth);
        self.0.follower.stop(&reason);
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.0.truth.lock().expect("nothing panics with it")
    }

    async fn dawdle(&self) {
        let steps = self.truth().below(6);
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
    }

    async fn deliver(self) {
        loop {
            self.dawdle().await;
            if !self.tell() {
                self.0.told.notified().await;
            }
        }
    }

    /// Tells some of what is untold; false when there was nothing to tell.
    fn tell(&self) -> bool {
        let mut truth = self.truth();
        let several = 1 + truth.below(3);
        let (mut events, mut some) = (Vec::new(), false);
        while !truth.held && (events.len() as u64) < several {
            match truth.untold.pop_front() {
                Some(Untold::Events(more)) => events.extend(more),
                Some(Untold::Compacted(oldest, done)) => {
                    self.0.follower.tell(&std::mem::take(&mut events));
                    self.0.follower.compacted(oldest);
                    let _ = done.send(());
                }
                None => break,
            }
            some = true;
        }
        self.0.follower.tell(&events);
        some
    }
}

impl Truth {
    fn below(&mut self, limit: u64) -> u64 {
        self.seed =
            self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.seed >> 33) % limit
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            revision: self.revision,
            compacted: self.compacted,
            records: self.records.values().cloned().collect(),
        }
    }

    fn decide(&mut self, writes: &[Write], numbers: Numbers) -> Result<Vec<Revision>, CommitError> {
        if writes.len() > MOST {
            return Err(CommitError::TooMany { most: MOST });
        }
        for (place, write) in writes.iter().enumerate() {
            let key = write.key().clone();
            if writes[..place].iter().any(|before| *before.key() == key) {
                return Err(CommitError::Twice { key });
            }
            let expected = match write {
                Write::Put { expect, .. } => *expect,
                Write::Delete { expect, .. } => Some(*expect),
            };
            let actual = self.records.get(&key).map(|record| record.revision);
            if actual != expected {
                return Err(CommitError::Conflict { key, expected, actual, at: self.revision });
            }
        }
        let mut revisions = Vec::new();
        let mut events = Vec::new();
        for (place, write) in writes.iter().enumerate() {
            if place == 0 || numbers == Numbers::Write {
                self.revision.0 += 1;
            }
            revisions.push(self.revision);
            events.push(self.apply(write));
        }
        self.untold.push_back(Untold::Events(events));
        Ok(revisions)
    }

    fn apply(&mut self, write: &Write) -> Arc<Event> {
        let (revision, key) = (self.revision, write.key().clone());
        let before = self.records.remove(&key);
        let (old, new) = match write {
            Write::Put { body, generation, facets, .. } => {
                let (body, generation, facets) = (body.clone(), *generation, facets.clone());
                let record = Record { key: key.clone(), revision, body, generation, facets };
                let record = Arc::new(record);
                self.records.insert(key.clone(), record.clone());
                (before.clone(), Some(record))
            }
            Write::Delete { last, .. } => {
                let stored = before.clone().expect("it was compared");
                let ended = match last {
                    None => stored,
                    Some(body) => Arc::new(Record {
                        key: key.clone(),
                        revision: stored.revision,
                        body: body.clone(),
                        generation: stored.generation,
                        facets: stored.facets.clone(),
                    }),
                };
                (Some(ended), None)
            }
        };
        let event = Arc::new(Event { revision, key, old, new });
        self.log.push(Past { event: event.clone(), before });
        event
    }
}

impl Journal for Elsewhere {
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<Vec<Revision>, CommitError>> {
        let own = self.clone();
        Box::pin(async move {
            own.dawdle().await;
            let lost = {
                let mut truth = own.truth();
                if let Some(reason) = &truth.stopped {
                    return Err(CommitError::Stopped(reason.clone()));
                }
                truth.lose.take()
            };
            let answer = match lost {
                None => own.write(&writes),
                Some(lost) => {
                    if lost == Lost::Written {
                        own.write(&writes)?;
                    }
                    Err(CommitError::Unknown("the answer was lost".into()))
                }
            };
            own.dawdle().await;
            answer
        })
    }

    fn newest(&self) -> Option<BoxFuture<'static, Result<Revision, ReadError>>> {
        let own = self.clone();
        Some(Box::pin(async move {
            own.dawdle().await;
            let truth = own.truth();
            match &truth.stopped {
                Some(reason) => Err(ReadError::Stopped(reason.clone())),
                None => Ok(truth.revision),
            }
        }))
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::new(self.clone())
    }

    fn purge(&self) -> BoxFuture<'static, Result<(), CommitError>> {
        self.compact(Revision(u64::MAX))
    }

    fn compact(&self, oldest: Revision) -> BoxFuture<'static, Result<(), CommitError>> {
        let own = self.clone();
        Box::pin(async move {
            let (done, told) = oneshot::channel();
            {
                let mut truth = own.truth();
                let oldest = oldest.min(truth.revision).max(truth.compacted);
                truth.compacted = oldest;
                truth.untold.push_back(Untold::Compacted(oldest, done));
            }
            own.0.told.notify_one();
            told.await.map_err(|_| CommitError::Stopped("it was closed".into()))
        })
    }

    fn reopen(&self) -> BoxFuture<'static, Result<(), OpenError>> {
        let mut truth = self.truth();
        if truth.stopped.take().is_some() {
            self.0.follower.restart(truth.snapshot(), &self.0.options);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.truth().stopped = Some("it was closed".into());
        self.0.follower.close();
        Box::pin(std::future::ready(()))
    }

    fn queued(&self) -> (usize, usize) {
        (0, 0)
    }
}

impl History for Elsewhere {
    fn read(
        &self,
        after: Revision,
        to: Revision,
    ) -> BoxFuture<'static, Result<Stretch, ReadError>> {
        let own = self.clone();
        Box::pin(async move {
            own.dawdle().await;
            let truth = own.truth();
            let inside = |past: &&Past| past.event.revision > after && past.event.revision <= to;
            let all: Vec<Past> = truth.log.iter().filter(inside).cloned().collect();
            let cut = all.get(STRETCH).map_or(to, |past| past.event.revision);
            // The last revision is read whole, or it was the whole.
            let events = all.into_iter().filter(|past| past.event.revision <= cut).collect();
            Ok(Stretch { events, reached: cut })
        })
    }
}
