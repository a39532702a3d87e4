//! `skiff-sim --seed N [--seeds K] [--seconds S] [--calm] [--twice] [--log FILTER]`: runs of the simulator. One seed
//! is told line by line; of many each is one line, and what was found. Each runs in a process of its own: one that
//! hangs or dies stops no other, and nothing of one run is left for the next.

use anyhow::{Context, Result, bail, ensure};
use skiff_sim::{Faulty, Outcome, Run, run};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const USAGE: &str =
    "skiff-sim --seed N [--seeds K] [--seconds S] [--calm] [--twice] [--log FILTER]";
/// A run's length when nobody says otherwise.
const SECONDS: u64 = 1000;
/// How a run that found something ends.
const FOUND: i32 = 3;

struct Words {
    seed: u64,
    seeds: u64,
    seconds: u64,
    log: Option<String>,
    faults: Faulty,
    /// Each seed runs twice, and both runs must be the same.
    twice: bool,
    /// Only the last lines are told.
    quiet: bool,
}

impl Words {
    fn read() -> Result<Words> {
        let mut all = std::env::args().skip(1);
        let mut words = Words {
            seed: 1,
            seeds: 1,
            seconds: SECONDS,
            log: None,
            faults: Faulty::Yes,
            twice: false,
            quiet: false,
        };
        while let Some(word) = all.next() {
            let mut number = || -> Result<u64> {
                all.next().and_then(|number| number.parse().ok()).context(USAGE)
            };
            match &*word {
                "--seed" => words.seed = number()?,
                "--seeds" => words.seeds = number()?,
                "--seconds" => words.seconds = number()?,
                "--calm" => words.faults = Faulty::No,
                "--twice" => words.twice = true,
                "--quiet" => words.quiet = true,
                "--log" => words.log = Some(all.next().context(USAGE)?),
                _ => bail!("{USAGE}"),
            }
        }
        Ok(words)
    }
}

fn main() -> Result<()> {
    let words = Words::read()?;
    if words.seeds == 1 && !words.twice {
        std::process::exit(if alone(&words) { 0 } else { FOUND });
    }
    let (next, failed) = (AtomicU64::new(words.seed), AtomicU64::new(0));
    let end = words.seed.saturating_add(words.seeds);
    let threads = std::thread::available_parallelism().context("counting processors")?.get();
    let work = || -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(());
            }
            if !in_a_process(&words, seed)? {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(worked) => worked,
            Err(_) => bail!("a thread panicked"),
        })
    })?;
    let failed = failed.into_inner();
    ensure!(failed == 0, "{failed} of {} seeds found something", words.seeds);
    Ok(())
}

/// Runs a seed in this process; whether it found nothing.
fn alone(words: &Words) -> bool {
    if let Some(filter) = &words.log {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        let lines = tracing_subscriber::fmt().with_env_filter(filter).without_time();
        lines.with_ansi(false).init();
    }
    let (seed, span) = (words.seed, Duration::from_secs(words.seconds));
    let wanted = Run { seed, span, loud: !words.quiet, faults: words.faults };
    let Outcome { digest, violations, record } = run(wanted);
    let writes = record.log.len();
    for violation in &violations {
        println!("seed {seed} FOUND {violation}");
    }
    println!("seed {seed} digest {digest:016x} writes {writes} found {}", violations.len());
    violations.is_empty()
}

/// Runs a seed in a process of its own; whether it found nothing.
fn in_a_process(words: &Words, seed: u64) -> Result<bool> {
    let run = || -> Result<(bool, String)> {
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.args(["--quiet", "--seed", &seed.to_string()]);
        command.args(["--seconds", &words.seconds.to_string()]);
        if words.faults == Faulty::No {
            command.arg("--calm");
        }
        let output = command.output().context("starting a run")?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() && output.status.code() != Some(FOUND) {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Ok((false, format!("{told}seed {seed} FOUND {}: {why}", output.status)));
        }
        Ok((output.status.success(), told))
    };
    let (well, told) = run()?;
    println!("{}", told.trim_end());
    if words.twice {
        let (_, again) = run()?;
        if told != again {
            println!(
                "seed {seed} FOUND determinism: another run of it was another: {}",
                again.trim_end()
            );
            return Ok(false);
        }
    }
    Ok(well)
}
