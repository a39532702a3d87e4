//! What the API server refuses, bounds and keeps: what nobody could read again, what cannot be read any more, and what
//! strangers may cost.

use serde_json::{Value, json};
use skiff_tests::cluster::{BUSYBOX, Cluster};
use skiff_tests::damage;

/// Asks the API as the owner, with curl; the code and the body.
struct Asks<'a>(&'a Cluster);

impl Asks<'_> {
    fn new(c: &Cluster) -> Asks<'_> {
        c.unfold(&c.machine().home());
        Asks(c)
    }

    fn ask(&self, method: &str, type_: &str, path: &str, body: &str) -> (u16, String) {
        let file = self.0.machine().home().join("body");
        std::fs::write(&file, body).unwrap();
        let said = self.0.shell(&format!(
            "curl -sS --max-time 60 -X {method} --cacert $HOME/ca --cert $HOME/cert --key $HOME/key \
             -H 'Content-Type: {type_}' --data-binary @{} -w '\n%{{http_code}}' \"$(cat $HOME/server){path}\"",
            file.display()
        ));
        let (body, code) = said.rsplit_once('\n').expect("the code is on a line of its own");
        (code.parse().expect("a code"), body.to_owned())
    }
}

const WIDGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.locks.example}
spec:
  group: locks.example
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;
const WIDGET: &str = "/apis/locks.example/v1/namespaces/default/widgets";

fn tower(depth: usize) -> Value {
    (0..depth).fold(json!({}), |within, _| json!({"a": within}))
}

fn widget(name: &str, field: &str, value: Value) -> Value {
    json!({"apiVersion": "locks.example/v1", "kind": "Widget", "metadata": {"name": name}, field: value})
}

#[test]
fn nothing_becomes_too_deep_to_be_read() {
    let c = Cluster::start("locks-depth");
    let asks = Asks::new(&c);
    c.k.apply(WIDGETS);
    c.k.wait("--for=condition=Established crd/widgets.locks.example");
    c.k.apply(&widget("w", "spec", tower(2)).to_string());
    let one = format!("{WIDGET}/w");
    // Five hundred moves, each of which puts the tower one level deeper.
    let steps = (0..500).flat_map(|_| {
        [
            json!({"op": "add", "path": "/more", "value": {}}),
            json!({"op": "move", "from": "/spec", "path": "/more/a"}),
            json!({"op": "move", "from": "/more", "path": "/spec"}),
        ]
    });
    let moves = Value::from(steps.collect::<Vec<_>>()).to_string();
    let (code, said) = asks.ask("PATCH", "application/json-patch+json", &one, &moves);
    assert_eq!(code, 422, "{said}");
    assert!(said.contains("more.a: would be nested more than 120 levels deep"), "{said}");
    // Whatever it comes in by: refused with the path, and what was there stays and is read.
    let merge = "application/merge-patch+json";
    let apply = "/w?fieldManager=deep&force=true";
    let yaml = |depth: usize| {
        format!(
            "apiVersion: locks.example/v1\nkind: Widget\nmetadata: {{name: y}}\nspec: {}",
            tower(depth)
        )
    };
    let whole = |depth: usize| widget("d", "spec", tower(depth)).to_string();
    let patch = |depth: usize| json!({"spec": tower(depth)}).to_string();
    let applied = |depth: usize| widget("w", "spec", tower(depth)).to_string();
    let status = |depth: usize| json!({"status": tower(depth)}).to_string();
    let over = json!([{"op": "add", "path": "/spec/b", "value": tower(118)}]).to_string();
    for (method, type_, path, body) in [
        ("POST", "application/json", "", whole(122)),
        ("PATCH", merge, "/w", patch(122)),
        ("PATCH", merge, "/w/status", status(122)),
        ("PATCH", "application/apply-patch+yaml", apply, applied(122)),
        ("PATCH", "application/json-patch+json", "/w", over),
    ] {
        let (code, said) = asks.ask(method, type_, &format!("{WIDGET}{path}"), &body);
        assert_eq!(code, 422, "{method} {type_} {path}: {said}");
        assert!(said.contains("nested more than 120 levels deep"), "{said}");
        assert!(
            said.contains(".a.a.a") || said.contains(".f:a.f:a") || said.contains("spec.b"),
            "{said}"
        );
    }
    for (method, type_, path, body) in [
        ("POST", "application/json", "", whole(200)),
        ("POST", "application/yaml", "", yaml(200)),
        ("PATCH", merge, "/w", patch(200)),
        ("PATCH", "application/apply-patch+yaml", apply, applied(200)),
    ] {
        let (code, said) = asks.ask(method, type_, &format!("{WIDGET}{path}"), &body);
        assert_eq!(code, 400, "{method} {type_} {path}: {said}");
    }
    // What a schema would fill in lies in the definition, and even deeper there.
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.locks.example";
    let filled = json!({"type": "object", "properties": {"p": {"type": "object", "default": tower(116),
        "x-kubernetes-preserve-unknown-fields": true}}});
    let add = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": filled}]);
    let (code, said) = asks.ask("PATCH", "application/json-patch+json", crds, &add.to_string());
    assert_eq!(code, 422, "{said}");
    assert_eq!(c.k.ok("get widget w -o jsonpath={.spec}"), tower(2).to_string());
    assert!(c.k.ok("get widgets -A").contains('w'));
    // The bound itself is fine: through a list and a watch, too.
    c.k.apply(&widget("most", "spec", tower(110)).to_string());
    assert!(c.k.ok("get widgets -o json").contains("\"most\""));
    // A cluster-wide resource has no path in a namespace, and a namespaced one none without (CVE-2019-11247).
    c.k.apply(
        &WIDGETS
            .replace("widgets", "anvils")
            .replace("widget", "anvil")
            .replace("Widget", "Anvil")
            .replace("Namespaced", "Cluster"),
    );
    c.k.wait("--for=condition=Established crd/anvils.locks.example");
    let anvil =
        json!({"apiVersion": "locks.example/v1", "kind": "Anvil", "metadata": {"name": "v"}})
            .to_string();
    let all = "/apis/locks.example/v1";
    assert_eq!(asks.ask("POST", "application/json", &format!("{all}/anvils"), &anvil).0, 201);
    for (method, path) in
        [("GET", "anvils/v"), ("GET", "anvils"), ("DELETE", "anvils/v"), ("POST", "anvils")]
    {
        let (code, said) = asks.ask(
            method,
            "application/json",
            &format!("{all}/namespaces/default/{path}"),
            &anvil,
        );
        assert_eq!(code, 404, "{method} {path}: {said}");
    }
    assert_eq!(asks.ask("GET", "application/json", &format!("{all}/widgets/w"), "").0, 404);
    answers_as_upstream(&c, &asks);
}

