//! The runner: the only one that acts for loops. It wakes a loop with a key, has it observe and plan, performs the
//! changes through the client under the loop's own identity, and comes back when the plan says so or when it failed.
//!
//! A pass over a key begins only when the caches show everything that the pass before wrote: this replaces the
//! bookkeeping of expected creations and deletions.

use crate::changes::{Change, Changes, Tell};
use crate::controllers::lasting::Wanted;
use crate::queue::Queue;
use futures_util::future::join_all;
use serde_json::{Value, json};
use skiff_api::Status;
use skiff_api::ip::Cidr;
use skiff_api::registry::Kinds;
use skiff_api::status::About;
use skiff_api::view::{Key, Resource, View};
use skiff_api::wire::{Serve, User};
use skiff_base::{Backoff, Parts, Tasks, Time, World, fault};
use skiff_client::{Cache, Caches, Client, Item, Metas, Written};
use skiff_kinds::views::token::LegacyClaims;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// After a failed pass; upstream's rate limit of controllers has the same bounds.
const RETRY: Backoff = Backoff { first: Duration::from_millis(5), most: Duration::from_secs(1000) };

/// This many of the changes that stand together are under way at once; the server works on no more of one loop.
const TOGETHER_MOST: usize = 64;

/// When a loop wants to look at a key again, if nothing happens to it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    Wait,
    /// At this moment.
    At(Time),
}

/// One loop. All its logic is in `plan`, which is pure.
pub trait Loop: Send + Sync + 'static {
    /// The name of its service account in `kube-system`, its field manager, and the source of its events.
    const NAME: &'static str;
    /// What its part of the process is called; no two have the same.
    const PART: &'static str = Self::NAME;
    /// Whom `managedFields` name for what it writes: upstream's controllers are one program.
    const MANAGER: &'static str = "kube-controller-manager";
    /// How many keys it works on at once.
    const WORKERS: usize = 5;
    /// Everything that `plan` may look at.
    type Seen: Send;
    /// What `plan` remembers of a key between passes; it must be safe to lose.
    type Memory: Default + Send + 'static;

    /// As whom it acts.
    fn user() -> User {
        User::service_account("kube-system", Self::NAME)
    }
    /// Says which changes wake it, and with which key.
    fn on(on: &mut On);
    /// Looks: at the caches, or live where an act cannot be undone. `None`: nothing is to be done for this key.
    fn observe(
        cx: &Context,
        key: &Key,
    ) -> impl Future<Output = Result<Option<Self::Seen>, Status>> + Send;
    /// Hears why a change failed, so that the next plan can say so in a status.
    fn failed(_memory: &mut Self::Memory, _change: &Change, _why: &Status) {}
    /// Decides.
    fn plan(seen: &Self::Seen, memory: &mut Self::Memory, now: Time, out: &mut Changes) -> Next;
}

/// What a loop can look at.
#[derive(Clone)]
pub struct Context {
    pub caches: Caches,
    /// The metadata of all objects of all kinds.
    pub metas: Arc<Metas>,
    pub kinds: Kinds,
    /// Under the loop's own identity.
    pub client: Client,
    pub settings: Arc<Settings>,
}

/// What loops are told about the cluster.
pub struct Settings {
    /// The certificate that clients of the API trust, as PEM.
    pub ca: String,
    /// Makes a token of claims.
    pub sign: Box<dyn Fn(&LegacyClaims) -> Result<String, Status> + Send + Sync>,
    /// What has to be there, whoever deletes it.
    pub wanted: Arc<Wanted>,
    /// The range of all pods, and the bits that name a node's part of it.
    pub pods: Cidr,
    pub node_bits: u8,
}

/// The reactions of a loop: which changes lead to which keys.
pub struct On {
    caches: Caches,
    metas: Arc<Metas>,
    queue: Arc<Queue>,
    /// Waits until one of the caches that the loop reads has caught up with a revision.
    synced: HashMap<&'static str, CaughtUp>,
    /// What is there and cannot be read, of those whose absence the loop may act on.
    hidden: Vec<Hidden>,
}

