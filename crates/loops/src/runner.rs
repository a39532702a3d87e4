//! The runner: the only one that acts for loops. It wakes a loop with a key, has it observe and plan, has the changes
//! written (`writer.rs`), and comes back when the plan says so or when it failed.
//!
//! A pass over a key begins only when the caches show everything that the pass before wrote: this replaces the
//! bookkeeping of expected creations and deletions.

use crate::changes::{Change, Changes};
use crate::controllers::lasting::Wanted;
use crate::health::{Healths, Stats};
use crate::on::On;
use crate::queue::Queue;
use crate::writer::{Pass, Writer, Wrote};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use skiff_api::Status;
use skiff_api::registry::Kinds;
use skiff_api::view::{Key, Resource, View};
use skiff_api::wire::{Serve, User};
use skiff_base::Lock;
use skiff_base::{Backoff, Cidr, Parts, Tasks, Time, World, fault};
use skiff_client::events::Recorder;
use skiff_client::{Caches, Client, Metas, there};
use skiff_kinds::certificates::request::Request;
use skiff_kinds::views::token::LegacyClaims;
use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

/// After a failed pass; upstream's rate limit of controllers has the same bounds.
const RETRY: Backoff = Backoff { first: Duration::from_millis(5), most: Duration::from_secs(1000) };

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
    /// Asks the server that an APIService names for its discovery, for a few seconds at most; else why it has none.
    pub reach: Box<Reach>,
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

/// Whether an aggregated server answers, by the name of its APIService.
pub type Reach = dyn Fn(&str) -> BoxFuture<'static, Result<(), String>> + Send + Sync;

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
            reach: Box::new(|_| Box::pin(std::future::ready(Ok(())))),
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
            writer: Writer {
                recorder: Recorder::new(client.clone(), self.world.clone(), L::SOURCE),
                client: client.clone(),
                reader: Client::new(self.serve.clone(), all, L::NAME),
                reads: on.reading(),
                queue: queue.clone(),
            },
            context: Context {
                caches: self.caches.clone(),
                metas: self.metas.clone(),
                kinds: self.kinds.clone(),
                client,
                settings: self.settings.clone(),
            },
            queue,
            stats,
            keys: Lock::new(HashMap::new()),
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

struct Run<L: Loop> {
    runner: Runner,
    /// Of its passes.
    tasks: Tasks,
    context: Context,
    writer: Writer,
    queue: Arc<Queue>,
    stats: Arc<Stats>,
    keys: Lock<HashMap<Key, Known<L::Memory>>>,
}

impl<L: Loop> Run<L> {
    async fn work(self: Arc<Self>) {
        let world = &self.runner.world;
        self.writer.reads.synced(world, &self.stats).await;
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
        let pass = Pass::new(key);
        let outcome = match self.looked(&pass).await {
            Ok(None) => {
                self.keys().remove(key);
                return;
            }
            Ok(Some(next)) => Ok(next),
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
            self.writer.reads.caught_up(world, resource, revision).await?;
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
        self.keys.lock()
    }

    /// Performs the changes; the loop hears of those that failed.
    async fn act(
        &self,
        pass: &Pass<'_>,
        changes: Changes,
        memory: &mut L::Memory,
    ) -> Result<(), Status> {
        let done = self.writer.act(pass, changes).await;
        let noted: Vec<_> = done
            .into_iter()
            .map(|(change, outcome)| self.note(pass, memory, &change, outcome))
            .collect();
        noted.into_iter().collect()
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
}

#[cfg(test)]
mod tests;
