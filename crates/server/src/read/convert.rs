//! Conversion: between the bodies that are stored and the faces that are asked for. Whole pages and batches of events
//! go in at once and may be waited for: a custom resource's versions can be converted by somebody else over the
//! network, and one call for a page is what that costs.
//!
//! One result for each record: what cannot be read stops nobody else. Bodies of the current schema are shared as they
//! are, without being looked into.

use super::reader::Reader;
use super::{unreadable, versions};
use bytes::Bytes;
use skiff_api::Status;
use skiff_api::json;
use skiff_api::kind::{Conversion, Kind};
use skiff_api::object::Object;
use skiff_api::schema::decode::{Mode, decode};
use skiff_api::schema::prune::prune;
use skiff_api::schema::{default as schema_default, emit};
use skiff_api::wire::Stored;
use skiff_json::Value;
use skiff_store::Record;
use std::sync::Arc;

/// Records as a face shows them; `head` is its [`super::head`], shared by all.
pub async fn shown(
    reader: &Reader,
    kind: &Kind,
    head: &Arc<str>,
    records: &[Arc<Record>],
) -> Vec<Result<Stored, Status>> {
    let Some(conversion) = kind.conversion() else {
        return records.iter().map(|record| show(reader, kind, head, record)).collect();
    };
    if records.iter().all(|record| is_stored(kind, record)) {
        return records.iter().map(|record| show(reader, kind, head, record)).collect();
    }
    // What is rare takes no room in the futures of all reads and writes.
    let read = Box::pin(converted(reader, kind, conversion, records)).await;
    let shown = records.iter().zip(read).map(|(record, object)| {
        let body = json::encode_body(object?.value()).into();
        Ok(Stored { head: head.clone(), revision: record.revision.0, body })
    });
    shown.collect()
}

/// One record as a face shows it.
pub async fn one(reader: &Reader, kind: &Kind, record: &Arc<Record>) -> Result<Stored, Status> {
    let shown = shown(reader, kind, &super::head(kind), std::slice::from_ref(record)).await;
    shown.into_iter().next().expect("each record has its answer")
}

/// Records as trees of a face, with their revisions.
pub async fn trees(
    reader: &Reader,
    kind: &Kind,
    records: &[Arc<Record>],
) -> Vec<Result<Object, Status>> {
    match kind.conversion() {
        Some(conversion) => Box::pin(converted(reader, kind, conversion, records)).await,
        None => records.iter().map(|record| read(reader, kind, record)).collect(),
    }
}

/// One record as the tree of a face.
pub async fn tree(reader: &Reader, kind: &Kind, record: &Arc<Record>) -> Result<Object, Status> {
    let trees = trees(reader, kind, std::slice::from_ref(record)).await;
    trees.into_iter().next().expect("each record has its answer")
}

/// Records of any versions as trees of a face: those of other versions are converted together, and if one of them
/// cannot be, none is.
async fn converted(
    reader: &Reader,
    kind: &Kind,
    conversion: &Conversion,
    records: &[Arc<Record>],
) -> Vec<Result<Object, Status>> {
    let registry = reader.kinds.now();
    let mut read: Vec<Result<Object, Status>> = Vec::with_capacity(records.len());
    let (mut places, mut others) = (Vec::new(), Vec::new());
    for record in records {
        let version = versions::of_record(conversion, record);
        if *version == *kind.version {
            read.push(self::read(reader, kind, record));
            continue;
        }
        // As it was stored: what its version is today is asked of that, if it is served.
        let face = registry.find(&kind.group, &version, &kind.plural);
        let mut object = self::read(reader, face.map_or(kind, |face| face), record);
        if let Ok(object) = &mut object {
            object.set("apiVersion", versions::named(kind, &version));
            places.push(read.len());
            others.push(object.clone());
        }
        read.push(object);
    }
    match versions::convert(reader, kind, &kind.api_version(), others).await {
        Ok(made) => places.into_iter().zip(made).for_each(|(place, made)| read[place] = Ok(made)),
        Err(status) => places.into_iter().for_each(|place| read[place] = Err(status.clone())),
    }
    read
}

