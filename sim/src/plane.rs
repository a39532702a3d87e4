//! The control plane of a run: store, server, loops and scheduler as `main` assembles them, without sockets, keys on
//! a disk and a machine around it. It can be ended at any moment; only what is on the disk is left then.

use crate::disk::Disk;
use crate::history::{Cached, History};
use crate::network::Net;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{BoxFuture, try_join_all};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use skiff_api::Status;
use skiff_api::registry::Kinds;
use skiff_api::view::{Resource, View};
use skiff_api::wire::{Serve, User};
use skiff_base::part::Fatal;
use skiff_base::{OnEnd, Part, Parts, World};
use skiff_client::{Caches, Client, Metas};
use skiff_json::{Value, json};
use skiff_kinds::scheduling::priorityclass;
use skiff_kinds::views::{
    DaemonSet, Deployment, Job, Node, Pod, PodDisruptionBudget, ReplicaSet, ResourceQuota,
    StatefulSet,
};
use skiff_loops::{ClusterFacts, Runner};
use skiff_sched::{Figures, Scheduler};
use skiff_server::admission::service::Ranges;
use skiff_server::authorize::{policy, reconcile};
use skiff_server::connect::Nodes;
use skiff_server::identity::keys::signing::SigningKey;
use skiff_server::{Build, Entry, Server, Setup};
use skiff_store::{ListRequest, Options, Scope, Store};
use std::sync::{Arc, LazyLock};

/// `host:port` of an API that nobody dials.
const ADDRESS: &str = "10.0.0.1:6443";
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
const STORE: Part = Part { name: "store", on_end: OnEnd::Fatal("it is opened again") };
const CUSTOM: Part = Part { name: "custom-resources", on_end: OnEnd::Restart };
const METAS: Part = Part { name: "metadata", on_end: OnEnd::Restart };
const SCHEDULER: Part = Part { name: "scheduler", on_end: OnEnd::Restart };
/// The clients within the process of the control plane, as links.
pub const INSIDE: [&str; 2] = ["loops", "scheduler"];

/// A key that signs tokens, as PEM: nothing of it is in any object of a run.
static SIGNING: LazyLock<String> = LazyLock::new(|| {
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let text = STANDARD.encode(made.expect("the kernel gives randomness"));
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
});

/// A running control plane.
pub struct Plane {
    parts: Parts,
    caches: Caches,
}

impl Plane {
    /// Opens the store over what the disk has, and starts everything; links lead here when it has begun.
    ///
    /// # Errors
    /// When the store fails meanwhile.
    pub async fn start(
        world: &World,
        history: &Arc<History>,
        net: &Arc<Net>,
        disk: &Disk,
    ) -> Result<Plane> {
        let parts = Parts::new(world.clone());
        let started = tokio::select! {
            biased;
            fatal = parts.fatal() => Err(fatal.into()),
            started = Plane::begin(world, history, net, disk, &parts) => started,
        };
        if started.is_err() {
            parts.stop().await;
        }
        started
    }

    async fn begin(
        world: &World,
        history: &Arc<History>,
        net: &Arc<Net>,
        disk: &Disk,
        parts: &Parts,
    ) -> Result<Plane> {
        let clock = world.clone();
        let store = disk.memory.open(Options::new(Arc::new(move || clock.uptime())));
        let found = content(&*store).await?;
        history.tell(format_args!("plane: opens a store of {} objects", found.len()));
        history.opened(found);
        let opened = store.clone();
        parts.start(STORE, move |_| {
            let opened = opened.clone();
            async move { Err(opened.stopped().await.to_string().into()) }
        });
        let server = Arc::new(Server::new(setup(world, &store), &parts.held("rbac", "")).await?);
        let followed = server.clone();
        parts.start(CUSTOM, move |_| {
            let follow = skiff_server::custom::follow(followed.clone());
            async move {
                follow.await;
                Ok(())
            }
        });
        let entry: Arc<dyn Serve> = Arc::new(Entry(server.clone()));
        let owner = User::system("skiff", &["system:masters"]);
        bootstrap(&Client::new(entry.clone(), owner, "skiff"), &server.kinds).await?;
        let [loops, scheduler] = INSIDE.map(|who| net.inside(who, entry.clone()));
        let caches = start_loops(&server, loops, world, parts);
        start_scheduler(scheduler, &caches, world, parts);
        net.open(entry);
        history.tell("plane: is up");
        Ok(Plane { parts: parts.clone(), caches })
    }

    /// Resolves when it cannot go on.
    pub async fn fatal(&self) -> Fatal {
        self.parts.fatal().await
    }

    /// Ends it in the middle of whatever it does.
    pub async fn crash(self, history: &History, net: &Net) {
        net.close();
        for state in self.parts.states() {
            if state.restarts > 0 || state.panics > 0 {
                let ended = format!("{}: {}", state.name, state.last_error);
                history.record().ended.push(ended);
            }
        }
        self.parts.stop().await;
    }

    /// What the loops know of the kinds that matter here.
    pub fn note_caches(&self, history: &History) {
        let mut record = history.record();
        record.cached.push(self.cached::<DaemonSet>());
        record.cached.push(self.cached::<Deployment>());
        record.cached.push(self.cached::<Job>());
        record.cached.push(self.cached::<Node>());
        record.cached.push(self.cached::<Pod>());
        record.cached.push(self.cached::<PodDisruptionBudget>());
        record.cached.push(self.cached::<ReplicaSet>());
        record.cached.push(self.cached::<ResourceQuota>());
        record.cached.push(self.cached::<StatefulSet>());
    }

