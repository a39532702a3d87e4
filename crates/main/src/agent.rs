//! The agent: everything that a machine needs to run pods, over a door to the API that may be in this process or far
//! away. Node, service tables, cluster DNS and the node's own API are parts that start again by themselves.
//!
//! What is opened once (sockets, links, the way to the supervisor) outlives the parts that use it.

use crate::addresses::Addresses;
use crate::{kernel, range};
use anyhow::{Context, Result};
use skiff_base::part::Failure;
use skiff_base::{Cidr, Lock, OnEnd, Part, Parts, Tasks, World};
use skiff_cli::settings::Settings;
use skiff_client::{Caches, Client};
use skiff_dns::follow::{Follow, Shared};
use skiff_dns::forward::{Forwarder, resolvers};
use skiff_dns::publish::publish;
use skiff_dns::server::{Dns, Listener};
use skiff_dns::zone::Zone;
use skiff_image::{Images, Mirror};
use skiff_loops::Wanted;
use skiff_net::{PodNetwork, ServiceStats, ServiceTable};
use skiff_node::api::Api;
use skiff_node::api::access::Access;
use skiff_node::rules::Rules;
use skiff_node::services::Services;
use skiff_node::{Config, Equipment, Node, Reach, Threads};
use skiff_runtime::apparmor;
use skiff_runtime::client::Runtime;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The port of the kubelet's API, by everybody's convention.
pub const PORT: u16 = 10_250;
/// Upstream's default (kubelet configuration, maxPods).
const MOST_PODS: u32 = 110;
/// The port of DNS. Clients in pods use that of the Service, so any other does as well.
const DNS_PORT: u16 = 53;
/// The machine's resolver configuration.
const RESOLV_CONF: &str = "/etc/resolv.conf";

const NODE: Part = Part { name: "node", on_end: OnEnd::Restart };
const NODE_API: Part = Part { name: "node-api", on_end: OnEnd::Restart };
const SERVICES: Part = Part { name: "services", on_end: OnEnd::Restart };
const DNS: Part = Part { name: "dns", on_end: OnEnd::Restart };

/// What an agent is given. Cheap to clone.
#[derive(Clone)]
pub struct Given {
    pub settings: Arc<Settings>,
    pub addresses: Addresses,
    pub world: World,
    pub parts: Parts,
    /// Acts as `system:node:NAME` of group `system:nodes`.
    pub client: Client,
    /// Shared with whoever else in this process reads the API.
    pub caches: Caches,
    /// The node's serving certificate.
    pub tls: Arc<rustls::ServerConfig>,
    pub images: Images,
    /// TCP ports of the machine on which the cluster itself listens.
    pub own_ports: Vec<u16>,
    pub names: Names,
}

/// Where the pods of this node find cluster DNS.
#[derive(Clone)]
pub enum Names {
    /// At the Service, whose endpoint is this node.
    OfService { client: Client, wanted: Arc<Wanted> },
    /// At the node itself: no other node is asked, so that names are there without any.
    OfNode,
}

/// What others in this process use of a running agent.
pub struct Agent {
    /// Acts as the node.
    pub client: Client,
    pub images: Images,
    pub network: Arc<PodNetwork>,
}

/// The node of the part's present life.
type Current = watch::Sender<Option<Arc<Node>>>;
/// The packet rules of the part's present life, for figures.
type Kept = Arc<Lock<Option<Arc<Rules>>>>;

