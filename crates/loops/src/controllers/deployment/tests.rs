//! Cases of the Deployment loop: a deployment and its sets in, changes out.

use super::*;
use crate::testkit::{merge, now, view};
use expect_test::{Expect, expect};
use skiff_json::{Value, json};

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"image": image}})
}

/// A deployment of image `new` with 10 replicas, of which 2 may be missing and 3 too many.
fn deployment(more: Value) -> Value {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 2},
        "spec": {"replicas": 10, "selector": {"matchLabels": {"app": "web"}}, "template": template("new"),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 2}},
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1},
        "status": {"terminatingReplicas": 0},
    });
    merge(&mut value, more);
    value
}

/// A set with so many pods asked for, there, and available.
fn set(name: &str, image: &str, (asked, there, available): (i32, i32, i32), more: Value) -> Value {
    let revision = if image == "new" { "9" } else { "1" };
    let mut value = json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "5", "generation": 1,
            "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"deployment.kubernetes.io/revision": revision,
                "deployment.kubernetes.io/desired-replicas": "10", "deployment.kubernetes.io/max-replicas": "13"},
            "ownerReferences": [{"uid": "d", "kind": "Deployment", "name": "web", "controller": true}]},
        "spec": {"replicas": asked, "template": template(image)},
        "status": {"replicas": there, "readyReplicas": available, "availableReplicas": available,
            "terminatingReplicas": 0, "observedGeneration": 1},
    });
    merge(&mut value, more);
    value
}

struct Case {
    seen: Seen,
    memory: Memory,
}

fn case(deployment: Value, sets: &[Value]) -> Case {
    let deployment: Arc<Deployment> = view(deployment);
    let selector = selector(&deployment.spec.selector, &deployment.metadata).expect("a selector");
    let sets = sets.iter().cloned().map(view).collect();
    let sets = Claimed::of(&deployment.metadata, &selector, sets);
    let seen = Seen { deployment, sets, namesake: None, with_pods: Vec::new() };
    Case { seen, memory: Memory::default() }
}

impl Case {
    fn plan(mut self) -> (String, Next) {
        let mut out = Changes::default();
        let next = DeploymentLoop::plan(&self.seen, &mut self.memory, now(), &mut out);
        (out.text(), next)
    }

    /// What is done to sets, without the status.
    fn sets(self, expected: Expect) {
        let text = self.plan().0;
        let lines = text.lines().filter(|line| !line.contains("deployments n/web status"));
        expected.assert_eq(&lines.map(|line| format!("{line}\n")).collect::<String>());
    }

    fn status(self, expected: Expect) {
        let text = self.plan().0;
        let lines = text.lines().filter(|line| line.contains("deployments n/web status"));
        expected.assert_eq(&lines.map(|line| format!("{line}\n")).collect::<String>());
    }
}

#[test]
fn the_first_set_is_created_whole() {
    let text = case(deployment(json!({"metadata": {"annotations": {"a": "b"}}})), &[]).plan().0;
    expect![[r#"
        create replicasets n {"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"annotations":{"a":"b","deployment.kubernetes.io/desired-replicas":"10","deployment.kubernetes.io/max-replicas":"13","deployment.kubernetes.io/revision":"1"},"labels":{"app":"web","pod-template-hash":"5f984f664"},"name":"web-5f984f664","namespace":"n","ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"Deployment","name":"web","uid":"d"}]},"spec":{"replicas":10,"selector":{"matchLabels":{"app":"web","pod-template-hash":"5f984f664"}},"template":{"metadata":{"labels":{"app":"web","pod-template-hash":"5f984f664"}},"spec":{"image":"new"}}}}
          done ScalingReplicaSet: Scaled up replica set web-5f984f664 from 0 to 10
          failed ReplicaSetCreateError: Failed to create new replica set "web-5f984f664": {error}
        merge deployments n/web status {"metadata":{"annotations":{"deployment.kubernetes.io/revision":"1"},"uid":"d"},"status":{"availableReplicas":0,"collisionCount":null,"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","lastUpdateTime":"2026-01-01T01:00:00Z","message":"Created new replica set \"web-5f984f664\"","reason":"NewReplicaSetCreated","status":"True","type":"Progressing"},{"lastTransitionTime":"2026-01-01T01:00:00Z","lastUpdateTime":"2026-01-01T01:00:00Z","message":"Deployment does not have minimum availability.","reason":"MinimumReplicasUnavailable","status":"False","type":"Available"}],"observedGeneration":2,"readyReplicas":0,"replicas":0,"terminatingReplicas":0,"unavailableReplicas":10,"updatedReplicas":0}}
    "#]].assert_eq(&text);
}

