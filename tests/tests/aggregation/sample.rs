//! Upstream's sample-apiserver, unchanged: what its users do with it, what becomes of its objects, and what goes on while
//! it is down.

use crate::bench::*;
use serde_json::{Value, json};
use skiff_tests::kit;

const GROUP: &str = "wardle.example.com";
const NAME: &str = "v1alpha1.wardle.example.com";

/// Begins the server, with a store that is there.
fn begin(b: &mut Bench) {
    let (home, config) = (b.home.display().to_string(), b.c.config());
    let kubeconfig = ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"]
        .map(|it| format!("{it}={config}"));
    let mut args =
        vec!["--etcd-servers=http://127.0.0.1:12379".to_owned(), "--secure-port=9443".into()];
    args.extend(kubeconfig);
    args.push(format!("--tls-cert-file={home}/server.crt"));
    args.push(format!("--tls-private-key-file={home}/server.key"));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    b.begin("sample", &kit::bin("sample-apiserver"), &args);
}

#[test]
fn upstreams_sample_serves_its_group_and_costs_nobody_else_while_it_is_down() {
    let mut b = bench("aggregation-sample");
    let data = b.home.join("etcd").display().to_string();
    let (clients, peers) = ("http://127.0.0.1:12379", "http://127.0.0.1:12380");
    let etcd =
        ["--data-dir", &data, "--listen-client-urls", clients, "--advertise-client-urls", clients];
    let etcd = [&etcd[..], &["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]]
        .concat();
    let etcd = [&etcd[..], &["--initial-cluster", "default=http://127.0.0.1:12380"]].concat();
    b.begin("etcd", &kit::bin("etcd"), &etcd);
    begin(&mut b);
    b.register("v1alpha1", GROUP, Value::Null);
    b.register("v1beta1", GROUP, json!({"versionPriority": 5}));
    b.becomes(NAME, "Passed");
    b.becomes("v1beta1.wardle.example.com", "Passed");

    // What users do.
    let names = b.c.k.ok("api-resources --api-group=wardle.example.com --no-headers -o name");
    assert_eq!(names, "fischers.wardle.example.com\nflunders.wardle.example.com\n");
    b.c.k.ok("create ns doomed");
    let owned = |name: &str, more: &str| {
        let manifest = format!(
            "apiVersion: {GROUP}/v1alpha1\nkind: Flunder\nmetadata: {{name: {name}, namespace: doomed{more}}}\n"
        );
        b.c.k.apply(&manifest);
    };
    owned("first", "");
    assert!(b.c.k.ok("-n doomed get flunder first").contains("first"));
    assert!(
        b.c.k
            .ok("-n doomed describe flunder first")
            .contains("API Version:  wardle.example.com/v1alpha1")
    );
    assert!(b.c.k.ok("explain flunder.spec").contains("FIELDS:"));
    b.c.k.ok("-n doomed label flunder first a=b");
    b.c.k.ok("-n doomed wait --for=jsonpath={.metadata.labels.a}=b flunder/first --timeout=30s");
    // Upstream's example refuses what names a Fischer that bans it: its admission works as it does there.
    b.c.k.apply(&format!(
        "apiVersion: {GROUP}/v1alpha1\nkind: Fischer\nmetadata: {{name: ban}}\ndisallowedFlunders: [banned]\n"
    ));
    let banned = format!(
        "apiVersion: {GROUP}/v1alpha1\nkind: Flunder\nmetadata: {{name: banned, namespace: doomed}}\n"
    );
    let refused = b.c.k.exits(1, &["create", "-f", "-"], &banned);
    assert!(refused.err.contains("this name may not be used"), "{}", refused.err);
    // Rights are asked twice, and are one.
    b.c.k.ok("create sa reader");
    let reader = "--as=system:serviceaccount:default:reader";
    assert!(b.c.k.fails(&format!("-n doomed get flunders {reader}")).contains("Forbidden"));
    b.c.k.ok("create clusterrole flunders --verb=get,list --resource=flunders.wardle.example.com");
    b.c.k.ok(
        "create clusterrolebinding flunders --clusterrole=flunders --serviceaccount=default:reader",
    );
    b.c.k.ok(&format!("-n doomed get flunders {reader}"));

    // What it owns, and what owns it, is collected.
    b.c.k.ok("-n doomed create cm owner");
    let uid = b.c.k.ok("-n doomed get cm owner -o jsonpath={.metadata.uid}");
    let owner = format!(
        ", ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}}}]"
    );
    owned("dependent", &owner);
    b.c.k.ok("-n doomed delete cm owner");
    b.c.k.ok("-n doomed wait --for=delete flunder/dependent --timeout=60s");
    let uid = b.c.k.ok("-n doomed get flunder first -o jsonpath={.metadata.uid}");
    b.c.k.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: dependent, namespace: doomed, ownerReferences: \
         [{{apiVersion: {GROUP}/v1alpha1, kind: Flunder, name: first, uid: {uid}}}]}}\n"
    ));
    b.c.k.ok("-n doomed delete flunder first");
    b.c.k.ok("-n doomed wait --for=delete cm/dependent --timeout=60s");

    // Down: its group says so, and all else goes on.
    owned("last", "");
    b.end("sample");
    let why = b.becomes(NAME, "FailedDiscoveryCheck");
    assert!(why.ends_with("connect: connection refused"), "{why}");
    let refused = b.c.k.fails("-n doomed get flunders.v1alpha1.wardle.example.com");
    assert!(refused.contains("the server is currently unable to handle the request"), "{refused}");
    assert_eq!(b.discovered(GROUP)[0]["versions"][0]["freshness"], "Stale");
    assert!(b.c.k.ok("get ns doomed").contains("Active"));
    b.c.k.ok("-n default create cm owner");
    let uid = b.c.k.ok("-n default get cm owner -o jsonpath={.metadata.uid}");
    b.c.k.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: dependent, namespace: default, ownerReferences: \
         [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}, blockOwnerDeletion: true}}]}}\n"
    ));
    b.c.k.ok("-n default delete cm owner --cascade=foreground --timeout=60s");
    b.c.k.ok("-n default wait --for=delete cm/dependent --timeout=60s");
    // A namespace ends as far as it is known what is in it, and says what is not.
    b.c.k.ok("-n doomed create cm kept");
    b.c.k.ok("delete ns doomed --wait=false");
    b.c.k.ok("-n doomed wait --for=delete cm/kept --timeout=60s");
    b.c.k.ok("wait --for=condition=NamespaceDeletionDiscoveryFailure ns/doomed --timeout=60s");
    let why = b.c.k.ok(
        "get ns doomed -o jsonpath={.status.conditions[?(@.type==\"NamespaceDeletionDiscoveryFailure\")].message}",
    );
    assert!(why.contains("wardle.example.com/v1alpha1: stale GroupVersion discovery"), "{why}");

    // Back: what waited for it goes on.
    begin(&mut b);
    b.becomes(NAME, "Passed");
    b.c.k.ok("wait --for=delete ns/doomed --timeout=90s");
    assert_eq!(b.c.k.ok("get flunders -A --no-headers --ignore-not-found"), "");
}
