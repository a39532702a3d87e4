//! The control plane: store, API, loops and scheduler of a cluster, built in order. What the API cannot be without ends
//! the process; all else starts again by itself.

use crate::addresses::Addresses;
use crate::encryption::{self, Encryption};
use anyhow::{Context, Result, anyhow};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use skiff_api::Status;
use skiff_api::wire::{Serve, User};
use skiff_base::part::{Fatal, State};
use skiff_base::{OnEnd, Part, Parts, World, fault};
use skiff_cli::Place;
use skiff_cli::settings::{self, Settings};
use skiff_client::{Caches, Client, Metas, PatchKind};
use skiff_kinds::certificates::request::Request;
use skiff_kinds::core::secret;
use skiff_kinds::views::token::{LAST_USED, LegacyClaims};
use skiff_loops::{ClusterFacts, Runner, Wanted};
use skiff_sched::Scheduler;
use skiff_server::admission::pod_security::Rules;
use skiff_server::admission::service::Ranges;
use skiff_server::answered::told::Component;
use skiff_server::connect::Nodes;
use skiff_server::encrypt::Sealer;
use skiff_server::identity::keys;
use skiff_server::identity::keys::sign::Signer;
use skiff_server::identity::keys::{Keys, SERVICE_NAMES};
use skiff_server::outbound::{self, Local};
use skiff_server::rim::http::{self, HttpServer};
use skiff_server::{Build, Entry, Server, Setup};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use tokio::net::TcpListener;

const STORE_NEXT: &str = "`skiff up` opens it again; if that fails too, look at the disk";
const STORE: Part = Part { name: "store", on_end: OnEnd::Fatal(STORE_NEXT) };
const HTTP: Part = Part {
    name: "api",
    on_end: OnEnd::Fatal("`skiff up` starts it again, `skiff logs` says what was before"),
};
const RBAC: (&str, &str) =
    ("rbac", "without it nobody's rights are known: `skiff up` reads them again");
const CUSTOM: Part = Part { name: "custom-resources", on_end: OnEnd::Restart };
const ENCRYPTION: Part = Part { name: encryption::ENCRYPTION, on_end: OnEnd::Restart };
const METAS: Part = Part { name: "metadata", on_end: OnEnd::Restart };
const LEGACY: Part = Part { name: "legacy-tokens", on_end: OnEnd::Restart };
const MEMORY: Part = Part { name: "memory", on_end: OnEnd::Restart };
const SCHEDULER: Part = Part { name: "scheduler", on_end: OnEnd::Restart };

/// The API with its store, the loops and the scheduler.
pub struct ControlPlane {
    pub server: Arc<Server>,
    /// The server's door within this process.
    pub serve: Arc<dyn Serve>,
    /// The API as the cluster's owner sees it.
    pub client: Client,
    /// Everything that anybody in this process reads of the API, once.
    pub caches: Caches,
    /// What has to be there, whoever deletes it.
    pub wanted: Arc<Wanted>,
    tls: Arc<rustls::ServerConfig>,
    /// What the node of this machine shows to callers.
    pub node_tls: Arc<rustls::ServerConfig>,
    /// What seals for the store.
    pub encryption: Arc<Encryption>,
}

impl ControlPlane {
    /// Builds and starts everything but the door for others.
    pub async fn start(
        settings: &Settings,
        addresses: &Addresses,
        world: &World,
        parts: &Parts,
    ) -> Result<ControlPlane> {
        let encryption = Arc::new(Encryption::open(settings, world)?);
        let store = open_store(settings, world, encryption.sealer.clone())?;
        let opened = store.clone();
        parts.start(STORE, move |_| {
            let opened = opened.clone();
            async move { Err(opened.stopped().await.to_string().into()) }
        });
        let certified = certified(settings, addresses);
        let keys = Keys::open(&settings.data.join("pki"), &certified, world)?;
        let ca = keys.ca_pem().to_owned();
        let front_ca = keys.front_proxy_ca.clone();
        let tls = keys.server_config(world)?;
        let node_tls = keys::tls::server_config(&ca, &keys.node_serving, world)?;
        write_kubeconfig(settings, addresses, &keys)?;
        let (server, signer) = server(settings, addresses, world, &store, keys, parts).await?;
        let server = Arc::new(server);
        crate::who::follow(&server, &settings.who, world, parts)?;
        let migrated = skiff_server::admission::service::migrate(&*store, &server.reader, world);
        migrated.await.map_err(anyhow::Error::msg).context("making objects of taken addresses")?;
        start_memory(&server, world, parts);
        let follows = encryption.clone();
        parts.start(ENCRYPTION, move |_| {
            let encryption = follows.clone();
            async move { encryption.follow().await.map_err(|error| format!("{error:#}").into()) }
        });
        let followed = server.clone();
        parts.start(CUSTOM, move |_| {
            let follow = skiff_server::custom::follow(followed.clone());
            async move {
                follow.await;
                Ok(())
            }
        });
        let serve: Arc<dyn Serve> = Arc::new(Entry(server.clone()));
        let client =
            Client::new(serve.clone(), User::system("skiff", &["system:masters"]), "skiff");
        start_legacy(&server, &client, parts);
        let (kinds, ranges) = (&server.kinds, &ranges(settings));
        let wanted = Arc::new(Wanted::default());
        crate::bootstrap::run(&client, kinds, ranges, addresses, settings, &wanted).await?;
        let server_url = format!("https://{}", addresses.api);
        let info = (&*server_url, &*ca, world.now());
        crate::bootstrap::public(&client, kinds, info).await?;
        crate::bootstrap::authentication(&client, kinds, (&ca, &front_ca), &wanted).await?;
        let facts = facts(&server, signer, ca, wanted.clone(), settings, addresses);
        let runner = start_loops(&server, &serve, facts, world, parts);
        let caches = runner.caches.clone();
        let figures = skiff_sched::Figures::default();
        start_scheduler(&serve, &caches, world, parts, &settings.node, figures.clone());
        server.figures.add(move || runner.figures());
        server.figures.add(move || figures.text());
        Ok(ControlPlane { server, serve, client, caches, wanted, tls, node_tls, encryption })
    }

