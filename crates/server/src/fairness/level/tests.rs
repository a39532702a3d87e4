//! Whole traces of a level on given time: who comes, who runs, who waits, who is refused.

use super::*;
use expect_test::{Expect, expect};
use std::collections::BTreeMap;
use std::fmt::Write;

impl Waits for String {}
impl Waits for usize {}

/// A level, and those who are in it by name.
struct Bench {
    level: Level<String>,
    now: Duration,
    running: BTreeMap<String, Ticket>,
    waiting: BTreeMap<String, Place>,
    out: String,
}

impl Bench {
    fn new(response: Response, limit: u32) -> Bench {
        Bench {
            level: Level::new(response, limit, Duration::ZERO),
            now: Duration::ZERO,
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            out: String::new(),
        }
    }

    /// `NAME in FLOW [SEATS [LAST MS]]`, `NAME out`, `NAME gone`, `at MS`, `limit SEATS`, `reject`, `queues N HAND LENGTH`.
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).map_or(0, |it| it.parse().expect("a number"));
        write!(self.out, "{line}:").expect("a String");
        match words[..] {
            ["at", _] => {
                self.now = Duration::from_millis(number(1));
                self.level.advance(self.now);
            }
            ["limit", _] => self.level.configure(self.now, self.level.response(), number(1) as u32),
            ["reject"] => {
                self.level.configure(self.now, Response::Reject, self.level.limit());
            }
            ["queues", ..] => {
                let [queues, hand, length] = [1, 2, 3].map(|at| number(at) as u32);
                let response = Response::Queue { queues, hand, length };
                self.level.configure(self.now, response, self.level.limit());
            }
            [name, "in", _, ..] => {
                let after = Duration::from_millis(number(5));
                let work = Work { first: number(3).max(1) as u32, last: number(4) as u32, after };
                let arrival = self.level.arrive(self.now, number(2), work, || name.to_owned());
                match arrival {
                    Arrival::Runs(ticket) => {
                        self.running.insert(name.to_owned(), ticket);
                        self.out += " runs";
                    }
                    Arrival::Waits(place) => {
                        self.waiting.insert(name.to_owned(), place);
                        write!(self.out, " waits in {} ({})", place.queue, place.length)
                            .expect("a String");
                    }
                    Arrival::Refused(why) => {
                        self.out += &format!(" {}", Refused::NAMES[why as usize])
                    }
                }
            }
            [name, "out"] => {
                let ticket = self.running.remove(name).expect("it runs");
                self.level.finish(self.now, ticket);
            }
            [name, "gone"] => {
                let place = self.waiting.remove(name).expect("it waits");
                if !self.level.cancel(self.now, place) {
                    self.out += " late";
                }
            }
            _ => panic!("{line}"),
        }
        for (name, ticket) in self.level.woken() {
            write!(self.out, " {name} runs").expect("a String");
            self.waiting.remove(&name);
            self.running.insert(name, ticket);
        }
        let (seats, waiting) = (self.level.seats(), self.level.waiting());
        writeln!(self.out, " [{seats} seats, {waiting} wait]").expect("a String");
        self.check();
    }

    /// What is counted is what is there.
    fn check(&self) {
        let level = &self.level;
        assert_eq!(level.executing, self.running.len());
        assert_eq!(level.waiting, level.queues.iter().map(|it| it.waiting.len()).sum::<usize>());
        let lingering: u32 = level.lingering.iter().map(|Reverse((.., seats))| seats).sum();
        let running: u32 = self.running.values().map(|it| it.work.seats()).sum();
        assert_eq!(level.seats, running + lingering);
        assert_eq!(level.active, level.queues.iter().filter(|it| !it.is_idle()).count());
        assert!(level.queues.iter().all(|it| !it.is_idle() || it.seats > 0));
        assert!(level.queues.is_sorted_by_key(|it| it.index));
    }
}

fn check(response: Response, limit: u32, lines: &str, expected: Expect) {
    let mut bench = Bench::new(response, limit);
    lines.lines().map(str::trim).filter(|it| !it.is_empty()).for_each(|line| bench.line(line));
    expected.assert_eq(&bench.out);
}

const QUEUES: Response = Response::Queue { queues: 4, hand: 1, length: 2 };

