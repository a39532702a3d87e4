//! Fairness: which requests run now, which wait for others, and which are refused (KEP-1040, API priority and
//! fairness). Every request that ends soon, and every watch until it has told what is there, holds seats of the level
//! that its flow schema names.
//!
//! What decides is pure: matching ([`matching`]), cost ([`estimate`]), queues ([`level`]), shares of all ([`shares`]).
//! This is the thin shell around it: a lock for each level, and a call for whoever waits. It never looks at a body.

mod demand;
mod estimate;
mod figures;
mod follow;
mod level;
mod matching;
mod retry;
mod seat;
mod shares;
mod shown;
mod table;
mod tally;

pub use seat::{Held, Seat};
pub use shown::Details;
pub use table::Schema;

use crate::authorize::Attributes;
use crate::request::url::Query;
use estimate::{Watches, Watching};
use follow::{Followed, Source};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use skiff_api::wire::{Answer, User};
use skiff_base::{Lock, RwLock, Tasks, World};
use skiff_store::{ReadError, Store};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;
use table::Table;
use tokio::sync::Notify;

/// Seats of all levels that are not exempt: upstream's `--max-requests-inflight` and
/// `--max-mutating-requests-inflight` together.
pub const SEATS: u32 = 400 + 200;
/// How often seats are lent and given back.
const ADJUST_EVERY: Duration = Duration::from_secs(10);
/// What a request may take that names no time of its own, of which a fourth may be spent waiting.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// A list, and what a watch begins with, has so long to be read: one that is read slowly keeps no seat from others.
const SENDING_TIME: Duration = Duration::from_secs(20);
/// Of so many requests one measures how far the processors are behind.
const SAMPLE: u32 = 16;
/// They are behind when work that is ready waits so long, and no longer when it waits for less than a fifth of it.
const BEHIND: Duration = Duration::from_millis(5);

const LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
const SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");

/// What of a request is looked at.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub user: &'a User,
    pub attributes: &'a Attributes,
    pub query: &'a Query,
    /// As it was sent.
    pub path: &'a str,
    pub version: &'a str,
}

impl<'a> Asked<'a> {
    pub fn of(
        user: &'a User,
        attributes: &'a Attributes,
        query: &'a Query,
        (path, version): (&'a str, &'a str),
    ) -> Asked<'a> {
        Asked { user, attributes, query, path, version }
    }
}

/// The whole of it.
pub struct Fairness {
    world: World,
    store: Arc<dyn Store>,
    table: RwLock<Arc<Table>>,
    /// One at a time makes a table.
    making: Lock<()>,
    followed: Followed,
    /// Which part of its target each level got last; bits of a number.
    fraction: AtomicU64,
    watches: Arc<Watches>,
    /// Reads and writes that run now.
    running: [AtomicI64; 2],
    behind: Behind,
    /// Somebody waits for seats that come free by time alone.
    due: Notify,
    /// Seats of answers that are being sent, and until when.
    sending: Lock<Vec<(Duration, Weak<Held>)>>,
}

impl Fairness {
    /// Reads the configuration, and follows it from then on in tasks that the group cannot do without.
    ///
    /// # Errors
    /// When the store has stopped.
    pub async fn start(
        store: Arc<dyn Store>,
        world: &World,
        tasks: &Tasks,
    ) -> Result<Arc<Fairness>, ReadError> {
        let fairness = Arc::new(Fairness {
            world: world.clone(),
            store: store.clone(),
            table: RwLock::default(),
            making: Lock::default(),
            followed: Followed::default(),
            fraction: AtomicU64::default(),
            watches: Arc::default(),
            running: Default::default(),
            behind: Behind::default(),
            due: Notify::new(),
            sending: Lock::default(),
        });
        fairness.configure();
        for source in Source::load(&fairness, &store, world).await? {
            tasks.vital(source.follow(store.clone(), world.clone()));
        }
        tasks.vital(fairness.clone().tend());
        Ok(fairness)
    }

    /// The schema that a request belongs to; None for one that runs long and is no watch: it takes no seats.
    pub fn classify(&self, user: &User, asked: &Attributes) -> Option<Arc<Schema>> {
        let connects = ["attach", "exec", "log", "portforward", "proxy"];
        if asked.verb != "watch" && connects.contains(&&*asked.subresource) {
            return None;
        }
        let table = self.table.read();
        let found = table.schemas.iter().find(|schema| schema.spec.matches(user, asked));
        // The last one is for everybody; who is nobody at all is in no group.
        found.or(table.schemas.last()).cloned()
    }

