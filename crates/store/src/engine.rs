//! The store itself: index, window and watches, following a journal.

use crate::here::{Here, Opener};
use crate::journal::{Follower, Journal, Snapshot};
use crate::list::{Listing, Step};
use crate::load::Loader;
use crate::log::Log;
use crate::memory::MemoryLog;
use crate::shared::Shared;
use crate::{
    CommitError, Currency, ListRequest, Listed, OpenError, ReadError, Record, Revision, Seal,
    Stats, Store, Watch, WatchRequest, Write,
};
use futures_util::future::{BoxFuture, Either, ready, select};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A monotonic clock: the time since any fixed point, for example the World's uptime.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How a store is run; every field has a default that suits a small node.
#[derive(Clone)]
pub struct Options {
    pub clock: Clock,
    /// Revisions older than this are compacted.
    pub keep: Duration,
    /// Every revision given out is above this one. A restore of an old copy raises it beyond
    /// whatever clients may have seen; everything before it is then compacted.
    pub origin: Revision,
    /// The caps of the events that memory holds for watches; older ones come from the log.
    pub window_events: usize,
    pub window_bytes: usize,
    /// What seals records on the disk; `None`: nothing does, and what was sealed once cannot be read.
    pub seal: Option<Arc<dyn Seal>>,
}

impl Options {
    pub fn new(clock: Clock) -> Options {
        Options {
            clock,
            keep: Duration::from_secs(300),
            origin: Revision(1),
            window_events: 16 << 10,
            window_bytes: 8 << 20,
            seal: None,
        }
    }
}

/// Opens the embedded engine's database in `folder`, or makes a new one.
pub fn open(folder: &Path, options: Options) -> Result<Arc<dyn Store>, OpenError> {
    let here = Here::threaded(folder, on_disk(folder, &options), &options)?;
    Ok(Arc::new(Engine { shared: here.shared.clone(), journal: Arc::new(here) }))
}

pub(crate) fn on_disk(folder: &Path, options: &Options) -> Opener {
    let (path, options) = (folder.to_owned(), options.clone());
    Box::new(move || {
        let mut loader = Loader::new(&options);
        let each: crate::sqlite::EachRow<'_> = &mut |marks, row| loader.row(marks, row);
        let (log, history, marks) =
            crate::sqlite::open(&path, options.origin, &options.seal, each)?;
        Ok(loader.finish(Box::new(log), history, marks))
    })
}

/// A store without a disk, for tests and simulation: no threads, commits happen inside the future.
pub fn memory(options: Options) -> Arc<dyn Store> {
    let log = MemoryLog::default();
    on_memory(log.clone(), move || Box::new(log.clone()), options)
}

/// The same over any log whose rows are kept in memory.
pub(crate) fn on_memory(
    rows: MemoryLog,
    log: impl Fn() -> Box<dyn Log> + Send + 'static,
    options: Options,
) -> Arc<dyn Store> {
    let run = options.clone();
    let opener: Opener = Box::new(move || {
        let mut loader = Loader::new(&run);
        let marks = rows.replay(run.origin, |marks, row| loader.row(marks, row));
        Ok(loader.finish(log(), Arc::new(rows.clone()), marks))
    });
    let here = Here::inline(opener, &options).expect("no disk, nothing that can fail");
    Arc::new(Engine { shared: here.shared.clone(), journal: Arc::new(here) })
}

/// A store over a journal of somebody else's, which gets what it has to tell.
pub fn over(
    from: Snapshot,
    options: &Options,
    journal: impl FnOnce(Follower) -> Arc<dyn Journal>,
) -> Arc<dyn Store> {
    let shared = Arc::new(Shared::new(from.state(options)));
    let journal = journal(Follower(shared.clone()));
    Arc::new(Engine { shared, journal })
}

struct Engine {
    shared: Arc<Shared>,
    journal: Arc<dyn Journal>,
}

impl Store for Engine {
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<Vec<Revision>, CommitError>> {
        let (shared, answer) = (self.shared.clone(), self.journal.commit(writes));
        Box::pin(async move {
            let revisions = answer.await?;
            let newest = revisions.iter().copied().max().unwrap_or_default();
            // What is written is durable whatever ends before it shows.
            wait_for(shared, newest)
                .await
                .map_err(|error| CommitError::Unknown(error.to_string().into()))?;
            Ok(revisions)
        })
    }

    fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.shared.read().index.get(key).cloned()
    }

    fn size(&self, first: &str) -> (usize, usize) {
        self.shared.read().index.size(first)
    }

    fn list(&self, request: ListRequest) -> BoxFuture<'static, Result<Listed, ReadError>> {
        let (shared, history) = (self.shared.clone(), self.journal.history());
        let newest = match (request.at, request.currency) {
            // A snapshot is as old as it says.
            (Some(_), _) | (_, Currency::Seen) => None,
            (None, currency) => self.unreached(currency),
        };
        let mut reading = Listing::new(request);
        let Some(newest) = newest else {
            return match reading.step(&shared) {
                Step::Done(result) => Box::pin(ready(result)),
                Step::Read(after, to) => {
                    Box::pin(async move { reading.with_log(&shared, &*history, after, to).await })
                }
            };
        };
        Box::pin(async move {
            newest.await?;
            match reading.step(&shared) {
                Step::Done(result) => result,
                Step::Read(after, to) => reading.with_log(&shared, &*history, after, to).await,
            }
        })
    }

    fn watch(&self, request: WatchRequest) -> Result<Watch, ReadError> {
        self.shared.watch(request, self.journal.history())
    }

    fn current(&self) -> Revision {
        self.shared.current()
    }

    fn oldest_retained(&self) -> Revision {
        self.shared.oldest_retained()
    }

    fn reach(&self, currency: Currency) -> BoxFuture<'static, Result<(), ReadError>> {
        self.unreached(currency).unwrap_or_else(|| Box::pin(ready(Ok(()))))
    }

    fn compact(&self, oldest: Revision) -> BoxFuture<'static, Result<(), CommitError>> {
        self.journal.compact(oldest)
    }

    fn purge(&self) -> BoxFuture<'static, Result<(), CommitError>> {
        self.journal.purge()
    }

    fn stats(&self) -> Stats {
        let (watches, watch_queued, watch_behind) = self.shared.watch_figures();
        let (commit_queued, commit_queued_bytes) = self.journal.queued();
        let state = self.shared.read();
        let figures = self.shared.figures();
        Stats {
            records: state.index.len(),
            record_bytes: state.index.bytes(),
            window_events: state.window.len(),
            window_bytes: state.window.bytes(),
            watches,
            watch_queued,
            watch_behind,
            commit_queued,
            commit_queued_bytes,
            commit_us: figures.commit_us,
            group_writes: figures.group_writes,
            disk_bytes: figures.disk_bytes,
            full: figures.full,
        }
    }

    fn shrunk(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.shrunk.subscribe()
    }

    fn stopped(&self) -> BoxFuture<'static, Arc<str>> {
        stopped(self.shared.clone())
    }

    fn opened(&self) -> BoxFuture<'static, ()> {
        let mut stopped = self.shared.stopped.subscribe();
        let shared = self.shared.clone();
        Box::pin(async move {
            // The sender lives in `shared`, so waiting cannot fail.
            let _ = stopped.wait_for(Option::is_none).await;
            drop(shared);
        })
    }

    fn reopen(&self) -> BoxFuture<'static, Result<(), OpenError>> {
        self.journal.reopen()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let (closed, stopped) = (self.journal.close(), self.stopped());
        Box::pin(async move {
            closed.await;
            stopped.await;
        })
    }
}

impl Engine {
    /// What is still to be waited for before a read is as current as it must be.
    fn unreached(&self, currency: Currency) -> Option<BoxFuture<'static, Result<(), ReadError>>> {
        let shared = self.shared.clone();
        match currency {
            Currency::Seen => None,
            Currency::AtLeast(revision) if revision <= shared.current() => None,
            Currency::AtLeast(revision) => Some(Box::pin(wait_for(shared, revision))),
            Currency::Current => {
                let newest = self.journal.newest()?;
                Some(Box::pin(async move { wait_for(shared, newest.await?).await }))
            }
        }
    }
}

/// Waits until a revision is visible.
async fn wait_for(shared: Arc<Shared>, revision: Revision) -> Result<(), ReadError> {
    if shared.current() >= revision {
        return Ok(());
    }
    let mut current = shared.current.subscribe();
    let reached = std::pin::pin!(current.wait_for(|current| *current >= revision));
    match select(reached, stopped(shared.clone())).await {
        Either::Left((Ok(_), _)) => Ok(()),
        Either::Left((Err(_), _)) => Err(ReadError::Stopped(shared.reason())),
        Either::Right((reason, _)) => Err(ReadError::Stopped(reason)),
    }
}

fn stopped(shared: Arc<Shared>) -> BoxFuture<'static, Arc<str>> {
    let mut stopped = shared.stopped.subscribe();
    Box::pin(async move {
        // The sender lives in `shared`, so this ends only with a reason.
        let found = stopped.wait_for(Option::is_some).await.map(|reason| reason.clone());
        found.ok().flatten().unwrap_or_else(|| shared.reason())
    })
}
