//! Who hears of changes: each subscriber has a queue of its own, in which an object stands once. So a slow one costs as
//! much as there are objects and not as there are changes, holds up nobody, and is never called: it comes and takes.

use super::Change;
use skiff_base::Lock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, Weak};
use tokio::sync::Notify;

/// Those who hear of the changes of one follower.
pub struct Subscribers<K, T>(Lock<Vec<Weak<Queue<K, T>>>>);

/// One subscriber's queue of changes. Dropping it ends it.
pub struct Subscription<K, T>(Arc<Queue<K, T>>);

struct Queue<K, T> {
    waiting: Lock<Waiting<K, T>>,
    added: Notify,
}

/// Changes by key, and the keys in the order in which their first change came.
struct Waiting<K, T> {
    changes: BTreeMap<K, (Option<T>, Option<T>)>,
    order: VecDeque<K>,
}

/// Held while a follower is fed and its changes are told, so that whoever subscribes meanwhile misses none and hears
/// none twice.
pub struct Telling<'s, K, T>(MutexGuard<'s, Vec<Weak<Queue<K, T>>>>);

impl<K, T> Default for Subscribers<K, T> {
    fn default() -> Subscribers<K, T> {
        Subscribers(Lock::default())
    }
}

impl<K: Ord + Clone, T: Clone> Subscribers<K, T> {
    /// Begins to hear, first of what `known` gives as (`None`, object): all that is there already.
    pub fn subscribe(&self, known: impl FnOnce() -> Vec<Change<K, T>>) -> Subscription<K, T> {
        let waiting = Waiting { changes: BTreeMap::new(), order: VecDeque::new() };
        let queue = Arc::new(Queue { waiting: Lock::new(waiting), added: Notify::new() });
        let mut all = self.lock();
        known().into_iter().for_each(|change| queue.add(change));
        all.retain(|queue| queue.strong_count() > 0);
        all.push(Arc::downgrade(&queue));
        Subscription(queue)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().iter().filter(|queue| queue.strong_count() > 0).count()
    }

    /// To be held from before the follower is fed until all was told.
    pub fn telling(&self) -> Telling<'_, K, T> {
        Telling(self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Queue<K, T>>>> {
        self.0.lock()
    }
}

impl<K: Ord + Clone, T: Clone> Telling<'_, K, T> {
    pub fn tell(&mut self, change: &Change<K, T>) {
        self.0.iter().filter_map(Weak::upgrade).for_each(|queue| queue.add(change.clone()));
    }
}

impl<K: Ord + Clone, T: Clone> Queue<K, T> {
    fn add(&self, change: Change<K, T>) {
        let mut waiting = self.lock();
        let Change { key, old, new } = change;
        match waiting.changes.get_mut(&key) {
            // How it was when this subscriber last heard of it stays.
            Some(known) => known.1 = new,
            None => {
                waiting.order.push_back(key.clone());
                waiting.changes.insert(key, (old, new));
            }
        }
        drop(waiting);
        self.added.notify_one();
    }

    fn pop(&self) -> Option<Change<K, T>> {
        let mut waiting = self.lock();
        loop {
            let key = waiting.order.pop_front()?;
            let (old, new) = waiting.changes.remove(&key)?;
            // What came and went before anybody heard of it never was.
            if old.is_some() || new.is_some() {
                return Some(Change { key, old, new });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<K, T>> {
        self.waiting.lock()
    }
}

impl<K: Ord + Clone, T: Clone> Subscription<K, T> {
    /// The next change, if one waits. Changes of one object that came together are one: from how it was when this
    /// subscriber last heard of it to how it is.
    pub fn take(&mut self) -> Option<Change<K, T>> {
        self.0.pop()
    }

    /// Waits for the next change. Nothing is lost when this is dropped before it is done.
    pub async fn next(&mut self) -> Change<K, T> {
        loop {
            if let Some(change) = self.0.pop() {
                return change;
            }
            self.0.added.notified().await;
        }
    }

    /// Waits until a change can be taken.
    pub async fn waiting(&mut self) {
        while self.is_empty() {
            self.0.added.notified().await;
        }
    }

    /// How many objects wait here.
    pub fn len(&self) -> usize {
        self.0.lock().changes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
