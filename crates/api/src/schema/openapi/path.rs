//! The paths of a document: what may be asked of a kind, and with which query parameters.
//!
//! kubectl reads three things here: which path belongs to a resource, the kind that an operation is
//! about, and whether a patch takes `fieldValidation`. Clients are generated out of the rest.

use std::collections::BTreeSet;

use skiff_json::{Value, json};

use super::operation::{
    self, ALL, Answer, COLLECTION, CONNECT, ENTRY, ITEM, Operation, Place, STATUS, Scope, WATCH,
    WATCH_LIST, content, group_tag, group_word, parameter,
};
use super::{Entry, KindRef, Source, Subresource, definition, definition_name, reference};
use crate::schema::{Struct, builtin, gvk};

const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The paths of a kind; the definitions that they name are added to `needed`.
pub fn of(kind: &KindRef<'_>, needed: &mut BTreeSet<String>) -> Vec<(String, Value)> {
    let root = root(kind);
    let own = definition_name(kind);
    let mut list = format!("{own}List");
    if matches!(kind.source, Source::BuiltIn(_)) && builtin(&list).is_none() {
        list.clone_from(&own);
    }
    needed.insert(own.clone());
    if kind.verbs.contains(&"list") {
        needed.insert(list.clone());
    }
    if matches!(kind.source, Source::Custom(_)) {
        needed.extend(definition::metadata_names());
        needed.insert(STATUS.to_owned());
    }
    let (scope, within) = match kind.namespaced {
        true => (Scope::Namespace, "/namespaces/{namespace}"),
        false => (Scope::Cluster, ""),
    };
    let place = Place {
        kind,
        about: (kind.group, kind.version, kind.kind),
        scope,
        entry: "",
        with_path: false,
        answer: Answer::Objects(&own, &list),
    };
    let collection = format!("{root}{within}/{}", kind.plural);
    let item = format!("{collection}/{{name}}");
    let mut out = vec![
        (collection, path(&place, &[], COLLECTION, kind.verbs, needed)),
        (item.clone(), path(&place, &["name"], ITEM, kind.verbs, needed)),
    ];
    if kind.namespaced {
        let all = Place { scope: Scope::AllNamespaces, ..place };
        let lists = path(&all, &[], &COLLECTION[..1], kind.verbs, needed);
        out.push((format!("{root}/{}", kind.plural), lists));
    }
    for sub in kind.subresources {
        out.extend(entry(&place, &item, sub, needed));
    }
    // Custom resources have no such paths.
    if matches!(kind.source, Source::BuiltIn(_)) && kind.verbs.contains(&"watch") {
        let events = Place { answer: Answer::Objects(WATCH_EVENT, WATCH_EVENT), ..place };
        let list = format!("{root}/watch{within}/{}", kind.plural);
        let one = path(&events, &["name"], WATCH, kind.verbs, needed);
        out.push((format!("{list}/{{name}}"), one));
        out.push((list, path(&events, &[], WATCH_LIST, kind.verbs, needed)));
        if kind.namespaced {
            let all = Place { scope: Scope::AllNamespaces, ..events };
            let lists = path(&all, &[], WATCH_LIST, kind.verbs, needed);
            out.push((format!("{root}/watch/{}", kind.plural), lists));
        }
    }
    out.retain(|(_, it)| it.as_object().is_some_and(|it| it.len() > 1));
    out
}

