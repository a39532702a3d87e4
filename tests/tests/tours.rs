//! Tours of clients that are not ours, as people use them: Helm, operators, and the libraries of other languages.
//!
//! Each client does its work against a Skiff of its own (`tests/clients/`, made by `tests/kit/install tours`), and what the
//! cluster holds afterwards is asked of kubectl: a client that believes itself is no witness.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
        let mut command = tour(self.cluster, &program(self.program));
        command.args(args);
        feed(&mut command, "").expect("the machine runs commands")
    }
}

/// A program of the kit; panics with what to run when it is missing.
#[track_caller]
fn program(name: &str) -> PathBuf {
    kit::tour(name).unwrap_or_else(|e| panic!("{e:#}"))
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
    let folder = kit::root().join("tests/clients");
    c.k.ok(&format!("apply -f {}", folder.join("fleet.yaml").display()));
    c.k.wait("--for=condition=Established crd/fleets.sea.example.com");
    let manifest = std::fs::read_to_string(folder.join("operator-go/deploy.yaml")).unwrap();
    let programs =
        program("operator-go").parent().expect("it lies in the kit").display().to_string();
    c.k.apply(&manifest.replace("PROGRAMS", &programs).replace("IMAGE", BUSYBOX));
    c.k.ok("rollout status deployment/fleet-operator --timeout=90s");
    c.k.wait("--for=create lease/fleet-operator");
    // A holder calls itself by its pod's name, and a word of its own behind it.
    let holder = || c.k.ok("get lease/fleet-operator -o jsonpath={.spec.holderIdentity}");
    let leader = holder();
    an_operator_works(&c);
    assert_eq!(holder(), leader, "who came second waits");

    c.k.apply(&fleet("blue", 1));
    c.k.wait("--for=condition=Ready fleet/blue");
    let pod = leader.split('_').next().expect("a name");
    c.k.ok(&format!("delete pod {pod} --grace-period=0 --force"));
    c.k.args(&["patch", "fleet/blue", "--type=merge", "-p", r#"{"spec":{"size":2}}"#]);
    c.k.wait("--for=jsonpath={.spec.leaseTransitions}=1 lease/fleet-operator");
    assert_ne!(holder(), leader);
    c.k.wait("--for=jsonpath={.status.ready}=2 fleet/blue");
}

#[test]
fn an_operator_in_rust_brings_its_kind() {
    let c = Cluster::start("tours-operator-rust");
    c.load_busybox();
    let log = std::fs::File::create(c.machine().data().join("logs/operator")).unwrap();
    let mut command = tour(&c, &program("operator-rust"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut operator = command.spawn().unwrap();
    c.k.wait("--for=create crd/fleets.sea.example.com");
    c.k.wait("--for=condition=Established crd/fleets.sea.example.com");
    an_operator_works(&c);
    assert_eq!(operator.try_wait().unwrap(), None, "it runs until the machine ends");
    drop(c);
    operator.wait().unwrap();
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
    let mut command = tour(&c, &self::program(program));
    let answer = feed(command.arg(BUSYBOX), "").expect("the machine runs commands");
    assert_eq!(answer.code, 0, "{}--- {}", answer.out, answer.err);

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
    for reason in ["Scheduled", "Started"] {
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
