//! What the cases of a whole server are made of.

use crate::connect::Nodes;
use crate::identity::keys::signing::{SigningKey, tests::pem};
use crate::{Build, Entry, Server, Setup, render};
use http::{HeaderMap, Method};
use skiff_api::wire::{Body, Call, Payload, Peer, Sending, Serve, User};
use skiff_base::{Tasks, World};
use skiff_json::{Value, json};
use skiff_store::Store;
use std::sync::Arc;

/// A whole server, asked from inside its process.
pub struct Bench {
    pub server: Arc<Server>,
    pub store: Arc<dyn Store>,
    _tasks: Tasks,
}

/// A server over an empty store.
pub async fn bench() -> Bench {
    bench_of(|_| ()).await
}

/// The same, changed before anybody asks it.
pub async fn bench_of(change: impl FnOnce(&mut Server)) -> Bench {
    let (world, tasks) = (World::seeded(1), Tasks::new());
    let clock = world.clone();
    let store = skiff_store::memory(skiff_store::Options::new(Arc::new(move || clock.uptime())));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let nobody = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let setup = Setup {
        world,
        store: store.clone(),
        signing: SigningKey::from_pem(&pem().0).expect("it reads"),
        naming: Default::default(),
        nodes: Nodes::new(&nobody),
        outbound: Default::default(),
        front_proxy: None,
        services: Default::default(),
        pod_security: Default::default(),
        address: "here".into(),
        build: Build::default(),
    };
    let mut server = Server::new(setup, &tasks).await.expect("an empty store reads");
    change(&mut server);
    Bench { server: Arc::new(server), store, _tasks: tasks }
}

/// A call of who may do everything, from inside the process.
pub fn call(method: Method, path: &str, body: Value) -> Call {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Call {
        method,
        path: path.into(),
        query: query.into(),
        headers: HeaderMap::new(),
        payload: Sending::Here(Payload::Tree(body)),
        peer: Peer::Local(Arc::new(User::system("root", &["system:masters"]))),
        upgrade: None,
    }
}

/// The code, the warnings and the body of an answer.
pub struct Told(pub u16, pub Vec<String>, pub Value);

impl Bench {
    pub async fn ask(&self, method: Method, path: &str, body: Value) -> Told {
        let answer = Entry(self.server.clone()).serve(call(method, path, body)).await;
        let warnings = answer.headers.get_all("warning").iter();
        let warnings = warnings.map(|it| it.to_str().expect("a text").to_owned()).collect();
        let body = match answer.body {
            Body::Bytes(bytes) => skiff_json::from_slice(&bytes).expect("a document"),
            Body::Object(stored) => stored.tree().expect("an object"),
            Body::List(list) => {
                let items = (0..list.items.count()).map(|at| list.items.get(at).tree());
                let items: Result<Vec<Value>, _> = items.collect();
                let metadata = render::json::metadata(&list);
                json!({"metadata": metadata, "items": items.expect("objects")})
            }
            _ => Value::Null,
        };
        Told(answer.status.as_u16(), warnings, body)
    }

    pub async fn create(&self, path: &str, body: Value) -> Told {
        self.ask(Method::POST, path, body).await
    }

    /// The keys that begin so.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let scope = skiff_store::Scope::prefix(prefix);
        let asked = skiff_store::ListRequest { scope, ..Default::default() };
        let listed = self.store.list(asked).await.expect("the store answers");
        listed.records.iter().map(|record| record.key.to_string()).collect()
    }
}

/// Where the config maps of a case are.
pub const MAPS: &str = "/api/v1/namespaces/n/configmaps";

/// One of them.
pub fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"from": "user"}})
}
