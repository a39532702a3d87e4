//! Tours of clients that are not ours, as people use them: Helm, operators, and the libraries of other languages.
//!
//! Each client does its work against a Skiff of its own (`tests/clients/`, made by `tests/kit/install tours`), and what the
//! cluster holds afterwards is asked of kubectl: a client that believes itself is no witness.

use std::process::Command;

use skiff_tests::cluster::Cluster;
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
    let field = |what: &str, path: &str| c.k.args(&["get", what, "-o", &format!("jsonpath={path}")]);
    let berth = || field("berth/red", "{.spec.length} {.spec.flag}");
    let wait = ["--wait", "--timeout", "90s"];

    helm.ok(&[&["install", "red", &chart][..], &wait].concat());
    assert_eq!(field("deployment/red", "{.status.readyReplicas}"), "1");
    assert_eq!(berth(), "10 ahoy");
    let ended = field("job/red-before", "{.status.completionTime}");
    let began = field("deployment/red", "{.metadata.creationTimestamp}");
    assert!(!ended.is_empty() && ended <= began, "the hook was through at {ended}, the release began at {began}");
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

    let refused = helm.fails(&["upgrade", "red", &chart, "--set", "hookExit=1", "--timeout", "90s"]);
    assert!(refused.contains("pre-upgrade hook"), "{refused}");
    assert_eq!(berth(), "20 bye", "nothing is changed when the hook before it fails");

    helm.ok(&[&["rollback", "red", "1"][..], &wait].concat());
    assert_eq!(field("deployment/red", "{.spec.replicas} {.status.readyReplicas}"), "1 1");
    assert_eq!(berth(), "10 ahoy");
    let history: serde_json::Value = serde_json::from_str(&helm.ok(&["history", "red", "-o", "json"])).unwrap();
    let statuses = history.as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap());
    assert_eq!(statuses.collect::<Vec<_>>(), ["superseded", "superseded", "failed", "deployed"]);

    helm.ok(&[&["uninstall", "red"][..], &wait].concat());
    let left = c.k.ok("get deployments,services,configmaps,secrets,berths -o name");
    for gone in ["deployment.apps/red", "service/red", "configmap/red\n", "sh.helm.release", "berth."] {
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
        let mut command = tour(self.cluster, self.program);
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
#[track_caller]
fn tour(c: &Cluster, program: &str) -> Command {
    let mut command = c.inside(&kit::tour(program).unwrap_or_else(|e| panic!("{e:#}")));
    command.env("KUBECONFIG", c.config());
    command
}
