//! A node in a machine of its own, whose server is in another: it joins, does without the server for longer than its
//! certificates live, and comes back.

use serde_json::Value;
use skiff_tests::cluster::{BUSYBOX, Cluster};
use skiff_tests::machine::CABLE;
use std::process::Child;
use std::time::Duration;

/// How long certificates of nodes live; `SKIFF_TEST_LIFE_S=60` takes a minute, and four to run.
fn life() -> Duration {
    let seconds = std::env::var("SKIFF_TEST_LIFE_S").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

/// Who may ask for certificates of nodes, and nothing else.
const JOINER: &str = r#"{"apiVersion":"v1","kind":"List","items":[
    {"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"joiner","namespace":"kube-system"}},
    {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"joiner-asks"},
      "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"system:node-bootstrapper"},
      "subjects":[{"kind":"ServiceAccount","name":"joiner","namespace":"kube-system"}]},
    {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"joiner-gets"},
      "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole",
        "name":"system:certificates.k8s.io:certificatesigningrequests:nodeclient"},
      "subjects":[{"kind":"ServiceAccount","name":"joiner","namespace":"kube-system"}]}]}"#;

/// A cluster in one machine, and the machine of a node.
struct Pair {
    server: Cluster,
    node: Cluster,
    agent: Child,
}

impl Pair {
    fn start(test: &str) -> Pair {
        let (server, node) = (Cluster::empty(test), Cluster::faulty(&format!("{test}-node")));
        // Who looks after its certificates panics once, before there are any.
        node.ask_faults(&["identity"]);
        server.machine().cable(node.machine()).expect("a cable");
        let life = format!("{}s", life().as_secs());
        server.skiff(&["up", "--advertise", CABLE[0], "--cluster-signing-duration", &life]);
        server.k.apply(JOINER);
        let token = server.k.ok("create token joiner -n kube-system --duration=1h");
        let own: Value =
            serde_json::from_str(&server.k.ok("config view --raw -o json")).expect("JSON");
        let ca = &own["clusters"][0]["cluster"]["certificate-authority-data"];
        let config = format!(
            r#"{{"current-context":"x","contexts":[{{"name":"x","context":{{"cluster":"x","user":"x"}}}}],
            "clusters":[{{"name":"x","cluster":{{"server":"https://{}:6443","certificate-authority-data":{ca}}}}}],
            "users":[{{"name":"x","user":{{"token":"{token}"}}}}]}}"#,
            CABLE[0]
        );
        std::fs::write(credential(&node), config).expect("the machine's folder");
        let agent = join(&node);
        Pair { server, node, agent }
    }

    /// Runs a line in the pod of the web server without the help of its API server.
    #[track_caller]
    fn within(&self, line: &str) -> String {
        self.node.shell(&format!("nsenter -t $(pgrep -ox httpd) -m -n /bin/sh -c '{line}'"))
    }

    /// Asks the service.
    #[track_caller]
    fn fetched(&self, address: &str) {
        assert_eq!(self.within(&format!("wget -qO- http://{address}")), "it is web\n");
    }

    /// Asks for its name.
    #[track_caller]
    fn resolved(&self, address: &str) {
        let found = self.within("nslookup web.default.svc.cluster.local");
        assert!(found.contains(address), "{found}");
    }

    /// Runs a command in a pod of the node, through the server; again until the node answers.
    #[track_caller]
    fn executed(&self) {
        for _ in 0..100 {
            let args = ["exec", "web", "--", "echo", "hello"];
            let answer = self.server.k.answer_of(&args);
            if answer.out == "hello\n" {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("{}", self.server.k.trace());
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn credential(node: &Cluster) -> std::path::PathBuf {
    node.machine().home().join("joiner.kubeconfig")
}

fn join(node: &Cluster) -> Child {
    let kubeconfig = credential(node).display().to_string();
    node.begin(&["agent", "--kubeconfig", &kubeconfig, "--node", "far", "--advertise", CABLE[1]])
}

/// A web server on the far node, behind a service.
fn web() -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"List","items":[
        {{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web","labels":{{"app":"web"}}}},"spec":{{
          "nodeSelector":{{"kubernetes.io/hostname":"far"}},"terminationGracePeriodSeconds":0,"containers":[{{"name":"c",
          "image":"{BUSYBOX}","command":["sh","-c","echo it is web > /tmp/index.html; echo up; exec httpd -f -p 80 -h /tmp"]}}]}}}},
        {{"apiVersion":"v1","kind":"Service","metadata":{{"name":"web"}},"spec":{{
          "selector":{{"app":"web"}},"ports":[{{"port":80}}]}}}}]}}"#
    )
}

#[test]
fn a_node_does_without_its_server_for_longer_than_its_certificates_live() {
    let mut pair = Pair::start("agent");
    let k = pair.server.k.clone();
    k.ok("wait --timeout=90s --for=create node/far");
    k.wait("--for=condition=Ready node/far");
    assert_eq!(pair.node.faults(), "", "it came back from that");
    assert_eq!(k.ok("get node far -o jsonpath={.spec.podCIDR}"), "10.244.1.0/24");
    pair.node.load_busybox();
    k.apply(&web());
    k.wait("--for=condition=Ready pod/web");
    assert_eq!(k.ok("get pod web -o jsonpath={.spec.nodeName}"), "far");
    assert_eq!(k.ok("logs web"), "up\n");
    let address = k.ok("get service web -o jsonpath={.spec.clusterIP}");
    pair.executed();
    pair.fetched(&address);
    pair.resolved(&address);
    let container = "get pod web -o jsonpath={.status.containerStatuses[0].containerID}{.status.containerStatuses[0].restartCount}";
    let before = k.ok(container);

    let daemon = pair.server.daemon();
    pair.server.shell(&format!("kill -9 {daemon}; tail --pid={daemon} -f /dev/null"));
    std::thread::sleep(life());
    pair.fetched(&address);
    pair.resolved(&address);
    pair.agent.kill().expect("it runs");
    pair.agent.wait().expect("it is ours");
    // What is killed is the command that entered the machine; the agent itself is in there.
    pair.node.shell("p=$(cat /var/lib/skiff/skiff.pid); kill -9 $p; tail --pid=$p -f /dev/null");
    pair.agent = join(&pair.node);
    std::thread::sleep(2 * life());
    pair.fetched(&address);
    let status = pair.node.skiff_answers(&["status", "-o", "json"]).out;
    assert!(status.contains(r#""apiserver": "Elsewhere""#), "{status}");

    pair.server.skiff(&["up"]);
    pair.executed();
    assert_eq!(k.ok(container), before, "the container was not touched");
    k.ok(&format!(
        "run later --image {BUSYBOX} --restart=Never --overrides={{\"spec\":{{\"nodeName\":\"far\"}}}} -- true"
    ));
    k.wait("--for=jsonpath={.status.phase}=Succeeded pod/later");
    k.wait("--for=condition=Ready node/far");
    pair.fetched(&address);
    pair.resolved(&address);
}
