//! The World: the one value through which time, randomness and concurrent tasks enter.
//!
//! `World::real()` is the machine's clock and the kernel's randomness. `World::seeded(seed)` starts at a fixed date and
//! follows tokio's clock, which a test pauses and advances; its random numbers follow from the seed.

use crate::Lock;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A moment on the wall clock, as the API shows it.
pub type Time = jiff::Timestamp;

/// Where seeded worlds begin: 2026-01-01T00:00:00Z.
const SEEDED_START_S: i64 = 1_767_225_600;

/// Clock, randomness and tasks. Cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    /// The wall clock at `started`, for worlds whose time is virtual; `None` reads the machine's clock.
    virtual_start: Option<Time>,
    started: Instant,
    /// The state of the seeded generator; `None` asks the kernel.
    seed: Option<Lock<u64>>,
}

impl World {
    /// The machine's own clock and randomness.
    pub fn real() -> World {
        World(Arc::new(Inner { virtual_start: None, started: Instant::now(), seed: None }))
    }

    /// Virtual time from a fixed date, random numbers from `seed`. Needs a tokio runtime.
    pub fn seeded(seed: u64) -> World {
        let start = Time::from_second(SEEDED_START_S).expect("the date is in range");
        let inner = Inner {
            virtual_start: Some(start),
            started: Instant::now(),
            seed: Some(Lock::new(seed)),
        };
        World(Arc::new(inner))
    }

    /// The wall clock.
    pub fn now(&self) -> Time {
        match self.0.virtual_start {
            Some(start) => start + self.uptime(),
            None => Time::now(),
        }
    }

    /// Time since this world began: monotonic, for intervals and deadlines.
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Sleeps until `uptime()` reaches `at`.
    pub async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep_until(self.0.started + at).await;
    }

    /// Sleeps for `span`.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// Runs `work` for at most `span`; `None` when time ran out.
    pub async fn within<T>(&self, span: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(span, work).await.ok()
    }

    /// 64 random bits.
    pub fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random number below `bound` (which is not 0).
    pub fn below(&self, bound: u64) -> u64 {
        self.random() % bound
    }

    /// Fills `bytes` with randomness good enough for keys (in a real world).
    pub fn fill(&self, bytes: &mut [u8]) {
        let Some(seed) = &self.0.seed else { return crate::pool::fill(bytes) };
        let mut state = seed.lock();
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64 (Steele, Lea, Flood 2014): enough for simulations, from one word of state.
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let word = (z ^ (z >> 31)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// A group of tasks that belong to one owner: dropped with it, or stopped and awaited by it. A stopped group takes no
/// more.
///
/// There is no detached spawn: whoever starts a task holds its group.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Group>);

/// What a task does. It is boxed where it is handed over: the executor's code would be there once more for each.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Group {
    /// `None` once it was stopped.
    set: Lock<Option<JoinSet<()>>>,
    /// What becomes of the words of a panic.
    note: Box<dyn Fn(&str) + Send + Sync>,
    /// What ended of that which the owner cannot do without.
    lost: watch::Sender<Option<String>>,
}

impl Default for Group {
    fn default() -> Group {
        let note = Box::new(|panic: &str| tracing::error!(panic, "a task panicked"));
        Group { set: Lock::new(Some(JoinSet::new())), note, lost: watch::Sender::new(None) }
    }
}

impl Tasks {
    pub fn new() -> Tasks {
        Tasks::default()
    }

    /// A group whose owner hears of each panic.
    pub fn noting(note: impl Fn(&str) + Send + Sync + 'static) -> Tasks {
        Tasks(Arc::new(Group { note: Box::new(note), ..Group::default() }))
    }

    /// Starts `work` in this group. A panic of it is noted and ends nothing else.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.or_noted(Box::pin(work));
    }

    fn or_noted(&self, work: Work) {
        let group = Arc::downgrade(&self.0);
        self.hold(Box::pin(async move {
            if let Err(panic) = caught(work).await
                && let Some(group) = group.upgrade()
            {
                (group.note)(&panic);
            }
        }));
    }

    /// Starts work that the owner of the group cannot do without: [`Tasks::lost`] hears of its end.
    pub fn vital(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.or_lost(Box::pin(work), |ended| {
            Some(ended.err().unwrap_or_else(|| "a task of it ended".into()))
        });
    }

    /// Starts work that may end, but whose panic leaves the owner of the group with what cannot be used.
    pub fn sound(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.or_lost(Box::pin(work), Result::err);
    }

    fn or_lost(&self, work: Work, lost: fn(Result<(), String>) -> Option<String>) {
        let group = Arc::downgrade(&self.0);
        self.hold(Box::pin(async move {
            if let Some(why) = lost(caught(work).await)
                && let Some(group) = group.upgrade()
            {
                group.lost.send_if_modified(|lost| lost.is_none() && lost.replace(why).is_none());
            }
        }));
    }

    /// Waits until the owner has lost what it cannot do without, and says why.
    pub async fn lost(&self) -> String {
        let mut lost = self.0.lost.subscribe();
        // The sender lives in self.
        let ended = lost.wait_for(Option::is_some).await;
        ended.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Tasks that have ended are forgotten on the way.
    fn hold(&self, work: Work) {
        if let Some(set) = &mut *self.0.set.lock() {
            while set.try_join_next().is_some() {}
            set.spawn(work);
        }
    }

    /// How many tasks have not been reaped yet.
    pub fn len(&self) -> usize {
        self.0.set.lock().as_ref().map_or(0, JoinSet::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all tasks of the group and waits until they are gone.
    pub async fn stop(&self) {
        let set = self.0.set.lock().take();
        if let Some(mut set) = set {
            set.shutdown().await;
        }
    }
}

/// Runs work; a panic of it becomes an error in words.
pub(crate) async fn caught<F: Future>(work: F) -> Result<F::Output, String> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(format!("it panicked: {}", words(&*panic)))),
        }
    })
    .await
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn seeded_worlds_repeat_themselves_and_follow_virtual_time() {
        let (a, b) = (World::seeded(7), World::seeded(7));
        assert_eq!((a.random(), a.random()), (b.random(), b.random()));
        assert_eq!(a.now().to_string(), "2026-01-01T00:00:00Z");
        a.sleep(Duration::from_secs(90)).await;
        assert_eq!(a.now().to_string(), "2026-01-01T00:01:30Z");
        assert_eq!(a.within(Duration::from_secs(1), std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn stopping_a_group_ends_its_tasks() {
        let tasks = Tasks::new();
        let (send, receive) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn(async move {
            std::future::pending::<()>().await;
            drop(send);
        });
        assert_eq!(tasks.len(), 1);
        tasks.stop().await;
        assert!(tasks.is_empty());
        assert!(receive.await.is_err());
    }
}
