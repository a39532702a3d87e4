//! `/openapi/v3`: the index, and one document for each group and version, made on demand from the registry and kept
//! nowhere. A document's address carries a fingerprint of its kinds, so that clients may keep it forever.
//! `/openapi/v2`: one document of everything, whose tag is such a fingerprint too.

use crate::Server;
use crate::aggregate::Order;
use crate::render::accept::{Accept, Format, Offer};
use crate::request::url::Query;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use skiff_api::Status;
use skiff_api::kind::{self, Connect, Does, Kind, Verb};
use skiff_api::registry::Registry;
use skiff_api::schema::openapi::{self, Entry, KindRef, Source, Subresource};
use skiff_api::schema::openapi_v2::{self, Form};
use skiff_api::wire::{Answer, Body};
use skiff_base::Time;
use std::sync::Arc;
use std::time::Duration;

/// `rest` is what follows `/openapi/v3/`: nothing for the index, else the path of a group and version.
pub fn answer(
    server: &Arc<Server>,
    rest: &[&str],
    query: &Query,
    headers: &HeaderMap,
) -> Result<Answer, Status> {
    let registry = server.kinds.now();
    if rest.is_empty() {
        let paths = paths(&registry);
        let documents = paths.iter().map(|path| {
            let print = with_kinds(&registry, Some(path), openapi::fingerprint);
            (path.as_str(), print)
        });
        // Those of other servers are theirs, and lead there.
        let all = server.aggregator.all();
        let elsewhere: Vec<(String, String)> = Order::new(&registry, &all)
            .elsewhere()
            .filter_map(|it| {
                let print = server.aggregator.found(it).ok()?.openapi.clone();
                (!print.is_empty()).then(|| (it.path().trim_start_matches('/').to_owned(), print))
            })
            .collect();
        let elsewhere = elsewhere.iter().map(|(path, print)| (path.as_str(), print.clone()));
        let documents = documents.chain(elsewhere);
        return Ok(Answer::json(StatusCode::OK, &openapi::index(documents)));
    }
    let path = rest.join("/");
    if !paths(&registry).contains(&path) {
        return Ok(Answer::new(StatusCode::NOT_FOUND, Body::Bytes(Bytes::new())));
    }
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let is_read = Accept::of(accept, Offer::Document).is_some_and(|it| it.format == Format::Json);
    // Who wants it in protobuf reads JSON as well.
    if !is_read && !accept.contains(V3_PROTOBUF) {
        return Err(Status::not_acceptable());
    }
    let print = with_kinds(&registry, Some(&path), openapi::fingerprint);
    let asked = query.get("hash");
    if asked.is_some_and(|asked| asked != print) {
        let now = HeaderValue::from_str(&openapi::address(&path, &print));
        let mut answer = Answer::new(StatusCode::MOVED_PERMANENTLY, Body::Bytes(Bytes::new()));
        answer.headers.insert(header::LOCATION, now.map_err(Status::internal)?);
        answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(ASK_AGAIN));
        return Ok(answer.typed("application/json"));
    }
    let mut answer = tagged(headers, &format!("\"{print}\""), || {
        let bytes = with_kinds(&registry, Some(&path), openapi::document);
        Answer::new(StatusCode::OK, Body::Bytes(bytes.into())).typed("application/json")
    })?;
    let mut set = |name, value| answer.headers.insert(name, HeaderValue::from_static(value));
    if asked.is_none() {
        set(header::CACHE_CONTROL, ASK_AGAIN);
        return Ok(answer);
    }
    // The address names the content: RFC 8246.
    set(header::CACHE_CONTROL, "public, immutable");
    let until = server.world.now().checked_add(FOREVER).unwrap_or(Time::MAX);
    let until = until.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    answer
        .headers
        .insert(header::EXPIRES, HeaderValue::from_str(&until).map_err(Status::internal)?);
    Ok(answer)
}

/// The longest that anything may be kept (RFC 2616, section 14.21).
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const ASK_AGAIN: &str = "no-cache, private";
const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3";

/// A document with this tag (RFC 9110, section 8.8.3). A client that has it already is told so without making it.
fn tagged(headers: &HeaderMap, tag: &str, make: impl FnOnce() -> Answer) -> Result<Answer, Status> {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or("");
    let has_it = known.split(',').any(|it| matches!(it.trim(), "*") || it.trim() == tag);
    let mut answer = match has_it {
        true => Answer::new(StatusCode::NOT_MODIFIED, Body::Bytes(Bytes::new())),
        false => make(),
    };
    answer.headers.insert(header::ETAG, HeaderValue::from_str(tag).map_err(Status::internal)?);
    answer.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(answer)
}

/// `/openapi/v2`, in JSON or protobuf.
pub fn answer_v2(server: &Arc<Server>, headers: &HeaderMap) -> Result<Answer, Status> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let form = Form::wanted(accept).ok_or_else(Status::not_acceptable)?;
    let registry = server.kinds.now();
    let tag = format!("\"{}{form:?}\"", with_kinds(&registry, None, openapi::fingerprint));
    tagged(headers, &tag, || {
        let bytes = with_kinds(&registry, None, |kinds| openapi_v2::document(kinds, form));
        Answer::new(StatusCode::OK, Body::Bytes(bytes.into())).typed(form.media_type())
    })
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

/// Runs `make` over the kinds of one document, or of all.
fn with_kinds<T>(registry: &Registry, wanted: Option<&str>, make: impl Fn(&[KindRef]) -> T) -> T {
    let is_wanted = |kind: &&Arc<Kind>| wanted.is_none_or(|wanted| path(kind) == wanted);
    let kinds: Vec<&Arc<Kind>> = registry.kinds().iter().filter(is_wanted).collect();
    let names = |verbs: &[Verb]| verbs.iter().map(|verb| verb.name()).collect::<Vec<_>>();
    let verbs: Vec<Vec<&str>> = kinds.iter().map(|kind| names(kind.verbs)).collect();
    let below: Vec<Vec<(&kind::Subresource, Vec<&str>)>> = kinds
        .iter()
        .map(|kind| kind.subresources.iter().map(|sub| (sub, names(sub.verbs))).collect())
        .collect();
    let subresources: Vec<Vec<Subresource>> = below
        .iter()
        .map(|list| {
            let all = list.iter();
            all.map(|(sub, verbs)| Subresource { name: &sub.name, verbs, entry: entry(sub) })
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
            shows_deleted: kind.shows_deleted,
            source: source(kind),
            subresources,
        })
        .collect();
    make(&refs)
}

fn entry(sub: &kind::Subresource) -> Entry<'_> {
    match (&sub.does, sub.body) {
        (Does::Connect(Connect::Log), _) => Entry::Log,
        (Does::Connect(_), Some((_, _, options))) => Entry::Stream(options),
        (_, body) => Entry::Object(body),
    }
}

fn source(kind: &Kind) -> Source<'_> {
    match &kind.custom {
        Some(custom) => Source::Custom(&custom.schema),
        None => Source::BuiltIn(&kind.schema.name),
    }
}
