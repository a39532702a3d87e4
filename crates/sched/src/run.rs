//! The loop: takes a pod from the queue, asks the plan, counts the pod on its node at once, and
//! leaves the bind to a task of its own, so that the next pod does not wait for it.

use crate::plan::{Decision, plan};
use crate::queue::Queue;
use crate::state::State;
use serde_json::json;
use skiff_api::Status;
use skiff_api::time::{Precision, format};
use skiff_api::view::{Key, View};
use skiff_base::{Tasks, World};
use skiff_client::events::{Recorder, reference};
use skiff_client::{Cache, Caches, Change, Client, PatchKind};
use skiff_kinds::views::{Namespace, Node, Pod};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// The name that pods ask for, and the source of events.
pub const NAME: &str = "default-scheduler";

/// Cheap to clone.
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

struct Inner {
    world: World,
    client: Client,
    recorder: Recorder,
    pods: Arc<Cache<Pod>>,
    tasks: Tasks,
    mind: Mutex<Mind>,
    changed: Notify,
}

#[derive(Default)]
struct Mind {
    state: State,
    queue: Queue,
    /// Nodes of pods whose binds are under way: the API does not show them yet.
    assumed: BTreeMap<Key, (String, String)>,
}

impl Scheduler {
    /// `client` acts as `system:kube-scheduler`; the caches may be shared. Events name the `host`.
    pub fn start(
        world: World,
        client: Client,
        caches: &Caches,
        tasks: Tasks,
        host: &str,
    ) -> Scheduler {
        let recorder = Recorder::new(client.clone(), world.clone(), NAME).on_host(host);
        let pods = caches.of::<Pod>();
        let inner = Inner {
            world,
            client,
            recorder,
            pods: pods.clone(),
            tasks: tasks.clone(),
            mind: Mutex::default(),
            changed: Notify::new(),
        };
        let scheduler = Scheduler(Arc::new(inner));
        let (nodes, namespaces) = (caches.of::<Node>(), caches.of::<Namespace>());
        let it = scheduler.clone();
        nodes.on_change(move |change| it.node_changed(change));
        let it = scheduler.clone();
        namespaces.on_change(move |change| it.namespace_changed(change));
        let it = scheduler.clone();
        pods.on_change(move |change| it.pod_changed(change));
        let it = scheduler.clone();
        tasks.spawn(async move {
            nodes.caught_up(0).await;
            namespaces.caught_up(0).await;
            it.0.pods.caught_up(0).await;
            it.work().await;
        });
        scheduler
    }

    fn mind(&self) -> MutexGuard<'_, Mind> {
        self.0.mind.lock().expect("no holder of this lock panics")
    }

    fn node_changed(&self, change: &Change<Node>) {
        let Some(node) = change.new.or(change.old) else { return };
        let mut mind = self.mind();
        mind.state.set_node(&node.metadata.name, change.new);
        mind.queue.stir();
        drop(mind);
        self.0.changed.notify_one();
    }

    fn namespace_changed(&self, change: &Change<Namespace>) {
        let Some(namespace) = change.new.or(change.old) else { return };
        let name = namespace.metadata.name.clone();
        let mut mind = self.mind();
        match change.new {
            Some(new) => mind.state.namespaces.insert(name, new.clone()),
            None => mind.state.namespaces.remove(&name),
        };
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let Some(pod) = change.new.or(change.old) else { return };
        let key = pod.metadata.key();
        let mut mind = self.mind();
        let assumed = mind.assumed.get(&key).filter(|(uid, _)| *uid == pod.metadata.uid).cloned();
        let new = change.new.filter(|new| !new.ended());
        let place = match (new, &assumed) {
            (Some(new), Some((_, node))) if new.spec.node_name.is_empty() => node.clone(),
            (Some(new), _) => new.spec.node_name.clone(),
            (None, _) => String::new(),
        };
        if assumed.is_some() && new.is_none_or(|new| !new.spec.node_name.is_empty()) {
            mind.assumed.remove(&key);
        }
        mind.state.set_pod(&key, new, &place);
        match new.filter(|new| place.is_empty() && wants_node(new)) {
            Some(new) => mind.queue.add(key, new.spec.priority.unwrap_or(0)),
            None => {
                mind.queue.remove(&key);
                // What left a node, or came to one, may make room or company for others.
                mind.queue.stir();
            }
        }
        drop(mind);
        self.0.changed.notify_one();
    }

    async fn work(&self) {
        let world = &self.0.world;
        loop {
            let next = self.mind().queue.take(world.uptime());
            match next {
                Ok(key) => self.decide(key),
                Err(None) => self.0.changed.notified().await,
                Err(Some(at)) => {
                    let left = at.saturating_sub(world.uptime());
                    world.within(left, self.0.changed.notified()).await;
                }
            }
        }
    }

    fn decide(&self, key: Key) {
        let Some(pod) = self.0.pods.get(&key) else { return self.mind().queue.remove(&key) };
        let now = self.0.world.uptime();
        let mut mind = self.mind();
        let decision = plan(&pod, &mind.state);
        match &decision {
            Decision::Bind(node) => {
                mind.state.set_pod(&key, Some(&pod), node);
                mind.assumed.insert(key, (pod.metadata.uid.clone(), node.clone()));
            }
            Decision::Refuse(_) => mind.queue.failed(&key, now),
        }
        drop(mind);
        let it = self.clone();
        self.0.tasks.spawn(async move {
            match decision {
                Decision::Bind(node) => it.bind(&pod, &node).await,
                Decision::Refuse(message) => it.refuse(&pod, &message).await,
            }
        });
    }

    async fn bind(&self, pod: &Arc<Pod>, node: &str) {
        let meta = &pod.metadata;
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let client = &self.0.client;
        let bound =
            client.create_below(Pod::RESOURCE, &meta.namespace, &meta.name, "binding", body).await;
        let about = reference(Pod::RESOURCE, meta);
        match bound {
            Ok(_) => {
                let message = format!("Successfully assigned {} to {node}", meta.key());
                self.0.recorder.acted("Binding", "Normal", "Scheduled", &message, about).await;
            }
            Err(status) => self.bind_failed(pod, status).await,
        }
    }

    async fn bind_failed(&self, pod: &Arc<Pod>, status: Status) {
        let key = pod.metadata.key();
        tracing::warn!(%key, %status, "a bind failed");
        let mut mind = self.mind();
        mind.assumed.remove(&key);
        mind.state.set_pod(&key, None, "");
        match status.code {
            404 | 409 => mind.queue.remove(&key),
            _ => mind.queue.again(&key, self.0.world.uptime()),
        }
        drop(mind);
        self.0.changed.notify_one();
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

/// Whether this scheduler has to find a node for the pod.
fn wants_node(pod: &Pod) -> bool {
    let spec = &pod.spec;
    spec.node_name.is_empty()
        && spec.scheduling_gates.is_empty()
        && !pod.metadata.deleting()
        && matches!(&*spec.scheduler_name, "" | NAME)
}
