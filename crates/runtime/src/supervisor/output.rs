//! A container's streams: from its pipes into its log and to those who watch, and into its stdin.
//!
//! Each turn moves one chunk of a stream, so a loud container takes no more than its share. A
//! watcher that does not keep up is dropped: a container never waits for one.

use super::journal::{self, Sink};
use super::{Source, Supervisor, format};
use crate::spec::{AttachSpec, LogPolicy};
use crate::sys::{self, poll};
use crate::wire::Answer;
use crate::{Error, Result, failed};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a watcher may be behind before it is dropped: a screenful many times over, and few enough
/// that a hundred watchers do not matter.
const WATCHER_PIPE: i32 = 256 << 10;
/// Moved at once from an attached client to a container.
const INPUT: usize = 4 << 10;

/// A container's log file.
pub(super) struct Log {
    path: Option<PathBuf>,
    policy: LogPolicy,
    open: Option<(File, u64)>,
}

impl Log {
    pub(super) fn new(path: Option<PathBuf>, policy: LogPolicy) -> Log {
        Log { path, policy, open: None }
    }

    /// The file is there from the start on: a silent container has an empty log, not none.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.ready().map(drop)
    }

    /// Opens the path again at the next line.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Moves the present file away, and the oldest ones out.
    pub(super) fn rotate(&mut self, at: crate::status::Nanos) -> io::Result<()> {
        self.open = None;
        let Some(path) = self.path.clone() else { return Ok(()) };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let name = name.to_string_lossy().into_owned();
        let mut to = folder.join(format!("{name}.{}", format::suffix(at)));
        // Two rotations in one second: the name grows, and still sorts behind the first.
        while to.exists() {
            to.as_mut_os_string().push("1");
        }
        match std::fs::rename(&path, &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut old: Vec<PathBuf> = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        let prefix = format!("{name}.");
        old.retain(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        });
        old.sort();
        let keep = self.policy.max_files.saturating_sub(1) as usize;
        for path in old.iter().take(old.len().saturating_sub(keep)) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    fn ready(&mut self) -> io::Result<Option<(&File, u64)>> {
        let full = self.policy.max_size > 0
            && self.open.as_ref().is_some_and(|(_, length)| *length >= self.policy.max_size);
        if full {
            self.rotate(sys::now())?;
        }
        let Some(path) = &self.path else { return Ok(None) };
        if self.open.is_none() {
            let mut options = OpenOptions::new();
            // Readable by root's group like other containers' logs.
            options.append(true).create(true).mode(0o640);
            let file = match options.open(path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
                    options.open(path)?
                }
                other => other?,
            };
            let length = file.metadata()?.len();
            self.open = Some((file, length));
        }
        Ok(self.open.as_ref().map(|(file, length)| (file, *length)))
    }

    fn grown(&mut self, by: u64) {
        if let Some((_, length)) = &mut self.open {
            *length += by;
        }
    }
}

/// One stream of a container.
pub(super) struct Output {
    pub stream: &'static str,
    /// Opened read-write, so that it never ends by itself.
    pub fifo: OwnedFd,
    pub token: u64,
    carry: Vec<u8>,
    carry_file: PathBuf,
}

impl Output {
    pub(super) fn open(folder: &Path, stream: &'static str, token: u64) -> Result<Output> {
        let path = folder.join(stream);
        let what = || format!("open {}", path.display());
        let fifo = sys::open(&path, libc::O_RDWR | libc::O_NONBLOCK, 0).map_err(failed(what()))?;
        let carry_file = folder.join(format!("{stream}.carry"));
        let carry = match std::fs::read(&carry_file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(failed(what()))?,
        };
        Ok(Output { stream, fifo, token, carry, carry_file })
    }
}

/// An output with its container's log.
pub(super) struct Line<'a> {
    pub log: &'a mut Log,
    pub output: &'a mut Output,
}

