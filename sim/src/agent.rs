//! The agent of a node: it registers, gives signs of life, and has a worker for each pod that is bound to it. What a
//! worker decides and reports is the program's own (`skiff_node::pod::plan`, `status`, `adopt`, `report`); what it
//! does is done by the fake kernel.

use crate::history::History;
use crate::kernel::Kernel;
use crate::worker::Worker;
use skiff_api::Status;
use skiff_api::time::{Precision, format};
use skiff_api::view::View;
use skiff_api::wire::{Serve, User};
use skiff_base::{Backoff, Lock, OnEnd, Part, Parts, World};
use skiff_client::events::Recorder;
use skiff_client::{Caches, Change, Client, PatchKind};
use skiff_json::{Value, json};
use skiff_kinds::views::{Lease, Node, Pod};
use skiff_node::pod::adopt::{self, Leftover, POD_UID};
use skiff_node::pod::exits;
use skiff_node::pod::seen::Outcome;
use skiff_node::pod::status::seconds;
use skiff_node::pod::worker::Mail;
use skiff_node::report::Desk;
use skiff_runtime::status::Event;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const AGENT: Part = Part { name: "agent", on_end: OnEnd::Restart };
const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_S: i64 = 40;
const RENEW: Duration = Duration::from_secs(10);
const RETRY: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(7) };

/// What each node has for pods.
pub const CPUS: i64 = 5;
pub const PODS: i64 = 60;

/// A running agent.
pub struct Agent {
    parts: Parts,
    node: String,
}

/// What the parts of an agent share.
pub struct Desks {
    pub world: World,
    pub kernel: Arc<Kernel>,
    pub desk: Arc<Desk>,
    pub address: String,
    caches: Caches,
    workers: Lock<BTreeMap<String, UnboundedSender<Mail>>>,
    leftovers: Lock<BTreeMap<String, Leftover>>,
}

impl Agent {
    pub fn start(world: &World, serve: Arc<dyn Serve>, kernel: &Arc<Kernel>) -> Agent {
        let parts = Parts::new(world.clone());
        let node = kernel.node.clone();
        let user = User::system(&format!("system:node:{node}"), &["system:nodes"]);
        let client = Client::new(serve, user, "kubelet");
        let (world, kernel, all, name) =
            (world.clone(), kernel.clone(), parts.clone(), node.clone());
        parts.start(AGENT, move |tasks| {
            let caches = Caches::new(client.clone(), world.clone(), all.clone());
            caches.filtered::<Pod>(&format!("&fieldSelector=spec.nodeName%3D{name}"));
            let recorder = Recorder::new(client.clone(), world.clone(), "kubelet").on_host(&name);
            let desk = Desk {
                world: world.clone(),
                client: client.clone(),
                recorder,
                tasks: tasks.clone(),
            };
            let desks = Arc::new(Desks {
                world: world.clone(),
                kernel: kernel.clone(),
                desk: Arc::new(desk),
                address: format!("10.0.1.{}", name.trim_start_matches('n')),
                caches,
                workers: Lock::default(),
                leftovers: Lock::default(),
            });
            async move {
                let events = desks.kernel.events();
                let (listing, attached, folders) = desks.kernel.list();
                *desks.leftovers.lock() =
                    adopt::group(listing, &attached, folders).into_iter().collect();
                tasks.vital(desks.clone().live());
                tasks.vital(desks.clone().follow_kernel(events));
                desks.follow_pods().await;
                Ok(())
            }
        });
        Agent { parts, node }
    }

    /// Ends it in the middle of whatever it does; what it started runs on.
    pub async fn crash(self, history: &History) {
        for state in self.parts.states() {
            if state.restarts > 0 || state.panics > 0 {
                let ended = format!("{} of {}: {}", state.name, self.node, state.last_error);
                history.record().ended.push(ended);
            }
        }
        self.parts.stop().await;
    }
}

impl Desks {
    fn name(&self) -> &str {
        &self.kernel.node
    }

    /// Registers the node, then says that it lives.
    async fn live(self: Arc<Self>) {
        let mut failures = 0;
        while let Err(status) = self.register().await {
            tracing::debug!(node = self.name(), %status, "a node did not register");
            failures += 1;
            self.world.sleep(RETRY.delay(failures)).await;
        }
        loop {
            if let Err(status) = self.renew().await {
                tracing::debug!(node = self.name(), %status, "a sign of life was refused");
            }
            self.world.sleep(RENEW).await;
        }
    }

    async fn register(&self) -> Result<(), Status> {
        let (name, client) = (self.name(), &self.desk.client);
        let metadata = json!({"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}});
        let body = json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata});
        match client.create(Node::RESOURCE, "", body).await {
            Err(status) if status.code == 409 => {}
            made => drop(made?),
        }
        let body = json!({"status": self.status()});
        client.patch(PatchKind::Strategic, Node::RESOURCE, "", name, "status", body).await?;
        Ok(())
    }

