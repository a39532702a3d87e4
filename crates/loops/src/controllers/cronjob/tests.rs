//! Cases of the CronJob loop, on virtual time: what there is and what time it is in, changes out.

use super::*;
use crate::testkit::{merge, view};
use expect_test::{Expect, expect};
use skiff_json::Value;

/// One every hour since ten, whose pods say nothing of interest.
fn cron(more: Value) -> Arc<CronJob> {
    let mut cron = json!({
        "metadata": {"name": "c", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T10:00:00Z"},
        "spec": {"schedule": "0 * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1, "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}}},
    });
    merge(&mut cron, more);
    view(cron)
}

fn job(name: &str, more: Value) -> Arc<Job> {
    let mut job = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "7",
        "ownerReferences": [{"uid": "u", "kind": "CronJob", "name": "c", "controller": true}]}});
    merge(&mut job, more);
    view(job)
}

fn ended(type_: &str, start: &str, end: &str) -> Value {
    json!({"status": {"startTime": start, "completionTime": end, "conditions": [{"type": type_, "status": "True"}]}})
}

fn plan(
    cron: &Arc<CronJob>,
    jobs: &[Arc<Job>],
    memory: &mut Memory,
    now: &str,
) -> (String, String) {
    let seen = Seen { cron: cron.clone(), jobs: jobs.to_vec(), unseen: HashSet::new() };
    let mut out = Changes::default();
    let next = CronJobLoop::plan(&seen, memory, now.parse().expect("a time"), &mut out);
    let next = match next {
        Next::Wait => "wait".to_owned(),
        Next::At(at) => at.to_string(),
    };
    (out.text(), next)
}

fn check(cron: Value, jobs: &[Arc<Job>], now: &str, expected: Expect) {
    let (text, next) = plan(&self::cron(cron), jobs, &mut Memory::default(), now);
    expected.assert_eq(&format!("{text}{next}\n"));
}

