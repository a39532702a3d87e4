//! The loop: takes what has changed, then a pod, asks the mind, and leaves the bind to a task of its own, so that the
//! next pod does not wait for it. Nothing here is locked while something is planned.

use crate::figures::{Attempt, Figures, WRITING_MOST};
use crate::mind::{Act, Mind, guarded};
use crate::plugins::PLUGINS;
use crate::pod::PodInfo;
use serde_json::json;
use skiff_api::time::{Precision, format};
use skiff_api::view::{Key, View};
use skiff_base::{Tasks, World, fault};
use skiff_client::events::{Recorder, reference};
use skiff_client::{Cache, Caches, Client, PatchKind};
use skiff_kinds::views::{Namespace, Node, Pod};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

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
    bell: Arc<Notify>,
    figures: Figures,
}

impl Scheduler {
    /// `client` acts as `system:kube-scheduler`; the caches may be shared. Events name the `host`. It counts in `figures`.
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
        let bell = Arc::new(Notify::new());
        let inner = Inner {
            world,
            client,
            recorder,
            tasks: tasks.clone(),
            writing,
            unbound,
            bell: bell.clone(),
            figures,
        };
        let scheduler = Scheduler(Arc::new(inner));
        let it = scheduler.clone();
        let inbox = Inbox {
            nodes: Subscribed::to(caches.of(), &bell),
            namespaces: Subscribed::to(caches.of(), &bell),
            pods: Subscribed::to(caches.of(), &bell),
            failed,
            bell,
        };
        tasks.vital(async move {
            inbox.nodes.cache.caught_up(0).await;
            inbox.namespaces.cache.caught_up(0).await;
            inbox.pods.cache.caught_up(0).await;
            it.work(inbox).await;
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
                inbox.wait(mind.next(), world).await;
                continue;
            }
            let place = self.0.writing.clone().acquire_owned();
            let place = place.await.expect("this semaphore is never closed");
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
            self.inner.bell.notify_one();
        }
    }
}

/// What has changed and was not taken yet.
struct Inbox {
    nodes: Subscribed<Node>,
    namespaces: Subscribed<Namespace>,
    pods: Subscribed<Pod>,
    failed: mpsc::UnboundedReceiver<Arc<PodInfo>>,
    bell: Arc<Notify>,
}

impl Inbox {
    fn read(&mut self, mind: &mut Mind, world: &World) {
        let now = world.uptime();
        while let Some((key, new)) = self.nodes.take() {
            guarded(&key, || mind.node(&key, new.as_ref(), now));
        }
        while let Some((key, new)) = self.namespaces.take() {
            guarded(&key, || mind.namespace(&key, new.as_ref(), now));
        }
        while let Some((key, new)) = self.pods.take() {
            guarded(&key, || mind.pod(&key, new.as_ref(), now));
        }
        while let Ok(pod) = self.failed.try_recv() {
            guarded(&pod.key, || mind.unbound(&pod, now));
        }
    }

    /// Until something changes, or that time.
    async fn wait(&mut self, until: Option<std::time::Duration>, world: &World) {
        let change = self.bell.notified();
        match until {
            Some(at) => _ = world.within(at.saturating_sub(world.uptime()), change).await,
            None => change.await,
        }
    }
}

struct Subscribed<V> {
    cache: Arc<Cache<V>>,
    keys: Arc<Mutex<(HashSet<Key>, VecDeque<Key>)>>,
}

impl<V: View> Subscribed<V> {
    fn to(cache: Arc<Cache<V>>, bell: &Arc<Notify>) -> Subscribed<V> {
        let keys: Arc<Mutex<(HashSet<Key>, VecDeque<Key>)>> = Arc::default();
        let (mine, bell) = (keys.clone(), bell.clone());
        cache.on_change(move |change| {
            let Some(object) = change.new.or(change.old) else { return };
            let mut mine = mine.lock().expect("no holder of this lock panics");
            if mine.0.insert(object.meta().key()) {
                mine.1.push_back(object.meta().key());
            }
            drop(mine);
            bell.notify_one();
        });
        Subscribed { cache, keys }
    }

    fn take(&mut self) -> Option<(Key, Option<Arc<V>>)> {
        let mut mine = self.keys.lock().expect("no holder of this lock panics");
        let key = mine.1.pop_front()?;
        mine.0.remove(&key);
        drop(mine);
        let new = self.cache.get(&key);
        Some((key, new))
    }
}
