//! Admission of whole requests, by plugins that tell what they are asked.

use super::*;
use crate::read::reader::Reader;
use crate::request::Warnings;
use crate::request::url::Query;
use crate::testkit::{self, Bench, MAPS, Told, map};
use expect_test::{Expect, expect};
use http::Method;
use skiff_api::kind::Kind;
use skiff_api::registry::Kinds;
use skiff_api::wire::User;
use skiff_json::{Value, json};
use skiff_store::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Asks about an update of an object of that name, in namespace `n`.
pub fn asked<T>(
    (user, kind, subresource): (&User, &Kind, &str),
    name: &str,
    ask: impl FnOnce(&Admit<'_>) -> T,
) -> T {
    let (warnings, options) = (Warnings::default(), Query::parse(""));
    let clock = Arc::new(std::time::Duration::default);
    let store = skiff_store::memory(skiff_store::Options::new(clock));
    let kinds = Kinds::builtin(skiff_kinds::KINDS);
    let outbound = crate::outbound::Outbound::new(
        skiff_base::World::real(),
        store.clone(),
        Default::default(),
    );
    let reader = Reader { store, kinds, unreadable: Default::default(), outbound };
    ask(&Admit {
        user,
        kind,
        asked: (&kind.group, &kind.version, &kind.kind),
        subresource,
        namespace: "n",
        name: name.into(),
        operation: Operation::Update,
        options: &options,
        delete_options: None,
        of_many: false,
        old: None,
        dry_run: false,
        again: false,
        policies: Default::default(),
        chain: Default::default(),
        warnings: &warnings,
        notes: &Default::default(),
        reader: &reader,
    })
}

/// A server whose plugins are these, or upstream's where there are none.
async fn bench(plugins: Vec<Arc<dyn Plugin>>) -> Bench {
    let all = plugins.is_empty();
    testkit::bench_of(|server| {
        if !all {
            server.admission = Plugins(plugins);
        }
    })
    .await
}

fn put(key: &str, body: &'static str) -> Write {
    let (body, facets) = (body.into(), skiff_store::facets(Vec::new()));
    Write::Put { key: key.into(), expect: None, body, generation: 1, facets }
}

/// Tells what it is asked, and refuses what is named `refused`.
#[derive(Default)]
struct Probe(Mutex<String>);

impl Probe {
    fn note(&self, what: &str, at: &Admit<'_>, object: Option<&Object>) {
        let Admit { operation, asked: (group, version, kind), dry_run, .. } = at;
        let place = format!("{}/{} {}", at.kind.plural, at.subresource, at.name);
        let mut line = format!("{what} {operation:?} {place}: {group}/{version} {kind}");
        if *dry_run {
            line += " dry";
        }
        if *operation == Operation::Connect {
            line += &format!(" {}", object.expect("options").value());
        }
        *self.0.lock().expect("no panic") += &format!("{line}\n");
    }

    fn judge<'a>(&self, what: &str, at: &Admit<'_>, object: Option<&Object>) -> Verdict<'a> {
        self.note(what, at, object);
        if at.name == "refused" { Err(at.forbid("it is refused")).into() } else { Verdict::PASS }
    }
}

impl Plugin for Probe {
    fn name(&self) -> &'static str {
        "Probe"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        self.note("mutate", at, Some(new));
        Ok(Next::GoOn).into()
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        at.warn("validated");
        self.judge("validate", at, new)
    }

    fn connect<'a>(&'a self, at: &'a Admit<'_>, options: &'a Object) -> Verdict<'a> {
        self.judge("connect", at, Some(options))
    }

    fn reserve<'a>(&'a self, at: &'a Admit<'_>, new: &'a Object, _: &'a mut Taking) -> Verdict<'a> {
        self.note("reserve", at, Some(new));
        Verdict::PASS
    }

    fn release<'a>(
        &'a self,
        at: &'a Admit<'_>,
        gone: &'a Object,
        _: &'a mut Taking,
    ) -> Verdict<'a> {
        self.note("release", at, Some(gone));
        Verdict::PASS
    }
}

async fn traced(requests: &[(Method, &str, Value)], wanted: Expect) {
    let probe = Arc::new(Probe::default());
    let bench = bench(vec![probe.clone()]).await;
    for (method, path, body) in requests {
        let Told(code, ..) = bench.ask(method.clone(), path, body.clone()).await;
        *probe.0.lock().expect("no panic") += &format!("-> {code}\n");
    }
    wanted.assert_eq(&probe.0.lock().expect("no panic"));
}

