//! Cache: the objects of one resource as views, kept current by a watch, with word to whoever reacts to a change.
//!
//! It starts with the whole state (WatchList), follows every event, and begins anew when its watch ends. Readers get
//! shared views; nothing is copied for them. Until it has synced once, no plan may run on it.

use crate::{Client, decode};
use futures_util::StreamExt;
use http::Method;
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_api::wire::{Body, Frame, Payload};
use skiff_base::{Backoff, World, fault};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// Between two tries to begin a watch.
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(10) };

/// A change of one object, as a reaction sees it.
pub struct Change<'a, V> {
    pub old: Option<&'a Arc<V>>,
    pub new: Option<&'a Arc<V>>,
}

type Reaction<V> = Box<dyn Fn(&Change<V>) + Send + Sync>;
type Whole = Box<dyn Fn() + Send + Sync>;
type Index = BTreeMap<(&'static str, Box<str>), BTreeSet<Key>>;

/// The objects of one resource.
pub struct Cache<V> {
    state: RwLock<State<V>>,
    reactions: Mutex<Vec<Reaction<V>>>,
    /// Who waits for what is hidden to be readable, or gone.
    whole: Mutex<Vec<Whole>>,
    /// The revision up to which every event was taken; 0 until the first sync.
    progress: watch::Sender<u64>,
}

struct State<V> {
    objects: BTreeMap<Key, Arc<V>>,
    index: Index,
    /// What is there and cannot be read: its absence from `objects` means nothing.
    hidden: BTreeSet<Key>,
}

impl<V: View> Default for Cache<V> {
    fn default() -> Cache<V> {
        Cache {
            state: RwLock::new(State {
                objects: BTreeMap::new(),
                index: BTreeMap::new(),
                hidden: BTreeSet::new(),
            }),
            reactions: Mutex::new(Vec::new()),
            whole: Mutex::new(Vec::new()),
            progress: watch::Sender::new(0),
        }
    }
}

impl<V: View> Cache<V> {
    pub fn get(&self, key: &Key) -> Option<Arc<V>> {
        self.read().objects.get(key).cloned()
    }

    /// All objects, or those of one namespace, in the order of their keys.
    pub fn list(&self, namespace: &str) -> Vec<Arc<V>> {
        let state = self.read();
        if namespace.is_empty() {
            return state.objects.values().cloned().collect();
        }
        let from = Key::new(namespace, "");
        let within = |(key, _): &(&Key, &Arc<V>)| key.namespace == namespace;
        state.objects.range(from..).take_while(within).map(|(_, object)| object.clone()).collect()
    }

    /// The objects that named this value for this index.
    pub fn find(&self, index: &'static str, value: &str) -> Vec<Arc<V>> {
        let state = self.read();
        let Some(keys) = state.index.get(&(index, value.into())) else { return Vec::new() };
        keys.iter().filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// Whether this object is there and cannot be read.
    pub fn hides(&self, key: &Key) -> bool {
        self.read().hidden.contains(key)
    }

    /// Whether anything is there that cannot be read.
    pub fn hides_some(&self) -> bool {
        !self.read().hidden.is_empty()
    }

    /// Those in this namespace (or without one) that are there and cannot be read. While there are any, nobody may make
    /// or delete anything because another object of this namespace is not here.
    pub fn hidden_in(&self, namespace: &str) -> BTreeSet<Key> {
        let state = self.read();
        if state.hidden.is_empty() {
            return BTreeSet::new();
        }
        let from = state.hidden.range(Key::new(namespace, "")..);
        from.take_while(|key| key.namespace == namespace).cloned().collect()
    }

    /// Calls `reaction` whenever some of what was hidden is hidden no more.
    pub fn on_whole(&self, reaction: impl Fn() + Send + Sync + 'static) {
        self.whole.lock().expect("no holder of this lock panics").push(Box::new(reaction));
    }

    /// Calls `reaction` for every change from now on, and once for every object that is here already. It may look at
    /// this cache: none of its locks that readers need is held meanwhile.
    pub fn on_change(&self, reaction: impl Fn(&Change<V>) + Send + Sync + 'static) {
        let mut reactions = self.reactions.lock().expect("no holder of this lock panics");
        for object in self.list("") {
            reaction(&Change { old: None, new: Some(&object) });
        }
        reactions.push(Box::new(reaction));
    }

    /// Waits until everything up to `revision` has been seen (at least the first sync).
    pub async fn caught_up(&self, revision: u64) {
        let mut progress = self.progress.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = progress.wait_for(|seen| *seen >= revision.max(1)).await;
    }

    /// Follows the resource until the task is ended.
    pub async fn follow(self: Arc<Self>, client: Client, world: World, query: String) {
        let mut failures = 0;
        loop {
            match self.pass(&client, &query).await {
                Ok(()) => failures = 0,
                Err(status) => {
                    failures += 1;
                    tracing::warn!(resource = V::RESOURCE.plural, %status, "a watch ended");
                }
            }
            world.sleep(RETRY.delay(failures)).await;
        }
    }

    /// One watch, from the whole state to its end.
    async fn pass(&self, client: &Client, query: &str) -> Result<(), Status> {
        if fault::fails(&format!("watch/{}", V::RESOURCE.plural)) {
            return Err(Status::internal("the fault that a test asked for"));
        }
        let path = V::RESOURCE.path("", "", "");
        let all = format!(
            "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true{query}"
        );
        let answer = client.send(Method::GET, &path, &all, "", Payload::None).await?;
        let Body::Watch(mut frames) = answer.body else {
            return Err(Status::internal(format!("the answer to {path} is no watch")));
        };
        let mut initial = Some(BTreeSet::new());
        while let Some(frame) = frames.next().await {
            fault::point(&format!("cache/{}", V::RESOURCE.plural));
            match frame {
                Frame::Added(stored) | Frame::Modified(stored) => {
                    let object: V = decode(&stored)?;
                    if let Some(seen) = &mut initial {
                        seen.insert(object.meta().key());
                    }
                    self.put(Arc::new(object));
                    self.advance(initial.is_none(), stored.revision);
                }
                Frame::Deleted(stored) => {
                    let object: V = decode(&stored)?;
                    self.remove(&object.meta().key());
                    self.advance(initial.is_none(), stored.revision);
                }
                Frame::Bookmark { revision, initial_end, .. } => {
                    if let Some(hidden) = initial_end
                        && let Some(seen) = initial.take()
                    {
                        self.keep_only(&seen, hidden);
                    }
                    self.advance(initial.is_none(), revision.max(1));
                }
                Frame::Error(status) => return Err(status),
            }
        }
        Ok(())
    }

    fn advance(&self, synced: bool, revision: u64) {
        if synced {
            self.progress
                .send_if_modified(|seen| std::mem::replace(seen, revision.max(*seen)) < revision);
        }
    }

    fn put(&self, object: Arc<V>) {
        let key = object.meta().key();
        let mut state = self.state.write().expect("no holder of this lock panics");
        let old = state.objects.insert(key.clone(), object.clone());
        if let Some(old) = &old {
            old.index(&mut |name, value| unindex(&mut state.index, name, value, &key));
        }
        object.index(&mut |name, value| {
            state.index.entry((name, value.into())).or_default().insert(key.clone());
        });
        drop(state);
        self.tell(&Change { old: old.as_ref(), new: Some(&object) });
    }

    fn remove(&self, key: &Key) {
        let mut state = self.state.write().expect("no holder of this lock panics");
        let Some(old) = state.objects.remove(key) else { return };
        old.index(&mut |name, value| unindex(&mut state.index, name, value, key));
        drop(state);
        self.tell(&Change { old: Some(&old), new: None });
    }

    /// After a new start: what was not among the initial events is gone, unless it is only hidden: that stays as it was
    /// last seen.
    fn keep_only(&self, seen: &BTreeSet<Key>, hidden: Vec<String>) {
        let key = |place: &String| match place.split_once('/') {
            Some((namespace, name)) => Key::new(namespace, name),
            None => Key::new("", place),
        };
        let hidden: BTreeSet<Key> = hidden.iter().map(key).collect();
        let mut state = self.state.write().expect("no holder of this lock panics");
        let before = std::mem::replace(&mut state.hidden, hidden);
        let (keys, hidden) = (state.objects.keys(), &state.hidden);
        let gone = keys.filter(|k| !seen.contains(*k) && !hidden.contains(*k));
        let (gone, whole): (Vec<Key>, bool) = (gone.cloned().collect(), !before.is_subset(hidden));
        drop(state);
        gone.iter().for_each(|key| self.remove(key));
        if whole {
            let reactions = self.whole.lock().expect("no holder of this lock panics");
            reactions.iter().for_each(|reaction| reaction());
        }
    }

    fn tell(&self, change: &Change<V>) {
        let reactions = self.reactions.lock().expect("no holder of this lock panics");
        reactions.iter().for_each(|reaction| reaction(change));
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State<V>> {
        self.state.read().expect("no holder of this lock panics")
    }
}

fn unindex(index: &mut Index, name: &'static str, value: &str, key: &Key) {
    let place = (name, Box::from(value));
    if let Some(keys) = index.get_mut(&place) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_api::view::{Meta, Resource};

    #[derive(serde::Deserialize)]
    struct ConfigMap {
        metadata: Meta,
    }

    impl View for ConfigMap {
        const RESOURCE: Resource = Resource::core("configmaps", "ConfigMap");
        fn meta(&self) -> &Meta {
            &self.metadata
        }
    }

    /// A reader that waits behind a writer who waits for the same thread's first reading would wait for good.
    #[test]
    fn a_reaction_may_look_at_its_own_cache() {
        let cache = Arc::new(Cache::<ConfigMap>::default());
        let map = |name: &str| {
            let meta = serde_json::json!({"metadata": {"name": name, "namespace": "a"}});
            Arc::new(serde_json::from_value(meta).expect("a view"))
        };
        cache.put(map("before"));
        let (own, seen) = (cache.clone(), Arc::new(Mutex::new(Vec::new())));
        let said = seen.clone();
        cache.on_change(move |change| {
            let written = own.state.try_write().is_ok();
            let name = change.new.map(|map| map.metadata.name.clone());
            said.lock().expect("unpoisoned").push((name, written));
        });
        cache.put(map("after"));
        cache.remove(&Key::new("a", "after"));
        let names = [Some("before".into()), Some("after".into()), None];
        assert_eq!(*seen.lock().expect("unpoisoned"), names.map(|name| (name, true)));
    }

    #[test]
    fn what_is_hidden_stays_as_it_was_and_is_told_of_when_it_is_hidden_no_more() {
        let cache = Cache::<ConfigMap>::default();
        for name in ["gone", "hidden", "seen"] {
            let meta = serde_json::json!({"metadata": {"name": name, "namespace": "a"}});
            cache.put(Arc::new(serde_json::from_value(meta).expect("a view")));
        }
        let told = Arc::new(Mutex::new(0));
        let count = told.clone();
        cache.on_whole(move || *count.lock().expect("unpoisoned") += 1);
        let [hidden, seen, new] = ["hidden", "seen", "new"].map(|name| Key::new("a", name));
        let only_seen = BTreeSet::from([seen.clone()]);
        cache.keep_only(&only_seen, vec!["a/hidden".into(), "a/new".into(), "b/c".into()]);
        let names = |list: Vec<Arc<ConfigMap>>| -> Vec<String> {
            list.iter().map(|map| map.metadata.name.clone()).collect()
        };
        assert_eq!(names(cache.list("a")), ["hidden", "seen"]);
        assert_eq!(cache.hidden_in("a"), BTreeSet::from([hidden.clone(), new]));
        assert!(cache.hides(&hidden) && !cache.hides(&seen));
        assert!(cache.hidden_in("").is_empty() && cache.hidden_in("aa").is_empty());
        assert_eq!(*told.lock().expect("unpoisoned"), 0);
        cache.keep_only(&only_seen, vec!["b/c".into()]);
        assert_eq!(names(cache.list("a")), ["seen"]);
        assert_eq!(*told.lock().expect("unpoisoned"), 1);
    }
}
