//! What is said of a Job, and which pods are let go: those that are counted.

use super::ends::{MET, TARGET, condition, verdict};
use super::tally::Tally;
use super::{BURST, make};
use crate::Changes;
use crate::parts::conditions::whole_seconds;
use crate::parts::status::{this, write};
use skiff_base::Time;
use skiff_kinds::views::batch::{JobCondition, JobStatus};
use skiff_kinds::views::{Job, Pod};
use std::collections::HashSet;
use std::sync::Arc;

/// Sort, reason and message of an Event.
pub type Said = (&'static str, String, String);

/// The status to go on from.
pub fn begin(job: &Job, now: Time) -> JobStatus {
    let mut status = job.status.clone();
    status.uncounted_terminated_pods.get_or_insert_default();
    if !job.spec.suspend {
        status.start_time.get_or_insert(whole_seconds(now));
    }
    status
}

/// Says whether a Job that goes on is suspended. One that goes on again begins anew for its deadline.
pub fn suspension(job: &Job, status: &mut JobStatus, now: Time) -> Option<Said> {
    let (value, reason, message, start) = match job.spec.suspend {
        true => ("True", "JobSuspended", "Job suspended", None),
        false => ("False", "JobResumed", "Job resumed", Some(whole_seconds(now))),
    };
    let new = JobCondition { status: value.into(), ..condition("Suspended", reason, message, now) };
    if !set(&mut status.conditions, new) {
        return None;
    }
    status.start_time = start;
    let event = if job.spec.suspend { "Suspended" } else { "Resumed" };
    Some(("Normal", event.into(), message.into()))
}

/// Sets a condition, if that says anything new. From nothing to false is nothing.
fn set(conditions: &mut Vec<JobCondition>, new: JobCondition) -> bool {
    let old = conditions.iter_mut().find(|it| it.type_ == new.type_);
    let said = |it: &JobCondition| (it.status.clone(), it.reason.clone(), it.message.clone());
    match old {
        Some(old) if said(old) == said(&new) => return false,
        Some(old) => *old = new,
        None if new.status == "False" => return false,
        None => conditions.push(new),
    }
    true
}

/// Notes the pods that ended, lets them go, counts them, and ends the Job when all are counted. `end`: the condition
/// that leads there.
pub fn track(
    tally: &Tally<'_>,
    mut status: JobStatus,
    end: Option<JobCondition>,
    now: Time,
    out: &mut Changes,
) -> Vec<Said> {
    let job = tally.job;
    status.active = tally.running;
    status.ready = Some(tally.ready);
    status.terminating = Some(tally.going);
    let mut held: HashSet<&str> = tally.tracked().map(|pod| &*pod.metadata.uid).collect();
    count(&mut status, &held);
    let noted = note(tally, &mut status, end.as_ref());
    if job.indexed() {
        let done = tally.done.with(&noted.succeeded.iter().copied().collect());
        status.succeeded = done.total();
        status.completed_indexes = done.to_string();
        status.failed_indexes = tally.broken.as_ref().map(ToString::to_string);
    }
    let end = end.map(|end| interim(&mut status, end, now));
    let mut before = &job.status;
    let between;
    if !noted.go.is_empty() {
        // What is noted must be there before the pods may go.
        between = status.clone();
        write(job, this(&job.metadata), (before, &between), out);
        before = &between;
        make::release(noted.go.iter().copied(), out);
        for pod in &noted.go {
            held.remove(&*pod.metadata.uid);
        }
        count(&mut status, &held);
    }
    let said = match end {
        Some(end) if noted.all => finish(job, &mut status, end, now),
        _ => Vec::new(),
    };
    write(job, this(&job.metadata), (before, &status), out);
    said
}

/// Counts what was noted and is not held any more.
fn count(status: &mut JobStatus, held: &HashSet<&str>) {
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let lists = [
        (&mut uncounted.succeeded, &mut status.succeeded),
        (&mut uncounted.failed, &mut status.failed),
    ];
    for (uids, total) in lists {
        let before = uids.len();
        uids.retain(|uid| held.contains(&**uid));
        *total += super::tally::count(before - uids.len());
    }
}

struct Noted<'a> {
    /// They may go when the status is written.
    go: Vec<&'a Arc<Pod>>,
    /// The indexes that are done now and were not before.
    succeeded: Vec<i64>,
    /// None was left for the next pass.
    all: bool,
}

