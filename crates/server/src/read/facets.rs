//! Facets of an object: what the store indexes and watches select on without reading the body
//! (labels, selectable fields, owner UIDs), and selection over them.

use serde_json::Value;
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_store::{Facet, Facets, Record};

/// The version that an object of a definition with several is stored in.
pub const VERSION: &str = "v";

/// The facets of an object, as they go into the store.
pub fn of(kind: &Kind, object: &Object) -> Facets {
    let mut facets: Vec<Facet> = Vec::new();
    for (key, value) in object.labels() {
        facets.push((format!("l:{key}").into(), value.into()));
    }
    if let Some(fields) = kind.hooks.fields {
        fields(object, &mut |name, value| facets.push((format!("f:{name}").into(), value.into())));
    }
    for path in kind.selectable.iter().filter(|_| kind.hooks.fields.is_none()) {
        let text = match object.at(path) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        facets.push((format!("f:{path}").into(), text.into()));
    }
    for owner in object.list("metadata.ownerReferences") {
        if let Some(uid) = owner.get("uid").and_then(Value::as_str) {
            facets.push(("o".into(), uid.into()));
        }
    }
    if let Some(stored) = kind.custom.as_ref().and_then(|custom| custom.stored.as_ref()) {
        facets.push((VERSION.into(), (&**stored).into()));
    }
    skiff_store::facets(facets)
}

/// The value of one facet of a record; names and namespaces come out of the key.
pub fn value<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    match name {
        "f:metadata.name" => record.key.rsplit('/').next(),
        "f:metadata.namespace" => record.key.split('/').nth(1),
        _ => {
            let at = record.facets.partition_point(|(n, _)| &**n < name);
            record.facets.get(at).filter(|(n, _)| &**n == name).map(|(_, v)| &**v)
        }
    }
}
