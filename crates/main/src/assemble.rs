//! Assembly: the parts of one machine, built in order, started, and stopped in reverse. The only place that knows
//! them all.

use crate::addresses::Addresses;
use anyhow::{Context, Result, anyhow};
use skiff_api::Status;
use skiff_api::ip::Cidr;
use skiff_api::wire::{Serve, User};
use skiff_base::{Tasks, World};
use skiff_cli::Place;
use skiff_cli::settings::{Range, Settings};
use skiff_client::{Caches, Client, Metas};
use skiff_image::Images;
use skiff_kinds::views::token::LegacyClaims;
use skiff_loops::{Runner, Wanted};
use skiff_node::Node;
use skiff_server::admission::pod_security::Rules;
use skiff_server::admission::service::Ranges;
use skiff_server::connect::Nodes;
use skiff_server::identity::keys;
use skiff_server::identity::keys::Keys;
use skiff_server::paths::ready::Ready;
use skiff_server::{Build, Entry, Server, Setup};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;

/// A running machine.
pub struct Machine {
    pub tasks: Tasks,
    /// The API as the cluster's owner sees it.
    pub client: Client,
    pub caches: Caches,
    pub images: Images,
    pub ready: Ready,
    pub addresses: Addresses,
    pub server: Arc<Server>,
    pub node: Node,
    store: Arc<dyn skiff_store::Store>,
}

impl Machine {
    /// Builds and starts everything; returns when the API answers.
    pub async fn start(settings: &Settings, world: World) -> Result<Machine> {
        let tasks = Tasks::new();
        let addresses = Addresses::find(settings)?;
        let store = open_store(settings, &world)?;
        let images = open_images(settings, &world)?;
        let certified = certified(settings, &addresses);
        let keys = Keys::open(&settings.data.join("pki"), &certified, &world)?;
        let ca = keys.ca_pem().to_owned();
        let tls = keys.server_config(&world)?;
        let node_tls =
            skiff_server::identity::keys::tls::server_config(&ca, &keys.node_serving, &world)?;
        write_kubeconfig(settings, &addresses, &keys)?;
        let mut server = server(settings, &addresses, &world, &store, keys, &tasks).await?;
        let figures = skiff_sched::Figures::default();
        let scheduled = figures.clone();
        server.figures.push(Box::new(move || scheduled.text()));
        let loops: Arc<OnceLock<Runner>> = Arc::default();
        let counted = loops.clone();
        server
            .figures
            .push(Box::new(move || counted.get().map(Runner::figures).unwrap_or_default()));
        let server = Arc::new(server);
        tasks.spawn(skiff_server::custom::follow(server.clone()));
        tasks.spawn(crate::memory::run(store.clone(), world.clone()));
        let serve: Arc<dyn Serve> = Arc::new(Entry(server.clone()));
        let client =
            Client::new(serve.clone(), User::system("skiff", &["system:masters"]), "skiff");
        let (kinds, ranges) = (&server.kinds, &ranges(settings));
        let wanted = Arc::new(Wanted::default());
        crate::bootstrap::run(&client, kinds, ranges, addresses.api, settings, &wanted).await?;
        let runner = start_loops(&server, &serve, ca, wanted.clone(), &world, &tasks);
        let caches = loops.get_or_init(|| runner).caches.clone();
        start_scheduler(&serve, &caches, &world, &tasks, &settings.node, figures);
        let listener = listen(settings).await?;
        let node =
            crate::node::start(settings, &addresses, &images, &serve, &world, &tasks).await?;
        crate::served::Served { settings, world: &world, tasks: &tasks, wanted: &wanted }
            .start(&node, node_tls, &client, &caches)
            .await?;
        let limits = server.limits.clone();
        let user_of = skiff_server::identity::keys::tls::user;
        let rim = skiff_server::rim::http::Rim { world, serve, limits, user_of };
        tasks.spawn(skiff_server::rim::http::run(rim, tls, listener, tasks.clone()));
        let ready = server.ready.clone();
        Ok(Machine { tasks, client, caches, images, ready, addresses, server, node, store })
    }

    /// Stops all parts, the store last. Containers stay.
    pub async fn stop(self) {
        self.tasks.stop().await;
        // Its runtime would bring back a supervisor that somebody else ends.
        drop(self.node);
        self.store.close().await;
    }
}

async fn listen(settings: &Settings) -> Result<TcpListener> {
    let at = settings.listen;
    TcpListener::bind(at).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "{at} is taken by another program: end that, or `skiff up --listen ADDRESS:PORT` with another port"
        ),
        ErrorKind::AddrNotAvailable => anyhow!(
            "no link of this machine has the address of {at}: `skiff up --listen ADDRESS:PORT` with one that is there"
        ),
        _ => anyhow!("listening on {at}: {error}: `skiff up --listen ADDRESS:PORT` takes another"),
    })
}

