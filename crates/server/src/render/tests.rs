//! Renditions: how often they are made, what is filled in when, and the messages that watchers get.

use super::shared::WATCHED_MOST;
use super::*;
use crate::rim::limit::Limits;
use expect_test::expect;
use skiff_api::registry::Kinds;
use skiff_base::Time;
use std::time::Duration;

fn kind() -> Arc<Kind> {
    let kinds = Kinds::builtin(skiff_kinds::KINDS).now();
    kinds.find("", "v1", "configmaps").cloned().expect("a kind")
}

fn renditions() -> Arc<Renditions> {
    Arc::new(Renditions::new(WATCHED_MOST, Limits::default()))
}

fn shape(form: Form, renditions: &Arc<Renditions>, world: &World, kind: &Arc<Kind>) -> Shape {
    let (world, renditions, kind) = (world.clone(), renditions.clone(), kind.clone());
    Shape { world, renditions, kind, form, source: Source::Stored }
}

fn stored(kind: &Kind, revision: u64, name: &str, created: Time) -> Stored {
    let time = crate::request::codec::time(created);
    let body = format!(
        "{{\"metadata\":{{\"name\":{name:?},\"creationTimestamp\":{time:?}}},\"data\":{{\"a\":\"b\"}}}}"
    );
    Stored { head: crate::read::head(kind), revision, body: body.into() }
}

fn text(mut pieces: Pieces) -> String {
    String::from_utf8(pieces.copy_to_bytes(pieces.remaining()).to_vec()).expect("it is text")
}

fn cells(message: &str) -> Vec<Value> {
    let message: Value = skiff_json::from_str(message).expect("JSON");
    message["object"]["rows"][0]["cells"].as_array().expect("cells").clone()
}

/// A watch may last for hours, and what it shows is as old as it is then.
#[tokio::test(start_paused = true)]
async fn ages_are_those_of_the_moment_of_sending() {
    let (world, renditions, kind) = (World::seeded(1), renditions(), kind());
    let shape = shape(Form::Row(Include::None), &renditions, &world, &kind);
    let object = stored(&kind, 1, "a", world.now());
    let age = || {
        let frame = shape.frame(Frame::Added(object.clone()), Columns::None);
        cells(&text(frame)).last().expect("an age").clone()
    };
    assert_eq!(age(), "0s");
    world.sleep(Duration::from_secs(90)).await;
    assert_eq!(age(), "90s");
    world.sleep(Duration::from_secs(3600)).await;
    assert_eq!(age(), "61m");
    assert_eq!(renditions.figures().made, 1, "the same rendition is filled in anew");
}

#[test]
fn watchers_share_one_rendition_for_each_event() {
    const WATCHERS: usize = 1000;
    let (world, renditions, kind) = (World::seeded(1), renditions(), kind());
    let watcher = |_| shape(Form::Row(Include::Metadata), &renditions, &world, &kind);
    let watchers: Vec<Shape> = (0..WATCHERS).map(watcher).collect();
    let events = [
        Frame::Added(stored(&kind, 1, "a", world.now())),
        Frame::Modified(stored(&kind, 2, "a", world.now())),
        Frame::Deleted(stored(&kind, 3, "a", world.now())),
    ];
    // They begin at different times, and run on different threads.
    std::thread::scope(|scope| {
        for watchers in watchers.chunks(WATCHERS / 4) {
            let events = events.clone();
            scope.spawn(move || {
                for (at, watcher) in watchers.iter().enumerate() {
                    let mut columns = Columns::Defined;
                    for event in &events[at % 2..] {
                        watcher.frame(event.clone(), columns);
                        columns = Columns::None;
                    }
                }
            });
        }
    });
    let figures = renditions.figures();
    let asked = (WATCHERS * 5 / 2) as u64;
    assert_eq!((figures.made, figures.found), (3, asked - 3));
    // Lists ask for the same.
    let watcher = &watchers[0];
    watcher.object(&stored(&kind, 2, "a", world.now())).expect("a Table");
    assert_eq!(renditions.figures().made, 3);
    // What carries more is another one.
    let other = shape(Form::Row(Include::Object), &renditions, &world, &kind);
    other.frame(events[0].clone(), Columns::None);
    assert_eq!(renditions.figures().made, 4);
}

/// Whom a change took out of a selection is shown what was before, under the revision of the change; others see under
/// the same revision what is now.
#[test]
fn what_left_a_selection_is_not_what_it_became() {
    let (world, renditions, kind) = (World::seeded(1), renditions(), kind());
    let shape = shape(Form::Row(Include::None), &renditions, &world, &kind);
    let name = |frame| cells(&text(shape.frame(frame, Columns::None)))[0].clone();
    assert_eq!(name(Frame::Deleted(stored(&kind, 5, "before", world.now()))), "before");
    assert_eq!(name(Frame::Modified(stored(&kind, 5, "after", world.now()))), "after");
    assert_eq!(name(Frame::Deleted(stored(&kind, 5, "before", world.now()))), "before");
}

