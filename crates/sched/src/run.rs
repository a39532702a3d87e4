//! The loop: takes what has changed, then a pod, asks the mind, and leaves the bind to a task of its own, so that the
//! next pod does not wait for it. Nothing here is locked while something is planned.

use crate::figures::{Attempt, Figures, WRITING_MOST};
use crate::mind::{Act, Mind, guarded};
use crate::plugins::PLUGINS;
use crate::pod::PodInfo;
use serde_json::json;
use skiff_api::time::{Precision, format};
use skiff_api::view::View;
use skiff_base::{Tasks, World, fault};
use skiff_client::events::{Recorder, reference};
use skiff_client::{Cache, Caches, Change, Client, PatchKind, Subscription};
use skiff_kinds::views::{Namespace, Node, Pod};
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
        let (nodes, namespaces, pods) = (caches.of(), caches.of(), caches.of());
        let it = scheduler.clone();
        scheduler.0.tasks.vital(async move {
            Cache::<Node>::caught_up(&nodes, 0).await;
            Cache::<Namespace>::caught_up(&namespaces, 0).await;
            Cache::<Pod>::caught_up(&pods, 0).await;
            it.work(Inbox {
                nodes: nodes.subscribe(),
                namespaces: namespaces.subscribe(),
                pods: pods.subscribe(),
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
        self.0.figures.count(match act {
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
            Act::Refuse(pod, message) => {
                self.refuse(&pod.pod, &message).await;
                Attempt::Unschedulable
            }
            Act::Again => Attempt::Error,
        });
    }

    async fn bind(&self, info: &Arc<PodInfo>, node: &str) -> Result<(), String> {
        let underway = Underway { inner: &self.0, info: Some(info.clone()) };
        let meta = &info.pod.metadata;
        for step in PLUGINS.iter().filter_map(|plugin| plugin.pre_bind(&info.pod, node)) {
            step.await?;
        }
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

    async fn refuse(&self, pod: &Arc<Pod>, message: &str) {
        let meta = &pod.metadata;
        let about = reference(Pod::RESOURCE, meta);
        let (recorder, reason) = (&self.0.recorder, "FailedScheduling");
        recorder.acted("Scheduling", "Warning", reason, message, about).await;
        let old = pod.status.condition("PodScheduled");
        let same = old.is_some_and(|c| c.status == "False" && c.message == message);
        if same {
            return;
        }
        let changed = old.filter(|c| c.status == "False").and_then(|c| c.last_transition_time);
        let changed = changed.unwrap_or(self.0.world.now());
        let body = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": message, "lastProbeTime": null,
            "observedGeneration": meta.generation,
            "lastTransitionTime": format(changed, Precision::Seconds),
        }]}});
        let (kind, resource, client) = (PatchKind::Strategic, Pod::RESOURCE, &self.0.client);
        let written =
            client.patch(kind, resource, &meta.namespace, &meta.name, "status", body).await;
        if let Err(status) = written {
            tracing::debug!(key = %meta.key(), %status, "a condition was not written");
        }
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

/// What came in and was not looked at yet.
struct Inbox {
    nodes: Subscription<Node>,
    namespaces: Subscription<Namespace>,
    pods: Subscription<Pod>,
    /// Pods whose binds came to nothing.
    unbound: mpsc::UnboundedReceiver<Arc<PodInfo>>,
}

/// One piece of it.
enum News {
    Node(Change<Node>),
    Namespace(Change<Namespace>),
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
        let first = first.or_else(|| self.pods.take().map(News::Pod));
        first.or_else(|| self.unbound.try_recv().ok().map(News::Unbound))
    }

    async fn next(&mut self) -> News {
        tokio::select! {
            biased;
            change = self.nodes.next() => News::Node(change),
            change = self.namespaces.next() => News::Namespace(change),
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
            News::Pod(it) => guarded(&it.key, || mind.pod(&it.key, it.new.as_ref(), now)),
            News::Unbound(pod) => guarded(&pod.key, || mind.unbound(&pod, now)),
        };
    }
}