/// What upstream's own control plane was asked, word for word.
#[track_caller]
fn answers_as_upstream(c: &Cluster, asks: &Asks) {
    let version: Value = serde_json::from_str(&c.k.ok("get --raw /version")).unwrap();
    let fields =
        ["emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"];
    assert_eq!(fields.map(|field| version[field].as_str().unwrap_or("")), ["1", "37", "1", "36"]);
    let maps = "/api/v1/namespaces/default/configmaps";
    let list = format!("{maps}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    let (_, said) = asks.ask("GET", "application/json", &list, "");
    for part in [
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let nameless = r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"}}"#;
    let why = "the name of the object (x based on URL) was undeterminable: name must be provided";
    let one = format!("{maps}/x?fieldManager=m");
    for (method, type_) in [("PATCH", "application/apply-patch+yaml"), ("PUT", "application/json")]
    {
        let (code, said) = asks.ask(method, type_, &one, nameless);
        assert_eq!((code, said.contains(why)), (400, true), "{said}");
    }
    c.k.ok("create configmap x");
    assert_eq!(asks.ask("PATCH", "application/apply-patch+yaml", &one, nameless).0, 200);
    let (code, said) =
        asks.ask("PATCH", "application/merge-patch+json", &one, "{\"metadata\":{\"name\":null}}");
    assert_eq!((code, said.contains(why)), (400, true), "{said}");
    let future = format!("{maps}/x?resourceVersion=99999999");
    let (code, said) = asks.ask("GET", "application/json", &future, "");
    assert_eq!(code, 504, "{said}");
    assert!(said.contains("Timeout: Too large resource version: 99999999"), "{said}");
    assert!(said.contains("\"retryAfterSeconds\": 1"), "{said}");
    let unsafely = "ignoreStoreReadErrorWithClusterBreakingPotential=true";
    let (code, said) = asks.ask("DELETE", "application/json", &format!("{maps}/x?{unsafely}"), "");
    assert_eq!(code, 409, "{said}");
    assert!(
        said.contains(
            "unsafe deletion is not allowed because the object is decodable from storage"
        ),
        "{said}"
    );
    let (code, said) = asks.ask(
        "DELETE",
        "application/json",
        &format!("{maps}?{unsafely}&gracePeriodSeconds=1"),
        "",
    );
    assert_eq!(code, 422, "{said}");
    assert!(said.contains("is not allowed with DELETECOLLECTION"), "{said}");
}

#[test]
fn what_cannot_be_read_is_there_and_stops_nobody() {
    let c = Cluster::start("locks-unreadable");
    c.k.apply(WIDGETS);
    c.k.wait("--for=condition=Established crd/widgets.locks.example");
    c.k.apply(&widget("bad", "spec", tower(1)).to_string());
    c.k.apply(&widget("good", "spec", tower(1)).to_string());
    c.k.ok("create namespace left");
    c.k.ok("-n left create secret generic bad --from-literal=a=b");
    c.k.ok("-n left create secret generic good --from-literal=a=b");
    c.k.ok("create clusterrole reader --verb=get,list --resource=configmaps");
    c.k.ok("create clusterrolebinding reader --clusterrole=reader --user=ann");
    c.k.ok("create clusterrole sweeper --verb=get,delete --resource=secrets");
    c.k.ok("create clusterrolebinding sweeper --clusterrole=sweeper --user=bob");
    let owner = c.k.ok("get widget bad -o jsonpath={.metadata.uid}");
    let owned = |kind: &str, of: &str, uid: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": of, "ownerReferences": [
            {"apiVersion": "locks.example/v1", "kind": kind, "name": of, "uid": uid}]}})
        .to_string()
    };
    c.k.apply(&owned("Widget", "bad", owner.trim()));
    assert_eq!(c.k.ok("auth can-i list configmaps --as=ann").trim(), "yes");
    c.skiff(&["down"]);
    damage::spoil(
        &c,
        &[
            "widgets.locks.example/default/bad",
            "secrets/left/bad",
            "clusterroles.rbac.authorization.k8s.io//reader",
            "clusterroles.rbac.authorization.k8s.io//view",
        ],
    );
    c.skiff(&["up"]);
    let asks = Asks::new(&c);
    // It is named.
    let status = c.skiff(&["status"]);
    for key in [
        "widgets.locks.example/default/bad",
        "secrets/left/bad",
        "clusterroles.rbac.authorization.k8s.io//view",
    ] {
        assert!(status.contains(&format!("unreadable: {key}")), "{status}");
    }
    let page = c.k.ok("get --raw /metrics");
    assert!(
        page.contains(
            "skiff_unreadable_objects{resource=\"clusterroles.rbac.authorization.k8s.io\"} 2"
        ),
        "{page}"
    );
    // It stops no list of others, and is told of.
    let listed = c.k.exits(0, &["get", "secrets", "-n", "left"], "");
    assert!(listed.out.contains("good") && !listed.out.contains("bad"), "{}", listed.out);
    assert!(
        listed.err.contains("Warning") && listed.err.contains("secrets/left/bad"),
        "{}",
        listed.err
    );
    assert!(c.k.ok("get widgets").contains("good"));
    // It says itself what is left to do.
    let said = c.k.fails("get widget bad");
    assert!(
        said.contains("corrupt object")
            && said.contains("ignoreStoreReadErrorWithClusterBreakingPotential"),
        "{said}"
    );
    // Its name is taken, by whatever verb; what it owns stays, and what it grants is denied.
    assert!(
        c.k.exits(1, &["create", "-f", "-"], &widget("bad", "spec", tower(1)).to_string())
            .err
            .contains("AlreadyExists")
    );
    for words in
        ["label widget bad a=b", "delete widget bad --wait=false", "-n left delete secret bad"]
    {
        assert!(c.k.fails(words).contains("corrupt object"), "{words}");
    }
    let may = c.k.exits(1, &["auth", "can-i", "list", "configmaps", "--as=ann"], "").out;
    assert!(may.starts_with("no"), "{may}");
    c.k.ok("get configmap bad");
    // All that can go goes, and the namespace waits for the rest.
    c.k.ok("delete namespace left --wait=false");
    c.k.ok("-n left wait --for=delete secret/good --timeout=60s");
    assert_eq!(c.k.ok("get namespace left -o jsonpath={.status.phase}"), "Terminating");
    // Upstream's way, for whoever may.
    let path =
        "/api/v1/namespaces/left/secrets/bad?ignoreStoreReadErrorWithClusterBreakingPotential=true";
    let said = c.k.exits(1, &["delete", "--raw", path, "--as=bob"], "").err;
    assert!(
        said.contains("not permitted to do") && said.contains("unsafe-delete-ignore-read-errors"),
        "{said}"
    );
    assert_eq!(c.k.ok("get namespace left -o jsonpath={.status.phase}"), "Terminating");
    let (code, said) = asks.ask("DELETE", "application/json", path, "");
    assert_eq!((code, said.contains("\"Success\"")), (200, true), "{said}");
    c.k.ok("wait --for=delete namespace/left --timeout=60s");
    let path = format!("{WIDGET}/bad?ignoreStoreReadErrorWithClusterBreakingPotential=true");
    assert_eq!(asks.ask("DELETE", "application/json", &path, "").0, 200);
    // Now its owner is gone for good.
    c.k.ok("wait --for=delete configmap/bad --timeout=60s");
    assert!(!c.skiff(&["status"]).contains("secrets/left/bad"));
}

