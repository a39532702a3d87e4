//! Sink: the way of events to one place that keeps them. A queue of bounded length, in events and in bytes, and a
//! counter for each that does not arrive. What the place is (a file, a server) is not known here.
//!
//! ```text
//! batch             the request goes on at once; what finds the queue full is lost, and counted
//! blocking          the request waits until the event is kept, or is not
//! blocking-strict   and fails, if it is not (when the request is received)
//! ```

use super::event::{Bodies, Event, Format};
use super::policy::{Level, Stage};
use bytes::Bytes;
use skiff_base::{Lock, Time, World};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Of all events that wait in one queue: some ten thousand with bodies of usual size; the largest has a third of it.
const BYTES_MOST: usize = 32 << 20;

/// So many are kept before it is said that none is lost any more: a small one may find room on a full disk.
const AGAIN: u64 = 64;

/// Whether requests wait for their events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Batch,
    Blocking,
    BlockingStrict,
}

impl Mode {
    pub const NAMES: [&str; 3] = ["batch", "blocking", "blocking-strict"];

    pub fn of(name: &str) -> Option<Mode> {
        let modes = [Mode::Batch, Mode::Blocking, Mode::BlockingStrict];
        Mode::NAMES.iter().position(|it| *it == name).map(|at| modes[at])
    }
}

/// How one sink takes events.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// `log` or `webhook`, as metrics have it.
    pub name: &'static str,
    pub mode: Mode,
    pub format: Format,
    /// Larger events lose their bodies; those that are too large then are lost.
    pub event_most: Option<usize>,
    /// Events that may wait.
    pub events_most: usize,
    pub batch: Batch,
}

/// How many events are taken at once: as soon as one of the first two is reached, or the last after the first event.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    pub events: usize,
    pub bytes: usize,
    pub wait: Duration,
}

impl Batch {
    fn is_full(&self, waiting: &Waiting) -> bool {
        waiting.entries.len() >= self.events || waiting.bytes >= self.bytes
    }
}

/// One sink.
pub struct Sink {
    pub manner: Manner,
    waiting: Lock<Waiting>,
    came: Notify,
    /// Events that were not kept: for a full queue, for their size, and by the place itself.
    lost: [AtomicU64; 3],
    failing: AtomicBool,
    /// Events that were kept since the last loss.
    kept: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// An event on its way. Dropped, it counts as not kept for whoever waits for it.
pub struct Entry {
    pub line: Bytes,
    fate: Option<oneshot::Sender<Fate>>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Kept,
    Lost,
}

/// Whether somebody can wait for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    Waits,
    Goes,
}

/// Why an event was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Queue,
    Size,
    Place,
}

impl Sink {
    pub fn new(manner: Manner) -> Sink {
        Sink {
            manner,
            waiting: Lock::default(),
            came: Notify::new(),
            lost: Default::default(),
            failing: AtomicBool::new(false),
            kept: AtomicU64::new(0),
        }
    }

    /// Takes the event of one stage of a request. Who waits for what becomes of it gets the means, if that is the
    /// manner.
    pub fn tell(
        &self,
        event: &Event,
        stage: Stage,
        at: Time,
        patience: Patience,
    ) -> Option<oneshot::Receiver<Fate>> {
        let line = self.line(event, stage, at)?;
        if self.manner.mode == Mode::Batch || patience == Patience::Goes {
            self.push(Entry { line, fate: None });
            return None;
        }
        let (fate, told) = oneshot::channel();
        self.push(Entry { line, fate: Some(fate) });
        Some(told)
    }

    fn line(&self, event: &Event, stage: Stage, at: Time) -> Option<Bytes> {
        let Manner { format, event_most, .. } = self.manner;
        let most = event_most.unwrap_or(usize::MAX).min(BYTES_MOST / 3);
        let mut line = event.line(stage, at, format, Bodies::Kept);
        if line.len() > most && event.level >= Level::Request {
            line = event.line(stage, at, format, Bodies::Cut);
        }
        if line.len() > most {
            self.lose(Loss::Size, 1, "event is too large even after truncating");
            return None;
        }
        Some(line.into())
    }

    /// Puts an event behind the others. One that nobody waits for is lost when there is no room; of the others there
    /// are never more than requests.
    fn push(&self, entry: Entry) {
        let mut waiting = self.waiting.lock();
        let full = waiting.entries.len() >= self.manner.events_most
            || waiting.bytes + entry.line.len() > BYTES_MOST;
        if full && entry.fate.is_none() {
            drop(waiting);
            return self.lose(Loss::Queue, 1, "audit buffer queue blocked");
        }
        waiting.bytes += entry.line.len();
        waiting.entries.push_back(entry);
        let due = waiting.entries.len() == 1 || self.manner.batch.is_full(&waiting);
        drop(waiting);
        // Who takes looks before it waits.
        if due {
            self.came.notify_one();
        }
    }

    /// Waits for events, and takes a batch of them.
    pub async fn take(&self, world: &World) -> Vec<Entry> {
        while self.waiting.lock().entries.is_empty() {
            self.came.notified().await;
        }
        let full = async {
            while !self.manner.batch.is_full(&self.waiting.lock()) {
                self.came.notified().await;
            }
        };
        let wait = self.manner.batch.wait;
        if !wait.is_zero() {
            // Those that are there go when the time is up.
            let _ = world.within(wait, full).await;
        }
        self.drain()
    }

    fn drain(&self) -> Vec<Entry> {
        let Batch { events: most, bytes: bytes_most, .. } = self.manner.batch;
        let mut waiting = self.waiting.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = waiting.entries.front()
            && taken.len() < most
            && (taken.is_empty() || bytes + next.line.len() <= bytes_most)
        {
            bytes += next.line.len();
            taken.extend(waiting.entries.pop_front());
        }
        waiting.bytes -= bytes;
        taken
    }

    /// What became of events that were taken, and why.
    pub fn settle(&self, entries: Vec<Entry>, result: Result<(), String>) {
        let fate = match result {
            Ok(()) => {
                let kept = self.kept.fetch_add(entries.len() as u64, Ordering::Relaxed);
                if kept >= AGAIN && self.failing.swap(false, Ordering::Relaxed) {
                    let lost = self.lost[Loss::Place as usize].load(Ordering::Relaxed);
                    tracing::warn!(sink = self.manner.name, lost, "audit events are kept again");
                }
                Fate::Kept
            }
            Err(why) => {
                self.lose(Loss::Place, entries.len() as u64, &why);
                Fate::Lost
            }
        };
        for fated in entries.into_iter().filter_map(|entry| entry.fate) {
            // Who asked may have gone.
            let _ = fated.send(fate);
        }
    }

    /// Counts, and says so when it begins: a line for each event would fill the disk that is full already.
    fn lose(&self, why: Loss, count: u64, error: &str) {
        self.lost[why as usize].fetch_add(count, Ordering::Relaxed);
        self.kept.store(0, Ordering::Relaxed);
        if !self.failing.swap(true, Ordering::Relaxed) {
            let sink = self.manner.name;
            tracing::error!(
                sink,
                error,
                "audit events are lost; apiserver_audit_error_total of /metrics counts them"
            );
        }
    }

    /// Lost events, by the names of upstream's plugins.
    pub fn losses(&self) -> [(&'static str, u64); 3] {
        let plugins = ["buffered", "truncate", self.manner.name];
        std::array::from_fn(|at| (plugins[at], self.lost[at].load(Ordering::Relaxed)))
    }
}