#[tokio::test]
async fn writes_and_deletes_are_asked_about() {
    let one = format!("{MAPS}/a");
    let dry = format!("{MAPS}?dryRun=All");
    let gone = format!("{one}?dryRun=All");
    let nothing = || Value::Null;
    let requests = [
        (Method::POST, MAPS, map("a")),
        (Method::PUT, &one, map("a")),
        (Method::POST, &dry, map("b")),
        (Method::POST, MAPS, map("refused")),
        (Method::DELETE, &gone, nothing()),
        (Method::DELETE, &one, nothing()),
        (Method::POST, MAPS, map("c")),
        (Method::DELETE, MAPS, nothing()),
    ];
    traced(
        &requests,
        expect![[r#"
        mutate Create configmaps/ a: /v1 ConfigMap
        validate Create configmaps/ a: /v1 ConfigMap
        reserve Create configmaps/ a: /v1 ConfigMap
        -> 201
        mutate Update configmaps/ a: /v1 ConfigMap
        validate Update configmaps/ a: /v1 ConfigMap
        -> 200
        mutate Create configmaps/ b: /v1 ConfigMap dry
        validate Create configmaps/ b: /v1 ConfigMap dry
        -> 201
        mutate Create configmaps/ refused: /v1 ConfigMap
        validate Create configmaps/ refused: /v1 ConfigMap
        -> 403
        validate Delete configmaps/ a: /v1 ConfigMap dry
        -> 200
        validate Delete configmaps/ a: /v1 ConfigMap
        release Delete configmaps/ a: /v1 ConfigMap
        -> 200
        mutate Create configmaps/ c: /v1 ConfigMap
        validate Create configmaps/ c: /v1 ConfigMap
        reserve Create configmaps/ c: /v1 ConfigMap
        -> 201
        validate Delete configmaps/ c: /v1 ConfigMap
        release Delete configmaps/ c: /v1 ConfigMap
        -> 200
    "#]],
    )
    .await;
}

#[tokio::test]
async fn actions_and_connections_are_asked_about() {
    let pod = |name: &str, rest: &str| format!("/api/v1/namespaces/n/pods/{name}/{rest}");
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let binding = json!({"metadata": {"name": "p"}, "target": {"name": "node"}});
    let token =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let (evict, bind) = (pod("p", "eviction"), pod("p", "binding"));
    let exec = pod("p", "exec?command=sh&command=-c&stdin=true&tty=false&container=c");
    let attach = pod("refused", "attach?stdout=1");
    let (forward, proxy) =
        (pod("p", "portforward?ports=80&ports=81"), pod("p:80", "proxy/a/b?c=d"));
    let requests = [
        (Method::POST, &*evict, eviction),
        (Method::POST, &bind, binding),
        (Method::POST, "/api/v1/namespaces/n/serviceaccounts/a/token", token),
        (Method::POST, &exec, Value::Null),
        (Method::GET, &attach, Value::Null),
        (Method::POST, &forward, Value::Null),
        (Method::GET, &proxy, Value::Null),
        (Method::GET, "/api/v1/nodes/n/proxy/metrics", Value::Null),
        (Method::GET, "/api/v1/namespaces/n/pods/p/log", Value::Null),
    ];
    traced(&requests, expect![[r#"
        mutate Create pods/eviction p: policy/v1 Eviction
        validate Create pods/eviction p: policy/v1 Eviction
        -> 404
        mutate Create pods/binding p: /v1 Binding
        validate Create pods/binding p: /v1 Binding
        -> 404
        mutate Create serviceaccounts/token a: authentication.k8s.io/v1 TokenRequest
        validate Create serviceaccounts/token a: authentication.k8s.io/v1 TokenRequest
        -> 404
        connect Connect pods/exec p: /v1 PodExecOptions {"apiVersion":"v1","command":["sh","-c"],"container":"c","kind":"PodExecOptions","stdin":true,"tty":false}
        -> 404
        connect Connect pods/attach refused: /v1 PodAttachOptions {"apiVersion":"v1","kind":"PodAttachOptions","stdout":true}
        -> 403
        connect Connect pods/portforward p: /v1 PodPortForwardOptions {"apiVersion":"v1","kind":"PodPortForwardOptions","ports":[80,81]}
        -> 404
        connect Connect pods/proxy p:80: /v1 PodProxyOptions {"apiVersion":"v1","kind":"PodProxyOptions","path":"/a/b"}
        -> 404
        connect Connect nodes/proxy n: /v1 NodeProxyOptions {"apiVersion":"v1","kind":"NodeProxyOptions","path":"/metrics"}
        -> 404
        -> 404
    "#]]).await;
}

#[tokio::test]
async fn who_is_refused_hears_the_warnings_too() {
    let bench = bench(vec![Arc::new(Probe::default())]).await;
    let Told(code, warnings, body) = bench.create(MAPS, map("refused")).await;
    assert_eq!((code, &body["reason"]), (403, &json!("Forbidden")));
    assert_eq!(warnings, ["299 - \"validated\""]);
}

/// Copies `data.from` into a label.
#[derive(Default)]
struct Copies(AtomicUsize, AtomicBool);

impl Plugin for Copies {
    fn name(&self) -> &'static str {
        "Copies"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.store(at.again, Ordering::Relaxed);
        let from = new.text("data.from").to_owned();
        new.set("metadata.labels.from", from);
        Ok(Next::GoOn).into()
    }
}

/// Says in `data.from` that it came from outside, once it was asked there.
struct Outside;

impl Plugin for Outside {
    fn name(&self) -> &'static str {
        "Outside"
    }

    fn mutate<'a>(&'a self, _: &'a Admit<'_>, new: &'a mut Object) -> Verdict<'a, Next> {
        Verdict::later(async {
            tokio::task::yield_now().await;
            new.set("data.from", "outside");
            Ok(Next::Again)
        })
    }
}

#[tokio::test]
async fn who_ran_before_sees_what_somebody_outside_changed() {
    let copies = Arc::new(Copies::default());
    let bench = bench(vec![copies.clone(), Arc::new(Outside)]).await;
    let Told(code, _, made) = bench.create(MAPS, map("a")).await;
    assert_eq!((code, &made["metadata"]["labels"]["from"]), (201, &json!("outside")));
    assert_eq!((copies.0.load(Ordering::Relaxed), copies.1.load(Ordering::Relaxed)), (2, true));
}

/// Gives each object a seat; somebody else is faster with the first one.
struct Seats {
    store: Mutex<Option<Arc<dyn Store>>>,
    rival: AtomicBool,
    asked: Mutex<Vec<&'static str>>,
}

impl Seats {
    fn store(&self) -> Arc<dyn Store> {
        self.store.lock().expect("no panic").clone().expect("it was given")
    }

    fn note(&self, what: &'static str) {
        self.asked.lock().expect("no panic").push(what);
    }
}

impl Plugin for Seats {
    fn name(&self) -> &'static str {
        "Seats"
    }

    fn mutate<'a>(&'a self, _: &'a Admit<'_>, _: &'a mut Object) -> Verdict<'a, Next> {
        self.note("mutate");
        Ok(Next::GoOn).into()
    }

    fn draw<'a>(&'a self, _: &'a Admit<'_>, new: &'a Object) -> Verdict<'a, Option<Object>> {
        self.note("draw");
        let free = (1..9).find(|seat| self.store().get(&format!("seats//{seat}")).is_none());
        let mut drawn = new.clone();
        drawn.set("data.seat", free.expect("there are seats").to_string());
        Ok(Some(drawn)).into()
    }

    fn validate<'a>(&'a self, _: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        self.note(if new.expect("a write").text("data.seat") == "1" { "see 1" } else { "see 2" });
        Verdict::PASS
    }

    fn reserve<'a>(
        &'a self,
        _: &'a Admit<'_>,
        new: &'a Object,
        taking: &'a mut Taking,
    ) -> Verdict<'a> {
        self.note("reserve");
        let key = format!("seats//{}", new.text("data.seat"));
        Verdict::later(async move {
            if self.rival.swap(false, Ordering::Relaxed) {
                self.store().commit(vec![put(&key, "rival")]).await.expect("it is free");
            }
            taking.writes.push(put(&key, "own"));
            Ok(())
        })
    }
}

