//! What the committer writes and everybody reads: the visible state, and the hub of the watches.
//!
//! Two locks. `state` holds index and window, which change together; `hub` knows the watches.
//! Whoever needs both takes the hub first. The committer never holds both: it makes a group
//! visible, lets go, and then dispatches it. So a reader is never kept waiting by a thousand
//! watches, and a watch may see in the window what is still to be dispatched (and is then not told
//! twice).

use crate::index::Index;
use crate::interest::Interests;
use crate::log::History;
use crate::select::Selection;
use crate::stats::Histogram;
use crate::watch::{End, Pushed, Watcher};
use crate::window::Window;
use crate::{Event, ReadError, Record, Revision, Watch, WatchRequest, WatchStart};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

pub(crate) struct Shared {
    state: RwLock<State>,
    hub: Mutex<Hub>,
    /// Everything up to here is in the queues that it belongs in.
    dispatched: AtomicU64,
    behind: AtomicU64,
    /// The visible revision, for those who wait for one.
    pub current: watch::Sender<Revision>,
    /// Why the store stopped, once it has.
    pub stopped: watch::Sender<Option<Arc<str>>>,
    pub history: Arc<dyn History>,
    pub figures: Mutex<Figures>,
}

pub(crate) struct State {
    pub index: Index,
    pub window: Window,
    /// Lists at, and watches after, anything older are refused.
    pub compacted: Revision,
}

#[derive(Default)]
struct Hub {
    interests: Interests,
    /// Watches that wait for the end of a dispatch.
    askers: Vec<Arc<Watcher>>,
    numbers: u64,
    end: Option<End>,
}

#[derive(Default)]
pub(crate) struct Figures {
    pub commit_us: Histogram,
    pub group_writes: Histogram,
    pub disk_bytes: u64,
    pub full: bool,
}

/// So many events are looked at under one lock, so that a watch that begins far back keeps nobody
/// waiting for long (about 50 us).
const SCAN_EVENTS: usize = 2048;

impl Shared {
    pub fn new(state: State, history: Arc<dyn History>) -> Shared {
        let revision = state.index.revision();
        Shared {
            state: RwLock::new(state),
            hub: Mutex::default(),
            dispatched: AtomicU64::new(revision.0),
            behind: AtomicU64::new(0),
            current: watch::Sender::new(revision),
            stopped: watch::Sender::new(None),
            history,
            figures: Mutex::default(),
        }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("nothing panics while it changes the state")
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("nothing panics while it changes the state")
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().expect("nothing panics while it holds the hub")
    }