/// The paths of an entry below an object.
fn entry(
    parent: &Place<'_>,
    item: &str,
    sub: &Subresource<'_>,
    needed: &mut BTreeSet<String>,
) -> Vec<(String, Value)> {
    let name = format!("{item}/{}", sub.name);
    let place = Place { entry: sub.name, ..*parent };
    let is_custom = matches!(parent.kind.source, Source::Custom(_));
    match sub.entry {
        Entry::Object(body) => {
            let definition = body.and_then(|(group, version, kind)| gvk(group, version, kind));
            let place = match (&definition, body) {
                (Some(of), Some(about)) => Place {
                    answer: Answer::Objects(&of.name, &of.name),
                    about: if is_custom { place.about } else { about },
                    ..place
                },
                _ => place,
            };
            vec![(name, path(&place, &["name"], ENTRY, sub.verbs, needed))]
        }
        Entry::Log => {
            let Some(options) = options_of("PodLogOptions") else { return Vec::new() };
            let place = Place { answer: Answer::Text(options), ..place };
            vec![(name, path(&place, &["name"], ENTRY, sub.verbs, needed))]
        }
        Entry::Stream(options) => {
            let Some(of) = options_of(options) else { return Vec::new() };
            let about = ("", "v1", options);
            let place = Place { answer: Answer::Anything(of), about, ..place };
            let mut out = vec![(name.clone(), path(&place, &["name"], CONNECT, sub.verbs, needed))];
            // What stands behind a proxy has paths of its own.
            if sub.verbs.contains(&"update") {
                let place = Place { with_path: true, ..place };
                let below = path(&place, &["name", "path"], CONNECT, sub.verbs, needed);
                out.push((format!("{name}/{{path}}"), below));
            }
            out
        }
    }
}

/// A path with those of these operations that are served there. What all of them take stands at the path.
fn path(
    place: &Place<'_>,
    named: &[&str],
    operations: &[Operation],
    verbs: &[&str],
    needed: &mut BTreeSet<String>,
) -> Value {
    let mut shared: Vec<Value> =
        named.iter().map(|name| parameter(name, "path", "string")).collect();
    if place.scope == Scope::Namespace {
        shared.push(parameter("namespace", "path", "string"));
    }
    if !matches!(place.answer, Answer::Anything(_)) {
        shared.push(parameter("pretty", "query", "string"));
    }
    let served: Vec<(&Operation, Vec<Value>)> = operations
        .iter()
        .filter(|it| verbs.contains(&it.verb))
        .map(|it| (it, it.parameters(place)))
        .collect();
    let mut common = served.first().map(|(_, first)| first.clone()).unwrap_or_default();
    common.retain(|it| served.iter().all(|(_, other)| other.contains(it)));
    let mut out = json!({});
    for (operation, mut own) in served {
        own.retain(|it| !common.contains(it));
        out[operation.method] = operation.of(place, own, needed);
    }
    shared.extend(common);
    shared.sort_by_key(by_name);
    if !shared.is_empty() {
        out["parameters"] = shared.into();
    }
    out
}

/// The definition of the options of a connection or a log.
fn options_of(kind: &str) -> Option<&'static Struct> {
    builtin(&format!("io.k8s.api.core.v1.{kind}"))
}

fn by_name(parameter: &Value) -> (String, String) {
    let text = |key: &str| parameter[key].as_str().unwrap_or_default().to_owned();
    (text("name"), text("in"))
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
    let word = format!("{}{}", group_word(kind.group), operation::capital(kind.version));
    let id = format!("get{word}APIResources");
    let path = lookup(&id, &operation::tag(kind), "APIResourceList", needed);
    Some((format!("{}/", root(kind)), path))
}

/// The path of a built-in group, which tells its versions; the core group has none.
pub fn of_group(kind: &KindRef<'_>, needed: &mut BTreeSet<String>) -> Option<(String, Value)> {
    if !matches!(kind.source, Source::BuiltIn(_)) || kind.group.is_empty() {
        return None;
    }
    let id = format!("get{}APIGroup", group_word(kind.group));
    let path = lookup(&id, &group_tag(kind.group), "APIGroup", needed);
    Some((format!("/apis/{}/", kind.group), path))
}

fn lookup(id: &str, tag: &str, answer: &str, needed: &mut BTreeSet<String>) -> Value {
    let answer = format!("{META}.{answer}");
    let body = content(ALL, &reference(&answer));
    needed.insert(answer);
    json!({"get": {
        "operationId": id,
        "tags": [tag],
        "responses": {"200": {"description": "OK", "content": body},
            "401": {"description": "Unauthorized"}},
    }})
}
