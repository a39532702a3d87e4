//! Whether a Job ends, and how: what was decided before stays, then its failures are looked at, then its successes.

use super::tally::Tally;
use crate::parts::conditions::whole_seconds;
use skiff_base::Time;
use skiff_kinds::batch::indexes::Indexes;
use skiff_kinds::views::Pod;
use skiff_kinds::views::batch::{
    JobCondition, JobStatus, OnExitCodes, OnPodCondition, PodFailurePolicy, SuccessPolicy,
};
use skiff_kinds::views::pod::ContainerStatus;
use std::time::Duration;

pub const TARGET: &str = "FailureTarget";
pub const MET: &str = "SuccessCriteriaMet";

/// What a policy says of a pod that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, or that it counts.
    Counts,
    Ignored,
    FailIndex,
    /// The Job fails, and why.
    FailJob(String),
}

impl Verdict {
    pub fn counts(&self) -> bool {
        *self != Verdict::Ignored
    }
}

/// The condition that leads to the end, if this is it: `FailureTarget`, or `Failed` where that was said before, or
/// `SuccessCriteriaMet`. `times`: when it must be asked again.
pub fn judge(
    tally: &Tally<'_>,
    status: &JobStatus,
    now: Time,
    times: &mut Vec<Time>,
) -> Option<JobCondition> {
    let job = tally.job;
    if let Some(met) = job.condition(MET) {
        return Some(met.clone());
    }
    if let Some(target) = job.condition(TARGET) {
        return Some(condition("Failed", &target.reason, &target.message, now));
    }
    let fails = |reason: &str, why: &str| Some(condition(TARGET, reason, why, now));
    let policy = job.spec.pod_failure_policy.as_ref();
    let failed = tally.pods.iter().filter(|pod| policy.is_some() && tally.is_failed(pod));
    for verdict in failed.map(|pod| verdict(policy, pod)) {
        if let Verdict::FailJob(why) = verdict {
            return fails("PodFailurePolicy", &why);
        }
    }
    if tally.failed > job.spec.backoff_limit || restarts_exceed(tally) {
        return fails("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if let (Some(seconds), Some(start), false) =
        (job.spec.active_deadline_seconds, status.start_time, job.spec.suspend)
    {
        let deadline = start.checked_add(Duration::from_secs(seconds)).unwrap_or(Time::MAX);
        if deadline <= now {
            let why = "Job was active longer than specified deadline";
            return fails("DeadlineExceeded", why);
        }
        times.push(deadline);
    }
    indexes(tally, now)
}

fn indexes(tally: &Tally<'_>, now: Time) -> Option<JobCondition> {
    let spec = &tally.job.spec;
    if let Some(broken) = &tally.broken {
        let total = broken.total();
        if spec.max_failed_indexes.is_some_and(|most| total > most) {
            let why = "Job has exceeded the specified maximal number of failed indexes";
            return Some(condition(TARGET, "MaxFailedIndexesExceeded", why, now));
        }
        if total > 0 && total + tally.done.total() >= tally.completions() {
            return Some(condition(TARGET, "FailedIndexes", "Job has failed indexes", now));
        }
    }
    let policy = spec.success_policy.as_ref().filter(|_| tally.job.indexed())?;
    let rule = rule_met(policy, &tally.done, tally.completions())?;
    let message = format!("Matched rules at index {rule}");
    Some(condition(MET, "SuccessPolicy", &message, now))
}

/// The condition of a Job that has reached what it was made for.
pub fn complete(tally: &Tally<'_>, now: Time) -> Option<JobCondition> {
    let reached = match tally.job.spec.completions {
        None => tally.succeeded > 0,
        Some(completions) => tally.succeeded >= completions,
    };
    (reached && tally.running == 0).then(|| {
        condition(MET, "CompletionsReached", "Reached expected number of succeeded pods", now)
    })
}

/// A condition that is true from now on.
pub fn condition(type_: &str, reason: &str, message: &str, now: Time) -> JobCondition {
    let now = Some(whole_seconds(now));
    JobCondition {
        type_: type_.into(),
        status: "True".into(),
        last_probe_time: now,
        last_transition_time: now,
        reason: reason.into(),
        message: message.into(),
    }
}

/// Containers that are started again in their pod count too, where they are.
fn restarts_exceed(tally: &Tally<'_>) -> bool {
    let spec = &tally.job.spec;
    if spec.template.spec["restartPolicy"] != "OnFailure" {
        return false;
    }
    let lives = |pod: &&&std::sync::Arc<Pod>| matches!(&*pod.status.phase, "Running" | "Pending");
    let containers = tally.pods.iter().filter(lives).flat_map(|pod| {
        pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses)
    });
    let restarts: i64 = containers.map(|status| i64::from(status.restart_count)).sum();
    restarts >= spec.backoff_limit.max(1)
}

/// What the first rule that fits says of a pod that failed.
pub fn verdict(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Verdict {
    let rules = policy.map_or(&[][..], |policy| &policy.rules);
    for (index, rule) in rules.iter().enumerate() {
        let what = match &rule.on_exit_codes {
            Some(codes) => exit_code(codes, pod),
            None => pod_condition(&rule.on_pod_conditions, pod),
        };
        let Some(what) = what else { continue };
        return match &*rule.action {
            "Ignore" => Verdict::Ignored,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => {
                Verdict::FailJob(format!("{what} matching {} rule at index {index}", rule.action))
            }
            _ => Verdict::Counts,
        };
    }
    Verdict::Counts
}

fn exit_code(wanted: &OnExitCodes, pod: &Pod) -> Option<String> {
    let meta = &pod.metadata;
    let fits = |status: &ContainerStatus| {
        let code = status.state.terminated.as_ref()?.exit_code;
        let named = wanted.container_name.as_ref().is_none_or(|name| *name == status.name);
        let listed = wanted.values.contains(&code) == (wanted.operator == "In");
        (named && code != 0 && listed).then(|| {
            let (container, namespace, name) = (&status.name, &meta.namespace, &meta.name);
            format!("Container {container} for pod {namespace}/{name} failed with exit code {code}")
        })
    };
    let status = &pod.status;
    status.container_statuses.iter().chain(&status.init_container_statuses).find_map(fits)
}

fn pod_condition(wanted: &[OnPodCondition], pod: &Pod) -> Option<String> {
    let found = pod.status.conditions.iter().find(|condition| {
        wanted.iter().any(|it| it.type_ == condition.type_ && it.status == condition.status)
    })?;
    let meta = &pod.metadata;
    Some(format!("Pod {}/{} has condition {}", meta.namespace, meta.name, found.type_))
}

/// The first rule that the indexes that are done meet.
fn rule_met(policy: &SuccessPolicy, done: &Indexes, completions: i64) -> Option<usize> {
    policy.rules.iter().position(|rule| match &rule.succeeded_indexes {
        Some(text) => {
            let wanted = Indexes::read(text, completions);
            let have = wanted.common(done);
            let enough = rule.succeeded_count.is_some_and(|count| have >= count);
            wanted.total() > 0 && (have == wanted.total() || enough)
        }
        None => rule.succeeded_count.is_some_and(|count| done.total() >= count),
    })
}
