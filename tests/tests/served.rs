//! Third landing: services, DNS, deployments, the demo, custom resources, server-side apply.

use skiff_tests::cluster::{BUSYBOX, Cluster};

/// A deployment that serves its own pod's name, and a service before it.
fn web(replicas: u32, version: &str) -> String {
    format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: {BUSYBOX}
        command:
        - sh
        - -c
        - |
          hostname > /tmp/index.html
          echo {version} > /tmp/version
          exec httpd -f -p 8080 -h /tmp
        ports: [{{containerPort: 8080, name: http}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: http}}]
"#
    )
}

#[test]
fn a_deployment_is_served_by_its_service() {
    let c = Cluster::start("served-service");
    c.load_busybox();
    c.k.apply(&web(2, "v1"));
    c.k.ok("rollout status deployment/web --timeout=90s");
    let address = c.k.ok("get service web -o jsonpath={.spec.clusterIP}");
    let seen = c.shell(&format!("for i in $(seq 40); do curl -s -m 5 http://{address}/; done"));
    let mut pods: Vec<_> = seen.lines().collect();
    assert_eq!(pods.len(), 40, "{seen}");
    pods.sort_unstable();
    pods.dedup();
    assert_eq!(pods.len(), 2, "both pods answer: {seen}");
    let port = c.k.ok("get service web -o jsonpath={.spec.ports[0].nodePort}");
    assert!(c.shell(&format!("curl -s -m 5 http://127.0.0.1:{port}/")).starts_with("web-"));
}

#[test]
fn names_resolve_in_pods() {
    let c = Cluster::start("served-names");
    c.load_busybox();
    c.k.apply(&web(1, "v1"));
    c.k.ok("rollout status deployment/web --timeout=90s");
    let fetch = ["exec", "deployment/web", "--", "wget", "-q", "-O-"];
    for name in ["web", "web.default", "web.default.svc.cluster.local"] {
        let url = format!("http://{name}/version");
        assert_eq!(c.k.args(&[&fetch[..], &[&url]].concat()), "v1\n");
    }
    // busybox's nslookup knows no search path; ping asks as every program does.
    let exec = ["exec", "deployment/web", "--"];
    let kubernetes = "kubernetes.default.svc.cluster.local";
    let found = c.k.args(&[&exec[..], &["nslookup", kubernetes]].concat());
    assert!(found.contains("10.96.0.1"), "{found}");
    let short = ["sh", "-c", "ping -c 1 -W 1 kubernetes.default 2>&1 | head -n 1"];
    let found = c.k.args(&[&exec[..], &short[..]].concat());
    assert!(found.contains("(10.96.0.1)"), "{found}");
}

#[test]
fn rollout_undo_and_history() {
    let c = Cluster::start("served-rollout");
    c.load_busybox();
    c.k.apply(&web(2, "v1"));
    c.k.ok("rollout status deployment/web --timeout=90s");
    c.k.apply(&web(2, "v2"));
    c.k.ok("rollout status deployment/web --timeout=90s");
    let version = ["exec", "deployment/web", "--", "cat", "/tmp/version"];
    assert_eq!(c.k.args(&version), "v2\n");
    c.k.ok("rollout undo deployment/web");
    c.k.ok("rollout status deployment/web --timeout=90s");
    assert_eq!(c.k.args(&version), "v1\n");
    assert_eq!(
        c.k.ok("rollout history deployment/web")
            .lines()
            .filter(|l| l.starts_with(['2', '3']))
            .count(),
        2
    );
}

#[test]
fn nothing_is_lost_while_it_rolls() {
    let c = Cluster::start("served-roll");
    c.load_busybox();
    c.k.apply(&web(2, "v1"));
    c.k.ok("rollout status deployment/web --timeout=90s");
    let address = c.k.ok("get service web -o jsonpath={.spec.clusterIP}");
    let line = format!(
        "while [ ! -e $HOME/stop ]; do \
         curl -s -m 5 -o /dev/null -w '%{{http_code}}\\n' http://{address}/version; done"
    );
    let mut load = c.inside(std::path::Path::new("bash"));
    let load = load.args(["-c", &line]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    c.k.apply(&web(2, "v2"));
    c.k.ok("rollout status deployment/web --timeout=90s");
    c.shell("touch $HOME/stop");
    let codes = String::from_utf8(load.wait_with_output().unwrap().stdout).unwrap();
    let failed = codes.lines().filter(|code| *code != "200").count();
    assert!(
        codes.lines().count() > 5 && failed <= 1,
        "{failed} of {} failed",
        codes.lines().count()
    );
}

#[test]
fn the_demo_is_fetched() {
    let c = Cluster::empty("served-demo");
    let said = c.skiff(&["up", "--demo"]);
    assert!(said.contains("kubectl"), "it says what to try next: {said}");
    assert_eq!(c.k.ok("get deployments -A -o jsonpath={.items[0].status.readyReplicas}"), "3");
    c.skiff(&["up", "--demo"]);
}

#[test]
fn a_custom_resource_lives() {
    let c = Cluster::start("served-crd");
    c.k.apply(
        r#"apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Sails, type: integer, jsonPath: .spec.sails}]
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {sails: {type: integer, maximum: 9}}}}
"#,
    );
    c.k.wait("--for=condition=Established crd/boats.example.com");
    let boat = |sails: u32| {
        format!(
            "apiVersion: example.com/v1\nkind: Boat\n\
             metadata: {{name: a}}\nspec: {{sails: {sails}}}\n"
        )
    };
    c.k.apply(&boat(3));
    let table = c.k.ok("get boats");
    let cells: Vec<_> = table.split_whitespace().collect();
    assert_eq!(cells, ["NAME", "SAILS", "a", "3"]);
    let answer = c.k.exits(1, &["apply", "-f", "-"], &boat(30));
    assert!(answer.err.contains("spec.sails"), "{}", answer.err);
    c.k.exits(0, &["apply", "--server-side", "--force-conflicts", "-f", "-"], &boat(5));
    assert_eq!(c.k.ok("get boat a -o jsonpath={.spec.sails}"), "5");
    c.k.ok("delete crd boats.example.com --timeout=60s");
    assert!(c.k.fails("get boats").contains("the server"));
}

/// Pods of the cases really run; upstream's answers came from its own node.
#[test]
fn running_pods_answer_as_upstreams() {
    let c = Cluster::start("served-differential");
    c.load_busybox();
    let mut command = c.inside(std::path::Path::new(env!("CARGO_BIN_EXE_differential")));
    command.args(["check", "--kubeconfig", &c.config(), "--workers", "2", "running"]);
    command.env("SKIFF_KUBECTL", skiff_tests::kit::kubectl().unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
