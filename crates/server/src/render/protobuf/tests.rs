//! Messages of lists, and how often those of their items are made. What is in them is recorded from upstream
//! (`tests/differential`).

use super::*;
use crate::render::rendition::Form;
use crate::render::shared::Renditions;
use crate::rim::limit::Limits;
use futures_util::FutureExt;
use skiff_api::registry::Kinds;
use skiff_base::World;
use std::sync::Arc;

/// A shape whose renditions share so many bytes.
fn shape(most: usize) -> Shape {
    let kinds = Kinds::builtin(skiff_kinds::KINDS).now();
    Shape {
        world: World::seeded(1),
        renditions: Arc::new(Renditions::new(most, Limits::default())),
        kind: kinds.find("", "v1", "configmaps").cloned().expect("a kind"),
        form: Form::Message(Part::Whole),
        source: Source::Stored,
    }
}

fn items(kind: &Kind, count: u64) -> Vec<Stored> {
    let item = |revision| Stored {
        head: crate::read::head(kind),
        revision,
        body: format!(
            r#"{{"metadata":{{"name":"m{revision}"}},"data":{{"a":"{revision:0200}"}}}}"#
        )
        .into(),
    };
    (1..=count).map(item).collect()
}

fn written(shape: &Shape, items: Vec<Stored>) -> Bytes {
    let list = List {
        head: "".into(),
        revision: 7,
        items: Box::new(items),
        next: String::new(),
        remaining: None,
        headed_items: false,
        unreadable: Vec::new(),
    };
    let shape = Shape {
        world: shape.world.clone(),
        renditions: shape.renditions.clone(),
        kind: shape.kind.clone(),
        ..*shape
    };
    let rendered = super::list(shape, Part::Whole, list).now_or_never().expect("nothing waits");
    let rendered = rendered.expect("it is written");
    let bytes = json::gather(rendered.pieces).now_or_never().expect("nothing waits");
    let bytes = bytes.expect("it is written");
    assert_eq!(rendered.size, Some(bytes.len()), "what was announced");
    bytes
}

#[test]
fn who_lists_again_pays_for_what_changed() {
    let shape = shape(1 << 20);
    let mut items = items(&shape.kind, 100);
    let first = written(&shape, items.clone());
    assert_eq!(shape.renditions.figures().made, 100);
    assert_eq!(written(&shape, items.clone()), first);
    assert_eq!(shape.renditions.figures().made, 100);
    items[50].revision = 101;
    assert_ne!(written(&shape, items.clone()), first);
    assert_eq!(shape.renditions.figures().made, 101);
    shape.renditions.let_go();
    assert_eq!(shape.renditions.figures().bytes, 0);
    written(&shape, items);
    assert_eq!(shape.renditions.figures().made, 201);
}

#[test]
fn a_list_beyond_what_is_kept_is_the_same() {
    let (large, small) = (shape(1 << 20), shape(1 << 12));
    let items = items(&large.kind, 100);
    assert_eq!(written(&small, items.clone()), written(&large, items));
    let figures = small.renditions.figures();
    assert!(figures.bytes <= figures.most, "{figures:?}");
    assert_eq!(figures.made, 200, "once for the length, and once more");
}