/// A ReplicaSet of one pod, with a service before it.
const KEPT: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: kept}
spec: {selector: {app: kept}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: kept}
spec:
  replicas: 1
  selector: {matchLabels: {app: kept}}
  template:
    metadata: {labels: {app: kept}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: "IMAGE", command: [sleep, "86397"]}]
"#;

#[test]
fn a_pod_that_cannot_be_read_is_not_made_again_and_runs_on() {
    let c = Cluster::start("locks-unread-pod");
    c.load_busybox();
    c.k.apply(&KEPT.replace("IMAGE", BUSYBOX));
    c.k.wait("--for=condition=Ready pod -l app=kept");
    let pod = c.k.ok("get pods -l app=kept -o jsonpath={.items[0].metadata.name}");
    let address = "get endpointslices -l kubernetes.io/service-name=kept -o \
        jsonpath={.items[*].endpoints[*].addresses[0]}";
    c.k.wait(
        "--for=jsonpath={.endpoints[0].conditions.ready}=true endpointslice \
        -l kubernetes.io/service-name=kept",
    );
    let before = c.k.ok(address);
    let oldest = || c.shell("pgrep -o -xf 'sleep 86397'");
    let process = oldest();
    c.shell(&format!("kill -9 {}", c.daemon()));
    damage::spoil(&c, &[&format!("pods/default/{pod}")]);
    c.skiff(&["up"]);
    let status = c.skiff(&["status"]);
    assert!(status.contains(&format!("unreadable: pods/default/{pod}")), "{status}");
    // The loop tells its user why there is no other one.
    c.k.wait("--for=jsonpath={.status.conditions[0].type}=ReplicaFailure rs/kept");
    let why = c.k.ok("get rs kept -o jsonpath={.status.conditions[0].message}");
    assert!(why.contains(&pod) && why.contains("cannot be read"), "{why}");
    // A namespace beside it is served meanwhile, by the same loops and the same node.
    c.k.ok("create namespace beside");
    let beside = KEPT.replace("IMAGE", BUSYBOX);
    c.k.exits(0, &["-n", "beside", "apply", "-f", "-"], &beside);
    c.k.wait("-n beside --for=condition=Ready pod -l app=kept");
    assert_eq!(c.k.ok("get pods -o name"), "");
    assert_eq!(c.k.ok(address), before, "what it answers on stays");
    assert_eq!(oldest(), process, "it runs on");
    c.k.ok("delete namespace beside");
    // Gone by upstream's way, it is made again at once, and what ran for it ends.
    let path = format!(
        "/api/v1/namespaces/default/pods/{pod}?ignoreStoreReadErrorWithClusterBreakingPotential=true"
    );
    assert_eq!(Asks::new(&c).ask("DELETE", "application/json", &path, "").0, 200);
    c.k.wait("--for=jsonpath={.status.readyReplicas}=1 rs/kept");
    assert_ne!(c.k.ok("get pods -l app=kept -o jsonpath={.items[*].metadata.name}"), pod);
    c.shell(&format!("timeout 30 tail --pid={} -f /dev/null", process.trim()));
    assert_ne!(c.k.ok(address), before);
    assert!(!c.skiff(&["status"]).contains("unreadable"));
}

