//! A patch that does not fit, as the refusal shows it: the object that it made (its fields in Go's
//! order where the patch left them alone, sorted where it did not), or, of a strategic patch, the
//! patch as Go prints a map.

use skiff_json::Value;

use super::strategic::{ELEMENT_ORDER, RETAIN_KEYS};
use crate::json;
use crate::schema::{Shape, Struct};

/// The object that a JSON patch or a merge patch made.
pub fn made(patch: &[u8], made: &Value, schema: &Struct) -> String {
    let mut out = String::new();
    match sent(patch) {
        Value::Array(operations) => {
            let touched = operations.iter().fold(skiff_json::json!({}), touch);
            ordered(&mut out, made, Some(schema), Some(&touched));
        }
        sent => ordered(&mut out, made, Some(schema), Some(&sent)),
    }
    out
}

/// A strategic patch itself, as far as its application has not used it up.
pub fn strategic(patch: &[u8], object: &Value) -> String {
    let (mut out, mut patch) = (String::new(), sent(patch));
    use_up(&mut patch, object);
    go(&mut out, &patch);
    out
}

/// Takes out the directives of maps that are merged, and the lists that one of them orders.
fn use_up(patch: &mut Value, object: &Value) {
    let (Value::Object(patch), Value::Object(object)) = (patch, object) else { return };
    let ordered: Vec<String> = patch
        .keys()
        .filter_map(|key| Some(key.strip_prefix(ELEMENT_ORDER)?.trim_start_matches('/').to_owned()))
        .collect();
    patch.retain(|key, _| {
        key != RETAIN_KEYS && !key.starts_with(ELEMENT_ORDER) && !ordered.contains(key)
    });
    for (key, value) in patch {
        if let Some(object) = object.get(key) {
            use_up(value, object);
        }
    }
}

fn sent(patch: &[u8]) -> Value {
    // What cannot be read was refused before.
    json::parse(patch).map_or(Value::Null, |parsed| parsed.value)
}

/// Adds the containers on the way of an operation.
fn touch(mut all: Value, operation: &Value) -> Value {
    let path = operation.get("path").and_then(Value::as_str).unwrap_or_default();
    let mut here = &mut all;
    for part in path.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let Value::Object(map) = here else { break };
        here = map.entry(part).or_insert_with(|| skiff_json::json!({}));
    }
    all
}

/// JSON text; fields by number of the schema unless the patch names their parent.
fn ordered(out: &mut String, value: &Value, schema: Option<&Struct>, touched: Option<&Value>) {
    let Value::Object(map) = value else { return out.push_str(&value.to_string()) };
    let mut fields: Vec<(&String, &Value)> = map.iter().collect();
    let field = |key: &str| schema.and_then(|of| of.field(key));
    if touched.is_none_or(|it| !it.is_object()) {
        fields.sort_by_key(|(key, _)| field(key).map_or(u32::MAX, |it| it.tag));
    }
    out.push('{');
    for (at, (key, value)) in fields.into_iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        out.push_str(&Value::from(key.as_str()).to_string());
        out.push(':');
        let below = match field(key).map(|it| &it.node.shape) {
            Some(Shape::Struct(of)) => Some(&**of),
            _ => None,
        };
        ordered(out, value, below, touched.and_then(|it| it.get(key)));
    }
    out.push('}');
}

/// Go's way to print a map of anything.
fn go(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { " " } else { "" });
                go(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push_str("map[");
            for (at, (key, item)) in map.iter().enumerate() {
                out.push_str(if at > 0 { " " } else { "" });
                out.push_str(key);
                out.push(':');
                go(out, item);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use expect_test::expect;
    use skiff_json::json;

    #[test]
    fn fields_that_a_patch_left_alone_are_in_gos_order() {
        let schema = schema::gvk("", "v1", "ConfigMap").expect("a kind");
        let made = json!({"kind": "ConfigMap", "data": "x", "metadata": {"uid": "u", "name": "a"}});
        let text = super::made(br#"{"data":"x"}"#, &made, schema);
        expect![[r#"{"data":"x","kind":"ConfigMap","metadata":{"name":"a","uid":"u"}}"#]]
            .assert_eq(&text);
        let patch =
            br#"{"spec":{"a":[1,null,"b"],"replicas":"many","$setElementOrder/c":[1],"c":[1]}}"#;
        expect![[r#"map[spec:map[$setElementOrder/c:[1] a:[1 <nil> b] c:[1] replicas:many]]"#]]
            .assert_eq(&strategic(patch, &json!({})));
        expect![[r#"map[spec:map[a:[1 <nil> b] replicas:many]]"#]]
            .assert_eq(&strategic(patch, &json!({"spec": {}})));
    }
}
