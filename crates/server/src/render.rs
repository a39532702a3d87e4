//! Encode: an answer becomes the rendition that the client asked for (Table, metadata only, YAML). What needs no
//! rendition passes through untouched, as shared bytes.

use crate::Server;
use crate::accept::{Format, View};
use crate::request::Request;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_api::wire::{Answer, Body, Frame, List, Stored};
use skiff_api::{Status, table};
use std::sync::Arc;

/// Makes the rendition.
pub fn encode(server: &Arc<Server>, request: &Request, answer: Answer) -> Result<Answer, Status> {
    if request.accept.view == View::Whole && request.accept.format == Format::Json {
        return Ok(answer);
    }
    let Answer { status, headers, body } = answer;
    let view = Rendering {
        view: request.accept.view,
        kind: request.kind.clone(),
        now: server.world.now(),
        include: request.query.get("includeObject").unwrap_or("Metadata").to_owned(),
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
        Body::Bytes(bytes) if request.accept.format == Format::Yaml => {
            let value = serde_json::from_slice(&bytes).map_err(Status::internal)?;
            document(request, &value)
        }
        Body::Watch(_) => return Err(Status::not_acceptable()),
        other => other,
    };
    let mut answer = Answer { status, headers, body };
    if request.accept.format == Format::Yaml {
        answer = answer.typed("application/yaml");
    }
    Ok(answer)
}

fn document(request: &Request, value: &Value) -> Body {
    Body::Bytes(match request.accept.format {
        Format::Json => value.to_string().into(),
        Format::Yaml => skiff_api::yaml::write(value).into(),
    })
}

struct Rendering {
    view: View,
    kind: Arc<Kind>,
    now: skiff_base::Time,
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
        let rows: Vec<Value> = objects
            .into_iter()
            .map(|tree| {
                let object = Object::new(tree);
                let mut row = json!({"cells": table::cells(&self.kind, &object, self.now)});
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
                let revision = revision.to_string();
                let mut meta = json!({"resourceVersion": revision, "creationTimestamp": null});
                if *initial_end {
                    meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
                }
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
