//! Limits on what runs at once, so that load costs bounded memory: reads and writes that end soon have separate
//! counts; long-running requests (watch, exec, log -f) have one of their own. Full means 429 with Retry-After.
//! Connections beyond theirs wait in the kernel's backlog. What was turned away is counted here, whatever the limit.

use crate::url::Resource;
use skiff_api::Status;
use skiff_api::kind::Verb;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Requests at once, by [`Sort`]: reads as upstream's `--max-requests-inflight`; writes (upstream's
/// `--max-mutating-requests-inflight` is 200, group commit likes company); long-running ones for a thousand nodes
/// or watchers, with room.
pub const REQUESTS_MOST: [usize; 3] = [400, 400, 20_000];
/// Connections at once: a thousand nodes and their clients, with room; above it new ones wait in the backlog.
pub const CONNECTIONS_MOST: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Short,
    Write,
    Long,
}

impl Sort {
    pub const NAMES: [&str; 3] = ["readOnly", "mutating", "longRunning"];
}

/// What was turned away, and by which limit; the first three are those of [`Sort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    BodySize = 3,
    BodyTime,
    HandshakeTime,
    /// A connection on which no request came, or no next one.
    IdleTime,
}

impl Refused {
    pub const NAMES: [&str; 7] = [
        Sort::NAMES[0],
        Sort::NAMES[1],
        Sort::NAMES[2],
        "bodySize",
        "bodyTime",
        "handshakeTime",
        "idleTime",
    ];
}

/// Which limit a request counts against.
pub fn sort_of(verb: Verb, resource: &Resource) -> Sort {
    match verb {
        Verb::Watch => Sort::Long,
        _ if is_connect(&resource.subresource) => Sort::Long,
        Verb::Get | Verb::List => Sort::Short,
        _ => Sort::Write,
    }
}

/// The entries below objects that lead to a node.
pub fn is_connect(subresource: &str) -> bool {
    matches!(subresource, "exec" | "attach" | "log" | "portforward" | "proxy")
}

/// The counters; their values are metrics.
#[derive(Debug, Clone)]
pub struct Limits(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    running: [AtomicUsize; 3],
    refused: [AtomicU64; Refused::NAMES.len()],
    connections: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits(Arc::new(Counters {
            running: Default::default(),
            refused: Default::default(),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MOST)),
        }))
    }
}

/// A place that a request holds while it runs; a long-running one until the last of its answer is written.
#[derive(Debug)]
pub struct Place(Arc<Counters>, Sort);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limits {
    pub fn enter(&self, sort: Sort) -> Result<Place, Status> {
        let place = Place(self.0.clone(), sort);
        let running = self.0.running[sort as usize].fetch_add(1, Ordering::Relaxed);
        if running >= REQUESTS_MOST[sort as usize] {
            self.0.refused[sort as usize].fetch_add(1, Ordering::Relaxed);
            let message =
                "the server has received too many requests and has asked us to try again later";
            return Err(Status::too_many_requests(message, 1));
        }
        Ok(place)
    }

    /// Counts what another limit than those of requests turned away.
    pub fn refuse(&self, what: Refused) {
        self.0.refused[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The places of connections.
    pub fn connections(&self) -> Arc<Semaphore> {
        self.0.connections.clone()
    }

    /// How many connections are open now.
    pub fn connected(&self) -> usize {
        CONNECTIONS_MOST - self.0.connections.available_permits()
    }

    /// How many reads, writes and long-running requests run now.
    pub fn running(&self) -> [usize; 3] {
        self.0.running.each_ref().map(|it| it.load(Ordering::Relaxed))
    }

    /// How many were turned away, in the order of [`Refused::NAMES`].
    pub fn refused(&self) -> [u64; Refused::NAMES.len()] {
        self.0.refused.each_ref().map(|it| it.load(Ordering::Relaxed))
    }
}
