//! The follower: what is known of one resource, kept current by a stream of frames. A pure state machine: whoever reads
//! the stream feeds it ([`Input`]), and gets told what changed ([`Outcome`]).
//!
//! It begins with the whole state, follows every change, and after a break goes on from its revision; only when that is
//! gone (410) it begins anew, and then tells what changed meanwhile and nothing else. What is there and cannot be read
//! is set aside: it is kept as it was last known, and its absence means nothing. Who reacts to changes subscribes
//! ([`Subscribers`]); the client feeds it from a watch, the server's own readers from the store.

mod health;
mod subscribe;
#[cfg(test)]
mod tests;

pub use health::{Health, State, figures};
pub use subscribe::{Subscribers, Subscription};

use jiff::Timestamp;
use skiff_base::Backoff;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two tries to begin a stream.
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(10) };
/// A stream that held this long was good: the next failure counts as the first.
const GOOD: Duration = Duration::from_secs(60);

/// One resource: keys of type `K`, and what is known of each object as `T` (cheap to clone).
pub struct Follower<K, T> {
    held: BTreeMap<K, Held<T>>,
    /// What is there and cannot be read, with the whole state that it was last in.
    aside: BTreeMap<K, u64>,
    /// Everything up to this revision was taken.
    revision: u64,
    reading: Reading,
    /// Counts whole states: what carries an older number was not in the newest.
    round: u64,
    failures: u32,
    began: Timestamp,
    health: Health,
}

struct Held<T> {
    revision: u64,
    round: u64,
    object: T,
}

/// What the stream brings now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Nothing yet, or nothing that can be gone on from.
    Nothing,
    /// The objects of a whole state.
    Initial,
    /// What changes.
    Changes,
}

/// Where the next stream has to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With every object that is there, closed by [`Input::Whole`].
    Whole,
    /// With the first change after this revision.
    After(u64),
}

/// What a follower is fed with.
#[derive(Debug)]
pub enum Input<K, T> {
    /// The stream is open.
    Opened,
    /// An object as it is since that revision; `Err`: it is there and cannot be read.
    Put { key: K, revision: u64, object: Result<T, String> },
    /// It went with that revision.
    Gone { key: K, revision: u64 },
    /// Everything up to this revision was sent.
    Progress(u64),
    /// The whole state was sent, as of this revision, but for these, which cannot be read.
    Whole { revision: u64, aside: Vec<K> },
    /// The stream ended as streams do.
    Ended,
    /// It broke, or could not be begun.
    Broke(String),
    /// What follows the revision is not to be had: the whole state is needed.
    Lost(String),
}

/// A change of one object, from how it was last told to how it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<K, T> {
    pub key: K,
    pub old: Option<T>,
    pub new: Option<T>,
}

/// What came of one input.
#[derive(Debug, PartialEq)]
pub struct Outcome<K, T> {
    pub changes: Vec<Change<K, T>>,
    /// Set aside just now.
    pub aside: Vec<K>,
    /// Something is set aside no more: it can be read, or is gone.
    pub mended: bool,
}

impl<K, T> Default for Outcome<K, T> {
    fn default() -> Outcome<K, T> {
        Outcome { changes: Vec::new(), aside: Vec::new(), mended: false }
    }
}

impl<K: Ord + Clone, T: Clone> Default for Follower<K, T> {
    fn default() -> Follower<K, T> {
        let (since, state) = (Timestamp::UNIX_EPOCH, State::Starting);
        let (error, revision, objects, aside, lists, broke) = (None, 0, 0, 0, 0, 0);
        Follower {
            held: BTreeMap::new(),
            aside: BTreeMap::new(),
            revision: 0,
            reading: Reading::Nothing,
            round: 0,
            failures: 0,
            began: since,
            health: Health { state, since, error, revision, objects, aside, lists, broke },
        }
    }
}

impl<K: Ord + Clone, T: Clone> Follower<K, T> {
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&T>
    where
        K: Borrow<Q>,
    {
        self.held.get(key).map(|held| &held.object)
    }

    /// The revision of the change that made an object what it is.
    pub fn revision_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
    {
        self.held.get(key).map(|held| held.revision)
    }