    /// What took a part from under us: all that reads the store ends with it.
    pub fn cause(&self, fatal: Fatal) -> Fatal {
        match self.server.store.stopped().now_or_never() {
            Some(why) => {
                Fatal { part: STORE.name.to_owned(), error: why.to_string(), next: STORE_NEXT }
            }
            None => fatal,
        }
    }

    /// Opens the door for others.
    pub fn answer(&self, listener: TcpListener, world: &World, parts: &Parts) {
        let door = HttpServer {
            world: world.clone(),
            serve: self.serve.clone(),
            limits: self.server.limits.clone(),
            gzip: Default::default(),
            user_of: keys::tls::user,
        };
        let (tls, mut listener) = (self.tls.clone(), Some(listener));
        parts.start(HTTP, move |tasks| {
            let (door, tls, listener) = (door.clone(), tls.clone(), listener.take());
            async move {
                let listener = listener.ok_or("it is opened once")?;
                http::run(door, tls, listener, tasks).await;
                Ok(())
            }
        });
    }
}

pub async fn listen(settings: &Settings) -> Result<TcpListener> {
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

fn open_store(
    settings: &Settings,
    world: &World,
    seal: Arc<Sealer>,
) -> Result<Arc<dyn skiff_store::Store>> {
    let clock = world.clone();
    let mut options = skiff_store::Options::new(Arc::new(move || clock.uptime()));
    options.seal = Some(seal);
    Ok(skiff_store::open(&settings.data.join("store"), options)?)
}

fn certified(settings: &Settings, addresses: &Addresses) -> keys::Wanted {
    keys::Wanted {
        names: vec![settings.node.clone()],
        addresses: addresses.certified.clone(),
        node: settings.node.clone(),
        node_addresses: vec![addresses.advertise],
    }
}

async fn server(
    settings: &Settings,
    addresses: &Addresses,
    world: &World,
    store: &Arc<dyn skiff_store::Store>,
    keys: Keys,
    parts: &Parts,
) -> Result<(Server, Signer)> {
    let nodes = Nodes::new(&*keys.client_config(Some(&keys.kubelet_client), world)?);
    let front_proxy = Some(keys.front_proxy.clone());
    let (signing, signer) = keys.signers(settings.cluster_signing_duration);
    let setup = Setup {
        world: world.clone(),
        store: store.clone(),
        nodes,
        signing,
        outbound: outbound(settings, addresses),
        naming: crate::who::naming(&settings.who)?,
        front_proxy,
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
    let audit = crate::audit::open(settings, world)?;
    let mut server = Server::new(setup, &parts.held(RBAC.0, RBAC.1)).await?;
    if let Some(opened) = audit {
        opened.start(world, parts);
        let told = opened.audit.clone();
        server.figures.add(move || told.figures());
        server.audit = Some(opened.audit);
    }
    crate::who::configure(&mut server, &settings.who, world)?;
    let told = parts.clone();
    server.figures.add(move || told.metrics());
    let told = parts.clone();
    server.components = Box::new(move || components(&told.states()));
    Ok((server, signer))
}

/// The components that upstream's control plane is made of, by the parts that do their work here.
fn components(states: &[State]) -> Vec<Component> {
    let wrong = |is: &dyn Fn(&str) -> bool| {
        let down: Vec<String> = states
            .iter()
            .filter(|state| is(&state.name) && !state.up)
            .map(|state| format!("{}: {}", state.name, state.last_error))
            .collect();
        (!down.is_empty()).then(|| down.join("; "))
    };
    let component = |name, is: &dyn Fn(&str) -> bool| Component { name, wrong: wrong(is) };
    vec![
        component("controller-manager", &|part| part.starts_with("loop/")),
        component("etcd-0", &|part| part == STORE.name),
        component("scheduler", &|part| part == SCHEDULER.name),
    ]
}

fn ranges(settings: &Settings) -> Ranges {
    Ranges {
        addresses: settings.service_cidrs[0],
        pods: settings.pod_cidrs[0],
        own_ports: vec![settings.listen.port(), crate::agent::PORT],
        deny_external: settings.deny_service_external_ips,
        ..Ranges::default()
    }
}

/// Whom webhooks may not be.
fn outbound(settings: &Settings, addresses: &Addresses) -> outbound::Rules {
    let local = if settings.allow_local_webhooks { Local::Allowed } else { Local::Refused };
    let own_ports = vec![settings.listen.port(), crate::agent::PORT];
    outbound::Rules { local, own_addresses: addresses.certified.clone(), own_ports }
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
    let config = skiff_json::json!({
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

/// What loops are told: they ask for tokens and certificates, and never see a key.
fn facts(
    server: &Arc<Server>,
    signer: Signer,
    ca: String,
    wanted: Arc<Wanted>,
    settings: &Settings,
    addresses: &Addresses,
) -> ClusterFacts {
    let (issuer, world) = (server.clone(), server.world.clone());
    let sign = move |claims: &LegacyClaims| {
        issuer.authenticator.tokens().sign(claims).map_err(Status::internal)
    };
    let certify = move |asked: &Request, usages: &[String], life| {
        let signed = signer.sign(asked, usages, life, &world);
        signed.map_err(|error| Status::internal(error.to_string()))
    };
    let ledger = server.ledger.clone();
    let settled = move |namespace: &str| -> BoxFuture<'static, u64> {
        let (ledger, namespace) = (ledger.clone(), namespace.to_owned());
        Box::pin(async move { ledger.settled(&namespace).await })
    };
    let aggregator = server.aggregator.clone();
    let reach = move |name: &str| -> BoxFuture<'static, Result<(), String>> {
        let (aggregator, name) = (aggregator.clone(), name.to_owned());
        Box::pin(async move { aggregator.reach(&name).await })
    };
    ClusterFacts {
        ca,
        reach: Box::new(reach),
        sign: Box::new(sign),
        wanted,
        settled: Box::new(settled),
        pods: settings.pod_cidrs[0],
        node_bits: settings::NODE_BITS,
        certify: Box::new(certify),
        api_names: SERVICE_NAMES.iter().map(|name| (*name).to_owned()).collect(),
        api_addresses: addresses.certified.iter().map(IpAddr::to_canonical).collect(),
    }
}

fn start_loops(
    server: &Arc<Server>,
    serve: &Arc<dyn Serve>,
    facts: ClusterFacts,
    world: &World,
    parts: &Parts,
) -> Runner {
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
        serve: serve.clone(),
        caches,
        metas,
        kinds: kinds.clone(),
        settings: Arc::new(facts),
        world: world.clone(),
        parts: parts.clone(),
        health: Default::default(),
    };
    skiff_loops::LOOPS.iter().for_each(|start| start(&runner));
    runner
}

/// Writes down when tokens in secrets were last used.
fn start_legacy(server: &Arc<Server>, client: &Client, parts: &Parts) {
    let (server, client) = (server.clone(), client.clone());
    parts.start(LEGACY, move |_| {
        let (server, client) = (server.clone(), client.clone());
        async move {
            loop {
                let used = server.authenticator.tokens().used().await;
                fault::point("legacy-tokens");
                for ((namespace, name), day) in used {
                    let body = skiff_json::json!({"metadata": {"labels": {LAST_USED: day}}});
                    let kind = PatchKind::Merge;
                    let noted =
                        client.patch(kind, secret::RESOURCE, &namespace, &name, "", body).await;
                    if let Err(error) = noted {
                        tracing::warn!(%error, namespace, name, "the use of a token is not noted");
                    }
                }
            }
        }
    });
}

fn start_memory(server: &Arc<Server>, world: &World, parts: &Parts) {
    let (server, world) = (server.clone(), world.clone());
    parts.start(MEMORY, move |_| {
        let asked = server.asked.clone();
        let let_go = move || asked.let_go();
        let (shrunk, worked) = (server.store.shrunk(), server.limits.worked());
        let run = crate::memory::run(shrunk, worked, let_go, world.clone());
        async move {
            run.await;
            Ok(())
        }
    });
}

fn start_scheduler(
    serve: &Arc<dyn Serve>,
    caches: &Caches,
    world: &World,
    parts: &Parts,
    host: &str,
    figures: skiff_sched::Figures,
) {
    let user = User::system("system:kube-scheduler", &[]);
    let client = Client::new(serve.clone(), user, "kube-scheduler");
    let (caches, world, host) = (caches.clone(), world.clone(), host.to_owned());
    parts.start(SCHEDULER, move |tasks| {
        let started =
            Scheduler::start(world.clone(), client.clone(), &caches, tasks, &host, figures.clone());
        async move {
            // Its tasks work; it is held here.
            let _scheduler = started;
            std::future::pending().await
        }
    });
}
