//! Metas: the metadata of every object of every kind, with who owns whom. What the garbage collector and the end of a
//! namespace go by.
//!
//! One watch for each stored resource; kinds come and go with the registry, and their objects with them.

use crate::Client;
use futures_util::StreamExt;
use http::Method;
use serde::Deserialize;
use skiff_api::Status;
use skiff_api::kind::Verb;
use skiff_api::registry::Kinds;
use skiff_api::view::{Meta, Resource};
use skiff_api::wire::{Body, Frame, Payload, Stored};
use skiff_base::{Backoff, Tasks, World};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// Between two tries to begin a watch.
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(10) };

/// One object.
#[derive(Debug, Clone)]
pub struct Item {
    pub resource: Resource,
    pub meta: Meta,
}

type Reaction = Box<dyn Fn(&Item) + Send + Sync>;

/// The metadata of all objects.
pub struct Metas {
    state: RwLock<State>,
    reactions: Mutex<Vec<Reaction>>,
    /// Resources whose first events are still to come.
    unsynced: watch::Sender<Option<usize>>,
}

#[derive(Default)]
struct State {
    by_uid: HashMap<Box<str>, Arc<Item>>,
    /// Owner's UID to those that it owns.
    owned: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// Namespace to what is in it.
    within: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
}

#[derive(Deserialize)]
struct Only {
    metadata: Meta,
}

impl Default for Metas {
    fn default() -> Metas {
        Metas {
            state: RwLock::default(),
            reactions: Mutex::default(),
            unsynced: watch::Sender::new(None),
        }
    }
}

impl Metas {
    pub fn get(&self, uid: &str) -> Option<Arc<Item>> {
        self.read().by_uid.get(uid).cloned()
    }

