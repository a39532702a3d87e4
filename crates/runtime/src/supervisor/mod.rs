//! The supervisor: one single-threaded process that keeps all sandboxes and containers of a
//! machine.
//!
//! It waits in one place (epoll) for requests, for words of pod inits, for output of containers,
//! and for the few deadlines of removals. Nothing in it blocks. It may be killed at any time: the
//! next one finds everything in files and in the inits (`adopt`), and no container notices.
//!
//! | file | what |
//! |---|---|
//! | `ask` | requests, one arm each |
//! | `sandbox`, `start` | making sandboxes, containers, execs |
//! | `life` | what inits report; ends and removals |
//! | `output`, `journal`, `format` | streams and logs |
//! | `state`, `adopt` | what is known, and how it is found again |
//! | `clients` | connections |

use crate::client::Config;
use crate::container::cgroup::Layout;
use crate::sys::{self, poll, process, socket};
use crate::{Error, Result, failed};
use clients::Client;
use journal::Journal;
use state::{Container, Exec, Place, Sandbox};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

mod adopt;
mod ask;
mod clients;
mod format;
mod journal;
mod life;
mod output;
mod sandbox;
mod start;
mod state;

/// Its socket, below the root.
pub(crate) const SOCKET: &str = "supervisor.sock";
/// The lock that makes it the only one of its root.
const LOCK: &str = "supervisor.lock";
/// Before the number of the lock's descriptor, when it has replaced an older program in the same
/// process: the lock stays locked meanwhile, so that nobody else takes it for dead.
const IN_PLACE: &str = "--in-place";

/// All of its state.
pub(super) struct Supervisor {
    place: Place,
    poll: poll::Poll,
    listener: socket::Listener,
    signals: OwnedFd,
    sources: HashMap<u64, Source>,
    next_token: u64,
    clients: HashMap<u64, Client>,
    sandboxes: BTreeMap<String, Sandbox>,
    containers: BTreeMap<String, Container>,
    execs: HashMap<String, Exec>,
    /// Ended execs, oldest first.
    ended_execs: VecDeque<String>,
    journal: Journal,
    removals: Vec<life::Removal>,
    filters: Vec<start::Filter>,
    ending: bool,
    lock: OwnedFd,
    /// What pod inits execute.
    program: OwnedFd,
    /// From this number on, descriptors are kept for the containers' own needs.
    most_descriptors: u64,
}

/// What a token of the poll stands for.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Listener,
    Signals,
    Client,
    /// A pod init has said something: the sandbox.
    Init(String),
    /// The status socket of a sandbox, container or exec that starts.
    SandboxStatus(String),
    ContainerStatus(String),
    ExecStatus(String),
    /// A stream of a container.
    Output(String, usize),
    Terminal(String),
    /// Input for a container, from a client's side or its own.
    Input(String),
    /// The end of a client that watches a container.
    Watcher(String),
}

/// Becomes the supervisor: `--root DIR --cgroup-root PATH`. Returns when it listens; the work goes
/// on in a process of its own.
pub fn main(args: &[String]) -> i32 {
    let run = || -> Result<()> {
        let (config, lock) = parse(args)?;
        if let Some(lock) = lock {
            let lock = sys::adopt(lock).map_err(failed("take over the lock"))?;
            return Supervisor::open(&config, lock)?.run();
        }
        detach(&config)
    };
    match run() {
        Ok(()) => 0,
        Err(e) => {
            note(format_args!("{e}"));
            1
        }
    }
}

/// To the file that standard error is.
fn note(text: std::fmt::Arguments<'_>) {
    eprintln!("{} supervisor: {text}", format::timestamp(sys::now()));
}

