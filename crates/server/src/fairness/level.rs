//! One priority level as a state machine: requests arrive, run on seats, wait in queues, finish (KEP-1040, "Fair
//! queuing for server requests"). Time is given, nothing is asked of a clock; the same calls always end in the same
//! state.
//!
//! A queue is there while it has requests, so that a level costs what is under way and not what it may hold. Fairness
//! is by virtual time: R is how much work each active queue was entitled to since the beginning; a queue's next request
//! begins, in that world, when the work before it is done, and whichever would end first runs next.

use super::demand::Demand;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// How long a request is believed to run before it has run; what it did run is set right when it ends.
const GUESS: Duration = Duration::from_millis(3);
/// Requests that wait in one level, however many queues it is given: each holds a body and a task.
pub const WAITING_MOST: usize = 10_000;
/// The largest hand that 60 bits of hash are enough for, as the checks of the object demand.
const HAND_MOST: usize = 15;

/// Seats times nanoseconds.
pub type SeatNanos = i128;

fn work(seats: u32, time: Duration) -> SeatNanos {
    i128::from(seats) * i128::try_from(time.as_nanos()).unwrap_or(i128::MAX >> 40)
}

/// The seats that a request takes: while it runs, and for a time after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    pub first: u32,
    pub last: u32,
    pub after: Duration,
}

impl Work {
    pub const ONE: Work = Work::of(1);

    pub const fn of(seats: u32) -> Work {
        Work { first: seats, last: 0, after: Duration::ZERO }
    }

    /// What it holds from its start to its end.
    pub fn seats(&self) -> u32 {
        self.first.max(self.last)
    }

    fn total(&self) -> SeatNanos {
        work(self.first, GUESS) + work(self.last, self.after)
    }
}

/// What a level does with those for whom there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Everybody has a seat.
    Exempt,
    Reject,
    Queue {
        queues: u32,
        /// So many of the queues may hold requests of one flow.
        hand: u32,
        length: u32,
    },
}

/// Why a request is refused, as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    ConcurrencyLimit,
    QueueFull,
    TimeOut,
}

impl Refused {
    pub const NAMES: [&str; 3] = ["concurrency-limit", "queue-full", "time-out"];
}

/// What a request that runs holds, and gives back once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// None where there are no queues.
    pub queue: Option<u32>,
    pub work: Work,
    pub began: Duration,
}

/// A place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub queue: u32,
    pub number: u64,
    /// How long the queue is with it.
    pub length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Runs(Ticket),
    Waits(Place),
    Refused(Refused),
}

/// How somebody who waits is called.
pub trait Waits {
    /// It is his turn, and there is no room for all his seats.
    fn passed_over(&self) {}
}

/// A level.
pub struct Level<W> {
    response: Response,
    limit: u32,
    /// The progress of virtual time, up to `seen`.
    progress: SeatNanos,
    seen: Duration,
    /// Those that have requests, by index.
    queues: Vec<Queue<W>>,
    /// Queues that have requests which wait or run: others only linger.
    active: usize,
    /// The queue from which a request ran last.
    robin: u32,
    arrivals: u64,
    executing: usize,
    waiting: usize,
    seats: u32,
    seats_waiting: u32,
    /// Seats that requests hold after their end, and until when.
    lingering: BinaryHeap<Reverse<(Duration, Option<u32>, u32)>>,
    woken: Vec<(W, Ticket)>,
    pub demand: Demand,
    pub counts: Counts,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub dispatched: u64,
    pub rejected: u64,
    pub cancelled: u64,
}

struct Queue<W> {
    index: u32,
    /// When, in virtual time, its next request begins.
    next: SeatNanos,
    executing: usize,
    seats: u32,
    waiting: VecDeque<Waiting<W>>,
    /// What waits in all.
    work: SeatNanos,
}

struct Waiting<W> {
    number: u64,
    work: Work,
    arrived: SeatNanos,
    who: W,
}