    fn status(&self) -> Value {
        let now = seconds(self.world.now());
        let condition = |type_: &str, status: &str, reason: &str| {
            json!({"type": type_, "status": status, "reason": reason, "message": "",
                "lastHeartbeatTime": now, "lastTransitionTime": now})
        };
        let amounts = json!({"cpu": CPUS.to_string(), "memory": "8Gi", "pods": PODS.to_string()});
        json!({
            "capacity": amounts, "allocatable": amounts,
            "addresses": [{"type": "InternalIP", "address": self.address}],
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
                condition("Ready", "True", "KubeletReady"),
            ],
        })
    }

    async fn renew(&self) -> Result<(), Status> {
        let (name, client) = (self.name(), &self.desk.client);
        let now = format(self.world.now(), Precision::Micros);
        let body = json!({"spec": {
            "holderIdentity": name, "leaseDurationSeconds": LEASE_S, "renewTime": now}});
        let (kind, resource) = (PatchKind::Merge, Lease::RESOURCE);
        match client.patch(kind, resource, LEASE_NAMESPACE, name, "", body.clone()).await {
            Err(status) if status.code == 404 => {
                let mut lease = body;
                lease["apiVersion"] = json!("coordination.k8s.io/v1");
                lease["kind"] = json!("Lease");
                lease["metadata"] = json!({"name": name, "namespace": LEASE_NAMESPACE});
                client.create(resource, LEASE_NAMESPACE, lease).await?;
            }
            renewed => drop(renewed?),
        }
        self.ready().await
    }

    /// Says again that it is ready, when somebody has said that nothing is known of it.
    async fn ready(&self) -> Result<(), Status> {
        let (name, client) = (self.name(), &self.desk.client);
        let node: Node = match client.view("", name).await {
            Err(status) if status.code == 404 => return self.register().await,
            node => node?,
        };
        let ready = node.status.conditions.iter().find(|condition| condition.type_ == "Ready");
        if ready.is_none_or(|ready| ready.status != "True") {
            let body = json!({"status": self.status()});
            client.patch(PatchKind::Strategic, Node::RESOURCE, "", name, "status", body).await?;
        }
        Ok(())
    }

    /// Hands changes of pods to their workers; what is left of pods that are gone ends when all is known that is
    /// there.
    async fn follow_pods(self: Arc<Self>) {
        let cache = self.caches.of::<Pod>();
        let mut changes = cache.subscribe();
        let mut known = std::pin::pin!(cache.caught_up(0));
        let mut all = false;
        loop {
            tokio::select! {
                biased;
                () = &mut known, if !all => {
                    all = true;
                    while let Some(change) = changes.take() {
                        self.changed(&change);
                    }
                    self.end_strays();
                }
                change = changes.next() => self.changed(&change),
            }
        }
    }

    fn changed(self: &Arc<Self>, change: &Change<Pod>) {
        let uid = |pod: &Arc<Pod>| pod.metadata.uid.clone();
        if let Some(old) = &change.old
            && change.new.as_ref().is_none_or(|new| uid(new) != uid(old))
        {
            self.mail(&uid(old), Mail::Gone);
        }
        let Some(pod) = &change.new else { return };
        if !self.mail(&uid(pod), Mail::Pod(pod.clone())) {
            let leftover = self.leftovers.lock().remove(&uid(pod));
            self.hire(pod.clone(), leftover);
        }
    }

    fn mail(&self, uid: &str, mail: Mail) -> bool {
        self.workers.lock().get(uid).is_some_and(|worker| worker.send(mail).is_ok())
    }

    fn hire(self: &Arc<Self>, pod: Arc<Pod>, leftover: Option<Leftover>) {
        let (send, receive) = unbounded_channel();
        let uid = pod.metadata.uid.clone();
        self.workers.lock().insert(uid.clone(), send.clone());
        let worker = Worker::new(self.clone(), pod, send, leftover);
        let desks = self.clone();
        self.desk.tasks.sound(async move {
            worker.run(receive).await;
            desks.workers.lock().remove(&uid);
        });
    }

    async fn follow_kernel(self: Arc<Self>, mut events: UnboundedReceiver<Event>) {
        while let Some(event) = events.recv().await {
            let Event::Exited(status) = event else { continue };
            let Some(uid) = status.labels.get(POD_UID) else { continue };
            let container = status.labels.get(adopt::CONTAINER).cloned().unwrap_or_default();
            let ended = exits::ended(&status, "");
            self.mail(uid, Outcome::Exited { container, ended }.into());
        }
        // Another agent listens now.
        std::future::pending().await
    }

    fn end_strays(self: &Arc<Self>) {
        let strays = std::mem::take(&mut *self.leftovers.lock());
        for (uid, leftover) in strays {
            self.hire(Arc::new(leftover.stray(&uid)), Some(leftover));
            self.mail(&uid, Mail::Gone);
        }
    }
}
