//! What the node serves beside its pods: its own API, the addresses of services, cluster DNS.

use crate::{kernel, node};
use anyhow::{Context, Result};
use skiff_api::ip::Cidr;
use skiff_base::{Tasks, World};
use skiff_cli::settings::Settings;
use skiff_client::{Caches, Client};
use skiff_dns::follow::{Follow, Shared};
use skiff_dns::forward::{Forwarder, resolvers};
use skiff_dns::publish::publish;
use skiff_dns::server::{Dns, Listener};
use skiff_dns::zone::Zone;
use skiff_loops::Wanted;
use skiff_net::{ServiceStats, ServiceTable};
use skiff_node::Node;
use skiff_node::api::Api;
use skiff_node::api::access::Access;
use skiff_node::rules::Rules;
use skiff_node::services::Services;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;

/// The port of DNS. Clients in pods use that of the Service, so any other does as well.
const DNS_PORT: u16 = 53;
/// The machine's resolver configuration.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What all three stand on.
pub struct Served<'a> {
    pub settings: &'a Settings,
    pub world: &'a World,
    pub tasks: &'a Tasks,
    pub wanted: &'a Wanted,
}

impl Served<'_> {
    /// Starts all three. `client` may write the endpoint of cluster DNS.
    pub async fn start(
        &self,
        node: &Node,
        tls: Arc<rustls::ServerConfig>,
        client: &Client,
        caches: &Caches,
    ) -> Result<()> {
        // Before the tables look at what the machine listens on.
        let listener = listen().await?;
        let table = kernel::service_table(self.settings)?;
        let table = tokio::task::spawn_blocking(move || ServiceTable::open(table)).await?;
        let table = table.context("opening the service tables")?;
        let services = Services::new(&self.settings.node, caches, self.world.clone());
        let rules = Arc::new(Rules {
            world: self.world.clone(),
            network: node.network().clone(),
            services: Arc::new(services),
            tables: node.tables().clone(),
            restored: Default::default(),
        });
        let port = table.port().context("opening the service tables")?;
        self.tasks.spawn(rules.clone().run(kernel::TABLE.to_owned(), port));
        self.tasks.spawn(rules.services.clone().run(table));
        let dns = self.dns(client, caches).await?;
        let figures = move || figures(&rules) + &dns.metrics.text();
        self.node_api(listener, node, tls, Box::new(figures));
        Ok(())
    }

    fn node_api(
        &self,
        listener: TcpListener,
        node: &Node,
        tls: Arc<rustls::ServerConfig>,
        figures: Box<dyn Fn() -> String + Send + Sync>,
    ) {
        let access = Access { node: self.settings.node.clone(), client: node.client().clone() };
        let api = Arc::new(Api {
            world: self.world.clone(),
            doors: Arc::new(node.doors()),
            access,
            tls,
            user_of: skiff_server::identity::keys::tls::user,
            metrics: Default::default(),
            forwards: Default::default(),
            figures,
        });
        self.tasks.spawn(api.run(listener, self.tasks.clone()));
    }

    async fn dns(&self, client: &Client, caches: &Caches) -> Result<Arc<Dns>> {
        let own = IpAddr::from(self.settings.node_pods().nth(1));
        let listener = match Listener::bind((own, DNS_PORT).into()).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::info!(%error, "cluster DNS listens on a port of the kernel's choice");
                Listener::bind((own, 0).into()).await?
            }
        };
        let address = listener.address()?;
        let server = IpAddr::from(self.settings.dns_service());
        // A machine may well ask cluster DNS itself, by either address.
        let resolvers = resolvers(&read(Path::new(RESOLV_CONF))?, &[own, server]);
        let shared = Shared::default();
        let range = self.settings.pod_cidr;
        let pods = Cidr { base: range.base.into(), bits: range.prefix };
        let zone = Zone::new(&self.settings.cluster_domain, Some(server));
        self.tasks.spawn(Follow::new(caches).run(zone, shared.clone()));
        let dns = Arc::new(Dns {
            world: self.world.clone(),
            zone: shared,
            forwarder: Forwarder::new(self.world.clone(), resolvers, pods),
            pods,
            metrics: Default::default(),
        });
        dns.clone().start(listener, self.tasks);
        self.wanted.hold(publish(client, &self.settings.node, address).await?);
        Ok(dns)
    }
}

/// The door of the node's API.
async fn listen() -> Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, node::PORT));
    TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address}: end the other node there, or use `skiff -p NAME up`")
    })
}

/// What is counted of services and packet rules.
fn figures(rules: &Rules) -> String {
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
    let row = |(name, sort, help, value): (&str, &str, &str, u64)| {
        let name = format!("skiff_rules_{name}");
        format!("# HELP {name} {help}\n# TYPE {name} {sort}\n{name} {value}\n")
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
