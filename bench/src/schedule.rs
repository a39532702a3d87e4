//! The scheduler without a machine around it: the real one, binding through a real server, both in this process over
//! the memory store. Nodes and pods are those of upstream's scheduler_perf (SchedulingBasic, SchedulingPodAntiAffinity,
//! TopologySpreading), and there before the clock starts, which runs until the last pod is bound.

use crate::Row;
use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, stream};
use http::Method;
use skiff_api::view::{Resource, View};
use skiff_api::wire::{Body, Frame, Payload, Serve, User};
use skiff_base::{Parts, Tasks, World};
use skiff_client::{Caches, Client};
use skiff_json::{Value, json};
use skiff_kinds::views::{Namespace, Node, Pod};
use skiff_sched::{Figures, Scheduler};
use skiff_server::admission::service::Ranges;
use skiff_server::connect::Nodes;
use skiff_server::identity::keys::{Keys, Wanted};
use skiff_server::{Build, Entry, Server, Setup};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NODES: usize = 5000;
/// Objects that are made at once.
const AT_ONCE: usize = 64;
/// A run that takes longer is broken off, with an error.
const MOST: Duration = Duration::from_secs(120);

/// What is to be scheduled.
struct Workload {
    name: &'static str,
    figure: &'static str,
    goal: &'static str,
    /// Pods that have a node already, and those that are given one.
    before: usize,
    pods: usize,
    before_pod: fn(usize) -> Value,
    pod: fn(usize) -> Value,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "basic",
        figure: "scheduler alone, 5,000 nodes: 10,000 pods",
        goal: "> 6,800 /s",
        before: 1000,
        pods: 10_000,
        before_pod: |number| pod("setup", number),
        pod: |number| pod("bench", number),
    },
    Workload {
        name: "anti-affinity",
        figure: "scheduler alone, 5,000 nodes: 2,000 pods with anti-affinity",
        goal: "> 1,800 /s",
        before: 1000,
        pods: 2000,
        before_pod: |number| lonely("setup", number),
        pod: |number| lonely("bench", number),
    },
    Workload {
        name: "spread",
        figure: "scheduler alone, 5,000 nodes: 5,000 pods spread over zones",
        goal: "> 1,800 /s",
        before: 1000,
        pods: 5000,
        before_pod: |number| pod("setup", number),
        pod: spread,
    },
];

/// The names of the workloads.
pub fn names() -> impl Iterator<Item = &'static str> {
    WORKLOADS.iter().map(|workload| workload.name)
}

/// The row of a workload that reached so many pods a second.
pub fn row(name: &str, per_s: f64) -> Row {
    let workload = WORKLOADS.iter().find(|workload| workload.name == name);
    let (figure, goal) = workload.map_or((name, ""), |it| (it.figure, it.goal));
    Row::alone(figure, format!("{per_s:.0} /s"), goal)
}

pub async fn run(name: &str) -> Result<Value> {
    let workload = WORKLOADS.iter().find(|workload| workload.name == name);
    let workload = workload.with_context(|| format!("no workload named {name:?}"))?;
    let (world, tasks) = (World::real(), Tasks::new());
    let serve: Arc<dyn Serve> = Arc::new(Entry(Arc::new(server(&world, &tasks).await?)));
    let user = User::system("system:kube-scheduler", &["system:masters"]);
    let client = Client::new(serve, user, "skiff-bench");
    fill(&client, workload).await?;
    let caches = Caches::new(client.clone(), world.clone(), Parts::new(world.clone()));
    caches.of::<Node>().caught_up(0).await;
    caches.of::<Namespace>().caught_up(0).await;
    caches.of::<Pod>().caught_up(0).await;
    let began = Instant::now();
    let (own, figures) = (tasks.clone(), Figures::default());
    let _scheduler = Scheduler::start(world, client.clone(), &caches, own, "bench", figures);
    let bound = bound(&client, workload.before + workload.pods);
    tokio::time::timeout(MOST, bound).await.with_context(|| format!("within {MOST:?}"))??;
    let took = began.elapsed().as_secs_f64();
    tasks.stop().await;
    Ok(json!({"per_s": workload.pods as f64 / took}))
}

