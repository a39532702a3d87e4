//! `kubectl apply --server-side` on an object that was applied client-side before: the annotation
//! counts as ownership.
//!
//! Only the manager `kubectl` is treated so. What the last-applied annotation set and the live
//! object still holds is no conflict, and the annotation follows the applied configuration for as
//! long as the object carries it.

use skiff_json::{Map, Value};

use super::compare::compare;
use super::conflict::Conflict;
use super::owned::owned;
use super::place::Place;
use super::set::Set;

pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object's annotations may be this many bytes in all. (API reference, ObjectMeta)
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// The manager for which client-side apply is migrated.
pub(super) const KUBECTL: &str = "kubectl";

/// The conflicts that the annotation does not excuse. `None`: there is no annotation that speaks
/// for this version.
pub(super) fn remaining(
    conflicts: &[Conflict],
    live: &Value,
    version: &str,
    root: Place,
) -> Option<Vec<Conflict>> {
    let text = annotations(live)?.get(LAST_APPLIED)?.as_str().filter(|text| !text.is_empty())?;
    let last: Value = skiff_json::from_str(text).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(version) {
        return None;
    }
    let mut allowed: Set = owned(&last, root);
    let delta = compare(&last, live, root).ok()?;
    for changed in [&delta.modified, &delta.added, &delta.removed] {
        allowed.subtract(changed);
    }
    Some(conflicts.iter().filter(|conflict| !allowed.has(&conflict.path)).cloned().collect())
}

/// Brings the annotation of `object`, if it has one, to the applied configuration.
pub(super) fn refresh(object: &mut Value, applied: &Value) {
    if annotations(object)
        .and_then(|all| all.get(LAST_APPLIED))
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        return;
    }
    let mut applied = applied.clone();
    if let Some(all) = annotations_mut(&mut applied) {
        all.remove(LAST_APPLIED);
    }
    let Some(all) = annotations_mut(object) else { return };
    all.insert(LAST_APPLIED.to_string(), Value::String(format!("{applied}\n")));
    let size: usize = all.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > MAX_ANNOTATION_BYTES {
        all.remove(LAST_APPLIED);
    }
}

fn annotations(object: &Value) -> Option<&Map> {
    object.get("metadata")?.get("annotations")?.as_object()
}

fn annotations_mut(object: &mut Value) -> Option<&mut Map> {
    object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()
}
