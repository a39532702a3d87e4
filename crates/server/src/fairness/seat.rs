//! Seat: what a request holds while it runs, and how one is waited for. Whatever becomes of the request, it gives back
//! what it has.

use super::level::{Arrival, Place, Refused, Ticket, Waits, Work};
use super::table::{Level, Schema};
use super::{Asked, Fairness};
use skiff_base::Lock;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::oneshot;

/// What is known of a request while it waits or runs, for those who look at what is there.
pub struct Told {
    pub schema: Arc<Schema>,
    pub arrived: Duration,
    pub work: Work,
    text: Box<str>,
}

/// Stands in no part of a request.
const BETWEEN: char = '\0';
/// User, verb, path, namespace, name, group, version, resource, subresource.
pub const PARTS: usize = 9;

impl Told {
    fn of(schema: &Arc<Schema>, asked: Asked<'_>, work: Work, arrived: Duration) -> Told {
        let Asked { user, attributes: it, path, version, .. } = asked;
        let parts: [&str; PARTS] = [
            &user.name,
            &it.verb,
            path,
            &it.namespace,
            &it.name,
            &it.group,
            version,
            &it.resource,
            &it.subresource,
        ];
        let mut text = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
        for part in parts {
            text.push_str(part);
            text.push(BETWEEN);
        }
        Told { schema: schema.clone(), arrived, work, text: text.into() }
    }

    pub fn parts(&self) -> [&str; PARTS] {
        let mut parts = self.text.split(BETWEEN);
        std::array::from_fn(|_| parts.next().unwrap_or(""))
    }
}

/// Somebody who waits.
pub struct Caller {
    pub told: Told,
    call: oneshot::Sender<Run>,
}

/// Seats, and where those who look find the request.
#[derive(Clone, Copy)]
pub struct Run {
    pub ticket: Ticket,
    pub slot: usize,
}

impl Waits for Caller {
    fn passed_over(&self) {
        self.told.schema.tally.passed_over.fetch_add(1, Relaxed);
    }
}

impl Caller {
    /// Calls him; what is known of him is kept with those who run. He listens until he has given up his place in the
    /// queue under the level's lock, which is held now.
    pub fn call(self, ticket: Ticket, keep: impl FnOnce(Told) -> usize) {
        let run = Run { ticket, slot: keep(self.told) };
        // He listens, as said.
        let _ = self.call.send(run);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Watch,
}

impl Kind {
    fn of(verb: &str) -> Kind {
        match verb {
            "watch" => Kind::Watch,
            "get" | "list" | "head" | "options" => Kind::Read,
            _ => Kind::Write,
        }
    }
}

/// Takes seats, or waits for them for so long.
///
/// # Errors
/// After how many seconds to come again.
pub async fn take(
    fairness: &Arc<Fairness>,
    schema: &Arc<Schema>,
    asked: Asked<'_>,
    work: Work,
    within: Duration,
) -> Result<Seat, u64> {
    let arrived = fairness.world.uptime();
    let hash = schema.hash(asked.user, asked.attributes);
    let told = Told::of(schema, asked, work, arrived);
    let (tally, level) = (&schema.tally, &schema.level);
    let (mut told, mut called) = (Some(told), None);
    let arrival = level.with(|state| {
        let arrival = state.machine.arrive(arrived, hash, work, || {
            let (call, listen) = oneshot::channel();
            called = Some(listen);
            Caller { told: told.take().expect("it is asked once"), call }
        });
        match (arrival, told.take()) {
            (Arrival::Runs(ticket), Some(told)) => {
                Ok((Some(Run { ticket, slot: state.running.keep(told, ticket) }), None))
            }
            (Arrival::Waits(place), _) => {
                // Somebody has to look when seats that linger are free.
                if state.machine.next().is_some() {
                    fairness.due.notify_one();
                }
                Ok((None, Some(place)))
            }
            (Arrival::Refused(why), _) => Err((why, state.refuse(fairness.second()))),
            (Arrival::Runs(_), None) => unreachable!("who runs was not asked for"),
        }
    });
    let kind = Kind::of(&asked.attributes.verb);
    let run = match (arrival, called) {
        (Ok((Some(run), _)), _) => {
            if run.ticket.queue.is_some() {
                tally.queue_length.add(1.0);
            }
            run
        }
        (Ok((None, Some(place))), Some(called)) => {
            let waiter = Waiter::new(fairness, schema, place, called, work);
            waiter.wait(within).await?
        }
        (Ok(_), _) => unreachable!("who waits was asked for"),
        (Err((why, after_s)), _) => {
            tally.refuse(why, Duration::ZERO);
            return Err(after_s);
        }
    };
    if !level.exempt {
        tally.waited[1].add_time(run.ticket.began.saturating_sub(arrived));
    }
    Ok(Seat::new(fairness, schema, run, work.seats(), kind))
}

/// A place in a queue, held.
struct Waiter<'a> {
    fairness: &'a Arc<Fairness>,
    schema: &'a Arc<Schema>,
    place: Place,
    called: oneshot::Receiver<Run>,
    arrived: Duration,
    seats: i64,
    heard: bool,
}

