//! Fields of features that are off by default in v1.37: they go, unless the object had one of them before.

use skiff_api::object::Object;
use skiff_json::Value;

const LISTS: &[&str] = &["bools", "ints", "strings", "versions"];

/// Attributes that expressions make (KEP-6080) of the requests of a claim; `spec` is where its devices are.
pub fn drop_claim(new: &mut Object, old: Option<&Object>, spec: &str) {
    let path = format!("{spec}.devices.requests");
    let uses = |object: &Object| object.list(&path).iter().any(|it| has(it, "derivedAttributes"));
    if !old.is_some_and(uses)
        && let Some(requests) = new.value_mut().pointer_mut(&format!("/{}", path.replace('.', "/")))
    {
        strip(requests, &["derivedAttributes"]);
    }
}

/// Those of a slice, each feature by itself.
pub fn drop_slice(new: &mut Object, old: Option<&Object>) {
    let was = |field: &str| old.is_some_and(|old| old.at("spec").is_some_and(|it| has(it, field)));
    for field in ["partitionTypeAttribute", "skipNodeOperations"] {
        if !was(field) {
            new.remove(&format!("spec.{field}"));
        }
    }
    let mut gone = Vec::new();
    for field in ["compatibilityGroups", "nodeAllocatableResources"] {
        gone.extend((!was(field)).then_some(field));
    }
    if !LISTS.iter().any(|field| was(field)) {
        gone.extend(LISTS);
    }
    if let Some(devices) = new.value_mut().pointer_mut("/spec/devices") {
        strip(devices, &gone);
    }
}

/// That of an allocation.
pub fn drop_status(new: &mut Object, old: &Object) {
    const FIELD: &str = "skipNodeOperations";
    let results = "/status/allocation/devices/results";
    let was = old.value().pointer(results).is_some_and(|it| has(it, FIELD));
    if let (false, Some(results)) = (was, new.value_mut().pointer_mut(results)) {
        strip(results, &[FIELD]);
    }
}

fn has(value: &Value, field: &str) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| key == field || has(value, field)),
        Value::Array(items) => items.iter().any(|item| has(item, field)),
        _ => false,
    }
}

/// Takes these fields out of a tree. What has names of its own (parameters of drivers) is none of ours.
fn strip(value: &mut Value, fields: &[&str]) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !fields.contains(&key.as_str()));
            let inner = map.iter_mut().filter(|(key, _)| *key != "parameters");
            inner.for_each(|(_, value)| strip(value, fields));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, fields)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn what_was_there_stays() {
        let slice = json!({"spec": {"devices": [{"name": "a", "attributes": {"x": {"ints": [1]}, "y": {"int": 1}}}],
            "skipNodeOperations": ["*"]}});
        let (mut new, old) = (Object::new(slice.clone()), Object::new(slice.clone()));
        drop_slice(&mut new, Some(&old));
        assert_eq!(*new.value(), slice);
        drop_slice(&mut new, None);
        let left =
            json!({"spec": {"devices": [{"name": "a", "attributes": {"x": {}, "y": {"int": 1}}}]}});
        assert_eq!(*new.value(), left);
    }
}