#[tokio::test]
async fn what_somebody_took_first_is_drawn_again_alone() {
    let seats = Arc::new(Seats {
        store: Mutex::default(),
        rival: AtomicBool::new(true),
        asked: Mutex::default(),
    });
    let bench = bench(vec![seats.clone()]).await;
    *seats.store.lock().expect("no panic") = Some(bench.store.clone());
    let Told(code, _, made) = bench.create(MAPS, map("a")).await;
    assert_eq!((code, &made["data"]["seat"]), (201, &json!("2")));
    assert_eq!(
        *seats.asked.lock().expect("no panic"),
        ["mutate", "draw", "see 1", "reserve", "draw", "see 2", "reserve"]
    );
    let body = |key| bench.store.get(key).expect("it is taken").body.clone();
    assert_eq!((&*body("seats//1"), &*body("seats//2")), (&b"rival"[..], &b"own"[..]));
    // A dry run shows a seat, and takes none.
    let Told(code, _, shown) = bench.create(&format!("{MAPS}?dryRun=All"), map("b")).await;
    assert_eq!((code, &shown["data"]["seat"]), (201, &json!("3")));
    assert_eq!(bench.keys("seats").await.len(), 2);
}

/// Takes something in a transaction of its own, of which it counts how often it was given back.
#[derive(Default)]
struct Takes {
    taken: Arc<AtomicUsize>,
    back: Arc<AtomicUsize>,
}

