//! The options of a connection as the object that admission sees (API reference: PodExecOptions and its like).

use super::rewrite;
use crate::write::admission::Admit;
use skiff_api::object::Object;
use skiff_api::schema::{self, Shape};
use skiff_json::{Value, json};

/// What the query says, by the schema of the options; a proxy's is for the target, and its path is the option.
pub fn of(at: &Admit<'_>, path: &str) -> Object {
    let (_, version, kind) = at.asked;
    let mut options = json!({"kind": kind, "apiVersion": version});
    if at.subresource == "proxy" {
        options["path"] = rewrite::tail(path, at.kind.namespaced()).into();
        return Object::new(options);
    }
    let fields = schema::builtin(&format!("io.k8s.api.core.{version}.{kind}"));
    for field in fields.iter().flat_map(|of| of.fields.iter()) {
        let name = &*field.name;
        if let Some(text) = at.options.all(name).next() {
            options[name] = match &field.node.shape {
                Shape::Bool => at.options.flag(name).into(),
                Shape::List(item) => {
                    at.options.all(name).map(|text| value(&item.shape, text)).collect()
                }
                shape => value(shape, text),
            };
        }
    }
    Object::new(options)
}

/// A number that is none stays the text that it is.
fn value(shape: &Shape, text: &str) -> Value {
    match (shape, text.parse::<i32>()) {
        (Shape::Int32 | Shape::Int64, Ok(number)) => number.into(),
        _ => text.into(),
    }
}
