//! Cases of the follower: what the stream brings, line by line, and what comes of it.

use super::*;
use expect_test::{Expect, expect};

/// `put a 3 x` (or `put a 3 !` for what cannot be read), `gone a 4`, `at 5`, `whole 5 b,c`, `open`, `end`, `broke`,
/// `lost`, `start`, `learn a 3 x`, `learn a -`; `+N` lets N seconds pass.
fn run(script: &str) -> (Follower<String, String>, String) {
    let (mut follower, mut text) = (Follower::default(), String::new());
    let mut now = Timestamp::UNIX_EPOCH;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse().expect("a number");
        let object = |at: usize| match words[at] {
            "!" => Err("it is no object".to_owned()),
            text => Ok(text.to_owned()),
        };
        let key = || words[1].to_owned();
        let input = match words[0] {
            "start" => {
                let start = follower.start(now);
                text += &format!("{line}: {start:?} after {:?}\n", follower.delay());
                continue;
            }
            seconds if seconds.starts_with('+') => {
                now += Duration::from_secs(seconds[1..].parse().expect("a number"));
                continue;
            }
            "learn" => {
                let found = (words[2] != "-").then(|| (number(2), object(3)));
                let out = follower.learn(key(), found);
                text += &format!("{line}: {}\n", told(&out));
                continue;
            }
            "put" => Input::Put { key: key(), revision: number(2), object: object(3) },
            "gone" => Input::Gone { key: key(), revision: number(2) },
            "at" => Input::Progress(number(1)),
            "whole" => {
                let aside = words.get(2).map(|list| list.split(',').map(str::to_owned).collect());
                Input::Whole { revision: number(1), aside: aside.unwrap_or_default() }
            }
            "open" => Input::Opened,
            "end" => Input::Ended,
            "broke" => Input::Broke("no way".into()),
            "lost" => Input::Lost("too old".into()),
            other => panic!("{other} is no input"),
        };
        let out = follower.take(input, now);
        text += &format!("{line}: {}\n", told(&out));
    }
    let held: Vec<String> =
        follower.iter().map(|(key, object)| format!("{key}={object}")).collect();
    let health = follower.health();
    text += &format!(
        "= {} at {}, {} since {}, aside {}, lists {}, broke {} ({})\n",
        held.join(" "),
        health.revision,
        health.state.name(),
        health.since.as_second(),
        health.aside,
        health.lists,
        health.broke,
        health.error.as_deref().unwrap_or("-"),
    );
    (follower, text)
}

fn told(out: &Outcome<String, String>) -> String {
    let show = |it: &Option<String>| it.clone().unwrap_or_else(|| "-".into());
    let change =
        |it: &Change<String, String>| format!("{} {}>{}", it.key, show(&it.old), show(&it.new));
    let mut all: Vec<String> = out.changes.iter().map(change).collect();
    all.extend(out.aside.iter().map(|key| format!("aside {key}")));
    all.extend(out.mended.then(|| "mended".to_owned()));
    if all.is_empty() { "nothing".into() } else { all.join(", ") }
}

fn check(script: &str, expected: Expect) {
    expected.assert_eq(&run(script).1);
}

