//! How a chunk of output gets from a container's pipe into its log exactly once, although this
//! process may be killed between any two instructions.
//!
//! Two things survive it: files, and a mapped page of one. A chunk moves in three steps, one chunk
//! of one stream at a time:
//!
//! 1. **Take**: the kernel splices bytes from the pipe to the end of the `intake` file. They leave
//!    the pipe just as far as they have reached the file, so its length says what was taken.
//! 2. **Format**: the lines, the log's present length and the unfinished rest go into the mapped
//!    `journal`; only then does it say [`APPEND`].
//! 3. **Append**: the lines are written to the log, the rest to the stream's own file.
//!
//! Whoever comes next looks: bytes in the intake and no [`APPEND`] mean "format them"; [`APPEND`]
//! means "append what the log, by its length, still lacks". No line is lost, none is doubled.
//! Never here: which containers there are.

use super::format;
use crate::status::Nanos;
use crate::sys;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{Ordering, compiler_fence};

/// Taken from one stream in one turn: its share, however loud it is.
pub(super) const CHUNK: usize = 16 << 10;
/// The intake starts anew beyond this length, so that it costs no disk to speak of.
const INTAKE_LIMIT: u64 = 1 << 20;
/// A chunk of nothing but newlines, after a full carry.
const LINES: usize = CHUNK * (format::OVERHEAD + 1) + 2 * format::MAX_LINE;
const HEADER: usize = 1024;
const CARRY: usize = HEADER;
const PENDING: usize = CARRY + format::MAX_LINE;
const LENGTH: usize = PENDING + LINES;

/// Values of the first byte.
const IDLE: u64 = 0;
const TAKE: u64 = 1;
const APPEND: u64 = 2;

/// Words of the header.
const PHASE: usize = 0;
const CONSUMED: usize = 1;
const LOG_LENGTH: usize = 2;
const LINES_LENGTH: usize = 3;
const CARRY_LENGTH: usize = 4;
const NAME_LENGTH: usize = 5;
/// The name of the stream, `container/stdout`, after them.
const NAME: usize = 64;
const MAX_NAME: usize = 512;

/// The supervisor's one journal.
pub(super) struct Journal {
    intake: File,
    map: &'static mut [u8],
    buffer: Vec<u8>,
    lines: Vec<u8>,
}

/// Where a stream's lines go.
pub(super) trait Sink {
    /// The log, rotated if it is time, and its length; None discards.
    fn log(&mut self) -> io::Result<Option<(&File, u64)>>;
    /// Lines have been appended.
    fn grown(&mut self, by: u64);
    /// The rest of the last chunk.
    fn carry(&self) -> &[u8];
    /// Keeps the rest of this one, on disk too.
    fn keep(&mut self, carry: &[u8]) -> io::Result<()>;
    /// `stdout` or `stderr`.
    fn stream(&self) -> &'static str;
}

/// What a dead supervisor left half-done.
pub(super) struct Unfinished {
    /// `container/stdout`.
    pub name: String,
}

