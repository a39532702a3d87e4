//! Job: pods of one template until enough of them have ended well, or too many badly.
//!
//! A pod of a Job is held by a finalizer until it is counted, so that none is lost or counted twice: first its uid is
//! noted in the status, then the finalizer goes, then the count rises (KEP-2307). A pass decides how things stand
//! (`tally`), whether this is the end (`ends`), which pods come and go (`make`), and what is said of it (`track`).
//!
//! Invariants: at most `BURST` pods are made in a pass, and at most that many counted; a pod that another one controls
//! is never touched; a Job that ended, or that somebody else cares for, is left alone.

mod ends;
mod make;
mod tally;
#[cfg(test)]
mod tests;
mod track;

pub use make::let_go;

use crate::changes::Note;
use crate::parts::adoption::{Claimed, claimed, selector};
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::Key;
use skiff_base::{Backoff, Time};
use skiff_kinds::views::{Job, Pod};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Upstream's bound on the pods that one pass makes, deletes or counts: it keeps one Job from holding up all others,
/// and the uids in a status below 20 KB.
const BURST: usize = 500;
/// How long a pod that failed is not replaced, by the number of failures in a row.
const REPLACED: Backoff =
    Backoff { first: Duration::from_secs(10), most: Duration::from_secs(600) };
/// After a pass that wrote something a Job rests so long, so that the changes of its pods, of which there are a handful
/// each, are answered together. Upstream waits a second.
const REST: Duration = Duration::from_millis(100);

/// Key: a Job.
pub struct JobLoop;

pub struct Seen {
    job: Arc<Job>,
    pods: Claimed<Pod>,
}

#[derive(Debug, Default)]
pub struct Memory {
    failures: Failures,
    /// A pod could not be made when it was last tried.
    refused: bool,
    rests: Option<Time>,
}

/// The failures of pods since the last success.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    last: Option<Time>,
    /// The pods that were noted and are still held.
    noted: HashSet<String>,
}

impl Loop for JobLoop {
    const NAME: &'static str = "job-controller";
    type Seen = Seen;
    type Memory = Memory;

    fn on(on: &mut On) {
        on.own::<Job>();
        on.adopts::<Job, Pod>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(job) = cx.caches.of::<Job>().get(key) else { return Ok(None) };
        if job.elsewhere() || job.finished().is_some() {
            return Ok(None);
        }
        let selector = selector(&job.spec.selector, &job.metadata)?;
        let pods = claimed(cx, &*job, &selector, |_: &Pod| true).await?;
        Ok(Some(Seen { job, pods }))
    }

    fn failed(memory: &mut Memory, change: &Change, _: &Status) {
        // What failed is tried again as the runner says, and not after a rest.
        memory.rests = None;
        memory.refused |=
            matches!(change, Change::Told(change, _) if matches!(**change, Change::Create { .. }));
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        if let Some(until) = memory.rests.filter(|until| now < *until && *until <= now + REST) {
            return Next::At(until);
        }
        let job = &*seen.job;
        seen.pods.settle_with(job, &[FINALIZER], out);
        let mut tally = tally::Tally::of(job, &seen.pods);
        memory.failures.note(&tally);
        let mut status = track::begin(job, now);
        let mut times = Vec::new();
        let mut end = ends::judge(&tally, &status, now, &mut times);
        let refused = std::mem::take(&mut memory.refused);
        let mut missing = Vec::new();
        match &end {
            Some(_) => make::end_all(&mut tally, out),
            None if job.metadata.deleting() => {}
            None => {
                let made = make::manage(&mut tally, &memory.failures, now, out);
                times.extend(made.again);
                missing = made.missing;
            }
        }
        // What was refused once is tried when all else is done, and counts when it is there.
        if !refused {
            tally.running += i64::try_from(missing.len()).unwrap_or(i64::MAX);
            make::create(job, std::mem::take(&mut missing), out);
        }
        end = end.or_else(|| ends::complete(&tally, now));
        let said = match end {
            None if !job.metadata.deleting() => track::suspension(job, &mut status, now),
            _ => None,
        };
        let finished = track::track(&tally, status, end, now, out);
        out_events(job, said, finished, out);
        make::create(job, missing, out);
        memory.rests = (!out.is_empty()).then(|| now + REST);
        times.into_iter().min().map_or(Next::Wait, Next::At)
    }
}

fn out_events(job: &Job, said: Option<track::Said>, finished: Vec<track::Said>, out: &mut Changes) {
    for (type_, reason, message) in said.into_iter().chain(finished) {
        out.event(Note::of(job, type_, reason, message));
    }
}

impl Failures {
    /// Takes in the pods that ended since the last pass.
    fn note(&mut self, tally: &tally::Tally<'_>) {
        let tracked: HashSet<&str> = tally.tracked().map(|pod| &*pod.metadata.uid).collect();
        self.noted.retain(|uid| tracked.contains(&**uid));
        let new = |pods: &[&Arc<Pod>]| -> Vec<Time> {
            let new = pods.iter().filter(|pod| !self.noted.contains(&pod.metadata.uid));
            new.map(|pod| tally::finished_at(pod)).collect()
        };
        let (succeeded, failed) = (new(&tally.new_succeeded), new(&tally.new_failed));
        if let Some(success) = succeeded.into_iter().max() {
            self.count = 0;
            self.last = None;
            self.add(failed.into_iter().filter(|at| *at > success).collect());
        } else {
            self.add(failed);
        }
        let ended = tally.new_succeeded.iter().chain(&tally.new_failed);
        self.noted.extend(ended.map(|pod| pod.metadata.uid.clone()));
    }

    fn add(&mut self, failed: Vec<Time>) {
        self.count = self.count.saturating_add(u32::try_from(failed.len()).unwrap_or(u32::MAX));
        self.last = failed.into_iter().max().or(self.last);
    }

    /// When the next pod may be made, if that is not now.
    fn over(&self, now: Time) -> Option<Time> {
        replaced_at(self.count, self.last?).filter(|at| *at > now)
    }
}

/// When a pod may be replaced after so many failures.
fn replaced_at(failures: u32, last: Time) -> Option<Time> {
    last.checked_add(REPLACED.delay(failures)).ok()
}
