//! Merging a part into an object, without ownership: what a mutating policy's apply configuration does (KEP-3962).
//!
//! What is replaced as a whole (atomic lists, maps and structs) is refused: whoever names one field of it would take
//! away all others.

use skiff_json::Value;

use super::place::find;
use super::{check, element, merge, place::Place};
use crate::schema::{Node, Shape, Struct, Topology};

/// The object with the part merged into it; neither decoded nor defaulted.
///
/// # Errors
/// Why it cannot be merged, in upstream's words.
pub fn overlay(schema: &Struct, live: &Value, part: &Value) -> Result<Value, String> {
    let errors = check::check(part, schema);
    if !errors.is_empty() {
        let why = check::message(&errors);
        return Err(format!("failed to convert patch object to typed object: {why}"));
    }
    let mut found = Vec::new();
    fields(part, schema, &mut String::new(), &mut found);
    if !found.is_empty() {
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            found.join(", ")
        ));
    }
    merge::merge(live, part, Place::Fields(schema))
        .map_err(|why| format!("failed to merge patch: {why}"))
}

fn fields(value: &Value, of: &Struct, path: &mut String, found: &mut Vec<String>) {
    let Value::Object(map) = value else { return };
    for (key, value) in map {
        let Some(field) = find(of, key) else { continue };
        let length = path.len();
        path.push_str(&element::show_path(&[element::field(key)]));
        atomics(value, &field.node, path, found);
        path.truncate(length);
    }
}

/// The paths of what is there and would be replaced as a whole.
fn atomics(value: &Value, node: &Node, path: &mut String, found: &mut Vec<String>) {
    let whole = node.topology == Topology::Atomic;
    match (&node.shape, value) {
        (Shape::Struct(of), Value::Object(_)) => {
            if whole || of.topology == Topology::Atomic {
                found.push(path.clone());
            }
            fields(value, of, path, found);
        }
        (Shape::Map(_), Value::Object(_)) if whole => found.push(path.clone()),
        (Shape::List(items), Value::Array(list)) => {
            if !matches!(node.topology, Topology::Set | Topology::Keyed(_)) {
                found.push(path.clone());
            }
            for (index, item) in list.iter().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                atomics(item, items, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn a_part_is_merged_unless_it_replaces() {
        let pod = crate::schema::gvk("", "v1", "Pod").expect("pods have a schema");
        let live =
            json!({"spec": {"containers": [{"name": "a", "image": "x"}], "hostNetwork": true}});
        let part = json!({"spec": {"containers": [{"name": "a", "tty": true}, {"name": "b"}]}});
        let merged = overlay(pod, &live, &part).expect("it fits");
        assert_eq!(
            merged,
            json!({"spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "x", "tty": true}, {"name": "b"}]}})
        );
        let part = json!({"spec": {"containers": [{"name": "a", "args": ["x"]}], "nodeSelector": {"a": "b"}}});
        assert_eq!(
            overlay(pod, &live, &part).unwrap_err(),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].args, \
             .spec.nodeSelector"
        );
        let wrong = overlay(pod, &live, &json!({"spec": {"nothing": 1}})).unwrap_err();
        assert_eq!(
            wrong,
            "failed to convert patch object to typed object: .spec.nothing: field not declared in schema"
        );
    }
}