    /// Takes seats, or waits for them: a fourth of the time that the request may take. None for whoever has no schema.
    ///
    /// # Errors
    /// The answer for somebody who gets none.
    pub async fn enter(
        self: &Arc<Self>,
        schema: &Option<Arc<Schema>>,
        asked: Asked<'_>,
        timeout: Option<Duration>,
    ) -> Result<Option<Seat>, Box<Answer>> {
        let Some(schema) = schema else { return Ok(None) };
        let widest = schema.level.widest.load(Relaxed);
        let size = || self.store.size(&storage(asked.attributes));
        let (work, watches) =
            estimate::estimate(asked.attributes, asked.query, &self.watches, widest, size);
        schema.tally.seats.add(f64::from(work.seats()));
        if let Some(watches) = watches {
            schema.tally.watches.add(watches as f64);
        }
        let within = timeout.unwrap_or(REQUEST_TIME).min(REQUEST_TIME) / 4;
        let seat = seat::take(self, schema, asked, work, within).await.map_err(refusal)?;
        if !schema.level.exempt && self.behind.asks() {
            let began = self.world.uptime();
            tokio::task::yield_now().await;
            self.behind.note(self.world.uptime() - began);
        }
        Ok(Some(seat))
    }

    /// Counts a watch for the cost of writes, until what comes back is dropped.
    pub fn watching(&self, asked: &Attributes) -> Option<Watching> {
        self.watches.begin(asked)
    }

    /// The seats of an answer that is made while it is sent: until it is, or has had its time.
    pub fn sending(&self, seat: Seat) -> Arc<Held> {
        let held = Arc::new(Held::new(Some(seat)));
        let until = self.world.uptime() + SENDING_TIME;
        self.sending.lock().push((until, Arc::downgrade(&held)));
        held
    }

    /// How many reads and writes run now.
    pub fn running(&self) -> [i64; 2] {
        self.running.each_ref().map(|it| it.load(Relaxed))
    }

    fn second(&self) -> u64 {
        self.world.uptime().as_secs()
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().clone()
    }

    /// What time brings: seats that are free again, seats that are lent.
    async fn tend(self: Arc<Self>) {
        let mut adjust = self.world.uptime() + ADJUST_EVERY;
        loop {
            let table = self.table();
            let now = self.world.uptime();
            let next = table.levels.iter().filter_map(|level| level.advance(now)).min();
            let sleep = self.world.sleep_until(next.map_or(adjust, |next| next.min(adjust)));
            tokio::select! {
                () = sleep => {}
                () = self.due.notified() => {}
            }
            let now = self.world.uptime();
            if now >= adjust {
                adjust = now + ADJUST_EVERY;
                self.adjust(now);
                if table.levels.iter().any(|level| level.with(|state| state.ended())) {
                    self.configure();
                }
                self.sending.lock().retain(|(until, held)| match held.upgrade() {
                    Some(held) if *until <= now => held.take().is_none(),
                    held => held.is_some(),
                });
            }
        }
    }
}

/// The first part of the keys of what is asked for.
fn storage(asked: &Attributes) -> String {
    match &*asked.group {
        "" => asked.resource.clone(),
        group => format!("{}.{group}", asked.resource),
    }
}

/// Tells the caller which schema and which level its request was matched to; by UID, so that names stay the
/// administrator's.
pub fn mark(schema: &Schema, headers: &mut HeaderMap) {
    headers.insert(LEVEL, schema.level_uid.clone());
    headers.insert(SCHEMA, schema.uid.clone());
}

/// The refusal is no Status: it costs as little as can be.
fn refusal(after_s: u64) -> Box<Answer> {
    let text = "Too many requests, please try again later.\n";
    let mut answer = Answer::text(http::StatusCode::TOO_MANY_REQUESTS, text);
    answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer.headers.insert(RETRY_AFTER, HeaderValue::from(after_s));
    Box::new(answer)
}

/// Whether the processors are behind. A request that never waits for anything takes its seats and gives them back in
/// one go, so that seats would never be scarce while work piles up before the processors: then it lets the others go
/// first, seats in hand, and what is too much finds none.
#[derive(Default)]
struct Behind {
    yes: AtomicBool,
    asked: AtomicU32,
}

impl Behind {
    fn asks(&self) -> bool {
        self.yes.load(Relaxed) || self.asked.fetch_add(1, Relaxed).is_multiple_of(SAMPLE)
    }

    fn note(&self, waited: Duration) {
        if waited >= BEHIND {
            self.yes.store(true, Relaxed);
        } else if waited < BEHIND / 5 {
            self.yes.store(false, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
