//! Encode: an answer becomes the rendition that the client asked for (Table, metadata only, YAML). What needs no
//! rendition passes through untouched, as shared bytes.

pub mod accept;

use crate::Server;
use crate::read::scale;
use crate::render::accept::{Accept, Format, View};
use crate::request::Request;
use crate::request::url::Query;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header;
use serde_json::{Map, Value, json};
use skiff_api::kind::{Backend, Kind};
use skiff_api::object::Object;
use skiff_api::wire::{self, Answer, Body, Call, Frame, List, Peer, Stored};
use skiff_api::{Status, table};
use std::sync::Arc;

/// What the rows of a Table may carry.
const INCLUDED: [&str; 3] = ["None", "Metadata", "Object"];

/// Makes the rendition.
pub fn encode(server: &Arc<Server>, request: &Request, answer: Answer) -> Result<Answer, Status> {
    if request.accept.view == View::Whole && request.accept.format == Format::Json {
        return Ok(answer);
    }
    let answered = matches!(request.kind.backend, Backend::Answered(_));
    if request.accept.view == View::Table && answered {
        return Err(Status::not_acceptable());
    }
    let Answer { status, headers, body } = answer;
    let include = request.query.get("includeObject").unwrap_or("Metadata");
    if request.accept.view == View::Table && !INCLUDED.contains(&include) {
        return Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {include:?}: must be \
             'Metadata', 'Object', 'None', or empty"
        )));
    }
    let view = Rendering {
        view: request.accept.view,
        kind: request.kind.clone(),
        world: server.world.clone(),
        include: include.to_owned(),
    };
    let body = match body {
        Body::Object(stored) => document(request, &view.object(&stored)?),
        Body::List(list) => document(request, &view.list(&list)?),
        Body::Watch(frames) if request.accept.view != View::Whole => {
            let mut first = true;
            Body::Watch(Box::pin(
                frames.map(move |frame| view.frame(frame, std::mem::take(&mut first))),
            ))
        }
        Body::Bytes(bytes) if request.accept.view == View::Table && scale::is_asked(request) => {
            let tree: Value = serde_json::from_slice(&bytes).map_err(Status::internal)?;
            let kind = Kind { columns: scale::columns(), ..(*view.kind).clone() };
            let metadata = json!({"resourceVersion": tree["metadata"]["resourceVersion"]});
            let view = Rendering { kind: Arc::new(kind), ..view };
            document(request, &view.table(vec![tree], metadata, true))
        }
        Body::Bytes(bytes) if request.accept.format == Format::Yaml => {
            let value = serde_json::from_slice(&bytes).map_err(Status::internal)?;
            document(request, &value)
        }
        Body::Watch(_) => return Err(Status::not_acceptable()),
        other => other,
    };
    let answer = Answer { status, headers, body };
    Ok(match request.accept.format {
        Format::Yaml => answer.typed("application/yaml"),
        Format::Json => answer.typed("application/json"),
    })
}

fn document(request: &Request, value: &Value) -> Body {
    Body::Bytes(match request.accept.format {
        Format::Json => value.to_string().into(),
        Format::Yaml => skiff_api::yaml::write(value).into(),
    })
}

/// How the answers to one call are written, whatever becomes of it.
pub struct Manner {
    refusal: Accept,
    /// For people: indented.
    indented: bool,
}

/// The agents whose users read what comes back.
const PEOPLE: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

impl Manner {
    pub fn of(call: &Call) -> Manner {
        if matches!(call.peer, Peer::Local(_)) {
            return Manner { refusal: Accept::JSON, indented: false };
        }
        let header = |name| call.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
        let agent = header(header::USER_AGENT);
        let indented = match Query::parse(&call.query).get("pretty") {
            Some(asked) => !matches!(asked, "0" | "false" | "f" | "F" | "FALSE" | "False"),
            None => PEOPLE.iter().any(|it| agent.starts_with(it)),
        };
        Manner { refusal: Accept::of_refusal(header(header::ACCEPT)), indented }
    }

