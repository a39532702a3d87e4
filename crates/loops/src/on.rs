//! What wakes a loop: which changes lead to which keys, and what it reads and so has to have caught up with.
//!
//! Each reaction takes changes from a queue of its own and runs in a task of the loop; one that panics is counted, and
//! the next change is taken.

use crate::health::Stats;
use crate::queue::Queue;
use skiff_api::Status;
use skiff_api::view::{Key, Meta, Resource, View};
use skiff_base::{Tasks, World, fault};
use skiff_client::{Cache, Caches, MetaChange, Metas};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// So long a pass waits for its caches to show what it wrote before, and a loop for kinds whose watch fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The reactions of a loop: which changes lead to which keys.
pub struct On {
    caches: Caches,
    metas: Arc<Metas>,
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    /// Of the loop.
    tasks: Tasks,
    reads: Reads,
}

/// The keys that a change leads to, by how the object was and how it is. It is boxed: what reacts is there once for
/// each resource, not once for each loop.
type Leads<V> = Box<dyn Fn(Option<&V>, Option<&V>, &Caches) -> Vec<Key> + Send + Sync>;

/// What a loop reads.
#[derive(Default)]
pub struct Reads {
    caches: Vec<Read>,
    /// Set when it reads the metadata of everything.
    metas: Option<Arc<Metas>>,
    /// What is there and cannot be read, of those whose absence the loop may act on.
    hidden: Vec<Hidden>,
}

struct Read {
    resource: Resource,
    caught_up: CaughtUp,
    doubt: Box<dyn Fn() + Send + Sync>,
}

type Hidden = Box<dyn Fn(&str) -> Option<(Resource, Key)> + Send + Sync>;
type CaughtUp = Box<dyn Fn(u64) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl On {
    pub(crate) fn new(
        caches: &Caches,
        metas: &Arc<Metas>,
        queue: &Arc<Queue>,
        stats: &Arc<Stats>,
        tasks: Tasks,
    ) -> On {
        let (caches, metas, queue) = (caches.clone(), metas.clone(), queue.clone());
        On { caches, metas, queue, stats: stats.clone(), tasks, reads: Reads::default() }
    }

    pub(crate) fn reading(self) -> Reads {
        self.reads
    }

    /// A change of an object leads to the object's own key. That another object of the resource is absent tells the
    /// loop nothing.
    pub fn own<V: View>(&mut self) {
        self.wake::<V>(|object, _| vec![object.meta().key()]);
    }

    /// A change of an object that `counts` leads to its own key: what works by the clock is not woken by what it
    /// writes.
    pub fn own_if<V: View>(&mut self, counts: fn(Option<&V>, Option<&V>) -> bool) {
        self.react::<V>(Box::new(move |old, new, _| {
            let object = new.or(old).filter(|_| counts(old, new));
            object.map(|object| object.meta().key()).into_iter().collect()
        }));
    }

    /// A change of an object leads to its controller, when that is an `Owner`; of an orphan to all that would take it
    /// in.
    pub fn adopts<Owner: View, Child: View>(&mut self) {
        self.map::<Child>(|child, caches| owners_of::<Owner>(child.meta(), caches));
    }

    /// A change of an object leads to all whose selector matches it.
    pub fn selected_by<Selecting: View, Selected: View>(&mut self) {
        self.map::<Selected>(|selected, caches| {
            let selecting = caches.of::<Selecting>().selecting(selected.meta());
            selecting.iter().map(|it| it.meta().key()).collect()
        });
    }

    /// A change leads to the keys that `keys` names for the object as it was and as it is.
    pub fn map<V: View>(&mut self, keys: impl Fn(&V, &Caches) -> Vec<Key> + Send + Sync + 'static) {
        self.reads::<V>();
        self.wake(keys);
    }

    fn wake<V: View>(&mut self, keys: impl Fn(&V, &Caches) -> Vec<Key> + Send + Sync + 'static) {
        self.react::<V>(Box::new(move |old, new, caches| {
            old.iter().chain(new.iter()).flat_map(|object| keys(object, caches)).collect()
        }));
    }

    /// A change leads to the keys that `keys` names for how the object was and how it is; what is there when the loop
    /// begins was not before.
    pub fn changes<V: View>(
        &mut self,
        keys: impl Fn(Option<&V>, Option<&V>, &Caches) -> Vec<Key> + Send + Sync + 'static,
    ) {
        self.reads::<V>();
        self.react::<V>(Box::new(keys));
    }

    fn react<V: View>(&mut self, keys: Leads<V>) {
        let (mut changes, caches) = (self.follow::<V>().subscribe(), self.caches.clone());
        let react = self.reaction(V::RESOURCE.plural, move |change: &skiff_client::Change<V>| {
            keys(change.old.as_deref(), change.new.as_deref(), &caches)
        });
        self.tasks.spawn(async move {
            loop {
                react(&changes.next().await);
            }
        });
    }

    /// A change of any object of any kind leads to the keys that `keys` names.
    pub fn any(&mut self, keys: impl Fn(&MetaChange, &Metas) -> Vec<Key> + Send + Sync + 'static) {
        self.reads.metas = Some(self.metas.clone());
        let (mut changes, metas) = (self.metas.subscribe(), self.metas.clone());
        let react = self.reaction("metadata", move |change: &MetaChange| keys(change, &metas));
        self.tasks.spawn(async move {
            loop {
                react(&changes.next().await);
            }
        });
    }

    fn reaction<C>(
        &self,
        to: &'static str,
        keys: impl Fn(&C) -> Vec<Key> + Send + Sync + 'static,
    ) -> impl Fn(&C) + Send + Sync + 'static {
        let (queue, stats) = (self.queue.clone(), self.stats.clone());
        let react = move |change: &C| {
            fault::point(format_args!("reaction/{to}"));
            keys(change)
        };
        move |change| match catch_unwind(AssertUnwindSafe(|| react(change))) {
            Ok(keys) => keys.into_iter().for_each(|key| queue.add(key)),
            Err(panic) => stats.panicked("a reaction", &*panic),
        }
    }

    /// The loop reads this resource without being woken by it.
    pub fn reads<V: View>(&mut self) -> Arc<Cache<V>> {
        let cache = self.follow::<V>();
        let (queue, mut mended) = (self.queue.clone(), cache.mended());
        self.tasks.spawn(async move {
            while mended.changed().await.is_ok() {
                queue.release();
            }
        });
        let hides = cache.clone();
        let hidden =
            move |namespace: &str| Some((V::RESOURCE, hides.hidden_in(namespace).pop_first()?));
        self.reads.hidden.push(Box::new(hidden));
        cache
    }

    fn follow<V: View>(&mut self) -> Arc<Cache<V>> {
        let cache = self.caches.of::<V>();
        if !self.reads.caches.iter().any(|read| read.resource == V::RESOURCE) {
            let (waits, doubted) = (cache.clone(), cache.clone());
            let caught_up: CaughtUp = Box::new(move |revision| {
                let cache = waits.clone();
                Box::pin(async move { cache.caught_up(revision).await })
            });
            let doubt = Box::new(move || doubted.doubt());
            self.reads.caches.push(Read { resource: V::RESOURCE, caught_up, doubt });
        }
        cache
    }
}

