//! CronJob: a Job at each time of a schedule, unless the one before forbids it.
//!
//! The name of a Job says for which minute it was made, so that no minute gets two: neither after a crash nor when the
//! clock goes back. A pass looks after the Jobs that are there (`jobs`), then decides whether one is due (`due`).
//!
//! Invariant: at most one Job is made in a pass, however many times were missed; those are counted, not gone through.

mod due;
mod jobs;
#[cfg(test)]
mod tests;

use crate::changes::{Note, Tell, about};
use crate::parts::status::{this, write};
use crate::{Change, Changes, Context, Loop, Next, On};
use due::Due;
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::batch::schedule::{Schedule, Zone};
use skiff_kinds::views::batch::CronJobStatus;
use skiff_kinds::views::{CronJob, Job};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// The annotation of a Job that says for which time it was made (KEP-4026).
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// So much later than due a pass comes: clocks that are set a little must not make it come early.
const LATE: Duration = Duration::from_millis(100);

/// Key: a CronJob.
pub struct CronJobLoop;

pub struct Seen {
    cron: Arc<CronJob>,
    /// Those that it controls.
    jobs: Vec<Arc<Job>>,
    /// The uids of active Jobs that no cache shows, and which are there.
    unseen: HashSet<String>,
}

/// A schedule that was changed holds from its next time on, and what it would have missed is not made up for.
#[derive(Debug, Default)]
pub struct Memory {
    schedule: Option<(String, Option<String>)>,
    not_before: Option<Time>,
    /// The name of a Job that somebody else has.
    taken: Option<String>,
}

impl Loop for CronJobLoop {
    const NAME: &'static str = "cronjob-controller";
    type Seen = Seen;
    type Memory = Memory;