    /// A refusal, in the form that the caller can read.
    pub fn refuse(&self, status: Status) -> Answer {
        let pretty = self.indented || self.refusal.pretty;
        let text = status.text();
        let yaml = self.refusal.format == Format::Yaml;
        let value = yaml.then(|| status.to_json());
        let answer = Answer::from(status);
        let (body, sort) = match value {
            Some(value) => (skiff_api::yaml::write(&value), "application/yaml"),
            None if pretty => (indent(text.as_bytes()), "application/json"),
            None => (text, "application/json"),
        };
        Answer { body: Body::Bytes(body.into()), ..answer }.typed(sort)
    }

    /// The answer, indented if people read it.
    pub fn pretty(&self, answer: Answer) -> Answer {
        let is_json = |headers: &http::HeaderMap| {
            let sort = headers.get(header::CONTENT_TYPE);
            sort.is_none_or(|it| it.as_bytes().starts_with(b"application/json"))
        };
        if !self.indented || !is_json(&answer.headers) {
            return answer;
        }
        let body = match answer.body {
            Body::Object(stored) => Body::Bytes(indent(&stored.bytes()).into()),
            Body::Bytes(bytes) if !bytes.starts_with(b"{\n") => Body::Bytes(indent(&bytes).into()),
            other => other,
        };
        Answer { body, ..answer }
    }
}

