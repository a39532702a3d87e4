//! Encode: an answer becomes what the client asked for. What is asked for as it is stored passes through untouched, as
//! shared bytes; another view (a Table, metadata only) is put together of renditions, which are made once and shared.
//! Types of events, revisions of lists, definitions of columns and frames stand around those, and are an answer's own.

pub mod accept;
pub mod json;
pub mod manner;
pub mod protobuf;
pub mod rendition;
pub mod shared;
#[cfg(test)]
mod tests;

use crate::Server;
use crate::read::scale;
use crate::render::accept::{Format, View};
use crate::render::json::{EventType, Pages};
use crate::render::rendition::{Form, Include, Part, Rendition};
use crate::render::shared::{Renditions, State};
use crate::request::Request;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use skiff_api::kind::{Backend, Kind, Verb};
use skiff_api::object::Object;
use skiff_api::pieces::Pieces;
use skiff_api::wire::{self, Answer, Body, Frame, List, Rendered, Stored};
use skiff_api::{Status, table};
use skiff_base::World;
use skiff_json::{Map, Value};
use std::sync::Arc;

/// Writes the answer as it was asked for.
pub async fn encode(server: &Server, request: &Request, answer: Answer) -> Result<Answer, Status> {
    let accept = request.accept;
    if accept.view == View::Whole && accept.format == Format::Json {
        return request.notes.answers(answer).await;
    }
    let answered = matches!(request.kind.backend, Backend::Answered(_));
    if accept.view == View::Table && answered {
        return Err(Status::not_acceptable());
    }
    check_view(request, &answer)?;
    let shape = match Shape::of(server, request)? {
        Some(shape) if let Form::Message(part) = shape.form => {
            let answer = request.notes.answers(answer).await?;
            return protobuf::encode(shape, part, answer).await;
        }
        shape => shape,
    };
    let body = match (answer.body, shape) {
        (Body::Watch(frames), Some(shape)) if accept.format == Format::Json => shape.watch(frames),
        (Body::Watch(_), _) => return Err(Status::not_acceptable()),
        (Body::Object(stored), Some(shape)) => Body::Bytes(shape.object(&stored)?),
        (Body::List(list), Some(shape)) => shape.list(list),
        (Body::Bytes(bytes), Some(shape)) if scale::is_asked(request) => shape.scale(&bytes)?,
        (other, _) => other,
    };
    let answer = request.notes.answers(Answer { body, ..answer }).await?;
    match accept.format {
        Format::Yaml => yaml(answer).await,
        Format::Json | Format::Protobuf => Ok(answer.typed("application/json")),
    }
}

/// The metadata of a list are asked for as such.
fn check_view(request: &Request, answer: &Answer) -> Result<(), Status> {
    let (kind, view) = (&request.kind, request.accept.view);
    // As upstream names its types.
    let group = kind.group.split('.').next().filter(|it| !it.is_empty()).unwrap_or("core");
    let type_ = |name: &str| match kind.is_custom() {
        true => {
            "*unstructured.Unstructured".to_owned() + name.strip_prefix(&*kind.kind).unwrap_or("")
        }
        false => format!("*{group}.{name}"),
    };
    let why = match (&answer.body, view) {
        (Body::List(_), View::Metadata) => {
            let found = type_(&kind.list_kind);
            format!("PartialObjectMetadata, but the requested object is a list ({found})")
        }
        (Body::Object(_), View::MetadataList) => {
            let found = type_(&kind.kind);
            format!("PartialObjectMetadataList, but the requested object is not a list ({found})")
        }
        _ => return Ok(()),
    };
    Err(Status::new(406, "NotAcceptable", format!("you requested {why}")))
}

/// A document of JSON that is no object of a kind, written as it was asked for.
pub fn document(answer: Answer, format: Format) -> Result<Answer, Status> {
    let (Body::Bytes(json), true) = (&answer.body, format != Format::Json) else {
        return Ok(answer);
    };
    let body = match format {
        Format::Protobuf => protobuf::document(json)?,
        _ => yaml_of(json)?,
    };
    Ok(Answer { body: Body::Bytes(body), ..answer }.typed(format.media_type()))
}

fn yaml_of(json: &[u8]) -> Result<Bytes, Status> {
    let value: Value = skiff_json::from_slice(json).map_err(Status::internal)?;
    Ok(skiff_api::yaml::write(&value).into())
}