    fn on(on: &mut On) {
        on.own::<CronJob>();
        on.map::<Job>(|job, _| {
            let owner = job.metadata.controller().filter(|owner| owner.kind == "CronJob");
            owner.map(|owner| Key::new(&job.metadata.namespace, &owner.name)).into_iter().collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(cron) = cx.caches.of::<CronJob>().get(key) else { return Ok(None) };
        let cache = cx.caches.of::<Job>();
        let uid = &cron.metadata.uid;
        let mut jobs = cache.find("owner", uid);
        jobs.retain(|job| job.metadata.controlled_by(uid));
        let known: HashSet<&str> = jobs.iter().map(|job| &*job.metadata.uid).collect();
        let mut unseen = HashSet::new();
        for active in cron.status.active.iter().filter(|it| !known.contains(&*it.uid)) {
            let at = Key::new(&active.namespace, &active.name);
            if cx.live::<Job>(&at).await?.is_some() {
                unseen.insert(active.uid.clone());
            }
        }
        Ok(Some(Seen { cron, jobs, unseen }))
    }

    fn failed(memory: &mut Memory, change: &Change, why: &Status) {
        if let (Change::Told(change, _), 409) = (change, why.code)
            && let Change::Create { body, .. } = &**change
        {
            memory.taken = body["metadata"]["name"].as_str().map(str::to_owned);
        }
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let cron = &*seen.cron;
        let mut status = cron.status.clone();
        jobs::forget_oldest(seen, &mut status, out);
        jobs::look_after(seen, &mut status, out);
        let next = match cron.metadata.deleting() || cron.spec.suspend {
            true => Ok(Next::Wait),
            false => start(seen, memory, &mut status, now, out),
        };
        let next = next.unwrap_or_else(|(reason, message)| {
            out.event(Note::of(cron, "Warning", reason, message));
            Next::Wait
        });
        write(cron, this(&cron.metadata), (&cron.status, &status), out);
        next
    }
}

/// What is wrong with a schedule: reason and message of an Event.
type Wrong = (&'static str, String);

/// Makes the Job that is due, if one is.
fn start(
    seen: &Seen,
    memory: &mut Memory,
    status: &mut CronJobStatus,
    now: Time,
    out: &mut Changes,
) -> Result<Next, Wrong> {
    let cron = &*seen.cron;
    let spec = &cron.spec;
    let (schedule, zone) = read(cron)?;
    let next = due::next(cron, status, &schedule, now);
    let again = next.and_then(|at| at.checked_add(LATE).ok()).map_or(Next::Wait, Next::At);
    if memory.changed(cron) {
        memory.not_before = next;
    }
    if memory.not_before.is_some_and(|at| at > now) {
        return Ok(again);
    }
    memory.not_before = None;
    let invalid = |why| ("InvalidSchedule", format!("invalid schedule: {} : {why}", spec.schedule));
    let Some(Due { at, many }) = due::due(cron, status, &schedule, now).map_err(invalid)? else {
        return Ok(again);
    };
    if many {
        let why = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        out.event(Note::of(cron, "Warning", "TooManyMissedTimes", why));
    }
    let own = seen.jobs.iter().find(|job| job.metadata.name == due::name(cron, at));
    let taken = own.is_none() && memory.taken.as_ref() == Some(&due::name(cron, at));
    match hindrance(cron, status, at, now) {
        Hindrance::None if !taken => {}
        Hindrance::Told(note) => {
            out.event(note);
            return Ok(again);
        }
        _ => return Ok(again),
    }
    if spec.concurrency_policy == "Replace" {
        for job in std::mem::take(&mut status.active) {
            jobs::delete(cron, Key::new(&job.namespace, &job.name), &job.uid, out);
        }
    }
    status.last_schedule_time = Some(at);
    match own {
        // Made in a pass that ended before it could say so.
        Some(job) => status.active.push(jobs::reference(job)),
        None => create(cron, at, &zone, out),
    }
    let next = due::next(cron, status, &schedule, now);
    Ok(next.and_then(|at| at.checked_add(LATE).ok()).map_or(Next::Wait, Next::At))
}

fn read(cron: &CronJob) -> Result<(Schedule, Zone), Wrong> {
    let name = cron.spec.time_zone.as_deref().unwrap_or("");
    let unknown =
        || ("UnknownTimeZone", format!("invalid timeZone: {name:?}: unknown time zone {name}"));
    let zone = Zone::named(name).ok_or_else(unknown)?;
    let text = &cron.spec.schedule;
    let schedule = Schedule::read(text, &zone).map_err(|why| {
        ("UnparseableSchedule", format!("unparseable schedule: {text:?} : {why}"))
    })?;
    Ok((schedule, zone))
}

/// Why no Job is made although one is due.
enum Hindrance {
    None,
    /// It was made already.
    Done,
    Told(Note),
}

fn hindrance(cron: &CronJob, status: &CronJobStatus, at: Time, now: Time) -> Hindrance {
    let wait = cron.spec.starting_deadline_seconds.map(Duration::from_secs);
    if wait.is_some_and(|wait| at.checked_add(wait).is_ok_and(|end| end < now)) {
        let missed = Zone::UTC.tell_long(at);
        let why = format!("Missed scheduled time to start a job: {missed}");
        return Hindrance::Told(Note::of(cron, "Warning", "MissSchedule", why));
    }
    let name = due::name(cron, at);
    if status.last_schedule_time == Some(at) || status.active.iter().any(|job| job.name == name) {
        return Hindrance::Done;
    }
    if cron.spec.concurrency_policy == "Forbid" && !status.active.is_empty() {
        let why =
            "Not starting job because prior execution is running and concurrency policy is Forbid";
        return Hindrance::Told(Note::of(cron, "Normal", "JobAlreadyActive", why));
    }
    Hindrance::None
}

impl Memory {
    /// Whether it is another schedule than when it was last seen.
    fn changed(&mut self, cron: &CronJob) -> bool {
        let now = (cron.spec.schedule.clone(), cron.spec.time_zone.clone());
        self.schedule.replace(now.clone()).is_some_and(|before| before != now)
    }
}

fn create(cron: &CronJob, at: Time, zone: &Zone, out: &mut Changes) {
    let template = &cron.spec.job_template;
    let mut metadata = crate::parts::template::metadata(&skiff_api::view::Meta {
        labels: template.metadata.labels.clone(),
        annotations: template.metadata.annotations.clone(),
        ..Default::default()
    });
    metadata["annotations"][SCHEDULED] = json!(zone.tell(at));
    metadata["name"] = json!(due::name(cron, at));
    metadata["namespace"] = json!(cron.metadata.namespace);
    let owner = crate::parts::adoption::reference(CronJob::RESOURCE, &cron.metadata);
    metadata["ownerReferences"] = json!([owner]);
    let create = Change::Create {
        resource: Job::RESOURCE,
        namespace: cron.metadata.namespace.clone(),
        body: json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template.spec}),
    };
    let tell = Tell {
        about: about(cron),
        done: ("SuccessfulCreate", "Created job {name}".into()),
        failed: ("FailedCreate", "Error creating job: {error}".into()),
    };
    out.push(Change::Told(Box::new(create), tell));
}
