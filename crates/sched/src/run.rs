//! The loop: takes what has changed, then a pod, asks the mind, and leaves the bind to a task of its own, so that the
//! next pod does not wait for it. Nothing here is locked while something is planned.

use crate::figures::{Attempt, Figures, WRITING_MOST};
use crate::mind::{Act, Mind, Refusal, guarded};
use crate::plugins::Write;
use crate::pod::PodInfo;
use crate::preempt::Promise;
use skiff_api::Status;
use skiff_api::time::{Precision, format};
use skiff_api::view::View;
use skiff_base::{Tasks, Time, World, fault};
use skiff_client::events::{Recorder, reference};
use skiff_client::{Caches, Change, Client, DeleteOptions, PatchKind, Subscription};
use skiff_json::{Value, json};
use skiff_kinds::views::storage::CsiNode;
use skiff_kinds::views::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodDisruptionBudget,
    StorageClass,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The name that pods ask for, and the source of events.
pub const NAME: &str = "default-scheduler";

/// Cheap to clone.
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

struct Inner {
    world: World,
    client: Client,
    recorder: Recorder,
    tasks: Tasks,
    /// Places of decisions that are being written.
    writing: Arc<Semaphore>,
    /// Pods whose binds came to nothing: never more than there are places.
    unbound: mpsc::UnboundedSender<Arc<PodInfo>>,
    figures: Figures,
}

impl Scheduler {
    /// `client` acts as `system:kube-scheduler`; the caches may be shared. Events name the `host`.
    pub fn start(
        world: World,
        client: Client,
        caches: &Caches,
        tasks: Tasks,
        host: &str,
        figures: Figures,
    ) -> Scheduler {
        let recorder = Recorder::new(client.clone(), world.clone(), NAME).on_host(host);
        let writing = Arc::new(Semaphore::new(WRITING_MOST));
        let (unbound, failed) = mpsc::unbounded_channel();
        let tasks = tasks.clone();
        let inner = Inner { world, client, recorder, tasks, writing, unbound, figures };
        let scheduler = Scheduler(Arc::new(inner));
        let (caches, it) = (caches.clone(), scheduler.clone());
        scheduler.0.tasks.vital(async move {
            it.work(Inbox {
                nodes: follow(&caches).await,
                namespaces: follow(&caches).await,
                classes: follow(&caches).await,
                volumes: follow(&caches).await,
                claims: follow(&caches).await,
                csi_nodes: follow(&caches).await,
                budgets: follow(&caches).await,
                pods: follow(&caches).await,
                unbound: failed,
            })
            .await;
        });
        scheduler
    }

    async fn work(&self, mut inbox: Inbox) {
        let (world, mut mind) = (&self.0.world, Mind::default());
        loop {
            inbox.read(&mut mind, world);
            fault::point("scheduler");
            let ready = mind.is_ready(world.uptime());
            let writing = WRITING_MOST - self.0.writing.available_permits();
            self.0.figures.set(mind.lengths(), writing);
            if !ready {
                let left = mind.next().map(|at| at.saturating_sub(world.uptime()));
                let news = match left {
                    Some(left) => world.within(left, inbox.next()).await,
                    None => Some(inbox.next().await),
                };
                news.into_iter().for_each(|news| news.tell(&mut mind, world.uptime()));
                continue;
            }
            // Every now and then this leaves the thread to others even if there is a place.
            let place = self.0.writing.clone().acquire_owned().await;
            let place = place.expect("this semaphore is never closed");
            inbox.read(&mut mind, world);
            if let Some(act) = mind.decide(world.uptime()) {
                let it = self.clone();
                self.0.tasks.spawn(async move { it.act(act, place).await });
            }
        }
    }

    async fn act(&self, act: Act, _place: OwnedSemaphorePermit) {
        let attempt = match act {
            Act::Claim(pod, writes) => {
                if let Err(why) = self.claim(&pod, writes).await {
                    tracing::warn!(key = %pod.key, why, "volumes were not claimed");
                    self.0.figures.count(Attempt::Error);
                }
                return;
            }
            Act::Bind(pod, node) => match self.bind(&pod, &node).await {
                Ok(()) => {
                    self.bound(&pod, &node).await;
                    Attempt::Scheduled
                }
                Err(why) => {
                    tracing::warn!(key = %pod.key, node, why, "a bind failed");
                    Attempt::Error
                }
            },
            Act::Refuse(refusal) => {
                self.refuse(&refusal).await;
                Attempt::Unschedulable
            }
            Act::Again => Attempt::Error,
        };
        self.0.figures.count(attempt);
    }

