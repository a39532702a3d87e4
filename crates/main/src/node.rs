//! The node of this machine: what it is told, from the settings, and what it is given of the kernel.

use crate::addresses::Addresses;
use crate::kernel;
use anyhow::{Context, Result};
use skiff_api::wire::{Serve, User};
use skiff_base::{Tasks, World};
use skiff_cli::settings::Settings;
use skiff_client::Client;
use skiff_image::{Images, Mirror};
use skiff_net::PodNetwork;
use skiff_node::{Config, Node};
use skiff_runtime::client::Runtime;
use std::sync::Arc;

/// The port of the kubelet's API, by everybody's convention.
pub const PORT: u16 = 10_250;
/// Upstream's default (kubelet configuration, maxPods).
const MOST_PODS: u32 = 110;

/// Builds and starts it; it says `Ready` by itself when it is.
pub async fn start(
    settings: &Settings,
    addresses: &Addresses,
    images: &Images,
    serve: &Arc<dyn Serve>,
    world: &World,
    tasks: &Tasks,
) -> Result<Node> {
    let name = format!("system:node:{}", settings.node);
    let client = Client::new(serve.clone(), User::system(&name, &["system:nodes"]), "kubelet");
    let runtime = Runtime::open(kernel::runtime(settings)?).await.context("opening the runtime")?;
    let network = kernel::pod_network(settings)?;
    let network = tokio::task::spawn_blocking(move || PodNetwork::open(network)).await?;
    let network = Arc::new(network.context("opening the pod network")?);
    let config = config(settings, addresses);
    let (world, images, tasks) = (world.clone(), images.clone(), tasks.clone());
    let node = Node::build(world, config, client, images, runtime, network, tasks)?;
    node.start().await?;
    Ok(node)
}

fn config(settings: &Settings, addresses: &Addresses) -> Config {
    Config {
        name: settings.node.clone(),
        data: settings.data.join("node"),
        address: addresses.advertise,
        port: PORT,
        pod_cidr: settings.node_pods().to_string(),
        cluster_domain: settings.cluster_domain.clone(),
        cluster_dns: Some(settings.dns_service()),
        // Where systemd-resolved is the stub, this is what it asks (systemd-resolved.service(8)).
        resolv_conf: ["/etc/resolv.conf".into(), "/run/systemd/resolve/resolv.conf".into()],
        hosts: "/etc/hosts".into(),
        mirrors: mirrors(settings),
        most_pods: MOST_PODS,
        unsafe_sysctls: settings.allowed_unsafe_sysctls.clone(),
        own_ports: vec![settings.listen.port(), PORT],
        version: skiff_server::paths::VERSION.to_owned(),
    }
}

/// Where to ask first for the images of a registry. One that may be asked over plain HTTP is its own
/// mirror there: like any mirror it gets no credentials, which would be there for all to read.
pub fn mirrors(settings: &Settings) -> Vec<Mirror> {
    let mirror = |(registry, url): &(String, String)| Mirror {
        registry: registry.clone(),
        url: url.clone(),
    };
    let plain = |registry: &String| Mirror {
        registry: registry.clone(),
        url: format!("http://{registry}"),
    };
    let mirrors = settings.registry_mirrors.iter().map(mirror);
    mirrors.chain(settings.insecure_registries.iter().map(plain)).collect()
}
