//! What happened in a run, as whoever was there saw it: the disk, the clients, the kernels. Checkers read it when the
//! run is over; nobody in the run ever does.

use bytes::Bytes;
use skiff_base::{Fnv, Lock, Time, World};
use std::fmt::Display;
use std::sync::MutexGuard;
use std::time::Duration;

/// One write, as the disk got it.
#[derive(Debug, Clone)]
pub struct Logged {
    pub at: Duration,
    /// The same by the clock that objects show.
    pub time: Time,
    pub revision: u64,
    /// `pods/default/web`.
    pub key: String,
    pub old: Option<Bytes>,
    /// `None`: it was deleted.
    pub new: Option<Bytes>,
}

/// A write that a client was told to be done.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub at: Duration,
    pub who: String,
    /// `POST /api/v1/namespaces/default/pods`
    pub what: String,
    pub revision: u64,
}

/// How one event of a watch looked to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Put,
    Gone,
}

/// A stretch of one resource that a client saw without a gap: a whole state or none, then every event.
#[derive(Debug, Clone)]
pub struct Watched {
    pub who: String,
    /// The first part of the keys: `pods`.
    pub resource: String,
    /// Everything after this revision is among the events.
    pub from: u64,
    /// The state at `from`, as keys with their revisions; `None`: the stretch goes on where another ended.
    pub state: Option<Vec<(String, u64)>>,
    pub events: Vec<(Sort, String, u64)>,
    /// Everything up to here was seen.
    pub reached: u64,
}

/// A container of a fake kernel.
#[derive(Debug, Clone)]
pub struct Ran {
    pub node: String,
    pub id: String,
    pub pod: String,
    pub uid: String,
    pub from: Duration,
    /// `None`: it still runs.
    pub to: Option<Duration>,
}

/// What a cache held when all was quiet.
#[derive(Debug, Clone)]
pub struct Cached {
    pub resource: String,
    pub objects: Vec<(String, u64)>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub log: Vec<Logged>,
    /// How much of the log there was when the store was opened, and what it held then: keys with their revisions.
    pub opened: Vec<(usize, Vec<(String, u64)>)>,
    pub acknowledged: Vec<Acknowledged>,
    pub watched: Vec<Watched>,
    pub ran: Vec<Ran>,
    pub cached: Vec<Cached>,
    /// Parts that ended and began again though nobody asked for it, with the reason.
    pub ended: Vec<String>,
    /// From here on nothing fails and nobody asks for anything.
    pub quiet: Duration,
    /// The end of the run.
    pub end: Duration,
    lines: Vec<String>,
    digest: Fnv,
}

/// Takes down what happens.
pub struct History {
    world: World,
    seed: u64,
    loud: bool,
    record: Lock<Record>,
}

impl History {
    /// `loud`: each line is printed as it comes.
    pub fn new(world: World, seed: u64, loud: bool) -> History {
        History { world, seed, loud, record: Lock::default() }
    }

    /// One line about something that happened.
    pub fn tell(&self, what: impl Display) {
        let at = self.world.uptime();
        let line = format!("seed {} {:>9.3}s {what}", self.seed, at.as_secs_f64());
        if self.loud {
            println!("{line}");
        }
        let mut record = self.record();
        record.digest.add(line.as_bytes());
        record.lines.push(line);
    }

    /// A write that is on the disk.
    pub fn log(&self, revision: u64, key: &str, old: Option<Bytes>, new: Option<Bytes>) {
        let sum = new.as_ref().map_or(0, Fnv::of);
        let what = if new.is_some() { "put" } else { "delete" };
        self.tell(format_args!("disk: {what} {key} at {revision} [{sum:016x}]"));
        let (at, time) = (self.world.uptime(), self.world.now());
        let logged = Logged { at, time, revision, key: key.to_owned(), old, new };
        self.record().log.push(logged);
    }

    /// A store was opened, and holds this.
    pub fn opened(&self, found: Vec<(String, u64)>) {
        let mut record = self.record();
        let written = record.log.len();
        record.opened.push((written, found));
    }

    /// What happened is changed under a lock that nobody holds for long.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock()
    }

    pub fn now(&self) -> Duration {
        self.world.uptime()
    }

    /// Everything, at the end of a run.
    pub fn take(&self) -> Record {
        std::mem::take(&mut *self.record())
    }
}

impl Record {
    /// A sum over all lines: two runs of one seed have the same.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// What was told, in order.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
