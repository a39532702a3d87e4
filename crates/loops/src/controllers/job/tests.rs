//! Cases of the Job loop: a Job and its pods in, changes out.

use super::*;
use crate::testkit::{merge, now, view};
use expect_test::{Expect, expect};
use skiff_json::{Value, json};

const INDEX: &str = tally::INDEX;

/// A Job that was looked at before, so that its status is whole.
fn job(more: Value) -> Arc<Job> {
    let mut job = json!({
        "metadata": {"name": "j", "namespace": "n", "uid": "u"},
        "spec": {"parallelism": 2, "completions": 2, "backoffLimit": 1, "completionMode": "NonIndexed",
            "podReplacementPolicy": "TerminatingOrFailed", "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}},
        "status": {"startTime": "2026-01-01T00:00:00Z", "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}},
    });
    merge(&mut job, more);
    view(job)
}

fn pod(name: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"a": "b"},
        "finalizers": [FINALIZER],
        "ownerReferences": [{"uid": "u", "kind": "Job", "name": "j", "controller": true}]}});
    merge(&mut pod, more);
    view(pod)
}

fn phase(phase: &str) -> Value {
    json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": phase}})
}

fn at(index: i64, more: Value) -> Value {
    let mut value = json!({"metadata": {"annotations": {INDEX: index.to_string()}}});
    merge(&mut value, more);
    value
}

fn plan(job: &Arc<Job>, pods: &[Arc<Pod>], memory: &mut Memory) -> (String, Next) {
    let selector = selector(&job.spec.selector, &job.metadata).expect("a selector");
    let pods = Claimed::of(&job.metadata, &selector, pods.to_vec());
    let seen = Seen { job: job.clone(), pods };
    let mut out = Changes::default();
    let next = JobLoop::plan(&seen, memory, now(), &mut out);
    (out.text(), next)
}

/// The changes, with of a pod that is made only what is its own, and of a status only what is not nothing.
fn check(more: Value, pods: &[Arc<Pod>], expected: Expect) {
    let (text, next) = plan(&job(more), pods, &mut Memory::default());
    let mut shown = String::new();
    for line in text
        .lines()
        .filter(|line| !line.trim_start().starts_with(['d', 'f']) || line.contains("delete"))
    {
        shown += &short(line);
        shown.push('\n');
    }
    if let Next::At(at) = next {
        shown += &format!("again {at}\n");
    }
    expected.assert_eq(&shown);
}

fn short(line: &str) -> String {
    let Some((head, Ok(body))) =
        line.find('{').map(|at| (&line[..at], skiff_json::from_str::<Value>(&line[at..])))
    else {
        return line.to_owned();
    };
    match (body.get("status"), body["metadata"].get("generateName")) {
        (Some(Value::Object(status)), _) => {
            let some = |value: &&Value| match value {
                Value::Null => false,
                Value::Array(all) => !all.is_empty(),
                Value::String(text) => !text.is_empty(),
                Value::Number(number) => number.as_i64() != Some(0),
                _ => true,
            };
            let all =
                status.iter().filter(|(_, value)| some(value)).map(|(name, value)| match &**name {
                    "conditions" => {
                        let all = value.as_array().into_iter().flatten();
                        let said = all
                            .map(|it| format!("{}={}({})", it["type"], it["status"], it["reason"]));
                        said.collect::<Vec<_>>().join(",").replace('"', "")
                    }
                    name => format!("{name}={value}"),
                });
            format!("{head}{}", all.collect::<Vec<_>>().join(" "))
        }
        (_, Some(name)) => {
            let annotations = &body["metadata"]["annotations"];
            format!("{head}{name} {annotations} {}", body["spec"]["hostname"])
        }
        _ => format!("{head}{body}"),
    }
}

