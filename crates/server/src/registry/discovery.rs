//! Discovery: which groups, versions and resources there are, read off the registry, plain and aggregated
//! (API concepts page "Aggregated Discovery"; KEP-3352).

use crate::Server;
use crate::aggregate::Order;
use crate::render;
use crate::render::accept::{Accept, Format, Offer};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use skiff_api::Status;
use skiff_api::kind::{Kind, Subresource, Verb, api_version};
use skiff_api::registry::Registry;
use skiff_api::wire::{Answer, Body};
use skiff_json::{Map, Value, json};
use std::sync::Arc;

/// `/api`, `/apis`, a group, or a group's version, in the form that the caller can read.
pub fn answer(server: &Arc<Server>, headers: &HeaderMap, parts: &[&str]) -> Result<Answer, Status> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let asked = match parts {
        ["api"] | ["apis"] => {
            Accept::of(accept, Offer::Document).ok_or_else(Status::not_acceptable)
        }
        _ => Accept::of_document(accept),
    };
    match (parts, Accept::of(accept, Offer::Discovery)) {
        (["api"], Some(Accept { format, .. })) => {
            aggregate(server, headers, format, |group| group.is_empty())
        }
        (["apis"], Some(Accept { format, .. })) => {
            aggregate(server, headers, format, |group| !group.is_empty())
        }
        // What is not there is not there in any form.
        _ => match plain(server, parts)? {
            answer if answer.status == StatusCode::OK => render::document(answer, asked?.format),
            nothing => Ok(nothing),
        },
    }
}

/// The aggregated document; a client that has it already is told so.
fn aggregate(
    server: &Arc<Server>,
    headers: &HeaderMap,
    format: Format,
    wanted: impl Fn(&str) -> bool,
) -> Result<Answer, Status> {
    let media = match format {
        Format::Json => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Format::Yaml => "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Format::Protobuf => {
            "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        }
    };
    let document = whole(server, wanted);
    let Body::Bytes(json) = &document.body else { return Ok(document) };
    let digest = ring::digest::digest(&ring::digest::SHA256, json);
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let tag = format!("\"{digits}\"");
    let has_it =
        headers.get(header::IF_NONE_MATCH).is_some_and(|it| it.as_bytes() == tag.as_bytes());
    let mut answer = match has_it {
        true => Answer::new(StatusCode::NOT_MODIFIED, Body::Bytes(Bytes::new())),
        false => render::document(document, format)?.typed(media),
    };
    let tag = HeaderValue::from_str(&tag).map_err(Status::internal)?;
    answer.headers.insert(header::ETAG, tag);
    answer.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(answer)
}

fn plain(server: &Arc<Server>, parts: &[&str]) -> Result<Answer, Status> {
    let (registry, all) = (server.kinds.now(), server.aggregator.all());
    let order = Order::new(&registry, &all);
    match parts {
        ["api"] => Ok(Answer::json(
            StatusCode::OK,
            &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs":
                    [{"clientCIDR": "0.0.0.0/0", "serverAddress": server.address}]}),
        )),
        ["apis"] => {
            let groups: Vec<Value> = order
                .groups()
                .into_iter()
                .filter(|group| !group.is_empty())
                .map(|group| group_entry(&order, group))
                .collect();
            Ok(document("APIGroupList", json!({"groups": groups})))
        }
        ["apis", group] if order.groups().contains(group) => {
            Ok(document("APIGroup", group_entry(&order, group)))
        }
        ["api", version] => resources(server, &registry, "", version),
        ["apis", group, version] => resources(server, &registry, group, version),
        ["apis", group] => nothing(server, group),
        _ => Err(Status::no_such_path()),
    }
}

/// The answer where nothing is served. Groups of custom resources are there only as far as their kinds are, so no
/// Status tells of them.
pub fn nothing(server: &Server, group: &str) -> Result<Answer, Status> {
    let kinds = server.kinds.now();
    match kinds.kinds().iter().any(|kind| kind.group == group && kind.manner.lasting_group) {
        true => Err(Status::no_such_path()),
        false => Ok(crate::paths::nothing()),
    }
}

/// All discovery paths and the others that stand alone, for `GET /`.
pub fn paths(server: &Server) -> Vec<String> {
    let (registry, all) = (server.kinds.now(), server.aggregator.all());
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(String::from)
    .into();
    for kind in registry.kinds() {
        if !kind.group.is_empty() {
            paths.push(format!("/apis/{}", kind.group));
        }
        let root = if kind.group.is_empty() { "/api" } else { "/apis" };
        paths.push(format!("{root}/{}", kind.api_version()));
    }
    for it in Order::new(&registry, &all).elsewhere() {
        paths.extend([format!("/apis/{}", it.group), it.path()]);
    }
    paths.sort();
    paths.dedup();
    paths
}

fn group_entry(order: &Order<'_>, group: &str) -> Value {
    let versions: Vec<Value> = order
        .versions(group)
        .into_iter()
        .map(|version| json!({"groupVersion": api_version(group, version), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions[0], "versions": versions})
}

fn document(kind: &str, mut body: Value) -> Answer {
    body["kind"] = kind.into();
    body["apiVersion"] = "v1".into();
    sorted_answer(&body)
}

/// A document of discovery, its fields in the order of the API reference.
fn sorted_answer(body: &Value) -> Answer {
    let text = skiff_api::json::ordered(body, order);
    Answer::new(StatusCode::OK, Body::Bytes(text.into())).typed("application/json")
}

fn order(map: &Map) -> &'static [&'static str] {
    match (map.contains_key("singularName"), map.contains_key("responseKind")) {
        (true, _) => &[
            "name",
            "singularName",
            "namespaced",
            "group",
            "version",
            "kind",
            "verbs",
            "shortNames",
            "categories",
        ],
        (_, true) => &[
            "resource",
            "subresource",
            "responseKind",
            "scope",
            "singularResource",
            "verbs",
            "shortNames",
            "categories",
        ],
        _ if map.len() == 3 && map.contains_key("group") => &["group", "version", "kind"],
        _ => &[
            "kind",
            "apiVersion",
            "metadata",
            "name",
            "group",
            "groupVersion",
            "version",
            "versions",
            "preferredVersion",
            "resources",
            "freshness",
        ],
    }
}

