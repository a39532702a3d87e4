//! The queue of one loop: keys that wait, keys that are worked on, and keys that are due later. A key stands
//! in it once.

use skiff_api::view::Key;
use skiff_base::Lock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Keys with their states. Bounded by the number of objects that there are.
#[derive(Debug, Default)]
pub struct Queue {
    state: Lock<State>,
    changed: Notify,
}

/// A key that is worked on. Dropping it gives it back, whatever became of the work.
#[derive(Debug)]
pub struct Taken {
    queue: Arc<Queue>,
    key: Key,
}

impl std::ops::Deref for Taken {
    type Target = Key;

    fn deref(&self) -> &Key {
        &self.key
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.queue.done(&self.key);
    }
}

/// How many keys stand in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    pub ready: usize,
    pub working: usize,
    pub later: usize,
    pub withheld: usize,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Key>,
    waiting: BTreeSet<Key>,
    working: BTreeSet<Key>,
    /// Keys that came again while they were worked on.
    again: BTreeSet<Key>,
    later: BTreeMap<(Duration, Key), ()>,
    due: BTreeMap<Key, Duration>,
    /// Keys of which something is held back until all can be read.
    withheld: BTreeSet<Key>,
}

impl Queue {
    /// Asks for a pass over this key, soon.
    pub fn add(&self, key: Key) {
        let mut state = self.lock();
        state.add(key);
        drop(state);
        self.changed.notify_one();
    }

    /// Asks for a pass at a time on the world's clock; an earlier one that is set already stays.
    pub fn add_at(&self, key: Key, at: Duration) {
        let mut state = self.lock();
        if let Some(before) = state.due.get(&key).copied() {
            if before <= at {
                return;
            }
            state.later.remove(&(before, key.clone()));
        }
        state.due.insert(key.clone(), at);
        state.later.insert((at, key), ());
        drop(state);
        self.changed.notify_one();
    }

    /// Asks for a pass over this key when `release` is called.
    pub fn withhold(&self, key: Key) {
        self.lock().withheld.insert(key);
    }

    /// Asks for a pass over what was withheld.
    pub fn release(&self) {
        let mut state = self.lock();
        for key in std::mem::take(&mut state.withheld) {
            state.add(key);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The next key that is due, which is then worked on until it is dropped; else when the next one will be.
    pub fn take(self: &Arc<Self>, now: Duration) -> Result<Taken, Option<Duration>> {
        let mut state = self.lock();
        while let Some(((at, key), ())) =
            state.later.first_key_value().map(|(k, ())| (k.clone(), ()))
        {
            if at > now {
                break;
            }
            state.later.pop_first();
            state.due.remove(&key);
            state.add(key);
        }
        match state.ready.pop_front() {
            Some(key) => {
                state.waiting.remove(&key);
                state.working.insert(key.clone());
                Ok(Taken { queue: self.clone(), key })
            }
            None => Err(state.later.first_key_value().map(|((at, _), ())| *at)),
        }
    }

    pub fn depth(&self) -> Depth {
        let state = self.lock();
        Depth {
            ready: state.ready.len(),
            working: state.working.len(),
            later: state.later.len(),
            withheld: state.withheld.len(),
        }
    }

    /// The pass over this key has ended.
    fn done(&self, key: &Key) {
        let mut state = self.lock();
        state.working.remove(key);
        if state.again.remove(key) {
            state.add(key.clone());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for the next add or done.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn add(&mut self, key: Key) {
        if self.working.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_in_the_queue_once() {
        let queue = Arc::new(Queue::default());
        let (a, b, at) = (Key::new("n", "a"), Key::new("n", "b"), Duration::from_secs);
        let take = |now| queue.take(at(now)).map_err(|next| next.map(|next| next.as_secs()));
        queue.add(a.clone());
        queue.add(a.clone());
        queue.add_at(b.clone(), at(5));
        queue.add_at(b.clone(), at(9));
        let taken = take(0).expect("a is there");
        queue.add(a.clone());
        assert_eq!(take(0).err(), Some(Some(5)), "a is worked on, b is not due");
        drop(taken);
        assert_eq!(take(0).map(|it| it.clone()), Ok(a.clone()), "it came again meanwhile");
        assert_eq!(take(5).map(|it| it.clone()), Ok(b.clone()));
        assert_eq!(take(9).err(), Some(None));
        queue.withhold(a.clone());
        assert_eq!(take(9).err(), Some(None));
        assert_eq!(queue.depth(), Depth { withheld: 1, ..Depth::default() });
        queue.release();
        assert_eq!(take(9).map(|it| it.clone()), Ok(a.clone()));
        queue.release();
        assert_eq!(take(9).err(), Some(None), "it was given back once");
    }
}
