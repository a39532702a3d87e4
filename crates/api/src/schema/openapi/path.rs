//! The paths of a document: what may be asked of a kind, and with which query parameters.
//!
//! kubectl reads three things here: which path belongs to a resource, the kind that an operation is
//! about, and whether a patch takes `fieldValidation`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{KindRef, Source, definition, definition_name, reference};
use crate::schema::builtin;

const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
const RESOURCES: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// Query parameters and their JSON types.
type Parameters = &'static [(&'static str, &'static str)];

const WRITE: Parameters =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const APPLY: Parameters = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
    ("force", "boolean"),
];
const LIST: Parameters = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: Parameters = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// One operation: how HTTP, the API and an operation's name call it, and what goes in.
struct Operation {
    verb: &'static str,
    method: &'static str,
    action: &'static str,
    word: &'static str,
    parameters: Parameters,
    body: Body,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Object,
    Patch,
    Options,
}

const COLLECTION: &[Operation] = &[
    operates("list", "get", "list", "list", LIST, Body::None),
    operates("create", "post", "post", "create", WRITE, Body::Object),
    operates(
        "deletecollection",
        "delete",
        "deletecollection",
        "deleteCollection",
        LIST,
        Body::Options,
    ),
];

const ITEM: &[Operation] = &[
    operates("get", "get", "get", "read", &[], Body::None),
    operates("update", "put", "put", "replace", WRITE, Body::Object),
    operates("patch", "patch", "patch", "patch", APPLY, Body::Patch),
    operates("delete", "delete", "delete", "delete", DELETE, Body::Options),
];

/// The old paths of watches, below `/watch`.
const WATCH: &[Operation] = &[operates("watch", "get", "watch", "watch", LIST, Body::None)];
const WATCH_LIST: &[Operation] =
    &[operates("watch", "get", "watchlist", "watch", LIST, Body::None)];

const CREATE: &[Operation] = &[operates("create", "post", "post", "create", WRITE, Body::Object)];

const fn operates(
    verb: &'static str,
    method: &'static str,
    action: &'static str,
    word: &'static str,
    parameters: Parameters,
    body: Body,
) -> Operation {
    Operation { verb, method, action, word, parameters, body }
}

/// The paths of a kind; the definitions that they name are added to `needed`.
pub fn of(kind: &KindRef<'_>, needed: &mut BTreeSet<String>) -> Vec<(String, Value)> {
    let root = root(kind);
    let own = definition_name(kind);
    let mut list = format!("{own}List");
    if matches!(kind.source, Source::BuiltIn(_)) && builtin(&list).is_none() {
        list.clone_from(&own);
    }
    needed.extend([own.clone(), list.clone(), STATUS.to_string()]);
    if matches!(kind.source, Source::Custom(_)) {
        needed.extend(definition::metadata_names());
    }
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{scope}/{}", kind.plural);
    let item = format!("{collection}/{{name}}");
    let mut out = vec![
        (collection, item_of(kind, COLLECTION, kind.verbs, (&own, &list), ("", false), needed)),
        (item.clone(), item_of(kind, ITEM, kind.verbs, (&own, &own), ("", true), needed)),
    ];
    if kind.namespaced && kind.verbs.contains(&"list") {
        let all = KindRef { namespaced: false, ..*kind };
        let lists = item_of(&all, &COLLECTION[..1], kind.verbs, (&own, &list), ("", false), needed);
        out.push((format!("{root}/{}", kind.plural), lists));
    }
    for sub in kind.subresources {
        let body = sub.definition.unwrap_or(&own).to_string();
        needed.insert(body.clone());
        let (name, verbs) = (sub.name, sub.verbs);
        let mut it = item_of(kind, ITEM, verbs, (&body, &body), (name, true), needed);
        let posts = item_of(kind, CREATE, verbs, (&body, &body), (name, true), needed);
        if let Some(post) = posts.get("post") {
            it["post"] = post.clone();
        }
        out.push((format!("{item}/{name}"), it));
    }
    out.extend(watches(kind, &root, scope, needed));
    out.retain(|(_, it)| it.as_object().is_some_and(|it| it.len() > 1));
    out
}

fn root(kind: &KindRef<'_>) -> String {
    match kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    }
}

/// The path of a built-in version itself, which lists its resources. It is the same for all kinds of the version.
pub fn of_version(kind: &KindRef<'_>, needed: &mut BTreeSet<String>) -> Option<(String, Value)> {
    if !matches!(kind.source, Source::BuiltIn(_)) {
        return None;
    }
    needed.insert(RESOURCES.to_string());
    let body = content(&["application/json", "application/yaml"], RESOURCES);
    let get = json!({
        "operationId": format!("get{}{}APIResources", group_word(kind), capital(kind.version)),
        "responses": {"200": {"description": "OK", "content": body},
            "401": {"description": "Unauthorized"}},
    });
    Some((format!("{}/", root(kind)), json!({ "get": get })))
}

