//! The store itself: index, window, watches and committer over any log.
//!
//! The embedded engine has a thread for the committer and one for reading old revisions; the
//! memory engine has none: its commits happen inside the future, so that a simulation decides
//! their order.

use crate::committer::{Committer, Request};
use crate::list::{Listing, Step};
use crate::load::Loader;
use crate::log::{History, Log, Marks};
use crate::memory::MemoryLog;
use crate::shared::Shared;
use crate::{
    CommitError, Committed, ListRequest, Listed, OpenError, ReadError, Record, Revision, Stats,
    Store, Watch, WatchRequest, Write,
};
use futures_util::future::{BoxFuture, ready};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};

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
}

impl Options {
    pub fn new(clock: Clock) -> Options {
        Options {
            clock,
            keep: Duration::from_secs(300),
            origin: Revision(1),
            window_events: 16 << 10,
            window_bytes: 8 << 20,
        }
    }
}

/// Opens the embedded engine's database in `folder`, or makes a new one.
pub fn open(folder: &Path, options: Options) -> Result<Arc<dyn Store>, OpenError> {
    let mut loader = Loader::new(&options);
    let (log, history, marks) =
        crate::sqlite::open(folder, options.origin, &mut |marks, row| loader.row(marks, row))?;
    let state = loader.finish(marks);
    let shared = Arc::new(Shared::new(state, history));
    let committer =
        Committer::new(shared.clone(), Box::new(log), marks, options.keep, options.clock.clone());
    let (orders, queue) = mpsc::channel(QUEUE_REQUESTS);
    std::thread::Builder::new()
        .name("skiff-commit".into())
        .spawn(move || run(committer, queue))
        .map_err(|source| OpenError::Folder { folder: folder.into(), source })?;
    let budget = Arc::new(Semaphore::new(QUEUE_BYTES));
    Ok(Arc::new(Engine { shared, door: Door::Queue { orders, budget } }))
}

/// A store without a disk, for tests and simulation: no threads, commits happen inside the future.
pub fn memory(options: Options) -> Arc<dyn Store> {
    let log = MemoryLog::default();
    over(Box::new(log.clone()), Arc::new(log), options)
}

/// A store without threads over any empty log.
pub(crate) fn over(
    log: Box<dyn Log>,
    history: Arc<dyn History>,
    options: Options,
) -> Arc<dyn Store> {
    let marks = Marks { high: options.origin, compacted: options.origin, swept: options.origin };
    let shared = Arc::new(Shared::new(Loader::new(&options).finish(marks), history));
    let committer = Committer::new(shared.clone(), log, marks, options.keep, options.clock.clone());
    Arc::new(Engine { shared, door: Door::Inline(Arc::new(Mutex::new(committer))) })
}

struct Engine {
    shared: Arc<Shared>,
    door: Door,
}

/// The way to the committer.
enum Door {
    Queue { orders: mpsc::Sender<Order>, budget: Arc<Semaphore> },
    Inline(Arc<Mutex<Committer>>),
}

enum Order {
    Commit(Request),
    Compact(Revision, oneshot::Sender<Result<(), CommitError>>),
    Close(oneshot::Sender<()>),
}

/// Requests and bytes that may wait for the committer; beyond that writers wait at the door. The
/// server has its own, lower, limit of requests in flight; this one bounds memory whatever it is.
const QUEUE_REQUESTS: usize = 4096;
const QUEUE_BYTES: usize = 64 << 20;

/// A group takes what waits, up to so many requests: about 10 ms of work, so that none waits long.
const GROUP_REQUESTS: usize = 512;

