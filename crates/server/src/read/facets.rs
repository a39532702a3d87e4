//! Facets of an object: what the store indexes and watches select on without reading the body
//! (labels, selectable fields, owner UIDs), and selection over them.

use super::convert;
use super::reader::Reader;
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_json::Value;
use skiff_store::{Facet, Facets, Record};
use std::sync::Arc;

/// The version that an object of a definition with several is stored in.
pub const VERSION: &str = "v";

/// The facets of an object, as they go into the store.
pub fn of(kind: &Kind, object: &Object) -> Facets {
    skiff_store::facets(gathered(kind, object))
}

/// The same for kinds whose definition may have several versions: the fields that each of them selects by stand under
/// the names of that version, as it shows the object.
pub async fn of_versions(reader: &Reader, kind: &Kind, object: &Object) -> Facets {
    let mut facets = gathered(kind, object);
    if kind.custom.as_ref().is_some_and(|custom| custom.stored.is_some()) {
        let registry = reader.kinds.now();
        let same = |face: &&Arc<Kind>| face.group == kind.group && face.plural == kind.plural;
        for face in registry.kinds().iter().filter(same).filter(|it| !it.selectable.is_empty()) {
            let shown = match face.version == kind.version {
                true => Ok(object.clone()),
                false => Box::pin(convert::between(reader, kind, face, object.clone())).await,
            };
            match shown {
                Ok(shown) => facets.extend(
                    selectable(face, &shown)
                        .map(|(path, text)| (versioned(face, path), text.into())),
                ),
                // Lists of that version fail for the same reason.
                Err(status) => tracing::warn!(
                    kind = %kind.kind, version = %face.version, name = object.name(), error = %status.message,
                    "the fields that a version selects by are not known"
                ),
            }
        }
    }
    skiff_store::facets(facets)
}

/// Under what the value of a field is kept that a version of a definition selects by.
fn versioned(kind: &Kind, path: &str) -> Box<str> {
    format!("f:{}/{path}", kind.version).into()
}

fn gathered(kind: &Kind, object: &Object) -> Vec<Facet> {
    let mut facets: Vec<Facet> = Vec::new();
    for (key, value) in object.labels() {
        facets.push((format!("l:{key}").into(), value.into()));
    }
    match kind.hooks.fields {
        Some(fields) => {
            fields(object, &mut |name, value| {
                facets.push((format!("f:{name}").into(), value.into()));
            });
        }
        None => facets.extend(
            selectable(kind, object).map(|(path, text)| (format!("f:{path}").into(), text.into())),
        ),
    }
    for owner in object.list("metadata.ownerReferences") {
        if let Some(uid) = owner.get("uid").and_then(Value::as_str) {
            facets.push(("o".into(), uid.into()));
        }
    }
    if let Some(stored) = kind.custom.as_ref().and_then(|custom| custom.stored.as_ref()) {
        facets.push((VERSION.into(), (&**stored).into()));
    }
    facets
}

/// The fields that a kind selects by, with their values as text.
fn selectable<'a>(
    kind: &'a Kind,
    object: &'a Object,
) -> impl Iterator<Item = (&'a str, String)> + use<'a> {
    kind.selectable.iter().map(|path| {
        let text = match object.at(path) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        (&**path, text)
    })
}

/// The value of a field that a version of a definition selects by, where the record has it for that version.
pub fn of_version<'a>(record: &'a Record, kind: &Kind, path: &str) -> Option<&'a str> {
    value(record, &versioned(kind, path))
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