impl Sink for Line<'_> {
    fn log(&mut self) -> io::Result<Option<(&File, u64)>> {
        self.log.ready()
    }

    fn grown(&mut self, by: u64) {
        self.log.grown(by);
    }

    fn carry(&self) -> &[u8] {
        &self.output.carry
    }

    fn keep(&mut self, carry: &[u8]) -> io::Result<()> {
        if self.output.carry == carry {
            return Ok(());
        }
        self.output.carry = carry.to_vec();
        if carry.is_empty() {
            return std::fs::remove_file(&self.output.carry_file);
        }
        // The journal holds it until this has happened: a torn write is repeated.
        std::fs::write(&self.output.carry_file, carry)
    }

    fn stream(&self) -> &'static str {
        self.output.stream
    }
}

impl Line<'_> {
    /// What has no newline at the end of a life.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.output.carry.is_empty() {
            return Ok(());
        }
        let line = format::finish(&self.output.carry, self.output.stream, sys::now());
        if let Some((log, _)) = self.log.ready()? {
            journal::write_all(log, &line)?;
        }
        self.log.grown(line.len() as u64);
        self.keep(&[])
    }
}

/// An attached client.
pub(super) struct Watcher {
    /// Write ends: stdout, stderr.
    streams: [Option<OwnedFd>; 2],
    input: Option<Input>,
}

/// What comes from an attached client.
struct Input {
    from: OwnedFd,
    token: u64,
    /// Read, and not yet taken by the container.
    waiting: Vec<u8>,
    /// Whether the client's end is being listened to.
    watched: bool,
}

impl Supervisor {
    /// A stream has something: one chunk.
    pub(super) fn pump(&mut self, id: &str, stream: usize) -> bool {
        let Some(container) = self.containers.get_mut(id) else { return false };
        let Some(output) = container.outputs.get_mut(stream) else { return false };
        let name = format!("{id}/{}", output.stream);
        let fifo = output.fifo.as_raw_fd();
        let mut line = Line { log: &mut container.log, output };
        match self.journal.pump(fifo, &name, &mut line, sys::now()) {
            Ok(Some(chunk)) => {
                container.watchers.retain_mut(|watcher| watcher.show(stream, chunk));
                true
            }
            Ok(None) => false,
            Err(e) => {
                super::note(format_args!("container {id}: log of {}: {e}", line.output.stream));
                true
            }
        }
    }

    /// A terminal has something: into the pipe that is then read like any other.
    pub(super) fn pump_terminal(&mut self, id: &str) -> bool {
        let Some(container) = self.containers.get_mut(id) else { return false };
        let (Some((terminal, _)), Some(output)) = (&container.terminal, container.outputs.first())
        else {
            return false;
        };
        let (from, to) = (terminal.as_raw_fd(), output.fifo.as_raw_fd());
        match sys::splice_to_pipe(from, to, journal::CHUNK) {
            Ok(n) if n > 0 => return self.pump(id, 0) || n > 0,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
            _ => {}
        }
        // Nobody has the other end open any more.
        if let Some((terminal, _)) = &container.terminal
            && let Err(e) = self.poll.remove(terminal.as_raw_fd())
            && e.kind() != io::ErrorKind::NotFound
        {
            super::note(format_args!("container {id}: terminal: {e}"));
        }
        false
    }

