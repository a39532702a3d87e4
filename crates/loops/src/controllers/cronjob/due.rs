//! When a CronJob is due. Times that were missed are not gone through one by one: how many there are is reckoned from
//! the first two, and only the last is looked for.

use skiff_base::Time;
use skiff_kinds::batch::schedule::Schedule;
use skiff_kinds::views::CronJob;
use skiff_kinds::views::batch::CronJobStatus;
use std::time::Duration;

/// More missed times than this are too many, which users hear of.
const MISSED_MOST: i64 = 100;
/// So many steps the last missed time is looked for: a schedule whose times are not even needs more than two.
const STEPS_MOST: usize = 1000;

/// A time that is due, and whether very many before it were missed.
#[derive(Debug, PartialEq)]
pub struct Due {
    pub at: Time,
    pub many: bool,
}

/// What is known of the times up to now.
struct Past {
    /// The last one that was heeded, or the beginning.
    from: Time,
    last: Option<Time>,
    missed: i64,
}

/// The name of the Job of a time.
pub fn name(cron: &CronJob, at: Time) -> String {
    format!("{}-{}", cron.metadata.name, at.as_second().div_euclid(60))
}

/// The last time until now that was not heeded.
pub fn due(
    cron: &CronJob,
    status: &CronJobStatus,
    schedule: &Schedule,
    now: Time,
) -> Result<Option<Due>, String> {
    let deadline = cron.spec.starting_deadline_seconds.map(Duration::from_secs);
    let past = past(cron, status, schedule, now, deadline)?;
    Ok(past.last.map(|at| Due { at, many: past.missed > MISSED_MOST }))
}

/// The next time after that; `None` is never.
pub fn next(
    cron: &CronJob,
    status: &CronJobStatus,
    schedule: &Schedule,
    now: Time,
) -> Option<Time> {
    let from = match past(cron, status, schedule, now, None) {
        Err(_) => now,
        Ok(Past { last: Some(last), .. }) => last,
        Ok(Past { from, missed: 0, .. }) => from,
        Ok(_) => now,
    };
    schedule.next(from)
}

fn past(
    cron: &CronJob,
    status: &CronJobStatus,
    schedule: &Schedule,
    now: Time,
    deadline: Option<Duration>,
) -> Result<Past, String> {
    let made = cron.metadata.creation_timestamp.unwrap_or(now);
    let mut from = status.last_schedule_time.unwrap_or(made);
    if let Some(earliest) = deadline.and_then(|deadline| now.checked_sub(deadline).ok()) {
        from = from.max(earliest);
    }
    let never = || "time difference between two schedules is less than 1 second".to_owned();
    let first = schedule.next(from).ok_or_else(never)?;
    if now < first {
        return Ok(Past { from, last: None, missed: 0 });
    }
    let second = schedule.next(first);
    if second.is_some_and(|second| now < second) {
        return Ok(Past { from, last: Some(first), missed: 0 });
    }
    let second = second.ok_or_else(never)?;
    let between = second.as_second() - first.as_second();
    if between < 1 {
        return Err(never());
    }
    let missed = (now.as_second() - first.as_second()) / between + 1;
    // From a little before where even steps would lead to.
    let near = Duration::from_secs(((missed - 2) * between).max(0).unsigned_abs());
    let mut last = None;
    let mut at = first.checked_add(near).unwrap_or(first);
    for _ in 0..STEPS_MOST {
        match schedule.next(at) {
            Some(next) if next <= now => (last, at) = (Some(next), next),
            _ => break,
        }
    }
    Ok(Past { from, last, missed })
}
