//! Removing links of pods that are gone, many at once and never in the way of a start.
//!
//! Removing one link takes the kernel 15 to 30 ms, in which it makes no other; removing a hundred
//! takes little longer. So links are put into a doomed group, and a thread removes the group when
//! no pod has been attached for a moment, or after a while at the latest.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{PodNetworkConfig, doomed_group};
use crate::netlink::route;
use crate::netlink::socket::{Family, Socket};
use crate::{Error, Result};

/// No attach for so long: a good moment. Starts of pods come in bursts.
const QUIET: Duration = Duration::from_millis(100);
/// A link waits no longer than this, however busy the node.
const AT_MOST: Duration = Duration::from_secs(3);
/// A refused removal is tried again so often before `settle` reports it.
const TRIES: u32 = 3;

pub(super) struct Remover {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

struct Work {
    /// Links that shall go.
    doomed: usize,
    since: Instant,
    attaching: usize,
    last_attach: Instant,
    /// Somebody waits: remove now.
    urgent: bool,
    stop: bool,
    failure: Option<Error>,
}

impl Remover {
    pub(super) fn start(config: &PodNetworkConfig, doomed: usize) -> Result<Remover> {
        let now = Instant::now();
        let work = Work {
            doomed,
            since: now,
            attaching: 0,
            last_attach: now,
            urgent: false,
            stop: false,
            failure: None,
        };
        let shared = Arc::new(Shared { work: Mutex::new(work), changed: Condvar::new() });
        let mut socket = Socket::open(&config.namespace, Family::Route)?;
        let group = doomed_group(&config.link);
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("skiff-net-remove".to_string())
            .spawn(move || of_thread.run(&mut socket, group))
            .map_err(Error::OpenSocket)?;
        Ok(Remover { shared, thread: Some(thread) })
    }

    /// One more link is in the doomed group.
    pub(super) fn add(&self) {
        self.shared.tell(|work| {
            if work.doomed == 0 {
                work.since = Instant::now();
            }
            work.doomed += 1;
        });
    }

    pub(super) fn attach_begins(&self) {
        self.shared.tell(|work| work.attaching += 1);
    }

    pub(super) fn attach_ends(&self) {
        self.shared.tell(|work| {
            work.attaching -= 1;
            work.last_attach = Instant::now();
        });
    }

    /// Waits until nothing is left to remove.
    pub(super) fn settle(&self) -> Result<()> {
        let mut work = self.shared.lock();
        while work.doomed > 0 && work.failure.is_none() {
            work.urgent = true;
            self.shared.changed.notify_all();
            work = self.shared.changed.wait(work).expect(HELD);
        }
        work.failure.take().map_or(Ok(()), Err)
    }

    /// Ends the thread; what it did not remove stays in the doomed group.
    pub(super) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.tell(|work| work.stop = true);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed; the links it left are found by the next process.
            thread.join().ok();
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.end();
    }
}

const HELD: &str = "nobody panics while holding the list of work";

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect(HELD)
    }

    fn tell(&self, change: impl FnOnce(&mut Work)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn run(&self, socket: &mut Socket, group: u32) {
        let mut failed = 0;
        while let Some(count) = self.next() {
            match socket.remove(vec![route::delete_group(group)], "remove pod links") {
                Ok(()) => {
                    failed = 0;
                    self.tell(|work| {
                        work.doomed -= count;
                        work.urgent &= work.doomed > 0;
                    });
                }
                Err(error) => {
                    failed += 1;
                    if failed >= TRIES {
                        self.tell(|work| work.failure = Some(error));
                        return;
                    }
                }
            }
        }
    }

    /// Waits for a good moment; the number of links that will go then, or `None` to end.
    fn next(&self) -> Option<usize> {
        let mut work = self.lock();
        loop {
            if work.stop {
                return None;
            }
            work = match work.wait_for(Instant::now()) {
                Wait::Now => return Some(work.doomed),
                Wait::Change => self.changed.wait(work).expect(HELD),
                Wait::Time(time) => self.changed.wait_timeout(work, time).expect(HELD).0,
            };
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wait {
    Now,
    Change,
    Time(Duration),
}

impl Work {
    /// When to remove. Pure.
    fn wait_for(&self, now: Instant) -> Wait {
        if self.doomed == 0 {
            return Wait::Change;
        }
        let latest = self.since + AT_MOST;
        if self.urgent || now >= latest {
            return Wait::Now;
        }
        if self.attaching > 0 {
            return Wait::Time(latest - now);
        }
        let quiet = (self.last_attach + QUIET).max(self.since + QUIET).min(latest);
        if now >= quiet { Wait::Now } else { Wait::Time(quiet - now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_waits_for_a_quiet_moment_but_not_forever() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let wait = |ms| Wait::Time(Duration::from_millis(ms));
        for (doomed, attaching, last_attach, urgent, now, expected) in [
            (0, 0, 0, false, 5000, Wait::Change),
            (1, 0, 0, false, 1010, wait(90)),
            (1, 0, 1050, false, 1060, wait(90)),
            (1, 0, 1050, false, 1150, Wait::Now),
            (1, 1, 1050, false, 1150, wait(2850)),
            (1, 1, 1050, true, 1150, Wait::Now),
            (1, 1, 3990, false, 4000, Wait::Now),
            (1, 0, 3990, false, 3995, wait(5)),
        ] {
            let work = Work {
                doomed,
                since: at(1000),
                attaching,
                last_attach: at(last_attach),
                urgent,
                stop: false,
                failure: None,
            };
            assert_eq!(work.wait_for(at(now)), expected, "at {now}");
        }
    }
}
