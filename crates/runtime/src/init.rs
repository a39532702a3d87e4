//! The pod init: one tiny process per sandbox, parent of every process that is started in it.
//!
//! It lives in the sandbox's namespaces, but never in a pid namespace that containers see: where
//! they share one, process 1 of it is another ([`crate::first`]), and whatever joins them does so
//! as its last step (`container::be_born`). It forks what the supervisor asks for, reaps it, and
//! writes starts and exits to a file before it tells anybody. It holds the containers' pipes open, so
//! that what they wrote survives a supervisor that dies. A supervisor that comes anew connects and
//! asks what is alive.
//! Never here: a decision; and nothing that can block, because everybody's exit waits behind it.

use crate::container::cgroup;
use crate::container::{self, Descriptors, Role, Word};
use crate::status::Nanos;
use crate::sys::{self, poll, process, socket};
use crate::wire::Failure;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Instant;

/// One line of a sandbox's record of lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    Started { id: String, at: Nanos },
    Failed { id: String, at: Nanos, failure: Failure },
    Exited { id: String, at: Nanos, code: i32, signal: Option<i32>, oom: bool },
}

impl Record {
    pub(crate) fn failed(id: &str, failure: &Failure) -> Record {
        Record::Failed { id: id.into(), at: sys::now(), failure: failure.clone() }
    }

    /// One write to a file opened for appending: whole or not at all.
    pub(crate) fn append(&self, file: &OwnedFd) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        sys::write(file.as_raw_fd(), &line).map(|_| ())
    }
}

/// A container is recorded and its pipes are held; an exec only lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Container,
    Exec,
}

/// What the init can hold for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Held {
    Stdin,
    Stdout,
    Stderr,
    Terminal,
}

/// From the supervisor; one packet each, descriptors with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// With one descriptor per role.
    Spawn {
        id: String,
        kind: Kind,
        flags: i32,
        oom_file: Option<PathBuf>,
        roles: Vec<Role>,
    },
    /// With the descriptor.
    Hold {
        id: String,
        what: Held,
    },
    Release {
        id: String,
        what: Held,
    },
    ReleaseAll {
        id: String,
    },
    Report,
}

/// To the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// With its pidfd.
    Spawned {
        id: String,
    },
    NotSpawned {
        id: String,
        why: String,
    },
    Lived(Record),
    /// With its pidfd, then what is held, in order.
    Alive {
        id: String,
        kind: Kind,
        held: Vec<Held>,
    },
    /// All that are alive have been told.
    End,
}

/// Ends of execs that are told again to a supervisor that comes anew: the last one may have died
/// with the news unread. More than these have not ended within one death.
const MAX_RECENT: usize = 64;

struct Child {
    id: String,
    kind: Kind,
    oom_file: Option<PathBuf>,
    pidfd: OwnedFd,
    /// Until it executes, if it is to join a target.
    birth: Option<Birth>,
}

/// How the init learns who joined a target in place of the child that it forked.
struct Birth {
    socket: OwnedFd,
    /// The child's end, so that the supervisor hears of the execution after it has heard of the
    /// process. None once that is so.
    status: Option<OwnedFd>,
}

struct Init {
    events: OwnedFd,
    listener: socket::Listener,
    signals: OwnedFd,
    poll: poll::Poll,
    /// Process 1 of the pod, where containers share process ids.
    first: Option<OwnedFd>,
    supervisor: Option<OwnedFd>,
    children: HashMap<i32, Child>,
    held: HashMap<String, BTreeMap<Held, OwnedFd>>,
    recent: VecDeque<Record>,
    /// The dead that nobody knows, while somebody's birth is still to be told.
    strays: HashMap<i32, (i32, Option<i32>)>,
}

const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const SUPERVISOR: u64 = 2;
const BIRTH: u64 = 3;
const FIRST: u64 = 4;

/// Becomes the pod init. Arguments: the sandbox's id (for `ps`), the numbers of the descriptors of
/// its listening socket and of its record, and of process 1 where there is one.
pub fn main(args: &[String]) -> i32 {
    let [id, listener, events, first @ ..] = args else {
        eprintln!("a pod init is started by the supervisor only");
        return 2;
    };
    let given = |text: &String| sys::adopt(text.parse::<RawFd>().map_err(io::Error::other)?);
    let run = || -> io::Result<()> {
        let first = first.first().map(given).transpose()?;
        Init::new(given(listener)?, given(events)?, first)?.run()
    };
    match run() {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("pod init {id}: {e}");
            1
        }
    }
}

