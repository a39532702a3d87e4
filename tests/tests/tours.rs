//! Tours of clients that are not ours, as people use them: Helm, operators, and the libraries of other languages.
//!
//! Each client does its work against a Skiff of its own (`tests/clients/`, made by `tests/kit/install tours`), and what the
//! cluster holds afterwards is asked of kubectl: a client that believes itself is no witness.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use skiff_tests::cluster::{BUSYBOX, Cluster};
use skiff_tests::kit;
use skiff_tests::kubectl::{Answer, feed};

#[test]
fn helm_4_installs_upgrades_rolls_back_tests_and_uninstalls() {
    let c = Cluster::start("tours-helm4");
    a_release_lives(&c, "helm4");
    // Helm 4 applies at the server.
    let applied = "{.metadata.managedFields[?(@.operation=='Apply')].manager}";
    helm(&c, "helm4").ok(&["install", "blue", &chart()]);
    assert_eq!(c.k.args(&["get", "configmap/blue", "-o", &format!("jsonpath={applied}")]), "helm");
}

#[test]
fn helm_3_installs_upgrades_rolls_back_tests_and_uninstalls() {
    a_release_lives(&Cluster::start("tours-helm3"), "helm3");
}

/// The life of a release of `tests/clients/helm/ferry`: one upgrade, one that its hook refuses, the way back, the end.
#[track_caller]
fn a_release_lives(c: &Cluster, program: &str) {
    c.load_busybox();
    let (helm, chart) = (helm(c, program), chart());
    let field =
        |what: &str, path: &str| c.k.args(&["get", what, "-o", &format!("jsonpath={path}")]);
    let berth = || field("berth/red", "{.spec.length} {.spec.flag}");
    let wait = ["--wait", "--timeout", "90s"];

    helm.ok(&[&["install", "red", &chart][..], &wait].concat());
    assert_eq!(field("deployment/red", "{.status.readyReplicas}"), "1");
    assert_eq!(berth(), "10 ahoy");
    let ended = field("job/red-before", "{.status.completionTime}");
    let began = field("deployment/red", "{.metadata.creationTimestamp}");
    assert!(
        !ended.is_empty() && ended <= began,
        "the hook was through at {ended}, the release began at {began}"
    );
    let first = field("job/red-before", "{.metadata.uid}");
    helm.ok(&["test", "red", "--timeout", "90s"]);
    assert_eq!(c.k.ok("logs red-test").trim(), "ahoy");

    let other = ["--set", "greeting=bye,replicas=2"];
    helm.ok(&[&["upgrade", "red", &chart][..], &other, &wait].concat());
    assert_eq!(field("deployment/red", "{.status.readyReplicas}"), "2");
    assert_eq!(berth(), "20 bye");
    assert_ne!(field("job/red-before", "{.metadata.uid}"), first, "the hook is made anew");
    helm.ok(&["test", "red", "--timeout", "90s"]);
    assert_eq!(c.k.ok("logs red-test").trim(), "bye");

    // With the values of before: Helm 3 rolls custom resources back by what differs between two releases, whatever is there.
    let failing = ["--reuse-values", "--set", "hookExit=1", "--timeout", "90s"];
    let refused = helm.fails(&[&["upgrade", "red", &chart][..], &failing].concat());
    assert!(refused.contains("pre-upgrade hook"), "{refused}");
    assert_eq!(berth(), "20 bye", "nothing is changed when the hook before it fails");

    helm.ok(&[&["rollback", "red", "1"][..], &wait].concat());
    assert_eq!(field("deployment/red", "{.spec.replicas} {.status.readyReplicas}"), "1 1");
    assert_eq!(berth(), "10 ahoy");
    let history: serde_json::Value =
        serde_json::from_str(&helm.ok(&["history", "red", "-o", "json"])).unwrap();
    let statuses = history.as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap());
    assert_eq!(statuses.collect::<Vec<_>>(), ["superseded", "superseded", "failed", "deployed"]);

    helm.ok(&[&["uninstall", "red"][..], &wait].concat());
    let left = c.k.ok("get deployments,services,configmaps,secrets,berths -o name");
    for gone in
        ["deployment.apps/red", "service/red", "configmap/red\n", "sh.helm.release", "berth."]
    {
        assert!(!left.contains(gone), "{gone} is still there: {left}");
    }
    assert!(left.contains("configmap/red-after\n"), "the hook after the end ran: {left}");
    c.k.ok("get crd berths.ferry.example.com");
}