/// An object of one face of a kind as another face shows it.
///
/// # Errors
/// When it cannot be converted.
pub async fn between(
    reader: &Reader,
    from: &Kind,
    to: &Kind,
    mut object: Object,
) -> Result<Object, Status> {
    if to.conversion().is_some() {
        let made = Box::pin(versions::convert(reader, to, &to.api_version(), vec![object])).await?;
        return Ok(made.into_iter().next().expect("each object has its answer"));
    }
    by_functions(from, to, &mut object);
    Ok(object)
}

/// The same where nobody else is asked.
pub fn by_functions(from: &Kind, to: &Kind, object: &mut Object) {
    from.convert.iter().for_each(|convert| (convert.to_stored)(object));
    to.convert.iter().for_each(|convert| (convert.from_stored)(object));
    object.set("apiVersion", to.api_version());
    object.set("kind", &*to.kind);
}

/// The bytes that are stored of an object of this face: `{"metadata":{...},...}` without apiVersion, kind and
/// resourceVersion.
///
/// # Errors
/// When the face cannot be converted to the stored one.
pub async fn body(reader: &Reader, kind: &Kind, object: &Object) -> Result<Bytes, Status> {
    let mut bytes = match (kind.convert, kind.conversion()) {
        (Some(convert), _) => {
            let mut stored = object.clone();
            (convert.to_stored)(&mut stored);
            json::encode_body(stored.value())
        }
        (None, Some(conversion)) if !kind.is_stored_face() => {
            let version = versions::named(kind, &conversion.stored);
            let made = versions::convert(reader, kind, &version, vec![object.clone()]);
            let made = Box::pin(made).await?;
            let made = made.first().expect("each object has its answer");
            json::encode_body(made.value())
        }
        (None, _) => json::encode_body(object.value()),
    };
    // It stays as long as the object: what its growing took beyond is given back.
    bytes.shrink_to_fit();
    Ok(bytes.into())
}

/// The body of an object as this face shows it, where `stored` is what [`body`] made of it.
pub fn as_face(kind: &Kind, object: &Object, stored: &Bytes) -> Bytes {
    match kind.is_stored_face() {
        true => stored.clone(),
        false => json::encode_body(object.value()).into(),
    }
}

/// Whether a record is stored as this face shows it.
pub fn is_stored(kind: &Kind, record: &Record) -> bool {
    kind.is_stored_face() && record.generation == kind.generation
}

fn show(reader: &Reader, kind: &Kind, head: &Arc<str>, record: &Record) -> Result<Stored, Status> {
    if let Some(why) = reader.unreadable.why(record) {
        return Err(unreadable::refusal(&reader.unreadable, kind, record, &why));
    }
    let body = match is_stored(kind, record) {
        false => json::encode_body(read(reader, kind, record)?.value()).into(),
        true => record.body.clone(),
    };
    Ok(Stored { head: head.clone(), revision: record.revision.0, body })
}

fn read(reader: &Reader, kind: &Kind, record: &Record) -> Result<Object, Status> {
    renewed(kind, record).map_err(|why| unreadable::refusal(&reader.unreadable, kind, record, &why))
}

/// A record as the tree of this face, as its kind is today: one that was written under another generation of the
/// schema loses what that had and this has not, and gets today's defaults.
///
/// # Errors
/// Why it cannot be read.
pub fn renewed(kind: &Kind, record: &Record) -> Result<Object, String> {
    let value: Value = skiff_json::from_slice(&record.body).map_err(|error| error.to_string())?;
    if !value.get("metadata").is_some_and(Value::is_object) {
        return Err("it has no metadata".into());
    }
    let mut object = Object::new(value);
    object.set("metadata.resourceVersion", record.revision.0.to_string());
    if let Some(convert) = kind.convert {
        (convert.from_stored)(&mut object);
    }
    object.set("apiVersion", kind.api_version());
    object.set("kind", &*kind.kind);
    if record.generation != kind.generation {
        let fitted = match kind.manner.prunes {
            true => prune(object.value_mut(), &kind.schema, Mode::Ignore),
            false => decode(object.value_mut(), &kind.schema, Mode::Ignore),
        };
        fitted.map_err(|error| error.to_string())?;
        default(kind, &mut object);
        emit::emit(object.value_mut(), &kind.schema);
    }
    Ok(object)
}