/// The owner that controls a child; for an orphan every one that would take it in.
fn owners_of<Owner: View>(child: &Meta, caches: &Caches) -> Vec<Key> {
    if let Some(owner) = child.controller() {
        let kind = (&*owner.kind, owner.api_version.split('/').next());
        let group = Owner::RESOURCE.group;
        let ours = kind.0 == Owner::RESOURCE.kind && (group.is_empty() || kind.1 == Some(group));
        return if ours { vec![Key::new(&child.namespace, &owner.name)] } else { Vec::new() };
    }
    if child.deleting() {
        return Vec::new();
    }
    caches.of::<Owner>().selecting(child).iter().map(|owner| owner.meta().key()).collect()
}

impl Reads {
    /// Waits until all that is read was seen once. Without its own resources a loop waits, and says so; of kinds that
    /// it only hears of it waits for those that come.
    pub async fn synced(&self, world: &World, stats: &Stats) {
        for read in &self.caches {
            stats.waits_for(Some(read.resource));
            (read.caught_up)(0).await;
        }
        stats.waits_for(None);
        let Some(metas) = &self.metas else { return };
        if world.within(PATIENCE, metas.synced()).await.is_none() {
            let unknown = metas.unknown().unwrap_or_default();
            let unknown: Vec<_> = unknown.iter().map(|resource| resource.plural).collect();
            let kinds = unknown.join(", ");
            tracing::warn!(kinds, "of these kinds nothing is known yet; loops begin without them");
        }
    }

    /// Waits until all that is read shows this write.
    ///
    /// # Errors
    /// When it does not for `PATIENCE`: what is known is read anew then.
    pub async fn caught_up(
        &self,
        world: &World,
        resource: Resource,
        revision: u64,
    ) -> Result<(), Status> {
        let late = || {
            let plural = resource.plural;
            Status::internal(format!("the watch of {plural} does not show revision {revision}"))
        };
        let same = |a: Resource, b: Resource| (a.group, a.plural) == (b.group, b.plural);
        for read in self.caches.iter().filter(|read| same(read.resource, resource)) {
            if world.within(PATIENCE, (read.caught_up)(revision)).await.is_none() {
                (read.doubt)();
                return Err(late());
            }
        }
        let Some(metas) = &self.metas else { return Ok(()) };
        if world.within(PATIENCE, metas.caught_up(resource, revision)).await.is_none() {
            metas.doubt(resource);
            return Err(late());
        }
        Ok(())
    }

    /// Something in a namespace (or in none) that is there and cannot be read, and whose absence the loop may act on.
    pub fn hidden_in(&self, namespace: &str) -> Option<(Resource, Key)> {
        self.hidden.iter().find_map(|hidden| hidden(namespace))
    }
}
