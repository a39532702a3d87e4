//! `/openapi/v3`: the index, and one document for each group and version, made on demand from the registry and kept
//! nowhere. A document's address carries a fingerprint of its kinds, so that clients may keep it forever.

use crate::Server;
use crate::url::Query;
use http::{HeaderValue, StatusCode, header};
use skiff_api::Status;
use skiff_api::kind::{Kind, Verb};
use skiff_api::registry::Registry;
use skiff_api::schema::openapi::{self, KindRef, Source, Subresource};
use skiff_api::wire::{Answer, Body};
use std::sync::Arc;

/// `rest` is what follows `/openapi/v3/`: nothing for the index, else the path of a group and version.
pub fn answer(server: &Arc<Server>, rest: &[&str], query: &Query) -> Result<Answer, Status> {
    let registry = server.kinds.now();
    if rest.is_empty() {
        let paths = paths(&registry);
        let documents = paths.iter().map(|path| {
            let print = with_kinds(&registry, path, openapi::fingerprint);
            (path.as_str(), print)
        });
        return Ok(Answer::json(StatusCode::OK, &openapi::index(documents)));
    }
    let path = rest.join("/");
    if !paths(&registry).contains(&path) {
        return Err(Status::no_such_path());
    }
    let bytes = with_kinds(&registry, &path, openapi::document);
    let mut answer =
        Answer::new(StatusCode::OK, Body::Bytes(bytes.into())).typed("application/json");
    if query.get("hash").is_some() {
        // The address names the content: RFC 8246.
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        answer.headers.insert(header::CACHE_CONTROL, forever);
    }
    Ok(answer)
}

/// `api/v1`, `apis/apps/v1`, ...
fn paths(registry: &Registry) -> Vec<String> {
    let mut paths: Vec<String> = registry.kinds().iter().map(|kind| path(kind)).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn path(kind: &Kind) -> String {
    let root = if kind.group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", kind.api_version())
}

/// Runs `make` over the kinds of one document.
fn with_kinds<T>(registry: &Registry, wanted: &str, make: impl Fn(&[KindRef]) -> T) -> T {
    let kinds: Vec<&Arc<Kind>> =
        registry.kinds().iter().filter(|kind| path(kind) == wanted).collect();
    let names = |verbs: &[Verb]| verbs.iter().map(|verb| verb.name()).collect::<Vec<_>>();
    let verbs: Vec<Vec<&str>> = kinds.iter().map(|kind| names(kind.verbs)).collect();
    let below: Vec<Vec<(&str, Vec<&str>, Option<&str>)>> = kinds
        .iter()
        .map(|kind| {
            kind.subresources
                .iter()
                .map(|sub| {
                    let body = sub.body.and_then(|(g, v, k)| skiff_api::schema::gvk(g, v, k));
                    (&*sub.name, names(sub.verbs), body.map(|body| &*body.name))
                })
                .collect()
        })
        .collect();
    let subresources: Vec<Vec<Subresource>> = below
        .iter()
        .map(|list| {
            list.iter()
                .map(|(name, verbs, definition)| Subresource {
                    name,
                    verbs,
                    definition: *definition,
                })
                .collect()
        })
        .collect();
    let refs: Vec<KindRef> = kinds
        .iter()
        .zip(&verbs)
        .zip(&subresources)
        .map(|((kind, verbs), subresources)| KindRef {
            group: &kind.group,
            version: &kind.version,
            kind: &kind.kind,
            plural: &kind.plural,
            namespaced: kind.namespaced(),
            verbs,
            source: source(kind),
            subresources,
        })
        .collect();
    make(&refs)
}

fn source(kind: &Kind) -> Source<'_> {
    match &kind.custom {
        Some(custom) => Source::Custom(&custom.schema),
        None => Source::BuiltIn(&kind.schema.name),
    }
}