type Hidden = Box<dyn Fn(&str) -> Option<(Resource, Key)> + Send + Sync>;
type CaughtUp = Box<dyn Fn(u64) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl On {
    /// A change of an object leads to the object's own key. That another object of the resource is absent tells the
    /// loop nothing.
    pub fn own<V: View>(&mut self) {
        self.wake::<V>(|object, _| vec![object.meta().key()]);
    }

    /// A change of an object leads to its controller, when that is of this kind.
    pub fn controlled<V: View>(&mut self, kind: &'static str) {
        self.map::<V>(move |object, _| {
            let owner = object.meta().controller().filter(|owner| owner.kind == kind);
            owner.map(|o| Key::new(&object.meta().namespace, &o.name)).into_iter().collect()
        });
    }

    /// A change leads to the keys that `keys` names for the object as it was and as it is.
    pub fn map<V: View>(&mut self, keys: impl Fn(&V, &Caches) -> Vec<Key> + Send + Sync + 'static) {
        self.reads::<V>();
        self.wake(keys);
    }

    fn wake<V: View>(&mut self, keys: impl Fn(&V, &Caches) -> Vec<Key> + Send + Sync + 'static) {
        let cache = self.follow::<V>();
        let (queue, caches) = (self.queue.clone(), self.caches.clone());
        let point = format!("reaction/{}", V::RESOURCE.plural);
        cache.on_change(move |change| {
            fault::point(&point);
            for object in [change.old, change.new].into_iter().flatten() {
                keys(object, &caches).into_iter().for_each(|key| queue.add(key));
            }
        });
    }

    /// A change of any object of any kind leads to the keys that `keys` names.
    pub fn any(&mut self, keys: impl Fn(&Item, &Metas) -> Vec<Key> + Send + Sync + 'static) {
        let (queue, metas) = (self.queue.clone(), self.metas.clone());
        self.metas
            .on_change(move |item| keys(item, &metas).into_iter().for_each(|key| queue.add(key)));
        let waits = self.metas.clone();
        let wait: CaughtUp = Box::new(move |_| {
            let metas = waits.clone();
            Box::pin(async move { metas.synced().await })
        });
        self.synced.insert("all", wait);
    }

    /// The loop reads this resource without being woken by it.
    pub fn reads<V: View>(&mut self) -> Arc<Cache<V>> {
        let cache = self.follow::<V>();
        let (queue, hides) = (self.queue.clone(), cache.clone());
        cache.on_whole(move || queue.release());
        let hidden =
            move |namespace: &str| Some((V::RESOURCE, hides.hidden_in(namespace).pop_first()?));
        self.hidden.push(Box::new(hidden));
        cache
    }

    fn follow<V: View>(&mut self) -> Arc<Cache<V>> {
        let cache = self.caches.of::<V>();
        let waits = cache.clone();
        let wait: CaughtUp = Box::new(move |revision| {
            let cache = waits.clone();
            Box::pin(async move { cache.caught_up(revision).await })
        });
        self.synced.insert(V::RESOURCE.plural, wait);
        cache
    }
}

/// Runs loops over one server.
#[derive(Clone)]
pub struct Runner {
    pub serve: Arc<dyn Serve>,
    pub caches: Caches,
    pub metas: Arc<Metas>,
    pub kinds: Kinds,
    pub settings: Arc<Settings>,
    pub world: World,
    pub parts: Parts,
}

impl Runner {
    /// Starts one loop, a part of its own: when it ends it begins anew, and looks at everything.
    pub fn start<L: Loop>(&self) {
        let runner = self.clone();
        self.parts.one_of("loop", L::PART, move |tasks| {
            let run = runner.begin::<L>(tasks);
            async move {
                run.work().await;
                Ok(())
            }
        });
    }

    fn begin<L: Loop>(&self, tasks: Tasks) -> Arc<Run<L>> {
        let queue = Arc::new(Queue::default());
        let mut on = On {
            caches: self.caches.clone(),
            metas: self.metas.clone(),
            queue: queue.clone(),
            synced: HashMap::new(),
            hidden: Vec::new(),
        };
        L::on(&mut on);
        let client = Client::new(self.serve.clone(), L::user(), L::MANAGER);
        Arc::new(Run::<L> {
            runner: self.clone(),
            tasks,
            recorder: skiff_client::events::Recorder::new(
                client.clone(),
                self.world.clone(),
                L::NAME,
            ),
            context: Context {
                caches: self.caches.clone(),
                metas: self.metas.clone(),
                kinds: self.kinds.clone(),
                client,
                settings: self.settings.clone(),
            },
            reader: Client::new(
                self.serve.clone(),
                User::system("skiff", &["system:masters"]),
                L::NAME,
            ),
            queue,
            synced: on.synced,
            hidden: on.hidden,
            keys: Mutex::new(HashMap::new()),
        })
    }
}

/// What is known of a key between passes.
struct Known<M> {
    memory: M,
    failures: u32,
    /// The newest revision that the last pass wrote, by resource.
    wrote: HashMap<&'static str, u64>,
}

/// Gives a key back when its pass ends; after a panic of the pass it is looked at again.
struct Held<'a>(&'a Queue, &'a Key, Duration);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Held(queue, key, since) = *self;
        if std::thread::panicking() {
            queue.add_at(key.clone(), since + RETRY.first);
        }
        queue.done(key);
    }
}

