//! Takes out of a merged object what its manager applied last time and no longer applies, unless
//! somebody else owns it.
//!
//! Three rounds, each on the merged object: all that the manager had is taken out; what any manager
//! owns comes back; what nobody owned (defaults below an item that stays) comes back too. (KEP-555,
//! "Removing fields")

use skiff_json::{Map, Value};

use super::owned::owned;
use super::place::Place;
use super::set::{SELF, Set, Trie, is_member, trie};

/// The pruned object. `last` is what the manager owned before, `managed` what everybody owns now.
pub(super) fn prune(merged: Value, last: &Set, managed: &Set, root: Place) -> Value {
    if last.is_subset(managed) {
        // Everything that was applied is still owned, so all of it would come back.
        return merged;
    }
    let last = named(last, root);
    let managed = named(managed, root);
    let all = named(&owned(&merged, root), root);

    let pruned = without(&merged, &last, root);
    let mut kept = named(&owned(&pruned, root), root);
    kept.union(managed);
    let mut gone = all.clone();
    gone.subtract(&kept);
    let pruned = without(&merged, &gone, root);

    let kept = named(&owned(&pruned, root), root);
    let mut gone = all;
    gone.subtract(&kept);
    without(&merged, &gone.intersection(&last), root)
}

/// The set with every struct field a member that has members below it.
fn named(set: &Set, root: Place) -> Set {
    fn level(at: &Trie, place: Option<Place>) -> Trie {
        let mut out = Trie::new();
        for (key, value) in at {
            let below = trie(value);
            if key == SELF || below.is_empty() {
                out.insert(key.clone(), value.clone());
                continue;
            }
            let (child, is_field) = match (place, key.strip_prefix("f:")) {
                (Some(place), Some(name)) if place.is_map() => {
                    let (child, named) = place.child(name);
                    (Some(child), named)
                }
                (Some(place @ Place::Keyed(..)), None) => (Some(place.items()), false),
                _ => (None, false),
            };
            let mut below = level(below, child);
            if is_field {
                below.insert(SELF.to_string(), Value::Object(Trie::new()));
            }
            out.insert(key.clone(), Value::Object(below));
        }
        out
    }
    Set(level(&set.0, Some(root)))
}

/// The object without the members of `gone`.
pub(super) fn without(object: &Value, gone: &Set, root: Place) -> Value {
    if gone.is_empty() {
        return object.clone();
    }
    remove(object, &gone.0, root)
}

/// Containers that lose all they hold become null, which decoding drops.
fn remove(value: &Value, gone: &Trie, place: Place) -> Value {
    match (place, value) {
        (Place::Set | Place::Keyed(..), Value::Array(items)) => {
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                let found = place.key_of(item).ok().and_then(|key| gone.get(&key)).map(trie);
                match found {
                    Some(below) if is_member(below) => {}
                    Some(below) => out.push(remove(item, below, place.items())),
                    None => out.push(item.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        (_, Value::Object(map)) if place.is_map() => {
            let mut out = Map::new();
            let mut name = String::from("f:");
            for (key, value) in map {
                name.truncate(2);
                name.push_str(key);
                match gone.get(&name).map(trie) {
                    Some(below) if is_member(below) => {}
                    Some(below) => {
                        out.insert(key.clone(), remove(value, below, place.child(key).0));
                    }
                    None => {
                        out.insert(key.clone(), value.clone());
                    }
                }
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (_, Value::Object(_) | Value::Array(_)) => Value::Null,
        _ => value.clone(),
    }
}