fn watches(
    kind: &KindRef<'_>,
    root: &str,
    scope: &str,
    needed: &mut BTreeSet<String>,
) -> Vec<(String, Value)> {
    // Custom resources have no such paths.
    if !matches!(kind.source, Source::BuiltIn(_)) || !kind.verbs.contains(&"watch") {
        return Vec::new();
    }
    needed.insert(WATCH_EVENT.to_string());
    let event = (WATCH_EVENT, WATCH_EVENT);
    let mut watch = |kind: &KindRef<'_>, operations, named| {
        item_of(kind, operations, kind.verbs, event, ("", named), needed)
    };
    let list = format!("{root}/watch{scope}/{}", kind.plural);
    let mut out = vec![
        (list.clone(), watch(kind, WATCH_LIST, false)),
        (format!("{list}/{{name}}"), watch(kind, WATCH, true)),
    ];
    if kind.namespaced {
        let all = KindRef { namespaced: false, ..*kind };
        out.push((format!("{root}/watch/{}", kind.plural), watch(&all, WATCH_LIST, false)));
    }
    out
}

fn item_of(
    kind: &KindRef<'_>,
    operations: &[Operation],
    verbs: &[&str],
    (own, answer): (&str, &str),
    (subresource, named): (&str, bool),
    needed: &mut BTreeSet<String>,
) -> Value {
    let mut parameters = Vec::new();
    let mut add = |name: &str, place: &str| {
        parameters.push(json!({
            "name": name, "in": place, "required": place == "path",
            "schema": {"type": "string", "uniqueItems": true},
        }));
    };
    if named {
        add("name", "path");
    }
    if kind.namespaced {
        add("namespace", "path");
    }
    add("pretty", "query");
    let mut out = json!({ "parameters": parameters });
    for it in operations.iter().filter(|it| verbs.contains(&it.verb)) {
        let answer = match it.action {
            "list" => answer,
            "delete" | "deletecollection" => STATUS,
            _ => own,
        };
        out[it.method] = operation(kind, it, own, answer, subresource);
        match it.body {
            Body::Patch => needed.insert(PATCH.to_string()),
            Body::Options => needed.insert(DELETE_OPTIONS.to_string()),
            Body::None | Body::Object => false,
        };
    }
    out
}

fn operation(kind: &KindRef<'_>, it: &Operation, own: &str, answer: &str, sub: &str) -> Value {
    let group = group_word(kind);
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    let many = if it.action == "watchlist" { "List" } else { "" };
    let about = format!("{}{many}{}", kind.kind, capital(sub));
    let id = format!("{}{group}{}{scope}{about}", it.word, capital(kind.version));
    let body = content(&["application/json", "application/yaml"], answer);
    let mut out = json!({
        "operationId": id,
        "responses": {"200": {"description": "OK", "content": body},
            "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": it.action,
        "x-kubernetes-group-version-kind":
            {"group": kind.group, "version": kind.version, "kind": kind.kind},
    });
    if !it.parameters.is_empty() {
        let parameters = it.parameters.iter().map(|(name, kind)| {
            json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
        });
        out["parameters"] = parameters.collect();
    }
    let strategic = matches!(kind.source, Source::BuiltIn(_));
    match it.body {
        Body::None => {}
        Body::Object => {
            out["requestBody"] = json!({"content": content(&["*/*"], own), "required": true});
        }
        Body::Options => out["requestBody"] = json!({"content": content(&["*/*"], DELETE_OPTIONS)}),
        Body::Patch => {
            let mut types = vec![
                "application/apply-patch+yaml",
                "application/json-patch+json",
                "application/merge-patch+json",
            ];
            if strategic {
                types.push("application/strategic-merge-patch+json");
            }
            out["requestBody"] = json!({"content": content(&types, PATCH), "required": true});
        }
    }
    out
}

fn group_word(kind: &KindRef<'_>) -> String {
    match kind.group.split('.').next().unwrap_or_default() {
        "" => "Core".to_string(),
        group => capital(group),
    }
}

fn content(types: &[&str], name: &str) -> Value {
    types.iter().map(|it| (it.to_string(), json!({ "schema": reference(name) }))).collect()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|it| it.to_ascii_uppercase()).into_iter().chain(chars).collect()
}