#[test]
fn a_break_is_gone_on_from_and_only_what_is_lost_is_read_anew() {
    check(
        "start
        put a 3 x
        put b 4 y
        whole 5
        put a 6 z
        at 9
        +100
        end
        start
        open
        gone b 10
        +1
        broke
        start
        broke
        start
        open
        put c 11 w
        lost
        start
        put a 6 z
        put d 12 v
        whole 13",
        expect![[r#"
            start: Whole after 0ns
            put a 3 x: a ->x
            put b 4 y: b ->y
            whole 5: nothing
            put a 6 z: a x>z
            at 9: nothing
            end: nothing
            start: After(9) after 0ns
            open: nothing
            gone b 10: b y>-
            broke: nothing
            start: After(10) after 100ms
            broke: nothing
            start: After(10) after 200ms
            open: nothing
            put c 11 w: c ->w
            lost: nothing
            start: Whole after 400ms
            put a 6 z: nothing
            put d 12 v: d ->v
            whole 13: c w>-
            = a=z d=v at 13, live since 101, aside 0, lists 2, broke 3 (too old)
        "#]],
    );
}

#[test]
fn a_first_state_that_breaks_off_is_no_state() {
    check(
        "start
        put a 3 x
        broke
        start
        put b 4 y
        whole 5",
        expect![[r#"
            start: Whole after 0ns
            put a 3 x: a ->x
            broke: nothing
            start: Whole after 100ms
            put b 4 y: b ->y
            whole 5: a x>-
            = b=y at 5, live since 0, aside 0, lists 2, broke 1 (no way)
        "#]],
    );
}

#[test]
fn what_cannot_be_read_stays_as_it_was_last_known() {
    check(
        "start
        put a 3 x
        put b 3 y
        whole 5 c
        put a 6 !
        put d 7 !
        lost
        start
        put b 3 y
        put a 6 !
        whole 8 c
        put a 9 z
        gone d 10
        gone c 11",
        expect![[r#"
            start: Whole after 0ns
            put a 3 x: a ->x
            put b 3 y: b ->y
            whole 5 c: aside c
            put a 6 !: aside a
            put d 7 !: aside d
            lost: nothing
            start: Whole after 100ms
            put b 3 y: nothing
            put a 6 !: nothing
            whole 8 c: mended
            put a 9 z: a x>z, mended
            gone d 10: nothing
            gone c 11: mended
            = a=z b=y at 11, live since 0, aside 0, lists 2, broke 1 (it is no object)
        "#]],
    );
}

#[test]
fn what_was_read_beside_the_stream_is_not_told_again() {
    check(
        "start
        put a 3 x
        whole 5
        learn a 8 y
        put a 6 w
        gone a 7
        put a 8 y
        learn b 9 v
        at 8
        learn b -
        learn a 12 !",
        expect![[r#"
            start: Whole after 0ns
            put a 3 x: a ->x
            whole 5: nothing
            learn a 8 y: a x>y
            put a 6 w: nothing
            gone a 7: nothing
            put a 8 y: nothing
            learn b 9 v: b ->v
            at 8: nothing
            learn b -: b v>-
            learn a 12 !: aside a
            = a=y at 8, live since 0, aside 1, lists 1, broke 0 (it is no object)
        "#]],
    );
}

#[test]
fn a_stream_that_ends_at_once_is_not_begun_again_at_once() {
    check(
        "start
        whole 5
        end
        start
        end
        start
        +2
        end
        start",
        expect![[r#"
            start: Whole after 0ns
            whole 5: nothing
            end: nothing
            start: After(5) after 100ms
            end: nothing
            start: After(5) after 200ms
            end: nothing
            start: After(5) after 0ns
            =  at 5, live since 0, aside 0, lists 1, broke 0 (-)
        "#]],
    );
}

fn change(key: &str, old: Option<u8>, new: Option<u8>) -> Change<String, u8> {
    Change { key: key.into(), old, new }
}

#[tokio::test]
async fn a_slow_subscriber_has_each_object_once_and_holds_nobody_up() {
    let subscribers = Subscribers::default();
    let mut slow = subscribers.subscribe(|| vec![change("a", None, Some(1))]);
    let mut quick = subscribers.subscribe(Vec::new);
    assert_eq!(slow.next().await, change("a", None, Some(1)));
    for number in 1..200 {
        subscribers.telling().tell(&change("a", Some(number), Some(number + 1)));
        assert_eq!(quick.take(), Some(change("a", Some(number), Some(number + 1))));
    }
    subscribers.telling().tell(&change("b", None, Some(7)));
    subscribers.telling().tell(&change("b", Some(7), None));
    assert_eq!((slow.len(), quick.len()), (2, 1));
    assert_eq!(slow.next().await, change("a", Some(1), Some(200)));
    assert_eq!(slow.take(), None, "b came and went unheard");
    assert_eq!(subscribers.count(), 2);
    drop(slow);
    assert_eq!(subscribers.count(), 1, "the one that ended is told no more");
}
