//! The Jobs that a CronJob made: which are active, which ended, which are too old to be kept.

use super::{SCHEDULED, Seen};
use crate::changes::{Note, Tell, about};
use crate::{Change, Changes};
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::DeleteOptions;
use skiff_kinds::views::batch::CronJobStatus;
use skiff_kinds::views::{CronJob, Job, ObjectReference};
use std::sync::Arc;

/// Brings the list of active Jobs up to date.
pub fn look_after(seen: &Seen, status: &mut CronJobStatus, out: &mut Changes) {
    let cron = &*seen.cron;
    let tell = |reason: &str, message: String, out: &mut Changes| {
        out.event(Note::of(cron, "Normal", reason, message));
    };
    for job in &seen.jobs {
        let meta = &job.metadata;
        let at = status.active.iter().position(|active| active.uid == meta.uid);
        match (job.finished(), at) {
            (None, Some(_)) => {}
            (None, None) if made_here(job) => status.active.push(reference(job)),
            (None, None) => {
                let name = &meta.name;
                let why = format!("Saw a job that the controller did not create or forgot: {name}");
                out.event(Note::of(cron, "Warning", "UnexpectedJob", why));
            }
            (Some(end), at) => {
                if let Some(at) = at {
                    status.active.remove(at);
                    let (name, type_) = (&meta.name, &end.type_);
                    let message = format!("Saw completed job: {name}, condition: {type_}");
                    tell("SawCompletedJob", message, out);
                }
                if end.type_ == "Complete" {
                    let last = status.last_successful_time.max(job.status.completion_time);
                    status.last_successful_time = last;
                }
            }
        }
    }
    status.active.retain(|active| {
        let there = seen.unseen.contains(&active.uid)
            || seen.jobs.iter().any(|job| job.metadata.uid == active.uid);
        if !there {
            tell("MissingJob", format!("Active job went missing: {}", active.name), out);
        }
        there
    });
}

/// The controller made it itself: its name says for which time, and so does its annotation. The answer to a create has
/// the uid, but a plan cannot see it; so a Job becomes active when it is seen.
fn made_here(job: &Job) -> bool {
    let at = job.metadata.annotations.get(SCHEDULED).and_then(|at| at.parse::<Time>().ok());
    at.is_some_and(|at| job.metadata.name.ends_with(&format!("-{}", at.as_second().div_euclid(60))))
}

pub fn reference(job: &Job) -> ObjectReference {
    let meta = &job.metadata;
    ObjectReference {
        api_version: Job::RESOURCE.api_version(),
        kind: Job::RESOURCE.kind.into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
    }
}

/// Deletes the oldest of the Jobs that ended, beyond those that are to be kept.
pub fn forget_oldest(seen: &Seen, status: &mut CronJobStatus, out: &mut Changes) {
    let spec = &seen.cron.spec;
    let limits = [
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ];
    for (type_, limit) in limits {
        let Some(limit) = limit else { continue };
        let ended = |job: &&Arc<Job>| job.finished().is_some_and(|end| end.type_ == type_);
        let mut ended: Vec<&Arc<Job>> = seen.jobs.iter().filter(ended).collect();
        ended.sort_by(|a, b| {
            let key = |job: &Job| (job.status.start_time.is_none(), job.status.start_time);
            key(a).cmp(&key(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
        });
        let surplus = ended.len().saturating_sub(limit);
        for job in ended.into_iter().take(surplus).filter(|job| !job.metadata.deleting()) {
            status.active.retain(|active| active.uid != job.metadata.uid);
            delete(&seen.cron, job.metadata.key(), &job.metadata.uid, out);
        }
    }
}

/// Deletes a Job, and its pods after it.
pub fn delete(cron: &CronJob, key: Key, uid: &str, out: &mut Changes) {
    let options = DeleteOptions {
        uid: Some(uid.into()),
        propagation: Some("Background"),
        ..DeleteOptions::default()
    };
    let delete = Change::Delete { resource: Job::RESOURCE, key, options };
    let tell = Tell {
        about: about(cron),
        done: ("SuccessfulDelete", "Deleted job {name}".into()),
        failed: ("FailedDelete", "Deleted job: {error}".into()),
    };
    out.push(Change::Told(Box::new(delete), tell));
}
