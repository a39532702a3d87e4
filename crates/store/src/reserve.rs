//! What is held back on disk for the day it is full.

use skiff_base::Lock;
use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Room for what the WAL has still to move (twice the checkpoint's threshold at most) and for some
/// thousand deletes.
const BYTES: usize = 16 << 20;
/// So much must be free beside the reserve before a full disk counts as well again; else it would
/// be full at the next write.
const HEADROOM_BYTES: usize = 16 << 20;
const NAME: &str = "reserve";

/// The file, and whether it has been given up. One thread at a time makes it or takes it away.
pub(crate) struct Reserve {
    path: PathBuf,
    scarce: AtomicBool,
    /// Held while the file is made or taken away; nobody asks it whether space is scarce.
    making: Lock<()>,
}

impl Reserve {
    pub(crate) fn new(folder: &Path) -> Reserve {
        Reserve { path: folder.join(NAME), scarce: AtomicBool::new(false), making: Lock::new(()) }
    }

    /// It has been given up, and space is scarce until it is back.
    pub(crate) fn scarce(&self) -> bool {
        self.scarce.load(Ordering::Acquire)
    }

    /// Makes it, unless it is there or has been given up.
    pub(crate) fn make(&self) -> Result<()> {
        let _making = self.making.lock();
        if self.scarce() { Ok(()) } else { write(&self.path, 0) }
    }

    /// Takes it away, so that there is space; says whether there was one.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn release(&self) -> Result<bool> {
        let _making = self.making.lock();
        let there = match std::fs::remove_file(&self.path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        self.scarce.store(true, Ordering::Release);
        Ok(there)
    }

    /// Makes it again, if there is room to work beside it.
    ///
    /// # Errors
    /// `StorageFull`, or what else the file system says; then space is still scarce.
    pub(crate) fn restore(&self) -> Result<()> {
        let _making = self.making.lock();
        let written = write(&self.path, HEADROOM_BYTES);
        self.scarce.store(written.is_err(), Ordering::Release);
        written
            .map_err(|error| Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

/// Makes the file if it is not there, provided that there is `headroom` beside it.
fn write(path: &Path, headroom: usize) -> Result<()> {
    let size = BYTES as u64;
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == size) {
        return Ok(());
    }
    // Written, not only sized: a file with holes holds nothing back.
    let piece = vec![0; 1 << 20];
    let mut options = File::options();
    options.create(true).truncate(true).write(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| {
        for _ in 0..(BYTES + headroom) >> 20 {
            file.write_all(&piece)?;
        }
        file.set_len(size)?;
        file.sync_all()
    });
    if written.is_err() {
        // It must not keep half of the last space; if it cannot go, the next try finds it.
        let _ = std::fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_and_goes() {
        let folder = std::env::temp_dir().join(format!("skiff-reserve-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let reserve = Reserve::new(&folder);
        // Whoever comes second finds it whole.
        std::thread::scope(|scope| {
            scope.spawn(|| reserve.make().unwrap());
            reserve.restore().unwrap();
            assert_eq!(std::fs::metadata(&reserve.path).unwrap().len(), BYTES as u64);
        });
        assert!(reserve.release().unwrap());
        assert!(reserve.scarce() && !reserve.path.exists());
        assert!(!reserve.release().unwrap());
        // One that was asked for before it was given up does not take the space again.
        reserve.make().unwrap();
        assert!(!reserve.path.exists());
        reserve.restore().unwrap();
        assert!(!reserve.scarce() && reserve.path.exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
