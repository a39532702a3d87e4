//! Cases of caches over a server that does as it is told: what is asked of it, and what the readers see.

use super::*;
use crate::Caches;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use skiff_api::Status;
use skiff_api::follow::State as Fares;
use skiff_api::view::Resource;
use skiff_api::wire::{Answer, Body, Call, Frame, Serve, User};
use skiff_base::Parts;
use std::collections::VecDeque;
use std::sync::Mutex;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Map {
    metadata: Meta,
    data: std::collections::BTreeMap<String, String>,
}

impl View for Map {
    const RESOURCE: Resource = Resource::core("configmaps", "ConfigMap");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        put("has", if self.data.is_empty() { "nothing" } else { "data" });
    }
    fn selector(&self) -> Option<Selector> {
        self.data.get("selects").map(|text| Selector::parse(text).expect("a selector"))
    }
}

#[derive(Debug, Default, Deserialize)]
struct Other {
    metadata: Meta,
}

impl View for Other {
    const RESOURCE: Resource = Resource::core("secrets", "Secret");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Answers each watch of config maps with the next of its streams, and refuses all of secrets. A stream that is used up
/// ends when the last one is.
#[derive(Default)]
struct Scripted {
    asked: Mutex<Vec<String>>,
    streams: Mutex<VecDeque<Vec<Frame>>>,
}

impl Serve for Scripted {
    fn serve(&self, call: Call) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            if call.path.ends_with("secrets") {
                return Status::internal("no secrets today").into();
            }
            self.asked.lock().expect("unpoisoned").push(call.query);
            let next = self.streams.lock().expect("unpoisoned").pop_front();
            let frames = futures_util::stream::iter(next.clone().unwrap_or_default());
            let body = match next {
                Some(_) => Body::Watch(frames.boxed()),
                None => Body::Watch(futures_util::stream::pending().boxed()),
            };
            Answer::new(http::StatusCode::OK, body)
        })
    }
}

fn stored(revision: u64, name: &str, more: &str) -> Stored {
    let body = format!("{{\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"n\"}}{more}}}");
    Stored { head: "".into(), revision, body: body.into() }
}

fn put(revision: u64, name: &str, more: &str) -> Frame {
    Frame::Modified(stored(revision, name, more))
}

fn mark(revision: u64, aside: Option<&[&str]>) -> Frame {
    let initial_end = aside.map(|list| list.iter().map(|it| (*it).to_owned()).collect());
    Frame::Bookmark { head: "".into(), revision, initial_end }
}

struct Case {
    server: Arc<Scripted>,
    caches: Caches,
}

fn begin(streams: Vec<Vec<Frame>>) -> Case {
    let server = Arc::new(Scripted { streams: Mutex::new(streams.into()), ..Scripted::default() });
    let client = Client::new(server.clone(), User::system("test", &[]), "test");
    let world = World::seeded(1);
    let caches = Caches::new(client, world.clone(), Parts::new(world));
    Case { server, caches }
}

impl Case {
    fn asked(&self) -> Vec<String> {
        let kept = |query: &String| {
            let mut words = query.split('&').filter(|it| it.starts_with("resourceVersion="));
            words.next_back().unwrap_or("whole").to_owned()
        };
        self.server.asked.lock().expect("unpoisoned").iter().map(kept).collect()
    }
}

