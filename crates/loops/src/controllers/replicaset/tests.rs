//! Cases of the ReplicaSet loop: a set and its pods in, changes out.

use super::*;
use crate::testkit::{merge, now, view};
use expect_test::{Expect, expect};
use skiff_json::Value;

fn set(replicas: i32, more: Value) -> Value {
    let mut set = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "s", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
        "status": {"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 1},
    });
    merge(&mut set, more);
    set
}

fn pod(name: &str, more: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"},
        "ownerReferences": [{"uid": "s", "kind": "ReplicaSet", "name": "web", "controller": true}]}});
    merge(&mut pod, more);
    pod
}

fn ready(since: &str) -> Value {
    json!({"spec": {"nodeName": "a"}, "status": {"phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}})
}

fn plan(set: Value, pods: &[Value], memory: &mut Memory) -> (String, Next) {
    let set: Arc<ReplicaSet> = view(set);
    let pods: Vec<Arc<Pod>> = pods.iter().cloned().map(view).collect();
    let selector = selector(&set.spec.selector, &set.metadata).expect("a selector");
    let claimed = Claimed::of(&set.metadata, &selector, pods.clone());
    let seen = Seen { set, related: pods, pods: claimed };
    let mut out = Changes::default();
    let next = ReplicaLoop::<ReplicaSet>::plan(&seen, memory, now(), &mut out);
    (out.text(), next)
}

fn check(set: Value, pods: &[Value], expected: Expect) {
    expected.assert_eq(&plan(set, pods, &mut Memory::default()).0);
}

#[test]
fn missing_pods_are_created() {
    let (text, next) = plan(set(2, json!({})), &[], &mut Memory::default());
    expect![[r#"
        together
          create pods n {"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"web-","labels":{"app":"web"},"namespace":"n","ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web","uid":"s"}]},"spec":{"containers":[]}}
            done SuccessfulCreate: Created pod: {name}
            failed FailedCreate: Error creating: {error}
          create pods n {"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"web-","labels":{"app":"web"},"namespace":"n","ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web","uid":"s"}]},"spec":{"containers":[]}}
            done SuccessfulCreate: Created pod: {name}
            failed FailedCreate: Error creating: {error}
    "#]]
    .assert_eq(&text);
    assert_eq!(next, Next::Wait);
    let (many, _) = plan(set(2000, json!({})), &[], &mut Memory::default());
    assert_eq!(many.matches("create pods").count(), BURST);
}

#[test]
fn pods_that_ended_or_go_are_replaced() {
    let ended = pod("a", json!({"status": {"phase": "Failed"}}));
    let going = pod("b", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    let (text, _) = plan(set(2, json!({})), &[ended, going], &mut Memory::default());
    assert_eq!(text.matches("create pods").count(), 2);
    assert!(text.contains("\"terminatingReplicas\":1"), "{text}");
}

#[test]
fn orphans_come_in_and_strangers_go_out() {
    let orphan = pod("a", json!({"metadata": {"ownerReferences": []}}));
    let relabeled = pod("b", json!({"metadata": {"labels": {"app": "other"}}}));
    check(
        set(1, json!({"status": {"replicas": 1, "fullyLabeledReplicas": 1}})),
        &[orphan, relabeled],
        expect![[r#"
        patch Strategic pods n/a  {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web","uid":"s"}],"uid":"a"}}
        patch Strategic pods n/b  {"metadata":{"ownerReferences":[{"$patch":"delete","uid":"s"}],"uid":"b"}}
    "#]],
    );
}

#[test]
fn a_set_that_goes_only_counts() {
    let going = set(3, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    check(
        going,
        &[],
        expect![[r#"
        because the set is going
    "#]],
    );
}

#[test]
fn time_makes_pods_available() {
    let waits = set(2, json!({"spec": {"minReadySeconds": 30}, "status": {"conditions": []}}));
    let pods = [pod("a", ready("2026-01-01T00:59:00Z")), pod("b", ready("2026-01-01T00:59:45Z"))];
    let (text, next) = plan(waits, &pods, &mut Memory::default());
    expect![[r#"
        merge replicasets n/web status {"metadata":{"uid":"s"},"status":{"availableReplicas":1,"conditions":[],"fullyLabeledReplicas":2,"observedGeneration":1,"readyReplicas":2,"replicas":2,"terminatingReplicas":0}}
    "#]]
    .assert_eq(&text);
    assert_eq!(next, Next::At("2026-01-01T01:00:15Z".parse().expect("a time")));
}

#[test]
fn a_refusal_becomes_a_condition_and_goes_again() {
    let mut memory = Memory { failure: Some("no quota".into()) };
    let (text, _) = plan(set(1, json!({})), &[], &mut memory);
    assert!(text.starts_with(r#"merge replicasets n/web status {"metadata":{"uid":"s"},"status":{"availableReplicas":0,"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"no quota","reason":"FailedCreate","status":"True","type":"ReplicaFailure"}]"#), "{text}");
    let failing = json!({"status": {"replicas": 1, "fullyLabeledReplicas": 1, "conditions": [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no quota"}]}});
    let (text, _) = plan(set(1, failing), &[pod("a", json!({}))], &mut memory);
    assert!(text.contains(r#""conditions":[]"#), "{text}");
}

#[test]
fn the_least_missed_pods_go_first() {
    let with = |mut value: Value, more: Value| {
        merge(&mut value, more);
        value
    };
    let old = "2025-12-01T00:00:00Z";
    let restarted = json!({"status": {"containerStatuses": [{"restartCount": 3}]}});
    let pods = [
        pod("keep", with(ready(old), json!({"spec": {"nodeName": "b"}}))),
        pod("crowded-1", with(ready(old), json!({"metadata": {"creationTimestamp": old}}))),
        pod("crowded-restarted", with(ready(old), restarted)),
        pod("fresh", with(ready("2026-01-01T00:59:59Z"), json!({"spec": {"nodeName": "b"}}))),
        pod("unassigned", json!({"status": {"phase": "Pending"}})),
        pod("pending", json!({"spec": {"nodeName": "a"}, "status": {"phase": "Pending"}})),
        pod("unready", json!({"spec": {"nodeName": "b"}, "status": {"phase": "Running"}})),
        pod(
            "cheap",
            with(
                ready(old),
                json!({"metadata": {"annotations":
            {"controller.kubernetes.io/pod-deletion-cost": "-5"}}, "spec": {"nodeName": "b"}}),
            ),
        ),
    ];
    let pods: Vec<Arc<Pod>> = pods.into_iter().map(view).collect();
    expect![[r#"
        unassigned
        pending
        unready
        cheap
        fresh
        keep
        crowded-restarted
        crowded-1"#]]
    .assert_eq(&victims::order(&pods, now()).join("\n"));
}

/// Some are made in one second, some in another: a third one between two must not turn them round.
#[test]
fn pods_of_about_one_age_go_by_their_uids() {
    let pods = (0..99).map(|n| {
        let made = format!("2026-01-01T00:00:{:02}Z", n % 7);
        let meta = json!({"name": n.to_string(), "uid": format!("{:02}", n * 31 % 99), "creationTimestamp": made});
        view(json!({"metadata": meta, "status": {"phase": "Running"}}))
    });
    let pods: Vec<Arc<Pod>> = pods.collect();
    let ordered = victims::by_worth(pods.iter().collect(), now());
    let uids: Vec<&str> = ordered.iter().map(|pod| &*pod.metadata.uid).collect();
    assert!(uids.is_sorted(), "{uids:?}");
}

#[test]
fn deletions_are_told() {
    let pods = [pod("a", json!({})), pod("b", ready("2026-01-01T00:00:00Z"))];
    let stands = json!({"status": {"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 1, "availableReplicas": 1}});
    check(
        set(1, stands),
        &pods,
        expect![[r#"
        together
          delete pods n/a uid=a
            done SuccessfulDelete: Deleted pod: {name}
            failed FailedDelete: Error deleting: {error}
    "#]],
    );
}

#[test]
fn a_controller_of_before_differs_in_names_alone() {
    let mut it =
        set(1, json!({"spec": {"selector": null}, "status": {"terminatingReplicas": null}}));
    it["spec"]["selector"] = json!({"app": "web"});
    let set: Arc<ReplicationController> = view(it);
    let selector = selector(&set.0.spec.selector, set.meta()).expect("a selector");
    let pods: Vec<Arc<Pod>> = vec![view(pod("a", json!({"metadata": {"ownerReferences": []}})))];
    let seen = Seen { related: pods.clone(), pods: Claimed::of(set.meta(), &selector, pods), set };
    let mut out = Changes::default();
    ReplicaLoop::<ReplicationController>::plan(&seen, &mut Memory::default(), now(), &mut out);
    expect![[r#"
        patch Strategic pods n/a  {"metadata":{"ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicationController","name":"web","uid":"s"}],"uid":"a"}}
        merge replicationcontrollers n/web status {"metadata":{"uid":"s"},"status":{"availableReplicas":0,"conditions":[],"fullyLabeledReplicas":1,"observedGeneration":1,"readyReplicas":0,"replicas":1,"terminatingReplicas":null}}
    "#]].assert_eq(&out.text());
}