impl<W> Queue<W> {
    fn is_idle(&self) -> bool {
        self.executing == 0 && self.waiting.is_empty()
    }

    /// Nobody begins before he has come: a queue that left its share unused has no claim on it.
    fn bound(&mut self) {
        if let Some(head) = self.waiting.front() {
            self.next = self.next.max(head.arrived);
        }
    }
}

/// A queue, as an operator looks at it.
pub struct Shown<'a, W> {
    pub index: u32,
    pub next: SeatNanos,
    pub executing: usize,
    pub seats: u32,
    pub work: SeatNanos,
    pub waiting: Vec<(Work, &'a W)>,
}

impl<W: Waits> Level<W> {
    pub fn new(response: Response, limit: u32, now: Duration) -> Level<W> {
        Level {
            response,
            limit,
            progress: 0,
            seen: now,
            queues: Vec::new(),
            active: 0,
            robin: 0,
            arrivals: 0,
            executing: 0,
            waiting: 0,
            seats: 0,
            seats_waiting: 0,
            lingering: BinaryHeap::new(),
            woken: Vec::new(),
            demand: Demand::new(now),
            counts: Counts::default(),
        }
    }

    /// Queues that are too many now go when they are empty.
    pub fn configure(&mut self, now: Duration, response: Response, limit: u32) {
        self.advance(now);
        (self.response, self.limit) = (response, limit);
        self.dispatch();
    }

    /// A request comes; `who` is asked for when it has to wait.
    pub fn arrive(
        &mut self,
        now: Duration,
        hash: u64,
        work: Work,
        who: impl FnOnce() -> W,
    ) -> Arrival {
        self.advance(now);
        let Response::Queue { queues, hand, length } = self.response else {
            if self.response == Response::Reject && !self.fits(work.seats()) {
                return self.refuse(Refused::ConcurrencyLimit);
            }
            return Arrival::Runs(self.run(None, work));
        };
        let index = self.choose(hash, queues, hand);
        self.arrivals += 1;
        let at = self.queue(index);
        let queue = &mut self.queues[at];
        if self.seats >= self.limit && queue.waiting.len() >= length as usize
            || self.waiting >= WAITING_MOST
        {
            self.leave(at);
            return self.refuse(Refused::QueueFull);
        }
        if queue.is_idle() {
            queue.next = self.progress;
            self.active += 1;
        }
        // Nobody is before it: it need not queue to be told so.
        if self.waiting == 0 && self.seats < self.limit && self.fits(work.seats()) {
            self.queues[at].next = self.queues[at].next.max(self.progress);
            return Arrival::Runs(self.run_from(at, work));
        }
        let queue = &mut self.queues[at];
        let waiting = Waiting { number: self.arrivals, work, arrived: self.progress, who: who() };
        queue.waiting.push_back(waiting);
        queue.work += work.total();
        queue.bound();
        let place = Place { queue: index, number: self.arrivals, length: queue.waiting.len() };
        self.waiting += 1;
        self.seats_waiting += work.seats();
        self.note();
        self.dispatch();
        Arrival::Waits(place)
    }

    /// A request has run.
    pub fn finish(&mut self, now: Duration, ticket: Ticket) {
        self.advance(now);
        let Ticket { queue, work: own, began } = ticket;
        self.executing -= 1;
        if let Some(at) = queue.and_then(|index| self.find(index).ok()) {
            let queue = &mut self.queues[at];
            queue.executing -= 1;
            queue.next -= work(own.first, GUESS) - work(own.first, now.saturating_sub(began));
            queue.bound();
            self.active -= usize::from(queue.is_idle());
        }
        match own.after.is_zero() {
            true => self.release(queue, own.seats()),
            false => self.lingering.push(Reverse((now + own.after, queue, own.seats()))),
        }
        self.dispatch();
    }

