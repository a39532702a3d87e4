//! A watch: a stream of events in strict revision order, none left out.
//!
//! A watch is *live* when every event that concerns it is put into its queue as it happens, and
//! *behind* when it must first read what it missed: from the window, or further back from the log.
//! Every watch begins behind, at its start, and catches up; a full queue makes it fall behind
//! again. So a slow client costs a bounded queue and loses nothing, until compaction takes what it
//! has not read: then it ends with [`WatchError::TooSlow`]. There is no thread and no timer per
//! watch; whoever polls it does the catching up.

use crate::journal::{History, Stretch};
use crate::select::Selection;
use crate::shared::Shared;
use crate::{Event, ReadError, Record, Revision, window::weight};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// What a watch yields.
#[derive(Debug, Clone)]
pub enum WatchItem {
    /// A record of the state that an initial watch begins with, in key order.
    Initial(Arc<Record>),
    /// The initial state is complete, as of this revision.
    InitialEnd(Revision),
    Event(Arc<Event>),
    /// Everything up to this revision has been yielded; asked for by
    /// [`Watch::request_progress`].
    Progress(Revision),
}

/// Why a watch ended; nothing follows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    #[error("the watch was too slow: what follows revision {at:?} has been compacted; list anew")]
    TooSlow { at: Revision },
    #[error("the store stopped and must be opened again: {0}")]
    Stopped(Arc<str>),
}

/// A stream of [`WatchItem`]s; dropping it ends the watch. It ends (`None`) when the store closes.
pub struct Watch {
    watcher: Arc<Watcher>,
    shared: Arc<Shared>,
    history: Arc<dyn History>,
    initial: Option<(std::vec::IntoIter<Arc<Record>>, Revision)>,
    reading: Option<Reading>,
    wanted: Option<Revision>,
    over: bool,
}

/// A reading from the log, of everything in (the watch's position, `to`].
struct Reading {
    answer: BoxFuture<'static, Result<Stretch, ReadError>>,
}

type Next = Poll<Option<Result<WatchItem, WatchError>>>;

impl Watch {
    pub(crate) fn new(
        shared: Arc<Shared>,
        history: Arc<dyn History>,
        watcher: Arc<Watcher>,
        initial: Option<(Vec<Arc<Record>>, Revision)>,
    ) -> Watch {
        let initial = initial.map(|(records, at)| (records.into_iter(), at));
        Watch { watcher, shared, history, initial, reading: None, wanted: None, over: false }
    }

    /// The next item. Nothing is lost when this is dropped before it is done.
    pub async fn next(&mut self) -> Option<Result<WatchItem, WatchError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Next {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some((records, at)) = &mut self.initial {
            let item = records.next().map(WatchItem::Initial);
            let end = WatchItem::InitialEnd(*at);
            if item.is_none() {
                self.initial = None;
            }
            return Poll::Ready(Some(Ok(item.unwrap_or(end))));
        }
        loop {
            let end = match self.watcher.take(cx) {
                Taken::Event(event) => return Poll::Ready(Some(Ok(WatchItem::Event(event)))),
                Taken::Behind(position) => match self.poll_catch_up(position, cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(error)) => Some(Err(error)),
                },
                Taken::Nothing => match self.progress_due() {
                    Due::Now(at) => return Poll::Ready(Some(Ok(WatchItem::Progress(at)))),
                    Due::Again => continue,
                    Due::Later => return Poll::Pending,
                },
                Taken::End(End::Closed) => None,
                Taken::End(End::Stopped(reason)) => Some(Err(WatchError::Stopped(reason))),
            };
            self.over = true;
            return Poll::Ready(end);
        }
    }

    /// Everything that this watch selects up to this revision has been yielded. 0 until the
    /// initial state is complete.
    pub fn progress(&self) -> Revision {
        if self.initial.is_some() {
            return Revision(0);
        }
        // In this order: what was dispatched before the queue is seen empty was in the queue.
        let dispatched = self.shared.dispatched();
        let inner = self.watcher.lock();
        match (inner.queue.front(), inner.live) {
            (Some(event), _) => Revision(event.revision.0 - 1),
            (None, true) => inner.position.max(dispatched),
            (None, false) => inner.position,
        }
    }

    /// Asks for one [`WatchItem::Progress`] of at least the current revision, as soon as
    /// everything up to it has been yielded.
    pub fn request_progress(&mut self) {
        self.wanted = Some(self.shared.current());
    }

    fn progress_due(&mut self) -> Due {
        let Some(wanted) = self.wanted else { return Due::Later };
        let at = self.progress();
        if at >= wanted {
            self.wanted = None;
            return Due::Now(at);
        }
        // Visible, but not dispatched yet: the hub wakes us when it is.
        if self.shared.ask(&self.watcher, wanted) { Due::Later } else { Due::Again }
    }

    /// Fills the queue with some of what was missed, or makes the watch live.
    fn poll_catch_up(
        &mut self,
        position: Revision,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WatchError>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let Poll::Ready(answer) = reading.answer.as_mut().poll(cx) else {
                    return Poll::Pending;
                };
                self.reading = None;
                return Poll::Ready(self.take_read(answer, position));
            }
            if position < self.shared.oldest_retained() {
                return Poll::Ready(Err(WatchError::TooSlow { at: position }));
            }
            match self.shared.catch_up(&self.watcher, position) {
                None => return Poll::Ready(Ok(())),
                Some(to) => {
                    let answer = self.history.read(position, to);
                    self.reading = Some(Reading { answer });
                }
            }
        }
    }

    fn take_read(
        &self,
        answer: Result<Stretch, ReadError>,
        position: Revision,
    ) -> Result<(), WatchError> {
        let read = answer.map_err(|error| WatchError::Stopped(error.to_string().into()))?;
        // Rows may have gone while we read, but only after this had been raised.
        if position < self.shared.oldest_retained() {
            return Err(WatchError::TooSlow { at: position });
        }
        let events = read.events.into_iter().map(|past| past.event);
        self.watcher.fill(events.filter(|event| self.watcher.wants(event)).collect(), read.reached);
        Ok(())
    }
}

