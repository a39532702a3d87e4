//! Mutating webhooks: who looks at what they make, and what a patch may make.

use crate::bench::*;
use expect_test::expect;
use serde_json::{Value, json};
use std::fmt::Write as _;

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "own", "image": "i"}]}})
}

#[test]
fn what_mutating_webhooks_make_is_looked_at_again_by_all() {
    let b = bench("webhooks-mutating", &[]);
    b.c.k.ok("create namespace mesh");
    b.c.k.ok("label namespace mesh inject=yes");
    b.c.k.wait("--for=create serviceaccount/default -n mesh");
    b.c.k.wait("--for=create serviceaccount/default -n default");
    let sidecar = json!({"name": "sidecar", "image": "s", "ports": [{"containerPort": 15001}]});
    let patch = json!([{"op": "add", "path": "/spec/containers/-", "value": sidecar}]);
    let response =
        json!({"warnings": ["a sidecar comes along"], "auditAnnotations": {"why": "mesh"}});
    b.answers("inject", json!({"patch": patch, "response": response}));
    b.answers("first", json!({}));
    let pods = || rule("", "pods", &["CREATE"]);
    let meshed = json!({"matchLabels": {"inject": "yes"}});
    // By their names, this one comes before the other, and sees what that made in the second round alone.
    b.configure(
        "Mutating",
        "first",
        pods(),
        json!({"reinvocationPolicy": "IfNeeded",
        "clientConfig": b.service("first"), "namespaceSelector": meshed}),
    );
    b.configure(
        "Mutating",
        "inject",
        pods(),
        json!({"namespaceSelector": meshed,
        "objectSelector": {"matchExpressions": [{"key": "plain", "operator": "DoesNotExist"}]}}),
    );

    let made = b.ask("POST", "/api/v1/namespaces/mesh/pods?fieldManager=test", &pod("meshed"));
    assert_eq!(made.code, "201", "{}", made.body);
    assert_eq!(made.warnings, ["299 - \"a sidecar comes along\""]);
    let sidecar = &made.body["spec"]["containers"][1];
    assert_eq!(sidecar["name"], "sidecar");
    // Defaults of the schema, and what the server's own plugins give each container.
    assert_eq!(sidecar["ports"][0]["protocol"], "TCP");
    assert_eq!(sidecar["terminationMessagePath"], "/dev/termination-log");
    let mount = &sidecar["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    // What others add is nobody's.
    assert!(!made.body["metadata"]["managedFields"].to_string().contains("sidecar"));

    let first = b.asked("first");
    let containers = |asked: &Value| {
        asked["review"]["request"]["object"]["spec"]["containers"].as_array().map(Vec::len)
    };
    assert_eq!(first.iter().map(containers).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert_eq!(first[0]["query"], "timeout=10s");
    let request = &first[0]["review"]["request"];
    let shown = ["uid", "object", "userInfo"].iter().fold(request.clone(), |mut shown, key| {
        shown.as_object_mut().expect("an object").remove(*key).expect("it is there");
        shown
    });
    expect![[r#"{"dryRun":false,"kind":{"group":"","kind":"Pod","version":"v1"},"name":"meshed","namespace":"mesh","oldObject":null,"operation":"CREATE","options":{"apiVersion":"meta.k8s.io/v1","fieldManager":"test","kind":"CreateOptions"},"requestKind":{"group":"","kind":"Pod","version":"v1"},"requestResource":{"group":"","resource":"pods","version":"v1"},"resource":{"group":"","resource":"pods","version":"v1"}}"#]]
    .assert_eq(&shown.to_string());
    assert_eq!(request["userInfo"]["groups"][1], "system:authenticated");
    assert_eq!(request["object"]["kind"], "Pod");
    assert_eq!(b.asked("inject").len(), 1, "it does not ask to be asked again");
    let noted: String = b.noted("meshed").iter().fold(String::new(), |mut out, (key, value)| {
        writeln!(out, "{key}: {value}").expect("a String");
        out
    });
    expect![[r#"
        inject.example.com/why: mesh
        mutation.webhook.admission.k8s.io/round_0_index_0: {"configuration":"first","webhook":"first.example.com","mutated":false}
        mutation.webhook.admission.k8s.io/round_0_index_1: {"configuration":"inject","webhook":"inject.example.com","mutated":true}
        mutation.webhook.admission.k8s.io/round_1_index_0: {"configuration":"first","webhook":"first.example.com","mutated":false}
        patch.webhook.admission.k8s.io/round_0_index_1: {"configuration":"inject","webhook":"inject.example.com","patch":[{"op":"add","path":"/spec/containers/-","value":{"image":"s","name":"sidecar","ports":[{"containerPort":15001}]}}],"patchType":"JSONPatch"}
        pod-security.kubernetes.io/enforce-policy: privileged:latest
    "#]].assert_eq(&noted);

    // Whom the selectors leave out, nobody is asked about.
    let mut plain = pod("plain");
    plain["metadata"]["labels"] = json!({"plain": "1"});
    let made = b.ask("POST", "/api/v1/namespaces/mesh/pods", &plain);
    assert_eq!(made.body["spec"]["containers"].as_array().map(Vec::len), Some(1));
    let made = b.ask("POST", "/api/v1/namespaces/default/pods", &pod("elsewhere"));
    assert_eq!(made.body["spec"]["containers"].as_array().map(Vec::len), Some(1));
    assert_eq!((b.asked("inject").len(), b.asked("first").len()), (1, 3));
    // A dry run says so.
    let made = b.ask("POST", "/api/v1/namespaces/mesh/pods?dryRun=All", &pod("dry"));
    assert_eq!(made.body["spec"]["containers"].as_array().map(Vec::len), Some(2));
    assert_eq!(b.asked("inject")[1]["review"]["request"]["dryRun"], true);
}

#[test]
fn a_patch_makes_nothing_that_could_not_be_sent() {
    let b = bench("webhooks-patches", &[]);
    let maps = rule("", "configmaps", &["CREATE", "UPDATE", "DELETE"]);
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "hooks"}});
    b.configure("Mutating", "patch", maps, json!({"namespaceSelector": selector}));
    b.answers("patch", json!({}));
    assert_eq!(b.create_map("hooks", "there").code, "201");
    let mut out = String::new();
    let large = "x".repeat(3 << 20);
    let cases = [
        ("fine", json!([{"op": "add", "path": "/data/c", "value": "d"}])),
        ("empty", json!([])),
        ("unknown", json!([{"op": "add", "path": "/nothing", "value": 1}])),
        ("type", json!([{"op": "add", "path": "/data/c", "value": 1}])),
        ("kind", json!([{"op": "replace", "path": "/kind", "value": "Secret"}])),
        ("version", json!([{"op": "replace", "path": "/apiVersion", "value": "v7"}])),
        ("nowhere", json!([{"op": "remove", "path": "/data/none"}])),
        ("test", json!([{"op": "test", "path": "/data/a", "value": "no"}])),
        ("invalid", json!([{"op": "add", "path": "/data/~1~1", "value": "d"}])),
        ("name", json!([{"op": "replace", "path": "/metadata/name", "value": "other"}])),
        ("namespace", json!([{"op": "replace", "path": "/metadata/namespace", "value": "other"}])),
        ("uid", json!([{"op": "add", "path": "/metadata/uid", "value": "mine"}])),
        ("none", json!({})),
        ("large", json!([{"op": "add", "path": "/data/c", "value": large}])),
        ("deep", json!([{"op": "add", "path": "/data", "value": {"c": {"d": {}}}}])),
        ("all", json!([{"op": "remove", "path": ""}])),
    ];
    let known = |answer: &Answer| match &*answer.code {
        "200" | "201" => {
            let at = |path: &str| answer.body.pointer(path).cloned().unwrap_or_default();
            format!("{} {} {}", at("/metadata/namespace"), at("/metadata/name"), at("/data"))
        }
        _ => answer.message().to_owned(),
    };
    for (name, patch) in cases {
        b.answers("patch", json!({"patch": patch}));
        let made = b.create_map("hooks", name);
        writeln!(out, "{name:10}{} {}", made.code, known(&made)).expect("a String");
        let path = "/api/v1/namespaces/hooks/configmaps/there";
        let map = json!({"metadata": {"name": "there"}, "data": {"a": "b", "u": name}});
        let put = b.ask("PUT", path, &map);
        writeln!(out, "{:10}{} {}", "", put.code, known(&put)).expect("a String");
    }
    expect![[r#"
        fine      201 "hooks" "fine" {"a":"b","c":"d"}
                  200 "hooks" "there" {"a":"b","c":"d","u":"fine"}
        empty     201 "hooks" "empty" {"a":"b"}
                  200 "hooks" "there" {"a":"b","u":"empty"}
        unknown   201 "hooks" "unknown" {"a":"b"}
                  200 "hooks" "there" {"a":"b","u":"unknown"}
        type      500 Internal error occurred: json: cannot unmarshal number into Go struct field ConfigMap.data of type string
                  500 Internal error occurred: json: cannot unmarshal number into Go struct field ConfigMap.data of type string
        kind      500 converting (v1.Secret) to (ConfigMap): unknown conversion
                  500 converting (v1.Secret) to (ConfigMap): unknown conversion
        version   500 Internal error occurred: no kind "ConfigMap" is registered for version "v7" in scheme "pkg/runtime/scheme.go:111"
                  500 Internal error occurred: no kind "ConfigMap" is registered for version "v7" in scheme "pkg/runtime/scheme.go:111"
        nowhere   500 Internal error occurred: error in remove for path: '/data/none': Unable to remove nonexistent key: none: missing value
                  500 Internal error occurred: error in remove for path: '/data/none': Unable to remove nonexistent key: none: missing value
        test      500 Internal error occurred: testing value /data/a failed: test failed
                  500 Internal error occurred: testing value /data/a failed: test failed
        invalid   422 ConfigMap "invalid" is invalid: data[//]: Invalid value: "//": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
                  422 ConfigMap "there" is invalid: data[//]: Invalid value: "//": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
        name      201 "hooks" "other" {"a":"b"}
                  422 ConfigMap "other" is invalid: metadata.name: Invalid value: "other": field is immutable
        namespace 400 the namespace of the provided object does not match the namespace sent on the request
                  400 the namespace of the provided object does not match the namespace sent on the request
        uid       201 "hooks" "uid" {"a":"b"}
                  422 ConfigMap "there" is invalid: metadata.uid: Invalid value: "mine": field is immutable
        none      500 Internal error occurred: failed calling webhook "patch.example.com": received undecodable patch in webhook response: json: cannot unmarshal object into Go value of type jsonpatch.Patch
                  500 Internal error occurred: failed calling webhook "patch.example.com": received undecodable patch in webhook response: json: cannot unmarshal object into Go value of type jsonpatch.Patch
        large     413 Request entity too large: limit is 3145728
                  413 Request entity too large: limit is 3145728
        deep      500 Internal error occurred: json: cannot unmarshal object into Go struct field ConfigMap.data of type string
                  500 Internal error occurred: json: cannot unmarshal object into Go struct field ConfigMap.data of type string
        all       500 Internal error occurred: remove operation does not apply: doc is missing path: "": missing value
                  500 Internal error occurred: remove operation does not apply: doc is missing path: "": missing value
    "#]].assert_eq(&plain(&out));
    // A delete changes nothing.
    b.answers("patch", json!({"patch": [{"op": "add", "path": "/data/c", "value": "d"}]}));
    let gone = b.ask("DELETE", "/api/v1/namespaces/hooks/configmaps/there", &json!({}));
    expect![[r#"500 Internal error occurred: admission webhook "patch.example.com" attempted to modify the object, which is not supported for this operation"#]].assert_eq(&format!("{} {}", gone.code, gone.message()));
    b.answers("patch", json!({}));
    assert_eq!(
        b.ask("DELETE", "/api/v1/namespaces/hooks/configmaps/there", &json!({})).code,
        "200"
    );
    let asked = b.asked("patch");
    let request = &asked.last().expect("it was asked")["review"]["request"];
    assert_eq!((&request["operation"], &request["object"]), (&"DELETE".into(), &Value::Null));
    assert_eq!(request["oldObject"]["metadata"]["name"], "there");
    assert_eq!(request["options"]["kind"], "DeleteOptions");
}