    /// Somebody waits no longer; false if he was called already.
    pub fn cancel(&mut self, now: Duration, place: Place) -> bool {
        self.advance(now);
        let Ok(at) = self.find(place.queue) else { return false };
        let queue = &mut self.queues[at];
        let Ok(found) = queue.waiting.binary_search_by_key(&place.number, |it| it.number) else {
            return false;
        };
        let Some(gone) = queue.waiting.remove(found) else { return false };
        queue.work -= gone.work.total();
        queue.bound();
        self.active -= usize::from(queue.is_idle());
        self.waiting -= 1;
        self.seats_waiting -= gone.work.seats();
        self.counts.cancelled += 1;
        self.counts.rejected += 1;
        self.leave(at);
        self.note();
        self.dispatch();
        true
    }

    /// What time brings by itself.
    pub fn advance(&mut self, now: Duration) {
        while let Some(Reverse((until, queue, seats))) = self.lingering.peek().copied()
            && until <= now
        {
            self.lingering.pop();
            self.pass(until);
            self.release(queue, seats);
            self.dispatch();
        }
        self.pass(now);
    }

    /// When somebody who waits may be helped by time alone.
    pub fn next(&self) -> Option<Duration> {
        self.lingering.peek().filter(|_| self.waiting > 0).map(|Reverse((until, ..))| *until)
    }

