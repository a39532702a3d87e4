//! What changed between two objects, as sets of fields: removed, modified, added.
//!
//! The ground of all ownership: who changed a field owns it, who owned it and did not change it
//! loses it.

use std::collections::BTreeMap;

use skiff_json::Value;

use super::element;
use super::place::{Place, entries, list, same};
use super::set::{Mark, Set};

/// The changes from one object to another. No field is in two of the sets.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub removed: Set,
    pub modified: Set,
    pub added: Set,
}

impl Delta {
    /// Forgets changes at and below the fields that this endpoint resets.
    pub fn without(mut self, reset: &Set) -> Delta {
        if !reset.is_empty() {
            for set in [&mut self.removed, &mut self.modified, &mut self.added] {
                set.subtract_deep(reset);
            }
        }
        self
    }

    /// What the newer object sets anew: modified and added.
    pub fn set_anew(self) -> Set {
        let mut out = self.modified;
        out.union(self.added);
        out
    }
}

/// Compares whole objects. Fields of the metadata that no manager can own are left out.
pub(super) fn compare(old: &Value, new: &Value, root: Place) -> Result<Delta, String> {
    let mut delta = Marks::default();
    zip(old.as_object(), new.as_object(), |key, old, new| {
        let (place, _) = root.child(key);
        match key {
            "apiVersion" | "kind" => Ok(()),
            "metadata" => metadata(old, new, place)?.attach(&mut delta, || element::field(key)),
            _ => marks(old, new, place)?.attach(&mut delta, || element::field(key)),
        }
    })?;
    Ok(Delta {
        removed: Set(delta.removed.below),
        modified: Set(delta.modified.below),
        added: Set(delta.added.below),
    })
}

/// The fields of the metadata that belong to the server or name the object.
pub(super) const UNOWNED_METADATA: &[&str] = &[
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

fn metadata(old: Option<&Value>, new: Option<&Value>, place: Place) -> Result<Marks, String> {
    let mut out = Marks::default();
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    zip(old, new, |key, old, new| {
        if UNOWNED_METADATA.binary_search(&key).is_ok() {
            return Ok(());
        }
        marks(old, new, place.child(key).0)?.attach(&mut out, || element::field(key))
    })?;
    Ok(out)
}

/// The three sets at one place.
#[derive(Default)]
struct Marks {
    removed: Mark,
    modified: Mark,
    added: Mark,
}

impl Marks {
    fn attach(self, parent: &mut Marks, key: impl Fn() -> String) -> Result<(), String> {
        let pairs = [
            (self.removed, &mut parent.removed),
            (self.modified, &mut parent.modified),
            (self.added, &mut parent.added),
        ];
        for (mark, parent) in pairs {
            if !mark.is_empty() {
                mark.attach(&mut parent.below, key());
            }
        }
        Ok(())
    }
}

type Map = skiff_json::Map;

/// Walks two sorted maps side by side.
fn zip<'v>(
    old: Option<&'v Map>,
    new: Option<&'v Map>,
    mut each: impl FnMut(&'v str, Option<&'v Value>, Option<&'v Value>) -> Result<(), String>,
) -> Result<(), String> {
    let mut old = old.into_iter().flatten().peekable();
    let mut new = new.into_iter().flatten().peekable();
    loop {
        match (old.peek(), new.peek()) {
            (Some((a, va)), Some((b, vb))) => match a.cmp(b) {
                std::cmp::Ordering::Less => {
                    each(a, Some(va), None)?;
                    old.next();
                }
                std::cmp::Ordering::Greater => {
                    each(b, None, Some(vb))?;
                    new.next();
                }
                std::cmp::Ordering::Equal => {
                    each(a, Some(va), Some(vb))?;
                    old.next();
                    new.next();
                }
            },
            (Some((a, va)), None) => {
                each(a, Some(va), None)?;
                old.next();
            }
            (None, Some((b, vb))) => {
                each(b, None, Some(vb))?;
                new.next();
            }
            (None, None) => return Ok(()),
        }
    }
}

fn marks(old: Option<&Value>, new: Option<&Value>, place: Place) -> Result<Marks, String> {
    match place {
        Place::Leaf => Ok(leaf(old, new)),
        Place::Set | Place::Keyed(..) => {
            let (a, b) = (list(old), list(new));
            if a.is_empty() && b.is_empty() {
                return Ok(leaf(old, new));
            }
            if a == b {
                return Ok(Marks::default());
            }
            let mut out = items(a, b, place)?;
            whole(&mut out, old, new);
            Ok(out)
        }
        Place::Deduced if !is_map_or_none(old) || !is_map_or_none(new) => deduced(old, new),
        _ => map(old, new, place),
    }
}

fn map(old: Option<&Value>, new: Option<&Value>, place: Place) -> Result<Marks, String> {
    let (a, b) = (entries(old), entries(new));
    if a.is_none() && b.is_none() {
        return Ok(leaf(old, new));
    }
    let mut out = Marks::default();
    zip(a, b, |key, old, new| {
        marks(old, new, place.child(key).0)?.attach(&mut out, || element::field(key))
    })?;
    whole(&mut out, old, new);
    Ok(out)
}

/// A deduced place whose two values need not be of one type: one side may be a map, the other a
/// scalar or list.
fn deduced(old: Option<&Value>, new: Option<&Value>) -> Result<Marks, String> {
    let mut out = leaf(old, new);
    if entries(old).is_some() || entries(new).is_some() {
        let below = map(old, new, Place::Deduced)?;
        out.removed.below = below.removed.below;
        out.modified.below = below.modified.below;
        out.added.below = below.added.below;
    }
    Ok(out)
}

fn is_map_or_none(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_object() || value.is_null())
}

