//! Cache: the objects of one resource as views, kept current by a watch, with word to whoever reacts to a change.
//!
//! Readers get shared views; nothing is copied for them. Until it has synced once, no plan may run on it. What is there
//! and cannot be read is *hidden*: it stays as it was last seen, if it was, and its absence means nothing.

use crate::Client;
use crate::feed::{Fed, feed, view};
use crate::index::{Labels, Selects, Values};
use skiff_api::follow::{self, Follower, Health, Input, Start, Subscribers};
use skiff_api::selector::Selector;
use skiff_api::view::{Key, Meta, View};
use skiff_api::wire::Stored;
use skiff_base::{RwLock, Time, World};
use std::collections::BTreeSet;
use std::sync::{Arc, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// A change of one object of a cache.
pub type Change<V> = follow::Change<Arc<Key>, Arc<V>>;
/// One subscriber's queue of changes of a cache.
pub type Subscription<V> = follow::Subscription<Arc<Key>, Arc<V>>;

/// The objects of one resource.
pub struct Cache<V> {
    state: RwLock<State<V>>,
    subscribers: Subscribers<Arc<Key>, Arc<V>>,
    /// The revision up to which every event was taken; 0 until the first sync.
    progress: watch::Sender<u64>,
    /// Counts how often something was hidden no more.
    mended: watch::Sender<u64>,
    doubt: Notify,
}

struct State<V> {
    follower: Follower<Arc<Key>, Arc<V>>,
    values: Values,
    selects: Selects,
    /// Made when somebody first selects by labels.
    labels: Option<Labels>,
}

impl<V: View> Default for Cache<V> {
    fn default() -> Cache<V> {
        Cache {
            state: RwLock::new(State {
                follower: Follower::default(),
                values: Values::default(),
                selects: Selects::default(),
                labels: None,
            }),
            subscribers: Subscribers::default(),
            progress: watch::Sender::new(0),
            mended: watch::Sender::new(0),
            doubt: Notify::new(),
        }
    }
}

impl<V: View> Cache<V> {
    pub fn get(&self, key: &Key) -> Option<Arc<V>> {
        self.read().follower.get(key).cloned()
    }

    /// All objects, or those of one namespace, in the order of their keys.
    pub fn list(&self, namespace: &str) -> Vec<Arc<V>> {
        let state = self.read();
        if namespace.is_empty() {
            return state.follower.iter().map(|(_, object)| object.clone()).collect();
        }
        let from = state.follower.from(&Key::new(namespace, ""));
        let within = from.take_while(|(key, _)| key.namespace == namespace);
        within.map(|(_, object)| object.clone()).collect()
    }

    /// The objects that named this value for this index.
    pub fn find(&self, index: &'static str, value: &str) -> Vec<Arc<V>> {
        let state = self.read();
        state.values.find(index, value).filter_map(|key| state.follower.get(key)).cloned().collect()
    }

    /// The objects of a namespace that the selector matches, in the order of their keys.
    pub fn select(&self, namespace: &str, selector: &Selector) -> Vec<Arc<V>> {
        if self.read().labels.is_none() {
            self.state.write().index_labels();
        }
        let state = self.read();
        let may = state.labels.as_ref().and_then(|it| it.may_match(namespace, selector));
        let may: Vec<Arc<V>> = match may {
            Some(keys) => keys.iter().filter_map(|key| state.follower.get(key).cloned()).collect(),
            None => {
                drop(state);
                self.list(namespace)
            }
        };
        let matches = |object: &Arc<V>| {
            let labels = &object.meta().labels;
            selector.matches(|name| labels.get(name).map(String::as_str))
        };
        may.into_iter().filter(matches).collect()
    }

    /// The objects of its namespace whose selector matches the labels of this one.
    pub fn selecting(&self, selected: &Meta) -> Vec<Arc<V>> {
        let state = self.read();
        let keys = state.selects.selecting(&selected.namespace, &selected.labels);
        keys.iter().filter_map(|key| state.follower.get(key).cloned()).collect()
    }

    /// Whether this object is there and cannot be read.
    pub fn hides(&self, key: &Key) -> bool {
        self.read().follower.is_aside(key)
    }

    /// Whether anything is there that cannot be read.
    pub fn hides_some(&self) -> bool {
        self.read().follower.health().aside > 0
    }

    /// Those in this namespace (or without one) that are there and cannot be read. While there are any, nobody may make
    /// or delete anything because another object of this namespace is not here.
    pub fn hidden_in(&self, namespace: &str) -> BTreeSet<Key> {
        let state = self.read();
        let from = state.follower.aside_from(&Key::new(namespace, ""));
        from.take_while(|key| key.namespace == namespace).map(|key| Key::clone(key)).collect()
    }

    /// Changes whenever some of what was hidden is hidden no more.
    pub fn mended(&self) -> watch::Receiver<u64> {
        self.mended.subscribe()
    }

    /// Hears of every change from now on, and first of every object that is here already.
    pub fn subscribe(&self) -> Subscription<V> {
        self.subscribers.subscribe(|| {
            let state = self.read();
            let all = state.follower.iter();
            let new = |(key, object): (&Arc<Key>, &Arc<V>)| Change {
                key: key.clone(),
                old: None,
                new: Some(object.clone()),
            };
            all.map(new).collect()
        })
    }

    /// Waits until everything up to `revision` has been seen (at least the first sync). What was seen then waits in the
    /// queues of all subscribers.
    pub async fn caught_up(&self, revision: u64) {
        let mut progress = self.progress.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = progress.wait_for(|seen| *seen >= revision.max(1)).await;
    }

    /// Has the whole state read anew: what is known here contradicts what somebody else knows.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    pub fn health(&self) -> Health {
        self.read().follower.health()
    }

    /// Follows the resource until the task is ended.
    pub async fn follow(self: Arc<Self>, client: Client, world: World, query: String) {
        match feed(&*self, &client, &world, &V::RESOURCE.path("", "", ""), &query).await {}
    }

    fn read(&self) -> RwLockReadGuard<'_, State<V>> {
        self.state.read()
    }
}

