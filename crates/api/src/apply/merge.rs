//! Merges an applied configuration into the live object: what the configuration sets wins, the rest
//! stays.
//!
//! Nothing is removed here; that is `prune`'s work. Lists keep the live order where the
//! configuration leaves it open and take the configuration's order where it says one. (KEP-555,
//! "Lists")

use std::collections::{HashMap, HashSet};

use skiff_json::{Map, Value};

use super::place::{Place, entries, list};

/// Merges two objects.
pub(super) fn merge(live: &Value, config: &Value, root: Place) -> Result<Value, String> {
    Ok(value(Some(live), Some(config), root)?.unwrap_or(Value::Null))
}

fn value(
    live: Option<&Value>,
    config: Option<&Value>,
    place: Place,
) -> Result<Option<Value>, String> {
    let Some(wanted) = config else { return Ok(live.cloned()) };
    match place {
        Place::Leaf => Ok(Some(wanted.clone())),
        Place::Set | Place::Keyed(..) => {
            let (a, b) = (list(live), list(config));
            if a.is_empty() && b.is_empty() {
                return Ok(Some(wanted.clone()));
            }
            let out = items(a, b, place)?;
            Ok((!out.is_empty()).then_some(Value::Array(out)))
        }
        Place::Deduced if !wanted.is_object() && !wanted.is_null() => Ok(Some(wanted.clone())),
        _ => {
            let (a, b) = (entries(live), entries(config));
            if a.is_none() && b.is_none() {
                return Ok(Some(wanted.clone()));
            }
            let out = map(a, b, place)?;
            Ok((!out.is_empty()).then_some(Value::Object(out)))
        }
    }
}

fn map(live: Option<&Map>, config: Option<&Map>, place: Place) -> Result<Map, String> {
    let mut out = Map::new();
    let stated = |key: &String| config.is_some_and(|config| config.contains_key(key));
    for (key, old) in live.into_iter().flatten().filter(|(key, _)| !stated(key)) {
        out.insert(key.clone(), old.clone());
    }
    for (key, wanted) in config.into_iter().flatten() {
        let old = live.and_then(|live| live.get(key));
        if let Some(new) = value(old, Some(wanted), place.child(key).0)? {
            out.insert(key.clone(), new);
        }
    }
    Ok(out)
}

/// The items of a list with their keys. Live items that share a key have no value to merge with.
struct Side<'v> {
    keys: Vec<String>,
    items: &'v [Value],
}

/// Where the item of a key stands; `None` where several share the key.
type Index<'k> = HashMap<&'k str, Option<usize>, Fixed>;

impl<'v> Side<'v> {
    fn new(items: &'v [Value], place: Place) -> Result<Self, String> {
        let mut keys = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            keys.push(place.key_of(item).map_err(|e| format!("element {i}: {e}"))?);
        }
        Ok(Side { keys, items })
    }

    fn index(&self) -> Index<'_> {
        let mut out = Index::with_capacity_and_hasher(self.keys.len(), Fixed::default());
        for (i, key) in self.keys.iter().enumerate() {
            out.entry(key).and_modify(|at| *at = None).or_insert(Some(i));
        }
        out
    }

    fn get(&self, index: &Index, key: &str) -> Option<&'v Value> {
        index.get(key).map(|at| at.map_or(&Value::Null, |at| &self.items[at]))
    }
}

fn items(live: &[Value], config: &[Value], place: Place) -> Result<Vec<Value>, String> {
    let (left, right) = (Side::new(live, place)?, Side::new(config, place)?);
    let (in_left, in_right) = (left.index(), right.index());
    let both = |key: &str| value(left.get(&in_left, key), right.get(&in_right, key), place.items());
    let mut shared = right.keys.iter().filter(|key| in_left.contains_key(key.as_str())).peekable();
    let mut merged: HashSet<&str, Fixed> = HashSet::default();
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.keys.len() || r < right.keys.len() {
        if let (Some(a), Some(b)) = (left.keys.get(l), right.keys.get(r)) {
            if a == b {
                merged.insert(a);
                out.extend(both(a)?);
                l += 1;
                r += 1;
                shared.next();
                continue;
            }
            // An item of both, but not the one whose turn it is in the configuration's order.
            if in_right.contains_key(a.as_str()) && shared.peek().is_some_and(|next| *next != a) {
                l += 1;
                continue;
            }
        }
        if let Some(a) = left.keys.get(l) {
            if !in_right.contains_key(a.as_str()) {
                out.push(left.items[l].clone());
                l += 1;
                continue;
            }
            if merged.contains(a.as_str()) {
                l += 1;
            }
        }
        if let Some(b) = right.keys.get(r) {
            merged.insert(b);
            out.extend(both(b)?);
            r += 1;
            if shared.peek().is_some_and(|next| *next == b) {
                shared.next();
            }
        }
    }
    Ok(out)
}

/// A hasher without a random seed, so that one input gives one course of events.
type Fixed = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