    pub fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().expect("nothing panics while it holds the figures")
    }

    pub fn current(&self) -> Revision {
        *self.current.borrow()
    }

    pub fn dispatched(&self) -> Revision {
        Revision(self.dispatched.load(Ordering::Acquire))
    }

    pub fn oldest_retained(&self) -> Revision {
        self.read().compacted
    }

    /// Whether a snapshot at, or a watch after, this revision can be had.
    pub fn check(state: &State, asked: Revision) -> Result<(), ReadError> {
        let (oldest, current) = (state.compacted, state.index.revision());
        if asked < oldest {
            return Err(ReadError::Compacted { asked, oldest });
        }
        if asked > current {
            return Err(ReadError::Future { asked, current });
        }
        Ok(())
    }

    /// Makes durable events visible to get and list.
    pub fn publish(&self, events: &[Arc<Event>]) {
        let Some(last) = events.last() else { return };
        {
            let mut state = self.write();
            for event in events {
                let before = state.index.apply(event);
                state.window.push(event.clone(), before);
            }
        }
        self.current.send_replace(last.revision);
    }

    /// Puts visible events into the queues of the watches they concern.
    pub fn dispatch(&self, events: &[Arc<Event>]) {
        let Some(last) = events.last() else { return };
        let mut wakers = Vec::new();
        {
            let mut hub = self.hub();
            for event in events {
                hub.interests.concerned(event, |watcher| match watcher.push(event) {
                    Pushed::Queued(waker) => wakers.extend(waker),
                    Pushed::FellBehind => {
                        self.behind.fetch_add(1, Ordering::Relaxed);
                    }
                    Pushed::NotNeeded => {}
                });
            }
            self.dispatched.store(last.revision.0, Ordering::Release);
            wakers.extend(hub.askers.drain(..).filter_map(|watcher| watcher.waker()));
        }
        // Outside the lock: a waker may run whatever it likes.
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// Ends all watches, and all that begin from now on.
    pub fn end_watches(&self, end: &End) {
        let mut wakers = Vec::new();
        {
            let mut hub = self.hub();
            hub.end = Some(end.clone());
            hub.askers.clear();
            hub.interests.each(|watcher| wakers.extend(watcher.end(end)));
        }
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    pub fn watch(self: &Arc<Shared>, request: WatchRequest) -> Result<Watch, ReadError> {
        let selection = Selection { scope: request.scope, facet: request.facet };
        let mut hub = self.hub();
        if let Some(end) = &hub.end {
            let reason = match end {
                End::Closed => "it was closed".into(),
                End::Stopped(reason) => reason.clone(),
            };
            return Err(ReadError::Stopped(reason));
        }
        let state = self.read();
        let mut initial = None;
        let start = match request.start {
            WatchStart::Now => state.index.revision(),
            WatchStart::After(revision) => revision,
            WatchStart::Initial => {
                let revision = state.index.revision();
                let records: Vec<Arc<Record>> =
                    state.index.page(&selection, None, usize::MAX, &BTreeMap::new()).0;
                initial = Some((records, revision));
                revision
            }
        };
        Shared::check(&state, start)?;
        drop(state);
        hub.numbers += 1;
        let watcher = Arc::new(Watcher::new(hub.numbers, selection, start));
        hub.interests.insert(watcher.clone());
        drop(hub);
        Ok(Watch::new(self.clone(), watcher, initial))
    }

    pub fn forget(&self, watcher: &Arc<Watcher>) {
        let mut hub = self.hub();
        hub.interests.remove(watcher);
        hub.askers.retain(|asker| !Arc::ptr_eq(asker, watcher));
    }

    /// Wakes the watch after the dispatch that reaches `wanted`; false: that has happened already.
    pub fn ask(&self, watcher: &Arc<Watcher>, wanted: Revision) -> bool {
        let mut hub = self.hub();
        let waits = self.dispatched() < wanted;
        if waits && !hub.askers.iter().any(|asker| Arc::ptr_eq(asker, watcher)) {
            hub.askers.push(watcher.clone());
        }
        waits
    }

    /// Gives a watch some of what it missed after `position`, or makes it live. `Some`: it must
    /// read the log first, up to there.
    pub fn catch_up(&self, watcher: &Watcher, position: Revision) -> Option<Revision> {
        let (events, reached, end) = match self.missed(watcher, position) {
            Ok(missed) => missed,
            Err(floor) => return Some(floor),
        };
        if !end || !events.is_empty() {
            watcher.fill(events, reached);
            return None;
        }
        // What is left is little, and nothing can be dispatched while we hold the hub: what the
        // window has by now we take, what it gets from now on comes by dispatch.
        let hub = self.hub();
        let (events, reached, end) = match self.missed(watcher, reached) {
            Ok(missed) => missed,
            Err(floor) => return Some(floor),
        };
        watcher.fill(events, reached);
        if end && hub.end.is_none() {
            watcher.go_live(reached);
        }
        None
    }

    /// Events of the window after `position` that a watch wants, how far that goes, and whether
    /// that is the end of the window. `Err`: the window begins later, there.
    fn missed(
        &self,
        watcher: &Watcher,
        position: Revision,
    ) -> Result<(Vec<Arc<Event>>, Revision, bool), Revision> {
        let state = self.read();
        if position < state.window.floor() {
            return Err(state.window.floor());
        }
        let (mut events, mut reached, mut bytes) = (Vec::new(), position, 0);
        for (count, event) in state.window.after(position).enumerate() {
            let full = events.len() >= Watcher::QUEUE_EVENTS || bytes >= Watcher::QUEUE_BYTES;
            if full || count >= SCAN_EVENTS {
                return Ok((events, reached, false));
            }
            reached = event.revision;
            if watcher.wants(event) {
                bytes += crate::window::weight(event);
                events.push(event.clone());
            }
        }
        // Everything visible is behind us, even where the newest events were compacted away.
        Ok((events, reached.max(state.index.revision()), true))
    }

    /// Number of watches, events in their queues, and how often one fell behind.
    pub fn watch_figures(&self) -> (usize, usize, u64) {
        let hub = self.hub();
        let mut queued = 0;
        hub.interests.each(|watcher| queued += watcher.queued());
        (hub.interests.len(), queued, self.behind.load(Ordering::Relaxed))
    }
}