    /// All that an ended container has written.
    pub(super) fn drain(&mut self, id: &str) {
        while self.pump_terminal(id) {}
        let count = self.containers.get(id).map_or(0, |container| container.outputs.len());
        for stream in 0..count {
            while self.pump(id, stream) {}
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        for output in &mut container.outputs {
            if let Err(e) = (Line { log: &mut container.log, output }).finish() {
                super::note(format_args!("container {id}: last line: {e}"));
            }
        }
    }

    /// Gives a client its ends.
    pub(super) fn attach(&mut self, id: &str, spec: AttachSpec) -> Result<(Answer, Vec<OwnedFd>)> {
        self.running(id)?;
        let token = self.token(Source::Input(id.to_string()));
        let container = self.running(id)?;
        if spec.stdin && container.stdin.is_none() {
            return Err(Error::State(format!("container {id} has no stdin open")));
        }
        let (mut theirs, mut has) = (Vec::new(), [false; 4]);
        let mut streams = [None, None];
        for (i, wanted) in [spec.stdout, spec.stderr].into_iter().enumerate() {
            if wanted {
                let (read, write) = sys::pipe().map_err(failed("pipe"))?;
                sys::set_pipe_size(&write, WATCHER_PIPE).map_err(failed("size a pipe"))?;
                sys::set_nonblocking(&write).map_err(failed("pipe"))?;
                // A stream that the container does not have ends at once.
                streams[i] = (i < container.outputs.len()).then_some(write);
                theirs.push(read);
                has[i + 1] = true;
            }
        }
        let input = if spec.stdin {
            let (read, write) = sys::pipe().map_err(failed("pipe"))?;
            sys::set_nonblocking(&read).map_err(failed("pipe"))?;
            theirs.insert(0, write);
            has[0] = true;
            Some(Input { from: read, token, waiting: Vec::new(), watched: true })
        } else {
            None
        };
        let from = input.as_ref().map(|input| input.from.as_raw_fd());
        container.watchers.push(Watcher { streams, input });
        if let Some(from) = from {
            self.poll.add(from, poll::IN, token).map_err(failed("watch a client"))?;
        } else {
            self.sources.remove(&token);
        }
        Ok((Answer::Streams { id: id.to_string(), has }, theirs))
    }

    /// An attached client has written, or has gone; or the container takes input again.
    pub(super) fn feed(&mut self, id: &str) {
        let mut ended = Vec::new();
        let Some(container) = self.containers.get_mut(id) else { return };
        let to = container.stdin.as_ref().map(AsRawFd::as_raw_fd);
        for (at, watcher) in container.watchers.iter_mut().enumerate() {
            let Some(input) = &mut watcher.input else { continue };
            match input.turn(to, &self.poll) {
                Ok(true) => {}
                Ok(false) => ended.push(at),
                Err(e) => {
                    super::note(format_args!("container {id}: stdin: {e}"));
                    ended.push(at);
                }
            }
        }
        for at in &ended {
            if let Some(input) = container.watchers[*at].input.take() {
                self.sources.remove(&input.token);
            }
        }
        container.watchers.retain(Watcher::is_of_use);
        // A terminal's end of file is a character, which the client sends itself.
        if !ended.is_empty() && container.spec.stdin_once && container.terminal.is_none() {
            self.close_stdin(id);
        }
    }

    /// For good, in the init too: the container reads an end of file.
    fn close_stdin(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.stdin = None;
        let sandbox = container.sandbox.clone();
        self.release(&sandbox, id, Some(crate::init::Held::Stdin));
    }
}

impl Watcher {
    /// Whether it stays. A pipe that is full belongs to somebody who does not read.
    fn show(&mut self, stream: usize, chunk: &[u8]) -> bool {
        if let Some(to) = &self.streams[stream]
            && !matches!(sys::write(to.as_raw_fd(), chunk), Ok(n) if n == chunk.len())
        {
            self.streams = [None, None];
        }
        self.is_of_use()
    }

    fn is_of_use(&self) -> bool {
        self.input.is_some() || self.streams.iter().any(Option::is_some)
    }
}

impl Input {
    /// False: the client has closed its end, and all it wrote has been passed on.
    fn turn(&mut self, to: Option<i32>, poll: &poll::Poll) -> io::Result<bool> {
        let Some(to) = to else { return Ok(false) };
        let mut buffer = [0; INPUT];
        loop {
            while !self.waiting.is_empty() {
                match sys::write(to, &self.waiting) {
                    Ok(n) => drop(self.waiting.drain(..n)),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        // Listen no more until the container has read: then its pipe says so.
                        if std::mem::take(&mut self.watched) {
                            poll.remove(self.from.as_raw_fd())?;
                        }
                        return Ok(true);
                    }
                    Err(e) => return Err(e),
                }
            }
            match sys::read(self.from.as_raw_fd(), &mut buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => self.waiting.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !std::mem::replace(&mut self.watched, true) {
                        poll.add(self.from.as_raw_fd(), poll::IN, self.token)?;
                    }
                    return Ok(true);
                }
                Err(e) => return Err(e),
            }
        }
    }
}