impl Plugin for Takes {
    fn name(&self) -> &'static str {
        "Takes"
    }

    fn reserve<'a>(
        &'a self,
        _: &'a Admit<'_>,
        _: &'a Object,
        taking: &'a mut Taking,
    ) -> Verdict<'a> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let back = self.back.clone();
        taking.took(move |fate| {
            back.fetch_add(usize::from(fate == Fate::Refused), Ordering::Relaxed);
        });
        Verdict::PASS
    }
}

/// Never answers about what is named `slow`.
struct Slow;

impl Plugin for Slow {
    fn name(&self) -> &'static str {
        "Slow"
    }

    fn reserve<'a>(&'a self, at: &'a Admit<'_>, _: &'a Object, _: &'a mut Taking) -> Verdict<'a> {
        if at.name == "slow" { Verdict::later(std::future::pending()) } else { Verdict::PASS }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_is_given_back_when_the_write_does_not_come_to_be() {
    let takes = Arc::new(Takes::default());
    let count = || (takes.taken.load(Ordering::Relaxed), takes.back.load(Ordering::Relaxed));
    let bench = bench(vec![takes.clone(), Arc::new(Probe::default()), Arc::new(Slow)]).await;
    let made = |name: &'static str, query: &'static str| {
        let (bench, path) = (&bench, format!("{MAPS}{query}"));
        async move { bench.create(&path, map(name)).await.0 }
    };
    assert_eq!((made("a", "").await, count()), (201, (1, 0)));
    // Of that name there is one: the commit tells so.
    assert_eq!((made("a", "").await, count()), (409, (2, 1)));
    // The plugins' own refusal, and a caller who waits no longer.
    assert_eq!((made("refused", "").await, count()), (403, (2, 1)));
    assert_eq!((made("slow", "?timeout=1s").await, count()), (504, (3, 2)));
    assert_eq!((made("b", "?dryRun=All").await, count()), (201, (3, 2)));
}

#[tokio::test]
async fn a_service_takes_nothing_unless_it_is_stored() {
    let bench = bench(Vec::new()).await;
    let namespace = json!({"metadata": {"name": "n"}});
    assert_eq!(bench.create("/api/v1/namespaces", namespace).await.0, 201);
    let services = "/api/v1/namespaces/n/services";
    let service = |name: &str, address: &str| {
        let ports = json!([{"port": 80, "nodePort": 30_100}]);
        json!({"metadata": {"name": name},
            "spec": {"type": "NodePort", "clusterIP": address, "ports": ports}})
    };
    let dry = format!("{services}?dryRun=All");
    let Told(code, _, shown) = bench.create(&dry, service("a", "")).await;
    assert_eq!(code, 201);
    assert!(shown["spec"]["clusterIP"].as_str().is_some_and(|it| it.starts_with("10.96.")));
    assert_eq!(bench.keys("ipaddresses.networking.k8s.io").await.len(), 0);
    assert_eq!(bench.create(services, service("a", "10.96.7.7")).await.0, 201);
    // Another one with that port is refused, and its address stays free.
    let Told(code, _, refused) = bench.create(services, service("b", "10.96.7.8")).await;
    assert_eq!(code, 422, "{refused}");
    let taken = bench.keys("ipaddresses.networking.k8s.io").await;
    assert_eq!(taken, ["ipaddresses.networking.k8s.io//10.96.7.7"]);
    assert_eq!(bench.keys("nodeports").await, ["nodeports//30100"]);
    assert_eq!(bench.ask(Method::DELETE, &format!("{services}/a"), Value::Null).await.0, 200);
    assert_eq!(
        bench.keys("ipaddresses.networking.k8s.io").await.len()
            + bench.keys("nodeports").await.len(),
        0
    );
}

