//! Admission webhooks and conversion by webhook, with a server of their own in the cluster's machine
//! (`webhooks/server.py`) that answers whatever a case says.

use expect_test::expect;
use serde_json::{Value, json};
use skiff_tests::cluster::Cluster;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Child;

/// Where the server listens: at an address of the machine that is not its own.
const SERVER: &str = "https://192.0.2.10:9443";

struct Bench {
    c: Cluster,
    home: PathBuf,
    server: Child,
    ca: String,
}

/// What a request was answered.
struct Answer {
    code: String,
    body: Value,
    warnings: Vec<String>,
}

impl Answer {
    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or("")
    }
}

/// A cluster, and beside it the server, which is also the Service `hook` of the namespace `hooks`.
fn bench(test: &str, settings: &[&str]) -> Bench {
    let c = Cluster::empty(test);
    let home = c.machine().home();
    std::fs::create_dir(home.join("answers")).expect("the folder is the test's own");
    std::fs::write(home.join("server.py"), include_str!("webhooks/server.py")).expect("so");
    std::fs::write(home.join("policy.yaml"), POLICY).expect("so");
    c.shell(&format!(
        "cd {} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hook \
         -addext subjectAltName=DNS:hook.hooks.svc,IP:192.0.2.10,IP:127.0.0.1 -keyout hook.key -out hook.crt \
         2> /dev/null",
        home.display()
    ));
    let ca = c.shell(&format!("base64 -w0 {}/hook.crt", home.display()));
    let mut server = c.inside(Path::new("python3"));
    server.arg(home.join("server.py")).arg(&home);
    let server = server.spawn().expect("the machine has python3");
    c.shell(&format!(
        "timeout 60 bash -c 'until [ -e {}/hook.pid ]; do read -rt 0.1 < <(:) || :; done'",
        home.display()
    ));
    let (policy, log) = (home.join("policy.yaml"), home.join("audit.log"));
    let (policy, log) = (policy.display().to_string(), log.display().to_string());
    let mut up = vec!["up", "--audit-policy-file", &policy, "--audit-log-path", &log];
    up.extend(["--audit-log-mode", "blocking"]);
    up.extend(settings);
    c.skiff(&up);
    c.unfold(&home);
    let bench = Bench { c, home, server, ca };
    bench.c.k.apply(SERVICE);
    bench
}

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
    - {level: Request, verbs: [create, update], resources: [{group: '', resources: [pods, configmaps]}]}\n\
    - {level: None}\n";

const SERVICE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: hooks}
---
apiVersion: v1
kind: Service
metadata: {name: hook, namespace: hooks}
spec: {ports: [{name: hook, port: 443}, {name: other, port: 444}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: hook-1, namespace: hooks, labels: {kubernetes.io/service-name: hook}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.10]}]
ports: [{name: hook, port: 9443}]
";

impl Bench {
    /// What the server answers to a path from now on.
    fn answers(&self, path: &str, what: Value) {
        let to = self.home.join("answers").join(path);
        std::fs::write(to.with_extension("new"), what.to_string()).expect("it can be written");
        std::fs::rename(to.with_extension("new"), to).expect("it lies beside");
    }

    /// The questions that were asked at a path.
    fn asked(&self, path: &str) -> Vec<Value> {
        let asked = std::fs::read_to_string(self.home.join("asked")).expect("it is there");
        let asked = asked.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        asked.filter(|it| it["path"] == format!("/{path}")).collect()
    }

    fn url(&self, path: &str) -> Value {
        json!({"url": format!("{SERVER}/{path}"), "caBundle": self.ca})
    }

    fn service(&self, path: &str) -> Value {
        let service = json!({"namespace": "hooks", "name": "hook", "path": format!("/{path}")});
        json!({"service": service, "caBundle": self.ca})
    }

