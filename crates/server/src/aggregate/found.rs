//! Found: what an aggregated server says that it serves, read from its discovery (API reference: APIResourceList).
//! Pure.
//!
//! Whoever wrote it is trusted with its own group only: a document about anything else is none.

use skiff_api::json;
use skiff_api::kind::Verb;
use skiff_api::names;
use skiff_api::object::text;
use skiff_api::registry::RemoteResource;
use skiff_json::{Map, Value, json};
use std::collections::HashMap;

/// A document of discovery: servers of metrics name each metric in one, with some hundred bytes.
pub const DOCUMENT_MOST: usize = 4 << 20;
/// Resources, and parts of some, of one version of a group: metrics come in thousands.
const RESOURCES_MOST: usize = 16_384;

const NAME_MOST: usize = 253;

/// What a server serves of one version of a group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// As aggregated discovery shows it (APIResourceDiscovery).
    pub shown: Vec<Value>,
    /// What of it are resources, and no parts of some.
    pub resources: Vec<RemoteResource>,
    /// The end of the address of its OpenAPI document, which changes with it; empty where it has none.
    pub openapi: String,
}

/// Reads the document at `/apis/GROUP/VERSION`.
///
/// # Errors
/// Why it is not believed.
pub fn read(document: &[u8], group_version: &str) -> Result<Found, String> {
    let parsed = json::parse(document).map_err(|error| format!("it is no JSON: {error}"))?;
    let document = parsed.value;
    if text(&document, "kind") != "APIResourceList" {
        return Err(format!("it is no APIResourceList, but {:?}", text(&document, "kind")));
    }
    let said = text(&document, "groupVersion");
    if said != group_version {
        return Err(format!("it is about {said:?}, and not about {group_version:?}"));
    }
    let list = document.get("resources").and_then(Value::as_array).map_or(&[][..], |it| it);
    if list.len() > RESOURCES_MOST {
        return Err(format!("it names more than {RESOURCES_MOST} resources"));
    }
    let (mut found, mut places) = (Found::default(), HashMap::new());
    for it in list.iter().filter(|it| !text(it, "name").contains('/')) {
        let resource = resource(it)?;
        if places.insert(text(it, "name"), found.shown.len()).is_some() {
            return Err(format!("it names {:?} twice", resource.plural));
        }
        found.shown.push(shown(it, &resource));
        found.resources.push(resource);
    }
    for it in list {
        let Some((parent, part)) = text(it, "name").split_once('/') else { continue };
        let at = *places.entry(parent).or_insert(found.shown.len());
        add_part(&mut found, at, it, (parent, part))?;
    }
    Ok(found)
}

fn resource(it: &Value) -> Result<RemoteResource, String> {
    let (plural, kind) = (text(it, "name"), text(it, "kind"));
    named(plural)?;
    if kind.is_empty() || !kind.bytes().all(|it| it.is_ascii_alphanumeric()) {
        return Err(format!("{kind:?} is no kind"));
    }
    let verbs = strings(it, "verbs");
    let known = |name: &Value| Verb::ALL.iter().copied().find(|verb| name == verb.name());
    Ok(RemoteResource {
        plural: plural.to_owned().into(),
        kind: kind.to_owned().into(),
        namespaced: it["namespaced"] == true,
        verbs: verbs.iter().filter_map(known).collect(),
    })
}

/// Names are parts of paths. Those of metrics hold more than those of other resources.
fn named(name: &str) -> Result<(), String> {
    let fine = (1..=NAME_MOST).contains(&name.len())
        && name.bytes().all(|it| it.is_ascii_graphic())
        && names::segment(name).is_empty();
    if fine { Ok(()) } else { Err(format!("{name:?} is no name of a resource")) }
}

fn strings(it: &Value, field: &str) -> Vec<Value> {
    let all = it.get(field).and_then(Value::as_array).into_iter().flatten();
    all.filter(|it| it.is_string()).cloned().collect()
}

fn response_kind(it: &Value) -> Value {
    json!({"group": text(it, "group"), "version": text(it, "version"), "kind": text(it, "kind")})
}

fn shown(it: &Value, resource: &RemoteResource) -> Value {
    let mut shown = Map::new();
    shown.insert("resource".into(), json!(resource.plural));
    shown.insert("responseKind".into(), response_kind(it));
    shown.insert("scope".into(), scope(resource.namespaced).into());
    shown.insert("singularResource".into(), text(it, "singularName").into());
    shown.insert("verbs".into(), strings(it, "verbs").into());
    for field in ["shortNames", "categories"] {
        let names = strings(it, field);
        if !names.is_empty() {
            shown.insert(field.into(), names.into());
        }
    }
    Value::Object(shown)
}

fn scope(namespaced: bool) -> &'static str {
    if namespaced { "Namespaced" } else { "Cluster" }
}

/// A part without the resource that it is of makes one that nothing can be done with.
fn add_part(
    found: &mut Found,
    at: usize,
    it: &Value,
    (parent, part): (&str, &str),
) -> Result<(), String> {
    named(parent)?;
    named(part)?;
    let namespaced = it["namespaced"] == true;
    if at == found.shown.len() {
        found.shown.push(json!({"resource": parent, "responseKind": response_kind(&Value::Null),
            "scope": scope(namespaced), "singularResource": "", "verbs": []}));
    }
    let of = &mut found.shown[at];
    if of["scope"] != scope(namespaced) {
        return Err(format!("{parent} and its part {part} do not lie in the same place"));
    }
    let entry = json!({"subresource": part, "responseKind": response_kind(it), "verbs": strings(it, "verbs")});
    match &mut of["subresources"] {
        Value::Array(parts) => parts.push(entry),
        none => *none = json!([entry]),
    }
    Ok(())
}