impl Journal {
    pub(super) fn open(folder: &Path) -> io::Result<Journal> {
        let open = |name: &str| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(folder.join(name))
        };
        let (intake, journal) = (open("intake")?, open("journal")?);
        journal.set_len(LENGTH as u64)?;
        let map = sys::map_shared(&journal, LENGTH)?;
        let mut journal = Journal { intake, map, buffer: Vec::new(), lines: Vec::new() };
        // The intake was emptied and the process killed before the journal said so.
        if journal.intake.metadata()?.len() < journal.word(CONSUMED) {
            journal.set(CONSUMED, 0);
        }
        Ok(journal)
    }

    /// The stream whose chunk is neither here nor there, if there is one.
    pub(super) fn unfinished(&mut self) -> io::Result<Option<Unfinished>> {
        let taken = self.intake.metadata()?.len() > self.word(CONSUMED);
        if self.word(PHASE) == IDLE || self.word(PHASE) == TAKE && !taken {
            self.set(PHASE, IDLE);
            return Ok(None);
        }
        let length = (self.word(NAME_LENGTH) as usize).min(MAX_NAME);
        let name = String::from_utf8_lossy(&self.map[NAME..NAME + length]).into_owned();
        Ok(Some(Unfinished { name }))
    }

    /// Brings a dead supervisor's chunk to its end; None if its container is gone.
    pub(super) fn finish(&mut self, sink: Option<&mut dyn Sink>, at: Nanos) -> io::Result<()> {
        let end = self.intake.metadata()?.len();
        let Some(sink) = sink else { return self.done(end) };
        if self.word(PHASE) == TAKE {
            let start = self.word(CONSUMED);
            self.buffer.resize((end - start) as usize, 0);
            self.intake.read_exact_at(&mut self.buffer, start)?;
            return self.deliver(end, sink, at);
        }
        let (carry, lines) = (self.word(CARRY_LENGTH) as usize, self.word(LINES_LENGTH) as usize);
        let before = self.word(LOG_LENGTH);
        if let Some((log, length)) = sink.log()? {
            // A log that has been moved away meanwhile lacks all of it.
            let there = length.checked_sub(before).map_or(0, |n| n as usize).min(lines);
            write_all(log, &self.map[PENDING + there..PENDING + lines])?;
            sink.grown((lines - there) as u64);
        }
        sink.keep(&self.map[CARRY..CARRY + carry])?;
        self.done(end)
    }

    /// Moves one chunk; returns it for those who watch. None: the pipe is empty.
    pub(super) fn pump(
        &mut self,
        pipe: RawFd,
        name: &str,
        sink: &mut dyn Sink,
        at: Nanos,
    ) -> io::Result<Option<&[u8]>> {
        let start = self.word(CONSUMED);
        self.map[NAME..NAME + name.len()].copy_from_slice(name.as_bytes());
        self.set(NAME_LENGTH, name.len() as u64);
        self.set(PHASE, TAKE);
        let taken = sys::splice_to_file(pipe, self.intake.as_raw_fd(), start as i64, CHUNK);
        let taken = match taken {
            Ok(0) => None,
            Ok(n) => Some(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            Err(e) => {
                self.set(PHASE, IDLE);
                return Err(e);
            }
        };
        let Some(taken) = taken else {
            self.set(PHASE, IDLE);
            return Ok(None);
        };
        self.buffer.resize(taken, 0);
        self.intake.read_exact_at(&mut self.buffer, start)?;
        self.deliver(start + taken as u64, sink, at)?;
        Ok(Some(&self.buffer))
    }

    /// Formats what is in the buffer and appends it. A log that cannot be written (a full disk)
    /// loses the chunk, and says so: the container must not stop for it.
    fn deliver(&mut self, end: u64, sink: &mut dyn Sink, at: Nanos) -> io::Result<()> {
        self.lines.clear();
        let carry = format::format(sink.carry(), &self.buffer, sink.stream(), at, &mut self.lines);
        let lines = self.lines.len();
        self.map[PENDING..PENDING + lines].copy_from_slice(&self.lines);
        self.map[CARRY..CARRY + carry.len()].copy_from_slice(&carry);
        self.set(LINES_LENGTH, lines as u64);
        self.set(CARRY_LENGTH, carry.len() as u64);
        let result = (|| {
            if let Some((log, length)) = sink.log()? {
                self.set(LOG_LENGTH, length);
                self.set(PHASE, APPEND);
                write_all(log, &self.lines)?;
                sink.grown(lines as u64);
            }
            sink.keep(&carry)
        })();
        self.done(end)?;
        result
    }

    fn done(&mut self, end: u64) -> io::Result<()> {
        self.set(CONSUMED, end);
        self.set(PHASE, IDLE);
        if end > INTAKE_LIMIT {
            self.intake.set_len(0)?;
            self.set(CONSUMED, 0);
        }
        Ok(())
    }

    fn word(&self, at: usize) -> u64 {
        let at = at * 8;
        u64::from_ne_bytes(self.map[at..at + 8].try_into().expect("eight bytes were cut"))
    }

    /// Stores in this order, as seen by whoever maps the file after this process was killed.
    fn set(&mut self, at: usize, value: u64) {
        compiler_fence(Ordering::SeqCst);
        self.map[at * 8..at * 8 + 8].copy_from_slice(&value.to_ne_bytes());
        compiler_fence(Ordering::SeqCst);
    }
}

