//! What the cluster has of the kernel outside of its processes: where containers, links, tables and mounts of a machine
//! are, and how they go when no daemon is there to do it.
//!
//! The daemon's parts and the end of a cluster read the same values here, so that what is made is also found again.

use crate::range;
use anyhow::{Context, Result, bail};
use rustix::mount::UnmountFlags;
use skiff_base::{Cidr, World};
use skiff_cli::settings::Settings;
use skiff_net::{
    LoopbackNodePorts, NetNs, PodNetwork, PodNetworkConfig, ServiceTable, ServiceTableConfig,
};
use skiff_node::volumes::table::Table;
use skiff_runtime::client::{Config, Runtime};
use skiff_runtime::status::{ContainerState, ContainerStatus};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The node's link in the pod network.
const LINK: &str = "skiff0";
/// The nftables table of the services.
pub const TABLE: &str = "skiff-services";
/// What containers get between SIGTERM and SIGKILL when the whole cluster stops.
const GRACE: Duration = Duration::from_secs(5);
/// The kernel needs this long at most to end what is killed, unless it hangs in a disk.
const KILLED: Duration = Duration::from_secs(5);
const SIGTERM: i32 = 15;

/// Where containers are.
pub fn runtime(settings: &Settings) -> Result<Config> {
    Ok(Config {
        root: settings.data.join("runtime"),
        cgroup_root: settings.pods_cgroup(),
        exe: std::env::current_exe().context("finding the program of this process")?,
    })
}

/// The pod network of the machine that this process is in, whose pods have that range.
pub fn pod_network(settings: &Settings, pods: Cidr) -> Result<PodNetworkConfig> {
    Ok(PodNetworkConfig {
        namespace: NetNs::current()?,
        link: LINK.to_owned(),
        pods,
        cluster: settings.pod_cidrs.clone(),
        services: settings.service_cidrs.clone(),
        mtu: None,
    })
}

/// The service table of the machine that this process is in.
pub fn service_table(settings: &Settings) -> Result<ServiceTableConfig> {
    Ok(ServiceTableConfig {
        namespace: NetNs::current()?,
        table: TABLE.to_owned(),
        cluster: settings.pod_cidrs.clone(),
        services: settings.service_cidrs.clone(),
        loopback_node_ports: LoopbackNodePorts::Answer,
    })
}

/// The same as [`stop_containers`], from a process without tasks.
pub fn end_containers(settings: &Settings) -> Result<()> {
    let work = async || stop_containers(settings, &World::real()).await;
    let run = || -> Result<()> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
    };
    // The command line waits in a runtime of its own, which allows no second one in its thread.
    std::thread::scope(|scope| {
        scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Ends all containers, first kindly, and the supervisor with its cgroups. How each ended stays on
/// record, so that the next daemon counts a restart.
pub async fn stop_containers(settings: &Settings, world: &World) -> Result<()> {
    let config = runtime(settings)?;
    if !config.root.join("supervisor.sock").exists() {
        return Ok(());
    }
    let runtime = Runtime::open(config).await.context("asking the supervisor")?;
    let running = |container: &ContainerStatus| container.state == ContainerState::Running;
    let containers = runtime.list().await?.containers;
    let containers: Vec<_> = containers.into_iter().filter(running).collect();
    for container in &containers {
        // Who cannot be asked is killed below.
        if let Err(error) = runtime.signal_container(&container.id, SIGTERM).await {
            tracing::warn!(container = container.id, %error, "a container was not asked to end");
        }
    }
    let all = || {
        let waits = containers.iter().map(|container| runtime.wait_container(&container.id));
        futures_util::future::join_all(waits)
    };
    if world.within(GRACE, all()).await.is_none() {
        tracing::warn!("some containers did not end within {GRACE:?} and are killed");
        for container in &containers {
            runtime.kill_container(&container.id).await?;
        }
        if world.within(KILLED, all()).await.is_none() {
            tracing::warn!("some containers do not die");
        }
    }
    runtime.shutdown().await.context("ending the containers")
}

/// Removes links, routes and tables of this machine, and gives its sysctls their former values.
pub fn remove_network(settings: &Settings) -> Result<()> {
    let pods = range::remembered(settings)?.unwrap_or_else(|| settings.first_pods());
    PodNetwork::open(pod_network(settings, pods)?)
        .and_then(PodNetwork::teardown)
        .context("removing the pod network")?;
    ServiceTable::open(service_table(settings)?)
        .and_then(ServiceTable::teardown)
        .context("removing the service table")
}

/// Takes away every mount below a folder that is to be removed: what lies behind one is not the cluster's.
pub fn unmount(folder: &Path) -> Result<()> {
    let folder = folder.canonicalize().with_context(|| format!("finding {}", folder.display()))?;
    for point in mounts(&folder)? {
        rustix::mount::unmount(&point, UnmountFlags::DETACH)
            .with_context(|| format!("unmounting {}", point.display()))?;
    }
    match mounts(&folder)?.first() {
        None => Ok(()),
        Some(point) => bail!("{} is still mounted: unmount it and try again", point.display()),
    }
}

/// Mount points below a folder, those first that have to be unmounted first.
pub fn mounts(folder: &Path) -> Result<Vec<PathBuf>> {
    let table = Table::read().context("reading the mounts")?;
    Ok(table.below(folder).filter(|point| *point != folder).map(Path::to_owned).collect())
}
