//! Figures about the store, for metrics: plain numbers, taken without stopping anything.

use std::time::Duration;

/// A snapshot of the store's figures.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Keys that exist.
    pub records: usize,
    /// Bytes of the newest bodies, in memory.
    pub record_bytes: usize,
    /// Events held in memory for watches, and their bytes.
    pub window_events: usize,
    pub window_bytes: usize,
    /// Watches that exist, events that wait in their queues, and how often one fell behind its
    /// queue (and went on from the window or the log).
    pub watches: usize,
    pub watch_queued: usize,
    pub watch_behind: u64,
    /// Writes and bytes that wait for the log.
    pub commit_queued: usize,
    pub commit_queued_bytes: usize,
    /// From taking a group off the queue to having it durable, in microseconds.
    pub commit_us: Histogram,
    /// Writes per group, that is per fsync.
    pub group_writes: Histogram,
    /// Bytes of the log's files.
    pub disk_bytes: u64,
    /// No more creates are taken: the disk is full.
    pub full: bool,
}

/// Counts in buckets of powers of two: bucket i counts values below 2^i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    pub buckets: [u64; Histogram::BUCKETS],
    pub count: u64,
    pub sum: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [0; Histogram::BUCKETS], count: 0, sum: 0 }
    }
}

impl Histogram {
    /// Up to 2^23 us, which is 8 s; what is above counts in `count` and `sum` only.
    pub const BUCKETS: usize = 24;

    pub(crate) fn add(&mut self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        if let Some(slot) = self.buckets.get_mut(bucket) {
            *slot += 1;
        }
        self.count += 1;
        self.sum += value;
    }

    pub(crate) fn add_duration(&mut self, value: Duration) {
        self.add(u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    }
}
