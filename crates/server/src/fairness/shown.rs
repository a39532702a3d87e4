//! Shown: what is under way, as tables for people: `/debug/api_priority_and_fairness/`, with upstream's columns.

use super::level::{Response, Work};
use super::seat::{PARTS, Told};
use super::{Fairness, level};
use skiff_api::duration;
use std::fmt::Write;
use std::time::Duration;

/// Rows of empty queues of one level; those that have requests are always shown.
const EMPTY_MOST: u32 = 1024;
/// The narrowest column.
const COLUMN: usize = 8;

const LEVELS: &str = "PriorityLevelName,ActiveQueues,IsIdle,IsQuiescing,WaitingRequests,ExecutingRequests,\
                      DispatchedRequests,RejectedRequests,TimedoutRequests,CancelledRequests";
const QUEUES: &str = "PriorityLevelName,Index,PendingRequests,ExecutingRequests,SeatsInUse,NextDispatchR,\
                      InitialSeatsSum,MaxSeatsSum,TotalWorkSum";
const REQUESTS: &str = "PriorityLevelName,FlowSchemaName,QueueIndex,RequestIndexInQueue,FlowDistingsher,ArriveTime,\
                        InitialSeats,FinalSeats,AdditionalLatency,StartTime";
const DETAILS: &str = "UserName,Verb,APIPath,Namespace,Name,APIVersion,Resource,SubResource";

type Rows = Vec<Vec<String>>;

fn words(line: &str) -> Vec<String> {
    line.split(',').map(str::to_owned).collect()
}

/// Columns as wide as what is in them.
fn aligned(rows: &Rows) -> String {
    let mut out = String::new();
    let cell = |row: &[String], at: usize| row[at].chars().count() + 1;
    let widest = |at: usize| {
        rows.iter().filter(|row| at + 1 < row.len()).map(|row| cell(row, at)).max().unwrap_or(0)
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|at| (widest(at) + 1).max(COLUMN)).collect();
    for row in rows {
        for (at, text) in row.iter().enumerate() {
            let last = at + 1 == row.len();
            let comma = format!("{text},");
            let width = widths[at];
            let _ = if last { writeln!(out, "{text}") } else { write!(out, "{comma:<width$}") };
        }
    }
    out
}

impl Fairness {
    /// The table of that name.
    pub fn shown(&self, name: &str, details: Details) -> Option<String> {
        match name {
            "dump_priority_levels" => Some(aligned(&self.levels())),
            "dump_queues" => Some(aligned(&self.queues())),
            "dump_requests" => Some(aligned(&self.requests(details))),
            _ => None,
        }
    }

    fn levels(&self) -> Rows {
        let mut rows = vec![words(LEVELS)];
        for level in &self.table().levels {
            rows.push(level.with(|state| {
                let machine = &state.machine;
                let active = machine.shown().filter(|queue| !queue.waiting.is_empty()).count();
                let level::Counts { dispatched, rejected, cancelled } = machine.counts;
                let (waiting, executing) = (machine.waiting(), machine.executing());
                let name = level.name.to_string();
                let numbers =
                    [waiting as u64, executing as u64, dispatched, rejected, 0, cancelled];
                let flags = [machine.is_idle(), state.quiescing].map(|it| it.to_string());
                let numbers = numbers.map(|it| it.to_string());
                [name, active.to_string()].into_iter().chain(flags).chain(numbers).collect()
            }));
        }
        rows
    }

    fn queues(&self) -> Rows {
        let mut rows = vec![words(QUEUES)];
        for level in &self.table().levels {
            level.with(|state| {
                let Response::Queue { queues, .. } = state.machine.response() else { return };
                let row = |index: u32, numbers: [u64; 3], next, sums: [u64; 2], work| {
                    let mut row = vec![level.name.to_string(), index.to_string()];
                    row.extend(numbers.map(|it| it.to_string()));
                    row.push(seconds(next));
                    row.extend(sums.map(|it| it.to_string()));
                    row.push(seconds(work));
                    row
                };
                let mut empty = 0..queues.min(EMPTY_MOST);
                for it in state.machine.shown() {
                    let before = (&mut empty).take_while(|index| *index < it.index);
                    rows.extend(before.map(|index| row(index, [0; 3], 0, [0; 2], 0)));
                    let sum = |of: &dyn Fn(&Work) -> u32| {
                        it.waiting.iter().map(|(work, _)| u64::from(of(work))).sum::<u64>()
                    };
                    let sums = [sum(&|work| work.first), sum(&Work::seats)];
                    let waiting = it.waiting.len() as u64;
                    let numbers = [waiting, it.executing as u64, u64::from(it.seats)];
                    rows.push(row(it.index, numbers, it.next, sums, it.work));
                }
                rows.extend(empty.map(|index| row(index, [0; 3], 0, [0; 2], 0)));
            });
        }
        rows
    }

    fn requests(&self, details: Details) -> Rows {
        let mut rows = vec![words(REQUESTS)];
        if details == Details::Shown {
            rows[0].extend(words(DETAILS));
        }
        for level in &self.table().levels {
            level.with(|state| {
                // Where there is one queue, or none, nobody asked which flow it is.
                let many = matches!(state.machine.response(), Response::Queue { queues: 2.., .. });
                let flow = |told: &Told| {
                    let [user, _, _, namespace, ..] = told.parts();
                    let flow = told.schema.spec.flow(user, namespace).to_owned();
                    if many { flow } else { String::new() }
                };
                for queue in state.machine.shown() {
                    for (at, (_, caller)) in queue.waiting.iter().enumerate() {
                        let places = [i64::from(queue.index), at as i64];
                        rows.push(self.request(
                            &caller.told,
                            (flow(&caller.told), places),
                            None,
                            details,
                        ));
                    }
                }
                for (told, ticket) in state.running.iter() {
                    let places = [ticket.queue.map_or(-1, i64::from), -1];
                    rows.push(self.request(
                        told,
                        (flow(told), places),
                        Some(ticket.began),
                        details,
                    ));
                }
            });
        }
        rows
    }

    fn request(
        &self,
        told: &Told,
        (flow, places): (String, [i64; 2]),
        began: Option<Duration>,
        details: Details,
    ) -> Vec<String> {
        let now = self.world.now();
        // The clock of the wall, when the other showed that.
        let time = |at: Option<Duration>| match at {
            Some(at) => (now - self.world.uptime().saturating_sub(at)).to_string(),
            None => "0001-01-01T00:00:00Z".to_owned(),
        };
        let [user, verb, path, namespace, name, group, version, resource, entry]: [&str; PARTS] =
            told.parts();
        let work = told.work;
        let mut row = vec![told.schema.level.name.to_string(), told.schema.name.to_string()];
        row.extend(places.map(|it| it.to_string()));
        row.push(flow);
        row.push(time(Some(told.arrived)));
        row.extend([work.first, work.last].map(|it| it.to_string()));
        row.push(duration::format(work.after.as_nanos().try_into().unwrap_or(i64::MAX)));
        row.push(time(began));
        if details == Details::Shown {
            let version = match group {
                "" => version.to_owned(),
                group => format!("{group}/{version}"),
            };
            let parts = [user, verb, path, namespace, name, &version, resource, entry];
            row.extend(parts.map(str::to_owned));
        }
        row
    }
}

/// Whether a request is shown with who asks for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Details {
    Shown,
    Hidden,
}

/// Seat-seconds.
fn seconds(nanos: level::SeatNanos) -> String {
    let hundredths = nanos.max(0) / 10;
    format!("{}.{:08}ss", hundredths / 100_000_000, hundredths % 100_000_000)
}