/// Opens what the parts stand on, and starts them; the node says `Ready` by itself when it is.
pub async fn start(given: &Given) -> Result<Agent> {
    let settings = &given.settings;
    let pods = range::find(given).await?;
    let runtime = Runtime::open(kernel::runtime(settings)?).await.context("opening the runtime")?;
    // Its compiler takes a while where there is AppArmor; no container starts before it is done.
    let profile = tokio::task::spawn_blocking(apparmor::load_default);
    let (images, threads) = (given.images.clone(), Threads::default());
    let network = kernel::pod_network(settings, pods)?;
    let network = tokio::task::spawn_blocking(move || PodNetwork::open(network)).await?;
    let network = Arc::new(network.context("opening the pod network")?);
    // Before the tables look at what the machine listens on.
    let listener = Arc::new(listen().await?);
    let own = pods.nth(1).context("the range of pods has no address for the node")?;
    let names = dns_listener(own).await?;
    if let Err(error) = profile.await? {
        tracing::warn!(%error, "containers run without a default profile of AppArmor");
    }
    let (current, kept) = (Arc::new(Current::new(None)), Kept::default());
    let equipment = Equipment { images, runtime, network, threads };
    start_node(given, own, equipment.clone(), current.clone());
    start_services(given, &equipment, kept.clone());
    let dns = start_dns(given, names)?;
    let parts = given.parts.clone();
    let figures = Arc::new(move || figures(&kept) + &dns.metrics.text() + &parts.metrics());
    start_node_api(given, listener, current, figures);
    let Equipment { images, network, .. } = equipment;
    Ok(Agent { client: given.client.clone(), images, network })
}

fn start_node(given: &Given, own: IpAddr, equipment: Equipment, current: Arc<Current>) {
    let it = given.clone();
    given.parts.start(NODE, move |tasks| {
        let (it, equipment, current) = (it.clone(), equipment.clone(), current.clone());
        async move {
            let config = config(&it, own);
            let reach = Reach { client: it.client, caches: it.caches };
            let node = Node::build(it.world, config, reach, equipment, tasks)?;
            node.start().await?;
            current.send_replace(Some(Arc::new(node)));
            pending().await
        }
    });
}

fn start_services(given: &Given, equipment: &Equipment, kept: Kept) {
    let (it, network) = (given.clone(), equipment.network.clone());
    let tables = equipment.threads.tables.clone();
    given.parts.start(SERVICES, move |tasks| {
        let (it, network, kept) = (it.clone(), network.clone(), kept.clone());
        let tables = tables.clone();
        async move {
            let table = kernel::service_table(&it.settings)?;
            let table = tokio::task::spawn_blocking(move || ServiceTable::open(table)).await??;
            let services = Services::new(&it.settings.node, &it.caches, it.world.clone());
            let services = Arc::new(services);
            let rules = Arc::new(Rules {
                world: it.world,
                network,
                services: services.clone(),
                tables: tables.clone(),
                restored: Default::default(),
            });
            let port = table.port()?;
            *kept.lock() = Some(rules.clone());
            tasks.vital(services.run(table, tables));
            rules.keep(kernel::TABLE, port).await
        }
    });
}

fn start_node_api(
    given: &Given,
    listener: Arc<TcpListener>,
    current: Arc<Current>,
    figures: Arc<dyn Fn() -> String + Send + Sync>,
) {
    let it = given.clone();
    given.parts.start(NODE_API, move |tasks| {
        let (it, listener, figures) = (it.clone(), listener.clone(), figures.clone());
        let mut nodes = current.subscribe();
        async move {
            loop {
                let node = nodes.borrow_and_update().clone();
                let Some(node) = node else {
                    nodes.changed().await?;
                    continue;
                };
                let access = Access { node: it.settings.node.clone(), client: it.client.clone() };
                let figures = figures.clone();
                let api = Arc::new(Api {
                    world: it.world.clone(),
                    doors: Arc::new(node.doors()),
                    access,
                    tls: it.tls.clone(),
                    user_of: skiff_server::identity::keys::tls::user,
                    metrics: Default::default(),
                    forwards: Default::default(),
                    figures: Box::new(move || figures()),
                });
                drop(node);
                tokio::select! {
                    () = api.run(&listener, tasks.clone()) => return Ok(()),
                    changed = nodes.changed() => changed?,
                }
            }
        }
    });
}