/// Where the chart lies.
fn chart() -> String {
    kit::root().join("tests/clients/helm/ferry").display().to_string()
}

/// A Helm inside of a cluster's machine.
struct Helm<'a> {
    cluster: &'a Cluster,
    program: &'a str,
}

fn helm<'a>(cluster: &'a Cluster, program: &'a str) -> Helm<'a> {
    Helm { cluster, program }
}

impl Helm<'_> {
    /// What it says; panics when it fails.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let answer = self.answer(args);
        assert_eq!(answer.code, 0, "{} {args:?}\n{}{}", self.program, answer.out, answer.err);
        answer.out
    }

    /// Why it fails; panics when it does not.
    #[track_caller]
    fn fails(&self, args: &[&str]) -> String {
        let answer = self.answer(args);
        assert_ne!(answer.code, 0, "{} {args:?} should have failed\n{}", self.program, answer.out);
        answer.err
    }

    #[track_caller]
    fn answer(&self, args: &[&str]) -> Answer {
        let program = kit::tour(self.program).unwrap_or_else(|e| panic!("{e:#}"));
        let mut command = tour(self.cluster, &program);
        command.args(args);
        let output = feed(&mut command, "").expect("the machine runs commands");
        Answer {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// A client inside of the machine, told of the cluster as all clients are: by $KUBECONFIG.
fn tour(c: &Cluster, program: &Path) -> Command {
    let mut command = c.inside(program);
    command.env("KUBECONFIG", c.config());
    command
}

#[test]
fn an_operator_in_go_leads_and_its_successor_takes_over() {
    let c = Cluster::start("tours-operator-go");
    c.load_busybox();
    let definition = kit::root().join("tests/clients/fleet.yaml");
    c.k.ok(&format!("apply -f {}", definition.display()));
    c.k.wait("--for=condition=Established crd/fleets.sea.example.com");
    let first = Operator::start(&c, "operator-go", "first");
    c.k.wait("--for=create lease/fleet-operator");
    let holder = || c.k.ok("get lease/fleet-operator -o jsonpath={.spec.holderIdentity}");
    let leader = holder();
    let second = Operator::start(&c, "operator-go", "second");
    an_operator_works(&c);
    assert_eq!(holder(), leader, "who came second waits");

    c.k.apply(&fleet("blue", 1));
    c.k.wait("--for=condition=Ready fleet/blue");
    drop(first);
    c.k.args(&["patch", "fleet/blue", "--type=merge", "-p", r#"{"spec":{"size":2}}"#]);
    c.k.wait("--for=jsonpath={.spec.leaseTransitions}=1 lease/fleet-operator");
    assert_ne!(holder(), leader);
    c.k.wait("--for=jsonpath={.status.ready}=2 fleet/blue");
    drop(second);
}

#[test]
fn an_operator_in_rust_brings_its_kind() {
    let c = Cluster::start("tours-operator-rust");
    c.load_busybox();
    let _operator = Operator::start(&c, "operator-rust", "operator");
    c.k.wait("--for=create crd/fleets.sea.example.com");
    c.k.wait("--for=condition=Established crd/fleets.sea.example.com");
    an_operator_works(&c);
}

#[test]
fn python_creates_watches_runs_forwards_and_reads_logs() {
    a_script_tours("tour-python", "python", "OpenAPI-Generator");
}

#[test]
fn javascript_creates_watches_runs_forwards_and_reads_logs() {
    a_script_tours("tour-javascript", "javascript", "kubernetes-client-javascript");
}

/// Runs a script that makes a pod and a ConfigMap in a namespace of its own; the pod is gone when it ends.
#[track_caller]
fn a_script_tours(program: &str, namespace: &str, manager: &str) {
    let c = Cluster::start(&format!("tours-{namespace}"));
    c.load_busybox();
    let mut command = tour(&c, &kit::tour(program).unwrap_or_else(|e| panic!("{e:#}")));
    let output = feed(command.arg(BUSYBOX), "").expect("the machine runs commands");
    let steps = String::from_utf8_lossy(&output.stdout);
    let missing = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{steps}--- {missing}");

    let k = c.k.namespace(namespace);
    assert_eq!(k.ok("get pods -o name"), "");
    assert_eq!(k.ok("get configmap/told -o jsonpath={.data}"), r#"{"m":"2","n":"1"}"#);
    let owners = "{range .metadata.managedFields[*]}{.manager} {.operation};{end}";
    let owners = k.args(&[
        "get",
        "configmap/told",
        "--show-managed-fields",
        "-o",
        &format!("jsonpath={owners}"),
    ]);
    assert_eq!(owners, format!("tour Apply;{manager} Update;"));
    // The pod's life, as the cluster tells it.
    let reasons = "jsonpath={.items[*].reason}";
    let events =
        k.args(&["get", "events", "--field-selector", "involvedObject.name=page", "-o", reasons]);
    for reason in ["Scheduled", "Started", "Killing"] {
        assert!(events.contains(reason), "{reason} is not among {events}");
    }
}

/// What a user of the operators sees: a fleet is built, kept, resized, refused when it is nonsense, and leaves a farewell.
#[track_caller]
fn an_operator_works(c: &Cluster) {
    c.k.apply(&fleet("red", 2));
    c.k.wait("--for=condition=Ready fleet/red");
    assert_eq!(c.k.ok("get fleet/red -o jsonpath={.status.ready}"), "2");
    let uid = |what: &str| c.k.ok(&format!("get {what} -o jsonpath={{.metadata.uid}}"));
    let owner = "jsonpath={.metadata.ownerReferences[?(@.controller)].uid}";
    assert_eq!(c.k.args(&["get", "deployment/red", "-o", owner]), uid("fleet/red"));

    let before = uid("deployment/red");
    c.k.ok("delete deployment/red");
    c.k.wait("--for=create deployment/red");
    assert_ne!(uid("deployment/red"), before);
    c.k.apply(&fleet("red", 1));
    c.k.wait("--for=jsonpath={.status.readyReplicas}=1 deployment/red");
    c.k.wait("--for=jsonpath={.status.ready}=1 fleet/red");
    let generation = "jsonpath={.metadata.generation} {.status.conditions[0].observedGeneration}";
    c.k.wait("--for=jsonpath={.status.conditions[0].observedGeneration}=2 fleet/red");
    assert_eq!(
        c.k.args(&["get", "fleet/red", "-o", generation]),
        "2 2",
        "a status makes no generation"
    );
    let nonsense = c.k.fails("patch fleet/red --type=merge -p {\"spec\":{\"size\":-1}}");
    assert!(nonsense.contains("spec.size"), "{nonsense}");

    c.k.ok("delete fleet/red");
    assert_eq!(c.k.ok("get configmap/red-farewell -o jsonpath={.data.size}"), "1");
    c.k.wait("--for=delete deployment/red");
}

fn fleet(name: &str, size: u32) -> String {
    format!(
        r#"{{"apiVersion":"sea.example.com/v1","kind":"Fleet","metadata":{{"name":"{name}"}},
        "spec":{{"size":{size},"image":"{BUSYBOX}"}}}}"#
    )
}

/// An operator that runs in the machine until it is dropped: killed, with no word to anybody.
struct Operator {
    process: Child,
}

impl Operator {
    /// What it says goes into the machine's logs, by this name.
    #[track_caller]
    fn start(c: &Cluster, program: &str, log: &str) -> Self {
        let log = c.machine().data().join("logs").join(log);
        let log = std::fs::File::create(log).expect("the folder can be written to");
        let program = kit::tour(program).unwrap_or_else(|e| panic!("{e:#}"));
        // What enters the machine stays outside as its parent: whoever kills that means the operator.
        let mut command = tour(c, Path::new("setpriv"));
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        Self { process: command.spawn().expect("the machine runs commands") }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // What has ended already cannot be killed; the machine's end ends whatever is left.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
