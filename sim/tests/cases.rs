//! The seeds that found something, and a few short ones: none may find anything now, and two runs of one are the
//! same.

use std::process::{Command, Output};

/// A few whole lives of a small cluster: 1,000 virtual seconds would be too long for an ordinary build.
const SHORT: [(u64, u64); 3] = [(1, 150), (2, 150), (3, 150)];

fn run(seed: u64, seconds: u64) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skiff-sim"));
    command.args(["--quiet", "--seed", &seed.to_string(), "--seconds", &seconds.to_string()]);
    command.output().expect("the simulator starts")
}

fn finds_nothing(seed: u64, seconds: u64) -> String {
    let output = run(seed, seconds);
    let told = String::from_utf8(output.stdout).expect("lines are text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {seed} of {seconds} s: {told}{errors}");
    told
}

#[test]
fn cases_find_nothing_any_more() {
    let cases = include_str!("../cases.txt").lines().filter(|line| !line.starts_with('#'));
    for case in cases {
        let mut words = case.split_whitespace().map(str::parse);
        let (Some(Ok(seed)), Some(Ok(seconds))) = (words.next(), words.next()) else {
            panic!("{case:?} does not begin with a seed and its seconds")
        };
        finds_nothing(seed, seconds);
    }
}

#[test]
fn short_runs_find_nothing_and_repeat_themselves() {
    for (seed, seconds) in SHORT {
        assert_eq!(finds_nothing(seed, seconds), finds_nothing(seed, seconds));
    }
}
