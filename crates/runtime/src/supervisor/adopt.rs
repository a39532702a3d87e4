//! Finding everything again: what a supervisor does that comes after another one.
//!
//! Specs are read from disk, each init is asked what is alive, its record says what has ended, and
//! the journal's unfinished chunk is brought to its end before any new one is taken.

use super::output::Line;
use super::sandbox::{EVENTS, INIT_SOCKET};
use super::state::{self, Container, ContainerFile, Exec, Init, Sandbox, SandboxFile};
use super::{Supervisor, note, start};
use crate::init::{Held, Kind, Order, Record, Report};
use crate::status::{ContainerState, Nanos};
use crate::sys::{self, poll, process, socket};
use crate::wire::Failure;
use crate::{Result, failed};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a record says about one container.
#[derive(Default)]
struct Life {
    started: Option<Nanos>,
    failed: Option<(Failure, Nanos)>,
    exited: Option<(i32, Option<i32>, bool, Nanos)>,
}

impl Supervisor {
    pub(super) fn adopt(&mut self) -> Result<()> {
        for (id, folder) in folders(&self.place.root.join("containers"))? {
            match state::load::<ContainerFile>(&folder)? {
                Some(file) => drop(self.containers.insert(id, Container::new(file))),
                None => std::fs::remove_dir_all(&folder).map_err(failed(folder.display()))?,
            }
        }
        let mut lives = HashMap::new();
        for (id, folder) in folders(&self.place.root.join("sandboxes"))? {
            let Some(file) = state::load::<SandboxFile>(&folder)? else {
                self.clear_sandbox(&id)?;
                continue;
            };
            let init = self.find_init(&id);
            let (spec, created_at) = (file.spec, file.created_at);
            self.sandboxes.insert(id.clone(), Sandbox { spec, created_at, init, creating: None });
            read_record(&folder.join(EVENTS), &mut lives)?;
        }
        for id in self.containers.keys().cloned().collect::<Vec<_>>() {
            self.open_outputs(&id)?;
        }
        self.finish_journal()?;
        for id in self.sandboxes.keys().cloned().collect::<Vec<_>>() {
            self.ask_init(&id)?;
        }
        for id in self.containers.keys().cloned().collect::<Vec<_>>() {
            let life = lives.remove(&id).unwrap_or_default();
            self.settle_life(&id, life);
        }
        Ok(())
    }

    /// None: it is dead, or the machine has been started anew.
    fn find_init(&mut self, id: &str) -> Option<Init> {
        let folder = self.place.sandbox(id);
        let name = INIT_SOCKET;
        let connection = socket::connect_below(&folder, name, libc::SOCK_SEQPACKET).ok()?;
        let pid = socket::peer_pid(&connection).ok()?;
        let pidfd = process::open_pid(pid).ok()?;
        drop(connection);
        match self.meet_init(id, pid, pidfd) {
            Ok(init) => Some(init),
            Err(e) => {
                note(format_args!("sandbox {id}: {e}"));
                None
            }
        }
    }

