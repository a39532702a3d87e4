//! Places of connections: so many at once, few of them for peers that have not proved who they are, and none for good.
//! When no place is free, one that serves least gives way to the newcomer, so that silence holds nobody up.
//!
//! Never here: what is said on a connection.

use skiff_base::Lock;
use skiff_base::World;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Connections at once: each attached client is one, and a node has some hundred pods.
pub const MOST: usize = 1024;
/// Of these, peers that have not proved who they are: handshakes and first requests take milliseconds.
pub const UNPROVEN_MOST: usize = 128;
/// Within this time after it was accepted a peer has proved who it is: by its certificate, or by a token in a request.
const PROOF: Duration = Duration::from_secs(10);
/// A stream on which nothing moves for so long is over (KubeletConfiguration, `streamingConnectionIdleTimeout`).
const SILENCE: Duration = Duration::from_secs(4 * 60 * 60);

/// Why connections were ended, as metrics name it.
pub const ENDS: [&str; 3] = ["gaveWay", "proofTime", "idleTime"];

/// All places of one listener.
pub struct Places {
    world: World,
    open: Lock<BTreeMap<u64, Arc<Place>>>,
    next: AtomicU64,
    ended: [AtomicU64; ENDS.len()],
}

/// What is known of one connection.
pub struct Place {
    world: World,
    begun_ms: u64,
    /// The uptime when bytes went either way last.
    moved_ms: AtomicU64,
    proven: AtomicBool,
    proved: Notify,
    gives_way: Notify,
}

/// A place that is taken, until this is dropped.
pub struct Held {
    places: Arc<Places>,
    number: u64,
    pub place: Arc<Place>,
}

impl Places {
    pub fn new(world: World) -> Arc<Places> {
        let (open, next, ended) = Default::default();
        Arc::new(Places { world, open, next, ended })
    }

    /// Takes a place, if need be from somebody else.
    pub fn enter(self: &Arc<Self>) -> Held {
        let now = millis(self.world.uptime());
        let place = Arc::new(Place {
            world: self.world.clone(),
            begun_ms: now,
            moved_ms: now.into(),
            proven: false.into(),
            proved: Notify::new(),
            gives_way: Notify::new(),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock();
        let unproven = open.values().filter(|it| !it.is_proven()).count();
        if (unproven >= UNPROVEN_MOST || open.len() >= MOST)
            && let Some((&least, _)) = open.iter().min_by_key(|(_, it)| it.worth())
            && let Some(least) = open.remove(&least)
        {
            self.ended[0].fetch_add(1, Ordering::Relaxed);
            least.gives_way.notify_one();
        }
        open.insert(number, place.clone());
        Held { places: self.clone(), number, place }
    }

    /// How many are taken, and how many of them by peers without proof.
    pub fn taken(&self) -> (usize, usize) {
        let open = self.open.lock();
        (open.len(), open.values().filter(|it| !it.is_proven()).count())
    }

    /// How many connections were ended, in the order of [`ENDS`].
    pub fn ended(&self) -> [u64; ENDS.len()] {
        self.ended.each_ref().map(|it| it.load(Ordering::Relaxed))
    }
}

impl Held {
    /// Returns when the connection has to end.
    pub async fn over(&self) {
        let why = tokio::select! {
            biased;
            // It is counted by the one that it gives way to.
            () = self.place.gives_way.notified() => return,
            why = self.place.useless() => why,
        };
        self.places.ended[why].fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.open.lock().remove(&self.number);
    }
}

impl Place {
    /// The peer has proved who it is.
    pub fn prove(&self) {
        self.proven.store(true, Ordering::Relaxed);
        self.proved.notify_one();
    }

    fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// The least of these gives way. Without proof, age alone counts: a trickle of bytes would prove nothing.
    fn worth(&self) -> (bool, u64) {
        match self.is_proven() {
            true => (true, self.moved_ms.load(Ordering::Relaxed)),
            false => (false, self.begun_ms),
        }
    }

    /// Returns the index in [`ENDS`] of what took too long.
    async fn useless(&self) -> usize {
        if !self.is_proven() && self.world.within(PROOF, self.proved.notified()).await.is_none() {
            return 1;
        }
        loop {
            let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
            let left = (moved + SILENCE).saturating_sub(self.world.uptime());
            if left.is_zero() {
                return 2;
            }
            self.world.sleep(left).await;
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A connection whose place knows when bytes moved.
pub struct Watched<S> {
    pub inner: S,
    pub place: Arc<Place>,
}

impl<S> Watched<S> {
    fn moved(&self) {
        self.place.moved_ms.store(millis(self.place.world.uptime()), Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if polled.is_ready() {
            self.moved();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if polled.is_ready() {
            self.moved();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn proven(places: &Arc<Places>) -> Held {
        let held = places.enter();
        held.place.prove();
        held
    }

    fn is_over(held: &Held) -> bool {
        futures_util::FutureExt::now_or_never(held.over()).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_silent_gives_way_and_those_without_proof_first() {
        let world = World::seeded(1);
        let places = Places::new(world.clone());
        let mut held = Vec::new();
        for _ in 0..MOST - 1 {
            held.push(proven(&places));
            world.sleep(Duration::from_millis(1)).await;
        }
        let stranger = places.enter();
        assert_eq!(places.taken(), (MOST, 1));
        let _one = proven(&places);
        assert!(is_over(&stranger));
        assert!(!held.iter().any(is_over));
        // The oldest moves; the next one is then the longest silent.
        let mut watched = Watched { inner: tokio::io::sink(), place: held[0].place.clone() };
        watched.write_all(b"x").await.unwrap();
        let _two = proven(&places);
        assert_eq!(held.iter().position(is_over), Some(1));
        assert_eq!(places.ended(), [2, 0, 0]);
        drop(held);
        assert_eq!(places.taken(), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn peers_without_proof_are_few_and_hold_nothing_for_long() {
        let world = World::seeded(1);
        let places = Places::new(world.clone());
        let known = proven(&places);
        let held: Vec<Held> = (0..UNPROVEN_MOST + 9).map(|_| places.enter()).collect();
        assert_eq!(places.taken(), (UNPROVEN_MOST + 1, UNPROVEN_MOST));
        assert_eq!(held.iter().filter(|it| is_over(it)).count(), 9);
        held[UNPROVEN_MOST].over().await;
        assert_eq!(world.uptime(), PROOF);
        known.over().await;
        assert_eq!(world.uptime(), SILENCE);
        assert_eq!(places.ended(), [9, 1, 1]);
    }
}