#[test]
fn a_level_without_queues_refuses_what_has_no_seat() {
    let lines = "
        a in 0
        b in 0 2
        c in 0
        a out
        c in 0
        d in 0 9
        b out
        c out
        d in 0 9
        e in 0";
    check(
        Response::Reject,
        3,
        lines,
        expect![[r#"
        a in 0: runs [1 seats, 0 wait]
        b in 0 2: runs [3 seats, 0 wait]
        c in 0: concurrency-limit [3 seats, 0 wait]
        a out: [2 seats, 0 wait]
        c in 0: runs [3 seats, 0 wait]
        d in 0 9: concurrency-limit [3 seats, 0 wait]
        b out: [1 seats, 0 wait]
        c out: [0 seats, 0 wait]
        d in 0 9: runs [9 seats, 0 wait]
        e in 0: concurrency-limit [9 seats, 0 wait]
    "#]],
    );
    check(
        Response::Exempt,
        0,
        "a in 0 50\nb in 0 50\na out",
        expect![[r#"
        a in 0 50: runs [50 seats, 0 wait]
        b in 0 50: runs [100 seats, 0 wait]
        a out: [50 seats, 0 wait]
    "#]],
    );
}

#[test]
fn a_queue_takes_so_many_and_no_more() {
    let lines = "
        a in 1
        b in 1
        c in 1
        d in 1
        e in 2
        b gone
        d in 1
        a out
        e out
        at 5
        c out
        d out";
    check(
        QUEUES,
        1,
        lines,
        expect![[r#"
        a in 1: runs [1 seats, 0 wait]
        b in 1: waits in 1 (1) [1 seats, 1 wait]
        c in 1: waits in 1 (2) [1 seats, 2 wait]
        d in 1: queue-full [1 seats, 2 wait]
        e in 2: waits in 2 (1) [1 seats, 3 wait]
        b gone: [1 seats, 2 wait]
        d in 1: waits in 1 (2) [1 seats, 3 wait]
        a out: e runs [1 seats, 2 wait]
        e out: c runs [1 seats, 1 wait]
        at 5: [1 seats, 1 wait]
        c out: d runs [1 seats, 0 wait]
        d out: [0 seats, 0 wait]
    "#]],
    );
}

#[test]
fn flows_take_turns_whatever_one_of_them_sends() {
    let mut lines = "x in 3\n".to_owned();
    for i in 0..6 {
        lines += &format!("a{i} in 1\n");
    }
    lines += "b0 in 2\nb1 in 2\n";
    lines += "at 3\nx out\n";
    for (at, name) in ["a0", "b0", "a1", "b1", "a2"].iter().enumerate() {
        lines += &format!("at {}\n{name} out\n", 6 + 3 * at);
    }
    check(
        Response::Queue { queues: 4, hand: 1, length: 9 },
        1,
        &lines,
        expect![[r#"
        x in 3: runs [1 seats, 0 wait]
        a0 in 1: waits in 1 (1) [1 seats, 1 wait]
        a1 in 1: waits in 1 (2) [1 seats, 2 wait]
        a2 in 1: waits in 1 (3) [1 seats, 3 wait]
        a3 in 1: waits in 1 (4) [1 seats, 4 wait]
        a4 in 1: waits in 1 (5) [1 seats, 5 wait]
        a5 in 1: waits in 1 (6) [1 seats, 6 wait]
        b0 in 2: waits in 2 (1) [1 seats, 7 wait]
        b1 in 2: waits in 2 (2) [1 seats, 8 wait]
        at 3: [1 seats, 8 wait]
        x out: a0 runs [1 seats, 7 wait]
        at 6: [1 seats, 7 wait]
        a0 out: b0 runs [1 seats, 6 wait]
        at 9: [1 seats, 6 wait]
        b0 out: a1 runs [1 seats, 5 wait]
        at 12: [1 seats, 5 wait]
        a1 out: b1 runs [1 seats, 4 wait]
        at 15: [1 seats, 4 wait]
        b1 out: a2 runs [1 seats, 3 wait]
        at 18: [1 seats, 3 wait]
        a2 out: a3 runs [1 seats, 2 wait]
    "#]],
    );
}

#[test]
fn who_ran_longer_than_was_guessed_waits_longer() {
    let lines = "
        a0 in 1
        a1 in 1
        b0 in 2
        b1 in 2
        b2 in 2
        at 300
        a0 out
        at 303
        b0 out
        at 306
        b1 out
        at 309
        b2 out";
    check(
        Response::Queue { queues: 4, hand: 1, length: 9 },
        1,
        lines,
        expect![[r#"
        a0 in 1: runs [1 seats, 0 wait]
        a1 in 1: waits in 1 (1) [1 seats, 1 wait]
        b0 in 2: waits in 2 (1) [1 seats, 2 wait]
        b1 in 2: waits in 2 (2) [1 seats, 3 wait]
        b2 in 2: waits in 2 (3) [1 seats, 4 wait]
        at 300: [1 seats, 4 wait]
        a0 out: b0 runs [1 seats, 3 wait]
        at 303: [1 seats, 3 wait]
        b0 out: b1 runs [1 seats, 2 wait]
        at 306: [1 seats, 2 wait]
        b1 out: b2 runs [1 seats, 1 wait]
        at 309: [1 seats, 1 wait]
        b2 out: a1 runs [1 seats, 0 wait]
    "#]],
    );
}

#[test]
fn a_wide_one_waits_for_room_and_is_not_passed() {
    let lines = "
        a in 1
        b in 1
        wide in 2 3
        c in 1
        at 3
        a out
        b out
        at 6
        wide out
        huge in 3 50
        c out
        d in 1
        huge out";
    check(
        Response::Queue { queues: 4, hand: 1, length: 9 },
        3,
        lines,
        expect![[r#"
        a in 1: runs [1 seats, 0 wait]
        b in 1: runs [2 seats, 0 wait]
        wide in 2 3: waits in 2 (1) [2 seats, 1 wait]
        c in 1: waits in 1 (1) [2 seats, 2 wait]
        at 3: [2 seats, 2 wait]
        a out: [1 seats, 2 wait]
        b out: wide runs [3 seats, 1 wait]
        at 6: [3 seats, 1 wait]
        wide out: c runs [1 seats, 0 wait]
        huge in 3 50: waits in 3 (1) [1 seats, 1 wait]
        c out: huge runs [50 seats, 0 wait]
        d in 1: waits in 1 (1) [50 seats, 1 wait]
        huge out: d runs [1 seats, 0 wait]
    "#]],
    );
}

#[test]
fn seats_linger_after_the_end() {
    let lines = "
        a in 1 1 2 50
        b in 1
        at 10
        a out
        at 59
        at 60
        b out
        w in 1 1 9 20
        w out
        at 79
        at 81
        at 120";
    check(
        QUEUES,
        2,
        lines,
        expect![[r#"
        a in 1 1 2 50: runs [2 seats, 0 wait]
        b in 1: waits in 1 (1) [2 seats, 1 wait]
        at 10: [2 seats, 1 wait]
        a out: [2 seats, 1 wait]
        at 59: [2 seats, 1 wait]
        at 60: b runs [1 seats, 0 wait]
        b out: [0 seats, 0 wait]
        w in 1 1 9 20: runs [9 seats, 0 wait]
        w out: [9 seats, 0 wait]
        at 79: [9 seats, 0 wait]
        at 81: [0 seats, 0 wait]
        at 120: [0 seats, 0 wait]
    "#]],
    );
}

#[test]
fn a_level_that_changes_keeps_who_is_in_it() {
    let lines = "
        a in 3
        b in 3
        c in 3
        queues 2 1 1
        d in 2
        limit 2
        e in 2
        reject
        f in 1
        a out
        b out
        c out
        limit 0
        g in 1
        queues 1 1 1
        h in 0
        limit 1";
    check(
        QUEUES,
        1,
        lines,
        expect![[r#"
        a in 3: runs [1 seats, 0 wait]
        b in 3: waits in 3 (1) [1 seats, 1 wait]
        c in 3: waits in 3 (2) [1 seats, 2 wait]
        queues 2 1 1: [1 seats, 2 wait]
        d in 2: waits in 0 (1) [1 seats, 3 wait]
        limit 2: d runs [2 seats, 2 wait]
        e in 2: waits in 0 (1) [2 seats, 3 wait]
        reject: [2 seats, 3 wait]
        f in 1: concurrency-limit [2 seats, 3 wait]
        a out: b runs [2 seats, 2 wait]
        b out: c runs [2 seats, 1 wait]
        c out: e runs [2 seats, 0 wait]
        limit 0: [2 seats, 0 wait]
        g in 1: concurrency-limit [2 seats, 0 wait]
        queues 1 1 1: [2 seats, 0 wait]
        h in 0: waits in 0 (1) [2 seats, 1 wait]
        limit 1: [2 seats, 1 wait]
    "#]],
    );
}

#[test]
fn a_hand_has_different_cards_and_each_its_turn() {
    let mut hand = [0; 6];
    let mut seen = [0; 128];
    for hash in 0..10_000_u64 {
        let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let cards = deal(hash, 128, &mut hand);
        for (at, card) in cards.iter().enumerate() {
            assert!(!cards[..at].contains(card), "{cards:?}");
            seen[*card as usize] += 1;
        }
    }
    assert!(seen.iter().all(|count| (300..640).contains(count)), "{seen:?}");
    assert_eq!(deal(7, 1, &mut [0; 1]), [0]);
    assert_eq!(deal(5, 4, &mut [0; 4]), [1, 2, 0, 3]);
    let level: Level<usize> =
        Level::new(Response::Queue { queues: 128, hand: 6, length: 50 }, 1, Duration::ZERO);
    assert_eq!(level.choose(u64::MAX, 128, 6), deal(u64::MAX, 128, &mut [0; 6])[0]);
}

#[test]
fn many_flows_share_alike_and_nothing_is_lost() {
    // One flow sends ten times what the others do, at twice of what the level can do.
    let mut level: Level<usize> =
        Level::new(Response::Queue { queues: 64, hand: 6, length: 50 }, 10, Duration::ZERO);
    let flow = |number: usize| (number as u64 + 1).wrapping_mul(0xd134_2543_de82_ef95);
    let mut ends: BinaryHeap<Reverse<(Duration, Number)>> = BinaryHeap::new();
    let (mut ran, mut refused, mut came) = ([0; 6], [0; 6], [0; 6]);
    let service = Duration::from_millis(10);
    for tick in 0..20_000_u64 {
        let now = Duration::from_micros(500 * tick);
        while let Some(Reverse((end, ..))) = ends.peek().copied()
            && end <= now
        {
            let Some(Reverse((end, number))) = ends.pop() else { break };
            level.finish(end, ticket_of(number));
            for (flow, ticket) in level.woken() {
                ran[flow] += 1;
                ends.push(Reverse((end + service, number_of(ticket))));
            }
        }
        let number = if tick % 15 < 10 { 0 } else { 1 + (tick % 5) as usize };
        came[number] += 1;
        match level.arrive(now, flow(number), Work::ONE, || number) {
            Arrival::Runs(ticket) => {
                ran[number] += 1;
                ends.push(Reverse((now + service, number_of(ticket))));
            }
            Arrival::Waits(_) => {}
            Arrival::Refused(_) => refused[number] += 1,
        }
        let woken: Vec<_> = level.woken().collect();
        for (flow, ticket) in woken {
            ran[flow] += 1;
            ends.push(Reverse((now + service, number_of(ticket))));
        }
    }
    assert_eq!(
        came.iter().sum::<u32>() - refused.iter().sum::<u32>(),
        ran.iter().sum::<u32>() + level.waiting() as u32
    );
    expect![[r#"
        came [13335, 1333, 1333, 1333, 1333, 1333]
        ran [3345, 1331, 1331, 1331, 1331, 1331]
        refused [9690, 0, 0, 0, 0, 0]"#]]
    .assert_eq(&format!("came {came:?}\nran {ran:?}\nrefused {refused:?}"));
}

/// Tickets in a heap: as what they are made of.
type Number = (Option<u32>, Duration);

fn number_of(ticket: Ticket) -> Number {
    (ticket.queue, ticket.began)
}

fn ticket_of((queue, began): Number) -> Ticket {
    Ticket { queue, work: Work::ONE, began }
}
