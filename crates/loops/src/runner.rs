//! The runner: the only one that acts for loops. It wakes a loop with a key, has it observe and plan, performs the
//! changes through the client under the loop's own identity, and comes back when the plan says so or when it failed.
//!
//! A pass over a key begins only when the caches show everything that the pass before wrote: this replaces the
//! bookkeeping of expected creations and deletions.

use crate::changes::{Change, Changes, Tell};
use crate::controllers::lasting::Wanted;
use crate::health::{Healths, Stats};
use crate::on::{On, Reads};
use crate::queue::Queue;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use skiff_api::Status;
use skiff_api::registry::Kinds;
use skiff_api::status::About;
use skiff_api::view::{Key, Resource, View};
use skiff_api::wire::{Serve, User};
use skiff_base::{Backoff, Cidr, Parts, Tasks, Time, World, fault};
use skiff_client::events::Recorder;
use skiff_client::{Caches, Client, Metas, Written, there};
use skiff_kinds::certificates::request::Request;
use skiff_kinds::views::token::LegacyClaims;
use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
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
    /// The name of its service account in `kube-system`.
    const NAME: &'static str;
    /// The source of its events.
    const SOURCE: &'static str = Self::NAME;
    /// What it is called among the parts of the process; no two have the same.
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
    pub settings: Arc<ClusterFacts>,
}

impl Context {
    /// An object as the server knows it now; `None`: it is not there.
    pub async fn live<V: View>(&self, key: &Key) -> Result<Option<Arc<V>>, Status> {
        Ok(there(self.client.view::<V>(&key.namespace, &key.name).await)?.map(Arc::new))
    }
}

/// What loops are told about the cluster.
pub struct ClusterFacts {
    /// The certificate that clients of the API trust, as PEM.
    pub ca: String,
    /// Makes a token of claims.
    pub sign: Box<dyn Fn(&LegacyClaims) -> Result<String, Status> + Send + Sync>,
    /// What has to be there, whoever deletes it.
    pub wanted: Arc<Wanted>,
    /// Waits until what quotas of a namespace are charged with by now is there, or was given back; the revision of the
    /// newest pod of it.
    pub settled: Box<dyn Fn(&str) -> BoxFuture<'static, u64> + Send + Sync>,
    /// The range of all pods, and the bits that name a node's part of it.
    pub pods: Cidr,
    pub node_bits: u8,
    /// Signs for a key that somebody else holds: the request, its usages, and how long it is to be good.
    pub certify: Box<Certify>,
    /// What is the API server's own, and no node's.
    pub api_names: Vec<String>,
    pub api_addresses: Vec<IpAddr>,
}

/// Makes a certificate (PEM).
pub type Certify =
    dyn Fn(&Request, &[String], Option<Duration>) -> Result<String, Status> + Send + Sync;

#[cfg(test)]
impl ClusterFacts {
    /// Of a cluster that is none.
    pub fn test() -> ClusterFacts {
        ClusterFacts {
            ca: String::new(),
            sign: Box::new(|_| Ok(String::new())),
            wanted: Arc::default(),
            settled: Box::new(|_| Box::pin(std::future::ready(0))),
            pods: "10.244.0.0/16".parse().expect("a range"),
            node_bits: 24,
            certify: Box::new(|_, _, _| Ok(String::new())),
            api_names: Vec::new(),
            api_addresses: Vec::new(),
        }
    }
}

/// Runs loops over one server.
#[derive(Clone)]
pub struct Runner {
    pub serve: Arc<dyn Serve>,
    pub caches: Caches,
    pub metas: Arc<Metas>,
    pub kinds: Kinds,
    pub settings: Arc<ClusterFacts>,
    pub world: World,
    pub parts: Parts,
    /// How the loops fare.
    pub health: Healths,
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

    /// How loops and what they follow fare, in the Prometheus text format.
    pub fn figures(&self) -> String {
        skiff_client::figures(&self.caches, &self.metas) + &self.health.figures()
    }

    fn begin<L: Loop>(&self, tasks: Tasks) -> Arc<Run<L>> {
        let queue = Arc::new(Queue::default());
        let stats = self.health.of(L::PART, &self.world, &queue);
        let mut on = On::new(&self.caches, &self.metas, &queue, &stats, tasks.clone());
        L::on(&mut on);
        let client = Client::new(self.serve.clone(), L::user(), L::MANAGER);
        let all = User::system("skiff", &["system:masters"]);
        Arc::new(Run::<L> {
            runner: self.clone(),
            tasks,
            recorder: Recorder::new(client.clone(), self.world.clone(), L::SOURCE),
            context: Context {
                caches: self.caches.clone(),
                metas: self.metas.clone(),
                kinds: self.kinds.clone(),
                client,
                settings: self.settings.clone(),
            },
            reader: Client::new(self.serve.clone(), all, L::NAME),
            queue,
            stats,
            reads: on.reading(),
            keys: Mutex::new(HashMap::new()),
        })
    }
}

