//! The driver: seeds, mutations, bounds. `skiff-fuzz TARGET SECONDS`, or `skiff-fuzz TARGET FILE` to run one input.
//!
//! An input whose answer was not seen before joins the pool that others are made of.

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, setrlimit};
use skiff_fuzz::targets::{TARGETS, Target};
use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The address space of one target's process: a memory bomb ends it.
const MEMORY_MOST: u64 = 1 << 30;
/// Of one input, in a debug build: what grows faster than its input goes beyond it.
const PATIENCE: Duration = Duration::from_secs(5);
const INPUT_MOST: usize = 1 << 20;
const POOL_MOST: usize = 4096;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["list"] {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        return Ok(());
    }
    let [name, what] = &arguments[..] else { bail!("skiff-fuzz TARGET SECONDS|FILE") };
    let target = TARGETS.iter().find(|target| target.name == name).with_context(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        format!("no target {name:?}; there are {}", names.join(", "))
    })?;
    let limit = Rlimit { current: Some(MEMORY_MOST), maximum: Some(MEMORY_MOST) };
    setrlimit(Resource::As, limit).context("bound the memory")?;
    let Ok(seconds) = what.parse() else {
        println!("{}", (target.run)(&std::fs::read(what)?));
        return Ok(());
    };
    let seed = std::env::var("SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
    std::fs::create_dir_all(&folder)?;
    let input = folder.join(format!("{name}.input"));
    fuzz(target, Duration::from_secs(seconds), seed, &input)?;
    std::fs::remove_file(&input).context("no input is left behind that did no harm")
}

fn fuzz(target: &Target, time: Duration, seed: u64, file: &PathBuf) -> Result<()> {
    let kept = std::fs::File::create(file)?;
    let (begun, mut dice) = (Instant::now(), Dice(seed));
    let mut pool = (target.seeds)();
    let (mut seen, mut runs) = (HashSet::new(), 0u64);
    let running = Arc::new(AtomicU64::new(0));
    watch(begun, running.clone(), file.clone());
    while begun.elapsed() < time {
        // Every seed runs as it is, then mutated ones.
        let input = match pool.get(runs as usize) {
            Some(seed) if seen.len() < POOL_MOST && runs < pool.len() as u64 => seed.clone(),
            _ => dice.mutate(&pool),
        };
        kept.set_len(input.len() as u64)?;
        kept.write_all_at(&input, 0)?;
        running.store(begun.elapsed().as_millis() as u64 + 1, Ordering::SeqCst);
        let answer = (target.run)(&input);
        running.store(0, Ordering::SeqCst);
        // Digits are places and lengths, and what stands in quotes is the input: no other answer.
        let words = answer.split('"').step_by(2).flat_map(str::chars);
        let answer: String = words.filter(|c| !c.is_ascii_digit()).take(400).collect();
        if seen.insert(answer) && pool.len() < POOL_MOST && input.len() < 1 << 14 {
            pool.push(input);
        }
        runs += 1;
    }
    println!("{}: {runs} inputs, {} answers, seed {seed}", target.name, seen.len());
    Ok(())
}

/// Ends the process when one input takes too long.
fn watch(begun: Instant, running: Arc<AtomicU64>, file: PathBuf) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(PATIENCE / 10);
            let since = running.load(Ordering::SeqCst);
            if since > 0 && begun.elapsed().as_millis() as u64 > since + PATIENCE.as_millis() as u64
            {
                eprintln!("an input takes longer than {PATIENCE:?}: {}", file.display());
                std::process::exit(1);
            }
        }
    });
}

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % most.max(1) as u64) as usize
    }

    fn piece<'a>(&mut self, of: &'a [u8]) -> &'a [u8] {
        let start = self.below(of.len());
        let most = if self.below(2) == 0 { 8 } else { of.len() };
        &of[start..][..self.below((of.len() - start).min(most) + 1)]
    }

    fn mutate(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut out = pool[self.below(pool.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(out.len() + 1);
            let end = (at + self.below(9)).min(out.len());
            match self.below(9) {
                0 if at < out.len() => out[at] ^= 1 << self.below(8),
                1 => out.insert(at, self.below(256) as u8),
                2 => drop(out.drain(at..end)),
                3 | 4 => {
                    let other = self.below(pool.len());
                    let piece = self.piece(&pool[other]).to_vec();
                    out.splice(at..end, piece);
                }
                5 => {
                    let piece = self.piece(&out.clone()).to_vec();
                    out.splice(at..at, piece);
                }
                6 if at < out.len() => {
                    out[at] = [0, 0x7f, 0x80, 0xff, b'9', b'{', b'['][self.below(7)]
                }
                // Seldom a piece many times over: what grows faster than its input shows here.
                7 if self.below(100) == 0 => {
                    let piece = self.piece(&out.clone()).to_vec();
                    let most = INPUT_MOST / piece.len().max(1);
                    out.splice(at..at, piece.repeat(most));
                }
                _ => out.truncate(at.max(1)),
            }
        }
        out.truncate(INPUT_MOST);
        out
    }
}
