//! Parts that panic or fail where a test asks for it: the rest goes on, the part is back, and `skiff status` tells of it.
//! The points are there in debug builds alone.

use serde_json::Value;
use skiff_tests::cluster::{BUSYBOX, Cluster};
use std::time::Duration;

/// Loops, most of them: their tasks, and one of the passes of each.
const LOOPS: [&str; 34] = [
    "claim-use",
    "clusterrole-aggregation-controller",
    "crd-controller",
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "event-expiry-controller",
    "generic-garbage-collector",
    "horizontal-pod-autoscaler",
    "ipallocator-repair-controller",
    "job-controller",
    "lasting-objects-controller",
    "namespace-controller",
    "node-controller",
    "node-ipam-controller",
    "persistentvolume-controller",
    "pod-garbage-collector",
    "pvc-protection-controller",
    "replicaset-controller",
    "replication-controller",
    "resourcequota-controller",
    "root-ca-cert-publisher",
    "service-account-controller",
    "service-cidrs-controller",
    "statefulset-controller",
    "taint-eviction-controller",
    "terminated-pods",
    "tokens-controller",
    "ttl-after-finished-controller",
    "ttl-controller",
];

const DEFINITION: &str = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
    "metadata":{"name":"as.x.example"},"spec":{"group":"x.example","names":{"kind":"A","plural":"as"},
    "scope":"Namespaced","versions":[{"name":"v1","served":true,"storage":true,
    "schema":{"openAPIV3Schema":{"type":"object"}}}]}}"#;

/// Something for each loop of a workload, without pods that run.
const WORKLOADS: &str = r#"{"apiVersion":"v1","kind":"List","items":[
    {"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"w"},"spec":{"replicas":0,"selector":{"matchLabels":{"a":"s"}},
     "template":{"metadata":{"labels":{"a":"s"}},"spec":{"containers":[{"name":"c","image":"x"}]}}}},
    {"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"w"},"spec":{"selector":{"matchLabels":{"a":"d"}},
     "template":{"metadata":{"labels":{"a":"d"}},"spec":{"nodeSelector":{"no":"node"},"containers":[{"name":"c","image":"x"}]}}}},
    {"apiVersion":"v1","kind":"ReplicationController","metadata":{"name":"w"},"spec":{"replicas":0,"selector":{"a":"r"},
     "template":{"metadata":{"labels":{"a":"r"}},"spec":{"containers":[{"name":"c","image":"x"}]}}}},
    {"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"w"},"spec":{"template":{"spec":{"restartPolicy":"Never",
     "nodeSelector":{"no":"node"},"containers":[{"name":"c","image":"x"}]}}}},
    {"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"w"},"spec":{"schedule":"@yearly","jobTemplate":{"spec":{
     "template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"x"}]}}}}}},
    {"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"w"},"spec":{"maxReplicas":2,
     "scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"w"}}},
    {"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"w"},"spec":{"maxUnavailable":1,
     "selector":{"matchLabels":{"a":"s"}}}},
    {"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"w"},"spec":{"accessModes":["ReadWriteOnce"],
     "storageClassName":"","resources":{"requests":{"storage":"1Mi"}}}}]}"#;

/// How a part is, as `skiff status` tells it.
fn part(c: &Cluster, name: &str) -> Option<Value> {
    let answer = c.skiff_answers(&["status", "-o", "json"]);
    let status: Value = serde_json::from_str(&answer.out).ok()?;
    status["parts"].as_array()?.iter().find(|part| part["name"] == name).cloned()
}

/// Asks again and again until something is so; panics with what was asked for when it never is.
#[track_caller]
fn until<T>(what: impl Fn() -> String, so: impl Fn() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(found) = so() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{}", what());
}

/// Waits, by the answers of `skiff status`, until a part has started again so often and runs.
#[track_caller]
fn back(c: &Cluster, name: &str, restarts: u64) -> Value {
    let runs =
        |part: &Value| part["state"] == "Running" && part["restarts"].as_u64() >= Some(restarts);
    let so = || part(c, name).filter(runs);
    until(|| format!("{name} is not back: {:?}", part(c, name)), so)
}

/// Waits until every point that was asked for has been reached.
#[track_caller]
fn met(c: &Cluster) {
    until(|| format!("not reached: {}", c.faults()), || c.faults().is_empty().then_some(()));
}