impl<'a> Waiter<'a> {
    fn new(
        fairness: &'a Arc<Fairness>,
        schema: &'a Arc<Schema>,
        place: Place,
        called: oneshot::Receiver<Run>,
        work: Work,
    ) -> Waiter<'a> {
        let (tally, seats) = (&schema.tally, i64::from(work.seats()));
        tally.queue_length.add(place.length as f64);
        tally.waiting.fetch_add(1, Relaxed);
        tally.waiting_seats.fetch_add(seats, Relaxed);
        let arrived = fairness.world.uptime();
        Waiter { fairness, schema, place, called, arrived, seats, heard: false }
    }

    async fn wait(mut self, within: Duration) -> Result<Run, u64> {
        let called = self.fairness.world.within(within, &mut self.called).await;
        self.heard = true;
        match called {
            Some(Ok(run)) => Ok(run),
            // Called while the time ran out, he runs all the same.
            _ => self.give_up().ok_or_else(|| {
                self.schema.level.with(|state| state.refuse(self.fairness.second()))
            }),
        }
    }

    /// Leaves the queue, or has left it, being called.
    fn give_up(&mut self) -> Option<Run> {
        let now = self.fairness.world.uptime();
        let left = self.schema.level.with(|state| state.machine.cancel(now, self.place));
        if left {
            self.schema.tally.refuse(Refused::TimeOut, now.saturating_sub(self.arrived));
            return None;
        }
        self.called.try_recv().ok()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let tally = &self.schema.tally;
        tally.waiting.fetch_sub(1, Relaxed);
        tally.waiting_seats.fetch_sub(self.seats, Relaxed);
        if self.heard {
            return;
        }
        // The client has gone.
        if let Some(run) = self.give_up() {
            self.schema.level.finish(self.fairness, run);
        }
    }
}

/// Seats that a request holds.
pub struct Seat {
    fairness: Arc<Fairness>,
    schema: Arc<Schema>,
    run: Run,
    seats: u32,
    kind: Kind,
}

impl Seat {
    fn new(
        fairness: &Arc<Fairness>,
        schema: &Arc<Schema>,
        run: Run,
        seats: u32,
        kind: Kind,
    ) -> Seat {
        let tally = &schema.tally;
        tally.dispatched.fetch_add(1, Relaxed);
        tally.executing.fetch_add(1, Relaxed);
        tally.executing_seats.fetch_add(i64::from(seats), Relaxed);
        fairness.running[usize::from(kind == Kind::Write)].fetch_add(1, Relaxed);
        Seat { fairness: fairness.clone(), schema: schema.clone(), run, seats, kind }
    }
}

impl Seat {
    /// Whether it is more than the least that a request takes.
    pub fn is_wide(&self) -> bool {
        self.seats > 1
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (fairness, tally) = (&self.fairness, &self.schema.tally);
        let ended = self.schema.level.finish(fairness, self.run);
        let ran = ended.saturating_sub(self.run.ticket.began);
        tally.ran[usize::from(self.kind == Kind::Watch)].add_time(ran);
        tally.executing.fetch_sub(1, Relaxed);
        tally.executing_seats.fetch_sub(i64::from(self.seats), Relaxed);
        fairness.running[usize::from(self.kind == Kind::Write)].fetch_sub(1, Relaxed);
    }
}

/// Seats that can be taken away from whoever has them, once.
pub struct Held(Lock<Option<Seat>>);

impl Held {
    pub fn new(seat: Option<Seat>) -> Held {
        Held(Lock::new(seat))
    }

    pub fn take(&self) -> Option<Seat> {
        self.0.lock().take()
    }
}

impl Level {
    /// Gives seats back; says when.
    fn finish(&self, fairness: &Fairness, run: Run) -> Duration {
        let now = fairness.world.uptime();
        let next = self.with(|state| {
            state.running.forget(run.slot);
            state.machine.finish(now, run.ticket);
            state.machine.next()
        });
        if next.is_some() {
            fairness.due.notify_one();
        }
        now
    }
}