/// Fills defaults: those of the schema, then those of the kind.
pub fn default(kind: &Kind, new: &mut Object) {
    schema_default::default(new.value_mut(), &kind.schema);
    (kind.hooks.default)(new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unreadable::Unreadable;
    use skiff_api::registry::Kinds;
    use skiff_store::{Options, Revision};

    fn reader() -> Reader {
        let store = skiff_store::memory(Options::new(Arc::new(Default::default)));
        let kinds = Kinds::builtin(skiff_kinds::KINDS);
        let (world, rules) = (skiff_base::World::real(), Default::default());
        let outbound = crate::outbound::Outbound::new(world, store.clone(), rules);
        Reader { store, kinds, unreadable: Unreadable::default(), outbound }
    }

    fn record(generation: u32, body: &str) -> Arc<Record> {
        // One that is known to be unreadable is known by its key.
        let (key, body) = (format!("services/n/{}", body.len()).into(), body.to_owned().into());
        let facets = skiff_store::facets(Vec::new());
        Arc::new(Record { key, revision: Revision(7), body, generation, facets })
    }

    #[tokio::test]
    async fn an_old_record_is_what_its_kind_is_today() {
        let reader = reader();
        let kind = reader.kind("", "services").expect("it is built in");
        let body = r#"{"metadata":{"name":"a"},"gone":1,"spec":{"clusterIP":"10.96.0.9","ports":[{"port":80}]}}"#;
        let old = record(kind.generation.wrapping_add(1), body);
        let object = tree(&reader, &kind, &old).await.expect("it can be read");
        // From the schema, from the hook; and what nobody knows any more is gone.
        assert_eq!(object.list("spec.ports")[0]["protocol"], "TCP");
        assert_eq!(object.text("spec.internalTrafficPolicy"), "Cluster");
        assert_eq!((object.at("gone"), object.resource_version()), (None, "7"));
        let shown = one(&reader, &kind, &old).await.expect("it can be shown").tree().expect("JSON");
        assert_eq!(shown, *object.value());
        // One of today's is shown as it lies there.
        let new = record(kind.generation, body);
        let shown = one(&reader, &kind, &new).await.expect("it can be shown");
        assert_eq!(shown.body, body);
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_stops_no_other_of_its_page() {
        let reader = reader();
        let kind = reader.kind("", "services").expect("it is built in");
        let old = kind.generation.wrapping_add(1);
        let page = [
            record(old, r#"{"metadata":{"name":"a"},"spec":{}}"#),
            record(old, r#"{"metadata":{"name":"a"},"spec":{"ports":7}}"#),
            record(kind.generation, r#"{"metadata":{"name":"a"}}"#),
        ];
        let head = crate::read::head(&kind);
        let shown = shown(&reader, &kind, &head, &page).await;
        let codes: Vec<_> = shown.iter().map(|it| it.as_ref().map_or(0, |_| 1)).collect();
        assert_eq!(codes, [1, 0, 1]);
        // It is remembered as such.
        assert!(reader.unreadable.why(&page[1]).is_some());
    }

    #[tokio::test]
    async fn faces_that_convert_share_the_generation_of_what_is_stored() {
        let reader = reader();
        let stored = reader.kind("", "events").expect("it is built in");
        let face = reader.kind("events.k8s.io", "events").expect("it is built in");
        assert_eq!(stored.generation, face.generation);
        let body = r#"{"metadata":{"name":"a"},"message":"hello"}"#;
        let event = record(stored.generation, body);
        let read = tree(&reader, &face, &event).await.expect("it can be read");
        assert_eq!(read.text("note"), "hello");
        let back = super::body(&reader, &face, &read).await.expect("it can be stored");
        let back: Value = skiff_json::from_slice(&back).expect("JSON");
        assert_eq!(back["message"], "hello");
    }
}