/// JSON with each field on a line of its own, two blanks deeper than what holds it; the order stays.
pub fn indent(json: &[u8]) -> String {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    let margin = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for (at, byte) in json.iter().copied().enumerate() {
        if text {
            out.push(byte);
            text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if !matches!(json.get(at + 1), Some(b'}' | b']')) {
                    depth += 1;
                    margin(&mut out, depth);
                }
            }
            b'}' | b']' => {
                if !matches!(json[at.saturating_sub(1)], b'{' | b'[') {
                    depth = depth.saturating_sub(1);
                    margin(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                margin(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                text = byte == b'"';
                out.push(byte);
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

struct Rendering {
    view: View,
    kind: Arc<Kind>,
    /// Ages are those of the moment of sending: a watch may last for hours.
    world: skiff_base::World,
    /// What the rows of a Table carry: `None`, `Metadata` or `Object`.
    include: String,
}

impl Rendering {
    fn object(&self, stored: &Stored) -> Result<Value, Status> {
        let tree = stored.tree().map_err(Status::internal)?;
        Ok(match self.view {
            View::Whole => tree,
            View::Metadata => metadata_only(tree),
            View::Table => {
                let revision = stored.revision.to_string();
                self.table(vec![tree], json!({"resourceVersion": revision}), true)
            }
        })
    }

    fn list(&self, list: &List) -> Result<Value, Status> {
        let trees: Result<Vec<Value>, _> = list.items.iter().map(Stored::tree).collect();
        let trees = trees.map_err(Status::internal)?;
        let metadata = list_metadata(list);
        Ok(match self.view {
            View::Whole => {
                let mut document =
                    list_document(&self.kind.api_version(), &self.kind.list_kind, metadata);
                document["items"] = trees.into();
                document
            }
            View::Metadata => {
                let kind = "PartialObjectMetadataList";
                let mut document = list_document("meta.k8s.io/v1", kind, metadata);
                document["items"] = trees.into_iter().map(metadata_only).collect();
                document
            }
            View::Table => self.table(trees, metadata, true),
        })
    }

    fn table(&self, objects: Vec<Value>, metadata: Value, headed: bool) -> Value {
        let now = self.world.now();
        let rows: Vec<Value> = objects
            .into_iter()
            .map(|tree| {
                let object = Object::new(tree);
                let mut row = json!({"cells": table::cells(&self.kind, &object, now)});
                match &*self.include {
                    "Object" => row["object"] = object.into_value(),
                    "None" => row["object"] = Value::Null,
                    _ => row["object"] = metadata_only(object.into_value()),
                }
                row
            })
            .collect();
        let mut document = list_document("meta.k8s.io/v1", "Table", metadata);
        document["columnDefinitions"] =
            if headed { table::columns(&self.kind) } else { Value::Null };
        document["rows"] = rows.into();
        document
    }

    /// A frame in this view. Only the first Table of a watch carries the column definitions.
    fn frame(&self, frame: Frame, first: bool) -> Frame {
        let (sort, stored) = match &frame {
            Frame::Added(stored) => ("ADDED", stored),
            Frame::Modified(stored) => ("MODIFIED", stored),
            Frame::Deleted(stored) => ("DELETED", stored),
            Frame::Bookmark { revision, initial_end, .. } => {
                let meta = wire::bookmark_metadata(*revision, initial_end.as_deref());
                let revision = revision.to_string();
                let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                                    "metadata": meta});
                let value = match self.view {
                    View::Table => {
                        let mut table =
                            self.table(Vec::new(), json!({"resourceVersion": revision}), first);
                        table["rows"] = json!([{"cells": [], "object": object}]);
                        table
                    }
                    _ => object,
                };
                return Frame::Other("BOOKMARK", value.to_string().into());
            }
            Frame::Error(_) | Frame::Other(..) => return frame,
        };
        let tree = match stored.tree() {
            Ok(tree) => tree,
            Err(error) => return Frame::Error(Status::internal(error)),
        };
        let value = match self.view {
            View::Table => {
                let revision = stored.revision.to_string();
                self.table(vec![tree], json!({"resourceVersion": revision}), first)
            }
            _ => metadata_only(tree),
        };
        Frame::Other(sort, Bytes::from(value.to_string()))
    }
}

/// The metadata of a list.
pub fn list_metadata(list: &List) -> Value {
    let mut metadata = json!({"resourceVersion": list.revision.to_string()});
    if !list.next.is_empty() {
        metadata["continue"] = json!(list.next);
    }
    if let Some(remaining) = list.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

fn list_document(api_version: &str, kind: &str, metadata: Value) -> Value {
    json!({"kind": kind, "apiVersion": api_version, "metadata": metadata})
}

fn metadata_only(tree: Value) -> Value {
    let metadata = match tree {
        Value::Object(mut map) => {
            map.remove("metadata").unwrap_or_else(|| Value::Object(Map::new()))
        }
        _ => Value::Null,
    };
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch may last for hours, and what it shows is as old as it is then.
    #[tokio::test(start_paused = true)]
    async fn ages_are_those_of_the_moment_of_sending() {
        let world = skiff_base::World::seeded(1);
        let kind = skiff_api::registry::Kinds::builtin(skiff_kinds::KINDS)
            .now()
            .find("", "v1", "configmaps")
            .cloned();
        let kind = kind.expect("a kind");
        let view = Rendering {
            view: View::Table,
            kind: kind.clone(),
            world: world.clone(),
            include: "None".into(),
        };
        let age = |created: skiff_base::Time| {
            let time = crate::request::codec::time(created);
            let body =
                format!("{{\"metadata\":{{\"name\":\"a\",\"creationTimestamp\":{time:?}}}}}");
            let stored = Stored { head: crate::read::head(&kind), revision: 1, body: body.into() };
            let Frame::Other("ADDED", bytes) = view.frame(Frame::Added(stored), true) else {
                panic!("it is a rendition");
            };
            let table: Value = serde_json::from_slice(&bytes).expect("JSON");
            let cells = table["rows"][0]["cells"].as_array().expect("cells").clone();
            cells.last().expect("an age").as_str().expect("text").to_owned()
        };
        let begin = world.now();
        world.sleep(std::time::Duration::from_secs(90)).await;
        assert_eq!((age(begin).as_str(), age(world.now()).as_str()), ("90s", "0s"));
    }
}