#[test]
fn a_new_job_gets_its_pods() {
    let (text, _) = plan(
        &job(
            json!({"spec": {"parallelism": 1}, "status": {"startTime": null, "ready": null, "terminating": null,
            "uncountedTerminatedPods": null}}),
        ),
        &[],
        &mut Memory::default(),
    );
    expect![[r#"
        together
          create pods n {"apiVersion":"v1","kind":"Pod","metadata":{"finalizers":["batch.kubernetes.io/job-tracking"],"generateName":"j-","labels":{"a":"b"},"namespace":"n","ownerReferences":[{"apiVersion":"batch/v1","blockOwnerDeletion":true,"controller":true,"kind":"Job","name":"j","uid":"u"}]},"spec":{"containers":[{"name":"c"}]}}
            done SuccessfulCreate: Created pod: {name}
            failed FailedCreate: Error creating: {error}
        merge jobs n/j status {"metadata":{"uid":"u"},"status":{"active":1,"completedIndexes":"","completionTime":null,"conditions":[],"failed":0,"failedIndexes":null,"ready":0,"startTime":"2026-01-01T01:00:00Z","succeeded":0,"terminating":0,"uncountedTerminatedPods":{"failed":[],"succeeded":[]}}}
    "#]]
    .assert_eq(&text);
    let (many, _) = plan(
        &job(json!({"spec": {"parallelism": 2000, "completions": 1_000_000}})),
        &[],
        &mut Memory::default(),
    );
    assert_eq!(many.matches("create pods").count(), BURST);
}

#[test]
fn pods_are_noted_let_go_and_counted() {
    let status = json!({"status": {"active": 2}});
    check(
        status,
        &[pod("a", phase("Succeeded")), pod("b", phase("Running"))],
        expect![[r#"
            merge jobs n/j status active=1 startTime="2026-01-01T00:00:00Z" uncountedTerminatedPods={"failed":[],"succeeded":["a"]}
            together
              patch Strategic pods n/a  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"a"}}
            merge jobs n/j status active=1 startTime="2026-01-01T00:00:00Z" succeeded=1 uncountedTerminatedPods={"failed":[],"succeeded":[]}
        "#]],
    );
    // After a crash between the second and the third.
    let mut gone = (*pod("a", phase("Succeeded"))).clone();
    gone.metadata.finalizers.clear();
    check(
        json!({"status": {"active": 1, "uncountedTerminatedPods": {"succeeded": ["a"]}}}),
        &[Arc::new(gone), pod("b", phase("Running"))],
        expect![[r#"
            merge jobs n/j status active=1 startTime="2026-01-01T00:00:00Z" succeeded=1 uncountedTerminatedPods={"failed":[],"succeeded":[]}
        "#]],
    );
}

#[test]
fn the_last_success_completes() {
    check(
        json!({"status": {"active": 1, "succeeded": 1}}),
        &[pod("a", phase("Succeeded"))],
        expect![[r#"
            merge jobs n/j status SuccessCriteriaMet=True(CompletionsReached) startTime="2026-01-01T00:00:00Z" succeeded=1 uncountedTerminatedPods={"failed":[],"succeeded":["a"]}
            together
              patch Strategic pods n/a  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"a"}}
            merge jobs n/j status completionTime="2026-01-01T01:00:00Z" SuccessCriteriaMet=True(CompletionsReached),Complete=True(CompletionsReached) startTime="2026-01-01T00:00:00Z" succeeded=2 uncountedTerminatedPods={"failed":[],"succeeded":[]}
            event Normal Completed: Job completed
        "#]],
    );
}

#[test]
fn failures_wait_and_then_end() {
    let ended = json!({"metadata": {"creationTimestamp": "2026-01-01T00:59:55Z"}, "status": {"phase": "Failed"}});
    check(
        json!({"spec": {"parallelism": 1}, "status": {"active": 1}}),
        &[pod("a", ended.clone())],
        expect![[r#"
            merge jobs n/j status startTime="2026-01-01T00:00:00Z" uncountedTerminatedPods={"failed":["a"],"succeeded":[]}
            together
              patch Strategic pods n/a  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"a"}}
            merge jobs n/j status failed=1 startTime="2026-01-01T00:00:00Z" uncountedTerminatedPods={"failed":[],"succeeded":[]}
            again 2026-01-01T01:00:05Z
        "#]],
    );
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    check(
        json!({"status": {"active": 2, "ready": 1, "failed": 1}}),
        &[pod("a", ended), pod("b", ready)],
        expect![[r#"
            together
              delete pods n/b uid=b
            merge jobs n/j status FailureTarget=True(BackoffLimitExceeded) failed=1 startTime="2026-01-01T00:00:00Z" terminating=1 uncountedTerminatedPods={"failed":["a","b"],"succeeded":[]}
            together
              patch Strategic pods n/a  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"a"}}
              patch Strategic pods n/b  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"b"}}
            merge jobs n/j status FailureTarget=True(BackoffLimitExceeded) failed=3 startTime="2026-01-01T00:00:00Z" terminating=1 uncountedTerminatedPods={"failed":[],"succeeded":[]}
        "#]],
    );
    let target =
        json!({"type": "FailureTarget", "status": "True", "reason": "Why", "message": "so"});
    check(
        json!({"status": {"failed": 3, "conditions": [target]}}),
        &[],
        expect![[r#"
            merge jobs n/j status FailureTarget=True(Why),Failed=True(Why) failed=3 startTime="2026-01-01T00:00:00Z" uncountedTerminatedPods={"failed":[],"succeeded":[]}
            event Warning Why: so
        "#]],
    );
}

#[test]
fn a_deadline_is_waited_for_and_met() {
    let with = |seconds: u64| json!({"spec": {"activeDeadlineSeconds": seconds, "parallelism": 0}});
    check(
        with(3601),
        &[],
        expect![[r#"
        again 2026-01-01T01:00:01Z
    "#]],
    );
    check(
        with(3600),
        &[],
        expect![[r#"
        merge jobs n/j status FailureTarget=True(DeadlineExceeded),Failed=True(DeadlineExceeded) startTime="2026-01-01T00:00:00Z" uncountedTerminatedPods={"failed":[],"succeeded":[]}
        event Warning DeadlineExceeded: Job was active longer than specified deadline
    "#]],
    );
}

#[test]
fn suspended_and_resumed() {
    check(
        json!({"spec": {"suspend": true}, "status": {"active": 1}}),
        &[pod("a", phase("Running"))],
        expect![[r#"
            together
              patch Strategic pods n/a  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"a"}}
            together
              delete pods n/a uid=a
            merge jobs n/j status Suspended=True(JobSuspended) terminating=1 uncountedTerminatedPods={"failed":[],"succeeded":[]}
            event Normal Suspended: Job suspended
        "#]],
    );
    check(
        json!({"spec": {"parallelism": 0}, "status": {"conditions": [{"type": "Suspended", "status": "True"}]}}),
        &[],
        expect![[r#"
            merge jobs n/j status Suspended=False(JobResumed) startTime="2026-01-01T01:00:00Z" uncountedTerminatedPods={"failed":[],"succeeded":[]}
            event Normal Resumed: Job resumed
        "#]],
    );
}

#[test]
fn indexes_are_worked_off() {
    let spec = json!({"completionMode": "Indexed", "completions": 6, "parallelism": 3});
    check(
        json!({"spec": spec, "status": {"active": 3, "succeeded": 1, "completedIndexes": "1"}}),
        &[
            pod("a", at(0, phase("Running"))),
            pod("b", at(2, phase("Succeeded"))),
            pod("c", at(0, json!({"status": {"phase": "Pending"}}))),
            pod("d", at(9, phase("Running"))),
        ],
        expect![[r#"
            together
              patch Strategic pods n/d  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"d"}}
              patch Strategic pods n/c  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"c"}}
            together
              delete pods n/d uid=d
              delete pods n/c uid=c
            merge jobs n/j status active=1 completedIndexes="1,2" startTime="2026-01-01T00:00:00Z" succeeded=2 terminating=2 uncountedTerminatedPods={"failed":[],"succeeded":[]}
            together
              patch Strategic pods n/b  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"b"}}
        "#]],
    );
    check(
        json!({"spec": spec, "status": {"active": 1, "succeeded": 2, "completedIndexes": "1,2"}}),
        &[pod("a", at(0, phase("Running")))],
        expect![[r#"
            together
              create pods n "j-3-" {"batch.kubernetes.io/job-completion-index":"3"} "j-3"
              create pods n "j-4-" {"batch.kubernetes.io/job-completion-index":"4"} "j-4"
            merge jobs n/j status active=3 completedIndexes="1,2" startTime="2026-01-01T00:00:00Z" succeeded=2 uncountedTerminatedPods={"failed":[],"succeeded":[]}
        "#]],
    );
}

#[test]
fn each_index_has_failures_of_its_own() {
    let spec = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1,
        "backoffLimit": 99});
    let once = json!({"metadata": {"annotations": {tally::FAILURES: "1"}}});
    let mut twice = at(1, phase("Failed"));
    merge(&mut twice, once);
    check(
        json!({"spec": spec, "status": {"active": 2, "failedIndexes": ""}}),
        &[pod("a", at(0, phase("Failed"))), pod("b", twice)],
        expect![[r#"
            together
              create pods n "j-0-" {"batch.kubernetes.io/job-completion-index":"0","batch.kubernetes.io/job-index-failure-count":"1"} "j-0"
            merge jobs n/j status active=1 failedIndexes="1" startTime="2026-01-01T00:00:00Z" uncountedTerminatedPods={"failed":["b"],"succeeded":[]}
            together
              patch Strategic pods n/b  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"b"}}
            merge jobs n/j status active=1 failed=1 failedIndexes="1" startTime="2026-01-01T00:00:00Z" uncountedTerminatedPods={"failed":[],"succeeded":[]}
        "#]],
    );
}

#[test]
fn policies_judge_failures() {
    let ended = |code: i32| {
        json!({"status": {"phase": "Failed", "containerStatuses": [{"name": "c",
            "state": {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}}}]}})
    };
    let rules = json!({"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]});
    let spec =
        json!({"podFailurePolicy": rules, "parallelism": 0, "podReplacementPolicy": "Failed"});
    check(
        json!({"spec": spec, "status": {"active": 1}}),
        &[pod("a", ended(42))],
        expect![[r#"
            merge jobs n/j status FailureTarget=True(PodFailurePolicy) startTime="2026-01-01T00:00:00Z" uncountedTerminatedPods={"failed":["a"],"succeeded":[]}
            together
              patch Strategic pods n/a  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"a"}}
            merge jobs n/j status FailureTarget=True(PodFailurePolicy),Failed=True(PodFailurePolicy) failed=1 startTime="2026-01-01T00:00:00Z" uncountedTerminatedPods={"failed":[],"succeeded":[]}
            event Warning PodFailurePolicy: Container c for pod n/a failed with exit code 42 matching FailJob rule at index 0
        "#]],
    );
    let mut disrupted = ended(1);
    disrupted["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True"}]);
    check(
        json!({"spec": spec}),
        &[pod("a", disrupted)],
        expect![[r#"
            together
              patch Strategic pods n/a  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"a"}}
        "#]],
    );
}

#[test]
fn a_success_policy_ends_the_others() {
    let spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3,
        "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}});
    check(
        json!({"spec": spec, "status": {"active": 2}}),
        &[pod("a", at(1, phase("Succeeded"))), pod("b", at(0, phase("Running")))],
        expect![[r#"
            together
              delete pods n/b uid=b
            merge jobs n/j status completedIndexes="1" SuccessCriteriaMet=True(SuccessPolicy) startTime="2026-01-01T00:00:00Z" succeeded=1 terminating=1 uncountedTerminatedPods={"failed":[],"succeeded":[]}
            together
              patch Strategic pods n/b  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"b"}}
              patch Strategic pods n/a  {"metadata":{"$deleteFromPrimitiveList/finalizers":["batch.kubernetes.io/job-tracking"],"uid":"a"}}
        "#]],
    );
}

#[test]
fn pods_that_go_are_replaced_as_asked() {
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:59:59Z"}, "status": {"phase": "Running"}});
    let with = |policy: &str| {
        json!({"spec": {"parallelism": 1, "podReplacementPolicy": policy, "backoffLimit": 6},
            "status": {"active": 1}})
    };
    check(
        with("Failed"),
        &[pod("a", going.clone())],
        expect![[r#"
        merge jobs n/j status startTime="2026-01-01T00:00:00Z" terminating=1 uncountedTerminatedPods={"failed":[],"succeeded":[]}
    "#]],
    );
    let (text, next) =
        plan(&job(with("TerminatingOrFailed")), &[pod("a", going)], &mut Memory::default());
    assert!(text.contains(r#""failed":["a"]"#), "{text}");
    assert_eq!(next, Next::At("2026-01-01T01:00:09Z".parse().expect("a time")));
}

#[test]
fn what_is_refused_comes_last() {
    let mut memory = Memory { refused: true, ..Memory::default() };
    let spec = json!({"spec": {"parallelism": 1}, "status": {"active": 1}});
    let (text, _) = plan(&job(spec), &[], &mut memory);
    let order: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap_or("")).collect();
    assert_eq!(order[..2], ["merge", "together"], "{text}");
    assert!(text.contains("\"active\":0"), "{text}");
}

#[test]
fn a_job_rests_after_a_pass_that_wrote() {
    let mut memory = Memory::default();
    let job = job(json!({"spec": {"parallelism": 1}}));
    assert!(!plan(&job, &[], &mut memory).0.is_empty());
    let (text, next) = plan(&job, &[], &mut memory);
    assert_eq!((&*text, next), ("", Next::At("2026-01-01T01:00:00.1Z".parse().expect("a time"))));
}

#[test]
fn failures_in_a_row_are_counted_once() {
    let ended = |name: &str, phase: &str, at: &str| {
        pod(name, json!({"metadata": {"creationTimestamp": at}, "status": {"phase": phase}}))
    };
    let job = job(json!({"spec": {"parallelism": 0, "completions": 9, "backoffLimit": 9}}));
    let mut memory = Memory::default();
    let mut see = |pods: &[Arc<Pod>]| {
        memory.rests = None;
        plan(&job, pods, &mut memory);
        (memory.failures.count, memory.failures.last.map(|at| at.to_string()))
    };
    let last = |at: &str| Some(at.to_owned());
    let (a, b) = (
        ended("a", "Failed", "2026-01-01T00:00:01Z"),
        ended("b", "Failed", "2026-01-01T00:00:03Z"),
    );
    assert_eq!(see(&[a.clone(), b.clone()]), (2, last("2026-01-01T00:00:03Z")));
    assert_eq!(see(&[a.clone(), b]), (2, last("2026-01-01T00:00:03Z")));
    let (c, d) = (
        ended("c", "Succeeded", "2026-01-01T00:00:04Z"),
        ended("d", "Failed", "2026-01-01T00:00:05Z"),
    );
    assert_eq!(see(&[c, d]), (1, last("2026-01-01T00:00:05Z")));
    assert_eq!(see(&[ended("e", "Succeeded", "2026-01-01T00:00:06Z")]), (0, None));
}
