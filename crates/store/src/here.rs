//! A journal that decides here: the committer over a log of ours, behind a queue or inside the caller's future.
//!
//! The embedded engine has a thread for the committer and one for reading old revisions; the memory engine has none:
//! its commits happen inside the future, so that a simulation decides their order.

use crate::committer::{Committer, Request};
use crate::journal::{History, Journal};
use crate::load::Opened;
use crate::shared::Shared;
use crate::{CommitError, OpenError, Options, ReadError, Revision, Write};
use futures_util::future::BoxFuture;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Opens the log, at the start and again after each stop.
pub(crate) type Opener = Box<dyn FnMut() -> Result<Opened, OpenError> + Send>;

/// The journal: the way to its committer.
pub(crate) struct Here {
    /// What follows it.
    pub shared: Arc<Shared>,
    history: Arc<Mutex<Arc<dyn History>>>,
    door: Door,
}

#[derive(Clone)]
enum Door {
    Queue { orders: mpsc::Sender<Order>, budget: Arc<Semaphore> },
    Inline(Arc<Mutex<Desk>>),
}

/// The committer with what it needs to begin again.
struct Desk {
    committer: Committer,
    opener: Opener,
    history: Arc<Mutex<Arc<dyn History>>>,
    closed: bool,
}

enum Order {
    Commit(Request),
    Compact(Revision, oneshot::Sender<Result<(), CommitError>>),
    Purge(oneshot::Sender<Result<(), CommitError>>),
    Reopen(oneshot::Sender<Result<(), OpenError>>),
    Close(oneshot::Sender<()>),
}

/// Requests and bytes that may wait for the committer; beyond that writers wait at the door. The server has its own,
/// lower, limit of requests in flight; this one bounds memory whatever it is.
const QUEUE_REQUESTS: usize = 4096;
const QUEUE_BYTES: usize = 64 << 20;

/// A group takes what waits, up to so many requests: about 10 ms of work, so that none waits long.
const GROUP_REQUESTS: usize = 512;

impl Here {
    /// With a thread for the committer; `folder` is for the error alone.
    pub fn threaded(folder: &Path, opener: Opener, options: &Options) -> Result<Here, OpenError> {
        let (shared, desk) = Desk::open(opener, options)?;
        let (history, (orders, queue)) = (desk.history.clone(), mpsc::channel(QUEUE_REQUESTS));
        std::thread::Builder::new()
            .name("skiff-commit".into())
            .spawn(move || run(desk, queue))
            .map_err(|source| OpenError::Folder { folder: folder.into(), source })?;
        let budget = Arc::new(Semaphore::new(QUEUE_BYTES));
        Ok(Here { shared, history, door: Door::Queue { orders, budget } })
    }

    /// Without threads.
    pub fn inline(opener: Opener, options: &Options) -> Result<Here, OpenError> {
        let (shared, desk) = Desk::open(opener, options)?;
        let history = desk.history.clone();
        Ok(Here { shared, history, door: Door::Inline(Arc::new(Mutex::new(desk))) })
    }
}

impl Door {
    /// What became of an order; `None`: there is nobody left to take it.
    async fn ask<T>(self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        match self {
            Door::Queue { orders, .. } => orders.send(order(reply)).await.ok()?,
            Door::Inline(desk) => {
                desk.lock().expect("the committer does not panic").perform(order(reply));
            }
        }
        answer.await.ok()
    }

    /// Waits until there is room for so many bytes.
    async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let Door::Queue { budget, .. } = self else { return None };
        let bytes = u32::try_from(bytes.min(QUEUE_BYTES)).expect("the budget is below 4 GB");
        budget.clone().acquire_many_owned(bytes).await.ok()
    }
}

impl Desk {
    fn open(mut opener: Opener, options: &Options) -> Result<(Arc<Shared>, Desk), OpenError> {
        let Opened { state, log, history, marks } = opener()?;
        let shared = Arc::new(Shared::new(state));
        let (keep, clock) = (options.keep, options.clock.clone());
        let committer = Committer::new(shared.clone(), log, marks, keep, clock);
        let history = Arc::new(Mutex::new(history));
        Ok((shared, Desk { committer, opener, history, closed: false }))
    }

