//! Cases of Job: what becomes of a spec, and what is refused.

use super::*;
use expect_test::{Expect, expect};
use skiff_api::errors::Errors;

fn job(spec: Value) -> Object {
    let mut job = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}});
    if let (Some(into), Value::Object(from)) = (job["spec"].as_object_mut(), spec) {
        into.extend(from);
    }
    let mut job = Object::new(job);
    default(&mut job);
    prepare(&mut job, None);
    job
}

fn text_of(check: impl FnOnce(&mut Errors)) -> String {
    let mut errors = Errors::new();
    check(&mut errors);
    errors.iter().map(|error| format!("{error}\n")).collect()
}

fn check(spec: Value, expected: Expect) {
    expected.assert_eq(&text_of(|errors| validate::job(&job(spec), None, errors)));
}

fn update(old: Value, new: Value, status: Value, expected: Expect) {
    let mut old = job(old);
    old.set("status", status);
    expected.assert_eq(&text_of(|errors| validate::job(&job(new), Some(&old), errors)));
}

#[test]
fn a_job_is_completed() {
    let it = job(json!({}));
    let shown = |path: &str| it.at(path).unwrap_or(&Value::Null).to_string();
    expect![[r#"{"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"a","controller-uid":"u","job-name":"a"}"#]]
        .assert_eq(&shown("metadata.labels"));
    expect![[r#"{"matchLabels":{"batch.kubernetes.io/controller-uid":"u"}}"#]]
        .assert_eq(&shown("spec.selector"));
    let mut spec = it.at("spec").expect("a spec").clone();
    let fields = spec.as_object_mut().expect("an object");
    ["template", "selector"].iter().for_each(|field| drop(fields.remove(field)));
    expect![[r#"{"backoffLimit":6,"completionMode":"NonIndexed","completions":1,"manualSelector":false,"parallelism":1,"podReplacementPolicy":"TerminatingOrFailed","suspend":false}"#]]
        .assert_eq(&spec.to_string());
    check(json!({}), expect![""]);
}

#[test]
fn bounds_hold() {
    check(
        json!({"completionMode": "Indexed", "completions": 1_000_000, "parallelism": 100_001,
            "backoffLimitPerIndex": 1, "maxFailedIndexes": 10_001}),
        expect![[r#"
            spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed
            spec.parallelism: Invalid value: 100001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index
            spec.maxFailedIndexes: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index
        "#]],
    );
    check(
        json!({"completions": -1, "backoffLimitPerIndex": 2, "managedBy": "me"}),
        expect![[r#"
            spec.completions: Invalid value: -1: must be greater than or equal to 0
            spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")
            spec.backoffLimitPerIndex: Invalid value: 2: requires indexed completion mode
        "#]],
    );
}

#[test]
fn the_longest_name_of_a_pod_is_a_host_name() {
    let mut it = job(json!({"completionMode": "Indexed", "completions": 11}));
    for (length, wrong) in [(60, false), (61, true)] {
        it.set("metadata.name", "a".repeat(length));
        let text = text_of(|errors| validate::job(&it, Some(&it), errors));
        assert_eq!(text.contains("invalid DNS label"), wrong, "{text}");
    }
}

#[test]
fn policies_are_checked() {
    check(
        json!({"podFailurePolicy": {"rules": [
            {"action": "X", "onExitCodes": {"operator": "In", "values": [3, 1, 0, 3], "containerName": "d"}},
            {"action": "FailIndex", "onPodConditions": [{"type": "A"}]},
            {"action": "Count"}]}}),
        expect![[r#"
            spec.podFailurePolicy.rules[0].action: Unsupported value: "X": supported values: "Count", "FailIndex", "FailJob", "Ignore"
            spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "d": must be one of the container or initContainer names in the pod template
            spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Invalid value: 0: must not be 0 for the In operator
            spec.podFailurePolicy.rules[0].onExitCodes.values[3]: Duplicate value: 3
            spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,1,0,3]: must be ordered
            spec.podFailurePolicy.rules[1].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set
            spec.podFailurePolicy.rules[2]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required
        "#]],
    );
    check(
        json!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [
            {}, {"succeededIndexes": "0,2", "succeededCount": 3}, {"succeededIndexes": "2,1"}]}}),
        expect![[r#"
            spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified
            spec.successPolicy.rules[1].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)
            spec.successPolicy.rules[2].succeededIndexes: Invalid value: "2,1": error parsing succeededIndexes: non-increasing order, previous: 2, current: 1
        "#]],
    );
}

#[test]
fn only_an_idle_job_may_change_its_pods() {
    let with = |node: &str| {
        json!({"suspend": true, "template": {"spec": {"restartPolicy": "Never", "nodeSelector": {"a": node},
            "containers": [{"name": "c", "image": "x", "resources": {"limits": {"cpu": node}}}]}}})
    };
    update(with("1"), with("2"), json!({}), expect![""]);
    let mut errors = Errors::new();
    let mut old = job(with("1"));
    old.set("status", json!({"startTime": "2026-01-01T00:00:00Z", "active": 1}));
    validate::job(&job(with("2")), Some(&old), &mut errors);
    assert!(
        errors.text().starts_with("spec.template: Invalid value: {\"labels\":"),
        "{}",
        errors.text()
    );
    update(
        json!({"completions": 3}),
        json!({"completions": 4}),
        json!({}),
        expect![[r#"
            spec.completions: Invalid value: 4: field is immutable
        "#]],
    );
    let indexed = |many: i64, parallelism: i64| json!({"completionMode": "Indexed", "completions": many, "parallelism": parallelism});
    update(indexed(3, 3), indexed(4, 4), json!({}), expect![""]);
    update(
        indexed(3, 3),
        indexed(4, 3),
        json!({}),
        expect![[r#"
            spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism
        "#]],
    );
}

#[test]
fn a_status_goes_only_forward() {
    let check = |spec: Value, old: Value, new: Value, expected: Expect| {
        let (mut before, mut after) = (job(spec.clone()), job(spec));
        before.set("status", old);
        after.set("status", new);
        expected.assert_eq(&text_of(|errors| status::validate("status", &after, &before, errors)));
    };
    let is = |type_: &str| json!({"type": type_, "status": "True"});
    check(
        json!({}),
        json!({"succeeded": 2, "failed": 2}),
        json!({"succeeded": 1, "failed": 1, "ready": 1, "completedIndexes": "0", "failedIndexes": "0",
            "conditions": [is("Complete"), is("Failed")]}),
        expect![[r#"
            status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions
            status.completionTime: Required value: completionTime is required for Complete jobs
            status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition
            status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition
            status.startTime: Required value: startTime is required for finished job
            status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode
            status.failedIndexes: Invalid value: "0": cannot set non-null failedIndexes when backoffLimitPerIndex is null
            status.failedIndexes: Invalid value: "0": failedIndexes and completedIndexes overlap at index: 0
            status.ready: Invalid value: 1: cannot set more ready pods than active
            status.failed: Invalid value: 1: cannot decrease the failed counter
            status.succeeded: Invalid value: 1: cannot decrease the succeeded counter
        "#]],
    );
}