struct Run<L: Loop> {
    runner: Runner,
    /// Of its passes.
    tasks: Tasks,
    context: Context,
    recorder: skiff_client::events::Recorder,
    /// Sees what the caches see; it never writes.
    reader: Client,
    queue: Arc<Queue>,
    synced: HashMap<&'static str, CaughtUp>,
    hidden: Vec<Hidden>,
    keys: Mutex<HashMap<Key, Known<L::Memory>>>,
}

impl<L: Loop> Run<L> {
    async fn work(self: Arc<Self>) {
        for synced in self.synced.values() {
            synced(0).await;
        }
        let places = Arc::new(tokio::sync::Semaphore::new(L::WORKERS));
        let world = &self.runner.world;
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let key = loop {
                match self.queue.take(world.uptime()) {
                    Ok(key) => break key,
                    Err(None) => self.queue.changed().await,
                    Err(Some(at)) => {
                        let left = at.saturating_sub(world.uptime());
                        world.within(left, self.queue.changed()).await;
                    }
                }
            };
            fault::point(&format!("loop/{}", L::PART));
            let run = self.clone();
            self.tasks.spawn(async move {
                let _place = place;
                let _held = Held(&run.queue, &key, run.runner.world.uptime());
                run.pass(&key).await;
            });
        }
    }

    async fn pass(&self, key: &Key) {
        fault::point(&format!("pass/{}", L::PART));
        let mut known = self.take(key);
        for (resource, revision) in known.wrote.drain() {
            if let Some(synced) = self.synced.get(resource) {
                synced(revision).await;
            }
        }
        let world = &self.runner.world;
        let outcome = match L::observe(&self.context, key).await {
            Ok(None) => return,
            Ok(Some(seen)) => {
                let mut out = Changes::default();
                let next = L::plan(&seen, &mut known.memory, world.now(), &mut out);
                drop(seen);
                self.act(key, out, &mut known).await.map(|()| next)
            }
            Err(status) => Err(status),
        };
        match outcome {
            Ok(next) => {
                known.failures = 0;
                if let Next::At(at) = next {
                    let left = at.duration_since(world.now());
                    let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
                    self.queue.add_at(key.clone(), world.uptime() + left);
                }
            }
            // Whatever is created there is refused from now on; the end of the namespace takes the object along.
            Err(status) if namespace_ends(&status) => known.failures = 0,
            Err(status) => {
                known.failures += 1;
                // A conflict or an object that is just gone is everyday life; the next look decides anew.
                match status.code {
                    404 | 409 => {
                        tracing::debug!(name = L::NAME, %key, %status, "a pass starts over")
                    }
                    _ => tracing::warn!(name = L::NAME, %key, %status, "a pass failed"),
                }
                let wait = RETRY.delay(known.failures);
                self.queue.add_at(key.clone(), world.uptime() + wait);
            }
        }
        self.keys.lock().expect("no holder of this lock panics").insert(key.clone(), known);
    }

    fn take(&self, key: &Key) -> Known<L::Memory> {
        let mut keys = self.keys.lock().expect("no holder of this lock panics");
        keys.remove(key).unwrap_or_else(|| Known {
            memory: L::Memory::default(),
            failures: 0,
            wrote: HashMap::new(),
        })
    }

    async fn act(
        &self,
        pass: &Key,
        changes: Changes,
        known: &mut Known<L::Memory>,
    ) -> Result<(), Status> {
        for change in changes.into_list() {
            match change {
                Change::Together(list) => {
                    let (mut rest, mut size) = (list.as_slice(), 1);
                    while !rest.is_empty() {
                        let (batch, later) = rest.split_at(size.min(rest.len()));
                        let outcomes =
                            join_all(batch.iter().map(|change| self.perform(pass, change))).await;
                        let noted: Vec<_> = batch
                            .iter()
                            .zip(outcomes)
                            .map(|(change, outcome)| note::<L>(known, change, outcome))
                            .collect();
                        noted.into_iter().collect::<Result<(), Status>>()?;
                        (rest, size) = (later, (size * 2).min(TOGETHER_MOST));
                    }
                }
                change => {
                    let outcome = self.perform(pass, &change).await;
                    note::<L>(known, &change, outcome)?;
                }
            }
        }
        Ok(())
    }

    /// Performs one change and says what it wrote; `None` when nothing is to be waited for.
    async fn perform(
        &self,
        pass: &Key,
        change: &Change,
    ) -> Result<Option<(&'static str, u64)>, Status> {
        let client = &self.context.client;
        let (resource, written) = match change {
            Change::Told(change, tell) => return self.tell(pass, change, tell).await,
            Change::Together(_) => {
                return Err(Status::internal("changes that stand together cannot be nested"));
            }
            Change::Create { resource, namespace, body } => {
                (resource, self.create(pass, *resource, namespace, body).await?)
            }
            Change::Patch { kind, resource, key, subresource, body } => {
                let (namespace, body) = (&key.namespace, body.clone());
                let written =
                    client.patch(*kind, *resource, namespace, &key.name, subresource, body).await?;
                (resource, written)
            }
            Change::Merge { resource, key, subresource, body } => {
                (resource, self.merge(*resource, key, subresource, body.clone()).await?)
            }
            Change::Delete { resource, key, options } => {
                self.whole(pass, &key.namespace)?;
                match client.delete(*resource, &key.namespace, &key.name, options).await {
                    Err(status) if status.code == 404 => return Ok(None),
                    other => (resource, other?),
                }
            }
            Change::Event(note) => {
                let about = note.about.clone();
                self.recorder.record(note.sort, &note.reason, &note.message, about).await;
                return Ok(None);
            }
        };
        Ok(Some((resource.plural, written.revision)))
    }

    async fn create(
        &self,
        pass: &Key,
        resource: Resource,
        namespace: &str,
        body: &Value,
    ) -> Result<Written, Status> {
        self.whole(pass, namespace)?;
        self.context.client.create(resource, namespace, body.clone()).await
    }

    /// Nothing is made or deleted where something is that cannot be read: the plan took it for absent. The pass is gone
    /// over again as soon as that changes.
    fn whole(&self, pass: &Key, namespace: &str) -> Result<(), Status> {
        let hidden = || self.hidden.iter().find_map(|hidden| hidden(namespace));
        if hidden().is_some() {
            self.queue.withhold(pass.clone());
        }
        // Asked again: what became readable before the key was noted woke nobody.
        let Some((resource, key)) = hidden() else { return Ok(()) };
        let about = About { group: resource.group, resource: resource.plural };
        Err(Status::storage_read(about, &key.name, &format!("{key} is there and cannot be read")))
    }

    async fn merge(
        &self,
        resource: Resource,
        key: &Key,
        subresource: &str,
        body: Value,
    ) -> Result<Written, Status> {
        let object = self.reader.get(resource, &key.namespace, &key.name).await?;
        let mut object = object.into_value();
        let wanted = body.get("metadata").and_then(|metadata| metadata.get("uid"));
        if wanted.is_some_and(|uid| *uid != object["metadata"]["uid"]) {
            let about = About { group: resource.group, resource: resource.plural };
            return Err(Status::conflict(about, &key.name, "it was deleted and made anew"));
        }
        put(&mut object, body);
        self.context.client.update(resource, &key.namespace, &key.name, subresource, object).await
    }

    /// Performs a change and tells users how it went.
    async fn tell(
        &self,
        pass: &Key,
        change: &Change,
        tell: &Tell,
    ) -> Result<Option<(&'static str, u64)>, Status> {
        let (outcome, name) = match change {
            // Only the answer to a create knows a generated name.
            Change::Create { resource, namespace, body } => {
                match self.create(pass, *resource, namespace, body).await {
                    Ok(written) => {
                        let revision = written.revision;
                        let name = written.object()?.name().to_owned();
                        (Ok(Some((resource.plural, revision))), name)
                    }
                    Err(status) => (Err(status), String::new()),
                }
            }
            Change::Patch { key, .. } | Change::Merge { key, .. } | Change::Delete { key, .. } => {
                (Box::pin(self.perform(pass, change)).await, key.name.clone())
            }
            other => (Box::pin(self.perform(pass, other)).await, String::new()),
        };
        let (sort, (reason, message), error) = match &outcome {
            Ok(_) => ("Normal", &tell.done, ""),
            Err(status) if namespace_ends(status) => return outcome,
            Err(status) => ("Warning", &tell.failed, &*status.message),
        };
        if !reason.is_empty() {
            let message = message.replace("{name}", &name).replace("{error}", error);
            self.recorder.record(sort, reason, &message, tell.about.clone()).await;
        }
        outcome
    }
}

/// Puts the fields of a merge patch into an object (RFC 7386).
fn put(into: &mut Value, from: Value) {
    let Value::Object(from) = from else {
        *into = from;
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Value::Object(fields) = into else { return };
    for (key, value) in from {
        match value {
            Value::Null => drop(fields.remove(&key)),
            value => put(fields.entry(key).or_insert(Value::Null), value),
        }
    }
}

/// Keeps what a change wrote, or has the loop remember why it failed.
fn note<L: Loop>(
    known: &mut Known<L::Memory>,
    change: &Change,
    outcome: Result<Option<(&'static str, u64)>, Status>,
) -> Result<(), Status> {
    match outcome {
        Ok(Some((resource, revision))) => {
            let newest = known.wrote.entry(resource).or_default();
            *newest = revision.max(*newest);
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(status) => {
            L::failed(&mut known.memory, change, &status);
            Err(status)
        }
    }
}

/// A refusal because the namespace is going.
fn namespace_ends(status: &Status) -> bool {
    let causes = status.details.as_ref().and_then(|details| details.get("causes")?.as_array());
    causes
        .is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == "NamespaceTerminating"))
}
