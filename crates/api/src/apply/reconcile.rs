//! Field sets of a custom resource whose schema changed: what became atomic is owned as one piece
//! from then on.
//!
//! The other way round (from atomic to granular) needs nothing: a member without parts stays what
//! it is. (KEP-555, "Topology changes")

use skiff_json::Value;

use super::place::Place;
use super::set::{SELF, Set, Trie, is_member};

pub(super) fn reconcile(set: &mut Set, root: Place) {
    level(&mut set.0, root);
}

fn level(at: &mut Trie, place: Place) {
    for (key, value) in at.iter_mut() {
        let Value::Object(below) = value else { continue };
        if key == SELF || below.is_empty() {
            continue;
        }
        let child = match key.strip_prefix("f:") {
            Some(name) if place.is_map() => match place.child(name) {
                // Deduced places have no topology that could have changed.
                (Place::Deduced, _) => continue,
                (child, _) => child,
            },
            None if matches!(place, Place::Set | Place::Keyed(..)) => place.items(),
            _ => continue,
        };
        match child {
            // It holds members or is one: either way it becomes one member.
            Place::Leaf => below.clear(),
            child => level(below, child),
        }
        debug_assert!(is_member(below) || !below.is_empty());
    }
}
