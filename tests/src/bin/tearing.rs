//! Power cuts without a VM: a Skiff whose data folder is on a file system that loses what was not made durable
//! ([`skiff_tests::tearing`]). `tearing --times N --seed N`; `cargo xtask powercut --fuse` builds and runs it.
//!
//! In each round a new machine starts a Skiff on the disk that the last cut left, holds what is there against what was
//! promised, and writes until the power goes again: at a request of the file system that the seed draws, while it
//! starts or under load. In one round of eight a sync fails before that; one of six begins with an empty disk.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use skiff_tests::cluster::Cluster;
use skiff_tests::load::{self, Load};
use skiff_tests::promises::Promises;
use skiff_tests::random::Random;
use skiff_tests::tearing::{Disk, door};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Workers that write side by side.
const WORKERS: u32 = 4;
/// One cut of so many comes while Skiff starts.
const STARTS: u64 = 4;
/// In one round of so many a sync fails.
const FAILS: u64 = 8;
/// One round of so many begins with an empty disk.
const EMPTY: u64 = 6;
/// A cut while it starts comes at one of so many changes: a first start asks for about as many, later ones for fewer.
const FIRST_MOST: u64 = 1400;
const START_MOST: u64 = 80;
/// Changes under load before a cut, at most: four make an acknowledged write.
const LOAD_MOST: u64 = 800;
/// So many questions without an answer mean that nobody is there.
const SILENT: u32 = 40;

#[derive(Parser)]
struct Words {
    /// How often the power is cut.
    #[arg(long, default_value_t = 1000)]
    times: u64,
    /// What draws the moments and the losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The disk lies about its syncs after the first cut: this has to fail, or the bench sees nothing.
    #[arg(long)]
    lying: bool,
}

fn main() -> Result<()> {
    let words = Words::parse();
    let mut bench = Bench::default();
    for cut in 1..=words.times {
        let seed = words.seed.wrapping_add(cut);
        let at = bench.round(seed, true).with_context(|| format!("cut {cut} (seed {seed})"))?;
        let request = bench.disk().requests();
        if words.lying {
            bench.disk().lie();
        }
        println!(
            "ok cut {cut} of {} (seed {seed}) {at}, request {request}: {}",
            words.times, bench.promises
        );
    }
    bench.round(words.seed, false).context("after the last cut")?;
    let acknowledged = bench.acknowledged + bench.promises.acknowledged();
    println!("ok {} cuts, 0 of {acknowledged} acknowledged writes lost", words.times);
    Ok(())
}

#[derive(Default)]
struct Bench {
    disk: Arc<Mutex<Disk>>,
    promises: Promises,
    /// Writes that were acknowledged on former disks.
    acknowledged: u64,
}

impl Bench {
    fn disk(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.disk.lock().expect("no request panics")
    }

    /// One machine; when the power went.
    fn round(&mut self, seed: u64, ends: bool) -> Result<&'static str> {
        let mut random = Random::of(seed);
        let empty = ends && random.below(EMPTY) == 0;
        if empty {
            self.acknowledged += self.promises.acknowledged();
            (self.disk, self.promises) = Default::default();
        }
        let folder = std::env::temp_dir().join(format!("skiff-tearing-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mounted = door::mount(&self.disk, &folder).context("mount the disk (fuse)")?;
        let early = ends && random.below(if empty { 2 } else { STARTS }) == 0;
        if early {
            let most = if empty { FIRST_MOST } else { START_MOST };
            self.disk().cut_after(random.below(most));
        }
        let done = self.live(&folder, early, ends, &mut random);
        // The disk is in memory: what the daemon wrote into its log goes with it.
        let log = std::fs::read_to_string(folder.join("skiff/logs/skiff.log"));
        mounted.umount_and_join().context("unmount the disk")?;
        std::fs::remove_dir(&folder).context("remove the mount point")?;
        let at = done.with_context(|| format!("the daemon's log: {}", log.unwrap_or_default()))?;
        self.promises.cut(0);
        self.disk().power_on(&mut random);
        Ok(at)
    }

    /// From `up` to the cut. The machine is gone when it returns.
    fn live(
        &mut self,
        folder: &Path,
        early: bool,
        ends: bool,
        random: &mut Random,
    ) -> Result<&'static str> {
        let data = folder.join("skiff").display().to_string();
        let c = Cluster::empty("tearing");
        let up = c.skiff_answers(&["up", "--data", &data, "--wait=api", "--timeout", "60"]);
        if self.disk().is_cut() {
            return Ok("while it started");
        }
        ensure!(up.code == 0, "it does not start without a hand: {}{}", up.out, up.err);
        load::hold(&c, &mut self.promises, |_| true)?;
        if !ends {
            return Ok("");
        }
        if !early {
            let mut disk = self.disk();
            let requests = random.below(LOAD_MOST);
            disk.cut_after(requests);
            if random.below(FAILS) == 0 {
                disk.fail_after(random.below(requests));
            }
        }
        let (load, lines) = Load::told(&c, WORKERS, &random.below(u64::MAX).to_string())?;
        let mut unanswered = 0;
        for line in lines {
            let line = line?;
            // Whoever was answered behind the cut was promised nothing.
            let cut = self.disk().is_cut();
            self.promises.hear(&line, u64::from(cut))?;
            if cut {
                drop(load);
                return Ok(if early { "behind its start" } else { "under load" });
            }
            unanswered = if line.ends_with('?') { unanswered + 1 } else { 0 };
            if unanswered > SILENT && self.disk().has_failed() {
                // A daemon that has just started ends when its disk fails, and says so: `up` is for a hand to say.
                drop(load);
                return Ok("behind a sync that failed");
            }
        }
        bail!("the load ended by itself")
    }
}
