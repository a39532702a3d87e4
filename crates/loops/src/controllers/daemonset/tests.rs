//! Cases of the DaemonSet loop: a set, nodes, pods and revisions in, changes out.

use super::*;
use crate::controllers::daemonset::placement::Fit;
use crate::testkit::{merge, now, view};
use expect_test::{Expect, expect};
use skiff_json::Value;

fn set(more: Value) -> Value {
    let mut set = json!({
        "metadata": {"name": "log", "namespace": "n", "uid": "s", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "log"}}, "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {"metadata": {"labels": {"app": "log"}}, "spec": {"containers": [{"name": "new"}]}}},
    });
    merge(&mut set, more);
    set
}

fn node(name: &str, more: Value) -> Value {
    let mut node = json!({"metadata": {"name": name, "labels": {"zone": name}}});
    merge(&mut node, more);
    node
}

/// A pod of a template (`old`, `new`) on a node that is ready, or in another state.
fn pod(name: &str, node: &str, hash: &str, state: &str) -> Value {
    let mut pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name,
            "labels": {"app": "log", "controller-revision-hash": hash},
            "ownerReferences": [{"uid": "s", "kind": "DaemonSet", "name": "log", "controller": true}]},
        "spec": {"nodeName": node}});
    pod["status"] = match state {
        "ready" | "going" => json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:00Z"}]}),
        phase => json!({"phase": phase}),
    };
    if state == "going" {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:59Z");
    }
    pod
}

fn revision(hash: &str, number: i64, container: &str) -> Value {
    json!({"metadata": {"name": format!("log-{hash}"), "namespace": "n", "uid": hash,
            "labels": {"app": "log", "controller-revision-hash": hash},
            "ownerReferences": [{"uid": "s", "kind": "DaemonSet", "name": "log", "controller": true}]},
        "revision": number, "data": {"spec": {"template": {"$patch": "replace",
            "metadata": {"labels": {"app": "log"}}, "spec": {"containers": [{"name": container}]}}}}})
}

struct Case {
    set: Value,
    nodes: Vec<Value>,
    pods: Vec<Value>,
    revisions: Vec<Value>,
    failures: nodes::Failures,
}

fn case(set: Value, nodes: &[&str], pods: impl IntoIterator<Item = Value>) -> Case {
    let nodes = nodes.iter().map(|name| node(name, json!({}))).collect();
    let revisions = vec![revision("old", 1, "old"), revision("new", 2, "new")];
    Case {
        set,
        nodes,
        pods: pods.into_iter().collect(),
        revisions,
        failures: nodes::Failures::default(),
    }
}

impl Case {
    fn plan(&mut self) -> (String, Next) {
        let set: Arc<DaemonSet> = view(self.set.clone());
        let selector = selector(&set.spec.selector, &set.metadata).expect("a selector");
        let pods = self.pods.iter().cloned().map(view).collect();
        let revisions: Vec<Arc<ControllerRevision>> =
            self.revisions.iter().cloned().map(view).collect();
        let claimed = Claimed::of(&set.metadata, &selector, revisions);
        let history = History::new(&set.metadata, claimed, &set.spec.template, None, |_| None);
        let seen = Seen {
            daemon: Daemon::of(&set).expect("a template"),
            nodes: self.nodes.iter().cloned().map(view).collect(),
            pods: Claimed::of(&set.metadata, &selector, pods),
            set,
            history,
        };
        let mut out = Changes::default();
        let next = DaemonSetLoop::plan(&seen, &mut self.failures, now(), &mut out);
        (out.text(), next)
    }

