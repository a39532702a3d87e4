//! Table: the configuration as requests meet it: schemas in their order, levels with their seats. Made anew whenever an
//! object changes; levels keep who runs and waits in them. One that is gone from the objects stays until it is empty.

use super::demand::Figures;
use super::level::{self, Response, Ticket};
use super::matching::{Named, SchemaSpec};
use super::retry::Retry;
use super::seat::{Caller, Told};
use super::shares::{self, Said, Seats};
use super::tally::Tally;
use super::{Fairness, SEATS};
use crate::authorize::Attributes;
use http::HeaderValue;
use serde::Deserialize;
use skiff_api::wire::User;
use skiff_base::Lock;
use skiff_kinds::flowcontrol::bootstrap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

pub const EXEMPT: &str = "exempt";
const CATCH_ALL: &str = "catch-all";
/// A request takes no more of its level's seats than this.
const WIDEST: f64 = 0.15;

/// An object: its name and UID, and what it says.
#[derive(Debug, PartialEq)]
pub struct Object<T> {
    pub name: String,
    pub uid: String,
    pub spec: T,
}

/// The spec of a PriorityLevelConfiguration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LevelSpec {
    limited: Option<LimitedSpec>,
    exempt: Option<SharesSpec>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SharesSpec {
    nominal_concurrency_shares: u32,
    lendable_percent: u32,
    borrowing_limit_percent: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LimitedSpec {
    #[serde(flatten)]
    shares: SharesSpec,
    limit_response: LimitResponse,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct LimitResponse {
    queuing: Option<Queuing>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Queuing {
    queues: u32,
    hand_size: u32,
    queue_length_limit: u32,
}

impl LevelSpec {
    fn said(&self) -> Said {
        let exempt = self.limited.is_none();
        let own = self.limited.as_ref().map(|it| &it.shares).or(self.exempt.as_ref());
        let SharesSpec { nominal_concurrency_shares, lendable_percent, borrowing_limit_percent } =
            own.cloned().unwrap_or_default();
        Said {
            exempt,
            shares: nominal_concurrency_shares,
            lendable_percent,
            borrowing_percent: borrowing_limit_percent,
        }
    }

    fn response(&self) -> Response {
        match self.limited.as_ref().map(|it| &it.limit_response.queuing) {
            None => Response::Exempt,
            Some(None) => Response::Reject,
            Some(Some(Queuing { queues, hand_size, queue_length_limit })) => {
                Response::Queue { queues: *queues, hand: *hand_size, length: *queue_length_limit }
            }
        }
    }
}

/// Everything that is in force.
#[derive(Default)]
pub struct Table {
    /// In the order in which they are looked at; the last is for everybody.
    pub schemas: Vec<Arc<Schema>>,
    /// By name.
    pub levels: Vec<Arc<Level>>,
    /// What was counted, by level and schema.
    pub tallies: BTreeMap<(Arc<str>, Arc<str>), Arc<Tally>>,
}

/// A flow schema.
pub struct Schema {
    pub name: Arc<str>,
    pub spec: SchemaSpec,
    pub level: Arc<Level>,
    pub tally: Arc<Tally>,
    pub uid: HeaderValue,
    pub level_uid: HeaderValue,
}

impl Schema {
    /// What deals a flow its hand: nothing where there are no queues.
    pub fn hash(&self, user: &User, asked: &Attributes) -> u64 {
        if self.level.widest.load(Relaxed) == 0 {
            return 0;
        }
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let flow = self.spec.flow(&user.name, &asked.namespace);
        for part in [self.name.as_bytes(), &[0], flow.as_bytes()] {
            context.update(part);
        }
        let digest = context.finish();
        digest.as_ref().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

/// A priority level.
pub struct Level {
    pub name: Arc<str>,
    pub exempt: bool,
    /// The most seats of one request; 0 without queues.
    pub widest: AtomicU32,
    state: Lock<State>,
}

pub struct State {
    pub machine: level::Level<Caller>,
    pub running: Running,
    pub said: Said,
    pub seats: Seats,
    pub figures: Figures,
    /// Its object is gone: it ends with its last request.
    pub quiescing: bool,
    retry: Retry,
}

impl State {
    pub fn refuse(&mut self, now_s: u64) -> u64 {
        self.retry.refuse(now_s)
    }

    pub fn ended(&self) -> bool {
        self.quiescing && self.machine.is_idle()
    }
}

/// The requests that run: one slot for each.
#[derive(Default)]
pub struct Running {
    slots: Vec<Option<(Told, Ticket)>>,
    free: Vec<usize>,
}

impl Running {
    pub fn keep(&mut self, told: Told, ticket: Ticket) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some((told, ticket));
        slot
    }

    pub fn forget(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.free.push(slot);
    }

    pub fn iter(&self) -> impl Iterator<Item = &(Told, Ticket)> {
        self.slots.iter().flatten()
    }
}

impl Level {
    fn new(name: &str, response: Response, now: Duration) -> Arc<Level> {
        let state = State {
            machine: level::Level::new(response, 0, now),
            running: Running::default(),
            said: Said::default(),
            seats: Seats::default(),
            figures: Figures::default(),
            quiescing: false,
            retry: Retry::default(),
        };
        Arc::new(Level {
            name: name.into(),
            exempt: response == Response::Exempt,
            widest: AtomicU32::new(0),
            state: Lock::new(state),
        })
    }

    /// Does something with the level, and calls whoever can run then.
    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let outcome = act(&mut state);
        let State { machine, running, .. } = &mut *state;
        for (caller, ticket) in machine.woken() {
            caller.call(ticket, |told| running.keep(told, ticket));
        }
        outcome
    }

    pub fn advance(&self, now: Duration) -> Option<Duration> {
        self.with(|state| {
            state.machine.advance(now);
            state.machine.next()
        })
    }
}

impl Fairness {
    /// Makes the table of what the objects say now.
    pub fn configure(&self) {
        let _making = self.making.lock();
        let (now, old) = (self.world.uptime(), self.table());
        let (mut schemas, mut levels) = self.followed.objects();
        let level_uids: BTreeMap<String, HeaderValue> =
            levels.iter().map(|it| (it.name.clone(), uid(&it.uid))).collect();
        for name in [EXEMPT, CATCH_ALL] {
            if !level_uids.contains_key(name) {
                levels.push(mandatory("PriorityLevelConfiguration", name));
            }
        }
        let mut found: Vec<(Arc<Level>, Option<Arc<Object<LevelSpec>>>)> = Vec::new();
        for object in levels {
            let existing = old.levels.iter().find(|it| *it.name == *object.name).cloned();
            let level =
                existing.unwrap_or_else(|| Level::new(&object.name, object.spec.response(), now));
            found.push((level, Some(object)));
        }
        for level in &old.levels {
            let kept = found.iter().any(|(it, _)| Arc::ptr_eq(it, level));
            if !kept && !level.with(|state| state.machine.is_idle()) {
                found.push((level.clone(), None));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        deal(&found, now);
        let levels: Vec<Arc<Level>> = found.iter().map(|(level, _)| level.clone()).collect();
        let desired = |name: &str| {
            let found =
                found.iter().find(|(level, object)| *level.name == *name && object.is_some());
            found.map(|(level, _)| level.clone())
        };
        schemas.sort_by_key(|it| (it.spec.matching_precedence, it.name.clone()));
        schemas.retain(|it| desired(&it.spec.priority_level_configuration.name).is_some());
        for (name, last) in [(EXEMPT, false), (CATCH_ALL, true)] {
            if !schemas.iter().any(|it| it.name == name) {
                let at = if last { schemas.len() } else { 0 };
                schemas.insert(at, mandatory("FlowSchema", name));
            }
        }
        let mut table = Table { levels, ..Table::default() };
        // What was counted of a schema that is gone is told until the next change, or while a request of it is there.
        let counted = old.tallies.iter().filter(|(_, tally)| Arc::strong_count(tally) > 1);
        table.tallies = counted.map(|(key, tally)| (key.clone(), tally.clone())).collect();
        for object in schemas {
            let Named { name } = &object.spec.priority_level_configuration;
            let Some(level) = desired(name) else { continue };
            let schema: Arc<str> = object.name.as_str().into();
            let key = (level.name.clone(), schema.clone());
            let tally = table.tallies.entry(key).or_default().clone();
            table.schemas.push(Arc::new(Schema {
                name: schema,
                spec: object.spec.clone(),
                tally,
                uid: uid(&object.uid),
                level_uid: level_uids.get(name).cloned().unwrap_or_else(|| uid("")),
                level,
            }));
        }
        *self.table.write() = Arc::new(table);
        self.adjust(now);
    }

    /// Lends seats to those that need them.
    pub fn adjust(&self, now: Duration) {
        let table = self.table();
        let mut all: Vec<(Said, Figures, Seats)> = table
            .levels
            .iter()
            .map(|level| {
                level.with(|state| {
                    state.machine.advance(now);
                    state.machine.demand.settle(now, &mut state.figures);
                    (state.said, state.figures, state.seats)
                })
            })
            .collect();
        let mut lent: Vec<_> =
            all.iter_mut().map(|(said, figures, seats)| (*said, *figures, seats)).collect();
        let fraction = shares::adjust(&mut lent);
        for (level, (.., seats)) in table.levels.iter().zip(&all) {
            level.with(|state| {
                state.seats = *seats;
                let response = state.machine.response();
                state.machine.configure(now, response, seats.current);
            });
        }
        self.fraction.store(fraction.to_bits(), Relaxed);
    }
}

/// Gives each level its shares of all seats.
fn deal(found: &[(Arc<Level>, Option<Arc<Object<LevelSpec>>>)], now: Duration) {
    let mut said = Vec::new();
    for (level, object) in found {
        said.push(match object {
            Some(object) => object.spec.said(),
            None => level.with(|state| state.said),
        });
    }
    let shares = said.iter().map(|said| said.shares).sum();
    for ((level, object), said) in found.iter().zip(said) {
        let mut seats = Seats::of(&said, shares, SEATS);
        level.with(|state| {
            let new = state.seats == Seats::default();
            if !new {
                (seats.current, seats.target) = (state.seats.current, state.seats.target);
            }
            let response = object.as_ref().map(|object| object.spec.response());
            let response = response.unwrap_or(state.machine.response());
            (state.said, state.seats, state.quiescing) = (said, seats, object.is_none());
            state.machine.configure(now, response, seats.current);
            level.widest.store(widest(response, seats.nominal), Relaxed);
        });
    }
}

fn widest(response: Response, nominal: u32) -> u32 {
    let Response::Queue { hand, .. } = response else { return 0 };
    let part = (f64::from(nominal) * WIDEST).ceil() as u32;
    part.min(nominal / hand.max(1)).max(1)
}

fn uid(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""))
}

/// One that is there whether it is stored or not.
fn mandatory<T: serde::de::DeserializeOwned>(kind: &str, name: &str) -> Arc<Object<T>> {
    let spec = bootstrap::spec(kind, name).expect("it has the name");
    let spec = skiff_json::from_value(spec).expect("its spec is one");
    Arc::new(Object { name: name.to_owned(), uid: String::new(), spec })
}
