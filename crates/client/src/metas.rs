//! Metas: the metadata of every object of every kind, with who owns whom. What the garbage collector and the end of a
//! namespace go by.
//!
//! One follower for each stored resource; kinds come and go with the registry, and their objects with them. One whose
//! watch fails stops no other: who must know that nothing of it is left asks [`Metas::unknown`].

use crate::Client;
use crate::feed::{Fed, feed};
use futures_util::FutureExt;
use serde::Deserialize;
use skiff_api::follow::{self, Follower, Health, Input, Start, Subscribers};
use skiff_api::kind::Verb;
use skiff_api::registry::Kinds;
use skiff_api::view::{Key, Meta, Owner, Resource};
use skiff_api::wire::Stored;
use skiff_base::{Lock, RwLock, Tasks, Time, World, fault};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, MutexGuard, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// One object, by what says who owns it and whether it goes; labels and annotations are left out.
#[derive(Debug, Clone)]
pub struct Item {
    pub resource: Resource,
    pub meta: Meta,
}

/// A change of one object, whatever its kind.
pub type MetaChange = follow::Change<ByUid, Arc<Item>>;

/// An object by its UID.
#[derive(Debug, Clone)]
pub struct ByUid(Arc<Item>);

impl Borrow<str> for ByUid {
    fn borrow(&self) -> &str {
        &self.0.meta.uid
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &ByUid) -> bool {
        self.0.meta.uid == other.0.meta.uid
    }
}

impl Eq for ByUid {}

impl PartialOrd for ByUid {
    fn partial_cmp(&self, other: &ByUid) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByUid {
    fn cmp(&self, other: &ByUid) -> std::cmp::Ordering {
        self.0.meta.uid.cmp(&other.0.meta.uid)
    }
}

/// The metadata of all objects.
#[derive(Default)]
pub struct Metas {
    state: RwLock<State>,
    subscribers: Subscribers<ByUid, Arc<Item>>,
    followed: Lock<HashMap<Resource, Arc<Followed>>>,
    /// Changes when a kind comes or goes, or was seen for the first time.
    known: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// Whether the registry was looked at: before, nothing is known of any kind.
    began: bool,
    all: BTreeSet<ByUid>,
    /// Owner's UID to those that it owns.
    owned: BTreeMap<Box<str>, BTreeSet<ByUid>>,
    /// Namespace to what is in it.
    within: BTreeMap<Box<str>, BTreeSet<ByUid>>,
}

/// One resource.
struct Followed {
    resource: Resource,
    /// Another server has it.
    remote: bool,
    follower: Lock<Follower<Arc<Key>, Arc<Item>>>,
    progress: watch::Sender<u64>,
    doubt: Notify,
}

impl Metas {
    pub fn get(&self, uid: &str) -> Option<Arc<Item>> {
        self.read().all.get(uid).map(|it| it.0.clone())
    }

    /// Everything that names this UID as an owner.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<Item>> {
        self.read().owned.get(uid).into_iter().flatten().map(|it| it.0.clone()).collect()
    }

    /// One of those, of which this holds.
    pub fn find_owned(&self, uid: &str, holds: impl Fn(&Item) -> bool) -> Option<Arc<Item>> {
        let state = self.read();
        state.owned.get(uid)?.iter().find(|it| holds(&it.0)).map(|it| it.0.clone())
    }

    /// Everything in a namespace.
    pub fn within(&self, namespace: &str) -> Vec<Arc<Item>> {
        self.read().within.get(namespace).into_iter().flatten().map(|it| it.0.clone()).collect()
    }

    /// Hears of every change from now on, and first of every object that is here already.
    pub fn subscribe(&self) -> follow::Subscription<ByUid, Arc<Item>> {
        self.subscribers.subscribe(|| {
            let new =
                |it: &ByUid| MetaChange { key: it.clone(), old: None, new: Some(it.0.clone()) };
            self.read().all.iter().map(new).collect()
        })
    }

    /// Resources of which not everything is known yet: that something is not here says nothing. `None`: any resource.
    /// Those of other servers are not among them, for nobody waits for one that may never come back.
    pub fn unknown(&self) -> Option<Vec<Resource>> {
        if !self.read().began {
            return None;
        }
        let followed = self.followed();
        let unknown = followed.values().filter(|it| !it.remote && *it.progress.borrow() == 0);
        Some(unknown.map(|it| it.resource).collect())
    }

    /// Waits until every resource has been seen once.
    pub async fn synced(&self) {
        let mut known = self.known.subscribe();
        while self.unknown().is_none_or(|unknown| !unknown.is_empty()) {
            // The sender lives in self, so waiting cannot fail.
            let _ = known.changed().await;
        }
    }

