//! Limits on what runs at once, so that load costs bounded memory: reads and writes that end soon have separate
//! counts; long-running requests (watch, exec, log -f) have one of their own. Full means 429 with Retry-After.

use crate::url::Resource;
use skiff_api::Status;
use skiff_api::kind::Verb;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reads at once; upstream's `--max-requests-inflight`.
const READS_MOST: usize = 400;
/// Writes at once; upstream's `--max-mutating-requests-inflight` is 200, group commit likes company.
const WRITES_MOST: usize = 400;
/// Long-running requests at once: a thousand nodes or watchers, with room.
const LONG_MOST: usize = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Short,
    Write,
    Long,
}

/// Which limit a request counts against.
pub fn sort_of(verb: Verb, resource: &Resource) -> Sort {
    let long = ["exec", "attach", "log", "portforward", "proxy"];
    match verb {
        Verb::Watch => Sort::Long,
        _ if long.contains(&&*resource.subresource) => Sort::Long,
        Verb::Get | Verb::List => Sort::Short,
        _ => Sort::Write,
    }
}

/// The counters; their values are metrics.
#[derive(Debug, Clone, Default)]
pub struct Limits(Arc<[AtomicUsize; 3]>);

/// A place that a request holds while it runs.
#[derive(Debug)]
pub struct Place(Arc<[AtomicUsize; 3]>, usize);

impl Drop for Place {
    fn drop(&mut self) {
        self.0[self.1].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limits {
    pub fn enter(&self, sort: Sort) -> Result<Place, Status> {
        let (index, most) = match sort {
            Sort::Short => (0, READS_MOST),
            Sort::Write => (1, WRITES_MOST),
            Sort::Long => (2, LONG_MOST),
        };
        let place = Place(self.0.clone(), index);
        if self.0[index].fetch_add(1, Ordering::Relaxed) >= most {
            let message =
                "the server has received too many requests and has asked us to try again later";
            return Err(Status::too_many_requests(message, 1));
        }
        Ok(place)
    }

    /// How many reads, writes and long-running requests run now.
    pub fn running(&self) -> [usize; 3] {
        [0, 1, 2].map(|i| self.0[i].load(Ordering::Relaxed))
    }
}
