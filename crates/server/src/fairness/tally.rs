//! Tally: what was counted of the requests of one schema in one level, for metrics. Written from many threads without
//! a lock.

use super::level::Refused;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const SECONDS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const LENGTHS: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const SEATS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];
const WATCHES: [f64; 6] = [0.0, 1.0, 10.0, 100.0, 1000.0, 10_000.0];

/// Counts of a schema in a level.
pub struct Tally {
    pub dispatched: AtomicU64,
    /// It was a request's turn, and there was no room for all its seats.
    pub passed_over: AtomicU64,
    /// By reason, as in [`super::level::Refused::NAMES`].
    pub rejected: [AtomicU64; 3],
    pub waiting: AtomicI64,
    pub waiting_seats: AtomicI64,
    pub executing: AtomicI64,
    pub executing_seats: AtomicI64,
    pub queue_length: Histogram<8>,
    pub seats: Histogram<8>,
    pub watches: Histogram<6>,
    /// Of those that were refused at once, and of those that had a seat or a place in a queue.
    pub waited: [Histogram<13>; 2],
    /// Of regular requests, and of watches.
    pub ran: [Histogram<13>; 2],
}

impl Default for Tally {
    fn default() -> Tally {
        let seconds = || Histogram::new(&SECONDS);
        Tally {
            dispatched: Default::default(),
            passed_over: Default::default(),
            rejected: Default::default(),
            waiting: Default::default(),
            waiting_seats: Default::default(),
            executing: Default::default(),
            executing_seats: Default::default(),
            queue_length: Histogram::new(&LENGTHS),
            seats: Histogram::new(&SEATS),
            watches: Histogram::new(&WATCHES),
            waited: [seconds(), seconds()],
            ran: [seconds(), seconds()],
        }
    }
}

impl Tally {
    pub fn refuse(&self, why: Refused, waited: Duration) {
        self.rejected[why as usize].fetch_add(1, Relaxed);
        self.waited[usize::from(why == Refused::TimeOut)].add_time(waited);
    }

    /// What is now, if there ever was any.
    pub fn ever(&self, ever: &AtomicU64, now: &AtomicI64) -> Option<f64> {
        (ever.load(Relaxed) > 0).then(|| now.load(Relaxed) as f64)
    }
}

/// Values by upper bounds; the sum in millionths.
pub struct Histogram<const N: usize> {
    pub bounds: &'static [f64; N],
    buckets: [AtomicU64; N],
    count: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [f64; N]) -> Histogram<N> {
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Histogram { bounds, buckets, count: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    pub fn add(&self, value: f64) {
        if let Some(bucket) = self.bounds.iter().position(|bound| value <= *bound) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Relaxed);
    }

    pub fn add_time(&self, time: Duration) {
        self.add(time.as_secs_f64());
    }

    pub fn count(&self) -> &AtomicU64 {
        &self.count
    }

    /// How many were at each bound or below, in all, and their sum.
    pub fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut below = 0;
        let buckets = self.bounds.iter().zip(&self.buckets).map(|(bound, count)| {
            below += count.load(Relaxed);
            (*bound, below)
        });
        let buckets = buckets.collect();
        (buckets, self.count.load(Relaxed), self.sum.load(Relaxed) as f64 / 1e6)
    }
}