impl futures_util::Stream for Watch {
    type Item = Result<WatchItem, WatchError>;

    fn poll_next(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Next {
        self.get_mut().poll_next(cx)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.forget(&self.watcher);
    }
}

enum Due {
    Now(Revision),
    Again,
    Later,
}

/// The half of a watch that the hub knows.
pub(crate) struct Watcher {
    pub number: u64,
    pub selection: Selection,
    inner: Mutex<Queue>,
}

struct Queue {
    live: bool,
    /// Everything up to here that concerns the watch has been queued.
    position: Revision,
    /// The newest event that was queued; the others of its revision may be still to come.
    queued: Revision,
    /// Everything up to here it has read for itself.
    filled: Revision,
    queue: VecDeque<Arc<Event>>,
    bytes: usize,
    waker: Option<Waker>,
    end: Option<End>,
}

/// Why watches end without their own doing.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Closed,
    Stopped(Arc<str>),
}

impl End {
    pub fn reason(&self) -> Arc<str> {
        match self {
            End::Closed => "it was closed".into(),
            End::Stopped(reason) => reason.clone(),
        }
    }
}

enum Taken {
    Event(Arc<Event>),
    Behind(Revision),
    Nothing,
    End(End),
}

/// Pushed: the waker to call, if somebody waits.
pub(crate) enum Pushed {
    Queued(Option<Waker>),
    /// The queue was full: from now on the watch reads for itself.
    FellBehind,
    /// It reads for itself, or has this event already.
    NotNeeded,
}

impl Watcher {
    /// A queue larger than this is no use: a watch that is so slow reads from the window as well.
    pub const QUEUE_EVENTS: usize = 256;
    pub const QUEUE_BYTES: usize = 1 << 20;

    pub fn new(number: u64, selection: Selection, position: Revision) -> Watcher {
        let inner = Queue {
            live: false,
            position,
            queued: position,
            filled: position,
            queue: VecDeque::new(),
            bytes: 0,
            waker: None,
            end: None,
        };
        Watcher { number, selection, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.inner.lock().expect("nothing panics while it holds a watch's queue")
    }

    pub fn wants(&self, event: &Event) -> bool {
        let either = [&event.old, &event.new];
        either.into_iter().flatten().any(|record| self.selection.takes(record))
    }

    pub fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    pub fn waker(&self) -> Option<Waker> {
        self.lock().waker.take()
    }

    pub fn end(&self, end: &End) -> Option<Waker> {
        let mut inner = self.lock();
        inner.end = Some(end.clone());
        inner.waker.take()
    }

    fn take(&self, cx: &Context<'_>) -> Taken {
        let mut inner = self.lock();
        if let Some(event) = inner.queue.pop_front() {
            inner.bytes -= weight(&event);
            if inner.queue.is_empty() {
                // An idle watch keeps no memory for a burst that is over.
                inner.queue.shrink_to(8);
            }
            return Taken::Event(event);
        }
        if let Some(end) = &inner.end {
            return Taken::End(end.clone());
        }
        if !inner.live {
            return Taken::Behind(inner.position);
        }
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
        Taken::Nothing
    }

    /// `reached`: with this event, everything up to there has been told.
    pub fn push(&self, event: &Arc<Event>, reached: Revision) -> Pushed {
        let mut inner = self.lock();
        if !inner.live || event.revision <= inner.filled {
            return Pushed::NotNeeded;
        }
        let full =
            inner.queue.len() >= Watcher::QUEUE_EVENTS || inner.bytes >= Watcher::QUEUE_BYTES;
        // What a transaction has begun it ends: it could not be read in part.
        if full && event.revision > inner.queued {
            inner.position = inner.position.max(inner.queued);
            inner.live = false;
            return Pushed::FellBehind;
        }
        inner.add(event.clone());
        inner.queued = event.revision;
        inner.position = reached;
        Pushed::Queued(inner.waker.take())
    }

    /// What was missed up to `position`; still behind.
    pub fn fill(&self, events: Vec<Arc<Event>>, position: Revision) {
        let mut inner = self.lock();
        events.into_iter().for_each(|event| inner.add(event));
        inner.read_up_to(position);
    }

    /// Nothing is missing up to `position`, and the hub brings what comes after.
    pub fn go_live(&self, position: Revision) {
        let mut inner = self.lock();
        inner.read_up_to(position);
        inner.live = true;
    }
}

impl Queue {
    fn read_up_to(&mut self, position: Revision) {
        (self.position, self.queued, self.filled) = (position, position, position);
    }

    fn add(&mut self, event: Arc<Event>) {
        self.bytes += weight(&event);
        self.queue.push_back(event);
    }
}
