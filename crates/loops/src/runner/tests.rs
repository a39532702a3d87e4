//! Cases of the runner over a server that does as it is told, in virtual time.

use super::*;
use crate::controllers::garbage::GarbageCollector;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use skiff_api::view::View;
use skiff_api::wire::{Answer, Body, Call, Frame, Stored};
use skiff_client::PatchKind;
use skiff_json::{Value, json};
use skiff_kinds::views::ConfigMap;
use std::collections::VecDeque;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Answers each watch of a resource with the next of its streams, and then with silence; every write with the next
/// revision; every look at an object with 404.
struct Api {
    streams: Lock<HashMap<&'static str, VecDeque<UnboundedReceiver<Frame>>>>,
    said: UnboundedSender<String>,
    revision: u64,
}

impl Serve for Api {
    fn serve(&self, call: Call) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let plural = call.path.rsplit('/').next().unwrap_or("");
            if call.query.contains("watch=true") {
                let whole = call.query.contains("sendInitialEvents");
                self.say(format!("watch {plural} {}", if whole { "whole" } else { "on" }));
                let mut streams = self.streams.lock();
                let next = streams.get_mut(plural).and_then(VecDeque::pop_front);
                let frames = match next {
                    Some(next) => futures_util::stream::unfold(next, |mut frames| async {
                        Some((frames.recv().await?, frames))
                    })
                    .boxed(),
                    None => futures_util::stream::pending().boxed(),
                };
                return Answer::new(http::StatusCode::OK, Body::Watch(frames));
            }
            self.say(format!("{} {}", call.method, call.path));
            if call.method == http::Method::GET {
                return Status::new(404, "NotFound", "it is not there").into();
            }
            if call.method == http::Method::POST && call.path.contains("/ending/") {
                let causes = json!([{"reason": "NamespaceTerminating"}]);
                let refused = Status::new(403, "Forbidden", "it is being terminated");
                return Status { details: Some(json!({"causes": causes})), ..refused }.into();
            }
            let (head, body) = ("".into(), "{\"metadata\":{}}".into());
            let stored = Stored { head, revision: self.revision, body };
            Answer::new(http::StatusCode::OK, Body::Object(stored))
        })
    }
}

impl Api {
    fn say(&self, what: String) {
        // Nobody listens any more when the test is over.
        let _ = self.said.send(what);
    }
}

struct Case {
    runner: Runner,
    said: UnboundedReceiver<String>,
    streams: HashMap<&'static str, VecDeque<UnboundedSender<Frame>>>,
}

fn case(streams: &[&'static str], revision: u64, kinds: &[fn() -> skiff_api::kind::Kind]) -> Case {
    let (say, said) = unbounded_channel();
    let (mut send, mut receive) = (HashMap::new(), HashMap::new());
    for plural in streams {
        let (into, from) = unbounded_channel();
        send.entry(*plural).or_insert_with(VecDeque::new).push_back(into);
        receive.entry(*plural).or_insert_with(VecDeque::new).push_back(from);
    }
    let serve = Arc::new(Api { streams: Lock::new(receive), said: say, revision });
    let world = World::seeded(1);
    let parts = Parts::new(world.clone());
    let client = Client::new(serve.clone(), User::system("test", &[]), "test");
    let runner = Runner {
        serve,
        caches: Caches::new(client, world.clone(), parts.clone()),
        metas: Arc::default(),
        kinds: Kinds::builtin(&[kinds]),
        settings: Arc::new(ClusterFacts::test()),
        world,
        parts,
        health: Healths::default(),
    };
    Case { runner, said, streams: send }
}

impl Case {
    fn send(&self, plural: &'static str, at: usize, frame: Frame) {
        self.streams[plural][at].send(frame).expect("the watch is there");
    }

    /// Waits until the server was asked this, and returns what it was asked before.
    async fn until(&mut self, what: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let said = self.said.recv().await.expect("the server is there");
            if said == what {
                return before;
            }
            before.push(said);
        }
    }

    fn health(&self, name: &str) -> crate::Health {
        let all = self.runner.health.all();
        all.into_iter().find(|(it, _)| *it == name).expect("it was started").1
    }
}

fn object(revision: u64, metadata: Value) -> Frame {
    let body = json!({"metadata": metadata}).to_string().into();
    Frame::Modified(Stored { head: "".into(), revision, body })
}

