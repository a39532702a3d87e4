//! Defaults that a schema says by itself: constants of built-in types and of custom resources.
//!
//! A default fills an absent field of an object that is there; it never makes the object. What
//! depends on other fields, or on the kind as a whole, is done by the kinds' own hooks.

use skiff_json::Value;

use super::{Field, Node, Shape, Struct};

/// Fills absent fields; null is absent unless the place is nullable.
pub fn default(value: &mut Value, of: &Struct) {
    let Value::Object(map) = value else { return };
    for field in of.fields.iter() {
        let name = field.name.as_ref();
        if let Some(text) = &field.default
            && map.get(name).is_none_or(|it| it.is_null() && !nullable(field))
        {
            let value = skiff_json::from_str(text).expect("defaults are checked when made");
            map.insert(name.to_string(), value);
        } else if map.get(name).is_some_and(Value::is_null) && !nullable(field) {
            map.remove(name);
        }
        if let Some(value) = map.get_mut(name) {
            default_node(value, &field.node);
        }
    }
}

/// The same for a place: elements of lists and maps have their own fields and defaults.
pub fn default_node(value: &mut Value, node: &Node) {
    match (&node.shape, value) {
        (Shape::Struct(of), value) => default(value, of),
        (Shape::List(element), Value::Array(items)) => {
            items.iter_mut().for_each(|item| default_element(item, element));
        }
        (Shape::Map(element), Value::Object(map)) => {
            if element.rules.as_ref().is_some_and(|it| !it.nullable && !it.pruned) {
                map.retain(|_, item| !item.is_null());
            }
            map.values_mut().for_each(|item| default_node(item, element));
        }
        _ => {}
    }
}

fn default_element(item: &mut Value, element: &Node) {
    let nullable = element.rules.as_ref().is_some_and(|it| it.nullable);
    if let Some(text) = &element.default
        && item.is_null()
        && !nullable
    {
        *item = skiff_json::from_str(text).expect("defaults are checked when made");
    }
    default_node(item, element);
}

fn nullable(field: &Field) -> bool {
    field.node.rules.as_ref().is_some_and(|it| it.nullable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use skiff_json::json;

    #[test]
    fn constants_fill_what_is_absent() {
        let mut body = json!({"spec": {"ports": [{"port": 1}, {"port": 2, "protocol": "UDP"}]}});
        default(&mut body, schema::gvk("", "v1", "Service").expect("a kind"));
        let wanted = json!({"spec": {"ports": [
            {"port": 1, "protocol": "TCP"}, {"port": 2, "protocol": "UDP"}]}});
        assert_eq!(body, wanted);
    }

    #[test]
    fn every_built_in_default_is_json() {
        let fields = schema::DEFINITIONS.iter().flat_map(|it| it.fields.iter());
        let texts: Vec<_> = fields.filter_map(|it| it.default.as_deref()).collect();
        assert!(texts.len() > 20);
        for text in texts {
            skiff_json::from_str::<Value>(text).expect(text);
        }
    }
}