/// A deployment of two pods behind a service.
fn web(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"List","items":[
        {{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"{name}"}},"spec":{{"replicas":2,
          "selector":{{"matchLabels":{{"app":"{name}"}}}},"template":{{"metadata":{{"labels":{{"app":"{name}"}}}},
          "spec":{{"terminationGracePeriodSeconds":0,"containers":[{{"name":"c","image":"{BUSYBOX}","command":
          ["sh","-c","echo it is {name} > /tmp/index.html; exec httpd -f -p 80 -h /tmp"]}}]}}}}}}}},
        {{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}"}},"spec":{{
          "selector":{{"app":"{name}"}},"ports":[{{"port":80}}]}}}}]}}"#
    )
}

/// Asks a service by its name, from a pod. A static `wget` does not survive names that are not there yet.
#[track_caller]
fn fetched(c: &Cluster, from: &str, name: &str) {
    let line = format!(
        "for i in $(seq 100); do
         ip=$(nslookup {name}.default.svc.cluster.local | grep -o '10\\.96\\.[0-9.]*$' | tail -n 1) &&
         wget -qO- http://$ip && exit; sleep 0.1; done; exit 1"
    );
    let said = c.k.args(&["exec", &format!("deploy/{from}"), "--", "sh", "-c", &line]);
    assert_eq!(said, format!("it is {name}\n"));
}

#[test]
fn a_panic_in_any_loop_ends_that_pass_or_that_loop_alone() {
    let c = Cluster::faulty("parts-loops");
    let points = |type_: &str| LOOPS.map(|name| format!("{type_}/{name}"));
    let all: Vec<String> = [points("loop"), points("pass")].concat();
    c.ask_faults(&all.iter().map(String::as_str).collect::<Vec<_>>());
    c.skiff(&["up"]);
    c.load_busybox();
    c.k.apply(&web("web"));
    c.k.apply(DEFINITION);
    c.k.wait("--for=condition=Established crd/as.x.example");
    c.k.apply(
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"t","annotations":{
        "kubernetes.io/service-account.name":"default"}},"type":"kubernetes.io/service-account-token"}"#,
    );
    c.k.wait("--for=jsonpath={.data.token} secret/t");
    c.k.wait("--for=condition=Available deployment/web");
    fetched(&c, "web", "web");
    c.k.apply(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"ended"},
        "spec":{"schedulerName":"nobody","containers":[{"name":"c","image":"x"}]}}"#,
    );
    c.k.ok(r#"patch pod ended --subresource=status -p {"status":{"phase":"Failed"}}"#);
    c.k.ok("create deployment gone --image=x --replicas=0");
    c.k.wait("--for=jsonpath={.status.observedGeneration}=1 deployment/gone");
    let owned = c.k.ok("get replicaset -l app=gone -o name");
    c.k.ok("delete deployment gone");
    c.k.wait(&format!("--for=delete {}", owned.trim()));
    c.k.ok("create namespace gone");
    c.k.ok("delete namespace gone");
    c.k.ok("create quota q --hard=count/secrets=9");
    c.k.wait("--for=jsonpath={.status.used} quota/q");
    c.k.apply(WORKLOADS);
    met(&c);
    for name in LOOPS {
        let part = back(&c, &format!("loop/{name}"), 1);
        let told = (part["restarts"].as_u64(), part["panics"].as_u64());
        assert_eq!(told, (Some(1), Some(1)), "{part}");
    }
    let text = c.skiff(&["status"]);
    assert!(text.contains("part: loop/deployment-controller runs again: 1 restarts"), "{text}");
    let metrics = c.k.ok("get --raw /metrics");
    assert!(metrics.contains("skiff_part_restarts_total{part=\"loop/node-controller\"} 1\n"));
    assert!(metrics.contains("skiff_part_up{part=\"loop/node-controller\"} 1\n"));
}

