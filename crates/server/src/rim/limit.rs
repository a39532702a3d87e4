//! Limits on what is held at once, so that load costs bounded memory: long-running requests (watch, exec, log -f) have
//! a number of places; full means 429 with Retry-After. Who else runs, and when, is [`crate::fairness`]'s affair.
//! Bodies share a number of bytes. Connections beyond theirs wait in the kernel's backlog, and those of guests (peers
//! who have not said who they are) have fewer places. What was turned away is counted here, whatever the limit.

use skiff_api::Status;
use skiff_base::Lock;
use skiff_base::World;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, watch};

/// Long-running requests at once: a thousand nodes or watchers, with room.
pub const LONG_MOST: usize = 20_000;
/// Connections at once: a thousand nodes and their clients, with room; above it new ones wait in the backlog.
pub const CONNECTIONS_MOST: usize = 4096;
/// Guests at once: each may have the head of a request in memory, and half a handshake.
const GUESTS_MOST: usize = 512;
/// Guests from one address, with those who wait for a place: nobody alone holds the connections of all.
const GUESTS_OF_ONE_MOST: usize = CONNECTIONS_MOST / 4;
/// A guest waits so long for a place.
const GUEST_WAIT: Duration = Duration::from_secs(10);
/// Bytes of request bodies that are held at once, from their arrival to the end of the request; one body beyond may go
/// on, so that those who wait for each other end.
pub const BODIES_MOST: usize = 64 << 20;
/// The next piece of a body waits so long for room.
const BODY_WAIT: Duration = Duration::from_secs(5);
/// So much of bodies that were read and written is worth a look at what the heap holds: the trees that were made of
/// them are some hundred times as large, and what is free of the heap stays in the process until it is asked for.
const SPENT: usize = 1 << 20;
/// Reads that wait at once for a revision that is not there yet: most seats stay for those that can go on.
const FUTURE_MOST: usize = 100;

/// What was turned away, and by which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    LongRunning,
    BodySize,
    BodyTime,
    HandshakeTime,
    /// A connection on which no request came, or no next one.
    IdleTime,
    /// All bytes of bodies were taken.
    BodyRoom,
    /// A connection of somebody unknown, when others like that had all places.
    Guest,
}

impl Refused {
    pub const NAMES: [&str; 7] =
        ["longRunning", "bodySize", "bodyTime", "handshakeTime", "idleTime", "bodyRoom", "guest"];
}

/// The counters; their values are metrics.
#[derive(Debug, Clone)]
pub struct Limits(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    long: AtomicUsize,
    refused: [AtomicU64; Refused::NAMES.len()],
    connections: Arc<Semaphore>,
    guests: Arc<Semaphore>,
    guests_of: Lock<HashMap<IpAddr, usize>>,
    bodies: Arc<Semaphore>,
    /// The place of the one body beyond.
    beyond: Arc<Semaphore>,
    future: Semaphore,
    /// Bytes of bodies so far, and how often [`SPENT`] more were.
    spent: AtomicUsize,
    worked: watch::Sender<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits(Arc::new(Counters {
            long: Default::default(),
            refused: Default::default(),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MOST)),
            guests: Arc::new(Semaphore::new(GUESTS_MOST)),
            guests_of: Lock::default(),
            bodies: Arc::new(Semaphore::new(BODIES_MOST)),
            beyond: Arc::new(Semaphore::new(1)),
            future: Semaphore::new(FUTURE_MOST),
            spent: AtomicUsize::new(0),
            worked: watch::Sender::new(0),
        }))
    }
}

/// A place that a long-running request holds until the last of its answer is written.
#[derive(Debug)]
pub struct Place(Arc<Counters>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.long.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of a connection whose peer is unknown.
#[derive(Debug)]
pub struct Guest {
    counters: Arc<Counters>,
    address: IpAddr,
    _place: Option<OwnedSemaphorePermit>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.counters.guests_of.lock();
        if let Some(count) = guests.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                guests.remove(&self.address);
            }
        }
    }
}

