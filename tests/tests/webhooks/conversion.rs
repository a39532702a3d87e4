//! Conversion of custom resources by a webhook.

use crate::bench::*;
use expect_test::expect;
use serde_json::{Value, json};
use std::fmt::Write as _;

const SCHEMA: &str = "{type: object, x-kubernetes-preserve-unknown-fields: true, properties: {spec: {type: object, \
    x-kubernetes-preserve-unknown-fields: true}}}";

#[test]
fn versions_of_a_custom_resource_are_converted_by_a_webhook() {
    let b = bench("webhooks-conversion", &[]);
    b.answers("convert", json!({}));
    let definition = |stored: &str| {
        let of = |name: &str| {
            format!(
                "{{name: {name}, served: true, storage: {}, schema: {{openAPIV3Schema: {SCHEMA}}}}}",
                name == stored
            )
        };
        let client = b.service("convert");
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
             metadata: {{name: peers.example.com}}\n\
             spec:\n  group: example.com\n  scope: Namespaced\n  names: {{kind: Peer, plural: peers}}\n  \
             versions: [{}, {}]\n  \
             conversion: {{strategy: Webhook, webhook: {{conversionReviewVersions: [v1], clientConfig: {client}}}}}\n",
            of("v1"),
            of("v2")
        )
    };
    b.c.k.apply(&definition("v1"));
    b.c.k.wait("--for=condition=Established crd/peers.example.com");
    let path = |version: &str, rest: &str| {
        format!("/apis/example.com/{version}/namespaces/default/peers{rest}")
    };
    let peer = |name: &str| {
        json!({"apiVersion": "example.com/v1", "kind": "Peer", "metadata": {"name": name},
               "spec": {"address": format!("{name}:1")}})
    };
    for name in ["a", "b", "c"] {
        assert_eq!(b.ask("POST", &path("v1", ""), &peer(name)).code, "201");
    }
    assert_eq!(b.asked("convert").len(), 0, "it is stored as it was sent");
    // A page is one call.
    let list = b.ask("GET", &path("v2", ""), &Value::Null);
    let specs = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("a list").iter();
        items.map(|it| format!("{} {}", it["apiVersion"], it["spec"])).collect()
    };
    assert_eq!(
        specs(&list.body),
        [
            r#""example.com/v2" {"host":"a","port":"1"}"#,
            r#""example.com/v2" {"host":"b","port":"1"}"#,
            r#""example.com/v2" {"host":"c","port":"1"}"#,
        ]
    );
    let asked = b.asked("convert");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["review"]["request"]["objects"].as_array().map(Vec::len), Some(3));
    let one = b.ask("GET", &path("v2", "/a"), &Value::Null);
    assert_eq!(one.body["spec"]["host"], "a");
    // Written in the other version.
    let mut changed = one.body;
    changed["spec"]["port"] = "2".into();
    let put = b.ask("PUT", &path("v2", "/a"), &changed);
    assert_eq!((&*put.code, &put.body["spec"]["port"]), ("200", &"2".into()), "{}", put.body);
    assert_eq!(b.ask("GET", &path("v1", "/a"), &Value::Null).body["spec"]["address"], "a:2");
    // Applied in one, then in the other: who owned the address owns what it became.
    let apply = |version: &str, manager: &str, spec: Value| {
        let object = json!({"apiVersion": format!("example.com/{version}"), "kind": "Peer",
                            "metadata": {"name": "d"}, "spec": spec});
        let rest = format!("/d?fieldManager={manager}");
        b.ask_as("application/apply-patch+yaml", "PATCH", &path(version, &rest), &object)
    };
    assert_eq!(apply("v1", "one", json!({"address": "d:1"})).code, "201");
    assert_eq!(apply("v2", "one", json!({"host": "d", "port": "2"})).code, "200");
    assert_eq!(
        b.ask("GET", &path("v1", "/d"), &Value::Null).body["spec"],
        json!({"address": "d:2"})
    );
    let other = apply("v2", "two", json!({"port": "3"}));
    assert_eq!(other.code, "409", "{}", other.body);
    expect![[r#"Apply failed with 1 conflict: conflict with "one": .spec.port"#]]
        .assert_eq(other.message());
    // A watch shows both what is there and what comes.
    let watched = b.c.k.exits(
        0,
        &["get", "--raw", &path("v2", "?watch=true&timeoutSeconds=2&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")],
        "",
    );
    let events = watched.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let shown: Vec<String> = events
        .filter(|event| event["type"] == "ADDED")
        .map(|event| {
            format!("{}:{}", event["object"]["spec"]["host"], event["object"]["spec"]["port"])
        })
        .collect();
    assert_eq!(shown, [r#""a":"2""#, r#""b":"1""#, r#""c":"1""#, r#""d":"2""#]);

    // The stored version changes: what is there stays as it is until it is written, and reads as before.
    b.c.k.apply(&definition("v2"));
    let first =
        |version: &str| b.ask("GET", &path(version, "/b"), &Value::Null).body["spec"].clone();
    assert_eq!(first("v1"), json!({"address": "b:1"}));
    assert_eq!(first("v2"), json!({"host": "b", "port": "1"}));
    let labelled = json!({"metadata": {"labels": {"l": "m"}}});
    let patched = b.ask_as("application/merge-patch+json", "PATCH", &path("v1", "/b"), &labelled);
    assert_eq!(patched.code, "200", "{}", patched.body);
    assert_eq!(first("v1"), json!({"address": "b:1"}));
    let before = b.asked("convert").len();
    assert_eq!(first("v2"), json!({"host": "b", "port": "1"}));
    assert_eq!(b.asked("convert").len(), before, "it is stored so by now");

    // What a webhook may not do; `c` is still stored in the first version.
    let mut out = String::new();
    let cases = [
        ("rename", json!({"metadata": {"name": "z"}})),
        ("move", json!({"metadata": {"namespace": "kube-system"}})),
        ("uid", json!({"metadata": {"uid": "mine"}})),
        ("labels", json!({"metadata": {"labels": {"-": "m"}}})),
        ("fails", json!({"fails": "c"})),
        ("less", json!({"less": 1})),
        ("garbage", json!({"raw": "<html>"})),
        ("never", json!({"code": 503, "raw": ""})),
        ("owner", json!({"metadata": {"ownerReferences": [{"name": "x"}], "finalizers": ["f"]}})),
    ];
    for (name, answer) in cases {
        b.answers("convert", answer);
        for rest in ["/c", ""] {
            let got = b.ask("GET", &path("v2", rest), &Value::Null);
            let shown = match &*got.code {
                "200" => got.body["metadata"]["finalizers"].to_string(),
                _ => got.message().to_owned(),
            };
            writeln!(out, "{name:8}{} {shown}", got.code).expect("a String");
        }
    }
    expect![[r#"
        rename  500 conversion webhook for example.com/v1, Kind=Peer returned invalid object: must have the same name: c != z
        rename  500 conversion webhook for example.com/v1, Kind=Peer returned invalid converted object at index 0: must have the same name: a != z
        move    500 conversion webhook for example.com/v1, Kind=Peer returned invalid object: must have the same namespace: default != kube-system
        move    500 conversion webhook for example.com/v1, Kind=Peer returned invalid converted object at index 0: must have the same namespace: default != kube-system
        uid     500 conversion webhook for example.com/v1, Kind=Peer returned invalid object: must have the same UID: * != mine
        uid     500 conversion webhook for example.com/v1, Kind=Peer returned invalid converted object at index 0: must have the same UID: * != mine
        labels  500 conversion webhook for example.com/v1, Kind=Peer returned invalid metadata: metadata.labels: Invalid value: "-": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        labels  500 conversion webhook for example.com/v1, Kind=Peer returned invalid metadata in object at index 0: metadata.labels: Invalid value: "-": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        fails   500 conversion webhook for example.com/v1, Kind=Peer failed: cannot convert c
        fails   500 conversion webhook for example.com/v1, Kind=Peer failed: cannot convert c
        less    500 conversion webhook for example.com/v1, Kind=Peer returned 0 objects, expected 1
        less    500 conversion webhook for example.com/v1, Kind=Peer returned 2 objects, expected 3
        garbage 500 conversion webhook for example.com/v1, Kind=Peer failed: couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }
        garbage 500 conversion webhook for example.com/v1, Kind=Peer failed: couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }
        never   500 conversion webhook for example.com/v1, Kind=Peer failed: the server is currently unable to handle the request
        never   500 conversion webhook for example.com/v1, Kind=Peer failed: the server is currently unable to handle the request
        owner   200 null
        owner   200 null
    "#]].assert_eq(&plain(&out));
    // Nothing was lost by that.
    b.answers("convert", json!({}));
    assert_eq!(b.ask("GET", &path("v2", "/c"), &Value::Null).body["spec"]["host"], "c");
    assert_eq!(b.ask("DELETE", &path("v2", "/c"), &Value::Null).code, "200");
}

#[test]
fn each_version_selects_by_fields_of_its_own() {
    let b = bench("webhooks-fields", &[]);
    b.answers("convert", json!({}));
    let of = |name: &str, field: &str, other: &str| {
        let schema = format!(
            "{{type: object, properties: {{spec: {{type: object, properties: \
             {{{field}: {{type: string}}, {other}: {{type: string}}}}}}}}}}"
        );
        format!(
            "{{name: {name}, served: true, storage: {}, selectableFields: [{{jsonPath: .spec.{field}}}], \
             schema: {{openAPIV3Schema: {schema}}}}}",
            name == "v2"
        )
    };
    b.c.k.apply(&format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {{name: peers.example.com}}\n\
         spec:\n  group: example.com\n  scope: Namespaced\n  names: {{kind: Peer, plural: peers}}\n  \
         versions: [{}, {}]\n  \
         conversion: {{strategy: Webhook, webhook: {{conversionReviewVersions: [v1], clientConfig: {}}}}}\n",
        of("v1", "address", "more"),
        of("v2", "host", "port"),
        b.service("convert")
    ));
    b.c.k.wait("--for=condition=Established crd/peers.example.com");
    let path = |version: &str, rest: &str| {
        format!("/apis/example.com/{version}/namespaces/default/peers{rest}")
    };
    let found = |version: &str, selector: &str| {
        let list =
            b.ask("GET", &path(version, &format!("?fieldSelector={selector}")), &Value::Null);
        let items = list.body["items"].as_array().expect("a list").iter();
        items.map(|it| it["metadata"]["name"].to_string()).collect::<String>()
    };
    for (version, name, spec) in
        [("v1", "a", json!({"address": "a:1"})), ("v2", "b", json!({"host": "b", "port": "1"}))]
    {
        let object = json!({"apiVersion": format!("example.com/{version}"), "kind": "Peer",
                            "metadata": {"name": name}, "spec": spec});
        assert_eq!(b.ask("POST", &path(version, ""), &object).code, "201");
    }
    for name in ["a", "b"] {
        let own = format!("{name:?}");
        assert_eq!(found("v1", &format!("spec.address={name}:1")), own);
        assert_eq!(found("v2", &format!("spec.host={name}")), own);
        assert_eq!(found("v1", &format!("spec.address={name}:2")), "");
    }
    assert_eq!(found("v2", "spec.host!=a"), "\"b\"");
    // A change in one version moves it in the other.
    let moved = json!({"spec": {"host": "z"}});
    let patched = b.ask_as("application/merge-patch+json", "PATCH", &path("v2", "/a"), &moved);
    assert_eq!(patched.code, "200", "{}", patched.body);
    assert_eq!(
        (found("v1", "spec.address=a:1"), found("v1", "spec.address=z:1")),
        ("".into(), "\"a\"".into())
    );
    let watched = "?watch=true&timeoutSeconds=2&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&fieldSelector=spec.address%3Dz:1";
    let watched = b.c.k.exits(0, &["get", "--raw", &path("v1", watched)], "");
    let added: Vec<_> = watched.out.lines().filter(|line| line.contains("ADDED")).collect();
    assert!(matches!(added[..], [one] if one.contains(r#""address":"z:1""#)), "{}", watched.out);
}