    /// A configuration of one webhook, `NAME.example.com`, which is asked at `/NAME`.
    fn configure(&self, sort: &str, name: &str, rule: Value, more: Value) {
        let mut hook = json!({
            "name": format!("{name}.example.com"), "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "rules": [rule], "clientConfig": self.url(name),
        });
        for (key, value) in more.as_object().expect("fields") {
            hook[key] = value.clone();
        }
        let kind = format!("{sort}WebhookConfiguration");
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                            "metadata": {"name": name}, "webhooks": [hook]});
        let said = self.c.k.exits(0, &["apply", "-f", "-"], &object.to_string());
        assert_eq!(said.err, "", "nothing is left to warn of");
    }

    /// A request of the owner.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_as("application/json", method, path, body)
    }

    fn ask_as(&self, media_type: &str, method: &str, path: &str, body: &Value) -> Answer {
        std::fs::write(self.home.join("body"), body.to_string()).expect("it can be written");
        let code = self.c.shell(&format!(
            "cd {} && curl -s -D head -o answer -w '%{{http_code}}' --cacert ca --cert cert --key key -X {method} \
             -H 'Content-Type: {media_type}' --data-binary @body \"$(cat server){path}\"",
            self.home.display()
        ));
        let read =
            |name: &str| std::fs::read_to_string(self.home.join(name)).expect("curl wrote it");
        let (head, text) = (read("head"), read("answer"));
        let warnings =
            head.lines().filter_map(|line| line.strip_prefix("warning: ").map(str::to_owned));
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { code, body, warnings: warnings.collect() }
    }

    fn create_map(&self, namespace: &str, name: &str) -> Answer {
        let map = json!({"metadata": {"name": name}, "data": {"a": "b"}});
        self.ask("POST", &format!("/api/v1/namespaces/{namespace}/configmaps"), &map)
    }

    /// The annotations of what the audit log has of an object's making.
    fn noted(&self, name: &str) -> Vec<(String, String)> {
        let log = std::fs::read_to_string(self.home.join("audit.log")).expect("there is one");
        let events = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let mut about = events.filter(|event| event["objectRef"]["name"] == name);
        let event = about.next_back().expect("it was noted");
        let all = event["annotations"].as_object().expect("some").iter();
        let ours = all
            .filter(|(key, _)| !key.contains("authorization.k8s.io/") && !key.contains("latency"));
        ours.map(|(key, value)| (key.clone(), value.as_str().expect("a text").to_owned())).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It is the test's own, and goes with it in any case.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What is drawn anew in each run stands as a star.
fn plain(text: &str) -> String {
    let hex = "[0-9a-f]";
    let drawn = format!("{hex}{{8}}-{hex}{{4}}-{hex}{{4}}-{hex}{{4}}-{hex}{{12}}");
    regex::Regex::new(&drawn).expect("a pattern").replace_all(text, "*").into_owned()
}

fn rule(group: &str, resource: &str, operations: &[&str]) -> Value {
    json!({"apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": operations})
}

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

#[test]
fn what_validating_webhooks_say_counts_and_what_they_fail_to_say_as_they_wish() {
    let b = bench("webhooks-validating", &[]);
    let maps = || rule("", "configmaps", &["*"]);
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": "hooks"}});
    let more = |policy: &str, timeout_s: u64| json!({"namespaceSelector": here, "failurePolicy": policy, "timeoutSeconds": timeout_s});
    b.configure("Validating", "check", maps(), more("Fail", 2));
    let mut out = String::new();
    let deny = |status: Value| json!({"response": {"allowed": false, "status": status}});
    let raw = |text: &str| json!({"raw": text});
    let v1 = |response: Value| {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        json!({"raw": review.to_string()})
    };
    let patch = "W10=";
    let cases = [
        ("allowed", json!({"response": {"warnings": ["mind this"]}})),
        ("denied", deny(Value::Null)),
        ("message", deny(json!({"message": "not today", "code": 418, "reason": "Teapot"}))),
        ("reason", deny(json!({"reason": "Forbidden"}))),
        ("low-code", deny(json!({"message": "m", "code": 200, "status": "Success"}))),
        ("details", deny(json!({"message": "m", "code": 422, "details": {"name": "x"}}))),
        ("garbage", raw("<html>")),
        ("empty", raw("")),
        ("list", raw("[]")),
        ("cut", raw("{\"kind\": ")),
        ("other", raw("{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}")),
        ("status", raw("{\"kind\":\"Status\",\"apiVersion\":\"v1\"}")),
        ("absent", v1(Value::Null)),
        ("uid", json!({"response": {"uid": "another"}})),
        ("beta", json!({"review": {"apiVersion": "admission.k8s.io/v1beta1"}})),
        ("no-kind", json!({"review": {"kind": "", "apiVersion": ""}})),
        ("type", json!({"response": {"allowed": "yes"}})),
        ("patches", json!({"response": {"patch": patch, "patchType": "JSONPatch"}})),
        ("patch-type", json!({"response": {"patchType": "JSONPatch"}})),
        (
            "redirect",
            json!({"code": 307, "headers": {"Location": "https://192.0.2.10:6443/"}, "raw": ""}),
        ),
        ("broken", json!({"code": 500, "headers": {"Content-Type": "text/plain"}, "raw": "boom"})),
        ("missing", json!({"code": 404, "raw": "{}"})),
        ("closes", json!({"closes": true})),
        ("never", json!({"never": true})),
        ("long", raw(&format!("{{\"a\":\"{}\"}}", "x".repeat(7 << 20)))),
    ];
    for (name, answer) in &cases {
        b.answers("check", answer.clone());
        let made = b.create_map("hooks", name);
        let reason = made.body["reason"].as_str().unwrap_or("");
        let text = format!("{} {reason} {}", made.code, made.message());
        writeln!(out, "{name:12}{} {}", text.trim(), made.warnings.join(" ")).expect("a String");
    }
    expect![[r#"
        allowed     201 299 - "mind this"
        denied      400  admission webhook "check.example.com" denied the request without explanation 
        message     418 Teapot admission webhook "check.example.com" denied the request: not today 
        reason      400 Forbidden admission webhook "check.example.com" denied the request: Forbidden 
        low-code    400  admission webhook "check.example.com" denied the request: m 
        details     422  admission webhook "check.example.com" denied the request: m 
        garbage     500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } 
        empty       500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: 0-length response with status code: 200 and content type: application/json 
        list        500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } 
        cut         500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: couldn't get version/kind; json parse error: unexpected end of JSON input 
        other       500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: no kind "Pod" is registered for version "v1" in scheme "pkg/runtime/scheme.go:111" 
        status      500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: converting (v1.Status) to (v1.AdmissionReview): unknown conversion 
        absent      500 InternalError Internal error occurred: failed calling webhook "check.example.com": received invalid webhook response: webhook response was absent 
        uid         500 InternalError Internal error occurred: failed calling webhook "check.example.com": received invalid webhook response: expected response.uid="*", got "another" 
        beta        500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion 
        no-kind     500 InternalError Internal error occurred: failed calling webhook "check.example.com": received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind= 
        type        500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: json: cannot unmarshal string into Go struct field AdmissionResponse.response.allowed of type bool 
        patches     500 InternalError Internal error occurred: failed calling webhook "check.example.com": received invalid webhook response: validating webhook may not return response.patch 
        patch-type  500 InternalError Internal error occurred: failed calling webhook "check.example.com": received invalid webhook response: validating webhook may not return response.patchType 
        redirect    500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: the server responded with the status code 307 but did not return more information 
        broken      500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: an error on the server ("boom") has prevented the request from succeeding 
        missing     500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: the server could not find the requested resource 
        closes      500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://192.0.2.10:9443/check?timeout=2s": EOF 
        never       500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://192.0.2.10:9443/check?timeout=2s": context deadline exceeded 
        long        500 InternalError Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: unexpected error when reading response body. Please retry. Original error: the answer is larger than 6291456 bytes 
    "#]].assert_eq(&plain(&out));
    let page = b.c.k.ok("get --raw /metrics");
    let figures = page.lines().filter(|line| {
        line.starts_with("apiserver_admission_webhook_") && !line.contains("duration_seconds_")
    });
    expect![[r#"
        apiserver_admission_webhook_request_total{code="200",name="check.example.com",operation="CREATE",rejected="false",type="validating"} 1
        apiserver_admission_webhook_request_total{code="307",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="400",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 3
        apiserver_admission_webhook_request_total{code="404",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="418",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="422",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="500",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 1
        apiserver_admission_webhook_request_total{code="503",name="check.example.com",operation="CREATE",rejected="true",type="validating"} 16
        apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="check.example.com",operation="CREATE",rejection_code="307",type="validating"} 1
        apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="check.example.com",operation="CREATE",rejection_code="404",type="validating"} 1
        apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="check.example.com",operation="CREATE",rejection_code="500",type="validating"} 1
        apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",name="check.example.com",operation="CREATE",rejection_code="503",type="validating"} 16
        apiserver_admission_webhook_rejection_count{error_type="no_error",name="check.example.com",operation="CREATE",rejection_code="400",type="validating"} 3
        apiserver_admission_webhook_rejection_count{error_type="no_error",name="check.example.com",operation="CREATE",rejection_code="418",type="validating"} 1
        apiserver_admission_webhook_rejection_count{error_type="no_error",name="check.example.com",operation="CREATE",rejection_code="422",type="validating"} 1"#]].assert_eq(&figures.collect::<Vec<_>>().join("\n"));

    // The same, where failures do not count: refusals do.
    b.configure("Validating", "check", maps(), more("Ignore", 1));
    let refused: Vec<&str> = cases
        .iter()
        .filter(|(name, answer)| {
            b.answers("check", answer.clone());
            b.create_map("hooks", &format!("{name}-ignored")).code != "201"
        })
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(refused, ["denied", "message", "reason", "low-code", "details"]);
    let noted = b.noted("never-ignored");
    let open = "failed-open.validating.webhook.admission.k8s.io/round_0_index_0";
    assert_eq!(noted, [(open.to_owned(), "check.example.com".to_owned())]);

    // Streams and deletes are asked about too, and whoever is nowhere.
    b.answers("check", json!({"response": {"allowed": false}}));
    let gone = b.ask("DELETE", "/api/v1/namespaces/hooks/configmaps", &json!({}));
    assert_eq!(
        gone.message(),
        "admission webhook \"check.example.com\" denied the request without explanation"
    );
    let mut out = String::new();
    let service = |name: &str, port: u16| {
        let service = json!({"namespace": "hooks", "name": name, "port": port});
        json!({"service": service, "caBundle": b.ca})
    };
    let clients = [
        ("no service", service("none", 443)),
        ("no port", service("hook", 445)),
        ("no endpoint", service("hook", 444)),
        ("nobody", json!({"url": "https://192.0.2.10:9/x", "caBundle": b.ca})),
        ("stranger", json!({"url": format!("{SERVER}/x")})),
        ("the API", json!({"url": "https://192.0.2.10:6443/x", "caBundle": b.ca})),
        ("loopback", json!({"url": "https://127.0.0.1:9443/check", "caBundle": b.ca})),
        ("metadata", json!({"url": "https://169.254.169.254/x", "caBundle": b.ca})),
    ];
    for (name, client) in clients {
        let mut more = more("Fail", 2);
        more["clientConfig"] = client;
        b.configure("Validating", "check", maps(), more);
        writeln!(out, "{name:12}{}", b.create_map("hooks", "x").message()).expect("a String");
    }
    expect![[r#"
        no service  Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://none.hooks.svc:443/?timeout=2s": service "none" not found
        no port     Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://hook.hooks.svc:445/?timeout=2s": no service port 445 found for service "hook"
        no endpoint Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://hook.hooks.svc:444/?timeout=2s": no endpoints available for service "hook"
        nobody      Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://192.0.2.10:9/x?timeout=2s": dial tcp 192.0.2.10:9: connect: connection refused
        stranger    Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://192.0.2.10:9443/x?timeout=2s": tls: failed to verify certificate: x509: certificate signed by unknown authority
        the API     Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://192.0.2.10:6443/x?timeout=2s": dial tcp 192.0.2.10:6443: address not allowed: it is the server's own
        loopback    Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://127.0.0.1:9443/check?timeout=2s": dial tcp 127.0.0.1:9443: address not allowed: loopback and link-local addresses are called with --allow-local-webhooks only
        metadata    Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: Post "https://169.254.169.254/x?timeout=2s": dial tcp 169.254.169.254:443: address not allowed: loopback and link-local addresses are called with --allow-local-webhooks only
    "#]].assert_eq(&plain(&out));
}

#[test]
fn nobody_locks_everybody_out_or_holds_others_up() {
    let b = bench("webhooks-others", &["--allow-local-webhooks=true"]);
    b.answers("deny", json!({"response": {"allowed": false}}));
    // At loopback, as the machine's owner allows.
    let client = json!({"url": "https://127.0.0.1:9443/deny", "caBundle": b.ca});
    let everything = json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]});
    let here = json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn",
                                            "values": ["kube-system"]}]});
    b.configure(
        "Validating",
        "deny",
        everything,
        json!({"clientConfig": client, "namespaceSelector": here}),
    );
    let refused = b.create_map("default", "no");
    assert_eq!(
        refused.message(),
        "admission webhook \"deny.example.com\" denied the request without explanation"
    );
    // Reviews are nobody's affair, and neither are these configurations.
    assert_eq!(b.c.k.ok("auth can-i create pods").trim(), "yes");
    b.c.k.ok("delete validatingwebhookconfiguration deny");

    // One that never answers holds up those that ask it.
    let maps = || rule("", "configmaps", &["CREATE"]);
    let of = |label: &str| json!({"objectSelector": {"matchLabels": {"of": label}}, "timeoutSeconds": 30});
    b.answers("slow", json!({"never": true}));
    b.answers("quick", json!({}));
    b.configure("Validating", "slow", maps(), of("slow"));
    b.configure("Validating", "quick", maps(), of("quick"));
    let create = |number: &str, label: &str| {
        format!(
            "cd {} && curl -s -o /dev/null -w '%{{http_code}}\\n' --cacert ca --cert cert --key key \
             -H 'Content-Type: application/json' \"$(cat server)/api/v1/namespaces/default/configmaps\" \
             -d '{{\"metadata\":{{\"name\":\"{label}-{number}\",\"labels\":{{\"of\":\"{label}\"}}}}}}'",
            b.home.display()
        )
    };
    let at_once = |count: usize, label: &str| {
        let line = create("{}", label).replace('\'', "'\\''");
        format!("seq {count} | xargs -P {count} -I {{}} bash -c '{line}'")
    };
    let mut slow = b.c.inside(Path::new("bash"));
    slow.args(["-c", &at_once(64, "slow")]);
    let mut slow = slow.stdout(std::process::Stdio::null()).spawn().expect("bash is there");
    let asked = b.home.join("asked");
    b.c.shell(&format!(
        "timeout 60 bash -c 'until [ $(grep -c /slow {}) -ge 64 ]; do read -rt 0.1 < <(:) || :; done'",
        asked.display()
    ));
    // All sixty-four are there, and wait; nobody else does.
    for number in 0..4 {
        assert_eq!(b.c.shell(&create(&number.to_string(), "quick")).trim(), "201");
        assert_eq!(b.create_map("default", &format!("free-{number}")).code, "201");
    }
    assert!(slow.try_wait().expect("it can be asked").is_none(), "they still wait");
    // Sixty-four that answer when all have come: they are all asked at once.
    b.answers("barrier", json!({"together": 64}));
    b.configure("Validating", "barrier", maps(), of("barrier"));
    let codes = b.c.shell(&at_once(64, "barrier"));
    assert_eq!(codes.lines().filter(|code| *code == "201").count(), 64, "{codes}");
    slow.kill().expect("it is the test's own");
    slow.wait().expect("it ends");
}