impl Init {
    fn new(listener: OwnedFd, events: OwnedFd, first: Option<OwnedFd>) -> io::Result<Init> {
        process::set_name(c"skiff-pod")?;
        process::control(libc::PR_SET_CHILD_SUBREAPER, 1)?;
        process::control(libc::PR_SET_DUMPABLE, 0)?;
        let quiet = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE];
        let signals = poll::signals(&quiet)?;
        let poll = poll::Poll::new()?;
        // Those who connect learn who listens: from now on this process.
        socket::listen(&listener)?;
        let listener = socket::Listener::new(listener, &poll, LISTENER)?;
        poll.add(signals.as_raw_fd(), poll::IN, SIGNALS)?;
        if let Some(first) = &first {
            poll.add(first.as_raw_fd(), poll::IN, FIRST)?;
        }
        Ok(Init {
            events,
            listener,
            signals,
            poll,
            first,
            supervisor: None,
            children: HashMap::new(),
            held: HashMap::new(),
            recent: VecDeque::new(),
            strays: HashMap::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            let patience = self.listener.due().map(|due| due.duration_since(Instant::now()));
            let ready = self.poll.wait(patience)?;
            self.listener.resume(&self.poll)?;
            for (token, _) in ready {
                match token {
                    LISTENER => self.connect(),
                    SIGNALS => self.reap(),
                    BIRTH => self.births(),
                    // The kernel has killed everything in its namespace.
                    FIRST => return Err(io::Error::other("process 1 has died")),
                    _ => self.obey(),
                }
            }
        }
    }

    /// The newest supervisor is the right one.
    fn connect(&mut self) {
        let connection = self.listener.accept(&self.poll).and_then(|connection| {
            // None: the one that knocked has gone again.
            let Some(connection) = connection else { return Ok(()) };
            self.poll.add(connection.as_raw_fd(), poll::IN, SUPERVISOR)?;
            self.supervisor = Some(connection);
            Ok(())
        });
        if let Err(e) = connection {
            eprintln!("pod init: the supervisor cannot connect: {e}; trying again");
        }
    }

    fn tell(&mut self, report: &Report) {
        self.tell_with(report, &[]);
    }

    fn tell_with(&mut self, report: &Report, with: &[BorrowedFd<'_>]) {
        let Some(supervisor) = &self.supervisor else { return };
        let packet = serde_json::to_vec(report).expect("has string keys only");
        if let Err(e) = socket::send(supervisor.as_raw_fd(), &packet, with) {
            // One that reads so slowly, or is dead, must connect again and ask.
            eprintln!("pod init: tell the supervisor: {e}");
            self.supervisor = None;
        }
    }

    fn obey(&mut self) {
        let Some(supervisor) = &self.supervisor else { return };
        let (mut packet, mut descriptors) = (Vec::new(), Vec::new());
        match socket::receive(supervisor.as_raw_fd(), &mut packet, &mut descriptors) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            Ok(n) if n > 0 => {}
            _ => {
                self.supervisor = None;
                return;
            }
        }
        match serde_json::from_slice(&packet) {
            Ok(order) => self.execute(order, descriptors),
            Err(e) => eprintln!("pod init: an order that makes no sense: {e}"),
        }
    }

    fn execute(&mut self, order: Order, mut with: Vec<OwnedFd>) {
        match order {
            Order::Spawn { id, kind, flags, oom_file, roles } => {
                let with: Descriptors = roles.into_iter().zip(with).collect();
                self.spawn(id, kind, flags, oom_file, with);
            }
            Order::Hold { id, what } => {
                if let Some(descriptor) = with.pop() {
                    self.held.entry(id).or_default().insert(what, descriptor);
                }
            }
            Order::Release { id, what } => {
                if let Some(held) = self.held.get_mut(&id) {
                    held.remove(&what);
                }
            }
            Order::ReleaseAll { id } => {
                self.held.remove(&id);
            }
            Order::Report => self.report(),
        }
    }

    fn spawn(
        &mut self,
        id: String,
        kind: Kind,
        flags: i32,
        oom_file: Option<PathBuf>,
        mut with: Descriptors,
    ) {
        let birthplace = with.remove(&Role::Birthplace);
        let forked = (|| -> io::Result<_> {
            let birth = self.expect_birth(kind, &mut with)?;
            Ok((process::fork(flags, birthplace.as_ref().map(AsFd::as_fd))?, birth))
        })();
        let (pid, pidfd, birth) = match forked {
            Ok((process::Fork::Child, _)) => container::become_program(&id, with, &self.events),
            Ok((process::Fork::Parent { pid, pidfd }, birth)) => (pid, pidfd, birth),
            Err(e) => {
                self.tell(&Report::NotSpawned { id, why: format!("clone3: {e}") });
                return;
            }
        };
        if kind == Kind::Container {
            self.record(&Record::Started { id: id.clone(), at: sys::now() });
            let held = self.held.entry(id.clone()).or_default();
            for (role, what) in [(Role::Stdout, Held::Stdout), (Role::Stderr, Held::Stderr)] {
                held.extend(with.remove(&role).map(|descriptor| (what, descriptor)));
            }
        }
        let child = Child { id, kind, oom_file, pidfd, birth };
        // Of one that joins a target, only the process that goes there is of interest.
        if child.birth.is_none() {
            self.tell_spawned(&child);
        }
        self.children.insert(pid, child);
    }

    fn tell_spawned(&mut self, child: &Child) {
        let report = Report::Spawned { id: child.id.clone() };
        self.tell_with(&report, &[child.pidfd.as_fd()]);
    }

