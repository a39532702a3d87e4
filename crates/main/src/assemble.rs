//! Assembly: the parts of one machine, built in order, started, and stopped in reverse. The only place that knows
//! them all.

use anyhow::{Context, Result};
use skiff_api::registry::Kinds;
use skiff_api::wire::{Serve, User};
use skiff_base::{Tasks, World};
use skiff_client::{Caches, Client, Metas};
use skiff_loops::Runner;
use skiff_server::authenticate::Authenticator;
use skiff_server::authorize::Authorizer;
use skiff_server::connect::Nodes;
use skiff_server::keys::{Keys, Wanted};
use skiff_server::token::Tokens;
use skiff_server::{Build, Entry, Server};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// What a machine is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Everything of the cluster is below this folder.
    pub data: PathBuf,
    pub listen: SocketAddr,
    pub node: String,
}

/// A running machine.
pub struct Machine {
    tasks: Tasks,
    store: Arc<dyn skiff_store::Store>,
}

impl Machine {
    /// Builds and starts everything; returns when the API answers.
    pub async fn start(settings: &Settings, world: World) -> Result<Machine> {
        let tasks = Tasks::new();
        let store = open_store(settings, &world)?;
        let keys = Keys::open(&settings.data.join("pki"), &wanted(settings), &world)?;
        let ca = keys.ca_pem().to_owned();
        let tls = keys.server_config(&world)?;
        write_kubeconfig(settings, &keys)?;
        let server = Arc::new(server(settings, &world, &store, keys, &tasks).await?);
        let serve: Arc<dyn Serve> = Arc::new(Entry(server.clone()));
        let admin = Client::new(serve.clone(), User::system("skiff", &["system:masters"]), "skiff");
        crate::bootstrap::run(&admin, &server.kinds, &server.services, settings.listen).await?;
        start_loops(&serve, &server.kinds, ca, &world, &tasks);
        let listener = tokio::net::TcpListener::bind(settings.listen).await.with_context(|| {
            format!("listening on {}: is another cluster running there?", settings.listen)
        })?;
        let rim =
            skiff_server::http::Rim { world, serve, tls, user_of: skiff_server::keys::tls::user };
        tasks.spawn(skiff_server::http::run(rim, listener, tasks.clone()));
        Ok(Machine { tasks, store })
    }

    /// Stops all parts, the store last.
    pub async fn stop(self) {
        self.tasks.stop().await;
        self.store.close().await;
    }
}

fn open_store(settings: &Settings, world: &World) -> Result<Arc<dyn skiff_store::Store>> {
    let clock = world.clone();
    let options = skiff_store::Options::new(Arc::new(move || clock.uptime()));
    Ok(skiff_store::open(&settings.data.join("store"), options)?)
}

fn wanted(settings: &Settings) -> Wanted {
    let address = settings.listen.ip();
    Wanted {
        names: vec![settings.node.clone()],
        addresses: vec![address, [10, 96, 0, 1].into()],
        node: settings.node.clone(),
        node_addresses: vec![address],
    }
}

async fn server(
    settings: &Settings,
    world: &World,
    store: &Arc<dyn skiff_store::Store>,
    keys: Keys,
    tasks: &Tasks,
) -> Result<Server> {
    let nodes = Nodes::new(&*keys.client_config(Some(&keys.kubelet_client), world)?);
    let tokens = Arc::new(Tokens::new(store.clone(), world.clone(), Arc::new(keys.signing)));
    Ok(Server {
        world: world.clone(),
        store: store.clone(),
        kinds: Kinds::builtin(),
        authenticator: Authenticator::new(tokens, format!("https://{}", settings.listen)),
        authorizer: Authorizer::start(store.clone(), tasks).await?,
        limits: Default::default(),
        ready: Default::default(),
        nodes,
        services: Default::default(),
        address: settings.listen.to_string(),
        build: Build {
            commit: option_env!("SKIFF_COMMIT").unwrap_or(""),
            date: option_env!("SKIFF_DATE").unwrap_or("1970-01-01T00:00:00Z"),
            compiler: "rustc",
            arch: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        },
    })
}

fn write_kubeconfig(settings: &Settings, keys: &Keys) -> Result<()> {
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "skiff",
        "clusters": [{"name": "skiff", "cluster": keys.kubeconfig_cluster(&format!("https://{}", settings.listen))}],
        "users": [{"name": "skiff", "user": Keys::kubeconfig_user(&keys.admin)}],
        "contexts": [{"name": "skiff", "context": {"cluster": "skiff", "user": "skiff"}}],
    });
    let path = settings.data.join("admin.kubeconfig");
    std::fs::write(&path, format!("{config:#}"))
        .with_context(|| format!("writing {}", path.display()))
}

fn start_loops(serve: &Arc<dyn Serve>, kinds: &Kinds, ca: String, world: &World, tasks: &Tasks) {
    let user = User::system("system:kube-controller-manager", &[]);
    let reader = Client::new(serve.clone(), user, "skiff-caches");
    let caches = Caches::new(reader.clone(), world.clone(), tasks.clone());
    let metas: Arc<Metas> = Arc::default();
    tasks.spawn(metas.clone().follow(reader, world.clone(), kinds.clone()));
    let runner = Runner {
        serve: serve.clone(),
        caches,
        metas,
        kinds: kinds.clone(),
        settings: Arc::new(skiff_loops::Settings { ca }),
        world: world.clone(),
        tasks: tasks.clone(),
    };
    skiff_loops::LOOPS.iter().for_each(|start| start(&runner));
}