impl<V: View> Fed for Cache<V> {
    const READER: &'static str = "cache";
    type Object = Arc<V>;

    fn read(&self, stored: &Stored) -> Result<(Key, Arc<V>), String> {
        view(stored).map(|(key, object)| (key, Arc::new(object)))
    }

    fn delay(&self) -> Duration {
        Cache::read(self).follower.delay()
    }

    fn start(&self, now: Time) -> Start {
        self.state.write().follower.start(now)
    }

    fn take(&self, input: Input<Arc<Key>, Arc<V>>, now: Time) {
        let mut telling = self.subscribers.telling();
        let mut state = self.state.write();
        let out = state.follower.take(input, now);
        out.changes.iter().for_each(|change| state.index(change));
        let revision = state.follower.revision();
        drop(state);
        out.changes.iter().for_each(|change| telling.tell(change));
        drop(telling);
        self.progress.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
        if out.mended {
            self.mended.send_modify(|count| *count += 1);
        }
    }

    async fn doubted(&self) -> &'static str {
        self.doubt.notified().await;
        "what it brought contradicts what was written"
    }
}

impl<V: View> State<V> {
    fn index(&mut self, change: &Change<V>) {
        let key = &change.key;
        if let Some(old) = &change.old {
            old.index(&mut |name, value| self.values.remove(name, value, key));
        }
        if let Some(new) = &change.new {
            new.index(&mut |name, value| self.values.add(name, value, key));
        }
        self.selects.set(key, change.new.as_ref().and_then(|new| new.selector()));
        let Some(labels) = &mut self.labels else { return };
        let old = change.old.as_ref().map(|old| &old.meta().labels);
        let new = change.new.as_ref().map(|new| &new.meta().labels);
        if old != new {
            old.into_iter().for_each(|old| labels.remove(old, key));
            new.into_iter().for_each(|new| labels.add(new, key));
        }
    }

    fn index_labels(&mut self) {
        if self.labels.is_none() {
            let mut labels = Labels::default();
            self.follower.iter().for_each(|(key, it)| labels.add(&it.meta().labels, key));
            self.labels = Some(labels);
        }
    }
}

#[cfg(test)]
mod tests;