fn run(mut committer: Committer, mut queue: mpsc::Receiver<Order>) {
    let mut closers = Vec::new();
    let mut next = None;
    while let Some(order) = next.take().or_else(|| queue.blocking_recv()) {
        match order {
            Order::Commit(first) => {
                let mut requests = vec![first];
                while requests.len() < GROUP_REQUESTS {
                    match queue.try_recv() {
                        Ok(Order::Commit(request)) => requests.push(request),
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                committer.group(requests);
                while next.is_none() && queue.is_empty() && committer.idle_sweep() == Ok(true) {}
            }
            Order::Compact(oldest, reply) => {
                // Whoever asked may have gone away.
                let _ = reply.send(committer.compact(oldest));
            }
            Order::Close(reply) => {
                // What is queued is still committed; then the queue ends.
                queue.close();
                closers.push(reply);
            }
        }
    }
    committer.close();
    drop(committer);
    for closer in closers {
        // Whoever asked may have gone away.
        let _ = closer.send(());
    }
}

impl Engine {
    fn stopped_reason(shared: &Shared) -> Arc<str> {
        shared.stopped.borrow().clone().unwrap_or_else(|| "it was closed".into())
    }

    fn stopped_commit(shared: &Shared) -> CommitError {
        CommitError::Stopped(Engine::stopped_reason(shared))
    }
}

fn inline(committer: &Mutex<Committer>) -> MutexGuard<'_, Committer> {
    committer.lock().expect("the committer does not panic")
}

impl Store for Engine {
    fn commit(
        &self,
        writes: Vec<Write>,
    ) -> BoxFuture<'static, Result<Vec<Committed>, CommitError>> {
        let shared = self.shared.clone();
        let (reply, answer) = oneshot::channel();
        match &self.door {
            Door::Inline(committer) => {
                let committer = committer.clone();
                Box::pin(async move {
                    inline(&committer).group(vec![Request { writes, reply, permit: None }]);
                    answer.await.map_err(|_| Engine::stopped_commit(&shared))?
                })
            }
            Door::Queue { orders, budget } => {
                let (orders, budget) = (orders.clone(), budget.clone());
                Box::pin(async move {
                    let bytes = writes.iter().map(size).sum::<usize>().min(QUEUE_BYTES);
                    let bytes = u32::try_from(bytes).expect("the budget is below 4 GB");
                    let permit = budget.acquire_many_owned(bytes).await.ok();
                    let order = Order::Commit(Request { writes, reply, permit });
                    let sent = orders.send(order).await;
                    sent.map_err(|_| Engine::stopped_commit(&shared))?;
                    answer.await.map_err(|_| Engine::stopped_commit(&shared))?
                })
            }
        }
    }

    fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.shared.read().index.get(key).cloned()
    }

    fn list(&self, request: ListRequest) -> BoxFuture<'static, Result<Listed, ReadError>> {
        let mut reading = Listing::new(request);
        match reading.step(&self.shared) {
            Step::Done(result) => Box::pin(ready(result)),
            Step::Read(after, to) => {
                let shared = self.shared.clone();
                Box::pin(async move { reading.with_log(&shared, after, to).await })
            }
        }
    }

    fn watch(&self, request: WatchRequest) -> Result<Watch, ReadError> {
        self.shared.watch(request)
    }

    fn current(&self) -> Revision {
        self.shared.current()
    }

    fn oldest_retained(&self) -> Revision {
        self.shared.oldest_retained()
    }

    fn wait_for(&self, revision: Revision) -> BoxFuture<'static, Result<(), ReadError>> {
        let mut current = self.shared.current.subscribe();
        if *current.borrow() >= revision {
            return Box::pin(ready(Ok(())));
        }
        let shared = self.shared.clone();
        let stopped = self.stopped();
        Box::pin(async move {
            let reached = std::pin::pin!(current.wait_for(|current| *current >= revision));
            match futures_util::future::select(reached, stopped).await {
                futures_util::future::Either::Left((Ok(_), _)) => Ok(()),
                _ => Err(ReadError::Stopped(Engine::stopped_reason(&shared))),
            }
        })
    }

    fn compact(&self, oldest: Revision) -> BoxFuture<'static, Result<(), CommitError>> {
        match &self.door {
            Door::Inline(committer) => Box::pin(ready(inline(committer).compact(oldest))),
            Door::Queue { orders, .. } => {
                let (orders, shared) = (orders.clone(), self.shared.clone());
                Box::pin(async move {
                    let (reply, answer) = oneshot::channel();
                    let sent = orders.send(Order::Compact(oldest, reply)).await;
                    sent.map_err(|_| Engine::stopped_commit(&shared))?;
                    answer.await.map_err(|_| Engine::stopped_commit(&shared))?
                })
            }
        }
    }

    fn stats(&self) -> Stats {
        let (watches, watch_queued, watch_behind) = self.shared.watch_figures();
        let (commit_queued, commit_queued_bytes) = match &self.door {
            Door::Inline(_) => (0, 0),
            Door::Queue { orders, budget } => (
                orders.max_capacity() - orders.capacity(),
                QUEUE_BYTES - budget.available_permits(),
            ),
        };
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

    fn stopped(&self) -> BoxFuture<'static, Arc<str>> {
        let mut stopped = self.shared.stopped.subscribe();
        let shared = self.shared.clone();
        Box::pin(async move {
            // The sender lives in `shared`, so this ends only with a reason.
            let _ = stopped.wait_for(Option::is_some).await;
            Engine::stopped_reason(&shared)
        })
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        match &self.door {
            Door::Inline(committer) => {
                inline(committer).close();
                Box::pin(ready(()))
            }
            Door::Queue { orders, .. } => {
                let (orders, stopped) = (orders.clone(), self.stopped());
                Box::pin(async move {
                    let (reply, answer) = oneshot::channel();
                    if orders.send(Order::Close(reply)).await.is_ok() {
                        // A committer that is gone has closed.
                        let _ = answer.await;
                    }
                    stopped.await;
                })
            }
        }
    }
}

/// What a write keeps in memory while it waits, about.
fn size(write: &Write) -> usize {
    const FIXED: usize = 256;
    FIXED
        + match write {
            Write::Put { body, .. } => body.len(),
            Write::Delete { last, .. } => last.as_ref().map_or(0, bytes::Bytes::len),
        }
}