/// Protobuf sends empty texts for what JSON leaves out.
#[tokio::test]
async fn what_was_sent_as_empty_gets_its_default() {
    let bench = bench(Vec::new()).await;
    let namespace = json!({"metadata": {"name": "n"}});
    assert_eq!(bench.create("/api/v1/namespaces", namespace).await.0, 201);
    let ports = json!([{"containerPort": 80, "protocol": ""}]);
    let template = json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]}});
    let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template});
    let deployment = json!({"metadata": {"name": "a"}, "spec": spec});
    let Told(code, _, made) =
        bench.create("/apis/apps/v1/namespaces/n/deployments", deployment).await;
    let port = &made["spec"]["template"]["spec"]["containers"][0]["ports"][0];
    assert_eq!((code, &port["protocol"]), (201, &json!("TCP")));
}

fn cluster_ip(name: &str, address: Option<&str>) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}})
}

fn range(name: &str, range: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"cidrs": [range]}})
}

#[tokio::test]
async fn addresses_come_from_the_ranges_that_are_there() {
    let bench = bench(Vec::new()).await;
    let namespace = json!({"metadata": {"name": "n"}});
    assert_eq!(bench.create("/api/v1/namespaces", namespace).await.0, 201);
    let ranges = "/apis/networking.k8s.io/v1/servicecidrs";
    assert_eq!(bench.create(ranges, range("kubernetes", "10.96.0.0/29")).await.0, 201);
    let services = "/api/v1/namespaces/n/services";
    // Six are left between the ends, and the first one is kept for the API.
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(bench.create(services, cluster_ip(name, None)).await.0, 201, "{name}");
    }
    let Told(code, _, refused) = bench.create(services, cluster_ip("f", None)).await;
    let full =
        "Internal error occurred: failed to allocate a serviceIP for Service \"f\": range is full";
    assert_eq!((code, refused["message"].as_str()), (500, Some(full)));
    let Told(code, _, refused) = bench.create(services, cluster_ip("f", Some("10.97.0.4"))).await;
    assert_eq!(code, 422, "{refused}");
    assert_eq!(bench.create(ranges, range("more", "10.97.0.0/29")).await.0, 201);
    assert_eq!(bench.create(services, cluster_ip("f", Some("10.97.0.4"))).await.0, 201);
    let Told(code, _, made) = bench.create(services, cluster_ip("g", None)).await;
    assert_eq!(code, 201);
    assert!(made["spec"]["clusterIP"].as_str().is_some_and(|it| it.starts_with("10.97.0.")));
    // One that goes gives no more.
    let held = json!({"metadata": {"name": "more", "finalizers": ["a.b/c"]}, "spec": {"cidrs": ["10.97.0.0/29"]}});
    let more = format!("{ranges}/more");
    assert_eq!(bench.ask(Method::PUT, &more, held).await.0, 200);
    assert_eq!(bench.ask(Method::DELETE, &more, Value::Null).await.0, 200);
    assert_eq!(bench.create(services, cluster_ip("h", Some("10.97.0.5"))).await.0, 422);
    assert_eq!(bench.create(services, cluster_ip("h", None)).await.0, 500);
    assert_eq!(bench.ask(Method::DELETE, &format!("{services}/a"), Value::Null).await.0, 200);
    assert_eq!(bench.create(services, cluster_ip("h", None)).await.0, 201);
}