/// A place that came or went as a whole is itself a member, beside what is below it.
fn whole(out: &mut Marks, old: Option<&Value>, new: Option<&Value>) {
    if old.is_none() {
        out.added.member = true;
    } else if new.is_none() {
        out.removed.member = true;
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Marks {
    let mut out = Marks::default();
    match (old, new) {
        (None, _) => out.added.member = true,
        (_, None) => out.removed.member = true,
        (Some(old), Some(new)) => out.modified.member = !same(old, new),
    }
    out
}

/// The items of both lists that share one key.
#[derive(Default)]
struct Pair<'v> {
    old: Vec<&'v Value>,
    new: Vec<&'v Value>,
}

fn items(old: &[Value], new: &[Value], place: Place) -> Result<Marks, String> {
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    for (i, item) in old.iter().enumerate() {
        pairs
            .entry(place.key_of(item).map_err(|e| format!("element {i}: {e}"))?)
            .or_default()
            .old
            .push(item);
    }
    for (i, item) in new.iter().enumerate() {
        pairs
            .entry(place.key_of(item).map_err(|e| format!("element {i}: {e}"))?)
            .or_default()
            .new
            .push(item);
    }
    let mut out = Marks::default();
    for (key, Pair { old, new }) in pairs {
        let found = match (old.as_slice(), new.as_slice()) {
            (old @ ([] | [_]), new @ ([] | [_])) => {
                marks(old.first().copied(), new.first().copied(), place.items())?
            }
            // Several items with one key are owned together.
            ([_, _, ..], [_, _, ..]) => {
                let mut found = Marks::default();
                found.modified.member =
                    old.len() != new.len() || old.iter().zip(&new).any(|(a, b)| !same(a, b));
                found
            }
            ([_, _, ..], new) => {
                let mut found = match new.first() {
                    Some(item) => marks(None, Some(item), place.items())?,
                    None => Marks::default(),
                };
                found.removed.member = true;
                found
            }
            (old, _) => {
                let mut found = match old.first() {
                    Some(item) => marks(Some(item), None, place.items())?,
                    None => Marks::default(),
                };
                found.added.member = true;
                found
            }
        };
        found.attach(&mut out, || key.clone())?;
    }
    Ok(out)
}

/// Takes the fields that no manager can own out of a set made from an applied object.
pub(super) fn strip_unowned(set: &mut Set) {
    set.0.remove("f:apiVersion");
    set.0.remove("f:kind");
    let Some(Value::Object(metadata)) = set.0.get_mut("f:metadata") else { return };
    metadata.retain(|key, _| {
        key != super::set::SELF
            && key
                .strip_prefix("f:")
                .is_none_or(|name| UNOWNED_METADATA.binary_search(&name).is_err())
    });
    if metadata.is_empty() {
        set.0.remove("f:metadata");
    }
}
