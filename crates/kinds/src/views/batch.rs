//! Views of the batch group: work that ends, and work that comes again.

use super::pod::LabelSelector;
use super::workloads::Template;
use super::{ObjectReference, null_is_empty};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skiff_api::selector::Selector;
use skiff_api::view::{Meta, Resource, View};
use skiff_json::Value;

/// Who cares for a Job that says nothing else (KEP-4368).
pub const JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Job {
    pub metadata: Meta,
    pub spec: JobSpec,
    pub status: JobStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    pub parallelism: i64,
    /// Absent: one success is enough.
    pub completions: Option<i64>,
    pub active_deadline_seconds: Option<u64>,
    pub backoff_limit: i64,
    pub backoff_limit_per_index: Option<i64>,
    pub max_failed_indexes: Option<i64>,
    pub pod_failure_policy: Option<PodFailurePolicy>,
    pub success_policy: Option<SuccessPolicy>,
    pub selector: LabelSelector,
    pub template: Template,
    pub ttl_seconds_after_finished: Option<u64>,
    /// `NonIndexed` or `Indexed`.
    pub completion_mode: String,
    pub suspend: bool,
    /// `TerminatingOrFailed` or `Failed`.
    pub pod_replacement_policy: String,
    pub managed_by: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct PodFailurePolicy {
    #[serde(deserialize_with = "null_is_empty")]
    pub rules: Vec<PodFailureRule>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodFailureRule {
    /// `FailJob`, `FailIndex`, `Ignore` or `Count`.
    pub action: String,
    pub on_exit_codes: Option<OnExitCodes>,
    pub on_pod_conditions: Vec<OnPodCondition>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct OnExitCodes {
    pub container_name: Option<String>,
    /// `In` or `NotIn`.
    pub operator: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub values: Vec<i32>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct OnPodCondition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct SuccessPolicy {
    #[serde(deserialize_with = "null_is_empty")]
    pub rules: Vec<SuccessRule>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRule {
    pub succeeded_indexes: Option<String>,
    pub succeeded_count: Option<i64>,
}

/// What is absent is written as null, so that a time that no longer holds goes.
#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    pub conditions: Vec<JobCondition>,
    pub start_time: Option<Timestamp>,
    pub completion_time: Option<Timestamp>,
    pub active: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub terminating: Option<i64>,
    pub completed_indexes: String,
    pub failed_indexes: Option<String>,
    pub uncounted_terminated_pods: Option<Uncounted>,
    pub ready: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct JobCondition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub last_probe_time: Option<Timestamp>,
    pub last_transition_time: Option<Timestamp>,
    pub reason: String,
    pub message: String,
}

/// The pods that ended and are in no count yet, by uid (KEP-2307).
#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct Uncounted {
    pub succeeded: Vec<String>,
    pub failed: Vec<String>,
}

impl View for Job {
    const RESOURCE: Resource = crate::batch::job::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        super::owners(&self.metadata, put);
    }
    fn selector(&self) -> Option<Selector> {
        Selector::from_object(Some(&self.spec.selector.0)).ok()
    }
}

impl Job {
    /// The condition of that type, if it is true.
    pub fn condition(&self, type_: &str) -> Option<&JobCondition> {
        self.status.conditions.iter().find(|it| it.type_ == type_ && it.status == "True")
    }

    /// The condition with which it ended, `Complete` or `Failed`.
    pub fn finished(&self) -> Option<&JobCondition> {
        let ends = |it: &&JobCondition| matches!(&*it.type_, "Complete" | "Failed");
        self.status.conditions.iter().filter(ends).find(|it| it.status == "True")
    }

    pub fn indexed(&self) -> bool {
        self.spec.completion_mode == "Indexed"
    }

    /// Somebody else cares for it (KEP-4368).
    pub fn elsewhere(&self) -> bool {
        self.spec.managed_by.as_deref().is_some_and(|who| who != JOB_CONTROLLER)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CronJob {
    pub metadata: Meta,
    pub spec: CronJobSpec,
    pub status: CronJobStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobSpec {
    pub schedule: String,
    pub time_zone: Option<String>,
    pub starting_deadline_seconds: Option<u64>,
    /// `Allow`, `Forbid` or `Replace`.
    pub concurrency_policy: String,
    pub suspend: bool,
    pub job_template: JobTemplate,
    pub successful_jobs_history_limit: Option<usize>,
    pub failed_jobs_history_limit: Option<usize>,
}

/// What Jobs are made of, untyped: it is copied as a whole.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct JobTemplate {
    pub metadata: Meta,
    pub spec: Value,
}

/// What is absent is written as null, as in a Job's.
#[derive(Debug, Clone, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobStatus {
    #[serde(deserialize_with = "null_is_empty")]
    pub active: Vec<ObjectReference>,
    pub last_schedule_time: Option<Timestamp>,
    pub last_successful_time: Option<Timestamp>,
}

impl View for CronJob {
    const RESOURCE: Resource = crate::batch::cronjob::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_without_rules_is_read() {
        let text =
            r#"{"spec": {"podFailurePolicy": {"rules": null}, "successPolicy": {"rules": null}}}"#;
        let job: Job = skiff_json::from_str(text).expect("the API stores this");
        assert_eq!(job.spec.pod_failure_policy, Some(PodFailurePolicy::default()));
    }
}
