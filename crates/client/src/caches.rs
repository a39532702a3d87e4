//! Caches: one cache for each resource that anybody reads, started at the first request for it and shared by all.

use crate::{Cache, Client};
use skiff_api::follow::Health;
use skiff_api::view::{Resource, View};
use skiff_base::{Lock, Parts, World};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

/// The shared caches of one client.
#[derive(Clone)]
pub struct Caches {
    client: Client,
    world: World,
    parts: Parts,
    caches: Arc<Lock<HashMap<TypeId, Entry>>>,
}

struct Entry {
    resource: Resource,
    cache: Arc<dyn Any + Send + Sync>,
    health: Box<dyn Fn() -> Health + Send + Sync>,
}

impl Caches {
    /// Each watch is a part of its own, under the identity of `client`.
    pub fn new(client: Client, world: World, parts: Parts) -> Caches {
        Caches { client, world, parts, caches: Arc::default() }
    }

    /// The cache of a resource; the first call starts its watch.
    pub fn of<V: View>(&self) -> Arc<Cache<V>> {
        self.filtered(V::QUERY)
    }

    /// The same, for those who may see only a part of a resource (`&fieldSelector=spec.nodeName%3Dn1`). The filter of
    /// the first call holds.
    pub fn filtered<V: View>(&self, query: &str) -> Arc<Cache<V>> {
        let mut caches = self.caches.lock();
        let entry = caches.entry(TypeId::of::<V>()).or_insert_with(|| {
            let cache: Arc<Cache<V>> = Arc::default();
            let (followed, client, world) =
                (cache.clone(), self.client.clone(), self.world.clone());
            let query = query.to_owned();
            self.parts.one_of("cache", V::RESOURCE.plural, move |_| {
                let follow = followed.clone().follow(client.clone(), world.clone(), query.clone());
                async move {
                    follow.await;
                    Ok(())
                }
            });
            let asked = cache.clone();
            Entry { resource: V::RESOURCE, cache, health: Box::new(move || asked.health()) }
        });
        entry.cache.clone().downcast().expect("the map's key is the type of the view")
    }

    /// How the followers of all caches fare.
    pub fn health(&self) -> Vec<(Resource, Health)> {
        let caches = self.caches.lock();
        let mut all: Vec<_> = caches.values().map(|it| (it.resource, (it.health)())).collect();
        all.sort_by_key(|(resource, _)| (resource.group, resource.plural));
        all
    }
}