/// The end of the address of a version's document in the index at `/openapi/v3`, where it says one that can be shown.
pub fn openapi(index: &[u8], path: &str) -> String {
    let Ok(parsed) = json::parse(index) else { return String::new() };
    let url = parsed.value["paths"][path.trim_start_matches('/')]["serverRelativeURL"].as_str();
    let hash = url.and_then(|it| it.split_once("hash=")).map_or("", |(_, hash)| hash);
    let fine = |hash: &str| hash.len() <= 256 && hash.bytes().all(|it| it.is_ascii_alphanumeric());
    match url {
        // It has a document, and does not say when that changes.
        Some(_) if hash.is_empty() || !fine(hash) => "0".into(),
        Some(_) => hash.into(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_document_is_shown_as_aggregated_discovery_has_it() {
        let document = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "x.io/v1", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "shortNames": ["fl"],
             "verbs": ["create", "get", "juggle"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
            {"name": "lone/part", "singularName": "", "namespaced": false, "kind": "Scale", "group": "autoscaling",
             "version": "v1", "verbs": ["get"]}]});
        let found = read(document.to_string().as_bytes(), "x.io/v1").expect("it is one");
        let shown: Vec<String> = found.shown.iter().map(Value::to_string).collect();
        expect![[r#"
            {"resource":"flunders","responseKind":{"group":"","kind":"Flunder","version":""},"scope":"Namespaced","shortNames":["fl"],"singularResource":"flunder","subresources":[{"responseKind":{"group":"","kind":"Flunder","version":""},"subresource":"status","verbs":["get"]}],"verbs":["create","get","juggle"]}
            {"resource":"lone","responseKind":{"group":"","kind":"","version":""},"scope":"Cluster","singularResource":"","subresources":[{"responseKind":{"group":"autoscaling","kind":"Scale","version":"v1"},"subresource":"part","verbs":["get"]}],"verbs":[]}"#]].assert_eq(&shown.join("\n"));
        assert_eq!(found.resources[0].verbs, [Verb::Create, Verb::Get]);
    }

    #[test]
    fn what_is_no_document_of_the_group_is_not_believed() {
        let mut out = String::new();
        let list = |group_version: &str, resources: Value| {
            let head = json!({"kind": "APIResourceList", "groupVersion": group_version});
            let mut list = head;
            list["resources"] = resources;
            list.to_string()
        };
        let one = |name: &str, kind: &str| json!({"name": name, "kind": kind, "namespaced": true, "verbs": []});
        let many: Vec<_> = (0..=RESOURCES_MOST).map(|at| one(&format!("a{at}"), "A")).collect();
        for document in [
            "<html>".into(),
            "[]".into(),
            json!({"kind": "APIGroup"}).to_string(),
            list("apps/v1", json!([])),
            list("x.io/v1", json!([one("../pods", "A")])),
            list("x.io/v1", json!([one("a/b/c", "A")])),
            list("x.io/v1", json!([one("b", "")])),
            list("x.io/v1", json!([one("", "A")])),
            list("x.io/v1", json!([one("a", "A"), one("a", "A")])),
            list(
                "x.io/v1",
                json!([one("a", "A"), {"name": "a/b", "kind": "A", "namespaced": false}]),
            ),
            list("x.io/v1", Value::from(many)),
        ] {
            out += &read(document.as_bytes(), "x.io/v1").expect_err("it is none");
            out.push('\n');
        }
        expect![[r#"
            it is no JSON: invalid character '<' looking for beginning of value
            it is no APIResourceList, but ""
            it is no APIResourceList, but "APIGroup"
            it is about "apps/v1", and not about "x.io/v1"
            ".." is no name of a resource
            "b/c" is no name of a resource
            "" is no kind
            "" is no name of a resource
            it names "a" twice
            a and its part b do not lie in the same place
            it names more than 16384 resources
        "#]]
        .assert_eq(&out);
    }

    #[test]
    fn metrics_have_names_of_their_own() {
        let list = json!({"kind": "APIResourceList", "groupVersion": "custom.metrics.k8s.io/v1beta1", "resources": [
            {"name": "jobs.batch/queue_length", "namespaced": true, "kind": "MetricValueList", "verbs": ["get"]},
            {"name": "jobs.batch/http:rate", "namespaced": true, "kind": "MetricValueList", "verbs": ["get"]}]});
        let found = read(list.to_string().as_bytes(), "custom.metrics.k8s.io/v1beta1");
        let found = found.expect("it is one");
        assert_eq!(found.shown.len(), 1);
        assert_eq!(found.shown[0]["subresources"].as_array().map(Vec::len), Some(2));
        assert!(found.resources.is_empty());
    }

    #[test]
    fn addresses_of_documents_are_taken_as_far_as_they_are_harmless() {
        let of = |url: &str| {
            let index = json!({"paths": {"apis/x.io/v1": {"serverRelativeURL": url}}});
            openapi(index.to_string().as_bytes(), "/apis/x.io/v1")
        };
        assert_eq!(of("/openapi/v3/apis/x.io/v1?hash=ABC123"), "ABC123");
        assert_eq!(of("/openapi/v3/apis/x.io/v1?hash=\"><script>"), "0");
        assert_eq!(of("/openapi/v3/apis/x.io/v1"), "0");
        assert_eq!(openapi(b"{}", "/apis/x.io/v1"), "");
    }
}
