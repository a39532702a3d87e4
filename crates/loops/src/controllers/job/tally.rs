//! How things stand with the pods of a Job.

use super::{FINALIZER, ends};
use crate::parts::adoption::Claimed;
use skiff_base::Time;
use skiff_kinds::batch::indexes::Indexes;
use skiff_kinds::views::pod::ContainerStatus;
use skiff_kinds::views::{Job, Pod};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

pub struct Tally<'a> {
    pub job: &'a Job,
    /// By index, where they have one.
    pub pods: Vec<&'a Arc<Pod>>,
    held: HashSet<&'a str>,
    pub active: Vec<&'a Arc<Pod>>,
    /// As many are active, ready and going when this pass is over.
    pub running: i64,
    pub ready: i64,
    pub going: i64,
    /// Those that ended and are not noted in the status yet.
    pub new_succeeded: Vec<&'a Arc<Pod>>,
    pub new_failed: Vec<&'a Arc<Pod>>,
    pub succeeded: i64,
    pub failed: i64,
    pub before: Indexes,
    pub done: Indexes,
    /// With a limit for each index: those that are over it.
    pub broken: Option<Indexes>,
    /// The pods that stay until one stands in their place, which takes over how often they failed; by index.
    pub kept: HashMap<i64, &'a Arc<Pod>>,
}

impl<'a> Tally<'a> {
    pub fn of(job: &'a Job, claimed: &'a Claimed<Pod>) -> Tally<'a> {
        let mut pods: Vec<&Arc<Pod>> = claimed.all().collect();
        if job.indexed() {
            pods.sort_by_key(|pod| index(pod));
        }
        let own = |pod: &&&Arc<Pod>| {
            pod.metadata.finalizers.iter().any(|it| it == FINALIZER) || claimed.is_adopted(pod)
        };
        let held = pods.iter().filter(own).map(|pod| &*pod.metadata.uid).collect();
        let lives = |pod: &&&Arc<Pod>| !pod.ended() && !pod.metadata.deleting();
        let active: Vec<_> = pods.iter().filter(lives).copied().collect();
        let going = pods.iter().filter(|pod| going(pod)).count();
        let mut tally = Tally {
            job,
            held,
            running: count(active.len()),
            ready: count(active.iter().filter(|pod| pod.ready()).count()),
            going: count(going),
            active,
            pods,
            new_succeeded: Vec::new(),
            new_failed: Vec::new(),
            succeeded: 0,
            failed: 0,
            before: Indexes::default(),
            done: Indexes::default(),
            broken: None,
            kept: HashMap::new(),
        };
        tally.count();
        if job.indexed() {
            tally.indexes();
        }
        tally
    }

    /// It is held until it is counted.
    pub fn is_held(&self, pod: &Pod) -> bool {
        self.held.contains(&*pod.metadata.uid)
    }

    pub fn tracked(&self) -> impl Iterator<Item = &&'a Arc<Pod>> {
        self.pods.iter().filter(|pod| self.is_held(pod))
    }

    pub fn completions(&self) -> i64 {
        self.job.spec.completions.unwrap_or(0)
    }

    /// The index of a pod, if it is one of the Job's.
    pub fn valid_index(&self, pod: &Pod) -> Option<i64> {
        index(pod).filter(|index| *index < self.completions())
    }

    /// Whether it counts as a failure: a pod that is deleted may never come to say so.
    pub fn is_failed(&self, pod: &Pod) -> bool {
        let only_failed = self.job.spec.pod_replacement_policy == "Failed";
        let lost = pod.metadata.deleting() && pod.status.phase != "Succeeded" && !only_failed;
        pod.status.phase == "Failed" || lost
    }

    fn count(&mut self) {
        let status = &self.job.status;
        let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let counts = |pod: &&&'a Arc<Pod>, noted: &[String]| {
            let valid = !self.job.indexed() || self.valid_index(pod).is_some();
            valid && !noted.contains(&pod.metadata.uid)
        };
        let tracked: Vec<_> = self.tracked().collect();
        let succeeded = tracked.iter().copied().filter(|pod| pod.status.phase == "Succeeded");
        let new_succeeded: Vec<_> =
            succeeded.filter(|pod| counts(pod, &uncounted.succeeded)).copied().collect();
        let failed = tracked.iter().copied().filter(|pod| self.is_failed(pod));
        let new_failed: Vec<_> =
            failed.filter(|pod| counts(pod, &uncounted.failed)).copied().collect();
        let policy = self.job.spec.pod_failure_policy.as_ref();
        let matter = new_failed.iter().filter(|pod| ends::verdict(policy, pod).counts()).count();
        self.succeeded = status.succeeded + count(new_succeeded.len() + uncounted.succeeded.len());
        self.failed = status.failed + count(matter + uncounted.failed.len());
        (self.new_succeeded, self.new_failed) = (new_succeeded, new_failed);
    }

    fn indexes(&mut self) {
        let (job, completions) = (self.job, self.completions());
        self.before = Indexes::read(&job.status.completed_indexes, completions);
        let succeeded = self.tracked().filter(|pod| pod.status.phase == "Succeeded");
        let new: Indexes = succeeded.filter_map(|pod| self.valid_index(pod)).collect();
        self.done = self.before.with(&new);
        self.succeeded = self.done.total();
        let Some(limit) = job.spec.backoff_limit_per_index else { return };
        let before = job.status.failed_indexes.as_deref().unwrap_or("");
        let policy = job.spec.pod_failure_policy.as_ref();
        let broken = self.tracked().filter(|pod| {
            let verdict = ends::verdict(policy, pod);
            let over = verdict.counts() && annotated(pod, FAILURES) >= limit;
            self.is_failed(pod) && (verdict == ends::Verdict::FailIndex || over)
        });
        let broken: Indexes = broken.filter_map(|pod| self.valid_index(pod)).collect();
        let broken = Indexes::read(before, completions).with(&broken);
        self.kept = self.kept(&broken);
        self.broken = Some(broken);
    }

    fn kept(&self, broken: &Indexes) -> HashMap<i64, &'a Arc<Pod>> {
        let active: HashSet<i64> = self.active.iter().filter_map(|pod| index(pod)).collect();
        let mut kept: HashMap<i64, &'a Arc<Pod>> = HashMap::new();
        for pod in self.tracked().copied().filter(|pod| self.is_failed(pod)) {
            let Some(index) = self.valid_index(pod) else { continue };
            if self.done.has(index) || broken.has(index) || active.contains(&index) {
                continue;
            }
            let newer = kept.get(&index).is_none_or(|last| {
                failures(last) <= failures(pod) && finished_at(pod) >= finished_at(last)
            });
            if newer {
                kept.insert(index, pod);
            }
        }
        kept
    }
}

