//! The users of a run: they make, change and delete what the seed says, through a network that may fail them, and
//! never look back.

use crate::dice::Dice;
use crate::history::History;
use skiff_api::Status;
use skiff_api::view::{Resource, View};
use skiff_base::World;
use skiff_client::{Client, DeleteOptions, PatchKind};
use skiff_json::{Value, json};
use skiff_kinds::views::{
    ConfigMap, DaemonSet, Deployment, Job, Namespace, Node, Pod, PodDisruptionBudget,
    ResourceQuota, Service, StatefulSet,
};
use std::sync::Arc;
use std::time::Duration;

/// Between two wishes.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// What is made has names up to this number, for each kind and namespace.
const NAMES: u64 = 2;
const NAMESPACES: [&str; 3] = ["a", "b", PASSING];
/// A quota stands in this one.
const LIMITED: &str = "b";
/// This one comes and goes.
const PASSING: &str = "c";
/// Tries of what a run cannot do without.
const PERSISTENT: u32 = 200;

/// What is made, by the words that a wish picks from.
const KINDS: [Resource; 6] = [
    Deployment::RESOURCE,
    StatefulSet::RESOURCE,
    Job::RESOURCE,
    DaemonSet::RESOURCE,
    PodDisruptionBudget::RESOURCE,
    Service::RESOURCE,
];

/// All users together.
pub struct Users {
    pub world: World,
    pub history: Arc<History>,
    pub client: Client,
    pub dice: Dice,
    pub nodes: Vec<String>,
}

impl Users {
    /// Wishes until the time is over, then sets right what would stay in the way.
    pub async fn live(&self, until: Duration) {
        self.found().await;
        while self.world.uptime() < until {
            let pause = self.dice.span(PAUSE.0, PAUSE.1);
            self.world.sleep(pause).await;
            self.wish().await;
        }
        for node in &self.nodes {
            let free = json!({"spec": {"unschedulable": null}});
            for _ in 0..PERSISTENT {
                let done = self.patch(Node::RESOURCE, "", node, free.clone()).await;
                if done.is_ok() {
                    break;
                }
                self.world.sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// What all else is made in.
    async fn found(&self) {
        for name in NAMESPACES {
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            self.insist(Namespace::RESOURCE, "", body).await;
        }
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "few"}, "spec": {"hard": {"pods": "8", "requests.cpu": "2"}}});
        self.insist(ResourceQuota::RESOURCE, LIMITED, quota).await;
    }

    async fn insist(&self, resource: Resource, namespace: &str, body: Value) {
        for _ in 0..PERSISTENT {
            match self.client.create(resource, namespace, body.clone()).await {
                Err(status) if status.code != 409 => {}
                _ => return,
            }
            self.world.sleep(Duration::from_secs(1)).await;
        }
    }

    async fn wish(&self) {
        let namespace = *self.dice.one(&NAMESPACES);
        let (what, done) = match self.dice.below(21) {
            0..=6 => self.make(namespace).await,
            7..=9 => self.scale(namespace).await,
            10..=11 => self.update(namespace).await,
            12..=13 => self.delete(namespace).await,
            14..=15 => self.end_pod(namespace).await,
            16 => self.evict(namespace).await,
            17 => self.cordon().await,
            18 => self.pass().await,
            _ => self.note(namespace).await,
        };
        match done {
            Ok(()) => self.history.tell(format_args!("user: {what}")),
            Err(status) => {
                self.history.tell(format_args!("user: {what}: {} {}", status.code, status.reason));
            }
        }
    }

    fn name(&self) -> String {
        format!("{}", self.dice.below(NAMES))
    }

    async fn make(&self, namespace: &str) -> (String, Result<(), Status>) {
        let resource = *self.dice.one(&KINDS);
        let name = format!("{}-{}", &resource.plural[..2], self.name());
        let body = self.body(resource, &name);
        let what = format!("makes {} {namespace}/{name}", resource.kind);
        (what, self.client.create(resource, namespace, body).await.map(|_| ()))
    }