    /// Writes what the claims of a pod need; the bind follows when they are bound.
    async fn claim(&self, info: &Arc<PodInfo>, writes: Vec<Write>) -> Result<(), String> {
        let underway = Underway { inner: &self.0, info: Some(info.clone()) };
        for Write { resource, key, body } in writes {
            let (kind, client) = (PatchKind::Merge, &self.0.client);
            let written = client.patch(kind, resource, &key.namespace, &key.name, "", body).await;
            written.map_err(|status| status.to_string())?;
        }
        underway.done();
        Ok(())
    }

    async fn bind(&self, info: &Arc<PodInfo>, node: &str) -> Result<(), String> {
        let underway = Underway { inner: &self.0, info: Some(info.clone()) };
        let meta = &info.pod.metadata;
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let client = &self.0.client;
        let bound =
            client.create_below(Pod::RESOURCE, &meta.namespace, &meta.name, "binding", body).await;
        bound.map_err(|status| status.to_string())?;
        underway.done();
        Ok(())
    }

    async fn bound(&self, info: &PodInfo, node: &str) {
        let about = reference(Pod::RESOURCE, &info.pod.metadata);
        let message = format!("Successfully assigned {} to {node}", info.key);
        self.0.recorder.acted("Binding", "Normal", "Scheduled", &message, about).await;
    }

    async fn refuse(&self, refusal: &Refusal) {
        let Refusal { pod, message, promise, displaced } = refusal;
        let pod = &pod.pod;
        let about = reference(Pod::RESOURCE, &pod.metadata);
        let (recorder, reason) = (&self.0.recorder, "FailedScheduling");
        recorder.acted("Scheduling", "Warning", reason, message, about).await;
        let promised = match promise {
            Promise::Keep => None,
            Promise::None => Some(""),
            Promise::Node(node, _) => Some(&**node),
        };
        let promised = promised.filter(|node| *node != pod.status.nominated_node_name);
        let old = pod.status.condition("PodScheduled");
        let same = old.is_some_and(|c| c.status == "False" && c.message == *message);
        if !same || promised.is_some() {
            let changed = old.filter(|c| c.status == "False").and_then(|c| c.last_transition_time);
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": message, "lastProbeTime": null,
                "observedGeneration": pod.metadata.generation,
                "lastTransitionTime": self.stamp(changed),
            });
            let mut status = json!({"conditions": [condition]});
            if let Some(node) = promised {
                status["nominatedNodeName"] =
                    if node.is_empty() { Value::Null } else { node.into() };
            }
            self.status(pod, status).await.ok();
        }
        let nobody = json!({"nominatedNodeName": null});
        for lesser in displaced {
            self.status(&lesser.pod, nobody.clone()).await.ok();
        }
        if let Promise::Node(node, victims) = promise {
            for victim in victims.iter().filter(|victim| !victim.pod.metadata.deleting()) {
                self.evict(pod, node, &victim.pod).await;
            }
        }
    }

    /// Has a victim end, as politely as its own grace says.
    async fn evict(&self, pod: &Pod, node: &str, victim: &Pod) {
        let mut says = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": format!("{NAME}: preempting to accommodate a higher priority pod"),
            "lastProbeTime": null, "lastTransitionTime": self.stamp(None),
        });
        if victim.metadata.generation != 0 {
            says["observedGeneration"] = victim.metadata.generation.into();
        }
        let meta = &victim.metadata;
        let options = DeleteOptions { uid: Some(meta.uid.clone()), ..DeleteOptions::default() };
        let done = async {
            self.status(victim, json!({"conditions": [says]})).await?;
            let client = &self.0.client;
            client.delete(Pod::RESOURCE, &meta.namespace, &meta.name, &options).await.map(|_| ())
        };
        match done.await {
            Ok(()) => {
                let about = reference(Pod::RESOURCE, meta);
                let message = format!("Preempted by pod {} on node {node}", pod.metadata.uid);
                let recorder = &self.0.recorder;
                recorder.acted("Preempting", "Normal", "Preempted", &message, about).await;
            }
            // It went by itself.
            Err(status) if status.code == 404 => {}
            Err(status) => tracing::warn!(key = %meta.key(), %status, "a victim was not deleted"),
        }
    }

    /// Since when something is so, or now.
    fn stamp(&self, since: Option<Time>) -> String {
        format(since.unwrap_or(self.0.world.now()), Precision::Seconds)
    }

    async fn status(&self, pod: &Pod, status: Value) -> Result<(), Status> {
        let meta = &pod.metadata;
        let body = json!({"metadata": {"uid": meta.uid}, "status": status});
        let (kind, resource, client) = (PatchKind::Strategic, Pod::RESOURCE, &self.0.client);
        let written =
            client.patch(kind, resource, &meta.namespace, &meta.name, "status", body).await;
        if let Err(status) = &written {
            tracing::debug!(key = %meta.key(), %status, "a status was not written");
        }
        written.map(|_| ())
    }
}