fn start_dns(given: &Given, listener: Listener) -> Result<Arc<Dns>> {
    let settings = &given.settings;
    let address = listener.address()?;
    // A machine may well ask cluster DNS itself, by either address.
    let own = [address.ip(), settings.dns_service()];
    let resolvers = resolvers(&read(Path::new(RESOLV_CONF))?, &own);
    let pods: Arc<[Cidr]> = settings.pod_cidrs.clone().into();
    let zone = Shared::default();
    let dns = Arc::new(Dns {
        world: given.world.clone(),
        zone: zone.clone(),
        forwarder: Forwarder::new(given.world.clone(), resolvers, pods.clone()),
        pods,
        metrics: Default::default(),
    });
    let (it, served) = (given.clone(), dns.clone());
    given.parts.start(DNS, move |tasks: Tasks| {
        let (it, zone) = (it.clone(), zone.clone());
        served.clone().start(listener.clone(), &tasks);
        async move {
            let names = Zone::new(&it.settings.cluster_domain, Some(it.settings.dns_service()));
            tasks.vital(Follow::new(&it.caches).run(names, zone));
            if let Names::OfService { client, wanted } = &it.names {
                wanted.hold(publish(client, &it.settings.node, address).await?);
            }
            pending::<Result<(), Failure>>().await
        }
    });
    Ok(dns)
}

async fn dns_listener(own: IpAddr) -> Result<Listener> {
    match Listener::bind((own, DNS_PORT).into()).await {
        Ok(listener) => Ok(listener),
        Err(error) => {
            tracing::info!(%error, "cluster DNS listens on a port of the kernel's choice");
            Ok(Listener::bind((own, 0).into()).await?)
        }
    }
}

/// The door of the node's API.
async fn listen() -> Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address}: end the other node there, or use `skiff -p NAME up`")
    })
}

/// What is counted of services and packet rules.
fn figures(kept: &Kept) -> String {
    let Some(rules) = kept.lock().clone() else { return String::new() };
    let ServiceStats { service_ports, commits, rebuilds, stale_flows_deleted, .. } =
        *rules.services.stats().borrow();
    let restored = rules.restored.load(Ordering::Relaxed);
    let rows = [
        ("service_ports", "gauge", "Ports of Services in the tables.", service_ports as u64),
        ("commits_total", "counter", "Changes of the service tables.", commits),
        ("rebuilds_total", "counter", "Times that all service tables were written.", rebuilds),
        ("stale_flows_total", "counter", "UDP flows that were ended.", stale_flows_deleted),
        ("restored_total", "counter", "Times that rules came back that somebody took.", restored),
    ];
    let row = |(name, type_, help, value): (&str, &str, &str, u64)| {
        let name = format!("skiff_rules_{name}");
        format!("# HELP {name} {help}\n# TYPE {name} {type_}\n{name} {value}\n")
    };
    rows.map(row).concat()
}

/// A machine without the file has no resolver.
fn read(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("reading {}", path.display())),
    }
}

/// `own` is the node's address in its range of pods.
fn config(given: &Given, own: IpAddr) -> Config {
    let settings = &given.settings;
    Config {
        name: settings.node.clone(),
        data: settings.data.join("node"),
        address: given.addresses.advertise,
        port: PORT,
        cluster_domain: settings.cluster_domain.clone(),
        cluster_dns: Some(match given.names {
            Names::OfService { .. } => settings.dns_service(),
            Names::OfNode => own,
        }),
        // Where systemd-resolved is the stub, this is what it asks (systemd-resolved.service(8)).
        resolv_conf: ["/etc/resolv.conf".into(), "/run/systemd/resolve/resolv.conf".into()],
        hosts: "/etc/hosts".into(),
        mirrors: mirrors(settings),
        most_pods: MOST_PODS,
        unsafe_sysctls: settings.allowed_unsafe_sysctls.clone(),
        own_ports: given.own_ports.clone(),
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