/// Waits until so many pods have a node.
async fn bound(client: &Client, count: usize) -> Result<()> {
    let path = Pod::RESOURCE.path("", "", "");
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                 &allowWatchBookmarks=true&fieldSelector=spec.nodeName%21%3D";
    let answer = client.send(Method::GET, &path, query, "", Payload::None).await?;
    let Body::Watch(mut frames) = answer.body else { bail!("the answer to {path} is no watch") };
    let mut seen = 0;
    while let Some(frame) = frames.next().await {
        seen += usize::from(matches!(frame, Frame::Added(_)));
        if seen == count {
            return Ok(());
        }
    }
    bail!("the watch ended after {seen} of {count} pods")
}

/// The pipeline, with everything that stands between a request and the store.
async fn server(world: &World, tasks: &Tasks) -> Result<Server> {
    let clock = world.clone();
    let options = skiff_store::Options::new(Arc::new(move || clock.uptime()));
    let store = skiff_store::memory(options);
    let folder = std::env::temp_dir().join(format!("skiff-bench-{}", std::process::id()));
    let wanted = Wanted {
        names: Vec::new(),
        addresses: Vec::new(),
        node: "bench".into(),
        node_addresses: Vec::new(),
    };
    let keys = Keys::open(&folder, &wanted, world);
    std::fs::remove_dir_all(&folder).context("take the keys away again")?;
    let keys = keys?;
    let setup = Setup {
        world: world.clone(),
        store,
        nodes: Nodes::new(&*keys.client_config(Some(&keys.kubelet_client), world)?),
        signing: keys.signing,
        naming: Default::default(),
        outbound: Default::default(),
        front_proxy: None,
        services: Ranges::default(),
        pod_security: Default::default(),
        address: "bench".into(),
        build: Build::default(),
    };
    Ok(Server::new(setup, tasks).await?)
}

async fn fill(client: &Client, workload: &Workload) -> Result<()> {
    let accounts = Resource::core("serviceaccounts", "ServiceAccount");
    for name in ["setup", "bench"] {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        client.create(Namespace::RESOURCE, "", body).await?;
        let body = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default"}});
        client.create(accounts, name, body).await?;
    }
    make(client, Node::RESOURCE, "", (0..NODES).map(node)).await?;
    let before = (0..workload.before).map(|number| {
        let mut pod = (workload.before_pod)(number);
        pod["spec"]["nodeName"] = json!(node_name(number));
        pod
    });
    make(client, Pod::RESOURCE, "setup", before).await?;
    make(client, Pod::RESOURCE, "bench", (0..workload.pods).map(workload.pod)).await
}

async fn make(
    client: &Client,
    resource: Resource,
    namespace: &str,
    bodies: impl Iterator<Item = Value>,
) -> Result<()> {
    let made = bodies.map(|body| client.create(resource, namespace, body));
    let mut made = stream::iter(made).buffer_unordered(AT_ONCE);
    while let Some(answer) = made.next().await {
        answer.with_context(|| format!("make one of the {}", resource.plural))?;
    }
    Ok(())
}

fn node_name(number: usize) -> String {
    format!("fake-{number:05}")
}

/// A node that nobody runs.
pub fn node(number: usize) -> Value {
    let name = node_name(number);
    let room = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name,
            "topology.kubernetes.io/zone": format!("moon-{}", number % 3)}},
        "status": {"capacity": room, "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Fake",
                "lastHeartbeatTime": null, "lastTransitionTime": null}]}})
}

/// What most pods ask for.
pub fn pod(prefix: &str, number: usize) -> Value {
    let amounts = json!({"cpu": "100m", "memory": "500Mi"});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("{prefix}-{number:05}")},
        "spec": {"containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10",
            "ports": [{"containerPort": 80}],
            "resources": {"requests": amounts, "limits": amounts}}]}})
}

/// One that stands no other of its sort on its node.
fn lonely(prefix: &str, number: usize) -> Value {
    let mut pod = pod(prefix, number);
    pod["metadata"]["labels"] = json!({"color": "green"});
    pod["spec"]["affinity"] = json!({"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname", "namespaces": ["setup", "bench"],
            "labelSelector": {"matchLabels": {"color": "green"}}}]}});
    pod
}

fn spread(number: usize) -> Value {
    let mut pod = pod("bench", number);
    pod["metadata"]["labels"] = json!({"color": "blue"});
    pod["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"color": "blue"}}}]);
    pod
}