fn names(objects: &[Arc<Map>]) -> String {
    objects.iter().map(|it| it.metadata.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_is_gone_on_from_where_it_was() {
    let gone = Frame::Error(Status::expired("too old"));
    let case = begin(vec![
        vec![put(2, "a", ""), put(3, "b", ""), mark(5, Some(&[])), mark(7, None)],
        vec![Frame::Deleted(stored(8, "b", "")), put(9, "c", "")],
        vec![gone],
        vec![put(2, "a", ""), put(11, "d", ""), mark(12, Some(&[]))],
    ]);
    let cache = case.caches.of::<Map>();
    let mut heard = cache.subscribe();
    cache.caught_up(12).await;
    assert_eq!(case.asked(), ["whole", "resourceVersion=7", "resourceVersion=9", "whole"]);
    assert_eq!(names(&cache.list("n")), "a d");
    assert_eq!(names(&cache.list("m")), "");
    let mut told = Vec::new();
    while let Some(change) = heard.take() {
        assert!(
            change.old.is_none() && change.new.is_some(),
            "{} was heard of first now",
            change.key
        );
        told.push(change.key.name.clone());
    }
    assert_eq!(told, ["a", "d"], "b and c came and went before they were heard of");
    assert_eq!(cache.health().lists, 2);
}

#[tokio::test(start_paused = true)]
async fn one_bad_object_and_one_bad_kind_stop_nobody_else() {
    let case = begin(vec![vec![
        put(2, "bad", ",\"data\":7"),
        put(3, "good", ""),
        mark(5, Some(&["n/unread"])),
        put(6, "later", ""),
    ]]);
    let (cache, secrets) = (case.caches.of::<Map>(), case.caches.of::<Other>());
    cache.caught_up(6).await;
    let world = World::seeded(1);
    let waited = world.within(Duration::from_secs(600), secrets.caught_up(0)).await;
    assert!(waited.is_none(), "secrets are refused");
    assert_eq!(names(&cache.list("")), "good later");
    let [bad, unread] = ["bad", "unread"].map(|name| Key::new("n", name));
    assert_eq!(cache.hidden_in("n"), BTreeSet::from([bad.clone(), unread]));
    assert!(
        cache.hides(&bad) && cache.hidden_in("").is_empty() && cache.hidden_in("nn").is_empty()
    );
    let health = case.caches.health();
    let states: Vec<_> = health.iter().map(|(it, health)| (it.plural, health.state)).collect();
    assert_eq!(states, [("configmaps", Fares::Live), ("secrets", Fares::Starting)]);
    assert_eq!(health[1].1.error.as_deref(), Some("Internal error occurred: no secrets today"));
    let tries = health[1].1.lists;
    assert!((60..80).contains(&tries), "ten seconds between two tries: {tries}");
}

#[tokio::test(start_paused = true)]
async fn what_is_hidden_stays_as_it_was_and_is_told_of_when_it_is_hidden_no_more() {
    let case = begin(vec![
        vec![put(2, "gone", ""), put(3, "hidden", ""), put(4, "seen", ""), mark(5, Some(&[]))],
        vec![Frame::Error(Status::internal("look anew"))],
        vec![put(4, "seen", ""), mark(6, Some(&["n/hidden"]))],
        vec![Frame::Error(Status::internal("look anew"))],
    ]);
    let cache = case.caches.of::<Map>();
    let mut mended = cache.mended();
    cache.caught_up(6).await;
    assert_eq!(names(&cache.list("n")), "hidden seen");
    assert!(!mended.has_changed().expect("the cache is there"));
    case.server
        .streams
        .lock()
        .expect("unpoisoned")
        .push_back(vec![put(4, "seen", ""), mark(7, Some(&[]))]);
    mended.changed().await.expect("the cache is there");
    cache.caught_up(7).await;
    assert_eq!(names(&cache.list("n")), "seen");
}

#[tokio::test(start_paused = true)]
async fn indexes_follow_the_objects() {
    let labeled = |revision, name: &str, label: &str| {
        let body = format!(
            "{{\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"n\",\"labels\":{{\"app\":\"{label}\"}}}}}}"
        );
        Frame::Added(Stored { head: "".into(), revision, body: body.into() })
    };
    let case = begin(vec![
        vec![
            labeled(2, "a", "x"),
            labeled(3, "b", "x"),
            put(4, "s", ",\"data\":{\"selects\":\"app=x\"}"),
            mark(5, Some(&[])),
        ],
        vec![labeled(6, "b", "y")],
    ]);
    let cache = case.caches.of::<Map>();
    cache.caught_up(5).await;
    let selector = Selector::parse("app=x").expect("a selector");
    assert_eq!(names(&cache.select("n", &selector)), "a b");
    cache.caught_up(6).await;
    assert_eq!(names(&cache.select("n", &selector)), "a");
    assert_eq!(names(&cache.select("n", &Selector::parse("app!=x").expect("one"))), "b s");
    assert_eq!(names(&cache.find("has", "data")), "s");
    let a = cache.get(&Key::new("n", "a")).expect("it is there");
    let b = cache.get(&Key::new("n", "b")).expect("it is there");
    assert_eq!(names(&cache.selecting(&a.metadata)), "s");
    assert_eq!(names(&cache.selecting(&b.metadata)), "");
}