    /// Everything that names this UID as an owner.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<Item>> {
        let state = self.read();
        let uids = state.owned.get(uid).into_iter().flatten();
        uids.filter_map(|uid| state.by_uid.get(uid).cloned()).collect()
    }

    /// Everything in a namespace.
    pub fn within(&self, namespace: &str) -> Vec<Arc<Item>> {
        let state = self.read();
        let uids = state.within.get(namespace).into_iter().flatten();
        uids.filter_map(|uid| state.by_uid.get(uid).cloned()).collect()
    }

    /// Calls `reaction` with every object that comes, changes or goes (as it was last), and once with every one that is
    /// here already.
    pub fn on_change(&self, reaction: impl Fn(&Item) + Send + Sync + 'static) {
        let mut reactions = self.reactions.lock().expect("no holder of this lock panics");
        let items: Vec<Arc<Item>> = self.read().by_uid.values().cloned().collect();
        items.iter().for_each(|item| reaction(item));
        reactions.push(Box::new(reaction));
    }

    /// Waits until every resource has been seen once.
    pub async fn synced(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.unsynced.subscribe().wait_for(|left| *left == Some(0)).await;
    }

    /// Follows the registry, and a watch for each resource in it, until the task is ended.
    pub async fn follow(self: Arc<Self>, client: Client, world: World, kinds: Kinds) {
        let mut changes = kinds.changes();
        let mut running: HashMap<Resource, Tasks> = HashMap::new();
        loop {
            let wanted = watched(&kinds);
            let gone: Vec<Resource> =
                running.keys().filter(|r| !wanted.contains(r)).copied().collect();
            for resource in gone {
                if let Some(tasks) = running.remove(&resource) {
                    tasks.stop().await;
                }
                self.forget(resource);
            }
            let new: Vec<Resource> =
                wanted.into_iter().filter(|r| !running.contains_key(r)).collect();
            self.unsynced.send_modify(|left| *left = Some(left.unwrap_or(0) + new.len()));
            for resource in new {
                let tasks = Tasks::new();
                tasks.spawn(self.clone().follow_one(client.clone(), world.clone(), resource));
                running.insert(resource, tasks);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn follow_one(self: Arc<Self>, client: Client, world: World, resource: Resource) {
        let (mut synced, mut failures) = (false, 0);
        loop {
            match self.pass(&client, resource, &mut synced).await {
                Ok(()) => failures = 0,
                Err(status) => {
                    failures += 1;
                    tracing::debug!(resource = resource.plural, %status, "a watch of metadata ended");
                }
            }
            world.sleep(RETRY.delay(failures)).await;
        }
    }

    async fn pass(
        &self,
        client: &Client,
        resource: Resource,
        synced: &mut bool,
    ) -> Result<(), Status> {
        let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&\
                     allowWatchBookmarks=true";
        let path = resource.path("", "", "");
        let answer = client.send(Method::GET, &path, query, "", Payload::None).await?;
        let Body::Watch(mut frames) = answer.body else {
            return Err(Status::internal(format!("the answer to {path} is no watch")));
        };
        let mut initial: Option<HashSet<String>> = Some(HashSet::new());
        while let Some(frame) = frames.next().await {
            match frame {
                Frame::Added(stored) | Frame::Modified(stored) => {
                    let item = read(resource, &stored)?;
                    if let Some(seen) = &mut initial {
                        seen.insert(item.meta.uid.clone());
                    }
                    self.put(item);
                }
                Frame::Deleted(stored) => self.remove(&read(resource, &stored)?.meta.uid),
                Frame::Bookmark { initial_end: Some(_), .. } => {
                    if let Some(seen) = initial.take() {
                        self.keep_only(resource, &seen);
                    }
                    if !std::mem::replace(synced, true) {
                        self.unsynced.send_modify(|left| *left = left.map(|n| n.saturating_sub(1)));
                    }
                }
                Frame::Bookmark { .. } => {}
                Frame::Error(status) => return Err(status),
            }
        }
        Ok(())
    }

    fn put(&self, item: Item) {
        let item = Arc::new(item);
        let uid: Box<str> = item.meta.uid.as_str().into();
        let mut state = self.state.write().expect("no holder of this lock panics");
        if let Some(old) = state.by_uid.insert(uid.clone(), item.clone()) {
            state.unlink(&old);
        }
        for owner in &item.meta.owner_references {
            state.owned.entry(owner.uid.as_str().into()).or_default().insert(uid.clone());
        }
        if item.resource.namespaced {
            state.within.entry(item.meta.namespace.as_str().into()).or_default().insert(uid);
        }
        drop(state);
        self.tell(&item);
    }

    fn remove(&self, uid: &str) {
        let mut state = self.state.write().expect("no holder of this lock panics");
        let Some(old) = state.by_uid.remove(uid) else { return };
        state.unlink(&old);
        drop(state);
        self.tell(&old);
    }

    /// After a new start: what was not among the initial events is gone.
    fn keep_only(&self, resource: Resource, seen: &HashSet<String>) {
        let gone: Vec<String> = {
            let state = self.read();
            let mine = state.by_uid.values().filter(|item| item.resource == resource);
            mine.map(|item| item.meta.uid.clone()).filter(|uid| !seen.contains(uid)).collect()
        };
        gone.iter().for_each(|uid| self.remove(uid));
    }

    fn forget(&self, resource: Resource) {
        self.keep_only(resource, &HashSet::new());
    }

    fn tell(&self, item: &Item) {
        let reactions = self.reactions.lock().expect("no holder of this lock panics");
        reactions.iter().for_each(|reaction| reaction(item));
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().expect("no holder of this lock panics")
    }
}

impl State {
    fn unlink(&mut self, item: &Item) {
        let uid = item.meta.uid.as_str();
        let leave = |map: &mut BTreeMap<Box<str>, BTreeSet<Box<str>>>, key: &str| {
            if let Some(set) = map.get_mut(key) {
                set.remove(uid);
                if set.is_empty() {
                    map.remove(key);
                }
            }
        };
        for owner in &item.meta.owner_references {
            leave(&mut self.owned, &owner.uid);
        }
        leave(&mut self.within, &item.meta.namespace);
    }
}

/// Every stored resource that can be watched, by one of its faces.
fn watched(kinds: &Kinds) -> HashSet<Resource> {
    let registry = kinds.now();
    let watchable = registry.storages().filter(|kind| kind.verbs.contains(&Verb::Watch));
    watchable.map(|kind| Resource::of_kind(kind)).collect()
}

fn read(resource: Resource, stored: &Stored) -> Result<Item, Status> {
    let only: Only = serde_json::from_slice(&stored.bytes())
        .map_err(|error| Status::internal(format!("an object cannot be read: {error}")))?;
    Ok(Item { resource, meta: only.metadata })
}