    /// Whoever asked may have gone away.
    fn perform(&mut self, order: Order) {
        match order {
            Order::Commit(request) => self.committer.group(vec![request]),
            Order::Compact(oldest, reply) => _ = reply.send(self.committer.compact(oldest)),
            Order::Purge(reply) => _ = reply.send(self.committer.purge()),
            Order::Reopen(reply) => _ = reply.send(self.reopen()),
            Order::Close(reply) => {
                self.close();
                _ = reply.send(());
            }
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.committer.close();
    }

    fn reopen(&mut self) -> Result<(), OpenError> {
        if self.closed {
            return Err(OpenError::Closed);
        }
        if !self.committer.let_go() {
            return Ok(());
        }
        let Opened { state, log, history, marks } = (self.opener)()?;
        *self.history.lock().expect("nobody panics with it") = history;
        self.committer.begin_again(state, log, marks);
        Ok(())
    }
}

fn run(mut desk: Desk, mut queue: mpsc::Receiver<Order>) {
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
                let committer = &mut desk.committer;
                committer.group(requests);
                while next.is_none() && queue.is_empty() && committer.idle_sweep() == Ok(true) {}
            }
            Order::Close(reply) => {
                // What is queued is still committed; then the queue ends.
                queue.close();
                closers.push(reply);
            }
            other => desk.perform(other),
        }
    }
    desk.close();
    drop(desk);
    for closer in closers {
        // Whoever asked may have gone away.
        _ = closer.send(());
    }
}

impl Journal for Here {
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'static, Result<Vec<Revision>, CommitError>> {
        let (door, shared) = (self.door.clone(), self.shared.clone());
        Box::pin(async move {
            let permit = door.room(writes.iter().map(size).sum()).await;
            let order = |reply| Order::Commit(Request { writes, reply, permit });
            door.ask(order).await.unwrap_or_else(|| Err(CommitError::Stopped(shared.reason())))
        })
    }

    fn newest(&self) -> Option<BoxFuture<'static, Result<Revision, ReadError>>> {
        None
    }

    fn history(&self) -> Arc<dyn History> {
        self.history.lock().expect("nobody panics with it").clone()
    }

    fn compact(&self, oldest: Revision) -> BoxFuture<'static, Result<(), CommitError>> {
        let (door, shared) = (self.door.clone(), self.shared.clone());
        Box::pin(async move {
            let done = door.ask(|reply| Order::Compact(oldest, reply)).await;
            done.unwrap_or_else(|| Err(CommitError::Stopped(shared.reason())))
        })
    }

    fn purge(&self) -> BoxFuture<'static, Result<(), CommitError>> {
        let (door, shared) = (self.door.clone(), self.shared.clone());
        Box::pin(async move {
            let done = door.ask(Order::Purge).await;
            done.unwrap_or_else(|| Err(CommitError::Stopped(shared.reason())))
        })
    }

    fn reopen(&self) -> BoxFuture<'static, Result<(), OpenError>> {
        let door = self.door.clone();
        Box::pin(async move { door.ask(Order::Reopen).await.unwrap_or(Err(OpenError::Closed)) })
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let door = self.door.clone();
        // A committer that is gone has closed.
        Box::pin(async move { _ = door.ask(Order::Close).await })
    }

    fn queued(&self) -> (usize, usize) {
        match &self.door {
            Door::Inline(_) => (0, 0),
            Door::Queue { orders, budget } => (
                orders.max_capacity() - orders.capacity(),
                QUEUE_BYTES - budget.available_permits(),
            ),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The lock of the folder, the threads and the rows: all of it once more, in the same process.
    #[test]
    fn a_database_is_opened_again_in_place() {
        let folder = std::env::temp_dir().join(format!("skiff-again-{}", std::process::id()));
        let options = Options::new(Arc::new(|| Duration::ZERO));
        let opener = crate::engine::on_disk(&folder, &options);
        let (shared, mut desk) = Desk::open(opener, &options).unwrap();
        let write = |desk: &mut Desk, key: &str| {
            let (body, facets) = ("1".into(), crate::facets(Vec::new()));
            let write = Write::Put { key: key.into(), expect: None, body, generation: 0, facets };
            let (reply, mut answer) = oneshot::channel();
            desk.committer.group(vec![Request { writes: vec![write], reply, permit: None }]);
            answer.try_recv().unwrap()
        };
        assert_eq!(write(&mut desk, "a/b/c"), Ok(vec![Revision(2)]));
        for turn in 0..3 {
            let reason: Arc<str> = "it broke".into();
            desk.committer.stop(reason.clone());
            assert_eq!(write(&mut desk, "a/b/x"), Err(CommitError::Stopped(reason.clone())));
            assert_eq!(shared.reason(), reason);
            desk.reopen().unwrap();
            assert!(shared.stopped.borrow().is_none());
            let key = format!("a/b/{turn}");
            assert_eq!(write(&mut desk, &key), Ok(vec![Revision(3 + turn)]));
        }
        assert_eq!(shared.read().index.len(), 4);
        desk.close();
        assert!(matches!(desk.reopen(), Err(OpenError::Closed)));
        drop(desk);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