fn open_store(settings: &Settings, world: &World) -> Result<Arc<dyn skiff_store::Store>> {
    let clock = world.clone();
    let options = skiff_store::Options::new(Arc::new(move || clock.uptime()));
    Ok(skiff_store::open(&settings.data.join("store"), options)?)
}

fn open_images(settings: &Settings, world: &World) -> Result<Images> {
    let options = skiff_image::Settings::new(world.clone());
    Ok(Images::open(&settings.data.join("images"), options)?)
}

fn certified(settings: &Settings, addresses: &Addresses) -> keys::Wanted {
    keys::Wanted {
        names: vec![settings.node.clone()],
        addresses: addresses.certified.clone(),
        node: settings.node.clone(),
        node_addresses: vec![addresses.advertise.into()],
    }
}

async fn server(
    settings: &Settings,
    addresses: &Addresses,
    world: &World,
    store: &Arc<dyn skiff_store::Store>,
    keys: Keys,
    tasks: &Tasks,
) -> Result<Server> {
    let setup = Setup {
        world: world.clone(),
        store: store.clone(),
        nodes: Nodes::new(&*keys.client_config(Some(&keys.kubelet_client), world)?),
        signing: keys.signing,
        services: ranges(settings),
        pod_security: pod_security(settings)?,
        address: addresses.api.to_string(),
        build: Build {
            commit: option_env!("SKIFF_COMMIT").unwrap_or(""),
            date: option_env!("SKIFF_DATE").unwrap_or("1970-01-01T00:00:00Z"),
            compiler: "rustc",
            arch: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        },
    };
    Ok(Server::new(setup, tasks).await?)
}

fn ranges(settings: &Settings) -> Ranges {
    let range = |of: Range| Cidr { base: of.base.into(), bits: of.prefix };
    Ranges {
        addresses: range(settings.service_cidr),
        pods: range(settings.pod_cidr),
        own_ports: vec![settings.listen.port(), crate::node::PORT],
        deny_external: settings.deny_service_external_ips,
        ..Ranges::default()
    }
}

fn pod_security(settings: &Settings) -> Result<Rules> {
    let mut rules = Rules::default();
    for text in &settings.pod_security_defaults {
        rules.defaults.set(text).map_err(anyhow::Error::msg)?;
    }
    for text in &settings.pod_security_exemptions {
        rules.exemptions.add(text).map_err(anyhow::Error::msg)?;
    }
    Ok(rules)
}

/// The kubeconfig of the cluster's owner, of which `skiff up` merges a copy into the caller's.
fn write_kubeconfig(settings: &Settings, addresses: &Addresses, keys: &Keys) -> Result<()> {
    let name = settings.context();
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": keys.kubeconfig_cluster(&addresses.server)}],
        "users": [{"name": name, "user": Keys::kubeconfig_user(&keys.admin)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    });
    let path = Place::of(&settings.data).kubeconfig();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written =
        options.open(&path).and_then(|mut file| file.write_all(format!("{config:#}").as_bytes()));
    written.with_context(|| format!("writing {}", path.display()))
}

fn start_loops(
    server: &Arc<Server>,
    serve: &Arc<dyn Serve>,
    ca: String,
    wanted: Arc<Wanted>,
    world: &World,
    tasks: &Tasks,
) -> Runner {
    let user = User::system("system:kube-controller-manager", &[]);
    let reader = Client::new(serve.clone(), user, "skiff-caches");
    let caches = Caches::new(reader.clone(), world.clone(), tasks.clone());
    let metas: Arc<Metas> = Arc::default();
    let (kinds, signer) = (&server.kinds, server.clone());
    let sign = move |claims: &LegacyClaims| {
        signer.authenticator.tokens().sign(claims).map_err(Status::internal)
    };
    tasks.spawn(metas.clone().follow(reader, world.clone(), kinds.clone()));
    let runner = Runner {
        serve: serve.clone(),
        caches,
        metas,
        kinds: kinds.clone(),
        settings: Arc::new(skiff_loops::Settings { ca, sign: Box::new(sign), wanted }),
        world: world.clone(),
        tasks: tasks.clone(),
        health: Default::default(),
    };
    skiff_loops::LOOPS.iter().for_each(|start| start(&runner));
    runner
}

fn start_scheduler(
    serve: &Arc<dyn Serve>,
    caches: &Caches,
    world: &World,
    tasks: &Tasks,
    host: &str,
    figures: skiff_sched::Figures,
) {
    let user = User::system("system:kube-scheduler", &[]);
    let client = Client::new(serve.clone(), user, "kube-scheduler");
    skiff_sched::Scheduler::start(world.clone(), client, caches, tasks.clone(), host, figures);
}
