//! What a disk may hold after a power cut: by qemu's log of the writes that the guest sent to it.
//!
//! A disk has a cache of its own, that a flush empties. So what was logged before the last flush is there. Of what
//! came after it each write is there, is not, or is there in part: a disk keeps sectors whole, in no order.
//! The log is that of dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst of Linux): a sector that
//! tells of the log, then for each request a sector with four numbers of 64 bits (sector, sectors, flags, length of
//! data), and behind it what was written.

use super::random::Random;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Of both the log and the disk.
const SECTOR: u64 = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1 << 0;
const DISCARD: u64 = 1 << 2;

/// One write of the log.
#[derive(Debug, PartialEq, Eq)]
struct Write {
    /// Where it goes on the disk, in bytes.
    to: u64,
    /// Where its data lie in the log, in bytes.
    from: u64,
    bytes: u64,
}

/// What was found in a log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Log {
    /// Writes that a flush came after.
    flushed: Vec<Write>,
    /// The others.
    cached: Vec<Write>,
    /// Where it ends, in bytes: what was being logged when qemu ended is not part of it.
    end: u64,
}

/// Makes a disk of what it was before (`disk`) and of the writes that came since. Where the log ended, in bytes:
/// whoever was answered when the log was no longer than that was answered before the cut.
pub fn replay(log: &Path, disk: &Path, random: &mut Random) -> Result<u64> {
    let source = File::open(log).with_context(|| format!("open {}", log.display()))?;
    let length = source.metadata()?.len();
    let target = File::options().write(true).open(disk);
    let target = target.with_context(|| format!("open {}", disk.display()))?;
    let found = read(&source, length, target.metadata()?.len())?;
    let put = |from: u64, to: u64, bytes: u64| -> Result<()> {
        let mut data = vec![0; usize::try_from(bytes)?];
        source.read_exact_at(&mut data, from).context("read the log")?;
        target.write_all_at(&data, to).context("write the disk")
    };
    for write in &found.flushed {
        put(write.from, write.to, write.bytes)?;
    }
    for write in &found.cached {
        match random.below(4) {
            0 => {}
            1 => {
                for at in (0..write.bytes).step_by(SECTOR as usize) {
                    if random.below(2) == 0 {
                        put(write.from + at, write.to + at, SECTOR)?;
                    }
                }
            }
            _ => put(write.from, write.to, write.bytes)?,
        }
    }
    Ok(found.end)
}

fn read(log: &File, length: u64, disk: u64) -> Result<Log> {
    let mut found = Log::default();
    if length < SECTOR {
        return Ok(found);
    }
    let word = |at: u64| -> Result<u64> {
        let mut word = [0; 8];
        log.read_exact_at(&mut word, at).context("read the log")?;
        Ok(u64::from_le_bytes(word))
    };
    // Before the first flush it may not be written yet.
    let magic = word(0)?;
    ensure!(magic == MAGIC || magic == 0, "this is no log of writes ({magic:#x})");
    let mut at = SECTOR;
    while at + SECTOR <= length {
        let (sector, sectors, flags) = (word(at)?, word(at + 8)?, word(at + 16)?);
        // Its place was taken, and it was not written: it was on its way when qemu ended.
        if sectors == 0 && flags == 0 {
            break;
        }
        let data = if flags & DISCARD == 0 { sectors * SECTOR } else { 0 };
        let next = at + SECTOR + data;
        if next > length {
            break;
        }
        if flags & FLUSH != 0 {
            found.flushed.append(&mut found.cached);
        }
        if data > 0 {
            let to = sector * SECTOR;
            ensure!(to + data <= disk, "the log has a write behind the end of the disk");
            found.cached.push(Write { to, from: at + SECTOR, bytes: data });
        }
        at = next;
    }
    found.end = at;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(words: &[u64]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(SECTOR as usize, 0);
        bytes
    }

    fn entry(to: u64, sectors: u64, flags: u64, fill: u8) -> Vec<u8> {
        let mut bytes = sector(&[to, sectors, flags, 0]);
        bytes.resize((SECTOR + sectors * SECTOR) as usize, fill);
        bytes
    }

    #[test]
    fn what_was_flushed_stays_and_the_rest_may_go() {
        let folder = std::env::temp_dir().join(format!("skiff-writes-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (log, disk) = (folder.join("log"), folder.join("disk"));
        let parts = [
            sector(&[MAGIC, 1, 3, 512]),
            entry(0, 2, 0, 1),
            entry(0, 0, FLUSH, 0),
            entry(4, 64, 0, 2),
            // Half of it is there: it never came to be.
            entry(2, 1, 0, 3)[..600].to_vec(),
        ];
        std::fs::write(&log, parts.concat()).unwrap();
        let end = parts[..4].concat().len() as u64;
        let mut kept = std::collections::BTreeSet::new();
        for seed in 0..40 {
            std::fs::write(&disk, vec![0; 68 * SECTOR as usize]).unwrap();
            assert_eq!(replay(&log, &disk, &mut Random::of(seed)).unwrap(), end);
            let bytes = std::fs::read(&disk).unwrap();
            let sectors: Vec<&[u8]> = bytes.chunks(SECTOR as usize).collect();
            assert!(sectors.iter().all(|it| it.iter().all(|byte| *byte == it[0])), "whole");
            assert_eq!([0, 1, 2, 3].map(|it| sectors[it][0]), [1, 1, 0, 0], "flushed, or nothing");
            kept.insert(sectors[4..].iter().filter(|it| it[0] == 2).count());
        }
        assert!(kept.contains(&0) && kept.contains(&64) && kept.len() > 3, "{kept:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
