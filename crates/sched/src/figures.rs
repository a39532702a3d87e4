//! What the scheduler counts, for /metrics: by upstream's names where it has them.

use crate::queue::Lengths;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Decisions at once that are being written. A few fill the processors and share a commit; more would take the places
/// of other writers.
pub const WRITING_MOST: usize = 64;

/// Cheap to clone; it outlives the scheduler that counts here.
#[derive(Clone, Default)]
pub struct Figures(Arc<Counters>);

#[derive(Default)]
struct Counters {
    pending: [AtomicUsize; 3],
    writing: AtomicUsize,
    attempts: [AtomicU64; 3],
}

/// How a decision ended.
#[derive(Debug, Clone, Copy)]
pub enum Attempt {
    Scheduled,
    Unschedulable,
    Error,
}

impl Figures {
    pub fn count(&self, attempt: Attempt) {
        self.0.attempts[attempt as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What waits now, and how many decisions are being written.
    pub fn set(&self, lengths: Lengths, writing: usize) {
        for (gauge, length) in self.0.pending.iter().zip(lengths) {
            gauge.store(length, Ordering::Relaxed);
        }
        self.0.writing.store(writing, Ordering::Relaxed);
    }

    /// The Prometheus text format.
    pub fn text(&self) -> String {
        let mut text = head("scheduler_pending_pods", "gauge", "[STABLE] Pods without a node.");
        for (queue, gauge) in ["active", "backoff", "unschedulable"].iter().zip(&self.0.pending) {
            let value = gauge.load(Ordering::Relaxed);
            text += &format!("scheduler_pending_pods{{queue=\"{queue}\"}} {value}\n");
        }
        let name = "scheduler_schedule_attempts_total";
        text += &head(name, "counter", "[STABLE] Decisions about pods.");
        let results = ["scheduled", "unschedulable", "error"];
        for (result, counter) in results.iter().zip(&self.0.attempts) {
            let value = counter.load(Ordering::Relaxed);
            let profile = crate::NAME;
            text += &format!("{name}{{profile=\"{profile}\",result=\"{result}\"}} {value}\n");
        }
        let writing = self.0.writing.load(Ordering::Relaxed);
        text += &head("skiff_scheduler_writing", "gauge", "Decisions that are being written.");
        text += &format!("skiff_scheduler_writing {writing}\n");
        text += &head("skiff_scheduler_writing_limit", "gauge", "How many of them may be.");
        text + &format!("skiff_scheduler_writing_limit {WRITING_MOST}\n")
    }
}

fn head(name: &str, kind: &str, help: &str) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
}
