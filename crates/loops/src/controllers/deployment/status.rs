//! What a Deployment says of itself: counts, and the conditions Available, Progressing and ReplicaFailure, whose
//! reasons and messages `kubectl rollout status` and users read.

use super::draft::REVISION;
use super::{Pass, Progress};
use crate::parts::conditions;
use crate::parts::status::{force, this};
use crate::{Changes, Next};
use skiff_api::view::View;
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::workloads::DeploymentStatus;
use skiff_kinds::views::{Condition, ReplicaSet};
use std::time::Duration;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";

impl Pass<'_> {
    /// Writes what was decided: sets first, then deletions, then the status.
    pub(super) fn finish(mut self, progress: Progress, out: &mut Changes) -> Next {
        let mut status = self.counts();
        self.say_available(&status);
        if progress == Progress::Estimated {
            self.say_progress(&status);
            self.say_failure();
        }
        status.conditions = std::mem::take(&mut self.conditions);
        let refused = self.refused.is_some();
        if refused {
            // The creation will likely be refused again, which ends the pass: users must see why before that.
            self.write_status(&status, out);
        }
        self.drafts.iter().for_each(|draft| draft.write(self.deployment, out));
        for index in &self.cleaned {
            let meta = &self.drafts[*index].set.metadata;
            out.delete(ReplicaSet::RESOURCE, meta.key(), &meta.uid);
        }
        if !refused {
            self.write_status(&status, out);
        }
        match progress {
            Progress::Estimated => self.next_check(&status),
            Progress::NotEstimated => Next::Wait,
        }
    }

    /// A pause is no lack of progress.
    pub(super) fn note_pause(&mut self) {
        if self.deadline_s().is_none() {
            return;
        }
        let reason = self.condition(PROGRESSING).map(|condition| condition.reason.clone());
        let reason = reason.as_deref();
        if reason == Some("ProgressDeadlineExceeded") {
            return;
        }
        let said = reason == Some("DeploymentPaused");
        match (self.deployment.spec.paused, said) {
            (true, false) => {
                let message = "Deployment is paused".into();
                self.set_condition(PROGRESSING, "Unknown", "DeploymentPaused", message);
            }
            (false, true) => {
                let message = "Deployment is resumed".into();
                self.set_condition(PROGRESSING, "Unknown", "DeploymentResumed", message);
            }
            _ => {}
        }
    }

    fn counts(&self) -> DeploymentStatus {
        let sum = |number: &dyn Fn(&ReplicaSet) -> i32| -> i32 {
            self.drafts.iter().map(|draft| number(&draft.set)).sum()
        };
        let available = sum(&|set| set.status.available_replicas);
        // One set that does not know yet makes the sum unknown; one that nobody looked at yet has none.
        let unknown = self.drafts.iter().any(|draft| {
            let status = &draft.set.status;
            status.terminating_replicas.is_none() && status.observed_generation > 0
        });
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: sum(&|set| set.status.replicas),
            updated_replicas: self.new.map_or(0, |new| self.drafts[new].set.status.replicas),
            ready_replicas: sum(&|set| set.status.ready_replicas),
            available_replicas: available,
            unavailable_replicas: (self.total() - available).max(0),
            terminating_replicas: (!unknown)
                .then(|| sum(&|set| set.status.terminating_replicas.unwrap_or(0))),
            collision_count: self.collisions,
            conditions: Vec::new(),
        }
    }

    fn say_available(&mut self, status: &DeploymentStatus) {
        let least = self.wanted() - self.fences().0;
        let (status, reason, message) = match status.available_replicas >= least {
            true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
            false => (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            ),
        };
        self.set_condition(AVAILABLE, status, reason, message.into());
    }

    fn say_progress(&mut self, status: &DeploymentStatus) {
        let Some(deadline_s) = self.deadline_s() else {
            conditions::remove(&mut self.conditions, PROGRESSING);
            return;
        };
        let current = self.condition(PROGRESSING).cloned();
        let reason = current.as_ref().map(|condition| &*condition.reason);
        if status.replicas == status.updated_replicas && reason == Some("NewReplicaSetAvailable") {
            return;
        }
        let subject = match self.new {
            Some(new) => format!("ReplicaSet {:?}", self.drafts[new].name()),
            None => format!("Deployment {:?}", self.deployment.metadata.name),
        };
        if self.complete(status) {
            let message = format!("{subject} has successfully progressed.");
            self.set_condition(PROGRESSING, "True", "NewReplicaSetAvailable", message);
        } else if self.advanced(status) {
            // The time of update moves with every step, also where the reason stays the same.
            let message = format!("{subject} is progressing.");
            let mut new =
                conditions::condition(PROGRESSING, "True", "ReplicaSetUpdated", message, self.now);
            new.last_update_time = new.last_transition_time;
            if let Some(current) = current.filter(|current| current.status == "True") {
                new.last_transition_time = current.last_transition_time;
            }
            conditions::remove(&mut self.conditions, PROGRESSING);
            self.conditions.push(new);
        } else if current.is_some_and(|current| timed_out(&current, deadline_s, self.now)) {
            let message = format!("{subject} has timed out progressing.");
            self.set_condition(PROGRESSING, "False", "ProgressDeadlineExceeded", message);
        }
    }

    /// All pods are of the new template and available.
    pub(super) fn complete(&self, status: &DeploymentStatus) -> bool {
        let wanted = self.wanted();
        status.updated_replicas == wanted
            && status.replicas == wanted
            && status.available_replicas == wanted
            && status.observed_generation >= self.deployment.metadata.generation
    }

    /// Compared with what was reported before: more new pods, fewer old ones, more that are ready or available.
    fn advanced(&self, status: &DeploymentStatus) -> bool {
        let before = &self.deployment.status;
        let old = |status: &DeploymentStatus| status.replicas - status.updated_replicas;
        status.updated_replicas > before.updated_replicas
            || old(status) < old(before)
            || status.ready_replicas > before.ready_replicas
            || status.available_replicas > before.available_replicas
    }

    /// Shows why pods cannot be created, of the new set if it has trouble.
    fn say_failure(&mut self) {
        let of =
            |index: usize| conditions::find(&self.drafts[index].set.status.conditions, FAILURE);
        let found = self.new.into_iter().chain(self.old()).find_map(of).cloned();
        match found {
            None => conditions::remove(&mut self.conditions, FAILURE),
            Some(mut failure) => {
                failure.last_update_time = failure.last_transition_time;
                self.put_condition(failure);
            }
        }
    }

    /// When lack of progress would have lasted too long.
    fn next_check(&self, status: &DeploymentStatus) -> Next {
        let current = conditions::find(&status.conditions, PROGRESSING);
        let (Some(deadline_s), Some(current)) = (self.deadline_s(), current) else {
            return Next::Wait;
        };
        if self.complete(status) || current.reason == "ProgressDeadlineExceeded" {
            return Next::Wait;
        }
        // One second more: the time of the condition is in whole seconds.
        let at = deadline(current, deadline_s).map(|at| at + Duration::from_secs(1));
        at.map_or(Next::Wait, |at| Next::At(at.max(self.now + Duration::from_secs(1))))
    }

    /// Goes through the status, revision included, so that no generation is counted for it.
    fn write_status(&self, status: &DeploymentStatus, out: &mut Changes) {
        let meta = &self.deployment.metadata;
        let mut metadata = this(meta);
        let revision =
            self.revision.as_ref().filter(|it| meta.annotations.get(REVISION) != Some(it));
        if let Some(revision) = revision {
            metadata["annotations"] = json!({REVISION: revision});
        }
        if *status != self.deployment.status || revision.is_some() {
            force(self.deployment, metadata, status, out);
        }
    }
}

fn deadline(condition: &Condition, deadline_s: i32) -> Option<Time> {
    let deadline_s = u64::try_from(deadline_s).unwrap_or(0);
    condition.last_update_time.map(|from| from + Duration::from_secs(deadline_s))
}

fn timed_out(condition: &Condition, deadline_s: i32, now: Time) -> bool {
    match &*condition.reason {
        "NewReplicaSetAvailable" => false,
        "ProgressDeadlineExceeded" => true,
        _ => deadline(condition, deadline_s).is_some_and(|at| at < now),
    }
}