/// The kinds of one version, in the order of their plural names.
fn sorted<'a>(registry: &'a Registry, group: &str, version: &str) -> Vec<&'a Arc<Kind>> {
    let mut kinds: Vec<&Arc<Kind>> =
        registry.kinds().iter().filter(|k| k.group == group && k.version == version).collect();
    kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
    kinds
}

fn resources(
    server: &Server,
    registry: &Registry,
    group: &str,
    version: &str,
) -> Result<Answer, Status> {
    let kinds = sorted(registry, group, version);
    if kinds.is_empty() {
        return nothing(server, group);
    }
    let mut list = Vec::new();
    for kind in kinds {
        let mut entry = json!({"name": kind.plural, "singularName": kind.singular,
            "namespaced": kind.namespaced(), "kind": kind.kind, "verbs": verbs(kind.verbs)});
        add_names(&mut entry, kind);
        if kind.backend == skiff_api::kind::Backend::Stored {
            entry["storageVersionHash"] = storage_hash(registry, kind).into();
        }
        if !kind.verbs.is_empty() {
            list.push(entry);
        }
        let mut subresources: Vec<&Subresource> = kind.subresources.iter().collect();
        subresources.sort_by(|a, b| a.name.cmp(&b.name));
        for sub in subresources {
            let mut entry = json!({"name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
                "namespaced": kind.namespaced(), "kind": kind.kind, "verbs": verbs(sub.verbs)});
            if let Some((group, version, body)) = sub.body {
                entry["kind"] = body.into();
                if (group, version) != (&*kind.group, &*kind.version) {
                    entry["group"] = group.into();
                    entry["version"] = version.into();
                }
            }
            list.push(entry);
        }
    }
    let mut body = json!({"kind": "APIResourceList", "groupVersion": api_version(group, version),
                          "resources": list});
    // The list of the first group is older than the field.
    if !group.is_empty() {
        body["apiVersion"] = "v1".into();
    }
    Ok(sorted_answer(&body))
}

fn verbs(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.name()).collect()
}

fn add_names(entry: &mut Value, kind: &Kind) {
    if !kind.short.is_empty() {
        entry["shortNames"] = json!(kind.short);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
}

/// A tag of the version that is stored, so that clients notice when it changes.
fn storage_hash(registry: &Registry, kind: &Kind) -> String {
    use base64::Engine;
    // The face whose objects are stored as they are.
    let is_stored = |it: &&Arc<Kind>| it.storage == kind.storage && it.convert.is_none();
    let kind = registry.kinds().iter().find(is_stored).map_or(kind, |it| &**it);
    let version = kind.hashed_version.unwrap_or(&kind.version);
    let text = format!("{}/{version}/{}", kind.group, kind.kind);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest.as_ref()[..8])
}

/// The aggregated document of all groups that `wanted` takes. Of what another server serves and does not tell at the
/// moment, nothing but its name is shown, as stale.
fn whole(server: &Server, wanted: impl Fn(&str) -> bool) -> Answer {
    let (registry, all) = (server.kinds.now(), server.aggregator.all());
    let order = Order::new(&registry, &all);
    let version = |group: &str, version: &str| match order.remote(group, version) {
        Some(remote) => match server.aggregator.found(remote) {
            Ok(found) => {
                json!({"version": version, "resources": found.shown, "freshness": "Current"})
            }
            Err(_) => json!({"version": version, "freshness": "Stale"}),
        },
        None => {
            let kinds = sorted(&registry, group, version).into_iter();
            let resources: Vec<Value> = kinds.map(|kind| aggregated(kind)).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        }
    };
    let items: Vec<Value> = order
        .groups()
        .into_iter()
        .filter(|group| wanted(group))
        .map(|group| {
            let versions: Vec<Value> =
                order.versions(group).into_iter().map(|it| version(group, it)).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let body = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
                      "metadata": {}, "items": items});
    sorted_answer(&body)
}

fn aggregated(kind: &Kind) -> Value {
    let gvk = |group: &str, version: &str, name: &str| {
        let is_own = !kind.manner.full_names && (group, version) == (&*kind.group, &*kind.version);
        let (group, version) = if is_own { ("", "") } else { (group, version) };
        json!({"group": group, "version": version, "kind": name})
    };
    let own = gvk(&kind.group, &kind.version, &kind.kind);
    let mut subresources: Vec<&Subresource> = kind.subresources.iter().collect();
    subresources.sort_by(|a, b| a.name.cmp(&b.name));
    let subs: Vec<Value> = subresources
        .into_iter()
        .map(|sub| {
            let response = match sub.body {
                Some((group, version, body)) => gvk(group, version, body),
                None => own.clone(),
            };
            json!({"subresource": sub.name, "responseKind": response, "verbs": verbs(sub.verbs)})
        })
        .collect();
    let scope = if kind.namespaced() { "Namespaced" } else { "Cluster" };
    let mut entry = json!({"resource": kind.plural, "responseKind": own, "scope": scope,
        "singularResource": kind.singular, "verbs": verbs(kind.verbs)});
    add_names(&mut entry, kind);
    if !subs.is_empty() {
        entry["subresources"] = subs.into();
    }
    entry
}