/// A bind that is under way: however it ends, unless it was done, the pod is given back.
struct Underway<'a> {
    inner: &'a Inner,
    info: Option<Arc<PodInfo>>,
}

impl Underway<'_> {
    fn done(mut self) {
        self.info = None;
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if let Some(info) = self.info.take() {
            // Nobody hears it when the scheduler has ended, too.
            self.inner.unbound.send(info).ok();
        }
    }
}

/// What changes of a resource, once all of it was seen.
async fn follow<V: View>(caches: &Caches) -> Subscription<V> {
    let cache = caches.of::<V>();
    cache.caught_up(0).await;
    cache.subscribe()
}

/// What came in and was not looked at yet.
struct Inbox {
    nodes: Subscription<Node>,
    namespaces: Subscription<Namespace>,
    classes: Subscription<StorageClass>,
    volumes: Subscription<PersistentVolume>,
    claims: Subscription<PersistentVolumeClaim>,
    csi_nodes: Subscription<CsiNode>,
    budgets: Subscription<PodDisruptionBudget>,
    pods: Subscription<Pod>,
    /// Pods whose binds came to nothing.
    unbound: mpsc::UnboundedReceiver<Arc<PodInfo>>,
}

/// One piece of it.
enum News {
    Node(Change<Node>),
    Namespace(Change<Namespace>),
    Class(Change<StorageClass>),
    Volume(Change<PersistentVolume>),
    Claim(Change<PersistentVolumeClaim>),
    CsiNode(Change<CsiNode>),
    Budget(Change<PodDisruptionBudget>),
    Pod(Change<Pod>),
    Unbound(Arc<PodInfo>),
}

impl Inbox {
    fn read(&mut self, mind: &mut Mind, world: &World) {
        while let Some(news) = self.take() {
            news.tell(mind, world.uptime());
        }
    }

    fn take(&mut self) -> Option<News> {
        let first = self.nodes.take().map(News::Node);
        let first = first.or_else(|| self.namespaces.take().map(News::Namespace));
        let first = first.or_else(|| self.classes.take().map(News::Class));
        let first = first.or_else(|| self.volumes.take().map(News::Volume));
        let first = first.or_else(|| self.claims.take().map(News::Claim));
        let first = first.or_else(|| self.csi_nodes.take().map(News::CsiNode));
        let first = first.or_else(|| self.budgets.take().map(News::Budget));
        let first = first.or_else(|| self.pods.take().map(News::Pod));
        first.or_else(|| self.unbound.try_recv().ok().map(News::Unbound))
    }

    async fn next(&mut self) -> News {
        tokio::select! {
            biased;
            change = self.nodes.next() => News::Node(change),
            change = self.namespaces.next() => News::Namespace(change),
            change = self.classes.next() => News::Class(change),
            change = self.volumes.next() => News::Volume(change),
            change = self.claims.next() => News::Claim(change),
            change = self.csi_nodes.next() => News::CsiNode(change),
            change = self.budgets.next() => News::Budget(change),
            change = self.pods.next() => News::Pod(change),
            Some(pod) = self.unbound.recv() => News::Unbound(pod),
        }
    }
}

impl News {
    fn tell(self, mind: &mut Mind, now: Duration) {
        match self {
            News::Node(it) => guarded(&it.key, || mind.node(&it.key, it.new.as_ref(), now)),
            News::Namespace(it) => {
                guarded(&it.key, || mind.namespace(&it.key, it.new.as_ref(), now))
            }
            News::Class(it) => guarded(&it.key, || {
                mind.storage(|storage| storage.set_class(&it.key.name, it.new.as_ref()), now);
            }),
            News::Volume(it) => guarded(&it.key, || {
                mind.storage(|storage| storage.set_volume(&it.key.name, it.new.as_ref()), now);
            }),
            News::Claim(it) => guarded(&it.key, || mind.claim(&it.key, it.new.as_ref(), now)),
            News::CsiNode(it) => guarded(&it.key, || {
                mind.storage(|storage| storage.set_csi_node(&it.key.name, it.new.as_ref()), now);
            }),
            News::Budget(it) => guarded(&it.key, || mind.budget(&it.key, it.new.as_ref())),
            News::Pod(it) => guarded(&it.key, || mind.pod(&it.key, it.new.as_ref(), now)),
            News::Unbound(pod) => guarded(&pod.key, || mind.unbound(&pod, now)),
        };
    }
}
