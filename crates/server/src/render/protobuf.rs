//! Protobuf as it is sent: objects, lists and the messages of watches, around what renditions hold.
//!
//! A message says its length before it begins. So a list is written twice where it is large: once for the lengths, and
//! once more item by item as it leaves; of the first time no more is kept than fits a bound. What a list makes is not
//! shared: it would push out what watches share, and making it costs about what finding it does.

use crate::render::accept::Format;
use crate::render::json::{self, Around, EventType, Pages};
use crate::render::rendition::Part;
use crate::render::shared::State;
use crate::render::{Shape, rendition};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header;
use skiff_api::pieces::Pieces;
use skiff_api::protobuf::{self, ENVELOPE_END, ProtobufError};
use skiff_api::schema::{Struct, gvk};
use skiff_api::wire::{self, Answer, Body, Frame, List, Rendered, Stored};
use skiff_api::{Status, kind::Kind};
use std::sync::Arc;

/// The media type of a watch.
const STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// So much of a list is kept from the first time it is written. As many reads as may run at once (400) hold 100 MiB.
const KEPT_MOST: usize = 256 * 1024;
/// So many items are written before others have their turn: about a millisecond.
const AT_ONCE: usize = 256;

/// An answer, written as protobuf.
pub(super) async fn encode(shape: Shape, part: Part, answer: Answer) -> Result<Answer, Status> {
    let body = match answer.body {
        Body::Watch(frames) => {
            let body = watch(shape, part, frames);
            return Ok(Answer { body, ..answer }.typed(STREAM));
        }
        Body::List(list) => Body::Rendered(self::list(&shape.kind, part, list).await?),
        Body::Object(stored) => {
            let mut json = Vec::new();
            match part {
                Part::Whole => stored.write(&mut json),
                Part::Metadata => stored.write_metadata(&mut json),
            }
            Body::Bytes(document(&json)?)
        }
        Body::Bytes(json) if is_json(&answer.headers) => Body::Bytes(document(&json)?),
        body => return Ok(Answer { body, ..answer }),
    };
    Ok(Answer { body, ..answer }.typed(protobuf::MEDIA_TYPE))
}

/// A document that says what it is.
///
/// # Errors
/// When there is no message of its type.
pub fn document(json: &[u8]) -> Result<Bytes, Status> {
    protobuf::document(json).map(Bytes::from).map_err(|error| match error {
        ProtobufError::NoType(..) => Status::not_acceptable(),
        error => Status::internal(error),
    })
}

fn is_json(headers: &http::HeaderMap) -> bool {
    let sort = headers.get(header::CONTENT_TYPE);
    sort.is_none_or(|it| it.as_bytes().starts_with(Format::Json.media_type().as_bytes()))
}

/// What objects of a kind are named in their envelopes.
fn named(kind: &Kind, part: Part) -> (String, &str, &str) {
    match part {
        Part::Whole => (kind.api_version(), &kind.kind, &kind.list_kind),
        Part::Metadata => {
            ("meta.k8s.io/v1".into(), "PartialObjectMetadata", "PartialObjectMetadataList")
        }
    }
}

async fn list(kind: &Arc<Kind>, part: Part, list: List) -> Result<Rendered, Status> {
    let of = list_meta()?;
    let mut kept = Vec::new();
    let metadata = json::metadata(&list).to_string();
    let mut meta = Vec::new();
    protobuf::encode(metadata.as_bytes(), of, &mut meta).map_err(Status::internal)?;
    protobuf::bytes(&mut kept, 1, &meta);
    let mut writer = Writer { kind: kind.clone(), part, json: Vec::new(), object: Vec::new() };
    let count = list.items.count();
    let (mut written, mut size) = (0, kept.len());
    let mut rest = Vec::new();
    for at in 0..count {
        if at % AT_ONCE == AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        rest.clear();
        let keeps = written == at && kept.len() < KEPT_MOST;
        let into = if keeps { &mut kept } else { &mut rest };
        let before = into.len();
        writer.item(&list.items.get(at), into).map_err(Status::internal)?;
        size += into.len() - before;
        written += usize::from(keeps);
    }
    let (api_version, _, list_kind) = named(kind, part);
    let mut start = protobuf::envelope(&api_version, list_kind, size);
    let whole = start.len() + size + ENVELOPE_END.len();
    start.append(&mut kept);
    let items = (written..count).map(move |at| list.items.get(at));
    let write = move |item: Stored, out: &mut Vec<u8>| {
        writer.item(&item, out).map_err(std::io::Error::other)
    };
    let around = Around { between: b"", end: ENVELOPE_END };
    let pieces = json::sent(Pages::new(start, around, items, write));
    Ok(Rendered { size: Some(whole), pieces })
}

