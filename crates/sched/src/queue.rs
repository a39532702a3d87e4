//! Pods without a node: the highest priority first, then the oldest. One that was refused waits for an event that may
//! help it against those who refused it, and at least a while after its last try.

use crate::mind::guarded;
use crate::plugins::{Event, Refusers};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;
use skiff_api::view::Key;
use skiff_base::Backoff;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Between tries for one pod (upstream's podInitialBackoffSeconds and podMaxBackoffSeconds).
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(10) };
/// A pod that no event has helped for so long is tried again all the same (upstream's
/// podMaxInUnschedulablePodsDuration).
const WAIT_MOST: Duration = Duration::from_secs(300);

/// Priority (the highest first), then the order of arrival.
type Rank = (std::cmp::Reverse<i32>, u64);

#[derive(Default)]
pub struct Queue {
    entries: HashMap<Key, Entry>,
    arrivals: u64,
    ready: BTreeMap<Rank, Key>,
    /// When pods that are not ready become so.
    timers: BTreeSet<(Duration, Key)>,
    /// By who refused them.
    waiting: BTreeMap<Refusers, BTreeSet<Key>>,
}

struct Entry {
    pod: Arc<PodInfo>,
    rank: Rank,
    tries: u32,
    /// Not before this time.
    retry_at: Duration,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Ready,
    /// A decision about it is under way.
    Taken,
    Later(Duration),
    /// For an event, or for the time.
    Waiting(Duration, Refusers),
}

/// How many pods are ready, wait for their next try, and wait for an event.
pub type Lengths = [usize; 3];

impl Queue {
    /// A pod that has no node, or another version of it; what its owner changed may help it.
    pub fn add(&mut self, pod: Arc<PodInfo>, now: Duration) {
        let key = pod.key.clone();
        if let Some(entry) = self.entries.get_mut(&key).filter(|it| it.pod.uid() == pod.uid()) {
            let (old, new) = (&entry.pod.pod, &pod.pod);
            let same = old.spec == new.spec && old.metadata.labels == new.metadata.labels;
            entry.pod = pod;
            if !same {
                self.wake(&key, now);
            }
            return;
        }
        self.remove(&key);
        self.arrivals += 1;
        let rank = (std::cmp::Reverse(pod.priority()), self.arrivals);
        let (tries, retry_at, place) = (0, Duration::ZERO, Place::Taken);
        self.entries.insert(key.clone(), Entry { pod, rank, tries, retry_at, place });
        self.put(&key, Place::Ready);
    }

