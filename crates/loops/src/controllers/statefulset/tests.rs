//! Cases of the StatefulSet loop: a set, its pods, revisions and claims in, changes out.

use super::*;
use crate::testkit::{merge, now, view};
use expect_test::{Expect, expect};
use skiff_json::{Value, json};
use skiff_kinds::views::workloads::Template;

fn set(more: Value) -> Value {
    let mut set = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "s", "generation": 1},
        "spec": {"replicas": 3, "serviceName": "svc", "selector": {"matchLabels": {"app": "web"}},
            "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "new"}]}}},
        "status": {"currentRevision": "old"},
    });
    merge(&mut set, more);
    set
}

fn parallel(more: Value) -> Value {
    let mut set = set(json!({"spec": {"podManagementPolicy": "Parallel"}}));
    merge(&mut set, more);
    set
}

/// A pod of a revision (`old`, `new`) that is ready, or that has another state.
fn pod(ordinal: i32, revision: &str, state: &str) -> Value {
    let name = format!("web-{ordinal}");
    let mut pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name,
        "labels": {"app": "web", "controller-revision-hash": revision, "statefulset.kubernetes.io/pod-name": name},
        "ownerReferences": [{"uid": "s", "kind": "StatefulSet", "name": "web", "controller": true}]}});
    let status = match state {
        "ready" | "going" => json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:00Z"}]}),
        "unready" => json!({"phase": "Running"}),
        phase => json!({"phase": phase}),
    };
    pod["status"] = status;
    if state == "going" {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:59Z");
    }
    pod
}