/// The same document as YAML.
async fn yaml(answer: Answer) -> Result<Answer, Status> {
    let json = match answer.body {
        Body::Object(stored) => stored.bytes(),
        Body::Bytes(bytes) => bytes,
        Body::List(list) => json::gather(json::list(list)).await.map_err(Status::internal)?,
        Body::Rendered(it) => json::gather(it.pieces).await.map_err(Status::internal)?,
        body => return Ok(Answer { body, ..answer }),
    };
    let body = Body::Bytes(yaml_of(&json)?);
    Ok(Answer { body, ..answer }.typed("application/yaml"))
}

/// The JSON of an answer that ends, for who wants to see it before it is sent.
pub async fn shown(answer: Answer) -> Result<(Answer, Bytes), Status> {
    let (body, bytes) = match answer.body {
        Body::Bytes(bytes) => (Body::Bytes(bytes.clone()), bytes),
        Body::Object(stored) => {
            let bytes = stored.bytes();
            (Body::Object(stored), bytes)
        }
        Body::List(list) => {
            let bytes = json::whole(&list);
            (Body::List(list), bytes)
        }
        Body::Rendered(Rendered { size, pieces }) => {
            let bytes = json::gather(pieces).await.map_err(Status::internal)?;
            let pieces = Box::pin(stream::iter([Ok(bytes.clone().into())]));
            (Body::Rendered(Rendered { size, pieces }), bytes)
        }
        body @ (Body::Watch(_) | Body::Stream(_) | Body::Upgraded(_)) => (body, Bytes::new()),
    };
    Ok((Answer { body, ..answer }, bytes))
}

/// Another view of a kind's objects, for one answer.
struct Shape {
    /// What depends on the time is that of the moment of sending: a watch may last for hours.
    world: World,
    renditions: Arc<Renditions>,
    kind: Arc<Kind>,
    form: Form,
    source: Source,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Records: others may ask for the same.
    Stored,
    /// What a write answers with, perhaps of a dry run.
    Written,
}

impl Shape {
    fn of(server: &Server, request: &Request) -> Result<Option<Shape>, Status> {
        let form = match (request.accept.view, request.accept.format) {
            (View::Whole, Format::Protobuf) => Form::Message(Part::Whole),
            (View::Metadata | View::MetadataList, Format::Protobuf) => {
                Form::Message(Part::Metadata)
            }
            (View::Whole, _) => return Ok(None),
            (View::Metadata | View::MetadataList, _) => Form::Metadata,
            (View::Table, _) => Form::Row(include(request)?),
        };
        let source = match request.verb {
            Verb::Get | Verb::List | Verb::Watch if request.kind.backend == Backend::Stored => {
                Source::Stored
            }
            _ => Source::Written,
        };
        let renditions = match request.verb {
            Verb::Watch => &server.watched,
            _ => &server.asked,
        };
        Ok(Some(Shape {
            world: server.world.clone(),
            renditions: renditions.clone(),
            kind: request.kind.clone(),
            form,
            source,
        }))
    }

    fn rendition(&self, stored: &Stored, state: State) -> Result<Arc<Rendition>, Status> {
        match self.source {
            Source::Stored => self.renditions.of(self.form, &self.kind, stored, state),
            Source::Written => Rendition::make(self.form, &self.kind, stored).map(Arc::new),
        }
    }

    /// What stands before the rows of a Table, or the items of a list.
    fn start(&self, metadata: &Value, columns: Columns) -> Vec<u8> {
        let start = match (self.form, columns) {
            (Form::Metadata | Form::Message(_), _) => format!(
                "{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\",\
                 \"metadata\":{metadata},\"items\":["
            ),
            (Form::Row(_), Columns::None) => format!("{TABLE}{metadata},{COLUMNS}null,\"rows\":["),
            (Form::Row(_), Columns::Defined) => {
                let columns = table::columns(&self.kind);
                format!("{TABLE}{metadata},{COLUMNS}{columns},\"rows\":[")
            }
        };
        start.into()
    }

    /// One object: its metadata, or a Table with one row.
    fn pieces(&self, revision: u64, rendition: &Rendition, columns: Columns) -> Pieces {
        let now = self.world.now();
        let mut pieces = Pieces::default();
        if self.form == Form::Metadata {
            rendition.push(now, &mut pieces);
            return pieces;
        }
        let metadata = match revision {
            // What was never stored has none.
            0 => Value::Object(Map::new()),
            revision => wire::bookmark_metadata(revision, None),
        };
        pieces.push(self.start(&metadata, columns).into());
        rendition.push(now, &mut pieces);
        pieces.push(Bytes::from_static(b"]}"));
        pieces
    }

