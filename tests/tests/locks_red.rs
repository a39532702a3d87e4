//! Numbers without measure: what one pod says of itself stops nobody else, and the pod ends too.

use serde_json::{Value, json};
use skiff_tests::cluster::{BUSYBOX, Cluster};

fn pod(name: &str, requests: Value, grace_s: i64) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": grace_s, "containers": [{"name": "c", "image": BUSYBOX,
        "imagePullPolicy": "Never", "command": ["sh", "-c", "trap exit TERM; sleep 1000 & wait"],
        "resources": {"requests": requests}}]}})
}

#[test]
fn numbers_without_measure_stop_nobody() {
    let c = Cluster::start("measureless");
    c.load_busybox();
    // Two that no node can have, past the scheduler, together more than 64 bits.
    let node = c.k.ok("get node -o jsonpath={.items[0].metadata.name}");
    for name in ["huge", "huger"] {
        let mut huge = pod(name, json!({"cpu": "9223372036854775", "memory": "8E"}), 30);
        huge["spec"]["nodeName"] = json!(node);
        c.k.apply(&huge.to_string());
    }
    for name in ["huge", "huger"] {
        c.k.wait(&format!("--for=jsonpath={{.status.phase}}=Failed pod/{name}"));
        assert_eq!(c.k.ok(&format!("get pod {name} -o jsonpath={{.status.reason}}")), "OutOfcpu");
    }
    // Graces longer than time can be told: what says so runs, and ends whoever deletes it.
    for (name, grace_s) in [("ages", 400_000_000_000), ("ever", i64::MAX), ("asked", 1)] {
        c.k.apply(&pod(name, json!({"cpu": "1m"}), grace_s).to_string());
    }
    c.k.wait("--for=condition=Ready pod/ages pod/ever pod/asked");
    c.k.ok("delete pod ages");
    c.k.ok(&format!("delete pod asked --grace-period={}", i64::MAX));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": "ever"}});
    let at = "/api/v1/namespaces/default/pods/ever/eviction";
    c.k.exits(0, &["create", "--raw", at, "-f", "-"], &eviction.to_string());
    c.k.wait("--for=delete pod/ever");
}
