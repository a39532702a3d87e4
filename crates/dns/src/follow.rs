//! Keeps the zone as the API says. A change names a Service; that one is worked out anew.
//!
//! Never here: what a Service means ([`crate::zone`]).

use crate::zone::{Zone, entry};
use skiff_api::view::{Key, View};
use skiff_base::RwLock;
use skiff_client::{Cache, Caches, Change, Subscription};
use skiff_kinds::views::{EndpointSlice, Namespace, SERVICE_NAME, Service};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The zone as the server reads it; `None` until the whole state was seen once.
pub type Shared = Arc<RwLock<Option<Zone>>>;

/// The loop.
pub struct Follow {
    services: Followed<Service>,
    slices: Followed<EndpointSlice>,
    namespaces: Followed<Namespace>,
}

/// A cache, and what of it changed since the last look.
struct Followed<V> {
    cache: Arc<Cache<V>>,
    changes: Subscription<V>,
}

impl<V: View> Followed<V> {
    fn new(caches: &Caches) -> Followed<V> {
        let cache = caches.of::<V>();
        Followed { changes: cache.subscribe(), cache }
    }
}

impl Follow {
    pub fn new(caches: &Caches) -> Follow {
        let (services, slices) = (Followed::new(caches), Followed::new(caches));
        Follow { services, slices, namespaces: Followed::new(caches) }
    }

    /// Fills `shared`, beginning with `zone`, until the task is ended.
    pub async fn run(mut self, mut zone: Zone, shared: Shared) {
        self.namespaces.cache.caught_up(0).await;
        self.services.cache.caught_up(0).await;
        self.slices.cache.caught_up(0).await;
        self.bring_up(&mut zone, BTreeSet::new());
        *shared.write() = Some(zone);
        loop {
            let mut keys = BTreeSet::new();
            let mut name = None;
            tokio::select! {
                biased;
                change = self.namespaces.changes.next() => name = Some(change.key.name.clone()),
                change = self.services.changes.next() => drop(keys.insert(Key::clone(&change.key))),
                change = self.slices.changes.next() => keys.extend(services_of(&change)),
            }
            let mut shared = shared.write();
            if let Some(zone) = &mut *shared {
                name.iter().for_each(|name| self.namespace(zone, name));
                self.bring_up(zone, keys);
            }
        }
    }

    /// Takes in these Services, and all that changed besides.
    fn bring_up(&mut self, zone: &mut Zone, mut keys: BTreeSet<Key>) {
        while let Some(change) = self.namespaces.changes.take() {
            self.namespace(zone, &change.key.name);
        }
        keys.extend(taken(&mut self.services.changes).map(|change| Key::clone(&change.key)));
        keys.extend(taken(&mut self.slices.changes).flat_map(|change| services_of(&change)));
        for key in keys {
            let slices = self.slices.cache.find("service", &key.to_string());
            let service = self.services.cache.get(&key);
            zone.set(&key, service.map(|service| entry(&service, &slices)));
        }
    }

    fn namespace(&self, zone: &mut Zone, name: &str) {
        let there = self.namespaces.cache.get(&Key::new("", name)).map(|_| ());
        zone.set_namespace(name, there);
    }
}

fn taken<V: View>(changes: &mut Subscription<V>) -> impl Iterator<Item = Change<V>> {
    std::iter::from_fn(|| changes.take())
}

/// The Services whose endpoints a changed slice has, or had.
fn services_of(change: &Change<EndpointSlice>) -> Vec<Key> {
    let slices = change.old.iter().chain(&change.new);
    let key = |slice: &Arc<EndpointSlice>| {
        let name = slice.metadata.labels.get(SERVICE_NAME)?;
        Some(Key::new(&slice.metadata.namespace, name))
    };
    slices.filter_map(key).collect()
}