fn revision(name: &str, number: i64, container: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"},
            "ownerReferences": [{"uid": "s", "kind": "StatefulSet", "name": "web", "controller": true}]},
        "revision": number, "data": {"spec": {"template": {"$patch": "replace",
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": container}]}}}}})
}

struct Case {
    set: Value,
    pods: Vec<Value>,
    revisions: Vec<Value>,
    claims: Vec<Value>,
}

fn case(set: Value, pods: impl IntoIterator<Item = Value>) -> Case {
    let revisions = vec![revision("old", 1, "old"), revision("new", 2, "new")];
    Case { set, pods: pods.into_iter().collect(), revisions, claims: Vec::new() }
}

impl Case {
    fn plan(self) -> (String, Next) {
        let set: Arc<StatefulSet> = view(self.set);
        let selector = selector(&set.spec.selector, &set.metadata).expect("a selector");
        let pods = self.pods.into_iter().map(view).collect();
        let revisions: Vec<Arc<ControllerRevision>> =
            self.revisions.into_iter().map(view).collect();
        let claimed = Claimed::of(&set.metadata, &selector, revisions);
        let template: &Template = &set.spec.template;
        let history = History::new(&set.metadata, claimed, template, Some(0), |_| None);
        let claims = self.claims.into_iter().map(view::<PersistentVolumeClaim>);
        let claims = claims.map(|claim| (claim.metadata.name.clone(), claim)).collect();
        let seen = Seen { pods: Claimed::of(&set.metadata, &selector, pods), set, history, claims };
        let mut out = Changes::default();
        let next = StatefulSetLoop::plan(&seen, &mut (), now(), &mut out);
        (out.text(), next)
    }

    /// What is done besides the status, without bodies and Events.
    fn acts(self, expected: Expect) {
        let (text, _) = self.plan();
        let short = |line: &str| {
            let mut words = line.trim_start().split(' ');
            match words.next()? {
                "create" => {
                    let kind = words.next()?;
                    let body = line.split_once('{').map(|(_, body)| format!("{{{body}"))?;
                    let body: Value = skiff_json::from_str(&body).expect("a body is JSON");
                    let (meta, spec) = (&body["metadata"], &body["spec"]);
                    let of = spec["containers"][0]["name"].as_str().unwrap_or("");
                    Some(
                        format!("create {kind} {} {of}", meta["name"].as_str()?)
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

    fn status(self, expected: Expect) {
        let (text, _) = self.plan();
        let line = text.lines().find(|line| line.contains(" status ")).unwrap_or("");
        let body = line.split_once('{').map(|(_, body)| format!("{{{body}")).unwrap_or_default();
        let body: Value = skiff_json::from_str(&body).unwrap_or(Value::Null);
        expected.assert_eq(&body["status"].to_string());
    }
}

#[test]
fn the_first_pod_and_its_revision() {
    let mut first = case(set(json!({"status": {"currentRevision": ""}})), []);
    first.revisions.clear();
    let (text, next) = first.plan();
    assert!(text.starts_with("create controllerrevisions n {"), "{text}");
    let data =
        r#""data":{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"web"}}"#;
    for part in [data, r#""revision":1"#, r#""hostname":"web-0","subdomain":"svc""#] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(next, Next::Wait);
}

#[test]
fn one_after_the_other() {
    let of = |pods: &[(&str, &str)]| {
        let pods = pods.iter().zip(0..).map(|((revision, state), at)| pod(at, revision, state));
        case(set(json!({"status": {"currentRevision": "new"}})), pods.collect::<Vec<_>>())
    };
    of(&[]).acts(expect!["create pods web-0 new"]);
    of(&[("new", "Pending")]).acts(expect!["because web-0 has to be running and ready first"]);
    of(&[("new", "unready")]).acts(expect!["because web-0 has to be running and ready first"]);
    of(&[("new", "ready")]).acts(expect!["create pods web-1 new"]);
    of(&[("new", "ready"), ("new", "going")]).acts(expect!["because web-1 has to be gone first"]);
    of(&[("new", "ready"), ("new", "Failed")]).acts(expect!["delete pods n/web-1"]);
    of(&[("new", "ready"), ("new", "Succeeded"), ("new", "ready")])
        .acts(expect!["delete pods n/web-1"]);
    of(&[("new", "ready"), ("new", "ready"), ("new", "ready")]).acts(expect![""]);
}

#[test]
fn all_at_once() {
    let begin = parallel(json!({"spec": {"ordinals": {"start": 5}}}));
    case(begin, []).acts(expect![[r#"
        create pods web-5 new
        create pods web-6 new
        create pods web-7 new"#]]);
    let many = parallel(json!({"spec": {"replicas": i32::MAX, "ordinals": {"start": 5}}}));
    assert_eq!(case(many, []).plan().0.matches("create pods").count(), BURST);
    let states = [
        pod(0, "new", "Failed"),
        pod(2, "new", "Pending"),
        pod(7, "new", "ready"),
        pod(8, "new", "going"),
    ];
    case(parallel(json!({})), states).acts(expect![[r#"
        create pods web-1 new
        delete pods n/web-0
        delete pods n/web-7"#]]);
}

#[test]
fn too_many_go_from_the_top() {
    let fewer = || set(json!({"spec": {"replicas": 1}, "status": {"currentRevision": "new"}}));
    let of = |states: [&str; 3]| {
        let pods = states.into_iter().zip(0..).map(|(state, at)| pod(at, "new", state));
        case(fewer(), pods)
    };
    of(["ready", "ready", "ready"]).acts(expect!["delete pods n/web-2"]);
    of(["ready", "unready", "ready"]).acts(expect!["delete pods n/web-2"]);
    of(["ready", "unready", "unready"]).acts(expect!["because web-2 has to be available first"]);
    of(["ready", "ready", "unready"]).acts(expect!["delete pods n/web-2"]);
    of(["ready", "ready", "going"]).acts(expect!["because web-2 has to be gone first"]);
    of(["unready", "ready", "ready"])
        .acts(expect!["because web-0 has to be running and ready first"]);
}

#[test]
fn updates_go_from_the_top() {
    let of = |set: Value, states: [(&str, &str); 3]| {
        let pods =
            states.into_iter().zip(0..).map(|((revision, state), at)| pod(at, revision, state));
        case(set, pods)
    };
    let old = [("old", "ready"); 3];
    of(set(json!({})), old).acts(expect!["delete pods n/web-2"]);
    of(set(json!({})), [("old", "ready"), ("old", "ready"), ("new", "ready")])
        .acts(expect!["delete pods n/web-1"]);
    of(set(json!({})), [("old", "ready"), ("old", "ready"), ("new", "unready")])
        .acts(expect!["because web-2 has to be running and ready first"]);
    let rolling = |fields: Value| json!({"spec": {"updateStrategy": {"rollingUpdate": fields}}});
    of(set(rolling(json!({"partition": 2}))), old).acts(expect!["delete pods n/web-2"]);
    of(
        set(rolling(json!({"partition": 2}))),
        [("old", "ready"), ("old", "ready"), ("new", "ready")],
    )
    .acts(expect![""]);
    of(set(rolling(json!({"maxUnavailable": "67%"}))), old).acts(expect![[r#"
        delete pods n/web-2
        delete pods n/web-1"#]]);
    let on_delete =
        json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}});
    of(set(on_delete), old).acts(expect![""]);
    // Those that serve nobody go whatever the budget says.
    let broken = [("old", "unready"), ("old", "ready"), ("old", "unready")];
    of(parallel(json!({})), broken).acts(expect![[r#"
        delete pods n/web-2
        delete pods n/web-0"#]]);
}

#[test]
fn below_the_partition_pods_are_of_the_older_template() {
    let partition = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}});
    case(parallel(partition), []).acts(expect![[r#"
        create pods web-0 old
        create pods web-1 new
        create pods web-2 new"#]]);
}

#[test]
fn the_status_tells_of_both_revisions() {
    let half = [pod(0, "old", "ready"), pod(1, "old", "ready"), pod(2, "new", "unready")];
    case(set(json!({})), half).status(expect![[r#"
        {"availableReplicas":2,"collisionCount":0,"currentReplicas":2,"currentRevision":"old","observedGeneration":1,"readyReplicas":2,"replicas":3,"updateRevision":"new","updatedReplicas":1}"#]]);
    case(set(json!({})), [0, 1, 2].map(|at| pod(at, "new", "ready"))).status(expect![[r#"
        {"availableReplicas":3,"collisionCount":0,"currentReplicas":3,"currentRevision":"new","observedGeneration":1,"readyReplicas":3,"replicas":3,"updateRevision":"new","updatedReplicas":3}"#]]);
    let (_, next) =
        case(set(json!({"spec": {"minReadySeconds": 90}})), [pod(0, "new", "ready")]).plan();
    assert_eq!(next, Next::At("2026-01-01T01:00:30Z".parse().expect("a time")));
}

#[test]
fn an_older_template_comes_back_under_its_old_name() {
    let mut back = case(set(json!({})), [0, 1, 2].map(|at| pod(at, "old", "ready")));
    back.revisions = vec![revision("then", 1, "new"), revision("old", 2, "old")];
    back.acts(expect![[r#"
        merge controllerrevisions n/then  {"metadata":{"resourceVersion":"","uid":"then"},"revision":3}
        delete pods n/web-2"#]]);
    let mut long = case(
        set(json!({"spec": {"revisionHistoryLimit": 1}, "status": {"currentRevision": "new"}})),
        [pod(0, "used", "ready")],
    );
    long.revisions = vec![
        revision("a", 1, "a"),
        revision("used", 2, "used"),
        revision("b", 3, "b"),
        revision("new", 4, "new"),
    ];
    long.acts(expect![[r#"
        create pods web-1 new
        delete controllerrevisions n/a"#]]);
}

#[test]
fn a_pod_that_lost_its_name_gets_it_back() {
    let mut nameless = pod(0, "new", "ready");
    nameless["metadata"]["labels"] = json!({"app": "web", "controller-revision-hash": "new"});
    case(set(json!({"spec": {"replicas": 1}})), [nameless]).acts(expect![[r#"
        merge pods n/web-0  {"metadata":{"labels":{"apps.kubernetes.io/pod-index":"0","statefulset.kubernetes.io/pod-name":"web-0"},"uid":"web-0"}}"#]]);
}

fn claiming(policy: Value) -> Value {
    set(json!({"spec": {"persistentVolumeClaimRetentionPolicy": policy, "volumeClaimTemplates": [
        {"metadata": {"name": "data", "labels": {"l": "m"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}]},
        "status": {"currentRevision": "new"}}))
}

fn claim(ordinal: i32, owners: Value) -> Value {
    json!({"metadata": {"name": format!("data-web-{ordinal}"), "namespace": "n", "uid": "c", "resourceVersion": "7",
        "ownerReferences": owners}})
}

fn with_claim(ordinal: i32) -> Value {
    let mut pod = pod(ordinal, "new", "ready");
    pod["spec"] = json!({"volumes": [{"name": "data",
        "persistentVolumeClaim": {"claimName": format!("data-web-{ordinal}")}}]});
    pod
}

#[test]
fn claims_come_before_their_pod() {
    let (text, _) = case(claiming(json!({})), []).plan();
    let volumes =
        r#""volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"data-web-0"}}]"#;
    for part in [volumes, r#""labels":{"app":"web","l":"m"},"name":"data-web-0""#] {
        assert!(text.contains(part), "{part}: {text}");
    }
    case(claiming(json!({})), []).acts(expect![[r#"
        create persistentvolumeclaims data-web-0
        create pods web-0 new"#]]);
    let mut going = case(claiming(json!({})), []);
    going.claims = vec![claim(0, json!([]))];
    going.claims[0]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    going.acts(expect!["event Warning FailedCreate: Create Pod web-0 in StatefulSet web failed error: pvc data-web-0 is being deleted"]);
    // A claim that goes with the pod before is waited for.
    let mut stale = case(claiming(json!({"whenScaled": "Delete", "whenDeleted": "Retain"})), []);
    stale.claims = vec![claim(
        0,
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "before"}]),
    )];
    stale.acts(expect!["because data-web-0 goes with an earlier pod"]);
    case(claiming(json!({})), [pod(0, "new", "ready")]).acts(expect![[r#"
        create persistentvolumeclaims data-web-0
        merge pods n/web-0  {"metadata":{"uid":"web-0"},"spec":{"volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"data-web-0"}}]}}
        create persistentvolumeclaims data-web-1
        create pods web-1 new"#]]);
}

#[test]
fn claims_are_owned_as_the_policy_says() {
    let ours = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "s", "controller": true}]);
    let foreign =
        json!([{"apiVersion": "x/v1", "kind": "X", "name": "x", "uid": "x", "controller": true}]);
    let of = |scaled: &str, deleted: &str, ordinal: i32, owners: &Value| {
        let policy = json!({"whenScaled": scaled, "whenDeleted": deleted});
        let mut set = claiming(policy);
        set["spec"]["replicas"] = json!(1);
        let pods = [0, ordinal].into_iter().take(if ordinal == 0 { 1 } else { 2 });
        let mut case = case(set, pods.map(with_claim).collect::<Vec<_>>());
        case.claims = vec![claim(ordinal, owners.clone())];
        case.plan()
            .0
            .lines()
            .filter(|line| {
                line.contains("persistentvolumeclaims n/") || line.contains("Conflicting")
            })
            .map(|line| line.to_owned() + "\n")
            .collect::<String>()
    };
    let merge = |ordinal: i32, owners: &str| {
        format!(
            "merge persistentvolumeclaims n/data-web-{ordinal}  {{\"metadata\":{{\"ownerReferences\":[{owners}],\
             \"resourceVersion\":\"7\",\"uid\":\"c\"}}}}\n"
        )
    };
    let set = r#"{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"StatefulSet","name":"web","uid":"s"}"#;
    let pod = r#"{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Pod","name":"web-3","uid":"web-3"}"#;
    assert_eq!(of("Retain", "Retain", 0, &json!([])), "");
    assert_eq!(of("Retain", "Delete", 0, &ours), "");
    assert_eq!(of("Retain", "Delete", 0, &json!([])), merge(0, set));
    assert_eq!(of("Retain", "Retain", 0, &ours), merge(0, ""));
    assert_eq!(of("Delete", "Delete", 0, &ours), "");
    assert_eq!(of("Delete", "Delete", 3, &ours), merge(3, pod));
    assert_eq!(of("Delete", "Retain", 3, &json!([])), merge(3, pod));
    assert_eq!(of("Delete", "Retain", 3, &foreign), "");
}