/// The room of one body, for as long as the body is held.
#[derive(Debug)]
pub struct Room {
    counters: Arc<Counters>,
    bytes: Option<OwnedSemaphorePermit>,
    beyond: Option<OwnedSemaphorePermit>,
}

impl Drop for Room {
    fn drop(&mut self) {
        let beyond = self.beyond.as_ref().map_or(0, |_| SPENT);
        self.counters
            .spent(self.bytes.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) + beyond);
    }
}

impl Counters {
    fn spent(&self, bytes: usize) {
        let before = self.spent.fetch_add(bytes, Ordering::Relaxed);
        if before / SPENT != before.wrapping_add(bytes) / SPENT {
            self.worked.send_modify(|times| *times += 1);
        }
    }
}

impl Room {
    /// Takes room for so many more bytes.
    pub async fn take(&mut self, size: usize, world: &World) -> Result<(), Status> {
        let (true, Ok(size)) = (self.beyond.is_none() && size > 0, u32::try_from(size)) else {
            return Ok(());
        };
        let (bodies, beyond) = (self.counters.bodies.clone(), self.counters.beyond.clone());
        let got = async {
            tokio::select! {
                biased;
                more = bodies.acquire_many_owned(size) => (more.ok(), None),
                beyond = beyond.acquire_owned() => (None, beyond.ok()),
            }
        };
        let Some((more, beyond)) = world.within(BODY_WAIT, got).await else {
            self.counters.refused[Refused::BodyRoom as usize].fetch_add(1, Ordering::Relaxed);
            return Err(Status::too_many_requests(TOO_MANY, 1));
        };
        self.beyond = beyond;
        match (&mut self.bytes, more) {
            (Some(held), Some(more)) => held.merge(more),
            (held, more) => *held = more.or(held.take()),
        }
        Ok(())
    }
}

const TOO_MANY: &str =
    "the server has received too many requests and has asked us to try again later";

impl Limits {
    /// A place for a long-running request.
    pub fn enter(&self) -> Result<Place, Status> {
        let place = Place(self.0.clone());
        if self.0.long.fetch_add(1, Ordering::Relaxed) >= LONG_MOST {
            self.refuse(Refused::LongRunning);
            return Err(Status::too_many_requests(TOO_MANY, 1));
        }
        Ok(place)
    }

