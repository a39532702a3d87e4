//! The fields that an object sets: what a manager owns after it applied that object.
//!
//! Every scalar and every atomic value is a member; so are list items, map entries and empty
//! structs. Structs that hold something are not members themselves. The object must have passed
//! `check`.

use skiff_json::Value;

use super::element;
use super::place::Place;
use super::set::{Mark, Set, Trie};

/// The set of all fields of `object`.
pub(super) fn owned(object: &Value, root: Place) -> Set {
    Set(below(object, root).below)
}

fn below(value: &Value, place: Place) -> Mark {
    match (place, value) {
        (Place::Leaf, _) => Mark::member(),
        (Place::Set | Place::Keyed(..), Value::Array(items)) => {
            Mark { member: false, below: list(items, place) }
        }
        (_, Value::Object(map)) if place.is_map() => {
            let mut out = Mark::default();
            for (key, value) in map {
                let (child, named) = place.child(key);
                let mut mark = below(value, child);
                mark.member |= !named || value.is_null() || is_empty_map(value);
                mark.attach(&mut out.below, element::field(key));
            }
            out
        }
        (Place::Deduced, Value::Null) => Mark::default(),
        (Place::Deduced, _) => Mark::member(),
        _ => Mark::default(),
    }
}

fn is_empty_map(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.is_empty())
}

/// Items that share a key are owned together, as one piece.
fn list(items: &[Value], place: Place) -> Trie {
    let mut out = Trie::new();
    let mut twice: Vec<String> = Vec::new();
    for item in items {
        let Ok(key) = place.key_of(item) else { continue };
        if out.contains_key(&key) {
            twice.push(key);
            continue;
        }
        let mut mark = below(item, place.items());
        mark.member = true;
        mark.attach(&mut out, key);
    }
    for key in twice {
        out.insert(key, Value::Object(Trie::new()));
    }
    out
}