/// What is known of a key between passes.
struct Known<M> {
    memory: M,
    failures: u32,
    /// The last pass held something back.
    withheld: bool,
    /// The newest revision that passes wrote and the caches need not show yet, by resource.
    wrote: HashMap<Resource, u64>,
}

impl<M: Default> Default for Known<M> {
    fn default() -> Known<M> {
        Known { memory: M::default(), failures: 0, withheld: false, wrote: HashMap::new() }
    }
}

/// What a change wrote, and the revision that its write has.
type Wrote = Option<(Resource, u64)>;

struct Run<L: Loop> {
    runner: Runner,
    /// Of its passes.
    tasks: Tasks,
    context: Context,
    recorder: Recorder,
    /// Sees what the caches see; it never writes.
    reader: Client,
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    reads: Reads,
    keys: Mutex<HashMap<Key, Known<L::Memory>>>,
}

/// One pass over a key.
struct Pass<'k> {
    key: &'k Key,
    /// Something was held back until all can be read.
    withheld: AtomicBool,
}

impl<L: Loop> Run<L> {
    async fn work(self: Arc<Self>) {
        let world = &self.runner.world;
        self.reads.synced(world, &self.stats).await;
        let places = Arc::new(tokio::sync::Semaphore::new(L::WORKERS));
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
            fault::point(format_args!("loop/{}", L::PART));
            let run = self.clone();
            self.tasks.spawn(async move {
                let ended = AssertUnwindSafe(run.pass(&key)).catch_unwind().await;
                run.stats.passed();
                if let Err(panic) = ended {
                    run.stats.panicked(&format!("a pass over {}", *key), &*panic);
                    run.again(&key);
                    drop((key, place));
                    // The part of the process hears of it too.
                    resume_unwind(panic);
                }
            });
        }
    }

    async fn pass(&self, key: &Key) {
        fault::point(format_args!("pass/{}", L::PART));
        let pass = Pass { key, withheld: AtomicBool::new(false) };
        let outcome = match self.looked(&pass).await {
            Ok(None) => {
                self.keys().remove(key);
                return;
            }
            Ok(Some(next)) => Ok(next),
            // Whatever is created there is refused from now on; the end of the namespace takes the object along.
            Err(status) if namespace_ends(&status) => Ok(Next::Wait),
            // It comes again as soon as what cannot be read can be, or is gone; once at once, to tell its users why.
            Err(status) if pass.withheld.into_inner() => {
                self.stats.withheld(format!("{key}: {status}"));
                let mut keys = self.keys();
                let known = keys.entry(key.clone()).or_default();
                if !std::mem::replace(&mut known.withheld, true) {
                    self.queue.add(key.clone());
                }
                return;
            }
            Err(status) => Err(status),
        };
        match outcome {
            Ok(next) => {
                let mut keys = self.keys();
                let known = keys.entry(key.clone()).or_default();
                (known.failures, known.withheld) = (0, false);
                drop(keys);
                if let Next::At(at) = next {
                    let world = &self.runner.world;
                    let left = at.duration_since(world.now());
                    let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
                    self.queue.add_at(key.clone(), world.uptime() + left);
                }
            }
            Err(status) => {
                // A conflict or an object that is just gone is everyday life; the next look decides anew.
                match status.code {
                    404 | 409 => {
                        tracing::debug!(name = L::NAME, %key, %status, "a pass starts over")
                    }
                    _ => tracing::warn!(name = L::NAME, %key, %status, "a pass failed"),
                }
                self.stats.failed(format!("{key}: {status}"));
                self.again(key);
            }
        }
    }

    /// Looks, plans and acts; `None` when there is nothing to look at.
    async fn looked(&self, pass: &Pass<'_>) -> Result<Option<Next>, Status> {
        let world = &self.runner.world;
        let wrote: Vec<(Resource, u64)> = match self.keys().get(pass.key) {
            Some(known) => known.wrote.iter().map(|(it, revision)| (*it, *revision)).collect(),
            None => Vec::new(),
        };
        for (resource, revision) in wrote {
            self.reads.caught_up(world, resource, revision).await?;
        }
        // Taken out for the pass: a panic loses it, as it may.
        let mut memory = match self.keys().get_mut(pass.key) {
            Some(known) => {
                known.wrote.clear();
                std::mem::take(&mut known.memory)
            }
            None => L::Memory::default(),
        };
        let looked = match L::observe(&self.context, pass.key).await {
            Ok(None) => return Ok(None),
            Ok(Some(seen)) => {
                let mut out = Changes::default();
                let next = L::plan(&seen, &mut memory, world.now(), &mut out);
                drop(seen);
                self.act(pass, out, &mut memory).await.map(|()| Some(next))
            }
            Err(status) => Err(status),
        };
        self.keys().entry(pass.key.clone()).or_default().memory = memory;
        looked
    }

    /// Asks for another pass after one that failed.
    fn again(&self, key: &Key) {
        let mut keys = self.keys();
        let known = keys.entry(key.clone()).or_default();
        known.failures += 1;
        let wait = RETRY.delay(known.failures);
        drop(keys);
        self.queue.add_at(key.clone(), self.runner.world.uptime() + wait);
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<Key, Known<L::Memory>>> {
        self.keys.lock().expect("no holder of this lock panics")
    }

    async fn act(
        &self,
        pass: &Pass<'_>,
        changes: Changes,
        memory: &mut L::Memory,
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
                            .map(|(change, outcome)| self.note(pass, memory, change, outcome))
                            .collect();
                        noted.into_iter().collect::<Result<(), Status>>()?;
                        (rest, size) = (later, (size * 2).min(TOGETHER_MOST));
                    }
                }
                change => {
                    let outcome = self.perform(pass, &change).await;
                    self.note(pass, memory, &change, outcome)?;
                }
            }
        }
        Ok(())
    }

    /// Performs one change and says what it wrote; `None` when nothing is to be waited for.
    async fn perform(&self, pass: &Pass<'_>, change: &Change) -> Result<Wrote, Status> {
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
        Ok(Some((*resource, written.revision)))
    }

    async fn create(
        &self,
        pass: &Pass<'_>,
        resource: Resource,
        namespace: &str,
        body: &Value,
    ) -> Result<Written, Status> {
        self.whole(pass, namespace)?;
        self.context.client.create(resource, namespace, body.clone()).await
    }

    /// Nothing is made or deleted where something is that cannot be read: the plan took it for absent. The pass is gone
    /// over again as soon as that changes.
    fn whole(&self, pass: &Pass<'_>, namespace: &str) -> Result<(), Status> {
        if self.reads.hidden_in(namespace).is_some() {
            self.queue.withhold(pass.key.clone());
        }
        // Asked again: what became readable before the key was noted woke nobody.
        let Some((resource, key)) = self.reads.hidden_in(namespace) else { return Ok(()) };
        pass.withheld.store(true, Ordering::Relaxed);
        let about = About { group: resource.group, resource: resource.plural };
        Err(Status::storage_read(about, &key.name, &format!("{key} is there and cannot be read")))
    }

    /// Keeps what a change wrote, or has the loop remember why it failed.
    fn note(
        &self,
        pass: &Pass<'_>,
        memory: &mut L::Memory,
        change: &Change,
        outcome: Result<Wrote, Status>,
    ) -> Result<(), Status> {
        let wrote = outcome.inspect_err(|status| L::failed(memory, change, status))?;
        // Where no revision was told nothing was written, or what was is not waited for.
        if let Some((resource, revision)) = wrote.filter(|(_, revision)| *revision > 0) {
            let mut keys = self.keys();
            let newest =
                keys.entry(pass.key.clone()).or_default().wrote.entry(resource).or_default();
            *newest = revision.max(*newest);
        }
        Ok(())
    }

    async fn merge(
        &self,
        resource: Resource,
        key: &Key,
        subresource: &str,
        body: Value,
    ) -> Result<Written, Status> {
        // A scale is an object of its own; the other entries write a part of the whole.
        let entry = if subresource == "scale" { subresource } else { "" };
        let path = resource.path(&key.namespace, &key.name, entry);
        let mut object = self.reader.get_path(&path).await?;
        let wanted = body.get("metadata").and_then(|metadata| metadata.get("uid"));
        if wanted.is_some_and(|uid| *uid != object["metadata"]["uid"]) {
            let about = About { group: resource.group, resource: resource.plural };
            return Err(Status::conflict(about, &key.name, "it was deleted and made anew"));
        }
        put(&mut object, body);
        self.context.client.update(resource, &key.namespace, &key.name, subresource, object).await
    }

    /// Performs a change and tells users how it went.
    async fn tell(&self, pass: &Pass<'_>, change: &Change, tell: &Tell) -> Result<Wrote, Status> {
        let (outcome, name) = match change {
            // Only the answer to a create knows a generated name.
            Change::Create { resource, namespace, body } => {
                match self.create(pass, *resource, namespace, body).await {
                    Ok(written) => {
                        let revision = written.revision;
                        let name = written.object()?.name().to_owned();
                        (Ok(Some((*resource, revision))), name)
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
            Err(status) if namespace_ends(status) || name_taken(status) => return outcome,
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

/// A refusal because the name is somebody else's: who wanted it looks again, and says so if it matters.
fn name_taken(status: &Status) -> bool {
    status.code == 409 && status.reason == "AlreadyExists"
}

/// A refusal because the namespace is going.
fn namespace_ends(status: &Status) -> bool {
    let causes = status.details.as_ref().and_then(|details| details.get("causes")?.as_array());
    causes
        .is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == "NamespaceTerminating"))
}

#[cfg(test)]
mod tests;