pub fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// It was deleted and has not ended yet.
pub fn going(pod: &Pod) -> bool {
    pod.metadata.deleting() && !pod.ended()
}

/// The completion index of a pod.
pub fn index(pod: &Pod) -> Option<i64> {
    let index: i64 = pod.metadata.annotations.get(INDEX)?.parse().ok()?;
    (index >= 0).then_some(index)
}

/// A number in an annotation; users may write anything there, and that counts as none.
pub fn annotated(pod: &Pod, name: &str) -> i64 {
    let number = pod.metadata.annotations.get(name).and_then(|text| text.parse::<i64>().ok());
    number.filter(|number| (0..=i64::from(i32::MAX)).contains(number)).unwrap_or(0)
}

/// How often the pods of its index failed before it, counted or not.
pub fn failures(pod: &Pod) -> i64 {
    annotated(pod, FAILURES) + annotated(pod, IGNORED)
}

/// When a pod ended, as well as that can be known.
pub fn finished_at(pod: &Pod) -> Time {
    let sidecar = |status: &&ContainerStatus| {
        pod.spec.init_containers.iter().any(|it| it.name == status.name && it.is_sidecar())
    };
    let sidecars = pod.status.init_container_statuses.iter().filter(sidecar);
    let ends = pod.status.container_statuses.iter().chain(sidecars);
    let ends: Option<Vec<Time>> =
        ends.map(|status| status.state.terminated.as_ref()?.finished_at).collect();
    let not_ready = || {
        let ready = pod.status.condition("Ready").filter(|ready| ready.status == "False")?;
        ready.last_transition_time
    };
    let deleted = || {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        pod.metadata.deletion_timestamp?.checked_sub(grace).ok()
    };
    let ended = ends.and_then(|ends| ends.into_iter().max());
    let known = ended.or_else(not_ready).or_else(deleted).or(pod.metadata.creation_timestamp);
    known.unwrap_or(Time::UNIX_EPOCH)
}