    fn cached<V: View>(&self) -> Cached {
        let objects = self.caches.of::<V>().list("");
        let object = |it: &Arc<V>| {
            let meta = it.meta();
            let key = format!("{}/{}/{}", storage(V::RESOURCE), meta.namespace, meta.name);
            (key, meta.resource_version.parse().unwrap_or(0))
        };
        Cached { resource: storage(V::RESOURCE), objects: objects.iter().map(object).collect() }
    }
}

/// The first part of the keys of a resource.
pub fn storage(resource: Resource) -> String {
    match resource.group {
        "" => resource.plural.to_owned(),
        group => format!("{}.{group}", resource.plural),
    }
}

/// All keys of the store with their revisions.
async fn content(store: &dyn Store) -> Result<Vec<(String, u64)>> {
    let request = ListRequest { scope: Scope::default(), ..ListRequest::default() };
    let listed = store.list(request).await.context("reading what is durable")?;
    Ok(listed.records.iter().map(|it| (it.key.to_string(), it.revision.0)).collect())
}

fn setup(world: &World, store: &Arc<dyn Store>) -> Setup {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let nobody = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions of TLS")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Setup {
        world: world.clone(),
        store: store.clone(),
        signing: SigningKey::from_pem(&SIGNING).expect("it was just made"),
        naming: Default::default(),
        nodes: Nodes::new(&nobody),
        outbound: Default::default(),
        front_proxy: None,
        services: Ranges::default(),
        pod_security: Default::default(),
        address: ADDRESS.to_owned(),
        build: Build::default(),
    }
}

/// What loops cannot do without, and the default policy.
async fn bootstrap(client: &Client, kinds: &Kinds) -> Result<()> {
    let namespaces = NAMESPACES
        .iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    let ranges = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [Ranges::default().addresses.to_string()]}});
    let classes = priorityclass::SYSTEM.into_iter().map(|(name, value, description)| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value, "description": description})
    });
    for body in namespaces.chain([ranges]).chain(classes) {
        ensure(client, kinds, body).await.context("making what every cluster has")?;
    }
    let changes = reconcile::plan(&policy::defaults(), |_, _, _| None);
    let made = changes.into_iter().map(|change| {
        let (reconcile::Change::Create(object)
        | reconcile::Change::Update(object)
        | reconcile::Change::Replace(object)) = change;
        ensure(client, kinds, object.into_value())
    });
    try_join_all(made).await.context("writing the default policy")?;
    Ok(())
}

/// Creates an object that may be there already.
async fn ensure(client: &Client, kinds: &Kinds, body: Value) -> Result<(), Status> {
    let text = |field: &str| body[field].as_str().unwrap_or("").to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let registry = kinds.now();
    let kind = registry.find_kind(group, version, &kind);
    let resource = kind.map(|kind| Resource::of_kind(kind));
    let resource = resource.ok_or_else(|| Status::internal("a kind is not served"))?;
    let namespace = body["metadata"]["namespace"].as_str().unwrap_or("").to_owned();
    match client.create(resource, &namespace, body).await {
        Err(status) if status.code != 409 => Err(status),
        _ => Ok(()),
    }
}

fn start_loops(
    server: &Arc<Server>,
    serve: Arc<dyn Serve>,
    world: &World,
    parts: &Parts,
) -> Caches {
    let user = User::system("system:kube-controller-manager", &[]);
    let reader = Client::new(serve.clone(), user, "skiff-caches");
    let caches = Caches::new(reader.clone(), world.clone(), parts.clone());
    let metas: Arc<Metas> = Arc::default();
    let kinds = &server.kinds;
    let followed = (metas.clone(), reader, world.clone(), kinds.clone());
    parts.start(METAS, move |_| {
        let (metas, reader, world, kinds) = followed.clone();
        async move {
            metas.follow(reader, world, kinds).await;
            Ok(())
        }
    });
    let runner = Runner {
        serve,
        caches: caches.clone(),
        metas,
        kinds: kinds.clone(),
        settings: Arc::new(facts(server)),
        world: world.clone(),
        parts: parts.clone(),
        health: Default::default(),
    };
    skiff_loops::LOOPS.iter().for_each(|start| start(&runner));
    caches
}

/// Of keys there are none: what asks for a certificate or a token gets a refusal.
fn facts(server: &Arc<Server>) -> ClusterFacts {
    let ledger = server.ledger.clone();
    let settled = move |namespace: &str| -> BoxFuture<'static, u64> {
        let (ledger, namespace) = (ledger.clone(), namespace.to_owned());
        Box::pin(async move { ledger.settled(&namespace).await })
    };
    ClusterFacts {
        ca: "none".to_owned(),
        sign: Box::new(|_| Err(Status::internal("a simulation signs nothing"))),
        reach: Box::new(|_| Box::pin(std::future::ready(Err("nobody is there".to_owned())))),
        wanted: Arc::default(),
        settled: Box::new(settled),
        pods: Ranges::default().pods,
        node_bits: 24,
        certify: Box::new(|_, _, _| Err(Status::internal("a simulation signs nothing"))),
        api_names: Vec::new(),
        api_addresses: Vec::new(),
    }
}

fn start_scheduler(serve: Arc<dyn Serve>, caches: &Caches, world: &World, parts: &Parts) {
    let user = User::system("system:kube-scheduler", &[]);
    let client = Client::new(serve, user, "kube-scheduler");
    let (caches, world) = (caches.clone(), world.clone());
    parts.start(SCHEDULER, move |tasks| {
        let figures = Figures::default();
        let started =
            Scheduler::start(world.clone(), client.clone(), &caches, tasks, "plane", figures);
        async move {
            // Its tasks work; it is held here.
            let _scheduler = started;
            std::future::pending().await
        }
    });
}