fn parse(args: &[String]) -> Result<(Config, Option<i32>)> {
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1))
            .ok_or_else(|| Error::Invalid(format!("the supervisor needs {name}")))
    };
    let root = Path::new(value("--root")?);
    let root = std::fs::canonicalize(root).map_err(failed(root.display()))?;
    let cgroup_root = value("--cgroup-root")?.trim_matches('/').to_string();
    let exe = PathBuf::from("/proc/self/exe");
    let lock = match value(IN_PLACE) {
        Ok(number) => Some(number.parse().map_err(|e| Error::Invalid(format!("{IN_PLACE}: {e}")))?),
        Err(_) => None,
    };
    Ok((Config { root, cgroup_root, exe }, lock))
}

/// Leaves a process behind that has nothing to do with this one, and waits until it listens.
fn detach(config: &Config) -> Result<()> {
    let (ready, tell) = sys::pipe().map_err(failed("pipe"))?;
    if let process::Fork::Parent { .. } = process::fork(0, None).map_err(failed("fork"))? {
        drop(tell);
        let mut byte = [0];
        return match sys::read(ready.as_raw_fd(), &mut byte) {
            Ok(1) => Ok(()),
            Ok(_) => Err(Error::System("it ended before it listened".into())),
            Err(e) => Err(failed("wait for the supervisor")(e)),
        };
    }
    drop(ready);
    process::new_session().map_err(failed("start a session"))?;
    let opened = take_lock(&config.root).and_then(|lock| Supervisor::open(config, lock));
    let mut supervisor = match opened {
        Ok(supervisor) => supervisor,
        // Somebody else was faster: then there is one, which is all that was wanted.
        Err(Error::Exists(_)) => {
            sys::write(tell.as_raw_fd(), b"x").map_err(failed("tell"))?;
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    sys::write(tell.as_raw_fd(), b"x").map_err(failed("tell"))?;
    drop(tell);
    supervisor.run()
}

impl Supervisor {
    fn open(config: &Config, lock: OwnedFd) -> Result<Supervisor> {
        let root = &config.root;
        for folder in ["sandboxes", "containers"] {
            let folder = root.join(folder);
            std::fs::create_dir_all(&folder).map_err(failed(folder.display()))?;
        }
        std::fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .map_err(failed(root.display()))?;
        let mounts =
            std::fs::read_to_string("/proc/self/mountinfo").map_err(failed("mountinfo"))?;
        let place = Place {
            root: root.clone(),
            cgroup_root: config.cgroup_root.clone().into(),
            layout: Layout::detect(&mounts)?,
        };
        settle(&place)?;
        let program = sandbox::sealed_program().map_err(failed("seal the program"))?;
        let journal = Journal::open(root).map_err(failed("open the journal"))?;
        let signals = poll::signals(&[libc::SIGCHLD, libc::SIGPIPE]).map_err(failed("signals"))?;
        let poll = poll::Poll::new().map_err(failed("epoll"))?;
        const LISTENER: u64 = 1;
        let listener = socket::listen_below(root, SOCKET, libc::SOCK_STREAM)
            .and_then(|socket| socket::Listener::new(socket, &poll, LISTENER))
            .map_err(failed("listen on the socket"))?;
        let (most, _) = process::rlimit(libc::RLIMIT_NOFILE).map_err(failed("read a limit"))?;
        let mut supervisor = Supervisor {
            place,
            poll,
            listener,
            signals,
            sources: HashMap::from([(LISTENER, Source::Listener)]),
            next_token: LISTENER,
            clients: HashMap::new(),
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            execs: HashMap::new(),
            ended_execs: VecDeque::new(),
            journal,
            removals: Vec::new(),
            filters: Vec::new(),
            ending: false,
            lock,
            program,
            most_descriptors: most / 4 * 3,
        };
        let (fd, token) = (supervisor.signals.as_raw_fd(), supervisor.token(Source::Signals));
        supervisor.poll.add(fd, poll::IN, token).map_err(failed("epoll"))?;
        supervisor.adopt()?;
        Ok(supervisor)
    }

    fn run(&mut self) -> Result<()> {
        while !self.ending || !self.removals.is_empty() {
            let patience = self.next_deadline();
            for (token, ready) in self.poll.wait(patience).map_err(failed("epoll"))? {
                // Gone since the kernel reported it.
                let Some(source) = self.sources.get(&token).cloned() else { continue };
                self.turn(token, source, ready);
            }
            self.listener.resume(&self.poll).map_err(failed("listen"))?;
            self.advance(Instant::now());
        }
        self.leave()
    }

    fn turn(&mut self, token: u64, source: Source, ready: u32) {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.reap(),
            Source::Client => self.serve(token, ready),
            Source::Init(sandbox) => self.hear(&sandbox),
            Source::SandboxStatus(sandbox) => self.sandbox_status(&sandbox),
            Source::ContainerStatus(container) => self.container_status(&container),
            Source::ExecStatus(exec) => self.exec_status(&exec),
            Source::Output(container, stream) => drop(self.pump(&container, stream)),
            Source::Terminal(container) => drop(self.pump_terminal(&container)),
            Source::Input(container) => self.feed(&container),
            Source::Watcher(container) => self.unwatch(&container, token),
        }
    }

    /// A fresh number for the poll.
    fn token(&mut self, source: Source) -> u64 {
        self.next_token += 1;
        self.sources.insert(self.next_token, source);
        self.next_token
    }

    /// Children are pod inits, whose ends are seen by their connections; and orphans.
    fn reap(&mut self) {
        while poll::next_signal(&self.signals).is_ok() {}
        while process::reap().is_some() {}
    }

    fn next_deadline(&self) -> Option<Duration> {
        let next = self.removals.iter().map(|removal| removal.next).chain(self.listener.due());
        let next = next.min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// The last act of a shutdown.
    fn leave(&mut self) -> Result<()> {
        for name in [SOCKET, "intake", "journal", LOCK] {
            match std::fs::remove_file(self.place.root.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(name)(e)),
                _ => {}
            }
        }
        // Out of the own cgroup, so that it can go: to the top of each tree.
        self.place.layout.at(Path::new("")).enter()?;
        let start = Instant::now();
        let mut pause = life::FIRST_PAUSE;
        loop {
            let gone = if self.place.cgroup_root == Path::new("") {
                self.place.layout.at(Path::new(sandbox::OWN_CGROUP)).remove()?
            } else {
                self.place.layout.at(&self.place.cgroup_root).remove_all()?
            };
            if gone {
                return Ok(());
            }
            if start.elapsed() > life::PATIENCE {
                return Err(Error::System("the cgroup is still busy".into()));
            }
            // The last of a pod may still be dying; who is not a child tells nobody of its end.
            self.poll.wait(Some(pause)).map_err(failed("epoll"))?;
            pause = (pause * 2).min(life::LONGEST_PAUSE);
        }
    }
}

/// There is one supervisor per root.
fn take_lock(root: &Path) -> Result<OwnedFd> {
    let lock = sys::open(&root.join(LOCK), libc::O_CREAT | libc::O_RDWR, 0o600)
        .map_err(failed("open the lock"))?;
    sys::try_lock(&lock).map_err(|_| Error::Exists("a supervisor of this root".into()))?;
    Ok(lock)
}

/// Its own cgroup, adoption of orphans, the kernel's mercy.
fn settle(place: &Place) -> Result<()> {
    std::env::set_current_dir("/").map_err(failed("leave the folder"))?;
    process::set_name(c"skiff-super").map_err(failed("set the name"))?;
    process::control(libc::PR_SET_CHILD_SUBREAPER, 1).map_err(failed("become subreaper"))?;
    place.layout.at(&place.cgroup_root.join(sandbox::OWN_CGROUP)).enter()?;
    /// Just above "never": the kernel itself uses -1000 for what must not die at all.
    const OOM_SCORE: i32 = -999;
    crate::container::identity::set_oom_score(OOM_SCORE)?;
    let (_, hard) = process::rlimit(libc::RLIMIT_NOFILE).map_err(failed("read a limit"))?;
    process::set_rlimit(libc::RLIMIT_NOFILE, hard, hard).map_err(failed("raise open files"))
}
