//! Lists in strategic merge patches: merging by key or as sets, deleting, and the order of what
//! comes out.
//!
//! Order: items of the patch as the patch (or its directive) has them, the others between them as
//! the live list had them.

use std::collections::{BTreeMap, BTreeSet};

use skiff_json::Value;

use super::{DIRECTIVE, Error, Level, Object, bad_type, show, show_map, unknown_directive};

/// Merges a list that the schema says to merge: maps by `key`, scalars as a set.
pub(super) fn merge(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: Option<&str>,
    at_level: Level,
) -> Result<Vec<Value>, Error> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if !one_type(&original, &patch)? {
        let mut seen = BTreeSet::new();
        let unique = original.iter().chain(&patch).filter(|item| seen.insert(spelled(item, None)));
        let unique: Vec<Value> = unique.cloned().collect();
        return in_order(unique, &patch, &original, None);
    }
    let Some(key) = key else {
        return Err(Error::Failed("cannot merge lists without merge key for struct".to_string()));
    };
    let patch = special(&mut original, patch, key)?;
    let mut places = Positions::new(&original, Some(key));
    let mut merged = original.clone();
    for value in &patch {
        let Value::Object(item) = value else { continue };
        merge_value(item, key)?;
        match places.of(value) {
            Some(at) => {
                if let Value::Object(old) = std::mem::take(&mut merged[at]) {
                    merged[at] = Value::Object(super::merge(old, item.clone(), at_level)?);
                }
            }
            None => {
                places.first.insert(spelled(value, Some(key)), merged.len());
                merged.push(value.clone());
            }
        }
    }
    in_order(merged, &patch, &original, Some(key))
}

/// Acts on items that are directives, and gives back the others.
fn special(original: &mut Vec<Value>, patch: Vec<Value>, key: &str) -> Result<Vec<Value>, Error> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut replace = false;
    let mut gone = BTreeSet::new();
    for item in patch {
        let Value::Object(map) = &item else { continue };
        match map.get(DIRECTIVE) {
            None => rest.push(item),
            Some(Value::String(directive)) => match directive.as_str() {
                "delete" => {
                    let wanted = merge_value(map, key)?;
                    gone.insert(wanted.to_string());
                }
                "replace" => replace = true,
                "merge" => {
                    let text = "merging lists cannot yet be specified in the patch";
                    return Err(Error::Failed(text.to_string()));
                }
                _ => return Err(unknown_directive(map)),
            },
            Some(_) => return Err(unknown_directive(map)),
        }
    }
    if replace {
        *original = rest;
        return Ok(Vec::new());
    }
    if !gone.is_empty() {
        original.retain(|item| !gone.contains(&spelled(item, Some(key))));
    }
    Ok(rest)
}

fn merge_value<'v>(map: &'v Object, key: &str) -> Result<&'v Value, Error> {
    map.get(key).ok_or_else(|| {
        Error::Failed(format!("map: {} does not contain declared merge key: {key}", show_map(map)))
    })
}

/// All items must be of one type; says whether they are maps.
pub(super) fn one_type(original: &[Value], patch: &[Value]) -> Result<bool, Error> {
    let kind = |value: &Value| match value {
        Value::Number(number) if number.is_f64() => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Bool(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
        Value::Null => 7,
    };
    let mut kinds = original.iter().chain(patch).map(kind);
    let Some(first) = kinds.next() else {
        return Err(Error::Failed("no elements in any of the given slices".to_string()));
    };
    if first == 5 {
        return Err(Error::Unfit("lists of lists are not supported".to_string()));
    }
    if kinds.any(|kind| kind != first) {
        let lists = Value::Array(vec![original.to_vec().into(), patch.to_vec().into()]);
        return Err(Error::Failed(format!(
            "list element types are not identical: {}",
            show(&lists)
        )));
    }
    Ok(first == 6)
}

/// What an item is found by: its key field, or itself.
fn identity<'v>(item: &'v Value, key: Option<&str>) -> Option<&'v Value> {
    match key {
        Some(key) => item.get(key),
        None => Some(item),
    }
}

/// Where the items of a list stand, by what they are found by.
struct Positions<'k> {
    key: Option<&'k str>,
    first: BTreeMap<String, usize>,
}

impl<'k> Positions<'k> {
    fn new(list: &[Value], key: Option<&'k str>) -> Self {
        let mut first = BTreeMap::new();
        for (i, item) in list.iter().enumerate() {
            first.entry(spelled(item, key)).or_insert(i);
        }
        Positions { key, first }
    }

    fn of(&self, item: &Value) -> Option<usize> {
        self.first.get(&spelled(item, self.key)).copied()
    }
}

fn spelled(item: &Value, key: Option<&str>) -> String {
    identity(item, key).map(Value::to_string).unwrap_or_default()
}

/// Puts what `order` names in that order, and the rest between it as `live` has it.
pub(super) fn in_order(
    merged: Vec<Value>,
    order: &[Value],
    live: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, Error> {
    if let Some(key) = key {
        for item in merged.iter().chain(order) {
            match item {
                Value::Object(map) => merge_value(map, key).map(drop)?,
                other => return Err(bad_type("map[string]interface {}", other)),
            }
        }
    }
    let (order, live) = (Positions::new(order, key), Positions::new(live, key));
    let (mut named, mut rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| order.of(item).is_some());
    named.sort_by_cached_key(|item| order.of(item));
    rest.sort_by_cached_key(|item| live.of(item));
    let mut out = Vec::with_capacity(named.len() + rest.len());
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    loop {
        let first = match (rest.peek(), named.peek()) {
            (None, None) => return Ok(out),
            (None, Some(_)) => named.next(),
            (Some(_), None) => rest.next(),
            (Some(a), Some(b)) => match (live.of(a), live.of(b)) {
                (Some(a), Some(b)) if a < b => rest.next(),
                _ => named.next(),
            },
        };
        out.extend(first);
    }
}

/// The items of the patch must stand in its order directive, in the same order.
pub(super) fn check_order(
    patch: &[Value],
    order: &[Value],
    key: Option<&str>,
) -> Result<(), Error> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let kept = |item: &&Value| key.is_none() || item.get(DIRECTIVE).is_none();
    let mut wanted = patch.iter().filter(kept).peekable();
    for place in order {
        let Some(item) = wanted.peek() else { break };
        if let Some(key) = key {
            for side in [*item, place] {
                match side {
                    Value::Object(map) => merge_value(map, key).map(drop)?,
                    other => return Err(bad_type("map[string]interface {}", other)),
                }
            }
        }
        if identity(item, key) == identity(place, key) {
            wanted.next();
        }
    }
    if wanted.peek().is_none() {
        return Ok(());
    }
    let (patch, order) = (Value::from(patch.to_vec()), Value::from(order.to_vec()));
    Err(Error::Failed(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        show(&patch),
        show(&order)
    )))
}

/// `$deleteFromPrimitiveList/list`: takes scalars out of a list.
pub(super) fn delete_from(original: &mut Object, list: &str, gone: Value) {
    if let (Some(Value::Array(items)), Value::Array(gone)) = (original.get_mut(list), gone) {
        let gone = Positions::new(&gone, None);
        items.retain(|item| gone.of(item).is_none());
    }
}