    /// Waits until everything of a resource up to `revision` has been seen; of one that is not followed at once.
    pub async fn caught_up(&self, resource: Resource, revision: u64) {
        let followed = self.find(resource);
        let Some(mut progress) = followed.map(|it| it.progress.subscribe()) else { return };
        // When the sender goes, so does the kind.
        let _ = progress.wait_for(|seen| *seen >= revision.max(1)).await;
    }

    /// Has the whole state of a resource read anew.
    pub fn doubt(&self, resource: Resource) {
        self.find(resource).iter().for_each(|it| it.doubt.notify_one());
    }

    /// How the followers of all resources fare.
    pub fn health(&self) -> Vec<(Resource, Health)> {
        let all: Vec<Arc<Followed>> = self.followed().values().cloned().collect();
        let mut all: Vec<_> = all.iter().map(|it| (it.resource, it.lock().health())).collect();
        all.sort_by_key(|(resource, _)| (resource.group, resource.plural));
        all
    }

    /// Follows the registry, and each resource in it, until the task is ended.
    pub async fn follow(self: Arc<Self>, client: Client, world: World, kinds: Kinds) {
        let mut changes = kinds.changes();
        let mut running: HashMap<Resource, Tasks> = HashMap::new();
        loop {
            let known: Vec<Resource> = self.followed().keys().copied().collect();
            let wanted = watched(&kinds, &known);
            let gone = known.into_iter().filter(|resource| !wanted.contains_key(resource));
            for resource in gone {
                if let Some(tasks) = running.remove(&resource) {
                    tasks.stop().await;
                }
                self.forget(resource, world.now());
            }
            for (resource, remote) in wanted {
                let begin = || self.begin((resource, remote), &client, &world);
                running.entry(resource).or_insert_with(begin);
            }
            self.state.write().began = true;
            self.known.send_replace(());
            if changes.changed().await.is_err() {
                return;
            }
            fault::point("metadata");
        }
    }

    fn begin(
        self: &Arc<Self>,
        (resource, remote): (Resource, bool),
        client: &Client,
        world: &World,
    ) -> Tasks {
        // What an earlier life followed is gone on with: what went meanwhile is told as gone.
        let new = || {
            let (follower, progress) = (Lock::default(), watch::Sender::new(0));
            Arc::new(Followed { resource, remote, follower, progress, doubt: Notify::new() })
        };
        let followed = self.followed().entry(resource).or_insert_with(new).clone();
        let (metas, client, world) = (self.clone(), client.clone(), world.clone());
        let tasks = Tasks::new();
        tasks.spawn(async move {
            let (one, path) = (One { metas, followed }, resource.path("", "", ""));
            loop {
                let fed = AssertUnwindSafe(feed(&one, &client, &world, &path, "")).catch_unwind();
                if fed.await.is_err() {
                    tracing::error!(path, "a follower of metadata panicked and reads all anew");
                    one.take(Input::Lost("it panicked".into()), world.now());
                }
            }
        });
        tasks
    }

    fn forget(&self, resource: Resource, now: Time) {
        let Some(followed) = self.followed().remove(&resource) else { return };
        // A whole state without anything in it.
        followed.lock().take(Input::Lost("its kind is gone".into()), now);
        followed.lock().start(now);
        self.take(&followed, Input::Whole { revision: 0, aside: Vec::new() }, now);
    }

    fn take(&self, followed: &Followed, input: Input<Arc<Key>, Arc<Item>>, now: Time) {
        let mut telling = self.subscribers.telling();
        let mut follower = followed.lock();
        let out = follower.take(input, now);
        let revision = follower.revision();
        drop(follower);
        let changes: Vec<MetaChange> = out.changes.into_iter().flat_map(by_uid).collect();
        let mut state = self.state.write();
        changes.iter().for_each(|change| state.index(change));
        drop(state);
        changes.iter().for_each(|change| telling.tell(change));
        drop(telling);
        let before = followed.progress.send_replace(revision);
        if before == 0 && revision > 0 {
            self.known.send_replace(());
        }
    }

