//! Protobuf as it is sent: objects, lists and the messages of watches, around what renditions hold.
//!
//! A message says its length before it begins. So a list asks for each of its messages twice: once for the lengths, and
//! once more item by item as it leaves. Most are made once at the most, for they are kept for a while; of a list that
//! is larger than what is kept, each is made twice, and no more of it than that is held at once.

use crate::render::accept::Format;
use crate::render::json::{self, Around, EventType, Pages};
use crate::render::rendition::Part;
use crate::render::shared::State;
use crate::render::{Shape, Source, rendition};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header;
use skiff_api::pieces::Pieces;
use skiff_api::protobuf::{self, ENVELOPE_END, ProtobufError};
use skiff_api::schema::{Struct, gvk};
use skiff_api::wire::{self, Answer, Body, Frame, List, Rendered, Stored};
use skiff_api::{Status, kind::Kind};

/// The media type of a watch.
const STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// So many items are measured before others have their turn: about a millisecond, when all are made.
const AT_ONCE: usize = 256;
/// The field of a list's message that is its items.
const ITEMS: u32 = 2;

/// An answer, written as protobuf.
pub(super) async fn encode(shape: Shape, part: Part, answer: Answer) -> Result<Answer, Status> {
    let body = match answer.body {
        Body::Watch(frames) => {
            let body = watch(shape, part, frames);
            return Ok(Answer { body, ..answer }.typed(STREAM));
        }
        Body::List(list) => Body::Rendered(self::list(shape, part, list).await?),
        Body::Object(stored) if shape.source == Source::Stored => {
            let made = shape.rendition(&stored, State::Is)?.body();
            let (api_version, kind, _) = named(&shape.kind, part);
            let mut whole = protobuf::envelope(&api_version, kind, made.len());
            whole.reserve_exact(made.len() + ENVELOPE_END.len());
            whole.extend_from_slice(&made);
            whole.extend_from_slice(ENVELOPE_END);
            Body::Bytes(whole.into())
        }
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

async fn list(shape: Shape, part: Part, list: List) -> Result<Rendered, Status> {
    let of = list_meta()?;
    let metadata = json::metadata(&list).to_string();
    let (mut meta, mut before) = (Vec::new(), Vec::new());
    protobuf::encode(metadata.as_bytes(), of, &mut meta).map_err(Status::internal)?;
    protobuf::bytes(&mut before, 1, &meta);
    let (count, mut size) = (list.items.count(), before.len());
    let mut head = Vec::new();
    for at in 0..count {
        if at % AT_ONCE == AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        let length = shape.rendition(&list.items.get(at), State::Is)?.body().len();
        head.clear();
        protobuf::begin(&mut head, ITEMS, length);
        size += head.len() + length;
    }
    let (api_version, _, list_kind) = named(&shape.kind, part);
    let mut start = protobuf::envelope(&api_version, list_kind, size);
    let whole = start.len() + size + ENVELOPE_END.len();
    start.append(&mut before);
    let write = move |item: Stored, out: &mut Vec<u8>| {
        let made = shape.rendition(&item, State::Is).map_err(std::io::Error::other)?;
        protobuf::bytes(out, ITEMS, &made.body());
        Ok(())
    };
    let around = Around { between: b"", end: ENVELOPE_END };
    let pieces = json::sent(Pages::new(start, around, json::items(list.items), write));
    Ok(Rendered { size: Some(whole), pieces })
}

fn list_meta() -> Result<&'static Struct, Status> {
    const NAME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
    skiff_api::schema::builtin(NAME).ok_or_else(|| Status::internal("ListMeta has no schema"))
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
