//! The daemon's log. In the foreground it goes to where the process was told; in the background it is a file that is
//! rotated by size, and whatever else writes to the error output (a panic) lands in the same file.

use skiff_base::Lock;
use skiff_cli::{Mode, Place};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// A part of the log; with the older ones it takes at most four times as much.
const SIZE_MOST: u64 = 10 << 20;
/// Older parts that are kept: `.1` is the newest.
const OLDER: u32 = 3;

/// Begins to log.
pub fn start(level: &str, place: &Place, mode: Mode) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| anyhow::anyhow!("log-level {level:?}: {error}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    match mode {
        Mode::Foreground => log.with_writer(io::stderr).init(),
        Mode::Background => log.with_writer(Rotated::open(place.log())?).init(),
    }
    Ok(())
}

/// The file behind the error output.
#[derive(Clone)]
struct Rotated(Arc<Lock<Part>>);

struct Part {
    path: PathBuf,
    size: u64,
}

impl Rotated {
    fn open(path: PathBuf) -> io::Result<Rotated> {
        let size = put_behind_stderr(&path)?;
        Ok(Rotated(Arc::new(Lock::new(Part { path, size }))))
    }
}

impl Part {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + text.len() as u64 > SIZE_MOST {
            self.rotate()?;
        }
        io::stderr().write_all(text)?;
        self.size += text.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..=OLDER).rev() {
            let from = if number == 1 { self.path.clone() } else { older(&self.path, number - 1) };
            match std::fs::rename(from, older(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.size = put_behind_stderr(&self.path)?;
        Ok(())
    }
}

fn older(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

fn put_behind_stderr(path: &Path) -> io::Result<u64> {
    let file: File = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    rustix::stdio::dup2_stderr(&file)?;
    Ok(file.metadata()?.len())
}

/// A line on its way to the file.
struct Line<'a>(&'a Rotated);

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // A writer that panicked left the size a little wrong at most.
        let mut part = self.0.0.lock();
        part.write(text)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Rotated {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}