#[test]
fn a_part_that_panics_starts_again_and_pods_run_on() {
    let c = Cluster::faulty("parts-parts");
    // Its first pass follows the start.
    c.ask_faults(&["memory"]);
    c.skiff(&["up"]);
    back(&c, "memory", 1);
    c.load_busybox();
    c.k.apply(&web("web"));
    c.k.wait("--for=condition=Available deployment/web");
    let pods = "get pods -l app=web -o jsonpath={.items[*].metadata.uid}{.items[*].status.containerStatuses[0].containerID}";
    let before = c.k.ok(pods);
    // Each has something to do when its point is set, and does it once it is back.
    let parts = [
        "scheduler",
        "services",
        "dns",
        "node-api",
        "cache/pods",
        "cache/endpointslices",
        "cache/nodes",
        "cache/services",
    ];
    for (at, name) in parts.into_iter().enumerate() {
        c.ask_faults(&[name]);
        let other = format!("other{at}");
        c.k.apply(&web(&other));
        c.k.wait(&format!("--for=condition=Available deployment/{other}"));
        if name == "node-api" {
            // The connection that met the point is lost with it; kubectl asks once more, by SPDY.
            c.k.ok("exec deploy/web -- true");
        }
        fetched(&c, "web", &other);
        if name == "cache/nodes" {
            c.k.ok("label nodes --all a=b");
        }
        let part = back(&c, name, 1);
        assert!(part["lastError"].as_str().unwrap().contains(name), "{part}");
        c.k.ok(&format!("delete deployment,service {other}"));
    }
    // Who follows the metadata of a resource takes the panic itself, and reads again all that there is.
    c.ask_faults(&["metadata/replicasets"]);
    c.k.ok("create deployment met --image=x --replicas=0");
    met(&c);
    c.k.ok("create deployment owner --image=x --replicas=0");
    c.k.wait("--for=jsonpath={.status.observedGeneration}=1 deployment/owner");
    let owned = c.k.ok("get replicaset -l app=owner -o name");
    c.k.ok("delete deployment owner");
    c.k.wait(&format!("--for=delete {}", owned.trim()));
    // A new kind is told to who keeps the kinds, and then to who follows the metadata of each.
    c.ask_faults(&["custom-resources", "metadata"]);
    c.k.apply(DEFINITION);
    back(&c, "custom-resources", 1);
    back(&c, "metadata", 1);
    c.k.wait("--for=condition=Established crd/as.x.example");
    c.k.apply(r#"{"apiVersion":"x.example/v1","kind":"A","metadata":{"name":"owner"}}"#);
    let uid = c.k.ok("get as owner -o jsonpath={.metadata.uid}");
    c.k.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"owned","ownerReferences":[
        {{"apiVersion":"x.example/v1","kind":"A","name":"owner","uid":"{uid}"}}]}}}}"#
    ));
    c.k.ok("delete as owner");
    c.k.wait("--for=delete configmap/owned");
    c.ask_faults(&["legacy-tokens"]);
    c.k.apply(
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"t","annotations":{
        "kubernetes.io/service-account.name":"default"}},"type":"kubernetes.io/service-account-token"}"#,
    );
    c.k.wait("--for=jsonpath={.data.token} secret/t");
    let args = ["get", "secret", "t", "-o", "go-template={{.data.token|base64decode}}"];
    let review = format!(
        r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{{"token":"{}"}}}}"#,
        c.k.args(&args)
    );
    let used = || c.k.exits(0, &["create", "-f", "-", "-o", "name"], &review);
    used();
    back(&c, "legacy-tokens", 1);
    // What was not written down is noted again by the next use.
    used();
    c.k.wait("--for=jsonpath={.metadata.labels.kubernetes\\.io/legacy-token-last-used} secret/t");
    c.ask_faults(&["node"]);
    c.k.ok("run once --image registry.k8s.io/busybox:test --restart=Never -- true");
    back(&c, "node", 1);
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/once");
    c.ask_faults(&["admin"]);
    c.skiff_answers(&["status"]);
    back(&c, "admin", 1);
    assert_eq!(c.k.ok(pods), before, "no container was touched");
    fetched(&c, "web", "web");
}

#[test]
fn a_kind_whose_watch_fails_stops_nobody_else() {
    let c = Cluster::faulty("parts-watch");
    c.ask_faults(&[]);
    c.skiff(&["up"]);
    c.load_busybox();
    c.k.apply(&web("web"));
    c.k.wait("--for=condition=Available deployment/web");
    fetched(&c, "web", "web");
    c.ask_faults(&["cache/endpointslices", "watch/endpointslices*"]);
    c.k.apply(&web("later"));
    c.k.wait("--for=condition=Available deployment/later");
    // What was known is kept.
    fetched(&c, "web", "web");
    c.ask_faults(&[]);
    fetched(&c, "web", "later");
    back(&c, "cache/endpointslices", 1);
}

#[test]
fn the_api_listener_is_fatal_and_says_so() {
    let c = Cluster::faulty("parts-fatal");
    c.ask_faults(&[]);
    c.skiff(&["up"]);
    let (daemon, asked) = (c.daemon(), ["api"]);
    c.ask_faults(&asked);
    c.k.fails("get nodes --request-timeout=5s");
    c.shell(&format!("tail --pid={daemon} -f /dev/null"));
    let logs = c.skiff(&["logs"]);
    assert!(
        logs.contains(
            "api ended: it panicked: the fault \"api\" that a test asked for; `skiff up` starts"
        ),
        "{logs}"
    );
    c.skiff(&["up"]);
    assert_eq!(c.k.ok("get nodes -o name").lines().count(), 1);
}
