//! Pods that wait for a node: the highest priority first, then the oldest. One that found no node
//! waits for a change in the cluster, and a while after its last try.

use skiff_api::view::Key;
use skiff_base::Backoff;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Between tries for one pod (upstream's podInitialBackoffSeconds and podMaxBackoffSeconds).
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(10) };

/// Priority (the highest first), then the order of arrival.
type Rank = (std::cmp::Reverse<i32>, u64);

#[derive(Default)]
pub struct Queue {
    ready: BTreeMap<Rank, Key>,
    entries: HashMap<Key, Entry>,
    arrivals: u64,
}

struct Entry {
    rank: Rank,
    tries: u32,
    /// Not before this time; None while it is ready.
    after: Option<Duration>,
    /// Something has changed since the last try.
    stirred: bool,
}

impl Queue {
    /// A pod that has no node; one that waits already is stirred.
    pub fn add(&mut self, key: Key, priority: i32) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.stirred = true;
            return;
        }
        self.arrivals += 1;
        let rank = (std::cmp::Reverse(priority), self.arrivals);
        self.ready.insert(rank, key.clone());
        self.entries.insert(key, Entry { rank, tries: 0, after: None, stirred: false });
    }

    pub fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.ready.remove(&entry.rank);
        }
    }

    /// The cluster has changed: every pod that waits may try again.
    pub fn stir(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.stirred = true);
    }

    /// The next pod that may be tried; else when one may.
    pub fn take(&mut self, now: Duration) -> Result<Key, Option<Duration>> {
        let due: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.stirred && entry.after.is_some_and(|after| after <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.after = None;
                self.ready.insert(entry.rank, key);
            }
        }
        if let Some((_, key)) = self.ready.pop_first() {
            return Ok(key);
        }
        Err(self.entries.values().filter(|e| e.stirred).filter_map(|e| e.after).min())
    }

    /// The pod found no node.
    pub fn failed(&mut self, key: &Key, now: Duration) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.tries += 1;
            entry.stirred = false;
            entry.after = Some(now + RETRY.delay(entry.tries));
        }
    }

    /// The bind failed for a reason that may pass: it is tried again without any change.
    pub fn again(&mut self, key: &Key, now: Duration) {
        self.failed(key, now);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.stirred = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_then_age_and_a_wait_after_a_failure() {
        let mut queue = Queue::default();
        let key = |name| Key::new("n", name);
        let at = Duration::from_secs;
        queue.add(key("a"), 0);
        queue.add(key("b"), 5);
        queue.add(key("c"), 0);
        assert_eq!(queue.take(at(0)), Ok(key("b")));
        assert_eq!(queue.take(at(0)), Ok(key("a")));
        queue.failed(&key("a"), at(0));
        assert_eq!(queue.take(at(0)), Ok(key("c")));
        queue.remove(&key("c"));
        assert_eq!(queue.take(at(9)), Err(None), "nothing has changed");
        queue.stir();
        assert_eq!(queue.take(at(0)), Err(Some(at(1))));
        assert_eq!(queue.take(at(1)), Ok(key("a")));
    }
}
