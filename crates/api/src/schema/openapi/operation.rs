//! One operation of a path: how HTTP, the API and generated clients call it, what goes in, and what comes out.

use std::collections::BTreeSet;

use skiff_json::{Value, json};

use super::{KindRef, Source, reference};
use crate::schema::{Shape, Struct};

pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// Query parameters and their JSON types.
type Parameters = &'static [(&'static str, &'static str)];

const WRITE: Parameters =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
/// Besides [`WRITE`], of a patch.
const FORCE: Parameters = &[("force", "boolean")];
const LIST: Parameters = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
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
/// Of [`LIST`], what has no sense where objects of a collection go.
const WATCHING: [&str; 2] = ["allowWatchBookmarks", "watch"];

/// One operation.
pub(super) struct Operation {
    /// As discovery calls it.
    pub verb: &'static str,
    /// Of HTTP.
    pub method: &'static str,
    /// As `x-kubernetes-action` calls it.
    action: &'static str,
    /// As its id calls it.
    word: &'static str,
    body: Body,
    codes: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Object,
    Patch,
    Options,
}

const OK: &[&str] = &["200"];
const MADE: &[&str] = &["200", "201", "202"];
const WRITTEN: &[&str] = &["200", "201"];
const GONE: &[&str] = &["200", "202"];

const fn operates(
    verb: &'static str,
    method: &'static str,
    (action, word): (&'static str, &'static str),
    body: Body,
    codes: &'static [&'static str],
) -> Operation {
    Operation { verb, method, action, word, body, codes }
}

pub(super) const COLLECTION: &[Operation] = &[
    operates("list", "get", ("list", "list"), Body::None, OK),
    operates("create", "post", ("post", "create"), Body::Object, MADE),
    operates("deletecollection", "delete", ("deletecollection", "delete"), Body::Options, OK),
];
pub(super) const ITEM: &[Operation] = &[
    operates("get", "get", ("get", "read"), Body::None, OK),
    operates("update", "put", ("put", "replace"), Body::Object, WRITTEN),
    operates("patch", "patch", ("patch", "patch"), Body::Patch, WRITTEN),
    operates("delete", "delete", ("delete", "delete"), Body::Options, GONE),
];
/// Of an entry below an object.
pub(super) const ENTRY: &[Operation] = &[
    operates("get", "get", ("get", "read"), Body::None, OK),
    operates("create", "post", ("post", "create"), Body::Object, MADE),
    operates("update", "put", ("put", "replace"), Body::Object, WRITTEN),
    operates("patch", "patch", ("patch", "patch"), Body::Patch, WRITTEN),
];
/// Of an entry that leads elsewhere.
pub(super) const CONNECT: &[Operation] = &[
    operates("get", "get", ("connect", "connect"), Body::None, OK),
    operates("create", "post", ("connect", "connect"), Body::None, OK),
    operates("update", "put", ("connect", "connect"), Body::None, OK),
    operates("patch", "patch", ("connect", "connect"), Body::None, OK),
    operates("delete", "delete", ("connect", "connect"), Body::None, OK),
    // Who may do all of these may do those two, which discovery has no verbs for.
    operates("update", "options", ("connect", "connect"), Body::None, OK),
    operates("update", "head", ("connect", "connect"), Body::None, OK),
];
/// The old paths of watches, below `/watch`.
pub(super) const WATCH: &[Operation] =
    &[operates("watch", "get", ("watch", "watch"), Body::None, OK)];
pub(super) const WATCH_LIST: &[Operation] =
    &[operates("watch", "get", ("watchlist", "watch"), Body::None, OK)];

/// Where objects are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Cluster,
    Namespace,
    AllNamespaces,
}