#[test]
fn a_rollout_goes_step_by_step() {
    let old = |counts| set("old", "old", counts, json!({}));
    let new = |counts| set("new", "new", counts, json!({}));
    // Surge first.
    case(deployment(json!({})), &[old((10, 10, 10)), new((0, 0, 0))]).sets(expect![[r#"
        merge replicasets n/new  {"metadata":{"resourceVersion":"5","uid":"new"},"spec":{"replicas":3}}
          done ScalingReplicaSet: Scaled up replica set new from 0 to 3
    "#]]);
    // No room to grow, and the new pods are not there yet: two may be missing.
    case(deployment(json!({})), &[old((10, 10, 10)), new((3, 3, 0))]).sets(expect![[r#"
        merge replicasets n/old  {"metadata":{"resourceVersion":"5","uid":"old"},"spec":{"replicas":8}}
          done ScalingReplicaSet: Scaled down replica set old from 10 to 8
    "#]]);
    // New ones became available: as many old ones go.
    case(deployment(json!({})), &[old((8, 8, 8)), new((5, 5, 3))]).sets(expect![[r#"
        merge replicasets n/old  {"metadata":{"resourceVersion":"5","uid":"old"},"spec":{"replicas":5}}
          done ScalingReplicaSet: Scaled down replica set old from 8 to 5
    "#]]);
    // Nothing can move.
    case(deployment(json!({})), &[old((8, 8, 8)), new((5, 5, 0))]).sets(expect![[r#""#]]);
    // Old pods that are not available go at once.
    case(deployment(json!({})), &[old((10, 10, 6)), new((3, 3, 0))]).sets(expect![[r#"
        merge replicasets n/old  {"metadata":{"resourceVersion":"5","uid":"old"},"spec":{"replicas":8}}
          done ScalingReplicaSet: Scaled down replica set old from 10 to 8
    "#]]);
}

#[test]
fn a_complete_rollout_cleans_up() {
    let done = json!({"status": {"observedGeneration": 2, "replicas": 10, "updatedReplicas": 10, "readyReplicas": 10,
        "availableReplicas": 10}});
    let old = |name, revision: &str| {
        let more =
            json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": revision}}});
        set(name, name, (0, 0, 0), more)
    };
    let sets =
        [old("b", "2"), old("a", "1"), old("c", "3"), set("new", "new", (10, 10, 10), json!({}))];
    case(deployment(done), &sets).sets(expect![[r#"
        delete replicasets n/a uid=a
        delete replicasets n/b uid=b
    "#]]);
}

#[test]
fn a_rollback_takes_the_old_set_and_keeps_its_numbers() {
    let old = set(
        "old",
        "new",
        (0, 0, 0),
        json!({"metadata": {"annotations":
        {"deployment.kubernetes.io/revision": "2", "deployment.kubernetes.io/revision-history": "1"}}}),
    );
    let bad = set(
        "bad",
        "bad",
        (10, 10, 10),
        json!({"metadata": {"annotations":
        {"deployment.kubernetes.io/revision": "3"}}}),
    );
    case(deployment(json!({})), &[old, bad]).sets(expect![[r#"
        merge replicasets n/old  {"metadata":{"annotations":{"deployment.kubernetes.io/revision":"4","deployment.kubernetes.io/revision-history":"1,2"},"resourceVersion":"5","uid":"old"},"spec":{"replicas":3}}
          done ScalingReplicaSet: Scaled up replica set old from 0 to 3
    "#]]);
}

#[test]
fn scaling_keeps_proportions() {
    let sets = [set("old", "old", (8, 8, 8), json!({})), set("new", "new", (5, 5, 5), json!({}))];
    let up = json!({"spec": {"replicas": 20}});
    case(deployment(up), &sets).sets(expect![[r#"
        merge replicasets n/new  {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"20","deployment.kubernetes.io/max-replicas":"25"},"resourceVersion":"5","uid":"new"},"spec":{"replicas":10}}
          done ScalingReplicaSet: Scaled up replica set new from 5 to 10
        merge replicasets n/old  {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"20","deployment.kubernetes.io/max-replicas":"25"},"resourceVersion":"5","uid":"old"},"spec":{"replicas":15}}
          done ScalingReplicaSet: Scaled up replica set old from 8 to 15
    "#]]);
    let down = json!({"spec": {"replicas": 5}});
    case(deployment(down), &sets).sets(expect![[r#"
        merge replicasets n/new  {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"5","deployment.kubernetes.io/max-replicas":"7"},"resourceVersion":"5","uid":"new"},"spec":{"replicas":3}}
          done ScalingReplicaSet: Scaled down replica set new from 5 to 3
        merge replicasets n/old  {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"5","deployment.kubernetes.io/max-replicas":"7"},"resourceVersion":"5","uid":"old"},"spec":{"replicas":4}}
          done ScalingReplicaSet: Scaled down replica set old from 8 to 4
    "#]]);
    let zero = json!({"spec": {"replicas": 0}});
    case(deployment(zero), &sets).sets(expect![[r#"
        merge replicasets n/new  {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"0","deployment.kubernetes.io/max-replicas":"0"},"resourceVersion":"5","uid":"new"},"spec":{"replicas":0}}
          done ScalingReplicaSet: Scaled down replica set new from 5 to 0
        merge replicasets n/old  {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"0","deployment.kubernetes.io/max-replicas":"0"},"resourceVersion":"5","uid":"old"},"spec":{"replicas":0}}
          done ScalingReplicaSet: Scaled down replica set old from 8 to 0
    "#]]);
    // A paused one without a rollout is sized, nothing else.
    let paused = json!({"spec": {"replicas": 4, "paused": true}});
    case(deployment(paused), &sets[..1]).plan().0.lines().for_each(|line| {
        assert!(!line.contains("create"), "{line}");
    });
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let recreate =
        || deployment(json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}));
    case(recreate(), &[set("old", "old", (10, 10, 10), json!({}))]).sets(expect![[r#"
        merge replicasets n/old  {"metadata":{"annotations":{"deployment.kubernetes.io/max-replicas":"10"},"resourceVersion":"5","uid":"old"},"spec":{"replicas":0}}
          done ScalingReplicaSet: Scaled down replica set old from 10 to 0
    "#]]);
    let mut waits = case(recreate(), &[set("old", "old", (0, 0, 0), json!({}))]);
    waits.seen.with_pods = vec!["old".into()];
    waits.sets(expect![[r#"
        because old pods are still there
    "#]]);
    let free = case(recreate(), &[set("old", "old", (0, 0, 0), json!({}))]).plan().0;
    assert!(free.contains("Scaled up replica set web-"), "{free}");
}

#[test]
fn conditions_tell_the_progress() {
    let condition = |type_: &str, status: &str, reason: &str, at: &str| {
        json!({"type": type_, "status": status, "reason": reason, "message": "m", "lastUpdateTime": at,
            "lastTransitionTime": at})
    };
    let stuck = |updated: &str| {
        json!({"status": {"observedGeneration": 2, "replicas": 13, "updatedReplicas": 5, "readyReplicas": 8,
            "availableReplicas": 8, "unavailableReplicas": 5, "conditions": [
                condition("Available", "True", "MinimumReplicasAvailable", "2026-01-01T00:00:00Z"),
                condition("Progressing", "True", "ReplicaSetUpdated", updated)]}, "metadata": {"annotations":
                    {"deployment.kubernetes.io/revision": "9"}}})
    };
    let sets = [set("old", "old", (8, 8, 8), json!({})), set("new", "new", (5, 5, 0), json!({}))];
    // It waits for the deadline ...
    let (text, next) = case(deployment(stuck("2026-01-01T00:55:00Z")), &sets).plan();
    assert_eq!(text, "");
    assert_eq!(next, Next::At("2026-01-01T01:05:01Z".parse().expect("a time")));
    // ... says that it has passed ...
    case(deployment(stuck("2026-01-01T00:40:00Z")), &sets).status(expect![[r#"
        merge deployments n/web status {"metadata":{"uid":"d"},"status":{"availableReplicas":8,"collisionCount":null,"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"m","reason":"MinimumReplicasAvailable","status":"True","type":"Available"},{"lastTransitionTime":"2026-01-01T01:00:00Z","lastUpdateTime":"2026-01-01T01:00:00Z","message":"ReplicaSet \"new\" has timed out progressing.","reason":"ProgressDeadlineExceeded","status":"False","type":"Progressing"}],"observedGeneration":2,"readyReplicas":8,"replicas":13,"terminatingReplicas":0,"unavailableReplicas":5,"updatedReplicas":5}}
    "#]]);
    // ... and goes on when something moves.
    let moved = [set("old", "old", (8, 8, 8), json!({})), set("new", "new", (5, 5, 1), json!({}))];
    case(deployment(stuck("2026-01-01T00:40:00Z")), &moved).status(expect![[r#"
        merge deployments n/web status {"metadata":{"uid":"d"},"status":{"availableReplicas":9,"collisionCount":null,"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"m","reason":"MinimumReplicasAvailable","status":"True","type":"Available"},{"lastTransitionTime":"2026-01-01T00:40:00Z","lastUpdateTime":"2026-01-01T01:00:00Z","message":"ReplicaSet \"new\" is progressing.","reason":"ReplicaSetUpdated","status":"True","type":"Progressing"}],"observedGeneration":2,"readyReplicas":9,"replicas":13,"terminatingReplicas":0,"unavailableReplicas":3,"updatedReplicas":5}}
    "#]]);
    let done = [set("new", "new", (10, 10, 10), json!({}))];
    case(deployment(stuck("2026-01-01T00:55:00Z")), &done).status(expect![[r#"
        merge deployments n/web status {"metadata":{"uid":"d"},"status":{"availableReplicas":10,"collisionCount":null,"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"m","reason":"MinimumReplicasAvailable","status":"True","type":"Available"},{"lastTransitionTime":"2026-01-01T00:55:00Z","lastUpdateTime":"2026-01-01T01:00:00Z","message":"ReplicaSet \"new\" has successfully progressed.","reason":"NewReplicaSetAvailable","status":"True","type":"Progressing"}],"observedGeneration":2,"readyReplicas":10,"replicas":10,"terminatingReplicas":0,"unavailableReplicas":0,"updatedReplicas":10}}
    "#]]);
}

#[test]
fn failures_are_shown() {
    let failing = set(
        "new",
        "new",
        (10, 4, 4),
        json!({"status": {"conditions": [{"type": "ReplicaFailure",
        "status": "True", "reason": "FailedCreate", "message": "no quota",
        "lastTransitionTime": "2026-01-01T00:30:00Z"}]}}),
    );
    case(deployment(json!({})), &[failing]).status(expect![[r#"
        merge deployments n/web status {"metadata":{"annotations":{"deployment.kubernetes.io/revision":"9"},"uid":"d"},"status":{"availableReplicas":4,"collisionCount":null,"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","lastUpdateTime":"2026-01-01T01:00:00Z","message":"Deployment does not have minimum availability.","reason":"MinimumReplicasUnavailable","status":"False","type":"Available"},{"lastTransitionTime":"2026-01-01T01:00:00Z","lastUpdateTime":"2026-01-01T01:00:00Z","message":"ReplicaSet \"new\" is progressing.","reason":"ReplicaSetUpdated","status":"True","type":"Progressing"},{"lastTransitionTime":"2026-01-01T00:30:00Z","lastUpdateTime":"2026-01-01T00:30:00Z","message":"no quota","reason":"FailedCreate","status":"True","type":"ReplicaFailure"}],"observedGeneration":2,"readyReplicas":4,"replicas":4,"terminatingReplicas":0,"unavailableReplicas":6,"updatedReplicas":4}}
    "#]]);
    let mut refused = case(deployment(json!({})), &[]);
    refused.memory.refused = Some("no quota".into());
    refused.status(expect![[r#"
        merge deployments n/web status {"metadata":{"annotations":{"deployment.kubernetes.io/revision":"1"},"uid":"d"},"status":{"availableReplicas":0,"collisionCount":null,"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","lastUpdateTime":"2026-01-01T01:00:00Z","message":"Failed to create new replica set \"web-5f984f664\": no quota","reason":"ReplicaSetCreateError","status":"False","type":"Progressing"},{"lastTransitionTime":"2026-01-01T01:00:00Z","lastUpdateTime":"2026-01-01T01:00:00Z","message":"Deployment does not have minimum availability.","reason":"MinimumReplicasUnavailable","status":"False","type":"Available"}],"observedGeneration":2,"readyReplicas":0,"replicas":0,"terminatingReplicas":0,"unavailableReplicas":10,"updatedReplicas":0}}
    "#]]);
}

#[test]
fn a_name_that_is_taken_is_a_collision() {
    let mut taken = case(deployment(json!({"status": {"collisionCount": 1}})), &[]);
    taken.seen.namesake = Some(view(set("x", "other", (0, 0, 0), json!({}))));
    let text = taken.plan().0;
    assert!(text.contains("\"collisionCount\":2") && !text.contains("create"), "{text}");
}