    /// Lays ready what a child needs to join a target, if it is to.
    fn expect_birth(&self, kind: Kind, with: &mut Descriptors) -> io::Result<Option<Birth>> {
        if let (Some(first), Kind::Container) = (&self.first, kind) {
            with.insert(Role::Target, first.try_clone()?);
        }
        if !with.contains_key(&Role::Target) {
            return Ok(None);
        }
        let (socket, theirs) = socket::pair(libc::SOCK_SEQPACKET)?;
        sys::set_nonblocking(&socket)?;
        self.poll.add(socket.as_raw_fd(), poll::IN, BIRTH)?;
        with.insert(Role::Birth, theirs);
        let status = with.get(&Role::Status).map(OwnedFd::try_clone).transpose()?;
        Ok(Some(Birth { socket, status }))
    }

    /// Hears all that those have said who are about to join a target.
    fn births(&mut self) {
        let pending = |(pid, child): (&i32, &Child)| child.birth.is_some().then_some(*pid);
        for pid in self.children.iter().filter_map(pending).collect::<Vec<_>>() {
            self.birth(pid);
        }
        if self.children.values().all(|child| child.birth.is_none()) {
            self.strays.clear();
        }
    }

    fn birth(&mut self, mut pid: i32) {
        while let Some(child) = self.children.get_mut(&pid)
            && let Some(birth) = &child.birth
        {
            let (mut packet, mut carried) = (Vec::new(), Vec::new());
            match socket::receive(birth.socket.as_raw_fd(), &mut packet, &mut carried) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // What has been executed says no more; neither does the dead.
                Ok(0) | Err(_) => child.birth = None,
                Ok(_) => match (carried.pop(), packet.as_slice().try_into()) {
                    // The first word only: the next ones come from where others can see it.
                    (Some(pidfd), Ok(number)) if birth.status.is_some() => {
                        let Some(child) = self.children.remove(&pid) else { return };
                        pid = self.born(child, i32::from_ne_bytes(number), pidfd);
                    }
                    _ => {
                        if let Ok(Word::Failed(failure)) = serde_json::from_slice(&packet) {
                            let record = Record::failed(&child.id, &failure);
                            self.record(&record);
                        }
                    }
                },
            }
        }
    }

    /// The child that was forked has a sibling now, which is the one that counts.
    fn born(&mut self, mut child: Child, pid: i32, pidfd: OwnedFd) -> i32 {
        child.pidfd = pidfd;
        self.tell_spawned(&child);
        if let Some(birth) = &mut child.birth {
            birth.status = None;
        }
        self.children.insert(pid, child);
        if let Some((code, signal)) = self.strays.remove(&pid) {
            self.ended(pid, code, signal);
        }
        pid
    }

    fn record(&self, record: &Record) {
        if let Err(e) = record.append(&self.events) {
            eprintln!("pod init: record {record:?}: {e}");
        }
    }

    fn reap(&mut self) {
        while poll::next_signal(&self.signals).is_ok() {}
        self.births();
        while let Some((pid, code, signal)) = process::reap() {
            if self.children.contains_key(&pid) {
                // Its last words, if it could not be executed, come before its end.
                self.birth(pid);
                self.ended(pid, code, signal);
            } else if self.children.values().any(|child| child.birth.is_some()) {
                self.strays.insert(pid, (code, signal));
            }
            // Others are orphans, or have a sibling: nobody asks for them.
        }
    }

    fn ended(&mut self, pid: i32, code: i32, signal: Option<i32>) {
        let Some(child) = self.children.remove(&pid) else { return };
        let oom = child.oom_file.as_deref().is_some_and(|file| cgroup::oom_kills(file) > 0);
        let record = Record::Exited { id: child.id, at: sys::now(), code, signal, oom };
        // The exit of an exec is news, not history: probes would fill the disk with them.
        if child.kind == Kind::Container {
            self.record(&record);
        } else {
            self.recent.truncate(MAX_RECENT - 1);
            self.recent.push_front(record.clone());
        }
        self.tell(&Report::Lived(record));
    }

    fn report(&mut self) {
        let mut reports = Vec::new();
        for child in self.children.values() {
            let held = self.held.get(&child.id).filter(|_| child.kind == Kind::Container);
            let mut with = vec![child.pidfd.try_clone()];
            with.extend(held.iter().flat_map(|held| held.values()).map(OwnedFd::try_clone));
            let held = held.map_or(Vec::new(), |held| held.keys().copied().collect());
            let report = Report::Alive { id: child.id.clone(), kind: child.kind, held };
            match with.into_iter().collect::<io::Result<Vec<_>>>() {
                Ok(with) => reports.push((report, with)),
                Err(e) => eprintln!("pod init: report {}: {e}", child.id),
            }
        }
        let recent = self.recent.iter().rev().cloned().map(Report::Lived);
        reports.extend(recent.chain([Report::End]).map(|report| (report, Vec::new())));
        for (report, with) in &reports {
            let with: Vec<_> = with.iter().map(AsFd::as_fd).collect();
            self.tell_with(report, &with);
        }
    }
}