#[tokio::test]
async fn an_address_is_its_object() {
    let bench = bench(Vec::new()).await;
    let namespace = json!({"metadata": {"name": "n"}});
    assert_eq!(bench.create("/api/v1/namespaces", namespace).await.0, 201);
    let (services, addresses) =
        ("/api/v1/namespaces/n/services", "/apis/networking.k8s.io/v1/ipaddresses");
    assert_eq!(bench.create(services, cluster_ip("a", Some("10.96.5.5"))).await.0, 201);
    let own = format!("{addresses}/10.96.5.5");
    let Told(code, _, taken) = bench.ask(Method::GET, &own, Value::Null).await;
    let parent = json!({"resource": "services", "namespace": "n", "name": "a"});
    assert_eq!((code, &taken["spec"]["parentRef"]), (200, &parent));
    assert_eq!(taken["metadata"]["managedFields"][0]["manager"], "kube-apiserver");
    // What another has is not given, and goes with nobody's Service.
    let others = json!({"metadata": {"name": "10.96.5.6"},
        "spec": {"parentRef": {"group": "example.com", "resource": "gateways", "name": "g"}}});
    assert_eq!(bench.create(addresses, others.clone()).await.0, 201);
    assert_eq!(bench.create(services, cluster_ip("b", Some("10.96.5.6"))).await.0, 422);
    assert_eq!(bench.ask(Method::DELETE, &own, Value::Null).await.0, 200);
    let mut stolen = others;
    stolen["metadata"]["name"] = "10.96.5.5".into();
    assert_eq!(bench.create(addresses, stolen).await.0, 201);
    assert_eq!(bench.ask(Method::DELETE, &format!("{services}/a"), Value::Null).await.0, 200);
    assert_eq!(bench.ask(Method::GET, &own, Value::Null).await.0, 200);
    // A finalizer holds the record of a Service that is gone.
    assert_eq!(bench.create(services, cluster_ip("c", Some("10.96.5.7"))).await.0, 201);
    let held = format!("{addresses}/10.96.5.7");
    let Told(_, _, mut record) = bench.ask(Method::GET, &held, Value::Null).await;
    record["metadata"]["finalizers"] = json!(["a.b/c"]);
    assert_eq!(bench.ask(Method::PUT, &held, record).await.0, 200);
    assert_eq!(bench.ask(Method::DELETE, &format!("{services}/c"), Value::Null).await.0, 200);
    let Told(code, _, record) = bench.ask(Method::GET, &held, Value::Null).await;
    assert_eq!((code, record["metadata"]["deletionTimestamp"].is_string()), (200, true));
}

#[tokio::test]
async fn what_an_older_version_took_becomes_an_object() {
    let bench = bench(Vec::new()).await;
    let before = |address: &str, service: &str| skiff_store::Write::Put {
        key: format!("ipallocations//{address}").into(),
        expect: None,
        body: format!("{{\"service\":\"{service}\"}}").into(),
        generation: 1,
        facets: skiff_store::facets(Vec::new()),
    };
    let taken = vec![before("10.96.0.7", "n/a"), before("10.96.0.8", "n/b"), before("x", "n")];
    bench.store.commit(taken).await.expect("it is written");
    let server = &bench.server;
    let migrate = || service::migrate(&*bench.store, &server.reader, &server.world);
    migrate().await.expect("it is written");
    migrate().await.expect("there is nothing left to do");
    assert_eq!(bench.keys("ipallocations").await.len(), 0);
    assert_eq!(bench.keys("ipaddresses.networking.k8s.io").await.len(), 2);
    let path = "/apis/networking.k8s.io/v1/ipaddresses/10.96.0.8";
    let Told(code, _, taken) = bench.ask(Method::GET, path, Value::Null).await;
    assert_eq!((code, &taken["spec"]["parentRef"]["name"]), (200, &json!("b")));
    assert_eq!(taken["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"], "IPv4");
}

#[tokio::test]
async fn an_ingress_gets_the_newest_default_class() {
    let bench = bench(Vec::new()).await;
    let namespace = json!({"metadata": {"name": "n"}});
    assert_eq!(bench.create("/api/v1/namespaces", namespace).await.0, 201);
    let classes = "/apis/networking.k8s.io/v1/ingressclasses";
    let class = |name: &str, default: &str| {
        json!({"metadata": {"name": name, "annotations": {"ingressclass.kubernetes.io/is-default-class": default}},
            "spec": {"controller": "a.b/c"}})
    };
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/n/ingresses";
    let ingress = |name: &str| {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        json!({"metadata": {"name": name}, "spec": {"defaultBackend": backend}})
    };
    assert_eq!(bench.create(classes, class("x", "false")).await.0, 201);
    let made = bench.create(ingresses, ingress("a")).await.2;
    assert_eq!(made["spec"]["ingressClassName"], Value::Null);
    for name in ["z", "y"] {
        assert_eq!(bench.create(classes, class(name, "true")).await.0, 201);
    }
    let made = bench.create(ingresses, ingress("b")).await.2;
    assert_eq!(made["spec"]["ingressClassName"], "y");
}
