//! The whole server over a journal that decides elsewhere: others write too, events come late, one transaction is one
//! revision, an answer may be lost. Clients must not be able to tell.

#[path = "../../store/tests/elsewhere/mod.rs"]
mod elsewhere;

use elsewhere::{Elsewhere, Lost, Numbers};
use futures_util::StreamExt;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, header};
use skiff_api::wire::{Body, Call, Frame, Payload, Peer, Sending, Serve, Stored, User};
use skiff_base::{Tasks, World};
use skiff_json::{Value, json};
use skiff_server::connect::Nodes;
use skiff_server::identity::keys::{Keys, Wanted};
use skiff_server::{Build, Entry, Server, Setup};
use skiff_store::{CommitError, Options, Revision, Store, Write, facets};
use std::sync::Arc;
use std::time::Duration;

struct Bench {
    entry: Entry,
    store: Arc<dyn Store>,
    journal: Elsewhere,
    tasks: Tasks,
}

const MAPS: &str = "/api/v1/namespaces/n/configmaps";

impl Bench {
    async fn new(name: &str) -> Bench {
        let world = World::seeded(1);
        let clock = world.clone();
        let options = Options::new(Arc::new(move || clock.uptime()));
        let (store, journal) = elsewhere::store(&options, Numbers::Transaction, 1);
        let folder = std::env::temp_dir().join(format!("skiff-{name}-{}", std::process::id()));
        let address = "10.0.0.5".parse().unwrap();
        let names = Wanted {
            names: vec!["n1".into()],
            addresses: vec![address],
            node: "n1".into(),
            node_addresses: vec![address],
        };
        let keys = Keys::open(&folder, &names, &world).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let tasks = Tasks::new();
        let nodes = keys.client_config(Some(&keys.kubelet_client), &world).unwrap();
        let setup = Setup {
            world,
            store: store.clone(),
            signing: keys.signing,
            naming: Default::default(),
            nodes: Nodes::new(&nodes),
            outbound: Default::default(),
            front_proxy: None,
            services: Default::default(),
            pod_security: Default::default(),
            address: "10.0.0.5:6443".into(),
            build: Build::default(),
        };
        let server = Server::new(setup, &tasks).await.unwrap();
        let bench = Bench { entry: Entry(Arc::new(server)), store, journal, tasks };
        let namespace = json!({"metadata": {"name": "n"}});
        assert_eq!(bench.ask(Method::POST, "/api/v1/namespaces", namespace).await.0, 201);
        bench
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Body) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut headers = HeaderMap::new();
        let type_ = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(type_));
        let payload = match body {
            Value::Null => Payload::None,
            body => Payload::Bytes(body.to_string().into()),
        };
        let call = Call {
            method,
            path: path.into(),
            query: query.into(),
            headers,
            payload: Sending::Here(payload),
            peer: Peer::Local(Arc::new(User::system("test", &["system:masters"]))),
            upgrade: None,
        };
        let answer = self.entry.serve(call).await;
        (answer.status.as_u16(), answer.body)
    }

    /// The code, and the object or the message of a refusal.
    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let (code, body) = self.call(method, path, body).await;
        let value = match body {
            Body::Object(stored) => stored.tree().unwrap(),
            Body::Bytes(bytes) => skiff_json::from_slice(&bytes).unwrap(),
            Body::List(list) => {
                let items: Vec<Value> =
                    (0..list.items.count()).map(|at| list.items.get(at).tree().unwrap()).collect();
                json!({"resourceVersion": list.revision.to_string(), "items": items})
            }
            _ => Value::Null,
        };
        (code, value)
    }

    async fn data(&self, name: &str) -> Value {
        self.ask(Method::GET, &format!("{MAPS}/{name}"), Value::Null).await.1["data"].clone()
    }

    /// What another server makes of a map: nobody here knows of it before it is told.
    fn write_elsewhere(&self, name: &str, data: &Value) -> Revision {
        let key = format!("configmaps/n/{name}");
        let old = self.store.get(&key).expect("it is there");
        let mut body: Value = skiff_json::from_slice(&old.body).unwrap();
        body["data"] = data.clone();
        let write = Write::Put {
            key: key.into(),
            expect: Some(old.revision),
            body: skiff_api::json::encode_body(&body).into(),
            generation: old.generation,
            facets: facets(Vec::new()),
        };
        self.journal.write(&[write]).expect("nobody else wrote")[0]
    }
}

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// Lets what waits go on for a while, while nothing is told.
async fn meanwhile() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_writes_reads_it_and_who_is_beaten_tries_on_what_beat_it() {
    let bench = Bench::new("beaten").await;
    let made = bench.ask(Method::POST, MAPS, map("a", json!({"n": "0"}))).await;
    assert_eq!(made.0, 201);
    assert_eq!(bench.data("a").await, json!({"n": "0"}));
    let path = format!("{MAPS}/a");
    let patches = (1..=6).map(|n| {
        let patch = json!({"data": {(format!("k{n}")): "v"}});
        bench.ask(Method::PATCH, &path, patch)
    });
    let codes: Vec<u16> = join_all(patches).await.into_iter().map(|answer| answer.0).collect();
    assert_eq!(codes, [200; 6]);
    assert_eq!(bench.data("a").await.as_object().unwrap().len(), 7);
    let again = bench.ask(Method::POST, MAPS, map("a", json!({}))).await;
    assert_eq!((again.0, &again.1["reason"]), (409, &json!("AlreadyExists")));
    let stale = bench.ask(Method::PUT, &path, made.1).await;
    assert_eq!((stale.0, &stale.1["reason"]), (409, &json!("Conflict")));
    assert_eq!(bench.ask(Method::DELETE, &path, Value::Null).await.0, 200);
    assert_eq!(bench.ask(Method::GET, &path, Value::Null).await.0, 404);
    bench.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_server_wrote_is_seen_before_anything_is_decided() {
    let bench = Bench::new("current").await;
    let made = bench.ask(Method::POST, MAPS, map("a", json!({"n": "0"}))).await.1;
    bench.journal.hold();
    let theirs = bench.write_elsewhere("a", &json!({"n": "theirs"}));
    let path = format!("{MAPS}/a");
    let from_theirs = format!("{MAPS}?watch=true&resourceVersion={}&timeoutSeconds=9", theirs.0);
    // Whoever is content with what is here gets it at once.
    let old = bench.ask(Method::GET, &format!("{path}?resourceVersion=0"), Value::Null).await;
    assert_eq!((old.0, &old.1["data"]["n"]), (200, &json!("0")));
    let old = bench.ask(Method::GET, &format!("{MAPS}?resourceVersion=0"), Value::Null).await.1;
    assert_eq!(old["resourceVersion"], made["metadata"]["resourceVersion"]);
    let asks = async {
        tokio::join!(
            bench.ask(Method::GET, &path, Value::Null),
            bench.ask(Method::GET, MAPS, Value::Null),
            bench.ask(Method::PATCH, &path, json!({"data": {"ours": "1"}})),
            bench.call(Method::GET, &from_theirs, Value::Null),
        )
    };
    let let_go = async {
        meanwhile().await;
        bench.journal.let_go();
    };
    let ((got, listed, patched, watch), ()) = tokio::join!(asks, let_go);
    assert_eq!((got.0, &got.1["data"]["n"]), (200, &json!("theirs")));
    assert!(listed.1["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() >= theirs.0);
    assert_eq!((patched.0, &patched.1["data"]), (200, &json!({"n": "theirs", "ours": "1"})));
    // A watch from a revision that was not seen here yet goes on from there.
    let Body::Watch(mut frames) = watch.1 else { panic!("it is no watch") };
    let Some(Frame::Modified(next)) = frames.next().await else { panic!("it is no change") };
    assert_eq!(next.revision, revision(&patched.1));
    bench.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_each_change_once_and_in_order() {
    let bench = Bench::new("watch").await;
    let first = bench.ask(Method::POST, MAPS, map("a", json!({"n": "0"}))).await.1;
    let from = revision(&first);
    let path = format!("{MAPS}?watch=true&resourceVersion={from}&timeoutSeconds=60");
    let Body::Watch(frames) = bench.call(Method::GET, &path, Value::Null).await.1 else {
        panic!("it is no watch")
    };
    let mut expected = Vec::new();
    for n in 1..10 {
        let at = match n % 3 {
            0 => bench.write_elsewhere("a", &json!({"n": n.to_string()})).0,
            _ => {
                let patch = json!({"data": {"n": n.to_string()}});
                revision(&bench.ask(Method::PATCH, &format!("{MAPS}/a"), patch).await.1)
            }
        };
        expected.push(format!("MODIFIED {at} {n}"));
        // What another server wrote is the base of its next write here.
        assert_eq!(bench.data("a").await, json!({"n": n.to_string()}));
    }
    let gone = bench.ask(Method::DELETE, &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!(gone.0, 200);
    expected.push(format!("DELETED {} 9", bench.store.current().0));
    let show = |type_: &str, stored: &Stored| {
        let n = stored.tree().unwrap()["data"]["n"].as_str().unwrap().to_owned();
        format!("{type_} {} {n}", stored.revision)
    };
    let told: Vec<String> = frames
        .take(expected.len())
        .map(|frame| match &frame {
            Frame::Added(stored) => show("ADDED", stored),
            Frame::Modified(stored) => show("MODIFIED", stored),
            Frame::Deleted(stored) => show("DELETED", stored),
            other => format!("{other:?}"),
        })
        .collect()
        .await;
    assert_eq!(told, expected);
    bench.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_service_takes_is_one_revision_with_it() {
    let bench = Bench::new("service").await;
    let service = |name: &str, port: u16| {
        json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "selector": {"a": "b"},
               "ports": [{"name": "x", "port": 80, "nodePort": port}, {"name": "y", "port": 81}]}})
    };
    let path = "/api/v1/namespaces/n/services";
    let made = bench.ask(Method::POST, path, service("a", 30_007)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let got = bench.ask(Method::GET, &format!("{path}/a"), Value::Null).await.1;
    assert_eq!(got, made.1);
    let address = made.1["spec"]["clusterIP"].as_str().unwrap();
    for key in [format!("ipaddresses.networking.k8s.io//{address}"), "nodeports//30007".to_owned()]
    {
        assert_eq!(bench.store.get(&key).unwrap().revision.0, revision(&got), "{key}");
    }
    let taken = bench.ask(Method::POST, path, service("b", 30_007)).await;
    assert_eq!(taken.0, 422, "{}", taken.1);
    assert_eq!(bench.ask(Method::DELETE, &format!("{path}/a"), Value::Null).await.0, 200);
    assert!(bench.store.get("nodeports//30007").is_none());
    bench.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_and_a_lost_connection_are_survived() {
    let bench = Bench::new("lost").await;
    // Whether it was written, the next read knows.
    for (lost, name, written) in
        [(Lost::Written, "a", json!({"n": "0"})), (Lost::Unwritten, "x", Value::Null)]
    {
        bench.journal.lose(lost);
        let lost = bench.ask(Method::POST, MAPS, map(name, json!({"n": "0"}))).await;
        assert_eq!(lost.0, 500);
        let error = CommitError::Unknown("the answer was lost".into()).to_string();
        assert!(lost.1["message"].as_str().unwrap().contains(&error), "{}", lost.1);
        assert_eq!(bench.data(name).await, written);
    }
    let path = format!("{MAPS}?watch=true&timeoutSeconds=60");
    let Body::Watch(mut frames) = bench.call(Method::GET, &path, Value::Null).await.1 else {
        panic!("it is no watch")
    };
    assert!(matches!(frames.next().await, Some(Frame::Added(_))));
    bench.journal.break_off();
    assert!(matches!(frames.next().await, Some(Frame::Error(_))));
    assert_eq!(bench.ask(Method::GET, &format!("{MAPS}/a"), Value::Null).await.0, 500);
    assert_eq!(bench.ask(Method::POST, MAPS, map("b", json!({}))).await.0, 500);
    bench.store.reopen().await.unwrap();
    assert_eq!(bench.ask(Method::POST, MAPS, map("b", json!({}))).await.0, 201);
    assert_eq!(bench.data("a").await, json!({"n": "0"}));
    tokio::time::sleep(Duration::from_millis(1)).await;
    bench.tasks.stop().await;
}