    fn find(&self, resource: Resource) -> Option<Arc<Followed>> {
        let same = |it: &&Arc<Followed>| {
            (it.resource.group, it.resource.plural) == (resource.group, resource.plural)
        };
        self.followed().values().find(same).cloned()
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<Resource, Arc<Followed>>> {
        self.followed.lock()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }
}

/// One of a name that was made anew is another object.
fn by_uid(change: follow::Change<Arc<Key>, Arc<Item>>) -> Vec<MetaChange> {
    let one = |old: Option<Arc<Item>>, new: Option<Arc<Item>>| {
        let key = ByUid(new.clone().or(old.clone())?);
        Some(MetaChange { key, old, new })
    };
    let (old, new) = (change.old, change.new);
    let same = old.as_ref().zip(new.as_ref()).is_some_and(|(a, b)| a.meta.uid == b.meta.uid);
    let both = if same { vec![one(old, new)] } else { vec![one(old, None), one(None, new)] };
    both.into_iter().flatten().collect()
}

impl Followed {
    fn lock(&self) -> MutexGuard<'_, Follower<Arc<Key>, Arc<Item>>> {
        self.follower.lock()
    }
}

/// One resource of them, as it is fed.
struct One {
    metas: Arc<Metas>,
    followed: Arc<Followed>,
}

impl Fed for One {
    const READER: &'static str = "metadata";
    type Object = Arc<Item>;

    fn read(&self, stored: &Stored) -> Result<(Key, Arc<Item>), String> {
        let read: Only = skiff_json::from_slice(&stored.body).map_err(|e| e.to_string())?;
        let meta = read.metadata;
        let meta = Meta {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: stored.revision.to_string(),
            owner_references: meta.owner_references,
            finalizers: meta.finalizers,
            deletion_timestamp: meta.deletion_timestamp,
            ..Meta::default()
        };
        Ok((meta.key(), Arc::new(Item { resource: self.followed.resource, meta })))
    }

    fn delay(&self) -> Duration {
        self.followed.lock().delay()
    }

    fn start(&self, now: Time) -> Start {
        self.followed.lock().start(now)
    }

    fn take(&self, input: Input<Arc<Key>, Arc<Item>>, now: Time) {
        self.metas.take(&self.followed, input, now);
    }

    async fn doubted(&self) -> &'static str {
        self.followed.doubt.notified().await;
        "what it brought contradicts what was written"
    }
}

#[derive(Deserialize)]
struct Only {
    metadata: Needed,
}

/// What is kept of an object's metadata: the rest is not even copied.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Needed {
    name: String,
    uid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    owner_references: Vec<Owner>,
    #[serde(default)]
    finalizers: Vec<String>,
    #[serde(default)]
    deletion_timestamp: Option<Time>,
}

impl State {
    fn index(&mut self, change: &MetaChange) {
        if let Some(old) = &change.old {
            self.unlink(old);
        }
        let Some(new) = &change.new else { return };
        let it = ByUid(new.clone());
        for owner in &new.meta.owner_references {
            put(&mut self.owned, &owner.uid, &it);
        }
        if new.resource.namespaced {
            put(&mut self.within, &new.meta.namespace, &it);
        }
        self.all.insert(it);
    }

    fn unlink(&mut self, item: &Item) {
        let uid = item.meta.uid.as_str();
        let leave = |map: &mut BTreeMap<Box<str>, BTreeSet<ByUid>>, key: &str| {
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
        self.all.remove(uid);
    }
}

fn put(map: &mut BTreeMap<Box<str>, BTreeSet<ByUid>>, key: &str, item: &ByUid) {
    match map.get_mut(key) {
        Some(set) => drop(set.insert(item.clone())),
        None => drop(map.insert(key.into(), BTreeSet::from([item.clone()]))),
    }
}

/// Every resource that can be watched, by one of its faces, and whether another server has it. What was known of a
/// server that is gone for a while stays known.
fn watched(kinds: &Kinds, known: &[Resource]) -> HashMap<Resource, bool> {
    let registry = kinds.now();
    let watchable = registry.storages().filter(|kind| kind.verbs.contains(&Verb::Watch));
    let mut wanted: HashMap<Resource, bool> =
        watchable.map(|kind| (Resource::of_kind(kind), false)).collect();
    for remote in registry.remote().iter().filter(|it| !registry.serves(&it.group, &it.version)) {
        let Ok(resources) = &remote.resources else {
            let same = |it: &&Resource| it.group == remote.group && it.version == remote.version;
            wanted.extend(known.iter().filter(same).map(|it| (*it, true)));
            continue;
        };
        for it in resources {
            // What cannot be deleted is nobody's to collect, and of two versions one shows all objects.
            let needed = [Verb::List, Verb::Watch, Verb::Delete];
            let whole = needed.iter().all(|verb| it.verbs.contains(verb));
            let same = |other: &Resource| other.group == remote.group && other.plural == it.plural;
            if whole && !wanted.keys().any(same) {
                wanted.insert(Resource::of_remote(remote, it), true);
            }
        }
    }
    wanted
}