    /// All objects in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.held.iter().map(|(key, held)| (key, &held.object))
    }

    /// Those from this key on.
    pub fn from<'s, Q: Ord + ?Sized>(
        &'s self,
        key: &Q,
    ) -> impl Iterator<Item = (&'s K, &'s T)> + use<'s, K, T, Q>
    where
        K: Borrow<Q>,
    {
        let from = (std::ops::Bound::Included(key), std::ops::Bound::Unbounded);
        self.held.range::<Q, _>(from).map(|(key, held)| (key, &held.object))
    }

    /// What is there and cannot be read, from this key on.
    pub fn aside_from<'s, Q: Ord + ?Sized>(
        &'s self,
        key: &Q,
    ) -> impl Iterator<Item = &'s K> + use<'s, K, T, Q>
    where
        K: Borrow<Q>,
    {
        let from = (std::ops::Bound::Included(key), std::ops::Bound::Unbounded);
        self.aside.range::<Q, _>(from).map(|(key, _)| key)
    }

    pub fn is_aside<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.aside.contains_key(key)
    }

    /// Everything up to this revision was taken; 0 until a whole state was.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn health(&self) -> Health {
        let (objects, aside) = (self.held.len(), self.aside.len());
        Health { revision: self.revision, objects, aside, ..self.health.clone() }
    }

    /// Where the stream that is now begun has to start.
    pub fn start(&mut self, now: Timestamp) -> Start {
        self.began = now;
        if self.reading == Reading::Changes {
            return Start::After(self.revision);
        }
        self.reading = Reading::Initial;
        self.round += 1;
        self.health.lists += 1;
        Start::Whole
    }

    /// How long to wait before that.
    pub fn delay(&self) -> Duration {
        RETRY.delay(self.failures)
    }

    pub fn take(&mut self, input: Input<K, T>, now: Timestamp) -> Outcome<K, T> {
        let mut out = Outcome::default();
        match input {
            Input::Opened if self.reading == Reading::Changes => self.is(State::Live, now),
            Input::Opened => {}
            Input::Put { key, revision, object } => {
                self.put(key, revision, object, &mut out);
                self.advance(revision);
            }
            Input::Gone { key, revision } => {
                self.gone(&key, revision, &mut out);
                self.advance(revision);
            }
            Input::Progress(revision) => self.advance(revision),
            Input::Whole { revision, aside } => {
                if self.reading == Reading::Initial {
                    self.whole(aside, &mut out);
                    self.reading = Reading::Changes;
                    self.is(State::Live, now);
                }
                self.advance(revision.max(1));
            }
            // One that brought nothing is no better than one that broke, and not to be begun again at once.
            Input::Ended if now.duration_since(self.began).as_secs() < 1 => self.failed(now),
            Input::Ended => self.failures = 0,
            Input::Broke(why) => {
                self.failed(now);
                self.broke(why, now);
            }
            Input::Lost(why) => {
                self.reading = Reading::Nothing;
                self.failed(now);
                self.broke(why, now);
            }
        }
        out
    }

    /// Takes in what was read beside the stream: it may be newer than that, and says nothing of other objects. `None`:
    /// it is not there.
    pub fn learn(&mut self, key: K, found: Option<(u64, Result<T, String>)>) -> Outcome<K, T> {
        let mut out = Outcome::default();
        match found {
            Some((revision, object)) => self.put(key, revision, object, &mut out),
            None => self.gone(&key, u64::MAX, &mut out),
        }
        out
    }

    fn put(&mut self, key: K, revision: u64, object: Result<T, String>, out: &mut Outcome<K, T>) {
        let round = self.round;
        let known = self.held.get_mut(&key).map(|held| {
            held.round = round;
            held.revision
        });
        let object = match object {
            Ok(object) => object,
            Err(why) => {
                self.health.error = Some(why);
                return self.set_aside(key, out);
            }
        };
        out.mended |= self.aside.remove(&key).is_some();
        // A whole state brings what is known already, and a stream what was read beside it.
        if known.is_some_and(|known| known >= revision) {
            return;
        }
        let held = Held { revision, round, object: object.clone() };
        let old = self.held.insert(key.clone(), held).map(|held| held.object);
        out.changes.push(Change { key, old, new: Some(object) });
    }

    fn gone(&mut self, key: &K, revision: u64, out: &mut Outcome<K, T>) {
        if self.held.get(key).is_some_and(|held| held.revision > revision) {
            return;
        }
        out.mended |= self.aside.remove(key).is_some();
        if let Some((key, held)) = self.held.remove_entry(key) {
            out.changes.push(Change { key, old: Some(held.object), new: None });
        }
    }

    /// What was not in the whole state is gone, unless it only cannot be read.
    fn whole(&mut self, aside: Vec<K>, out: &mut Outcome<K, T>) {
        let round = self.round;
        aside.into_iter().for_each(|key| self.set_aside(key, out));
        let before = self.aside.len();
        self.aside.retain(|_, seen| *seen == round);
        out.mended |= self.aside.len() < before;
        let kept = &self.aside;
        let gone = |key: &K, held: &mut Held<T>| held.round != round && !kept.contains_key(key);
        let gone = self.held.extract_if(.., gone);
        out.changes.extend(gone.map(|(key, it)| Change { key, old: Some(it.object), new: None }));
    }

    fn set_aside(&mut self, key: K, out: &mut Outcome<K, T>) {
        if self.aside.insert(key.clone(), self.round).is_none() {
            out.aside.push(key);
        }
    }

    fn advance(&mut self, revision: u64) {
        if self.reading == Reading::Changes {
            self.revision = self.revision.max(revision);
        }
    }

    fn failed(&mut self, now: Timestamp) {
        let held = Duration::try_from(now.duration_since(self.began)).unwrap_or_default();
        self.failures = if held >= GOOD { 1 } else { self.failures.saturating_add(1) };
    }

    fn broke(&mut self, why: String, now: Timestamp) {
        self.health.error = Some(why);
        self.health.broke += 1;
        if self.health.state == State::Live {
            self.is(State::Broken, now);
        }
    }

    fn is(&mut self, state: State, now: Timestamp) {
        if self.health.state != state {
            (self.health.state, self.health.since) = (state, now);
        }
    }
}