fn list_meta() -> Result<&'static Struct, Status> {
    const NAME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
    skiff_api::schema::builtin(NAME).ok_or_else(|| Status::internal("ListMeta has no schema"))
}

/// Writes one item after another, in the same memory.
struct Writer {
    kind: Arc<Kind>,
    part: Part,
    json: Vec<u8>,
    object: Vec<u8>,
}

impl Writer {
    fn item(&mut self, stored: &Stored, out: &mut Vec<u8>) -> Result<(), ProtobufError> {
        self.object.clear();
        rendition::message(self.part, &self.kind, stored, &mut self.json, &mut self.object)?;
        protobuf::bytes(out, 2, &self.object);
        Ok(())
    }
}

fn watch(shape: Shape, part: Part, frames: BoxStream<'static, Frame>) -> Body {
    let frames = frames.map(move |it| frame(&shape, part, it).map_err(std::io::Error::other));
    Body::Rendered(Rendered { size: None, pieces: Box::pin(frames) })
}

fn frame(shape: &Shape, part: Part, frame: Frame) -> Result<Pieces, ProtobufError> {
    let (type_, state, stored) = match frame {
        Frame::Added(stored) => (EventType::Added, State::Is, stored),
        Frame::Modified(stored) => (EventType::Modified, State::Is, stored),
        Frame::Deleted(stored) => (EventType::Deleted, State::Was, stored),
        Frame::Bookmark { revision, initial_end, .. } => {
            let metadata = wire::bookmark_metadata(revision, initial_end.as_deref());
            let json = format!("{{\"metadata\":{metadata}}}");
            let mut object = Vec::new();
            protobuf::encode(json.as_bytes(), rendition::schema(part, &shape.kind)?, &mut object)?;
            return Ok(message(EventType::Bookmark, shape, part, object.into()));
        }
        Frame::Error(status) => return error(&status),
    };
    match shape.rendition(&stored, state) {
        Ok(made) => Ok(message(type_, shape, part, made.body())),
        Err(status) => error(&status),
    }
}

/// An object framed as a message of a watch.
fn message(type_: EventType, shape: &Shape, part: Part, object: Bytes) -> Pieces {
    let (api_version, kind, _) = named(&shape.kind, part);
    around(type_, &api_version, kind, object)
}

fn around(type_: EventType, api_version: &str, kind: &str, object: Bytes) -> Pieces {
    let start = protobuf::watch_event(type_.name(), api_version, kind, object.len());
    let mut pieces = Pieces::from(Bytes::from(start));
    pieces.push(object);
    pieces.push(Bytes::from_static(ENVELOPE_END));
    pieces
}

/// The last message of a watch that is refused.
fn error(status: &Status) -> Result<Pieces, ProtobufError> {
    let of = gvk("", "v1", "Status");
    let of = of.ok_or_else(|| ProtobufError::NoType("Status".into(), "v1".into()))?;
    let mut object = Vec::new();
    protobuf::encode(status.text().as_bytes(), of, &mut object)?;
    Ok(around(EventType::Error, "v1", "Status", object.into()))
}

#[cfg(test)]
mod tests;