    /// The connection to an init has ended: it is dead, or it has found nobody who read what it had
    /// to say, or what it said could not be taken for want of descriptors. One that is alive is
    /// asked again for all of it.
    pub(super) fn broken(&mut self, id: &str) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else { return };
        if sandbox.creating.is_some() {
            return self.lost(id);
        }
        if let Some(init) = sandbox.init.take() {
            self.sources.remove(&init.token);
        }
        let found = self.find_init(id);
        if let Some(sandbox) = self.sandboxes.get_mut(id) {
            sandbox.init = found;
        }
        if let Err(e) = self.ask_init(id).and_then(|()| self.catch_up(id)) {
            note(format_args!("sandbox {id}: its pod init does not answer: {e}"));
            return self.lost(id);
        }
        if self.sandboxes.get(id).is_some_and(|sandbox| sandbox.init.is_none()) {
            self.lost(id);
        }
    }

    /// Ends of containers that were not heard of.
    fn catch_up(&mut self, sandbox: &str) -> Result<()> {
        let mut lives = HashMap::new();
        read_record(&self.place.sandbox(sandbox).join(EVENTS), &mut lives)?;
        lives.retain(|_, life| life.failed.is_some() || life.exited.is_some());
        for (id, life) in lives {
            self.settle_life(&id, life);
        }
        Ok(())
    }

    /// Streams of a container that has had a start.
    fn open_outputs(&mut self, id: &str) -> Result<()> {
        let folder = self.place.container(id);
        for (at, stream) in ["stdout", "stderr"].into_iter().enumerate() {
            if folder.join(stream).exists() {
                self.listen_to(id, at, stream)?;
            }
        }
        Ok(())
    }

    fn finish_journal(&mut self) -> Result<()> {
        let Some(unfinished) = self.journal.unfinished().map_err(failed("read the journal"))?
        else {
            return Ok(());
        };
        let (id, stream) = unfinished.name.split_once('/').unwrap_or((&unfinished.name, ""));
        let container = self.containers.get_mut(id);
        let mut line = container.and_then(|container| {
            let output = container.outputs.iter_mut().find(|output| output.stream == stream)?;
            Some(Line { log: &mut container.log, output })
        });
        let sink = line.as_mut().map(|line| line as &mut dyn super::journal::Sink);
        self.journal.finish(sink, sys::now()).map_err(failed("finish the journal"))
    }

    /// Waits for the init's report: it has nothing else to do, and without it nothing is known.
    fn ask_init(&mut self, sandbox: &str) -> Result<()> {
        if self.sandboxes.get(sandbox).is_none_or(|sandbox| sandbox.init.is_none()) {
            return Ok(());
        }
        self.order(sandbox, &Order::Report, &[])?;
        loop {
            let init = self.sandboxes.get(sandbox).and_then(|sandbox| sandbox.init.as_ref());
            let Some(init) = init else { return Ok(()) };
            poll::wait_readable(&init.connection).map_err(failed("wait for a pod init"))?;
            let (mut packet, mut carried) = (Vec::new(), Vec::new());
            let got = socket::receive(init.connection.as_raw_fd(), &mut packet, &mut carried);
            if got.map_err(failed("hear a pod init"))? == 0 {
                if let Some(sandbox) = self.sandboxes.get_mut(sandbox) {
                    sandbox.init = None;
                }
                return Ok(());
            }
            match serde_json::from_slice(&packet) {
                Ok(Report::Alive { id, kind, held }) => {
                    self.alive(&id, kind, &held, carried)?;
                }
                Ok(Report::End) => return Ok(()),
                // Ends are in the record too, which is read after this.
                Ok(other) => self.note_report(other, carried),
                Err(e) => note(format_args!("sandbox {sandbox}: a report: {e}")),
            }
        }
    }

    fn alive(&mut self, id: &str, kind: Kind, held: &[Held], carried: Vec<OwnedFd>) -> Result<()> {
        let mut carried = carried.into_iter();
        let Some(pidfd) = carried.next() else { return Ok(()) };
        let process = Some(start::process_of(pidfd)?);
        if let Some(exec) = self.execs.get_mut(id) {
            exec.process = process;
            return Ok(());
        }
        if kind == Kind::Exec {
            let container = id.rsplit_once("-exec-").map_or(id, |(container, _)| container);
            self.execs.insert(id.to_string(), Exec::adopted(container.to_string(), process));
            return Ok(());
        }
        let Some(container) = self.containers.get_mut(id) else { return Ok(()) };
        let known = container.state == ContainerState::Running || container.starting.is_some();
        container.process = process;
        if known {
            return Ok(());
        }
        container.state = ContainerState::Running;
        for (what, descriptor) in held.iter().zip(carried) {
            match what {
                Held::Stdin => self.take_stdin(id, descriptor)?,
                Held::Terminal => self.take_terminal(id, descriptor)?,
                // Opened by their names.
                Held::Stdout | Held::Stderr => {}
            }
        }
        Ok(())
    }

    fn settle_life(&mut self, id: &str, life: Life) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.started_at = life.started;
        let exit = match (life.failed, life.exited) {
            (Some((failure, at)), _) => state::start_error(&failure, at),
            (None, Some((code, signal, oom, at))) => state::exit(code, signal, oom, at),
            (None, None) if container.process.is_some() => return,
            // It was to be started, and its init is gone or has never heard of it.
            (None, None) if life.started.is_some() || !container.outputs.is_empty() => {
                state::unknown_exit(sys::now())
            }
            (None, None) => return,
        };
        // Without its init, somebody must see to what may be left of it.
        if let Err(e) = self.kill(id) {
            note(format_args!("container {id}: {e}"));
        }
        self.close_container(id, exit);
    }
}

fn folders(parent: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(failed(parent.display()))? {
        let path = entry.map_err(failed(parent.display()))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            found.push((name.to_string(), path));
        }
    }
    Ok(found)
}

fn read_record(path: &Path, lives: &mut HashMap<String, Life>) -> Result<()> {
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed(path.display()))?,
    };
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Record::Started { id, at }) => lives.entry(id).or_default().started = Some(at),
            Ok(Record::Failed { id, at, failure }) => {
                lives.entry(id).or_default().failed = Some((failure, at));
            }
            Ok(Record::Exited { id, at, code, signal, oom }) => {
                lives.entry(id).or_default().exited = Some((code, signal, oom, at));
            }
            // A power cut can tear a line; what it said is unknown then.
            Err(e) => note(format_args!("{}: a line makes no sense: {e}", path.display())),
        }
    }
    Ok(())
}