    fn body(&self, resource: Resource, name: &str) -> Value {
        let version = match resource.group {
            "" => resource.version.to_owned(),
            group => format!("{group}/{}", resource.version),
        };
        json!({"apiVersion": version, "kind": resource.kind, "metadata": {"name": name},
            "spec": self.spec(resource, name)})
    }

    fn spec(&self, resource: Resource, name: &str) -> Value {
        let selector = json!({"matchLabels": {"app": name}});
        match resource.kind {
            "Deployment" => {
                let strategy = match self.dice.below(3) {
                    0 => json!({"type": "Recreate"}),
                    1 => json!({"type": "RollingUpdate",
                        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
                    _ => json!({"type": "RollingUpdate",
                        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
                };
                json!({"replicas": 1 + self.dice.below(5), "selector": selector, "strategy": strategy,
                    "template": self.template(name, "serve")})
            }
            "StatefulSet" => json!({"replicas": 1 + self.dice.below(3), "selector": selector,
                "serviceName": name, "template": self.template(name, "serve"),
                "podManagementPolicy": self.dice.one(&["OrderedReady", "Parallel"])}),
            "DaemonSet" => json!({"selector": selector, "template": self.template(name, "serve")}),
            "Job" => {
                let mut template = self.template(name, "work");
                template["spec"]["restartPolicy"] = json!(self.dice.one(&["Never", "OnFailure"]));
                let mut spec = json!({"completions": 1 + self.dice.below(4),
                    "parallelism": 1 + self.dice.below(3), "backoffLimit": 2,
                    "completionMode": self.dice.one(&["NonIndexed", "Indexed"]),
                    "template": template});
                if self.dice.chance(300) {
                    spec["ttlSecondsAfterFinished"] = json!(self.dice.below(60));
                }
                spec
            }
            "Service" => {
                let of = format!("{}-{}", self.dice.one(&["de", "st", "da"]), self.name());
                json!({"selector": {"app": of}, "ports": [{"port": 80}]})
            }
            _ => {
                // A budget for what another wish makes.
                let of = format!("{}-{}", self.dice.one(&["de", "st"]), self.name());
                let selector = json!({"matchLabels": {"app": of}});
                match self.dice.below(2) {
                    0 => json!({"minAvailable": 1 + self.dice.below(2), "selector": selector}),
                    _ => json!({"maxUnavailable": 1, "selector": selector}),
                }
            }
        }
    }

    fn template(&self, app: &str, program: &str) -> Value {
        let cpu = format!("{}m", 100 * (1 + self.dice.below(4)));
        json!({"metadata": {"labels": {"app": app}}, "spec": {
            "terminationGracePeriodSeconds": 1 + self.dice.below(20),
            "containers": [{"name": "main", "image": format!("{program}:{}", self.dice.below(9)),
                "resources": {"requests": {"cpu": cpu}}}]}})
    }

    async fn patch(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        body: Value,
    ) -> Result<(), Status> {
        let (kind, client) = (PatchKind::Merge, &self.client);
        client.patch(kind, resource, namespace, name, "", body).await.map(|_| ())
    }

    async fn scale(&self, namespace: &str) -> (String, Result<(), Status>) {
        let resource = *self.dice.one(&[Deployment::RESOURCE, StatefulSet::RESOURCE]);
        let name = format!("{}-{}", &resource.plural[..2], self.name());
        let replicas = self.dice.below(6);
        let body = json!({"spec": {"replicas": replicas}});
        let what = format!("scales {} {namespace}/{name} to {replicas}", resource.kind);
        (what, self.patch(resource, namespace, &name, body).await)
    }

    async fn update(&self, namespace: &str) -> (String, Result<(), Status>) {
        let resource = *self.dice.one(&KINDS[..4]);
        let name = format!("{}-{}", &resource.plural[..2], self.name());
        let mut container = self.template(&name, "serve")["spec"]["containers"][0].take();
        container["env"] = json!([{"name": "turn", "value": self.dice.below(1000).to_string()}]);
        let body = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let what = format!("updates {} {namespace}/{name}", resource.kind);
        (what, self.patch(resource, namespace, &name, body).await)
    }

    async fn delete(&self, namespace: &str) -> (String, Result<(), Status>) {
        let resource = *self.dice.one(&KINDS);
        let name = format!("{}-{}", &resource.plural[..2], self.name());
        let propagation = *self.dice.one(&["Background", "Foreground", "Background", "Orphan"]);
        let propagation = Some(propagation);
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        let what = format!("deletes {} {namespace}/{name} ({propagation:?})", resource.kind);
        (what, self.client.delete(resource, namespace, &name, &options).await.map(|_| ()))
    }

    /// Some pod of the namespace, as the API has it now.
    async fn pod(&self, namespace: &str) -> Result<Option<String>, Status> {
        let pods = self.client.list(Pod::RESOURCE, namespace, "").await?;
        if pods.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.dice.one(&pods).name().to_owned()))
    }

    async fn end_pod(&self, namespace: &str) -> (String, Result<(), Status>) {
        let name = match self.pod(namespace).await {
            Ok(Some(name)) => name,
            Ok(None) => return ("finds no pod to delete".into(), Ok(())),
            Err(status) => return ("looks for a pod to delete".into(), Err(status)),
        };
        // Who ends a pod of a StatefulSet by force says that it does not run.
        let force = if name.starts_with("st-") { Some(1) } else { Some(0) };
        let grace_s = *self.dice.one(&[None, None, Some(1), force]);
        let options = DeleteOptions { grace_s, ..DeleteOptions::default() };
        let what = format!("deletes Pod {namespace}/{name} (grace {grace_s:?})");
        let deleted = self.client.delete(Pod::RESOURCE, namespace, &name, &options).await;
        (what, deleted.map(|_| ()))
    }

    async fn evict(&self, namespace: &str) -> (String, Result<(), Status>) {
        let name = match self.pod(namespace).await {
            Ok(Some(name)) => name,
            Ok(None) => return ("finds no pod to evict".into(), Ok(())),
            Err(status) => return ("looks for a pod to evict".into(), Err(status)),
        };
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace}});
        let client = &self.client;
        let done = client.create_below(Pod::RESOURCE, namespace, &name, "eviction", body).await;
        (format!("evicts {namespace}/{name}"), done.map(|_| ()))
    }

    async fn cordon(&self) -> (String, Result<(), Status>) {
        let (node, off) = (self.dice.one(&self.nodes).clone(), self.dice.chance(500));
        let body = json!({"spec": {"unschedulable": if off { json!(true) } else { Value::Null }}});
        let what = format!("sets node {node} unschedulable: {off}");
        (what, self.patch(Node::RESOURCE, "", &node, body).await)
    }

    /// A namespace with all that is in it goes, or comes again.
    async fn pass(&self) -> (String, Result<(), Status>) {
        let (resource, client) = (Namespace::RESOURCE, &self.client);
        if self.dice.chance(300) {
            let deleted = client.delete(resource, "", PASSING, &DeleteOptions::default()).await;
            return (format!("deletes Namespace {PASSING}"), deleted.map(|_| ()));
        }
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PASSING}});
        let made = client.create(resource, "", body).await;
        (format!("makes Namespace {PASSING}"), made.map(|_| ()))
    }

    /// A plain object that nobody reacts to.
    async fn note(&self, namespace: &str) -> (String, Result<(), Status>) {
        let name = format!("note-{}", self.name());
        let value = self.dice.below(1000).to_string();
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "data": {"value": value}});
        let done = match self.dice.below(3) {
            0 => self.client.create(ConfigMap::RESOURCE, namespace, body).await.map(|_| ()),
            1 => {
                let body = json!({"data": {"value": value}});
                self.patch(ConfigMap::RESOURCE, namespace, &name, body).await
            }
            _ => {
                let options = DeleteOptions::default();
                let deleted = self.client.delete(ConfigMap::RESOURCE, namespace, &name, &options);
                deleted.await.map(|_| ())
            }
        };
        (format!("notes {value} in {namespace}/{name}"), done)
    }
}