fn map(revision: u64, name: &str) -> Frame {
    object(revision, json!({"name": name, "namespace": "n"}))
}

fn whole(revision: u64, hidden: &[&str]) -> Frame {
    let aside = hidden.iter().map(|it| (*it).to_owned()).collect();
    Frame::Bookmark { head: "".into(), revision, initial_end: Some(aside) }
}

/// Panics over what is called `bad`, twice; labels all else.
struct Panics;

impl Loop for Panics {
    const NAME: &'static str = "panics";
    const WORKERS: usize = 1;
    type Seen = Arc<ConfigMap>;
    type Memory = ();

    fn on(on: &mut On) {
        on.map::<ConfigMap>(|map, _| {
            assert!(map.metadata.name != "unspeakable", "the reaction fails");
            vec![map.metadata.key()]
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Arc<ConfigMap>>, Status> {
        Ok(cx.caches.of::<ConfigMap>().get(key))
    }

    fn plan(map: &Arc<ConfigMap>, _: &mut (), now: Time, out: &mut Changes) -> Next {
        // Seeded worlds begin at the full second, and back-off takes it off that.
        let tries = now.subsec_nanosecond() / 5_000_000;
        assert!(map.metadata.name != "bad" || tries > 2, "the plan fails");
        let (kind, resource) = (PatchKind::Merge, ConfigMap::RESOURCE);
        out.patch(kind, resource, map.metadata.key(), "", json!({}));
        Next::Wait
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_panics_gives_its_key_back_and_holds_up_nobody() {
    let mut case = case(&["configmaps"], 0, &[]);
    case.runner.start::<Panics>();
    for frame in [map(2, "bad"), map(3, "good"), map(4, "unspeakable"), whole(5, &[])] {
        case.send("configmaps", 0, frame);
    }
    let patch = |name: &str| format!("PATCH /api/v1/namespaces/n/configmaps/{name}");
    assert_eq!(case.until(&patch("good")).await, ["watch configmaps whole"]);
    assert_eq!(case.until(&patch("bad")).await, [""; 0]);
    let health = case.health("panics");
    let (_, why) = health.last_error.expect("it failed");
    assert!(health.panics >= 2 && why.contains("panicked"), "{} {why}", health.panics);
    assert!(case.runner.health.figures().contains("skiff_loop_panics_total{loop=\"panics\"}"));
    assert_eq!(health.depth.later, 0, "nothing is left to be tried again");
}

/// Makes a secret for each map.
struct Makes;

impl Loop for Makes {
    const NAME: &'static str = "makes";
    type Seen = Arc<ConfigMap>;
    type Memory = ();

    fn on(on: &mut On) {
        on.map::<ConfigMap>(|map, _| vec![map.metadata.key()]);
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Arc<ConfigMap>>, Status> {
        Ok(cx.caches.of::<ConfigMap>().get(key))
    }

    fn plan(_: &Arc<ConfigMap>, _: &mut (), _: Time, out: &mut Changes) -> Next {
        out.create(ConfigMap::RESOURCE, "n", json!({}));
        Next::Wait
    }
}

/// Makes something where nothing may be made any more, and then marks.
struct MakesAtTheEnd;

impl Loop for MakesAtTheEnd {
    const NAME: &'static str = "makes-at-the-end";
    type Seen = Arc<ConfigMap>;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<ConfigMap>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Arc<ConfigMap>>, Status> {
        Ok(cx.caches.of::<ConfigMap>().get(key))
    }

    fn plan(map: &Arc<ConfigMap>, _: &mut (), _: Time, out: &mut Changes) -> Next {
        out.create(ConfigMap::RESOURCE, "ending", json!({}));
        let (kind, resource) = (PatchKind::Merge, ConfigMap::RESOURCE);
        out.patch(kind, resource, map.metadata.key(), "", json!({}));
        Next::Wait
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_namespace_stops_only_what_is_made_there() {
    let mut case = case(&["configmaps"], 0, &[]);
    case.runner.start::<MakesAtTheEnd>();
    case.send("configmaps", 0, map(2, "a"));
    case.send("configmaps", 0, whole(5, &[]));
    case.until("POST /api/v1/namespaces/ending/configmaps").await;
    assert_eq!(case.until("PATCH /api/v1/namespaces/n/configmaps/a").await, [""; 0]);
    assert_eq!(case.health("makes-at-the-end").failures, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_withheld_is_not_tried_again_before_it_can_be() {
    let mut case = case(&["configmaps", "configmaps"], 0, &[]);
    case.runner.start::<Makes>();
    case.send("configmaps", 0, map(2, "a"));
    case.send("configmaps", 0, whole(5, &["n/hidden"]));
    let world = case.runner.world.clone();
    let long =
        world.within(Duration::from_secs(3600), case.until("POST /api/v1/namespaces/n/configmaps"));
    assert!(long.await.is_none(), "something of the namespace cannot be read");
    let health = case.health("makes");
    // One that fails, and one that may tell why.
    assert_eq!((health.passes, health.failures, health.depth.withheld), (2, 0, 1));
    assert!(health.last_error.expect("it says so").1.contains("cannot be read"));
    case.send("configmaps", 0, Frame::Error(Status::internal("look anew")));
    case.send("configmaps", 1, map(2, "a"));
    case.send("configmaps", 1, whole(6, &[]));
    case.until("POST /api/v1/namespaces/n/configmaps").await;
    assert_eq!(case.health("makes").depth.withheld, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pass_waits_for_what_the_last_one_wrote_but_not_for_ever() {
    let mut case = case(&["configmaps", "configmaps"], 50, &[]);
    case.runner.start::<Makes>();
    case.send("configmaps", 0, map(2, "a"));
    case.send("configmaps", 0, whole(5, &[]));
    let post = "POST /api/v1/namespaces/n/configmaps";
    case.until(post).await;
    // It is woken, and its watch does not show what it wrote.
    case.send("configmaps", 0, map(6, "a"));
    let began = case.runner.world.uptime();
    assert_eq!(case.until("watch configmaps whole").await, [""; 0], "nothing is made twice");
    let waited = case.runner.world.uptime() - began;
    assert!(waited >= crate::on::PATIENCE && waited < crate::on::PATIENCE * 2, "{waited:?}");
    let why = case.health("makes").last_error.expect("it says so").1;
    assert!(why.contains("does not show revision 50"), "{why}");
    case.send("configmaps", 1, map(6, "a"));
    case.send("configmaps", 1, whole(60, &[]));
    case.until(post).await;
}

#[tokio::test(start_paused = true)]
async fn the_status_of_an_owner_of_ten_thousand_wakes_nobody() {
    let kinds = [skiff_kinds::core::pod::kind, skiff_kinds::apps::replicaset::kind];
    let mut case = case(&["replicasets", "pods"], 0, &kinds);
    let (metas, runner) = (case.runner.metas.clone(), case.runner.clone());
    let client = Client::new(runner.serve.clone(), User::system("test", &[]), "test");
    let tasks = Tasks::new();
    tasks.spawn(metas.clone().follow(client, runner.world.clone(), runner.kinds.clone()));
    runner.start::<GarbageCollector>();
    let set =
        |revision, uid: &str| object(revision, json!({"name": uid, "namespace": "n", "uid": uid}));
    let pod = |revision, uid: &str, of: &str| {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": of, "uid": of,
            "controller": true, "blockOwnerDeletion": true});
        object(
            revision,
            json!({"name": uid, "namespace": "n", "uid": uid, "ownerReferences": [owner]}),
        )
    };
    for frame in [set(2, "many"), set(3, "one"), whole(4, &[])] {
        case.send("replicasets", 0, frame);
    }
    // Kinds are followed as soon as the registry was looked at.
    case.until("watch replicasets whole").await;
    let replicasets = skiff_kinds::views::ReplicaSet::RESOURCE;
    metas.caught_up(replicasets, 4).await;
    for number in 0..10_000 {
        case.send("pods", 0, pod(10 + number, &format!("p{number}"), "many"));
    }
    case.send("pods", 0, pod(10_011, "last", "one"));
    case.send("pods", 0, whole(10_012, &[]));
    metas.synced().await;
    case.send("replicasets", 0, set(10_013, "many"));
    // Behind the status comes the end of another owner, whose pod goes: then all before was taken in.
    let gone = json!({"metadata": {"name": "one", "namespace": "n", "uid": "one"}});
    let stored = Stored { head: "".into(), revision: 10_014, body: gone.to_string().into() };
    case.send("replicasets", 0, Frame::Deleted(stored));
    case.until("DELETE /api/v1/namespaces/n/pods/last").await;
    let passes = case.health("generic-garbage-collector").passes;
    assert!(passes <= 2, "{passes} passes");
}
