//! Stateful sets and daemon sets whose pods really run.

use skiff_tests::cluster::{BUSYBOX, Cluster};

/// A headless service and a stateful set behind it; each pod says when it began.
fn stateful(replicas: u32, version: &str, strategy: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  replicas: {replicas}
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  updateStrategy: {strategy}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: {BUSYBOX}
        command: [sh, -c, "touch /tmp/up; sleep 3600"]
        env: [{{name: VERSION, value: {version}}}]
        readinessProbe: {{exec: {{command: [cat, /tmp/up]}}, periodSeconds: 1}}
"#
    )
}

#[test]
fn a_stateful_set_begins_in_order_is_updated_and_shrinks() {
    let c = Cluster::start("apps-stateful");
    c.load_busybox();
    c.k.apply(&stateful(3, "v1", "{rollingUpdate: {partition: 0}}"));
    c.k.ok("rollout status sts/db --timeout=90s");
    let began =
        |pod: &str| c.k.ok(&format!("get pod {pod} -o jsonpath={{.metadata.creationTimestamp}}"));
    let ready = |pod: &str| {
        let at = r#"{.status.conditions[?(@.type=="Ready")].lastTransitionTime}"#;
        c.k.ok(&format!("get pod {pod} -o jsonpath={at}"))
    };
    assert!(ready("db-0") <= began("db-1"), "a pod waits for the one before it");
    assert!(ready("db-1") <= began("db-2"), "a pod waits for the one before it");
    assert_eq!(c.k.ok("exec db-1 -- hostname"), "db-1\n");
    c.k.ok("exec db-2 -- nslookup db-0.db.default.svc.cluster.local");
    let of = |pod: &str| {
        let path = "{.spec.containers[0].env[0].value}";
        c.k.ok(&format!("get pod {pod} -o jsonpath={path}"))
    };
    c.k.apply(&stateful(3, "v2", "{rollingUpdate: {partition: 2}}"));
    c.k.ok("rollout status sts/db --timeout=90s");
    assert_eq!((of("db-0"), of("db-1"), of("db-2")), ("v1".into(), "v1".into(), "v2".into()));
    c.k.ok("rollout undo sts/db");
    // The set says when it is through: between the old pod and its successor there is none to wait for.
    c.k.ok("rollout status sts/db --timeout=90s");
    assert_eq!(of("db-2"), "v1");
    c.k.ok("scale sts/db --replicas=1");
    c.k.wait("--for=delete pod/db-2 pod/db-1");
    assert_eq!(c.k.ok("get pods -o name"), "pod/db-0\n");
}

#[test]
fn a_daemon_runs_on_the_node_and_is_updated() {
    let c = Cluster::start("apps-daemon");
    c.load_busybox();
    let daemon = |version: &str, update: &str| {
        format!(
            r#"apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  updateStrategy: {{rollingUpdate: {update}}}
  template:
    metadata: {{labels: {{app: agent}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {{name: c, image: "{BUSYBOX}", command: [sleep, "3600"], env: [{{name: VERSION, value: {version}}}]}}
"#
        )
    };
    let versions = || c.k.ok("get pods -o jsonpath={.items[*].spec.containers[0].env[0].value}");
    let nodes = || c.k.ok("get pods -o jsonpath={.items[*].spec.nodeName}");
    c.k.apply(&daemon("v1", "{maxUnavailable: 1}"));
    c.k.ok("rollout status ds/agent --timeout=60s");
    assert_eq!(nodes(), c.k.ok("get nodes -o jsonpath={.items[0].metadata.name}"));
    c.k.apply(&daemon("v2", "{maxUnavailable: 1}"));
    c.k.ok("rollout status ds/agent --timeout=60s");
    assert_eq!(versions(), "v2");
    c.k.apply(&daemon("v3", "{maxUnavailable: 0, maxSurge: 1}"));
    c.k.ok("rollout status ds/agent --timeout=60s");
    c.k.wait("--for=jsonpath={.status.numberAvailable}=1 ds/agent");
    c.k.ok("rollout undo ds/agent --to-revision=1");
    c.k.ok("rollout status ds/agent --timeout=60s");
    c.k.wait("--for=jsonpath={.status.updatedNumberScheduled}=1 ds/agent");
    assert!(c.k.ok("rollout history ds/agent").contains("4 "));
    // It outlasts a cordon, and goes when its node does not fit any more.
    let node = c.k.ok("get nodes -o jsonpath={.items[0].metadata.name}");
    c.k.ok(&format!("cordon {node}"));
    c.k.ok(&format!("taint node {node} x=y:NoExecute"));
    c.k.wait("--for=jsonpath={.status.desiredNumberScheduled}=0 ds/agent");
    c.k.wait("--for=delete pod -l app=agent");
}