#[test]
fn what_is_kept_is_bounded_in_bytes_and_the_oldest_goes() {
    let (world, renditions, kind) = (World::seeded(1), renditions(), kind());
    let shape = shape(Form::Row(Include::Object), &renditions, &world, &kind);
    let large = |revision| {
        let mut object = stored(&kind, revision, "a", world.now());
        let body = String::from_utf8_lossy(&object.body)
            .replace(":\"b\"", &format!(":{:?}", "b".repeat(1 << 16)));
        object.body = body.into();
        object
    };
    let fits = (WATCHED_MOST >> 16) as u64 - 1;
    for revision in 1..=2 * fits {
        shape.frame(Frame::Added(large(revision)), Columns::None);
        assert!(renditions.figures().bytes <= WATCHED_MOST);
    }
    let made = renditions.figures().made;
    assert_eq!(made, 2 * fits);
    for revision in fits + 2..=2 * fits {
        shape.frame(Frame::Added(large(revision)), Columns::None);
    }
    assert_eq!(renditions.figures().made, made, "the newest are there");
    shape.frame(Frame::Added(large(1)), Columns::None);
    assert_eq!(renditions.figures().made, made + 1, "the oldest had gone");
}

/// As upstream sends them: only the first Table of a watch defines the columns.
#[test]
fn messages_of_a_watch() {
    let (world, renditions, kind) = (World::seeded(1), renditions(), kind());
    let short = Kind { columns: kind.columns[..2].to_vec(), ..(*kind).clone() };
    let kind = Arc::new(short);
    let object = |revision| stored(&kind, revision, "a", Time::UNIX_EPOCH);
    let mut out = String::new();
    let mut send = |shape: &Shape, frame, columns| out += &text(shape.frame(frame, columns));
    let rows = |include| shape(Form::Row(include), &renditions, &world, &kind);
    send(&rows(Include::None), Frame::Added(object(1)), Columns::Defined);
    let shape_ = rows(Include::Metadata);
    send(&shape_, Frame::Modified(object(2)), Columns::None);
    send(&rows(Include::Object), Frame::Deleted(object(3)), Columns::None);
    let bookmark = |initial_end| Frame::Bookmark { head: "".into(), revision: 4, initial_end };
    send(&shape_, bookmark(None), Columns::None);
    let metadata = shape(Form::Metadata, &renditions, &world, &kind);
    send(&metadata, Frame::Added(object(1)), Columns::Defined);
    send(&metadata, bookmark(Some(Vec::new())), Columns::None);
    send(&metadata, Frame::Error(Status::expired("too old")), Columns::None);
    expect![[r#"
        {"type":"ADDED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"columnDefinitions":[{"description":"","format":"name","name":"Name","priority":0,"type":"string"},{"description":"","format":"","name":"Data","priority":0,"type":"string"}],"rows":[{"cells":["a",1],"object":null}]}}
        {"type":"MODIFIED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"2"},"columnDefinitions":null,"rows":[{"cells":["a",1],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"2","name":"a","creationTimestamp":"1970-01-01T00:00:00Z"}}}]}}
        {"type":"DELETED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"3"},"columnDefinitions":null,"rows":[{"cells":["a",1],"object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"3","name":"a","creationTimestamp":"1970-01-01T00:00:00Z"},"data":{"a":"b"}}}]}}
        {"type":"BOOKMARK","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"4"},"columnDefinitions":null,"rows":[{"cells":["",0],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"4"}}}]}}
        {"type":"ADDED","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1","name":"a","creationTimestamp":"1970-01-01T00:00:00Z"}}}
        {"type":"BOOKMARK","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"annotations":{"k8s.io/initial-events-end":"true"},"resourceVersion":"4"}}}
        {"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old","reason":"Expired","code":410}}
    "#]].assert_eq(&out);
}

/// What reads a body whose form it does not know sees JSON, piece by piece or at once.
#[tokio::test]
async fn lists_are_whole_however_many_pieces_they_have() {
    let (world, renditions, kind) = (World::seeded(1), renditions(), kind());
    for count in [0, 1, 2000] {
        for form in [Form::Metadata, Form::Row(Include::Metadata)] {
            let items = (1..=count).map(|at| stored(&kind, at, &format!("n{at}"), world.now()));
            let list = List {
                head: crate::read::list_head(&kind),
                revision: count,
                items: Box::new(items.collect::<Vec<_>>()),
                next: "more".into(),
                remaining: Some(7),
                headed_items: false,
                unreadable: Vec::new(),
            };
            let Body::Rendered(list) = shape(form, &renditions, &world, &kind).list(list) else {
                panic!("it is a rendition");
            };
            let bytes = json::gather(list.pieces).await.expect("all pieces");
            let list: Value = skiff_json::from_slice(&bytes).expect("JSON");
            let shown = if form == Form::Metadata { &list["items"] } else { &list["rows"] };
            assert_eq!(shown.as_array().map(Vec::len), Some(count as usize));
            assert_eq!(list["metadata"]["continue"], "more");
        }
    }
}

/// Pieces are as large as fits the wire, whatever the sizes of items.
#[test]
fn pieces_of_a_list_are_of_one_size() {
    let sizes = [0, 1, json::LIST_PIECE * 3, 7, json::LIST_PIECE - 20, 5];
    let write = |size: usize, out: &mut Vec<u8>| {
        out.extend(std::iter::repeat_n(b'x', size));
        Ok(())
    };
    let items = Pages::new(b"[".to_vec(), json::ARRAY, sizes.into_iter(), write);
    let pieces: Result<Vec<Bytes>, _> = items.collect();
    let pieces = pieces.expect("nothing fails");
    let (last, whole) = pieces.split_last().expect("some");
    assert!(whole.iter().all(|piece| piece.len() == json::LIST_PIECE) && !last.is_empty());
    let texts: Vec<String> = sizes.iter().map(|size| "x".repeat(*size)).collect();
    assert_eq!(pieces.concat(), format!("[{}]}}\n", texts.join(",")).into_bytes());
}
