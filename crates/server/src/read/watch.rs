//! WATCH: the store's events become frames: filtered by selectors, ended by time, with bookmarks in between
//! (API concepts page "Efficient detection of changes"; KEP-3157 for the initial events of a WatchList).

use crate::Server;
use crate::fairness::Held;
use crate::read;
use crate::read::options::ListOptions;
use crate::read::select::Selection;
use crate::render::shared;
use crate::request::Request;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use http::StatusCode;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::registry::Registry;
use skiff_api::wire::{Answer, Body, Frame, Stored};
use skiff_store::{
    Currency, Event, Record, Revision, Watch, WatchError, WatchItem, WatchRequest, WatchStart,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How often a client that wants bookmarks gets one while nothing happens.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Watches without `timeoutSeconds` end after this time and up to as much again, so that clients spread.
const SHORTEST: Duration = Duration::from_secs(1800);

/// So many events that are there already become frames together: a face that is made elsewhere is asked for once.
const AT_ONCE: usize = 16;

/// Answers with a stream of frames.
pub async fn watch(server: &Arc<Server>, request: &Request) -> Result<Answer, Status> {
    let selection = Selection::of(request)?;
    let options = ListOptions::of(request)?;
    let revision = options.revision.unwrap_or_default();
    let from_state = options.initial_events == Some(true);
    let start = match (from_state, revision.0) {
        (true, _) => WatchStart::Initial,
        (false, 0) => WatchStart::Now,
        (false, _) => WatchStart::After(revision),
    };
    let asked = WatchRequest {
        scope: selection.scope(&request.kind, &request.resource.namespace),
        facet: selection.facet(),
        start,
    };
    let timeout = match options.timeout_s {
        Some(seconds) => Duration::from_secs(seconds),
        None => SHORTEST + Duration::from_secs(server.world.below(SHORTEST.as_secs())),
    };
    // A revision that is not seen here may be there all the same.
    let unseen = revision > server.store.current();
    let currency = if unseen { Currency::Current } else { read::currency(options.revision) };
    server.reader.reach(currency).await?;
    if revision > server.store.current() {
        return Ok(future(server, revision, timeout));
    }
    let source = match server.store.watch(asked) {
        Ok(source) => source,
        // Too old a start is told inside the stream, where clients look for it.
        Err(error) => return Ok(answer_error(read::read_error(error), revision)),
    };
    let bookmarks = request.query.flag("allowWatchBookmarks");
    // Seats are for telling what is there; what comes later needs none.
    let seat = request.seat.take().filter(|_| start == WatchStart::Initial);
    let state = State {
        server: server.clone(),
        kind: request.kind.clone(),
        kinds: server.kinds.changes(),
        head: read::head(&request.kind),
        selection,
        source,
        ready: VecDeque::new(),
        deadline: server.world.uptime() + timeout,
        bookmarks,
        next_bookmark: server.world.uptime() + BOOKMARK_EVERY,
        initial_end: (options.initial_events == Some(true) && bookmarks).then(Vec::new),
        seat: seat.map(|seat| server.fairness.sending(seat)),
        ended: false,
    };
    let frames =
        stream::unfold(state, |mut state| async move { Some((state.next().await?, state)) });
    Ok(Answer::new(StatusCode::OK, Body::Watch(Box::pin(frames))))
}

/// A watch from a revision that is not there yet: silent until then, and over. The client starts again from there.
fn future(server: &Arc<Server>, revision: Revision, timeout: Duration) -> Answer {
    let server = server.clone();
    let wait = async move {
        // Whether the revision came, the time is up or the store stopped: the watch ends.
        let _ = server.world.within(timeout, server.store.reach(Currency::AtLeast(revision))).await;
        None
    };
    let frames = stream::once(wait).filter_map(std::future::ready);
    Answer::new(StatusCode::OK, Body::Watch(Box::pin(frames)))
}

fn answer_error(status: Status, revision: Revision) -> Answer {
    let status = match status.code {
        410 => {
            Status::expired(format!("too old resource version: {} ({})", revision.0, revision.0))
        }
        _ => status,
    };
    Answer::new(StatusCode::OK, Body::Watch(Box::pin(stream::iter([Frame::Error(status)]))))
}

/// Waits until a custom kind is no longer served as it was when the watch began.
async fn superseded(kinds: &mut tokio::sync::watch::Receiver<Arc<Registry>>, kind: &Arc<Kind>) {
    if !kind.manner.redefined {
        return std::future::pending().await;
    }
    let gone = |registry: &Arc<Registry>| {
        let found = registry.find(&kind.group, &kind.version, &kind.plural);
        found.is_none_or(|found| !Arc::ptr_eq(found, kind))
    };
    if kinds.wait_for(gone).await.is_err() {
        // The sender lives as long as the server: there is nobody left to tell.
        std::future::pending().await
    }
}

struct State {
    server: Arc<Server>,
    kind: Arc<Kind>,
    kinds: tokio::sync::watch::Receiver<Arc<Registry>>,
    head: Arc<str>,
    selection: Selection,
    source: Watch,
    /// What became of the items that were taken last (an error frame ends the stream).
    ready: VecDeque<Frame>,
    deadline: Duration,
    bookmarks: bool,
    next_bookmark: Duration,
    /// A bookmark that ends the initial events is still owed, and names what could not be read of them.
    initial_end: Option<Vec<String>>,
    /// Until then.
    seat: Option<Arc<Held>>,
    ended: bool,
}

/// What a watcher is told, before it has its form.
enum Told {
    /// Of a record; one that is shown as it was last has the revision of its end.
    Of(Arc<Record>, Option<Revision>, fn(Stored) -> Frame),
    InitialEnd(Revision),
    Progress(Revision),
    Failed(WatchError),
}

impl State {
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.ended {
                return None;
            }
            // An idle watch keeps no memory for what came at once.
            self.ready.shrink_to(1);
            let world = self.server.world.clone();
            let wake =
                if self.bookmarks { self.next_bookmark.min(self.deadline) } else { self.deadline };
            let left = wake.saturating_sub(world.uptime());
            let next = async {
                tokio::select! {
                    biased;
                    item = self.source.next() => Some(item),
                    () = superseded(&mut self.kinds, &self.kind) => None,
                }
            };
            match world.within(left, next).await.map(|next| next.unwrap_or(None)) {
                Some(Some(item)) => self.take(item).await,
                Some(None) => return None,
                None if world.uptime() >= self.deadline => return None,
                None => {
                    self.next_bookmark = world.uptime() + BOOKMARK_EVERY;
                    let revision = self.source.progress();
                    self.ready.push_back(self.bookmark(revision, None));
                }
            }
        }
    }

    /// Makes frames of an item and of what else is there already.
    async fn take(&mut self, first: Result<WatchItem, WatchError>) {
        let (mut told, mut next) = (Vec::with_capacity(1), Some(first));
        while let Some(item) = next {
            told.extend(match item {
                Ok(item) => self.told(item),
                Err(error) => Some(Told::Failed(error)),
            });
            let more = told.len() < AT_ONCE && !matches!(told.last(), Some(Told::Failed(_)));
            next = if more { self.source.next().now_or_never().flatten() } else { None };
        }
        let (mut records, mut ends) = (Vec::new(), Vec::new());
        for told in &told {
            if let Told::Of(record, end, _) = told {
                records.push(record.clone());
                ends.push(*end);
            }
        }
        let (server, kind) = (&self.server, &self.kind);
        let shown = shared::faces(server, kind, &self.head, &records, |at| ends[at]).await;
        let mut shown = shown.into_iter();
        for told in told {
            match told {
                Told::Of(record, end, frame) => {
                    let stored = shown.next().expect("each record has its answer");
                    self.show(&record, end, stored, frame);
                }
                Told::InitialEnd(revision) => {
                    self.seat = None;
                    if let Some(unreadable) = self.initial_end.take() {
                        self.ready.push_back(self.bookmark(revision, Some(unreadable)));
                    }
                }
                Told::Progress(revision) => self.ready.push_back(self.bookmark(revision, None)),
                Told::Failed(error) => self.fail(error),
            }
            if self.ended {
                return;
            }
        }
    }

    fn told(&self, item: WatchItem) -> Option<Told> {
        match item {
            WatchItem::Initial(record) => {
                let matches = self.selection.matches(&record);
                matches.then_some(Told::Of(record, None, Frame::Added))
            }
            WatchItem::InitialEnd(revision) => Some(Told::InitialEnd(revision)),
            WatchItem::Event(event) => self.told_of(&event),
            WatchItem::Progress(revision) => self.bookmarks.then_some(Told::Progress(revision)),
        }
    }

    /// An event as a watcher with this selection sees it: entering is ADDED, leaving is DELETED.
    fn told_of(&self, event: &Event) -> Option<Told> {
        let matching = |record: &Option<Arc<Record>>| {
            record.as_ref().filter(|record| self.selection.matches(record)).cloned()
        };
        match (matching(&event.old), matching(&event.new)) {
            (None, Some(new)) => Some(Told::Of(new, None, Frame::Added)),
            (Some(_), Some(new)) => Some(Told::Of(new, None, Frame::Modified)),
            (Some(old), None) => Some(Told::Of(old, Some(event.revision), Frame::Deleted)),
            (None, None) => None,
        }
    }

    /// What cannot be read is left out, until it goes: then the watch ends, for whoever knew it has to look anew.
    fn show(
        &mut self,
        record: &Record,
        end: Option<Revision>,
        stored: Result<Stored, Status>,
        frame: fn(Stored) -> Frame,
    ) {
        match stored {
            Ok(stored) => self.ready.push_back(frame(stored)),
            Err(status) if end.is_none() && status.is_storage_read() => {
                let place = crate::read::unreadable::place(&record.key);
                self.initial_end.iter_mut().for_each(|list| list.push(place.to_owned()));
            }
            Err(status) => {
                self.ready.push_back(Frame::Error(status));
                self.ended = true;
            }
        }
    }

    fn fail(&mut self, error: WatchError) {
        let status = match error {
            slow @ WatchError::TooSlow { .. } => Status::expired(slow.to_string()),
            WatchError::Stopped(why) => Status::internal(why),
        };
        self.ready.push_back(Frame::Error(status));
        self.ended = true;
    }

    fn bookmark(&self, revision: Revision, initial_end: Option<Vec<String>>) -> Frame {
        Frame::Bookmark { head: self.head.clone(), revision: revision.0, initial_end }
    }
}
