//! The emit rule: which empty values show in an answer, as upstream's Go types would show them.
//!
//! It decides more than looks: what shows is what a field manager owns under server-side apply, and
//! what `kubectl diff` compares. A decoded body passes here once, before it is stored.

use skiff_json::Value;

use super::decode::empty;
use super::{Emit, Node, Shape, Struct};

/// Drops the empty values that do not show, and adds those that always do.
pub fn emit(value: &mut Value, of: &Struct) {
    let Value::Object(map) = value else { return };
    for field in of.fields.iter() {
        let name = field.name.as_ref();
        let nullable = field.node.rules.as_ref().is_some_and(|rules| rules.nullable);
        let shows = match (map.get(name), field.emit) {
            (Some(Value::Null), Emit::Present) if nullable => true,
            (None | Some(Value::Null), Emit::Present | Emit::NotEmpty) => false,
            (None | Some(Value::Null), Emit::Always) => {
                map.insert(name.to_string(), empty(&field.node.shape));
                true
            }
            (None, Emit::Null) => {
                map.insert(name.to_string(), Value::Null);
                true
            }
            (Some(value), Emit::NotEmpty) => !is_empty(value),
            // Upstream stores what protobuf can say, which knows no difference between empty and absent.
            (Some(value @ (Value::Array(_) | Value::Object(_))), Emit::Always | Emit::Null)
                if matches!(field.node.shape, Shape::List(_) | Shape::Map(_))
                    && is_empty(value) =>
            {
                map.insert(name.to_string(), Value::Null);
                true
            }
            (Some(_), _) => true,
        };
        if !shows {
            map.remove(name);
        } else if let Some(value) = map.get_mut(name) {
            emit_node(value, &field.node);
        }
    }
}

fn emit_node(value: &mut Value, node: &Node) {
    match (&node.shape, value) {
        (Shape::Struct(of), value) => emit(value, of),
        (Shape::List(element), Value::Array(items)) => {
            items.iter_mut().for_each(|item| emit_node(item, element));
        }
        (Shape::Map(element), Value::Object(map)) => {
            map.values_mut().for_each(|item| emit_node(item, element));
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(it) => !it,
        Value::Number(it) => it.as_f64() == Some(0.0),
        Value::String(it) => it.is_empty(),
        Value::Array(it) => it.is_empty(),
        Value::Object(it) => it.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use skiff_json::json;

    #[test]
    fn a_deployment_shows_what_upstream_shows() {
        let mut body = json!({
            "metadata": {"name": "a", "labels": {}, "finalizers": []},
            "spec": {"replicas": 0, "minReadySeconds": 0, "paused": false, "selector": {},
                "template": {"spec": {"containers": [{"name": "c", "image": ""}]}}},
        });
        emit(&mut body, schema::gvk("apps", "v1", "Deployment").expect("a kind"));
        let wanted = json!({
            "metadata": {"name": "a"},
            "spec": {"replicas": 0, "selector": {}, "strategy": {},
                "template": {"metadata": {}, "spec": {
                    "containers": [{"name": "c", "resources": {}}]}}},
            "status": {},
        });
        assert_eq!(body, wanted);
    }

    #[test]
    fn nil_lists_and_pointers_show_as_null() {
        let mut body = json!({});
        emit(&mut body, schema::gvk("apps", "v1", "ReplicaSet").expect("a kind"));
        let wanted = json!({"metadata": {}, "spec": {"selector": null, "template":
            {"metadata": {}, "spec": {"containers": null}}}, "status": {"replicas": 0}});
        assert_eq!(body["spec"]["selector"], wanted["spec"]["selector"]);
        assert_eq!(body["status"], wanted["status"]);
        let mut role = json!({});
        emit(&mut role, schema::gvk("rbac.authorization.k8s.io", "v1", "Role").expect("a kind"));
        assert_eq!(role, json!({"metadata": {}, "rules": null}));
        let mut role = json!({"rules": []});
        emit(&mut role, schema::gvk("rbac.authorization.k8s.io", "v1", "Role").expect("a kind"));
        assert_eq!(role["rules"], Value::Null);
    }
}