fn note<'a>(tally: &Tally<'a>, status: &mut JobStatus, end: Option<&JobCondition>) -> Noted<'a> {
    let job = tally.job;
    let indexed = job.indexed();
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let failed_before: HashSet<String> = uncounted.failed.iter().cloned().collect();
    let succeeded_before: HashSet<String> = uncounted.succeeded.iter().cloned().collect();
    let mut noted = Noted { go: Vec::new(), succeeded: Vec::new(), all: true };
    let fails = end.is_some_and(|end| end.type_ != MET);
    for pod in tally.tracked().copied() {
        let failed = tally.is_failed(pod);
        if !may_go(tally, pod, failed, end) {
            continue;
        }
        noted.go.push(pod);
        let (uid, index) = (&pod.metadata.uid, tally.valid_index(pod));
        if pod.status.phase == "Succeeded" && !failed_before.contains(uid) {
            match index.filter(|_| indexed) {
                Some(index) if !tally.before.has(index) => noted.succeeded.push(index),
                None if !indexed && !succeeded_before.contains(uid) => {
                    uncounted.succeeded.push(uid.clone());
                }
                _ => {}
            }
        } else if (failed || fails) && !failed_before.contains(uid) {
            let matters = verdict(job.spec.pod_failure_policy.as_ref(), pod).counts();
            if matters && (!indexed || index.is_some()) {
                uncounted.failed.push(uid.clone());
            }
        }
        let many = noted.succeeded.len() + uncounted.succeeded.len() + uncounted.failed.len();
        if many >= BURST {
            noted.all = false;
            break;
        }
    }
    noted
}

fn may_go(tally: &Tally<'_>, pod: &Pod, failed: bool, end: Option<&JobCondition>) -> bool {
    let over = tally.job.metadata.deleting() || end.is_some();
    if over || pod.status.phase == "Succeeded" {
        return true;
    }
    let kept = tally.valid_index(pod).and_then(|index| tally.kept.get(&index));
    let kept = kept.is_some_and(|kept| kept.metadata.uid == pod.metadata.uid);
    failed && !kept
}

/// Says that the end is near, and makes the condition of the end itself.
fn interim(status: &mut JobStatus, end: JobCondition, now: Time) -> JobCondition {
    let last = match &*end.type_ {
        TARGET => "Failed",
        MET => "Complete",
        _ => return end,
    };
    let (reason, message) = (end.reason.clone(), end.message.clone());
    set(&mut status.conditions, end);
    condition(last, &reason, &message, now)
}

/// Ends the Job, if no pod is left that is not counted or still going.
fn finish(job: &Job, status: &mut JobStatus, end: JobCondition, now: Time) -> Vec<Said> {
    let uncounted = status.uncounted_terminated_pods.as_ref();
    let counted = uncounted.is_none_or(|it| it.succeeded.is_empty() && it.failed.is_empty());
    if !counted || status.terminating.is_some_and(|going| going > 0) {
        return Vec::new();
    }
    let mut said: Vec<Said> = Vec::new();
    if end.type_ == "Complete" {
        status.completion_time = Some(whole_seconds(now));
        if job.spec.completions.is_some_and(|completions| status.succeeded > completions) {
            let why = "Too many succeeded pods running after completion count reached";
            said.push(("Warning", "TooManySucceededPods".into(), why.into()));
        }
        said.push(("Normal", "Completed".into(), "Job completed".into()));
    } else {
        said.push(("Warning", end.reason.clone(), end.message.clone()));
    }
    set(&mut status.conditions, end);
    said
}