    /// What is done besides the status: pods by their nodes.
    fn acts(&mut self, expected: Expect) {
        let (text, _) = self.plan();
        let short = |line: &str| {
            let mut words = line.trim_start().split(' ');
            match words.next()? {
                "create" => {
                    let kind = words.next()?;
                    let body = line.split_once('{').map(|(_, body)| format!("{{{body}"))?;
                    let body: Value = skiff_json::from_str(&body).expect("a body is JSON");
                    let required = &body["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                        ["nodeSelectorTerms"][0];
                    let node = &required["matchFields"][0]["values"][0];
                    Some(
                        format!("create {kind} {}", node.as_str().unwrap_or(""))
                            .trim_end()
                            .to_owned(),
                    )
                }
                "delete" => Some(line.trim().rsplit_once(' ')?.0.to_owned()),
                "merge" if line.contains(" status ") => None,
                "merge" | "event" | "because" => Some(line.trim().to_owned()),
                _ => None,
            }
        };
        let acts: Vec<String> = text.lines().filter_map(short).collect();
        expected.assert_eq(&acts.join("\n"));
    }
}

#[test]
fn each_node_gets_a_pod() {
    let mut first = case(set(json!({})), &["a"], []);
    first.revisions.clear();
    let (text, next) = first.plan();
    assert!(text.starts_with("create controllerrevisions n {"), "{text}");
    for part in [r#""revision":1"#, r#""generateName":"log-""#, r#""values":["a"]"#] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(next, Next::Wait);
    let many: Vec<String> = (0..300).map(|n| format!("n{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(case(set(json!({})), &many, []).plan().0.matches("create pods").count(), BURST);
}

#[test]
fn nodes_that_fit() {
    let fit = |template: Value, more: Value| {
        let set: Arc<DaemonSet> = view(set(json!({"spec": {"template": {"spec": template}}})));
        Daemon::of(&set).expect("a template").fit(&view::<Node>(node("a", more)))
    };
    let taint =
        |key: &str, effect: &str| json!({"spec": {"taints": [{"key": key, "effect": effect}]}});
    assert_eq!(fit(json!({}), json!({})), Fit::Runs);
    assert_eq!(fit(json!({"nodeSelector": {"zone": "b"}}), json!({})), Fit::Never);
    assert_eq!(fit(json!({"nodeName": "b"}), json!({})), Fit::Never);
    assert_eq!(fit(json!({}), taint("x", "NoSchedule")), Fit::Stays);
    assert_eq!(fit(json!({}), taint("x", "NoExecute")), Fit::Never);
    assert_eq!(fit(json!({}), taint("node.kubernetes.io/unreachable", "NoExecute")), Fit::Runs);
    assert_eq!(fit(json!({}), taint("node.kubernetes.io/unschedulable", "NoSchedule")), Fit::Runs);
    let network = || taint("node.kubernetes.io/network-unavailable", "NoSchedule");
    assert_eq!(fit(json!({}), network()), Fit::Stays);
    assert_eq!(fit(json!({"hostNetwork": true}), network()), Fit::Runs);
    assert_eq!(
        fit(json!({"tolerations": [{"operator": "Exists"}]}), taint("x", "NoExecute")),
        Fit::Runs
    );
}

#[test]
fn a_toleration_that_ends_is_replaced() {
    let set: Arc<DaemonSet> = view(set(json!({"spec": {"template": {"spec": {"tolerations": [
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
        {"key": "x", "value": "y"}]}}}})));
    let spec = Daemon::of(&set).expect("a template").on("a");
    let first: Vec<String> = spec["tolerations"]
        .as_array()
        .into_iter()
        .flatten()
        .take(3)
        .map(Value::to_string)
        .collect();
    expect![[r#"
        {"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists"}
        {"key":"x","value":"y"}
        {"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists"}"#]]
    .assert_eq(&first.join("\n"));
}

#[test]
fn nodes_that_fit_no_more_and_pods_too_many() {
    let tainted = |effect: &str| {
        let mut case = case(set(json!({})), &[], [pod("p", "a", "new", "ready")]);
        case.nodes = vec![node("a", json!({"spec": {"taints": [{"key": "x", "effect": effect}]}}))];
        case
    };
    tainted("NoExecute").acts(expect!["delete pods n/p"]);
    tainted("NoSchedule").acts(expect![""]);
    assert!(tainted("NoSchedule").plan().0.contains("\"numberMisscheduled\":1"));
    let two = [pod("p", "a", "new", "ready"), pod("q", "a", "new", "ready")];
    case(set(json!({})), &["a"], two).acts(expect!["delete pods n/q"]);
    let mut waits = pod("p", "", "new", "Pending");
    waits["spec"] = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gone"]}]}]}}}});
    case(set(json!({})), &["a"], [waits]).acts(expect![[r#"
        create pods a
        delete pods n/p"#]]);
}

#[test]
fn pods_that_fail_are_replaced_ever_more_slowly() {
    let mut fails = case(set(json!({})), &["a"], [pod("p", "a", "new", "Failed")]);
    fails.acts(expect![[r#"
        event Warning FailedDaemonPod: Found failed daemon pod n/p on node a, will try to kill it
        delete pods n/p"#]]);
    let (text, next) = fails.plan();
    assert!(!text.contains("delete"), "{text}");
    assert_eq!(next, Next::At("2026-01-01T01:00:01Z".parse().expect("a time")));
    case(set(json!({})), &["a"], [pod("p", "a", "new", "Succeeded")]).acts(expect![[r#"
        event Normal SucceededDaemonPod: Found succeeded daemon pod n/p on node a, will try to delete it
        delete pods n/p"#]]);
}

#[test]
fn updates_in_place() {
    let old = || ["a", "b", "c"].map(|node| pod(node, node, "old", "ready"));
    let nodes = ["a", "b", "c"];
    case(set(json!({})), &nodes, old()).acts(expect!["delete pods n/a"]);
    let two = json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "50%"}}}});
    case(set(two), &nodes, old()).acts(expect![[r#"
        delete pods n/a
        delete pods n/b"#]]);
    let mut going = old();
    going[0] = pod("a", "a", "new", "Pending");
    case(set(json!({})), &nodes, going).acts(expect![""]);
    let mut broken = old();
    broken[2] = pod("c", "c", "old", "Running");
    case(set(json!({})), &nodes, broken).acts(expect!["delete pods n/c"]);
    let on_delete =
        json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}});
    case(set(on_delete), &nodes, old()).acts(expect![""]);
}

#[test]
fn updates_with_a_surge() {
    let surge = || {
        set(
            json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}}),
        )
    };
    let old = || ["a", "b"].map(|node| pod(node, node, "old", "ready"));
    let with = |more: Value| old().into_iter().chain([more]);
    case(surge(), &["a", "b"], old()).acts(expect!["create pods a"]);
    case(surge(), &["a", "b"], with(pod("a2", "a", "new", "Pending"))).acts(expect![""]);
    case(surge(), &["a", "b"], with(pod("a2", "a", "new", "ready")))
        .acts(expect!["delete pods n/a"]);
    let mut elsewhere =
        case(surge(), &["a"], [pod("a", "a", "new", "ready"), pod("b", "b", "old", "ready")]);
    elsewhere
        .nodes
        .push(node("b", json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}})));
    elsewhere.acts(expect!["delete pods n/b"]);
}

#[test]
fn the_status_counts_nodes() {
    let pods = [
        pod("a", "a", "new", "ready"),
        pod("b", "b", "old", "ready"),
        pod("c", "c", "new", "Pending"),
    ];
    let (text, _) = case(
        set(json!({"spec": {"updateStrategy": {"type": "OnDelete"}}})),
        &["a", "b", "c", "d"],
        pods,
    )
    .plan();
    let status = text.lines().find(|line| line.contains(" status ")).unwrap_or("");
    expect![[r#"
        merge daemonsets n/log status {"metadata":{"uid":"s"},"status":{"collisionCount":null,"currentNumberScheduled":3,"desiredNumberScheduled":4,"numberAvailable":2,"numberMisscheduled":0,"numberReady":2,"numberUnavailable":2,"observedGeneration":1,"updatedNumberScheduled":2}}"#]].assert_eq(status);
}

#[test]
fn revisions_that_pods_are_of_stay() {
    let mut long = case(
        set(json!({"spec": {"revisionHistoryLimit": 1}})),
        &["a"],
        [pod("p", "a", "used", "ready")],
    );
    long.set["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    long.revisions = vec![
        revision("used", 1, "used"),
        revision("b", 2, "b"),
        revision("c", 3, "c"),
        revision("new", 4, "new"),
    ];
    long.acts(expect![[r#"
        delete controllerrevisions n/log-b
        delete controllerrevisions n/log-c"#]]);
}
