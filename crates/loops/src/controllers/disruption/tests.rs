//! Cases of budgets: a budget and its pods in, changes out.

use super::stale::StaleDisruptions;
use super::*;
use crate::testkit::{now, view};
use expect_test::{Expect, expect};

fn pod(name: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "uid": name},
        "status": {"conditions": [{"type": "Ready", "status": ready}]}})
}

fn budget(spec: Value, status: Value) -> Value {
    json!({"metadata": {"name": "b", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 2},
        "spec": spec, "status": status})
}

fn check(budget: Value, pods: &[Value], expected: Result<(i32, bool), &str>, out: Expect) -> Next {
    let budget: Arc<PodDisruptionBudget> = view(budget);
    let pods: Vec<Arc<Pod>> = pods.iter().cloned().map(view).collect();
    let expected = expected.map(|(count, unmanaged)| Expected { count, unmanaged });
    let expected = expected.map_err(str::to_owned);
    let seen = Seen { budget, pods, expected, shared: Vec::new() };
    let mut changes = Changes::default();
    let next = Budgets::plan(&seen, &mut Memory::default(), now(), &mut changes);
    out.assert_eq(&changes.text());
    next
}

#[test]
fn what_is_left_over_may_go() {
    check(
        budget(json!({"minAvailable": 1, "selector": {}}), json!({})),
        &[pod("x", "True"), pod("y", "True"), pod("z", "False")],
        Ok((3, false)),
        expect![[r#"
            merge poddisruptionbudgets n/b status {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"","observedGeneration":2,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":1,"disruptedPods":{},"disruptionsAllowed":1,"expectedPods":3,"observedGeneration":2}}
        "#]],
    );
}

#[test]
fn shares_are_rounded_up() {
    let of =
        |spec: Value, expected| desired(&skiff_json::from_value(spec).expect("a spec"), expected);
    assert_eq!(of(json!({"minAvailable": "50%"}), 3), 2);
    assert_eq!(of(json!({"maxUnavailable": "50%"}), 3), 1);
    assert_eq!(of(json!({"maxUnavailable": 5}), 3), 0);
    assert_eq!(of(json!({}), 3), 0);
}

#[test]
fn a_budget_of_nothing_says_so() {
    check(
        budget(json!({"maxUnavailable": 1, "selector": {}}), json!({})),
        &[],
        Ok((0, false)),
        expect![[r#"
            event Normal NoPods: No matching pods found
            merge poddisruptionbudgets n/b status {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"","observedGeneration":2,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":0,"desiredHealthy":0,"disruptedPods":{},"disruptionsAllowed":0,"expectedPods":0,"observedGeneration":2}}
        "#]],
    );
}

#[test]
fn pods_of_nobody_are_told_of() {
    check(
        budget(json!({"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}}), json!({})),
        &[pod("x", "True")],
        Ok((0, true)),
        expect![[r#"
            event Warning UnmanagedPods: Pods selected by this PodDisruptionBudget (selector: &LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.
            merge poddisruptionbudgets n/b status {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"","observedGeneration":2,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":1,"desiredHealthy":0,"disruptedPods":{},"disruptionsAllowed":0,"expectedPods":0,"observedGeneration":2}}
        "#]],
    );
}

#[test]
fn while_nobody_knows_nothing_may_go() {
    check(
        budget(json!({"maxUnavailable": 1, "selector": {}}), json!({"disruptionsAllowed": 1})),
        &[pod("x", "True")],
        Err("found no controllers for pod \"x\""),
        expect![[r#"
            event Warning CalculateExpectedPodCountFailed: Failed to calculate the number of expected pods: found no controllers for pod "x"
            merge poddisruptionbudgets n/b status {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"found no controllers for pod \"x\"","reason":"SyncFailed","status":"False","type":"DisruptionAllowed"}],"currentHealthy":0,"desiredHealthy":0,"disruptedPods":{},"disruptionsAllowed":0,"expectedPods":0,"observedGeneration":0}}
        "#]],
    );
}

#[test]
fn what_was_to_go_counts_again_after_a_while() {
    let since = json!({"x": "2026-01-01T00:57:00Z", "y": "2026-01-01T00:59:00Z", "gone": "2026-01-01T00:59:00Z"});
    let status = json!({"disruptedPods": since});
    let next = check(
        budget(json!({"minAvailable": 0, "selector": {}}), status),
        &[pod("x", "True"), pod("y", "True")],
        Ok((2, false)),
        expect![[r#"
            event Warning NotDeleted: Pod was expected by PDB n/n to be deleted but it wasn't
            merge poddisruptionbudgets n/b status {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"","observedGeneration":2,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":1,"desiredHealthy":0,"disruptedPods":{"gone":null,"x":null,"y":"2026-01-01T00:59:00Z"},"disruptionsAllowed":1,"expectedPods":2,"observedGeneration":2}}
        "#]],
    );
    assert_eq!(next, Next::At("2026-01-01T01:01:00Z".parse().expect("a time")));
}

#[test]
fn a_pod_that_stays_is_no_target_any_more() {
    let target = |since: &str| -> Arc<Pod> {
        view(json!({"metadata": {"name": "x", "namespace": "n", "uid": "x"},
            "status": {"conditions": [{"type": "DisruptionTarget", "status": "True",
                "reason": "EvictionByEvictionAPI", "lastTransitionTime": since}]}}))
    };
    let plan = |pod: Arc<Pod>| {
        let mut out = Changes::default();
        (StaleDisruptions::plan(&pod, &mut (), now(), &mut out), out.text())
    };
    let (next, text) = plan(target("2026-01-01T00:59:00Z"));
    assert_eq!((next, &*text), (Next::At("2026-01-01T01:01:00Z".parse().expect("a time")), ""));
    expect![[r#"
        patch Strategic pods n/x status {"metadata":{"uid":"x"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":null,"reason":null,"status":"False","type":"DisruptionTarget"}]}}
    "#]].assert_eq(&plan(target("2026-01-01T00:58:00Z")).1);
}