/// What comes out.
#[derive(Clone, Copy)]
pub(super) enum Answer<'a> {
    /// Objects of this definition, and lists of that.
    Objects(&'a str, &'a str),
    /// A log; the options say of what.
    Text(&'a Struct),
    /// Whatever is at the other end; the options say where that is.
    Anything(&'a Struct),
}

/// A path, as far as its operations tell of it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub kind: &'a KindRef<'a>,
    /// Group, version and kind of what operations are about.
    pub about: (&'a str, &'a str, &'a str),
    pub scope: Scope,
    /// The entry below an object (`status`), or nothing.
    pub entry: &'a str,
    /// Whether a path of the other end is named as well.
    pub with_path: bool,
    pub answer: Answer<'a>,
}

impl Operation {
    /// As a document has it, with these parameters; the definitions that it names are added to `needed`.
    pub fn of(
        &self,
        place: &Place<'_>,
        parameters: Vec<Value>,
        needed: &mut BTreeSet<String>,
    ) -> Value {
        let (group, version, about) = place.about;
        let responses = self.codes.iter().map(|code| {
            let description = match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            };
            let content = self.content(place, needed);
            ((*code).to_owned(), json!({"description": description, "content": content}))
        });
        let mut responses: skiff_json::Map = responses.collect();
        if self.method == "patch" && is_custom(place) {
            responses.remove("201");
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        let mut out = json!({
            "operationId": self.id(place),
            "tags": [tag(place.kind)],
            "responses": responses,
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": about},
        });
        if !parameters.is_empty() {
            out["parameters"] = parameters.into();
        }
        if let Some(body) = self.body(place, needed) {
            out["requestBody"] = body;
        }
        out
    }

    /// What generated clients call it.
    fn id(&self, place: &Place<'_>) -> String {
        let of = format!("{}{}", group_word(place.kind.group), capital(place.kind.version));
        let scope = if place.scope == Scope::Namespace { "Namespaced" } else { "" };
        let many = if self.action == "watchlist" { "List" } else { "" };
        let about = format!("{scope}{}{many}{}", place.kind.kind, capital(place.entry));
        let all = if place.scope == Scope::AllNamespaces { "ForAllNamespaces" } else { "" };
        let with_path = if place.with_path { "WithPath" } else { "" };
        match self.action {
            "deletecollection" => format!("{}{of}Collection{about}", self.word),
            "connect" => {
                format!("{}{of}{}{about}{with_path}", self.word, capital(self.method))
            }
            _ => format!("{}{of}{about}{all}", self.word),
        }
    }

    fn content(&self, place: &Place<'_>, needed: &mut BTreeSet<String>) -> Value {
        let text = json!({"type": "string"});
        let (own, list) = match place.answer {
            Answer::Objects(own, list) => (own, list),
            Answer::Text(_) => return content(&["text/plain", JSON, PROTOBUF, YAML], &text),
            Answer::Anything(_) => return content(&["*/*"], &text),
        };
        let of = match self.action {
            "list" => list,
            "delete" if place.kind.shows_deleted => own,
            "delete" | "deletecollection" => STATUS,
            _ => own,
        };
        needed.insert(of.to_owned());
        let types: &[&str] = match self.action {
            _ if is_custom(place) => &[JSON, YAML],
            "list" | "watch" | "watchlist" => {
                const JSON_WATCH: &str = "application/json;stream=watch";
                const PROTOBUF_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";
                &[JSON, JSON_WATCH, PROTOBUF, PROTOBUF_WATCH, YAML]
            }
            _ => ALL,
        };
        content(types, &reference(of))
    }

    /// What it takes in its query, by name.
    pub fn parameters(&self, place: &Place<'_>) -> Vec<Value> {
        if let Answer::Anything(options) | Answer::Text(options) = place.answer {
            return of_options(options);
        }
        let all: &[Parameters] = match (self.action, self.body) {
            ("list" | "watch" | "watchlist", _) => &[LIST],
            // Upstream says so of custom resources; they take the others as well.
            ("deletecollection", _) if is_custom(place) => &[LIST],
            ("deletecollection", _) => &[DELETE, LIST],
            ("get", _) if is_custom(place) => &[&[("resourceVersion", "string")]],
            (_, Body::Options) => &[DELETE],
            (_, Body::Patch) => &[WRITE, FORCE],
            (_, Body::Object) => &[WRITE],
            (_, Body::None) => &[],
        };
        let goes = self.action == "deletecollection" && !is_custom(place);
        let mut all: Vec<_> = all.iter().copied().flatten().collect();
        all.retain(|(name, _)| !goes || !WATCHING.contains(name));
        all.sort();
        all.into_iter().map(|(name, type_)| parameter(name, "query", type_)).collect()
    }

    fn body(&self, place: &Place<'_>, needed: &mut BTreeSet<String>) -> Option<Value> {
        let Answer::Objects(own, _) = place.answer else { return None };
        let is_custom = is_custom(place);
        let whole: &[&str] = if is_custom { &[JSON, YAML] } else { &["*/*"] };
        let patches = [
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
        ];
        let (types, of, required) = match self.body {
            Body::None => return None,
            Body::Options if is_custom && self.action == "deletecollection" => return None,
            Body::Object => (whole, own, true),
            Body::Options => (whole, DELETE_OPTIONS, false),
            Body::Patch => (if is_custom { &patches[..3] } else { &patches[..] }, PATCH, true),
        };
        needed.insert(of.to_owned());
        let mut body = json!({"content": content(types, &reference(of))});
        if required {
            body["required"] = true.into();
        }
        Some(body)
    }
}

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const YAML: &str = "application/yaml";
/// What objects of built-in kinds are written in.
pub(super) const ALL: &[&str] = &[JSON, PROTOBUF, YAML];

fn is_custom(place: &Place<'_>) -> bool {
    matches!(place.kind.source, Source::Custom(_))
}

pub(super) fn parameter(name: &str, place: &str, type_: &str) -> Value {
    let mut it = json!({"name": name, "in": place, "schema": {"type": type_, "uniqueItems": true}});
    if place == "path" {
        it["required"] = true.into();
    }
    it
}

/// The options of a connection or a log, as parameters; upstream leaves times out.
fn of_options(options: &Struct) -> Vec<Value> {
    let one = |shape: &Shape| match shape {
        Shape::Bool => Some("boolean"),
        Shape::Int32 | Shape::Int64 => Some("integer"),
        Shape::String => Some("string"),
        _ => None,
    };
    let fields = options.fields.iter().filter(|it| !matches!(&*it.name, "apiVersion" | "kind"));
    let shown = fields.filter_map(|it| {
        let type_ = match &it.node.shape {
            Shape::List(element) => one(&element.shape),
            shape => one(shape),
        };
        type_.map(|type_| parameter(&it.name, "query", type_))
    });
    shown.collect()
}

pub(super) fn content(types: &[&str], schema: &Value) -> Value {
    types.iter().map(|it| ((*it).to_owned(), json!({ "schema": schema }))).collect()
}

/// A group as it stands in ids: `RbacAuthorization`.
pub(super) fn group_word(group: &str) -> String {
    match group {
        "" => "Core".to_owned(),
        group => {
            let parts = group.trim_end_matches(".k8s.io").split(|it: char| !it.is_alphanumeric());
            parts.map(capital).collect()
        }
    }
}

/// Under what documents list the operations of a kind: `rbacAuthorization_v1`.
pub(super) fn tag(kind: &KindRef<'_>) -> String {
    format!("{}_{}", group_tag(kind.group), kind.version)
}

pub(super) fn group_tag(group: &str) -> String {
    let word = group_word(group);
    let mut chars = word.chars();
    chars.next().map(|it| it.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|it| it.to_ascii_uppercase()).into_iter().chain(chars).collect()
}
