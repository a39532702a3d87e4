//! Keeps the zone as the API says. A change names a Service; that one is worked out anew.
//!
//! Never here: what a Service means ([`crate::zone`]).

use crate::zone::{Zone, entry};
use skiff_api::view::{Key, View};
use skiff_client::{Cache, Caches};
use skiff_kinds::views::{EndpointSlice, Namespace, SERVICE_NAME, Service};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::Notify;

/// The zone as the server reads it; `None` until the whole state was seen once.
pub type Shared = Arc<RwLock<Option<Zone>>>;

/// What changed since the last look.
#[derive(Default)]
struct Dirty {
    services: Mutex<BTreeSet<Key>>,
    namespaces: Mutex<BTreeSet<String>>,
    wake: Notify,
}

impl Dirty {
    fn service(&self, key: Key) {
        self.services.lock().expect("no holder of this lock panics").insert(key);
        self.wake.notify_one();
    }

    fn namespace(&self, name: &str) {
        self.namespaces.lock().expect("no holder of this lock panics").insert(name.to_owned());
        self.wake.notify_one();
    }
}

/// The loop.
pub struct Follow {
    services: Arc<Cache<Service>>,
    slices: Arc<Cache<EndpointSlice>>,
    namespaces: Arc<Cache<Namespace>>,
    dirty: Arc<Dirty>,
}

impl Follow {
    pub fn new(caches: &Caches) -> Follow {
        let dirty: Arc<Dirty> = Arc::default();
        let (services, slices) = (caches.of::<Service>(), caches.of::<EndpointSlice>());
        let namespaces = caches.of::<Namespace>();
        let noted = dirty.clone();
        services.on_change(move |change| {
            for service in change.old.iter().chain(change.new.iter()) {
                noted.service(service.meta().key());
            }
        });
        let noted = dirty.clone();
        slices.on_change(move |change| {
            for slice in change.old.iter().chain(change.new.iter()) {
                if let Some(name) = slice.metadata.labels.get(SERVICE_NAME) {
                    noted.service(Key::new(&slice.metadata.namespace, name));
                }
            }
        });
        let noted = dirty.clone();
        namespaces.on_change(move |change| {
            for namespace in change.old.iter().chain(change.new.iter()) {
                noted.namespace(&namespace.metadata.name);
            }
        });
        Follow { services, slices, namespaces, dirty }
    }

    /// Fills `shared`, beginning with `zone`, until the task is ended.
    pub async fn run(self, mut zone: Zone, shared: Shared) {
        self.namespaces.caught_up(0).await;
        self.services.caught_up(0).await;
        self.slices.caught_up(0).await;
        self.bring_up(&mut zone);
        *shared.write().expect("no holder of this lock panics") = Some(zone);
        loop {
            self.dirty.wake.notified().await;
            let mut shared = shared.write().expect("no holder of this lock panics");
            if let Some(zone) = &mut *shared {
                self.bring_up(zone);
            }
        }
    }

    fn bring_up(&self, zone: &mut Zone) {
        let take = |set: &Mutex<BTreeSet<String>>| {
            std::mem::take(&mut *set.lock().expect("no holder of this lock panics"))
        };
        for name in take(&self.dirty.namespaces) {
            let there = self.namespaces.get(&Key::new("", &name)).map(|_| ());
            zone.set_namespace(&name, there);
        }
        let keys = std::mem::take(
            &mut *self.dirty.services.lock().expect("no holder of this lock panics"),
        );
        for key in keys {
            let slices = self.slices.find("service", &key.to_string());
            let service = self.services.get(&key);
            zone.set(&key, service.map(|service| entry(&service, &slices)));
        }
    }
}