/// To a file opened for appending.
pub(super) fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut file, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    struct Memory {
        log: File,
        carry: Vec<u8>,
        kept: u32,
        /// Pretends to be killed: fails before the n-th step.
        fail_at: Option<u32>,
        step: u32,
    }

    impl Memory {
        fn step(&mut self) -> io::Result<()> {
            self.step += 1;
            if self.fail_at == Some(self.step) { panic!("killed") } else { Ok(()) }
        }
    }

    impl Sink for Memory {
        fn log(&mut self) -> io::Result<Option<(&File, u64)>> {
            self.step()?;
            let length = self.log.metadata()?.len();
            Ok(Some((&self.log, length)))
        }
        fn grown(&mut self, _: u64) {
            self.step().expect("panics only");
        }
        fn carry(&self) -> &[u8] {
            &self.carry
        }
        fn keep(&mut self, carry: &[u8]) -> io::Result<()> {
            self.step()?;
            (self.carry, self.kept) = (carry.to_vec(), self.kept + 1);
            self.step()
        }
        fn stream(&self) -> &'static str {
            "stdout"
        }
    }

    fn pipe_with(bytes: &[u8]) -> (OwnedFd, OwnedFd) {
        let (read, write) = sys::pipe().expect("pipe");
        sys::write(write.as_raw_fd(), bytes).expect("write");
        (read, write)
    }

    /// Dies at every step in turn; a second journal over the same files must bring the log to the
    /// same end each time.
    #[test]
    fn death_at_any_step_loses_and_doubles_nothing() {
        for fail_at in 1..=5 {
            let folder = std::env::temp_dir()
                .join(format!("skiff-journal-{fail_at}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("mkdir");
            let path = folder.join("log");
            let log = || {
                OpenOptions::new().append(true).create(true).read(true).open(&path).expect("log")
            };
            let sink =
                |fail_at| Memory { log: log(), carry: b"a".into(), kept: 0, fail_at, step: 0 };
            let (pipe, _write) = pipe_with(b"b\nc\nd");
            let mut dying = sink(Some(fail_at));
            let carry = std::thread::scope(|scope| {
                let (folder, pipe) = (folder.clone(), pipe.as_raw_fd());
                let dying = &mut dying;
                scope
                    .spawn(move || {
                        let mut journal = Journal::open(&folder).expect("open");
                        journal.pump(pipe, "c/stdout", dying, 0).expect("pump");
                    })
                    .join()
                    .is_err()
            });
            assert_eq!(carry, fail_at <= 4, "dies where it should");
            let mut journal = Journal::open(&folder).expect("open");
            let mut heir = sink(None);
            heir.carry = dying.carry;
            if let Some(unfinished) = journal.unfinished().expect("readable") {
                assert_eq!(unfinished.name, "c/stdout");
                journal.finish(Some(&mut heir), 0).expect("finish");
            }
            let more = journal.pump(pipe.as_raw_fd(), "c/stdout", &mut heir, 0).expect("pump");
            assert!(more.is_none(), "the pipe is empty");
            assert_eq!(heir.carry, b"d", "step {fail_at}");
            let text = std::fs::read_to_string(&path).expect("text");
            let texts: Vec<_> = text.lines().filter_map(|line| line.split(" F ").nth(1)).collect();
            assert_eq!(texts, ["ab", "c"], "step {fail_at}");
            std::fs::remove_dir_all(folder).expect("clean up");
        }
    }

    #[test]
    fn the_intake_starts_anew() {
        let folder =
            std::env::temp_dir().join(format!("skiff-journal-long-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("mkdir");
        let path = folder.join("log");
        let log = OpenOptions::new().append(true).create(true).read(true).open(path).expect("log");
        let mut sink = Memory { log, carry: Vec::new(), kept: 0, fail_at: None, step: 0 };
        let mut journal = Journal::open(&folder).expect("open");
        for _ in 0..200 {
            let (pipe, _write) = pipe_with(&[b'\n'; CHUNK]);
            journal.pump(pipe.as_raw_fd(), "c/stdout", &mut sink, 0).expect("pump");
        }
        assert!(journal.intake.metadata().expect("stat").len() <= INTAKE_LIMIT + CHUNK as u64);
        let length = sink.log.metadata().expect("stat").len();
        assert_eq!(length, 200 * CHUNK as u64 * 41, "every newline has its line");
        std::fs::remove_dir_all(folder).expect("clean up");
    }
}
