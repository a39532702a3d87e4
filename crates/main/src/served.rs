//! What the node serves beside its pods: its own API, the addresses of services, cluster DNS.

use crate::{kernel, node};
use anyhow::{Context, Result};
use skiff_base::{Tasks, World};
use skiff_cli::settings::Settings;
use skiff_client::{Caches, Client};
use skiff_dns::follow::{Follow, Shared};
use skiff_dns::forward::{Forwarder, resolvers};
use skiff_dns::publish::publish;
use skiff_dns::server::{Dns, Listener};
use skiff_dns::zone::Zone;
use skiff_net::ServiceTable;
use skiff_node::Node;
use skiff_node::api::Api;
use skiff_node::api::access::Access;
use skiff_node::services::Services;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The port of DNS. Clients in pods use that of the Service, so any other does as well.
const DNS_PORT: u16 = 53;
/// The machine's resolver configuration.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What all three stand on.
pub struct Served<'a> {
    pub settings: &'a Settings,
    pub world: &'a World,
    pub tasks: &'a Tasks,
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
        self.node_api(node, tls).await?;
        let table = kernel::service_table(self.settings)?;
        let table = tokio::task::spawn_blocking(move || ServiceTable::open(table)).await?;
        let table = table.context("opening the service tables")?;
        let services = Services::new(&self.settings.node, caches, self.world.clone());
        self.tasks.spawn(Arc::new(services).run(table));
        self.dns(client, caches).await
    }

    async fn node_api(&self, node: &Node, tls: Arc<rustls::ServerConfig>) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, node::PORT));
        let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
            format!("listening on {address}: end the other node there, or use `skiff -p NAME up`")
        })?;
        let access = Access { node: self.settings.node.clone(), client: node.client().clone() };
        let api = Arc::new(Api {
            world: self.world.clone(),
            doors: Arc::new(node.doors()),
            access,
            tls,
            user_of: skiff_server::keys::tls::user,
            metrics: Default::default(),
            forwards: Default::default(),
        });
        self.tasks.spawn(api.run(listener, self.tasks.clone()));
        Ok(())
    }

    async fn dns(&self, client: &Client, caches: &Caches) -> Result<()> {
        let own = IpAddr::from(self.settings.node_pods().nth(1));
        let listener = match Listener::bind((own, DNS_PORT).into()).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::info!(%error, "cluster DNS listens on a port of the kernel's choice");
                Listener::bind((own, 0).into()).await?
            }
        };
        let address = listener.address()?;
        let resolvers = resolvers(&read(Path::new(RESOLV_CONF))?, &[own]);
        let shared = Shared::default();
        let server = IpAddr::from(self.settings.dns_service());
        let zone = Zone::new(&self.settings.cluster_domain, Some(server));
        self.tasks.spawn(Follow::new(caches).run(zone, shared.clone()));
        let dns = Arc::new(Dns {
            world: self.world.clone(),
            zone: shared,
            forwarder: Forwarder::new(self.world.clone(), resolvers),
            metrics: Default::default(),
        });
        dns.start(listener, self.tasks);
        publish(client, &self.settings.node, address).await?;
        Ok(())
    }
}

/// A machine without the file has no resolver.
fn read(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("reading {}", path.display())),
    }
}
