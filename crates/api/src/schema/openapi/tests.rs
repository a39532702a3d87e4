//! Documents are whole: every reference leads somewhere, and kubectl finds what it looks for.

use super::*;
use crate::schema::discovery::{GROUPS, RESOURCES};
use crate::schema::gvk;

const VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

fn kind<'a>(group: &'a str, version: &'a str, kind: &'a str, plural: &'a str) -> KindRef<'a> {
    let definition = gvk(group, version, kind).expect("a kind").name.as_ref();
    KindRef {
        group,
        version,
        kind,
        plural,
        namespaced: true,
        verbs: VERBS,
        source: Source::BuiltIn(definition),
        shows_deleted: false,
        subresources: &[Subresource {
            name: "status",
            verbs: &["get", "patch"],
            entry: Entry::Object(None),
        }],
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                found.insert(name.trim_start_matches("#/components/schemas/").to_string());
            }
            map.values().for_each(|it| references(it, found));
        }
        Value::Array(items) => items.iter().for_each(|it| references(it, found)),
        _ => {}
    }
}

#[test]
fn every_document_of_upstreams_kinds_is_closed() {
    for group in GROUPS {
        for version in group.versions {
            let kinds: Vec<KindRef<'_>> = RESOURCES
                .iter()
                .filter(|it| it.group == group.name && it.version == *version)
                .filter(|it| !it.name.contains('/'))
                .map(|it| KindRef {
                    namespaced: it.namespaced,
                    verbs: it.verbs,
                    ..kind(it.group, it.version, it.kind, it.name)
                })
                .collect();
            let document: Value = skiff_json::from_slice(&document(&kinds)).expect("JSON");
            let schemas = document["components"]["schemas"].as_object().expect("an object");
            let mut found = BTreeSet::new();
            references(&document, &mut found);
            for name in &found {
                assert!(schemas.contains_key(name), "{} {version}: {name}", group.name);
            }
            assert!(schemas.values().all(Value::is_object));
        }
    }
}

#[test]
fn kubectl_finds_what_it_reads() {
    let document: Value =
        skiff_json::from_slice(&document(&[kind("apps", "v1", "Deployment", "deployments")]))
            .expect("JSON");
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let names: Vec<&Value> =
        patch["parameters"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert!(names.contains(&&json!("fieldValidation")));
    let gvk = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    assert_eq!(patch["x-kubernetes-group-version-kind"], gvk);
    let it = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(it["x-kubernetes-group-version-kind"], json!([gvk]));
    assert!(it["properties"]["spec"]["description"].is_string());
    let list = &document["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"];
    let keys = json!(["containerPort", "protocol"]);
    assert_eq!(list["ports"]["x-kubernetes-list-map-keys"], keys);
    assert_eq!(list["ports"]["x-kubernetes-patch-merge-key"], "containerPort");
}

#[test]
fn a_custom_resource_brings_its_own_schema() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
    let custom = KindRef {
        group: "b.example.com",
        source: Source::Custom(&schema),
        ..KindRef { kind: "Toy", plural: "toys", ..kind("apps", "v1", "Deployment", "x") }
    };
    let document: Value = skiff_json::from_slice(&document(&[custom])).expect("JSON");
    let schemas = document["components"]["schemas"].as_object().expect("an object");
    assert_eq!(schemas["com.example.b.v1.Toy"]["properties"]["spec"], json!({"type": "object"}));
    assert_eq!(schemas["com.example.b.v1.ToyList"]["required"], json!(["items"]));
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.iter().all(|it| schemas.contains_key(it)), "{found:?}");
    let patch = &document["paths"]["/apis/b.example.com/v1/namespaces/{namespace}/toys/{name}"];
    let types = patch["patch"]["requestBody"]["content"].as_object().expect("an object");
    assert!(!types.contains_key("application/strategic-merge-patch+json"));
}

#[test]
fn a_fingerprint_follows_what_goes_in() {
    let one = kind("apps", "v1", "Deployment", "deployments");
    let cluster = KindRef { namespaced: false, ..one };
    assert_eq!(fingerprint(&[one]), fingerprint(&[one]));
    assert_ne!(fingerprint(&[one]), fingerprint(&[cluster]));
    let index = index([("apis/apps/v1", fingerprint(&[one]))]);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a text");
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
}
