//! `cargo xtask powercut [--fuse] [--times N] [--seed N]`: whether what was acknowledged outlives a power cut.
//!
//! A machine in software (`tests/vm/powercut`) writes and says what was acknowledged; qemu is killed in the middle of
//! it, and with it goes what the guest's kernel had in memory. Of what the guest had sent to its disk, a disk keeps
//! what was flushed, and of the rest whatever it likes ([`writes`]): so the next machine gets such a disk. It has to
//! start without a hand, and hold what was promised ([`promises`]). A seed draws the moment and what the disk lost.

use crate::vm::{Boot, Made, Place, Vm};
use crate::{cargo, finish};
use anyhow::{Context, Result, bail};
use promises::Promises;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

#[path = "../../../tests/src/promises.rs"]
mod promises;
#[path = "../../../tests/src/random.rs"]
mod random;
mod writes;

use random::Random;

const TIMES: u64 = 20;
/// The disk that counts: what Skiff has in its data folder is a twentieth of it.
const DISK_BYTES: u64 = 1 << 30;
/// One cut of so many comes while the machine starts, the others under load.
const STARTS: u64 = 4;
/// A cut under load comes behind so many acknowledgements at most.
const ACKNOWLEDGED_MOST: u64 = 120;
/// A cut while it starts comes so late at most: software emulation takes about as long.
const START_MOST: Duration = Duration::from_secs(20);

pub fn run(arguments: &[String]) -> Result<()> {
    if let Some((_, rest)) = arguments.split_first().filter(|(first, _)| *first == "--fuse") {
        return tearing(rest);
    }
    let mut times = TIMES;
    let mut seed = u64::from(std::process::id());
    for pair in arguments.chunks(2) {
        let number = |text: &String| text.parse().with_context(|| format!("{text:?} is no number"));
        match pair {
            [name, value] if name == "--times" => times = number(value)?,
            [name, value] if name == "--seed" => seed = number(value)?,
            _ => bail!("say `cargo xtask powercut [--fuse] [--times N] [--seed N]`"),
        }
    }
    let place = Place::make("powercut")?;
    place.load(&Made::build()?, &[])?;
    let mut bench = Bench::make(place)?;
    for cut in 1..=times {
        let seed = seed.wrapping_add(cut);
        bench.cut(seed).with_context(|| bench.told(cut, seed))?;
        println!("ok cut {cut} of {times} (seed {seed}): {}", bench.promises);
    }
    bench.last().with_context(|| bench.told(times + 1, seed))?;
    println!("ok {times} cuts, 0 acknowledged writes lost: {}", bench.promises);
    bench.place.remove()
}

/// The same without a machine in software: a file system of ours stands in for the disk.
fn tearing(arguments: &[String]) -> Result<()> {
    cargo::bins()?;
    finish(Command::new("tests/kit/install").args(["packages", "kubectl"]))?;
    let run = ["run", "--quiet", "--locked", "--package", "skiff-tests", "--bin", "tearing", "--"];
    finish(Command::new("cargo").args(run).args(arguments))
}

/// A disk from cut to cut, and what was promised about it.
struct Bench {
    place: Place,
    promises: Promises,
}

impl Bench {
    fn make(place: Place) -> Result<Self> {
        let bench = Self { place, promises: Promises::default() };
        std::fs::File::create(bench.disk())?.set_len(DISK_BYTES)?;
        let mut make = Command::new("mke2fs");
        make.args(["-q", "-F", "-t", "ext4", "-L", "data"]).arg(bench.disk());
        finish(&mut make)?;
        Ok(bench)
    }

    /// One machine, from its start to its end by a cut.
    fn cut(&mut self, seed: u64) -> Result<()> {
        let mut random = Random::of(seed);
        let vm = self.start()?;
        if random.below(STARTS) == 0 {
            self.until(&vm, "mounted")?;
            let most = u64::try_from(START_MOST.as_millis()).context("a time")?;
            if let Some((line, at)) = vm.line_within(Duration::from_millis(random.below(most)))? {
                self.promises.hear(&line, at)?;
            }
        } else {
            self.until(&vm, "loading")?;
            let goal = self.promises.acknowledged() + 1 + random.below(ACKNOWLEDGED_MOST);
            while self.promises.acknowledged() < goal {
                let (line, at) = vm.line()?;
                self.promises.hear(&line, at)?;
            }
        }
        // What it had still said is as good as what was read before.
        for (line, at) in vm.kill()? {
            self.promises.hear(&line, at)?;
        }
        let end = writes::replay(&self.log(), &self.base(), &mut random)?;
        self.promises.cut(end);
        std::fs::rename(self.base(), self.disk()).context("put the disk in its place")
    }

    /// The machine once more, to see what the last cut left.
    fn last(&mut self) -> Result<()> {
        let vm = self.start()?;
        self.until(&vm, "loading")
    }

    /// A machine on the disk, whose writes are noted from now on; a copy stays for [`writes::replay`].
    fn start(&self) -> Result<Vm> {
        let mut copy = Command::new("cp");
        finish(copy.arg("--sparse=always").arg(self.disk()).arg(self.base()))?;
        std::fs::write(self.log(), "")?;
        let data = format!(
            "driver=blklogwrites,log-sector-size=512,file.driver=file,file.filename={},\
             log.driver=file,log.filename={}",
            self.disk().display(),
            self.log().display()
        );
        let disks = [self.place.overlay()?, data];
        let init = Some("/tank/tests/vm/powercut");
        Vm::start(&self.place, &disks, &Boot { init, grows: Some(self.log()) })
    }

    /// Hears what the machine says up to a line.
    fn until(&mut self, vm: &Vm, word: &str) -> Result<()> {
        loop {
            let (line, at) = vm.line()?;
            self.promises.hear(&line, at)?;
            if line == word {
                return Ok(());
            }
        }
    }

    fn told(&self, cut: u64, seed: u64) -> String {
        let place = self.place.file("");
        format!(
            "cut {cut} (seed {seed}); the disks, the log and the console are in {}",
            place.display()
        )
    }

    fn disk(&self) -> PathBuf {
        self.place.file("data.img")
    }

    fn base(&self) -> PathBuf {
        self.place.file("before.img")
    }

    fn log(&self) -> PathBuf {
        self.place.file("writes.log")
    }
}
