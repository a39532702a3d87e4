//! Changes of config maps, secrets and trust bundles that pods on this node use: one watch for each object (or for
//! the bundles of a signer), shared by all pods that use it, ended with the last of them (node authorization lets a
//! node see no other config maps and secrets).

use crate::rim::Rim;
use crate::sources::{Names, encode};
use skiff_api::follow::{Follower, Input, Start};
use skiff_api::view::{Key, Resource, View};
use skiff_api::wire::Stored;
use skiff_base::Lock;
use skiff_base::Time;
use skiff_client::{Fed, feed, named};
use skiff_kinds::views::{ClusterTrustBundle, ConfigMap, Secret};
use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// Its resource, its namespace, and the field selector that finds it.
type Object = (Resource, String, String);

/// The watches of the node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watches(Arc<Lock<HashMap<Object, Weak<watch::Sender<u64>>>>>);

/// What one pod uses; changes while it is held are seen.
pub struct Watched {
    changes: Vec<(Arc<watch::Sender<u64>>, watch::Receiver<u64>)>,
}

impl Watched {
    /// Waits for the next change of any of the objects.
    pub async fn changed(&mut self) {
        let all = self.changes.iter_mut().map(|(_, changes)| Box::pin(changes.changed()));
        let all: Vec<_> = all.collect();
        match all.is_empty() {
            true => std::future::pending().await,
            // The sender is held beside the receiver, so this is a change and no error.
            false => drop(futures_util::future::select_all(all).await),
        }
    }
}

impl Watches {
    /// Begins to watch what a pod uses.
    pub fn watch(&self, rim: &Arc<Rim>, namespace: &str, names: &Names) -> Watched {
        let named = |resource, name: &String| {
            self.one(rim, (resource, namespace.to_owned(), format!("metadata.name={name}")))
        };
        let maps = names.config_maps.iter().map(|name| named(ConfigMap::RESOURCE, name));
        let secrets = names.secrets.iter().map(|name| named(Secret::RESOURCE, name));
        let bundles = names.bundles.iter().map(|selector| {
            self.one(rim, (ClusterTrustBundle::RESOURCE, String::new(), selector.clone()))
        });
        Watched { changes: maps.chain(secrets).chain(bundles).collect() }
    }

    fn one(
        &self,
        rim: &Arc<Rim>,
        object: Object,
    ) -> (Arc<watch::Sender<u64>>, watch::Receiver<u64>) {
        let mut all = self.0.lock();
        if let Some(sender) = all.get(&object).and_then(Weak::upgrade) {
            let receiver = sender.subscribe();
            return (sender, receiver);
        }
        all.retain(|_, sender| sender.strong_count() > 0);
        let sender = Arc::new(watch::channel(0).0);
        all.insert(object.clone(), Arc::downgrade(&sender));
        rim.tasks.sound(follow(rim.clone(), object, Arc::downgrade(&sender)));
        let receiver = sender.subscribe();
        (sender, receiver)
    }
}

/// One object, as it is fed, and the count of its changes for those who wait for the next.
struct Followed {
    follower: Lock<Follower<Arc<Key>, ()>>,
    sender: Weak<watch::Sender<u64>>,
}

impl Followed {
    fn lock(&self) -> MutexGuard<'_, Follower<Arc<Key>, ()>> {
        self.follower.lock()
    }
}

impl Fed for Followed {
    const READER: &'static str = "node";
    type Object = ();

    fn read(&self, stored: &Stored) -> Result<(Key, ()), String> {
        named(stored).map(|key| (key, ()))
    }

    fn delay(&self) -> Duration {
        self.lock().delay()
    }

    fn start(&self, now: Time) -> Start {
        self.lock().start(now)
    }

    fn take(&self, input: Input<Arc<Key>, ()>, now: Time) {
        let changes = self.lock().take(input, now).changes;
        let sender = self.sender.upgrade().filter(|_| !changes.is_empty());
        sender.iter().for_each(|sender| sender.send_modify(|count| *count += 1));
    }
}

/// Follows one object for as long as a pod uses it.
async fn follow(rim: Arc<Rim>, object: Object, sender: Weak<watch::Sender<u64>>) {
    let (resource, namespace, selector) = object;
    let Some(mut closed) = sender.upgrade().map(|sender| sender.subscribe()) else { return };
    let followed = Followed { follower: Lock::default(), sender };
    let path = resource.path(&namespace, "", "");
    let query = format!("&fieldSelector={}", encode(&selector));
    tokio::select! {
        () = wait_closed(&mut closed) => {}
        never = feed(&followed, &rim.client, &rim.world, &path, &query) => match never {},
    }
}

/// Returns when every sender has been dropped: no pod uses the object.
async fn wait_closed(receiver: &mut watch::Receiver<u64>) {
    while receiver.changed().await.is_ok() {}
}
