//! Merges an applied configuration into the live object: what the configuration sets wins, the rest stays.
//!
//! Nothing is removed here; that is `prune`'s work. Lists keep the live order where the configuration leaves it open and
//! take the configuration's order where it says one. (KEP-555, "Lists")

use std::collections::HashSet;

use serde_json::{Map, Value};

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

fn map(
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
    place: Place,
) -> Result<Map<String, Value>, String> {
    let mut out = live.cloned().unwrap_or_default();
    for (key, wanted) in config.into_iter().flatten() {
        let old = live.and_then(|live| live.get(key));
        match value(old, Some(wanted), place.child(key).0)? {
            Some(new) => out.insert(key.clone(), new),
            None => out.remove(key),
        };
    }
    Ok(out)
}

/// The items of a list with their keys. Live items that share a key have no value to merge with.
struct Side<'v> {
    keys: Vec<String>,
    items: &'v [Value],
}

impl<'v> Side<'v> {
    fn new(items: &'v [Value], place: Place) -> Result<Self, String> {
        let mut keys = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            keys.push(place.key_of(item).map_err(|e| format!("element {i}: {e}"))?);
        }
        Ok(Side { keys, items })
    }

    fn get(&self, key: &str) -> Option<&'v Value> {
        let mut found = self.keys.iter().zip(self.items).filter(|(k, _)| *k == key);
        let first = found.next()?.1;
        Some(if found.next().is_some() { &Value::Null } else { first })
    }
}

fn items(live: &[Value], config: &[Value], place: Place) -> Result<Vec<Value>, String> {
    let (left, right) = (Side::new(live, place)?, Side::new(config, place)?);
    let in_left: HashSet<&str, Fixed> = left.keys.iter().map(String::as_str).collect();
    let in_right: HashSet<&str, Fixed> = right.keys.iter().map(String::as_str).collect();
    let mut shared = right.keys.iter().filter(|key| in_left.contains(key.as_str())).peekable();
    let mut merged: HashSet<&str, Fixed> = HashSet::default();
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.keys.len() || r < right.keys.len() {
        if let (Some(a), Some(b)) = (left.keys.get(l), right.keys.get(r)) {
            if a == b {
                merged.insert(a);
                out.extend(value(left.get(a), right.get(a), place.items())?);
                l += 1;
                r += 1;
                shared.next();
                continue;
            }
            // An item of both, but not the one whose turn it is in the configuration's order.
            if in_right.contains(a.as_str()) && shared.peek().is_some_and(|next| *next != a) {
                l += 1;
                continue;
            }
        }
        if let Some(a) = left.keys.get(l) {
            if !in_right.contains(a.as_str()) {
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
            out.extend(value(left.get(b), right.get(b), place.items())?);
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