    fn object(&self, stored: &Stored) -> Result<Bytes, Status> {
        let rendition = self.rendition(stored, State::Is)?;
        let mut pieces = self.pieces(stored.revision, &rendition, Columns::Defined);
        Ok(pieces.copy_to_bytes(pieces.remaining()))
    }

    fn list(self, list: List) -> Body {
        let size = list.size();
        let out = self.start(&json::metadata(&list), Columns::Defined);
        let write = move |item: Stored, out: &mut Vec<u8>| {
            let rendition = self.rendition(&item, State::Is);
            let rendition = rendition.map_err(|status| std::io::Error::other(status.message))?;
            rendition.write(self.world.now(), out);
            Ok(())
        };
        let pieces = json::sent(Pages::new(out, json::ARRAY, json::items(list.items), write));
        Body::Rendered(Rendered { size: Some(size), pieces })
    }

    /// The Scale of an object as a Table.
    fn scale(self, scale: &[u8]) -> Result<Body, Status> {
        let Form::Row(_) = self.form else { return Ok(Body::Bytes(Bytes::copy_from_slice(scale))) };
        let tree: Value = skiff_json::from_slice(scale).map_err(Status::internal)?;
        let revision = tree["metadata"]["resourceVersion"].as_str().and_then(|it| it.parse().ok());
        let stored = Stored {
            head: "\"kind\":\"Scale\",\"apiVersion\":\"autoscaling/v1\",".into(),
            revision: revision.unwrap_or_default(),
            body: skiff_api::json::encode_body(&tree).into(),
        };
        let kind = Kind { columns: scale::columns(), convert: None, ..(*self.kind).clone() };
        let shape = Shape { kind: Arc::new(kind), source: Source::Written, ..self };
        Ok(Body::Bytes(shape.object(&stored)?))
    }

    /// Only the first Table of a watch carries the definitions of the columns.
    fn watch(self, frames: BoxStream<'static, Frame>) -> Body {
        let mut columns = Columns::Defined;
        let frames = frames.map(move |frame| {
            Ok(self.frame(frame, std::mem::replace(&mut columns, Columns::None)))
        });
        Body::Rendered(Rendered { size: None, pieces: Box::pin(frames) })
    }

    fn frame(&self, frame: Frame, columns: Columns) -> Pieces {
        let (type_, state, stored) = match frame {
            Frame::Added(stored) => (EventType::Added, State::Is, stored),
            Frame::Modified(stored) => (EventType::Modified, State::Is, stored),
            Frame::Deleted(stored) => (EventType::Deleted, State::Was, stored),
            Frame::Bookmark { revision, initial_end, .. } => {
                let metadata = wire::bookmark_metadata(revision, initial_end.as_deref());
                return json::message(
                    EventType::Bookmark,
                    self.bookmark(revision, &metadata, columns),
                );
            }
            Frame::Error(status) => return json::error(&status),
        };
        match self.rendition(&stored, state) {
            Ok(made) => json::message(type_, self.pieces(stored.revision, &made, columns)),
            Err(status) => json::error(&status),
        }
    }

    fn bookmark(&self, revision: u64, metadata: &Value, columns: Columns) -> Pieces {
        let object = format!(
            "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\
             \"metadata\":{metadata}}}"
        );
        let text = match self.form {
            Form::Metadata | Form::Message(_) => object,
            Form::Row(_) => {
                let start = self.start(&wire::bookmark_metadata(revision, None), columns);
                let start = String::from_utf8_lossy(&start);
                // Those of an object that says nothing but this.
                let mut cells = Vec::new();
                let mut bare = Object::new(skiff_json::json!({"metadata": metadata}));
                bare.set("metadata.name", "");
                table::write_cells(&self.kind, &bare, &mut cells);
                let cells = String::from_utf8_lossy(&cells);
                format!("{start}{{\"cells\":{cells},\"object\":{object}}}]}}")
            }
        };
        Bytes::from(text).into()
    }
}

/// What a Table says of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Columns {
    Defined,
    None,
}

const TABLE: &str = "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":";
const COLUMNS: &str = "\"columnDefinitions\":";

/// What the rows of a Table are to carry.
fn include(request: &Request) -> Result<Include, Status> {
    match request.query.get("includeObject") {
        None | Some("Metadata") => Ok(Include::Metadata),
        Some("None") => Ok(Include::None),
        Some("Object") => Ok(Include::Object),
        Some(include) => Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {include:?}: must be \
             'Metadata', 'Object', 'None', or empty"
        ))),
    }
}