#[test]
fn a_job_is_made_when_it_is_due() {
    check(
        json!({}),
        &[],
        "2026-01-01T10:59:00Z",
        expect![[r#"
        2026-01-01T11:00:00.1Z
    "#]],
    );
    check(
        json!({}),
        &[],
        "2026-01-01T11:00:00.1Z",
        expect![[r#"
        create jobs n {"apiVersion":"batch/v1","kind":"Job","metadata":{"annotations":{"batch.kubernetes.io/cronjob-scheduled-timestamp":"2026-01-01T11:00:00Z"},"labels":{"a":"b"},"name":"c-29454420","namespace":"n","ownerReferences":[{"apiVersion":"batch/v1","blockOwnerDeletion":true,"controller":true,"kind":"CronJob","name":"c","uid":"u"}]},"spec":{"x":1}}
          done SuccessfulCreate: Created job {name}
          failed FailedCreate: Error creating job: {error}
        merge cronjobs n/c status {"metadata":{"uid":"u"},"status":{"active":[],"lastScheduleTime":"2026-01-01T11:00:00Z","lastSuccessfulTime":null}}
        2026-01-01T12:00:00.1Z
    "#]],
    );
    let made = job(
        "c-29454420",
        json!({"metadata": {"annotations": {SCHEDULED: "2026-01-01T11:00:00Z"}}}),
    );
    let after = json!({"status": {"lastScheduleTime": "2026-01-01T11:00:00Z"}});
    check(
        after,
        &[made],
        "2026-01-01T11:00:01Z",
        expect![[r#"
        merge cronjobs n/c status {"metadata":{"uid":"u"},"status":{"active":[{"apiVersion":"batch/v1","kind":"Job","name":"c-29454420","namespace":"n","resourceVersion":"7","uid":"c-29454420"}],"lastScheduleTime":"2026-01-01T11:00:00Z","lastSuccessfulTime":null}}
        2026-01-01T12:00:00.1Z
    "#]],
    );
}

#[test]
fn what_is_suspended_or_going_makes_nothing() {
    let now = "2026-01-01T11:00:00Z";
    check(
        json!({"spec": {"suspend": true}}),
        &[],
        now,
        expect![[r#"
        wait
    "#]],
    );
    check(
        json!({"metadata": {"deletionTimestamp": now}}),
        &[],
        now,
        expect![[r#"
        wait
    "#]],
    );
}

#[test]
fn bad_schedules_say_so() {
    let now = "2026-01-01T11:00:00Z";
    check(
        json!({"spec": {"timeZone": "Moon/Base"}}),
        &[],
        now,
        expect![[r#"
        event Warning UnknownTimeZone: invalid timeZone: "Moon/Base": unknown time zone Moon/Base
        wait
    "#]],
    );
    check(
        json!({"spec": {"schedule": "x"}}),
        &[],
        now,
        expect![[r#"
        event Warning UnparseableSchedule: unparseable schedule: "x" : expected exactly 5 fields, found 1: [x]
        wait
    "#]],
    );
    check(
        json!({"spec": {"schedule": "0 0 31 2 *"}}),
        &[],
        now,
        expect![[r#"
        event Warning InvalidSchedule: invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second
        wait
    "#]],
    );
    let short = |text: String| {
        text.lines()
            .filter(|it| !it.starts_with("  "))
            .map(|it| it.chars().take(40).collect::<String>() + "\n")
            .collect::<String>()
    };
    let (text, next) = plan(
        &cron(
            json!({"spec": {"schedule": "@every 0"}, "status": {"lastScheduleTime": "2026-01-01T10:59:59Z"}}),
        ),
        &[],
        &mut Memory::default(),
        "2026-01-01T11:00:00.1Z",
    );
    expect![[r#"
        create jobs n {"apiVersion":"batch/v1","
        merge cronjobs n/c status {"metadata":{"
        2026-01-01T11:00:01.1Z
    "#]]
    .assert_eq(&(short(text) + &next + "\n"));
}

#[test]
fn missed_times_are_made_up_for_once() {
    let names = |more: Value, now: &str| {
        let (text, next) = plan(&cron(more), &[], &mut Memory::default(), now);
        let said = text.lines().filter(|line| line.starts_with("event"));
        let made = text.split("\"name\":\"").nth(1).map(|it| it.split('"').next().unwrap_or(""));
        format!("{} {} {next}", said.collect::<Vec<_>>().join(" "), made.unwrap_or("none"))
    };
    let now = "2026-01-01T15:30:00Z";
    assert_eq!(names(json!({}), now), " c-29454660 2026-01-01T16:00:00.1Z");
    let rest = names(json!({}), "2026-01-06T07:59:00Z");
    assert_eq!(
        rest,
        "event Warning TooManyMissedTimes: too many missed start times. Set or decrease \
         .spec.startingDeadlineSeconds or check clock skew c-29461380 2026-01-06T08:00:00.1Z"
    );
    let late = json!({"spec": {"startingDeadlineSeconds": 60}});
    assert_eq!(names(late.clone(), now), " none 2026-01-01T16:00:00.1Z");
    assert_eq!(names(late, "2026-01-01T15:00:30Z"), " c-29454660 2026-01-01T16:00:00.1Z");
    // Decades cost no more than minutes.
    let minutes = json!({"spec": {"schedule": "* * * * *"}});
    assert!(names(minutes, "2099-01-01T00:00:30Z").contains("c-67848480"));
}

#[test]
fn policies_of_concurrency() {
    let active = json!({"status": {"active": [{"namespace": "n", "name": "c-29454420", "uid": "c-29454420"}],
        "lastScheduleTime": "2026-01-01T11:00:00Z"}});
    let runs = [job("c-29454420", json!({}))];
    let with = |policy: &str| {
        let mut more = active.clone();
        more["spec"] = json!({"concurrencyPolicy": policy});
        more
    };
    check(
        with("Forbid"),
        &runs,
        "2026-01-01T12:00:00.1Z",
        expect![[r#"
        event Normal JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid
        2026-01-01T13:00:00.1Z
    "#]],
    );
    check(
        with("Replace"),
        &runs,
        "2026-01-01T12:00:00.1Z",
        expect![[r#"
        delete jobs n/c-29454420 uid=c-29454420
          done SuccessfulDelete: Deleted job {name}
          failed FailedDelete: Deleted job: {error}
        create jobs n {"apiVersion":"batch/v1","kind":"Job","metadata":{"annotations":{"batch.kubernetes.io/cronjob-scheduled-timestamp":"2026-01-01T12:00:00Z"},"labels":{"a":"b"},"name":"c-29454480","namespace":"n","ownerReferences":[{"apiVersion":"batch/v1","blockOwnerDeletion":true,"controller":true,"kind":"CronJob","name":"c","uid":"u"}]},"spec":{"x":1}}
          done SuccessfulCreate: Created job {name}
          failed FailedCreate: Error creating job: {error}
        merge cronjobs n/c status {"metadata":{"uid":"u"},"status":{"active":[],"lastScheduleTime":"2026-01-01T12:00:00Z","lastSuccessfulTime":null}}
        2026-01-01T13:00:00.1Z
    "#]],
    );
}

#[test]
fn jobs_that_ended_are_noted_and_the_oldest_go() {
    let end = |hour: u32| {
        ended("Complete", "2026-01-01T10:00:00Z", &format!("2026-01-01T1{hour}:30:00Z"))
    };
    let more = json!({
        "spec": {"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0, "suspend": true},
        "status": {"active": [{"namespace": "n", "name": "b", "uid": "b"}, {"namespace": "n", "name": "x", "uid": "x"}]}});
    let failed = ended("Failed", "2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z");
    let jobs = [job("a", end(1)), job("b", end(2)), job("f", failed), job("odd", json!({}))];
    check(
        more,
        &jobs,
        "2026-01-01T13:00:00Z",
        expect![[r#"
        delete jobs n/a uid=a
          done SuccessfulDelete: Deleted job {name}
          failed FailedDelete: Deleted job: {error}
        delete jobs n/f uid=f
          done SuccessfulDelete: Deleted job {name}
          failed FailedDelete: Deleted job: {error}
        event Normal SawCompletedJob: Saw completed job: b, condition: Complete
        event Warning UnexpectedJob: Saw a job that the controller did not create or forgot: odd
        event Normal MissingJob: Active job went missing: x
        merge cronjobs n/c status {"metadata":{"uid":"u"},"status":{"active":[],"lastScheduleTime":null,"lastSuccessfulTime":"2026-01-01T12:30:00Z"}}
        wait
    "#]],
    );
}

#[test]
fn zones_and_changes_of_the_clock() {
    let berlin = |now: &str| {
        let more = json!({"metadata": {"creationTimestamp": "2026-03-28T12:00:00Z"},
            "spec": {"schedule": "30 2 * * *", "timeZone": "Europe/Berlin"}});
        let (text, next) = plan(&cron(more), &[], &mut Memory::default(), now);
        let at = text.split("timestamp\":\"").nth(1).and_then(|it| it.split('"').next());
        format!("{} {next}", at.unwrap_or("none"))
    };
    // The night of the 29th has no half past two.
    assert_eq!(berlin("2026-03-29T12:00:00Z"), "none 2026-03-30T00:30:00.1Z");
    assert_eq!(
        berlin("2026-03-30T00:30:00.1Z"),
        "2026-03-30T02:30:00+02:00 2026-03-31T00:30:00.1Z"
    );
}

#[test]
fn a_changed_schedule_begins_with_its_next_time() {
    let mut memory = Memory::default();
    let yearly = cron(json!({"spec": {"schedule": "0 0 1 6 *"}}));
    assert_eq!(plan(&yearly, &[], &mut memory, "2026-01-01T10:30:30Z").0, "");
    let minutes = cron(json!({"spec": {"schedule": "* * * * *"}}));
    let (text, next) = plan(&minutes, &[], &mut memory, "2026-01-01T10:30:30Z");
    assert_eq!((&*text, &*next), ("", "2026-01-01T10:31:00.1Z"));
    let (text, _) = plan(&minutes, &[], &mut memory, "2026-01-01T10:31:00.1Z");
    assert!(text.contains("c-29454391"), "{text}");
}