    /// Those who run now and waited before.
    pub fn woken(&mut self) -> impl Iterator<Item = (W, Ticket)> + '_ {
        self.woken.drain(..)
    }

    pub fn is_idle(&self) -> bool {
        self.executing == 0 && self.waiting == 0
    }

    pub fn executing(&self) -> usize {
        self.executing
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn seats(&self) -> u32 {
        self.seats
    }

    pub fn limit(&self) -> u32 {
        self.limit
    }

    pub fn progress(&self) -> SeatNanos {
        self.progress
    }

    pub fn response(&self) -> Response {
        self.response
    }

    pub fn shown(&self) -> impl Iterator<Item = Shown<'_, W>> {
        self.queues.iter().map(|queue| Shown {
            index: queue.index,
            next: queue.next,
            executing: queue.executing,
            seats: queue.seats,
            work: queue.work,
            waiting: queue.waiting.iter().map(|it| (it.work, &it.who)).collect(),
        })
    }

    /// Virtual time goes as fast as each active queue is served: all seats that are in use, or asked for, or there.
    fn pass(&mut self, now: Duration) {
        let since = now.saturating_sub(self.seen);
        self.seen = self.seen.max(now);
        if let Ok(active @ 1..) = i128::try_from(self.active) {
            let seats = (self.seats + self.seats_waiting).min(self.limit);
            self.progress += work(seats, since) / active;
        }
        self.demand.pass(now);
    }

    fn note(&mut self) {
        self.demand.set(self.seats + self.seats_waiting);
    }

    fn fits(&self, seats: u32) -> bool {
        match self.response {
            Response::Exempt => true,
            // One that is wider than all there is runs alone.
            _ if seats > self.limit => self.executing == 0,
            _ => self.seats + seats <= self.limit,
        }
    }

    fn find(&self, index: u32) -> Result<usize, usize> {
        self.queues.binary_search_by_key(&index, |queue| queue.index)
    }

    fn queue(&mut self, index: u32) -> usize {
        self.find(index).unwrap_or_else(|at| {
            let (next, waiting) = (self.progress, VecDeque::new());
            let queue = Queue { index, next, executing: 0, seats: 0, waiting, work: 0 };
            self.queues.insert(at, queue);
            at
        })
    }

    /// A queue that has nothing any more is none.
    fn leave(&mut self, at: usize) {
        if self.queues[at].is_idle() && self.queues[at].seats == 0 {
            self.queues.remove(at);
        }
    }

    /// Of the hand that the flow is dealt, the queue with the least work; each time begun with another card, so that
    /// flows whose hands overlap are treated alike.
    fn choose(&self, hash: u64, queues: u32, hand: u32) -> u32 {
        let mut cards = [0; HAND_MOST];
        let cards = deal(hash, queues, &mut cards[..(hand as usize).clamp(1, HAND_MOST)]);
        let first = (self.arrivals % cards.len() as u64) as usize;
        if self.waiting == 0 {
            return cards[first];
        }
        let work = |index: &u32| self.find(*index).map_or(0, |at| self.queues[at].work);
        let turned = cards[first..].iter().chain(&cards[..first]).copied();
        turned.min_by_key(work).unwrap_or(cards[first])
    }

    fn dispatch(&mut self) {
        while self.waiting > 0 && self.seats < self.limit && self.dispatch_one() {}
    }

    fn dispatch_one(&mut self) -> bool {
        let begin = self.queues.partition_point(|queue| queue.index <= self.robin);
        let count = self.queues.len();
        let ends = |at: &usize| {
            let queue = &self.queues[*at];
            queue.waiting.front().map(|head| (queue.next + head.work.total(), *at))
        };
        let turned = (0..count).map(|i| (begin + i) % count);
        let earliest = turned.filter_map(|at| ends(&at)).min_by_key(|(end, _)| *end);
        let Some((_, at)) = earliest else { return false };
        let fits = |head: &&Waiting<W>| self.fits(head.work.seats());
        if let Some(head) = self.queues[at].waiting.front().filter(|head| !fits(head)) {
            head.who.passed_over();
            return false;
        }
        let Some(mut head) = self.queues[at].waiting.pop_front() else { return false };
        self.queues[at].work -= head.work.total();
        self.waiting -= 1;
        self.seats_waiting -= head.work.seats();
        // What it holds after its end is the same in all, whatever shape it has.
        if head.work.last > self.limit {
            let all = work(head.work.last, head.work.after);
            let nanos = u64::try_from(all / i128::from(self.limit.max(1))).unwrap_or(u64::MAX);
            (head.work.last, head.work.after) = (self.limit, Duration::from_nanos(nanos));
        }
        let ticket = self.run_from(at, head.work);
        self.queues[at].bound();
        self.woken.push((head.who, ticket));
        true
    }

    fn run_from(&mut self, at: usize, work: Work) -> Ticket {
        let queue = &mut self.queues[at];
        queue.executing += 1;
        queue.seats += work.seats();
        queue.next += work.total();
        let index = queue.index;
        self.robin = index;
        self.run(Some(index), work)
    }

    fn run(&mut self, queue: Option<u32>, work: Work) -> Ticket {
        self.executing += 1;
        self.seats += work.seats();
        self.counts.dispatched += 1;
        self.note();
        Ticket { queue, work, began: self.seen }
    }

    fn release(&mut self, queue: Option<u32>, seats: u32) {
        self.seats -= seats;
        if let Some(at) = queue.and_then(|index| self.find(index).ok()) {
            self.queues[at].seats -= seats;
            self.leave(at);
        }
        self.note();
    }

    fn refuse(&mut self, why: Refused) -> Arrival {
        self.counts.rejected += 1;
        Arrival::Refused(why)
    }
}

/// Deals different cards of a deck, as the hash says: digits of a mixed radix, each of which counts the cards that are
/// left (KEP-1040, "Shuffle sharding").
fn deal(mut hash: u64, deck: u32, hand: &mut [u32]) -> &[u32] {
    let deck = deck.max(1);
    let size = hand.len().min(deck as usize);
    let mut rest = [0; HAND_MOST];
    for i in 0..size {
        let left = u64::from(deck) - i as u64;
        rest[i] = (hash % left) as u32;
        hash /= left;
        let mut card = rest[i];
        for before in rest[..i].iter().rev() {
            card += u32::from(card >= *before);
        }
        hand[i] = card;
    }
    &hand[..size]
}

#[cfg(test)]
mod tests;