    pub fn remove(&mut self, key: &Key) {
        self.put(key, Place::Taken);
        self.entries.remove(key);
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<PodInfo>> {
        self.entries.get(key).map(|entry| &entry.pod)
    }

    /// Wakes the pods that the event may help.
    pub fn tell(&mut self, event: &Event, snapshot: &Snapshot, now: Duration) {
        let kind = event.kind();
        let mut helped = Vec::new();
        for (by, keys) in self.waiting.iter().filter(|(by, _)| by.listen(kind)) {
            // Whether a plugin can say so must not decide what becomes of the pod that brought the event.
            let asked = |key: &&Key| by.helped(&self.entries[*key].pod, event, snapshot);
            let helps = |key: &&Key| guarded(key, || asked(key)).unwrap_or(true);
            helped.extend(keys.iter().filter(helps).cloned());
        }
        helped.iter().for_each(|key| self.wake(key, now));
    }

    /// Whether a pod may be tried.
    pub fn is_ready(&mut self, now: Duration) -> bool {
        while let Some((at, key)) = self.timers.first().cloned()
            && at <= now
        {
            self.put(&key, Place::Ready);
        }
        !self.ready.is_empty()
    }

    /// When the next pod becomes ready by itself.
    pub fn next(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next pod that may be tried. Then it is `refused`, or tried `again`, or removed.
    pub fn take(&mut self, now: Duration) -> Option<Arc<PodInfo>> {
        self.is_ready(now);
        let key = self.ready.values().next()?.clone();
        self.put(&key, Place::Taken);
        self.get(&key).cloned()
    }

    /// The pod found no node.
    pub fn refused(&mut self, key: &Key, by: Refusers, now: Duration) {
        self.tried(key, now);
        self.put(key, Place::Waiting(now + WAIT_MOST, by));
    }

    /// It failed for a reason that may pass by itself.
    pub fn again(&mut self, key: &Key, now: Duration) {
        self.tried(key, now);
        self.wake(key, now);
    }

    pub fn lengths(&self) -> Lengths {
        let waiting = self.waiting.values().map(BTreeSet::len).sum();
        [self.ready.len(), self.timers.len() - waiting, waiting]
    }

    fn tried(&mut self, key: &Key, now: Duration) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.tries += 1;
        entry.retry_at = now + RETRY.delay(entry.tries);
        self.put(key, Place::Waiting(now + WAIT_MOST, Refusers::default()));
    }

    /// A pod that waits for an event need not wait any more.
    fn wake(&mut self, key: &Key, now: Duration) {
        let Some(entry) = self.entries.get(key) else { return };
        match entry.place {
            Place::Waiting(..) if entry.retry_at > now => {
                self.put(key, Place::Later(entry.retry_at));
            }
            Place::Waiting(..) => self.put(key, Place::Ready),
            _ => {}
        }
    }

    fn put(&mut self, key: &Key, place: Place) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match std::mem::replace(&mut entry.place, place) {
            Place::Ready => _ = self.ready.remove(&entry.rank),
            Place::Taken => {}
            Place::Later(at) => _ = self.timers.remove(&(at, key.clone())),
            Place::Waiting(at, by) => {
                self.timers.remove(&(at, key.clone()));
                if let Some(keys) = self.waiting.get_mut(&by) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.waiting.remove(&by);
                    }
                }
            }
        }
        match place {
            Place::Ready => _ = self.ready.insert(entry.rank, key.clone()),
            Place::Taken => {}
            Place::Later(at) => _ = self.timers.insert((at, key.clone())),
            Place::Waiting(at, by) => {
                self.timers.insert((at, key.clone()));
                self.waiting.entry(by).or_default().insert(key.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_kinds::views::Pod;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
        let mut pod = Pod::default();
        pod.metadata.name = name.into();
        pod.spec.priority = Some(priority);
        Arc::new(PodInfo::new(Arc::new(pod)))
    }

    fn taken(queue: &mut Queue, now: Duration) -> Option<String> {
        queue.take(now).map(|pod| pod.key.name.clone())
    }

    /// Refused for want of room (the sixth plugin).
    fn by_resources() -> Refusers {
        let mut by = Refusers::default();
        by.add(5);
        assert_eq!(format!("{by:?}"), "[\"NodeResourcesFit\"]");
        by
    }

    #[test]
    fn priority_then_age_and_a_wait_after_a_failure() {
        let (mut queue, snapshot) = (Queue::default(), Snapshot::default());
        for (name, priority) in [("a", 0), ("b", 5), ("c", 0)] {
            queue.add(pod(name, priority), AT(0));
        }
        assert_eq!(taken(&mut queue, AT(0)).as_deref(), Some("b"));
        queue.remove(&Key::new("", "b"));
        assert_eq!(taken(&mut queue, AT(0)).as_deref(), Some("a"));
        queue.refused(&Key::new("", "a"), by_resources(), AT(0));
        assert_eq!(taken(&mut queue, AT(0)).as_deref(), Some("c"));
        queue.remove(&Key::new("", "c"));
        assert_eq!(taken(&mut queue, AT(9)), None, "nothing has changed");
        queue.tell(&Event::Came(&pod("x", 0)), &snapshot, AT(0));
        assert_eq!(queue.lengths(), [0, 0, 1], "no help against a want of room");
        queue.tell(&Event::Left(&pod("x", 0)), &snapshot, AT(0));
        assert_eq!((queue.lengths(), queue.next()), ([0, 1, 0], Some(AT(1))));
        assert_eq!(taken(&mut queue, AT(0)), None);
        assert_eq!(taken(&mut queue, AT(1)).as_deref(), Some("a"));
    }

    #[test]
    fn who_waits_too_long_is_tried_and_what_its_owner_changes_wakes_it() {
        let mut queue = Queue::default();
        queue.add(pod("a", 0), AT(0));
        assert!(taken(&mut queue, AT(0)).is_some());
        queue.refused(&Key::new("", "a"), by_resources(), AT(0));
        assert!(!queue.is_ready(AT(299)));
        assert!(taken(&mut queue, AT(300)).is_some());
        queue.refused(&Key::new("", "a"), by_resources(), AT(300));
        queue.add(pod("a", 0), AT(310));
        assert!(!queue.is_ready(AT(310)), "its status is no reason");
        let mut changed = pod("a", 0).pod.as_ref().clone();
        changed.metadata.labels.insert("b".into(), "c".into());
        queue.add(Arc::new(PodInfo::new(Arc::new(changed))), AT(310));
        assert!(queue.is_ready(AT(310)));
    }
}
