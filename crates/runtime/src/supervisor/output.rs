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
/// Moved so often in one turn, so that a client and a container which are both fast leave time for
/// others.
const INPUT_ROUNDS: usize = 16;
/// Clients of one container: its users, and a few that are about to be found gone.
const MAX_WATCHERS: usize = 64;
/// Chunks read at the end of a container: all of the largest pipe (pipe(7), pipe-max-size). What it
/// leaves behind where process ids are shared may write for ever.
const LAST_CHUNKS: usize = (1 << 20) / journal::CHUNK;

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
    /// Under which the write ends tell that nobody reads them any more.
    token: u64,
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
                for watcher in &mut container.watchers {
                    watcher.show(stream, chunk);
                }
                self.keep_useful(id);
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
        let mut rounds = 0..LAST_CHUNKS;
        while rounds.next().is_some() && self.pump_terminal(id) {}
        let count = self.containers.get(id).map_or(0, |container| container.outputs.len());
        for stream in 0..count {
            let mut rounds = 0..LAST_CHUNKS;
            while rounds.next().is_some() && self.pump(id, stream) {}
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
        let container = self.running(id)?;
        if spec.stdin && container.stdin.is_none() {
            return Err(Error::State(format!("container {id} has no stdin open")));
        }
        if container.watchers.len() >= MAX_WATCHERS {
            let many = format!("container {id} has {MAX_WATCHERS} attached clients already");
            return Err(Error::State(many));
        }
        let count = container.outputs.len();
        let token = self.token(Source::Watcher(id.to_string()));
        let mut watcher = Watcher { streams: [None, None], input: None, token };
        let made = self.connect_watcher(id, spec, count, &mut watcher);
        if made.is_err() || !watcher.streams.iter().any(Option::is_some) {
            self.sources.remove(&token);
        }
        let (theirs, has) = made.inspect_err(|_| self.forget_input(&watcher))?;
        self.running(id)?.watchers.push(watcher);
        Ok((Answer::Streams { id: id.to_string(), has }, theirs))
    }

    fn connect_watcher(
        &mut self,
        id: &str,
        spec: AttachSpec,
        outputs: usize,
        watcher: &mut Watcher,
    ) -> Result<(Vec<OwnedFd>, [bool; 4])> {
        let (mut theirs, mut has) = (Vec::new(), [false; 4]);
        if spec.stdin {
            let (read, write) = self.client_pipe()?;
            sys::set_nonblocking(&read).map_err(failed("pipe"))?;
            let token = self.token(Source::Input(id.to_string()));
            self.poll.add(read.as_raw_fd(), poll::IN, token).map_err(failed("watch a client"))?;
            watcher.input = Some(Input { from: read, token, waiting: Vec::new(), watched: true });
            theirs.push(write);
            has[0] = true;
        }
        for (i, wanted) in [spec.stdout, spec.stderr].into_iter().enumerate() {
            if wanted {
                let (read, write) = self.client_pipe()?;
                sys::set_pipe_size(&write, WATCHER_PIPE).map_err(failed("size a pipe"))?;
                sys::set_nonblocking(&write).map_err(failed("pipe"))?;
                // A stream that the container does not have ends at once.
                if i < outputs {
                    self.poll
                        .add(write.as_raw_fd(), poll::GONE, watcher.token)
                        .map_err(failed("watch a client"))?;
                    watcher.streams[i] = Some(write);
                }
                theirs.push(read);
                has[i + 1] = true;
            }
        }
        Ok((theirs, has))
    }

    fn forget_input(&mut self, watcher: &Watcher) {
        if let Some(input) = &watcher.input {
            self.sources.remove(&input.token);
        }
    }

    /// A pipe for a client, unless clients have so many that the containers' own need what is left.
    /// Descriptors are numbered from below: a high number tells that many are in use.
    pub(super) fn client_pipe(&self) -> Result<(OwnedFd, OwnedFd)> {
        let (read, write) = sys::pipe().map_err(failed("pipe"))?;
        if write.as_raw_fd() as u64 >= self.most_descriptors {
            return Err(Error::State("too many clients are attached to containers".into()));
        }
        Ok((read, write))
    }

    /// A client reads no more.
    pub(super) fn unwatch(&mut self, id: &str, token: u64) {
        let Some(container) = self.containers.get_mut(id) else { return };
        for watcher in container.watchers.iter_mut().filter(|watcher| watcher.token == token) {
            for stream in &mut watcher.streams {
                stream.take_if(|stream| poll::is_gone(stream));
            }
        }
        self.keep_useful(id);
    }

    /// Lets go of the watchers that neither read nor write any more.
    fn keep_useful(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let sources = &mut self.sources;
        container.watchers.retain(|watcher| {
            if watcher.streams.iter().all(Option::is_none) {
                sources.remove(&watcher.token);
            }
            watcher.is_of_use()
        });
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
        self.keep_useful(id);
        let Some(container) = self.containers.get(id) else { return };
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
    /// A pipe that is full belongs to somebody who does not read.
    fn show(&mut self, stream: usize, chunk: &[u8]) {
        if let Some(to) = &self.streams[stream]
            && !matches!(sys::write(to.as_raw_fd(), chunk), Ok(n) if n == chunk.len())
        {
            self.streams = [None, None];
        }
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
        for round in 0.. {
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
            if round == INPUT_ROUNDS {
                break;
            }
            match sys::read(self.from.as_raw_fd(), &mut buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => self.waiting.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        // Nothing waits here: the client's pipe tells when it has more.
        if !std::mem::replace(&mut self.watched, true) {
            poll.add(self.from.as_raw_fd(), poll::IN, self.token)?;
        }
        Ok(true)
    }
}