#[test]
fn what_only_the_owner_may_read_is_so_whatever_it_was_before() {
    let c = Cluster::start("locks-modes");
    // Of all that is Skiff's own; what lies in images and volumes has modes of its own, below a closed folder.
    let open = "find /var/lib/skiff -xdev \\( -path '*/images/*' -o -path '*/node/*/*' -o -path '*/runtime/*/*' \\) \
        -prune -o \\( -type f -o -type d -o -type s \\) -perm /077 -printf '%m %P\n'";
    let program = skiff_tests::kit::skiff().unwrap();
    c.skiff(&["down"]);
    c.shell("chmod -R a+rwX /var/lib/skiff");
    assert!(c.shell(open).lines().count() > 20);
    c.shell(&format!("umask 0; {} up", program.display()));
    assert_eq!(c.shell(open), "644 skiff.pid\n");
    // A cluster that begins anew below such a mask.
    c.skiff(&["delete"]);
    c.shell(&format!("umask 0; {} up", program.display()));
    let files = open.replace("-type d -o", "");
    assert_eq!(c.shell(&files), "644 skiff.pid\n");
    assert_eq!(c.shell("stat -c %a /var/lib/skiff"), "700\n");
    assert_eq!(c.shell(&format!("stat -c %a {}", c.config())), "600\n");
}
