//! Usage: whether a connection serves something. One that serves nothing for too long is ended, so that peers who say
//! nothing, or half a head, hold no place; one with a watch, a log or an exec on it never is.

use crate::rim::limit::Guest;
use skiff_base::Lock;
use skiff_base::World;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The head of the first request is there so long after the handshake: upstream's limit of heads.
const HEAD: Duration = Duration::from_secs(32);
/// The head of a next request is there so long after the last answer: clients keep idle connections for 90 s
/// (upstream's limit too), and have [`HEAD`] beyond, so that it is they who close.
const IDLE: Duration = Duration::from_secs(90 + 32);

/// A connection's place among those that may be open, and what goes on there.
pub struct Usage {
    world: World,
    begun: AtomicU64,
    ended: AtomicU64,
    /// The uptime when something ended last, or when the connection began.
    free_since_ms: AtomicU64,
    _place: OwnedSemaphorePermit,
    guest: Lock<Option<Guest>>,
}

/// Something that is served: a request until its answer is handed over, or a stream until its end.
pub struct Use(Arc<Usage>);

impl Use {
    pub fn of(usage: &Arc<Usage>) -> Use {
        usage.begun.fetch_add(1, Ordering::Relaxed);
        Use(usage.clone())
    }

    pub fn know(&self) {
        self.0.know();
    }
}

impl Clone for Use {
    fn clone(&self) -> Use {
        Use::of(&self.0)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.free_since_ms.store(millis(self.0.world.uptime()), Ordering::Relaxed);
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}

impl Usage {
    pub fn new(world: World, place: OwnedSemaphorePermit, guest: Option<Guest>) -> Arc<Usage> {
        let free_since_ms = millis(world.uptime()).into();
        let (begun, ended) = Default::default();
        let guest = Lock::new(guest);
        Arc::new(Usage { world, begun, ended, free_since_ms, _place: place, guest })
    }

    /// The peer has proved who it is, and leaves its place to the next one of whom nothing is known.
    pub fn know(&self) {
        drop(self.guest.lock().take());
    }

    /// Returns when nothing was served for too long. It wakes when that could be, not at each request.
    pub async fn idle(&self) {
        let mut most = HEAD;
        loop {
            let left = most.saturating_sub(self.free());
            if left.is_zero() {
                return;
            }
            self.world.sleep(left).await;
            if self.begun.load(Ordering::Relaxed) > 0 {
                most = IDLE;
            }
        }
    }

    /// For how long nothing was served.
    fn free(&self) -> Duration {
        let ended = self.ended.load(Ordering::Acquire);
        if ended != self.begun.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let since = Duration::from_millis(self.free_since_ms.load(Ordering::Relaxed));
        self.world.uptime().saturating_sub(since)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
