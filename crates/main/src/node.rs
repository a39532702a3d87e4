//! The machine's node and the scheduler: their doors to the kernel are opened here.

use crate::assemble::Settings;
use anyhow::{Context, Result};
use skiff_api::wire::{Serve, User};
use skiff_base::{Tasks, World};
use skiff_client::{Caches, Client};
use skiff_image::{Images, Settings as ImageSettings};
use skiff_net::{NetNs, PodNetwork, PodNetworkConfig};
use skiff_node::{Config, Node};
use skiff_runtime::client::{Config as RuntimeConfig, Runtime};
use std::path::Path;
use std::sync::Arc;

const PODS: &str = "10.244.0.0/24";
const CLUSTER: &str = "10.244.0.0/16";
const SERVICES: &str = "10.96.0.0/16";
const LINK: &str = "skiff0";
const NODE_PORT: u16 = 10250;
const MOST_PODS: u32 = 110;
const VERSION: &str = "v1.37.1";

/// Starts the scheduler.
pub fn start_scheduler(serve: &Arc<dyn Serve>, world: &World, tasks: &Tasks) {
    let user = User::system("system:kube-scheduler", &[]);
    let client = Client::new(serve.clone(), user, "kube-scheduler");
    let caches = Caches::new(client.clone(), world.clone(), tasks.clone());
    skiff_sched::Scheduler::start(world.clone(), client, &caches, tasks.clone());
}

/// Opens images, network and runtime, and starts the node over them.
pub async fn start_node(
    settings: &Settings,
    serve: &Arc<dyn Serve>,
    world: &World,
    tasks: &Tasks,
) -> Result<Node> {
    let data = settings.data.join("node");
    let images = open_images(&settings.data, world).await?;
    let network = tokio::task::spawn_blocking(open_network).await??;
    let address = skiff_net::node_address(&NetNs::current()?)?;
    let runtime = Runtime::open(RuntimeConfig {
        root: settings.data.join("runtime"),
        cgroup_root: settings.cgroup.clone(),
        exe: std::env::current_exe().context("finding this program")?,
    })
    .await?;
    let user = User::system(&format!("system:node:{}", settings.node), &["system:nodes"]);
    let config = Config {
        name: settings.node.clone(),
        data,
        address,
        port: NODE_PORT,
        pod_cidr: PODS.into(),
        cluster_domain: "cluster.local".into(),
        cluster_dns: Some([10, 96, 0, 10].into()),
        resolv_conf: "/etc/resolv.conf".into(),
        hosts: "/etc/hosts".into(),
        mirrors: Vec::new(),
        most_pods: MOST_PODS,
        version: VERSION.into(),
    };
    let client = Client::new(serve.clone(), user, "kubelet");
    let (world, tasks) = (world.clone(), tasks.clone());
    let node = Node::build(world, config, client, images, runtime, Arc::new(network), tasks)?;
    node.start().await?;
    Ok(node)
}

fn open_network() -> Result<PodNetwork> {
    let range = "the ranges are written as they should be";
    Ok(PodNetwork::open(PodNetworkConfig {
        namespace: NetNs::current()?,
        link: LINK.into(),
        pods: PODS.parse().expect(range),
        cluster: CLUSTER.parse().expect(range),
        services: SERVICES.parse().expect(range),
        mtu: None,
    })?)
}

/// Opens the images, and loads the archives that lie in `preload`.
async fn open_images(data: &Path, world: &World) -> Result<Images> {
    let images = Images::open(&data.join("images"), ImageSettings::new(world.clone()))?;
    let preload = data.join("preload");
    if !preload.exists() {
        return Ok(images);
    }
    let loaded = images.clone();
    tokio::task::spawn_blocking(move || {
        for entry in std::fs::read_dir(&preload).context("reading the folder of archives")? {
            let path = entry?.path();
            let file = std::fs::File::open(&path)?;
            loaded.load(file).with_context(|| format!("loading {}", path.display()))?;
            std::fs::remove_file(&path)?;
        }
        anyhow::Ok(())
    })
    .await??;
    Ok(images)
}