#[test]
fn a_webhook_sees_the_version_that_its_rules_name() {
    let b = bench("webhooks-versions", &[]);
    for name in ["equal", "exact"] {
        b.answers(name, json!({}));
        let policy = if name == "equal" { "Equivalent" } else { "Exact" };
        let rule = json!({"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["*"],
                          "resources": ["horizontalpodautoscalers"]});
        b.configure("Validating", name, rule, json!({"matchPolicy": policy}));
    }
    let scaler = json!({"metadata": {"name": "s"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 7}}}]}});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = b.ask("POST", path, &scaler);
    assert_eq!((&*made.code, &made.body["apiVersion"]), ("201", &"autoscaling/v2".into()));
    assert_eq!(b.asked("exact").len(), 0);
    let asked = b.asked("equal");
    assert_eq!(asked.len(), 1);
    let request = &asked[0]["review"]["request"];
    assert_eq!(request["kind"]["version"], "v1");
    assert_eq!(request["requestKind"]["version"], "v2");
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 7);
    // What a mutating one makes of the other version comes back into that of the request.
    let patch =
        json!([{"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 9}]);
    b.answers("change", json!({"patch": patch}));
    let scalers = json!({"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["CREATE"],
                         "resources": ["horizontalpodautoscalers"]});
    b.configure("Mutating", "change", scalers, json!({}));
    let mut second = scaler;
    second["metadata"]["name"] = "t".into();
    let made = b.ask("POST", path, &second);
    let target = "/spec/metrics/0/resource/target/averageUtilization";
    assert_eq!(made.body.pointer(target), Some(&9.into()), "{}", made.body);
    // A scale is asked about as one.
    b.answers("scales", json!({}));
    let scale = rule("apps", "deployments/scale", &["UPDATE"]);
    b.configure("Validating", "scales", scale, json!({}));
    b.c.k.ok("create deployment d --image=i --replicas=0");
    b.c.k.ok("scale deployment d --replicas=0 --current-replicas=0");
    let asked = b.asked("scales");
    let request = &asked.first().expect("it was asked")["review"]["request"];
    assert_eq!(
        (&request["kind"]["kind"], &request["subResource"]),
        (&"Scale".into(), &"scale".into())
    );
    assert_eq!(request["object"]["kind"], "Scale");
}

/// Expressions, whether the webhook is asked then, and what else is said, as upstream answered. `LONG` costs too much.
const CONDITIONS: &[(&[&str], &str)] = &[
    (&["true"], "asked"),
    (&["object.metadata.name.startsWith('x')"], "not asked"),
    (
        &["object.data.missing == 'x'"],
        "expression 'object.data.missing == 'x'' resulted in error: no such key: missing",
    ),
    (&["object.data.missing == 'x'", "false"], "not asked"),
    (
        &["object.data.no == 'x'", "object.data.more == 'x'"],
        "[expression 'object.data.no == 'x'' resulted in error: no such key: no, expression \
         'object.data.more == 'x'' resulted in error: no such key: more]",
    ),
    (
        &["LONG"],
        "expression 'LONG' resulted in error: operation cancelled: actual cost limit exceeded",
    ),
    (&["LONG", "false"], "not asked"),
    (
        &[
            "authorizer.group('').resource('secrets').namespace(request.namespace).check('get').allowed()",
        ],
        "asked",
    ),
    (
        &[
            "authorizer.serviceAccount('default','x').group('').resource('secrets').check('get').allowed()",
        ],
        "not asked",
    ),
    (&["authorizer.path('/healthz').check('get').allowed()"], "asked"),
    (
        &["authorizer.path('').check('get').allowed()"],
        "expression 'authorizer.path('').check('get').allowed()' resulted in error: path must not be empty",
    ),
    (&["authorizer.requestResource.check('create').allowed()"], "asked"),
    (&["oldObject == null && namespaceObject == null"], "asked"),
    (&["has(request.subResource)"], "not asked"),
    (
        &[
            "request.dryRun == false && request.operation == 'CREATE' && request.kind.kind == 'ConfigMap'",
        ],
        "asked",
    ),
    (
        &["request.resource.resource == 'configmaps' && request.options.kind == 'CreateOptions'"],
        "asked",
    ),
    (&["request.userInfo.groups.exists(g, g == 'system:authenticated')"], "asked"),
    (&["['a', 'b'].exists(it, authorizer.group('').resource(it).check('x').allowed())"], "asked"),
    (
        &["['a', 'b', 'c'].all(it, authorizer.group('').resource(it).check('x').allowed())"],
        "expression '['a', 'b', 'c'].all(it, authorizer.group('').resource(it).check('x').allowed())' resulted in \
         error: operation cancelled: actual cost limit exceeded",
    ),
    (&["object.metadata.uid == ''"], "not asked"),
    (&["has(object.metadata.creationTimestamp)"], "asked"),
];

#[test]
fn match_conditions_say_who_is_asked() {
    let b = bench("webhooks-conditions", &[]);
    let digits = "[0,1,2,3,4,5,6,7,8,9]";
    let folds = ["a", "b", "c", "d", "e", "f"].map(|name| format!("{digits}.all({name}, "));
    let long = format!("{}true{}", folds.concat(), ")".repeat(folds.len()));
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": "hooks"}});
    let hook = |expressions: &[&str], policy: &str| {
        let conditions = expressions.iter().enumerate().map(|(index, expression)| {
            json!({"name": format!("c{index}"), "expression": expression.replace("LONG", &long)})
        });
        json!({"matchConditions": conditions.collect::<Vec<_>>(), "failurePolicy": policy,
               "namespaceSelector": here})
    };
    b.answers("check", json!({}));
    for policy in ["Fail", "Ignore"] {
        for (index, (expressions, expected)) in CONDITIONS.iter().enumerate() {
            let before = b.asked("check").len();
            b.configure(
                "Validating",
                "check",
                rule("", "configmaps", &["CREATE"]),
                hook(expressions, policy),
            );
            let name = format!("{}-{index}", policy.to_lowercase());
            let made = b.create_map("hooks", &name);
            let asked = b.asked("check").len() > before;
            let said = match (&*made.code, asked) {
                ("201", true) => "asked".to_owned(),
                ("201", false) => "not asked".to_owned(),
                _ => made.message().replace(&long, "LONG"),
            };
            let refused = format!("configmaps \"{name}\" is forbidden: {expected}");
            let expected = match (*expected, policy) {
                ("asked" | "not asked", _) => *expected,
                (_, "Ignore") => "not asked",
                _ => &refused,
            };
            assert_eq!(said, expected, "{policy} {expressions:?}");
        }
    }
    // What an account may decides, where a condition asks for it.
    b.c.k.ok("create clusterrolebinding eve --clusterrole=edit --user=eve");
    let may = "authorizer.group('').resource('nodes').check('delete').allowed()";
    b.configure("Validating", "check", rule("", "configmaps", &["CREATE"]), hook(&[may], "Fail"));
    let before = b.asked("check").len();
    b.c.k.ok("create configmap -n hooks by-eve --as=eve");
    assert_eq!(b.asked("check").len(), before);
    b.c.k.ok("create configmap -n hooks by-root");
    assert_eq!(b.asked("check").len(), before + 1);
    let page = b.c.k.ok("get --raw /metrics");
    let excluded = "apiserver_admission_match_condition_exclusions_total{kind=\"webhook\",name=\"check.example.com\",\
                    operation=\"CREATE\",type=\"validate\"} ";
    assert!(page.contains(excluded), "{page}");
    // What cannot be an answer is refused when it is written, in upstream's words.
    let mut out = String::new();
    for expression in [
        "object.",
        "1 + 1",
        "request.nothing == ''",
        "object.x",
        "params.x == 1",
        "variables.x",
        "request.namespace == 1",
        "authorizer.group('').allowed()",
    ] {
        let mut hooks =
            json!({"metadata": {"name": "wrong"}, "webhooks": [hook(&[expression], "Fail")]});
        let hook = &mut hooks["webhooks"][0];
        hook["name"] = "wrong.example.com".into();
        hook["sideEffects"] = "None".into();
        hook["admissionReviewVersions"] = json!(["v1"]);
        hook["clientConfig"] = b.url("check");
        let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        let refused = b.ask("POST", path, &hooks);
        let why =
            refused.message().split_once("expression: ").map_or(refused.message(), |(_, why)| why);
        writeln!(out, "{why}").expect("a String");
    }
    expect![[r#"
        Invalid value: "object.": compilation failed: ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'
         | object.
         | .......^
        Invalid value: "1 + 1": must evaluate to bool but got int
        Invalid value: "request.nothing == ''": compilation failed: ERROR: <input>:1:8: undefined field 'nothing'
         | request.nothing == ''
         | .......^
        Invalid value: "object.x": must evaluate to bool but got dyn
        Invalid value: "params.x == 1": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')
         | params.x == 1
         | ^
        Invalid value: "variables.x": compilation failed: ERROR: <input>:1:1: undeclared reference to 'variables' (in container '')
         | variables.x
         | ^
        Invalid value: "request.namespace == 1": compilation failed: ERROR: <input>:1:19: found no matching overload for '_==_' applied to '(string, int)'
         | request.namespace == 1
         | ..................^
        Invalid value: "authorizer.group('').allowed()": compilation failed: ERROR: <input>:1:29: found no matching overload for 'allowed' applied to 'kubernetes.authorization.GroupCheck.()'
         | authorizer.group('').allowed()
         | ............................^
    "#]]
    .assert_eq(&out);
}

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
