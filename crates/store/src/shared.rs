//! What the committer writes and everybody reads: the visible state, and the hub of the watches.
//!
//! Two locks. `state` holds index and window, which change together; `hub` knows the watches.
//! Whoever needs both takes the hub first. The committer never holds both: it makes a group
//! visible, lets go, and then dispatches it. So a reader is never kept waiting by a thousand
//! watches, and a watch may see in the window what is still to be dispatched (and is then not told
//! twice).

use crate::index::Index;
use crate::interest::Interests;
use crate::journal::History;
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
    /// How often `State` has shrunk by much.
    pub shrunk: watch::Sender<u64>,
    pub figures: Mutex<Figures>,
}

pub(crate) struct State {
    pub index: Index,
    pub window: Window,
    /// Lists at, and watches after, anything older are refused.
    pub compacted: Revision,
    /// The most bytes of bodies that were kept, since they shrank last.
    pub height: usize,
}

impl State {
    /// Whether much less is kept than at the height; if so, that is the new one.
    fn has_shrunk(&mut self) -> bool {
        let kept = self.index.bytes() + self.window.bytes();
        let shrunk = kept + SHRUNK_BYTES <= self.height;
        self.height = if shrunk { kept } else { self.height.max(kept) };
        shrunk
    }
}

/// What is worth telling: a twentieth of what a small cluster's process has.
const SHRUNK_BYTES: usize = 2 << 20;

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
    pub fn new(state: State) -> Shared {
        let revision = state.index.revision();
        Shared {
            state: RwLock::new(state),
            hub: Mutex::default(),
            dispatched: AtomicU64::new(revision.0),
            behind: AtomicU64::new(0),
            current: watch::Sender::new(revision),
            stopped: watch::Sender::new(None),
            shrunk: watch::Sender::new(0),
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

    /// Why the store stopped.
    pub fn reason(&self) -> Arc<str> {
        self.stopped.borrow().clone().unwrap_or_else(|| "it was closed".into())
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
        let shrunk = {
            let mut state = self.write();
            for event in events {
                let before = state.index.apply(event);
                state.window.push(event.clone(), before);
            }
            state.has_shrunk()
        };
        self.current.send_replace(last.revision);
        if shrunk {
            self.shrunk.send_modify(|times| *times += 1);
        }
    }

    /// Puts visible events into the queues of the watches they concern.
    pub fn dispatch(&self, events: &[Arc<Event>]) {
        let Some(last) = events.last() else { return };
        let mut wakers = Vec::new();
        {
            let mut hub = self.hub();
            for (at, event) in events.iter().enumerate() {
                // One transaction may be one revision: that is reached with the last of its events.
                let more = events.get(at + 1).is_some_and(|next| next.revision == event.revision);
                let reached = Revision(event.revision.0 - u64::from(more));
                hub.interests.concerned(event, |watcher| match watcher.push(event, reached) {
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

    /// Refuses what is older, before anything of it is forgotten.
    pub fn compacted(&self, oldest: Revision) {
        tracing::debug!(oldest = oldest.0, "compacted");
        let mut state = self.write();
        state.compacted = state.compacted.max(oldest);
        state.window.raise_floor(oldest);
        if state.has_shrunk() {
            self.shrunk.send_modify(|times| *times += 1);
        }
    }

    /// Ends all watches, and all that begin before the store is opened again.
    pub fn stop(&self, end: End) {
        self.stopped.send_replace(Some(end.reason()));
        let mut wakers = Vec::new();
        {
            let mut hub = self.hub();
            // What happens after it is opened again is none of theirs: they would not know what they missed.
            let ended = std::mem::take(&mut hub.interests);
            hub.askers.clear();
            ended.each(|watcher| wakers.extend(watcher.end(&end)));
            hub.end = Some(end);
        }
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// Goes on after a stop, with what was found to be durable.
    pub fn restart(&self, state: State) {
        let revision = state.index.revision();
        let mut hub = self.hub();
        *self.write() = state;
        self.dispatched.store(revision.0, Ordering::Release);
        self.current.send_replace(revision);
        hub.end = None;
        self.stopped.send_replace(None);
    }

    pub fn watch(
        self: &Arc<Shared>,
        request: WatchRequest,
        history: Arc<dyn History>,
    ) -> Result<Watch, ReadError> {
        let selection = Selection { scope: request.scope, facet: request.facet };
        let mut hub = self.hub();
        if let Some(end) = &hub.end {
            return Err(ReadError::Stopped(end.reason()));
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
        Ok(Watch::new(self.clone(), history, watcher, initial))
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
            // No revision is taken in part.
            if (full || count >= SCAN_EVENTS) && event.revision > reached {
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