    /// Counts what another limit than those of requests turned away.
    pub fn refuse(&self, what: Refused) {
        self.0.refused[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Room for a body that is about to come.
    pub fn room(&self) -> Room {
        Room { counters: self.0.clone(), bytes: None, beyond: None }
    }

    /// How many bytes of bodies are held now, and how many may be.
    pub fn bodies(&self) -> (usize, usize) {
        (BODIES_MOST - self.0.bodies.available_permits(), BODIES_MOST)
    }

    /// Counts a body that was made and written; those that came count themselves.
    pub fn spent(&self, bytes: usize) {
        self.0.spent(bytes);
    }

    /// Counts how often bodies of a MiB were read and written: once that rests, it is a good time to give memory back.
    pub fn worked(&self) -> watch::Receiver<u64> {
        self.0.worked.subscribe()
    }

    /// A place among those who wait for a revision that is not there yet.
    pub fn future(&self) -> Result<tokio::sync::SemaphorePermit<'_>, TryAcquireError> {
        self.0.future.try_acquire()
    }

    /// A place for a connection from somebody who is not known yet; none when there are too many of them.
    pub async fn guest(&self, address: IpAddr, world: &World) -> Option<Guest> {
        let mut guest = {
            let mut guests = self.0.guests_of.lock();
            let count = guests.entry(address).or_default();
            *count += 1;
            let own = Guest { counters: self.0.clone(), address, _place: None };
            if *count > GUESTS_OF_ONE_MOST {
                drop(guests);
                drop(own);
                self.refuse(Refused::Guest);
                return None;
            }
            own
        };
        match world.within(GUEST_WAIT, self.0.guests.clone().acquire_owned()).await {
            Some(Ok(place)) => guest._place = Some(place),
            _ => {
                self.refuse(Refused::Guest);
                return None;
            }
        }
        Some(guest)
    }

    /// How many guests there are.
    pub fn guests(&self) -> usize {
        GUESTS_MOST - self.0.guests.available_permits()
    }

    /// The places of connections.
    pub fn connections(&self) -> Arc<Semaphore> {
        self.0.connections.clone()
    }

    /// How many connections are open now.
    pub fn connected(&self) -> usize {
        CONNECTIONS_MOST - self.0.connections.available_permits()
    }

    /// How many long-running requests run now.
    pub fn long(&self) -> usize {
        self.0.long.load(Ordering::Relaxed)
    }

    /// How many were turned away, in the order of [`Refused::NAMES`].
    pub fn refused(&self) -> [u64; Refused::NAMES.len()] {
        self.0.refused.each_ref().map(|it| it.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bodies_share_their_bytes_and_one_goes_beyond() {
        let (limits, world) = (Limits::default(), World::seeded(1));
        let mut held = Vec::new();
        for _ in 0..64 {
            let mut room = limits.room();
            // In pieces, as bodies come.
            for _ in 0..4 {
                room.take(256 << 10, &world).await.expect("there is room");
            }
            held.push(room);
        }
        assert_eq!(limits.bodies(), (BODIES_MOST, BODIES_MOST));
        let (mut beyond, mut next) = (limits.room(), limits.room());
        beyond.take(1 << 20, &world).await.expect("one may go beyond");
        beyond.take(1 << 20, &world).await.expect("and on");
        let begin = world.uptime();
        assert_eq!(next.take(1, &world).await.map_err(|status| status.code), Err(429));
        assert_eq!(world.uptime() - begin, BODY_WAIT);
        assert_eq!(limits.refused()[Refused::BodyRoom as usize], 1);
        let worked = limits.worked();
        held.pop();
        assert_eq!(*worked.borrow(), 1);
        next.take(1 << 20, &world).await.expect("somebody left");
        drop((held, beyond, next));
        assert_eq!(limits.bodies().0, 0);
        let mut again = limits.room();
        again.take(1, &world).await.expect("there is room");
        assert_eq!(limits.bodies().0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_alone_holds_the_places_of_guests() {
        let (limits, world) = (Limits::default(), World::seeded(1));
        let [one, other] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
        let mut held = Vec::new();
        for _ in 0..GUESTS_MOST {
            held.push(limits.guest(one, &world).await.expect("there is a place"));
        }
        assert_eq!(limits.guests(), GUESTS_MOST);
        let waits = limits.guest(other, &world);
        let leaves = async {
            world.sleep(GUEST_WAIT / 2).await;
            held.pop();
        };
        let (came, ()) = futures_util::future::join(waits, leaves).await;
        assert!(came.is_some(), "it waited for a place");
        assert!(limits.guest(other, &world).await.is_none(), "nobody left in time");
        // Those who wait count for their address.
        let crowd = (0..GUESTS_OF_ONE_MOST * 2).map(|_| limits.guest(one, &world));
        let crowd = futures_util::future::join_all(crowd);
        assert!(crowd.await.iter().all(Option::is_none));
        assert!(limits.refused()[Refused::Guest as usize] > GUESTS_OF_ONE_MOST as u64);
        drop((held, came));
        assert_eq!(limits.guests(), 0);
        assert!(limits.0.guests_of.lock().is_empty());
    }

    #[test]
    fn who_waits_for_the_future_leaves_places_to_others() {
        let limits = Limits::default();
        let held: Vec<_> = (0..FUTURE_MOST).map(|_| limits.future().expect("a place")).collect();
        assert!(limits.future().is_err());
        drop(held);
        assert!(limits.future().is_ok());
    }
}
