//! What becomes of containers: reports of their inits, ends, and removals.
//!
//! A removal is a list of steps that are tried again until all are done, right after each end and,
//! in case a cgroup empties slowly, after a growing pause. Nobody waits for another's removal.

use super::clients::ReplyTo;
use super::state::{self, Container, Exec};
use super::{Source, Supervisor, note, start};
use crate::init::{Record, Report};
use crate::status::{ContainerState, Event, Exit};
use crate::sys::{self, process, socket};
use crate::wire::Answer;
use crate::{Error, Result};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// First and longest pause between tries.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(1);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// After this a process that does not die (stuck in the kernel) is the caller's to know about.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Ends of execs that nobody has asked for yet.
const MAX_ENDED_EXECS: usize = 1024;

/// What is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Container(String),
    Sandbox(String),
    /// All that lives in a sandbox; the records stay.
    Lives(String),
    Cgroup(PathBuf),
}

/// Something that is going.
pub(super) struct Removal {
    target: Target,
    replies: Vec<ReplyTo>,
    pub next: Instant,
    pause: Duration,
    since: Instant,
}

impl Removal {
    fn new(target: Target, replies: Vec<ReplyTo>) -> Removal {
        let now = Instant::now();
        Removal { target, replies, next: now, pause: FIRST_PAUSE, since: now }
    }

    pub(super) fn cgroup(path: PathBuf) -> Removal {
        Removal::new(Target::Cgroup(path), Vec::new())
    }
}

impl Supervisor {
    pub(super) fn container(&self, id: &str) -> Result<&Container> {
        self.containers.get(id).ok_or_else(|| Error::NotFound(format!("container {id}")))
    }

    pub(super) fn container_mut(&mut self, id: &str) -> Result<&mut Container> {
        self.containers.get_mut(id).ok_or_else(|| Error::NotFound(format!("container {id}")))
    }

    pub(super) fn running(&mut self, id: &str) -> Result<&mut Container> {
        let container = self.container_mut(id)?;
        if container.state != ContainerState::Running {
            return Err(Error::State(format!("container {id} is not running")));
        }
        Ok(container)
    }

    /// An init has said something.
    pub(super) fn hear(&mut self, sandbox: &str) {
        loop {
            let init = self.sandboxes.get(sandbox).and_then(|sandbox| sandbox.init.as_ref());
            let Some(init) = init else { return };
            let (mut packet, mut carried) = (Vec::new(), Vec::new());
            match socket::receive(init.connection.as_raw_fd(), &mut packet, &mut carried) {
                Ok(n) if n > 0 => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                _ => return self.broken(sandbox),
            }
            match serde_json::from_slice(&packet) {
                Ok(report) => self.note_report(report, carried),
                Err(e) => note(format_args!("sandbox {sandbox}: a report: {e}")),
            }
        }
    }

    pub(super) fn note_report(&mut self, report: Report, carried: Vec<OwnedFd>) {
        let mut carried = carried.into_iter();
        match report {
            Report::Spawned { id } => {
                let Some(pidfd) = carried.next() else { return };
                match start::process_of(pidfd) {
                    Ok(process) => self.keep_process(&id, process),
                    Err(e) => note(format_args!("{id}: its process: {e}")),
                }
            }
            // Its status socket closes too: what it says then is less than this.
            Report::NotSpawned { id, why } => self.not_spawned(&id, why),
            Report::Lived(record) => self.note_record(record),
            Report::Alive { .. } | Report::End => {}
        }
    }

    fn keep_process(&mut self, id: &str, process: state::Process) {
        if let Some(container) = self.containers.get_mut(id) {
            container.process = Some(process);
        } else if let Some(exec) = self.execs.get_mut(id) {
            exec.process = Some(process);
        }
    }

    fn not_spawned(&mut self, id: &str, why: String) {
        if let Some(starting) = self.containers.get_mut(id).and_then(|c| c.starting.take()) {
            self.sources.remove(&starting.token);
            let failure = crate::wire::Failure::System(why.clone());
            self.close_container(id, state::start_error(&failure, sys::now()));
            self.answer(starting.reply, Err(Error::System(why)));
        } else if let Some(starting) = self.execs.remove(id).and_then(|exec| exec.starting) {
            self.sources.remove(&starting.token);
            self.answer(starting.reply, Err(Error::System(why)));
        }
    }

    pub(super) fn note_record(&mut self, record: Record) {
        let Record::Exited { id, at, code, signal, oom } = record else { return };
        let exit = state::exit(code, signal, oom, at);
        if self.containers.contains_key(&id) {
            // It may have started and ended within one turn.
            self.settle_start(&id);
            self.close_container(&id, exit);
        } else if let Some((container, _)) = id.rsplit_once("-exec-") {
            // One that a former supervisor has started is new here.
            let container = container.to_string();
            self.execs.entry(id.clone()).or_insert_with(|| Exec::adopted(container, None));
            self.exec_status(&id);
            self.close_exec(&id, exit);
        }
    }

    /// Hears all that a starting container has said.
    fn settle_start(&mut self, id: &str) {
        // A terminal, and then the end: no child says more.
        for _ in 0..2 {
            self.container_status(id);
        }
    }

    /// The end of a container: its streams are read to the end, everybody is told.
    pub(super) fn close_container(&mut self, id: &str, exit: Exit) {
        match self.containers.get(id) {
            Some(container) if container.state != ContainerState::Exited => {}
            _ => return,
        }
        self.drain(id);
        let Some(container) = self.containers.get_mut(id) else { return };
        container.state = ContainerState::Exited;
        container.exit = Some(exit);
        container.process = None;
        container.stdin = None;
        container.watchers.clear();
        container.log.close();
        for output in container.outputs.drain(..) {
            self.sources.remove(&output.token);
        }
        if let Some((_, token)) = container.terminal.take() {
            self.sources.remove(&token);
        }
        let waiters = std::mem::take(&mut container.waiters);
        let (status, sandbox) = (container.status(), container.sandbox.clone());
        self.sources.retain(|_, source| !matches!(source, Source::Input(of) if of == id));
        if self.sandboxes.get(&sandbox).is_some_and(|sandbox| sandbox.init.is_some()) {
            self.release(&sandbox, id, None);
        }
        for to in waiters {
            self.answer(to, Ok(Answer::Container(status.clone())));
        }
        self.publish(Event::Exited(status));
        match self.container_cgroup(id) {
            Ok(path) => self.forget_cgroup(path),
            Err(e) => note(format_args!("container {id}: {e}")),
        }
        self.hurry();
    }

    pub(super) fn close_exec(&mut self, id: &str, exit: Exit) {
        let Some(exec) = self.execs.get_mut(id) else { return };
        exec.process = None;
        exec.exit = Some(exit.clone());
        let waiters = std::mem::take(&mut exec.waiters);
        if waiters.is_empty() {
            self.ended_execs.push_back(id.to_string());
            if self.ended_execs.len() > MAX_ENDED_EXECS
                && let Some(oldest) = self.ended_execs.pop_front()
            {
                self.execs.remove(&oldest);
            }
            return;
        }
        self.execs.remove(id);
        for to in waiters {
            self.answer(to, Ok(Answer::Exit(exit.clone())));
        }
    }

    /// A sandbox's init is gone: whatever lived in it is killed, for nobody reaps it any more.
    pub(super) fn lost(&mut self, sandbox: &str) {
        let Some(state) = self.sandboxes.get_mut(sandbox) else { return };
        if let Some(init) = state.init.take() {
            self.sources.remove(&init.token);
        }
        let (status, creating) = (state.status(), state.creating.take());
        if let Some((to, _)) = creating {
            self.answer(to, Err(Error::System("the pod init died".into())));
        }
        for id in self.containers_of(sandbox) {
            if self.containers[&id].state == ContainerState::Created {
                continue;
            }
            if let Err(e) = self.kill(&id) {
                note(format_args!("container {id}: {e}"));
            }
            self.close_container(&id, state::unknown_exit(sys::now()));
        }
        self.publish(Event::SandboxLost(status));
        self.hurry();
    }

    fn containers_of(&self, sandbox: &str) -> Vec<String> {
        let mine = self.containers.iter().filter(|(_, container)| container.sandbox == sandbox);
        mine.map(|(id, _)| id.clone()).collect()
    }

    /// SIGKILL to all of a container. With process ids of its own, its first process takes the
    /// others along.
    pub(super) fn kill(&mut self, id: &str) -> Result<()> {
        let path = self.container_cgroup(id)?;
        let container = self.container(id)?;
        if let Some(process) = &container.process {
            let killed = match process::signal(&process.pidfd, libc::SIGKILL) {
                // A profile of AppArmor may let nobody signal what it confines. Whoever kills by group (v2) is not
                // asked for rights.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => false,
                Err(e) if e.raw_os_error() != Some(libc::ESRCH) => {
                    return Err(Error::System(format!("kill container {id}: {e}")));
                }
                _ => true,
            };
            let sandbox = self.sandboxes.get(&container.sandbox);
            let first = container.spec.join_pids.is_none();
            if killed && first && sandbox.is_some_and(state::Sandbox::own_pids) {
                return Ok(());
            }
        }
        self.place.layout.at(&path).kill()
    }

    pub(super) fn remove_container(&mut self, to: ReplyTo, id: &str) {
        self.remove(Target::Container(id.to_string()), vec![to]);
    }

    pub(super) fn remove_sandbox(&mut self, to: ReplyTo, id: &str) {
        self.remove(Target::Sandbox(id.to_string()), vec![to]);
    }

    /// Everything ends, then this process. What has ended is told by the next supervisor.
    pub(super) fn shut_down(&mut self) {
        for id in self.sandboxes.keys().cloned().collect::<Vec<_>>() {
            self.remove(Target::Lives(id), Vec::new());
        }
        self.ending = true;
    }

    fn remove(&mut self, target: Target, replies: Vec<ReplyTo>) {
        match self.removals.iter_mut().find(|removal| removal.target == target) {
            Some(removal) => removal.replies.extend(replies),
            None => self.removals.push(Removal::new(target, replies)),
        }
    }

    /// Something has ended: every removal looks again at once.
    fn hurry(&mut self) {
        let now = Instant::now();
        self.removals.iter_mut().for_each(|removal| removal.next = now);
    }

    /// Tries all removals that are due.
    pub(super) fn advance(&mut self, now: Instant) {
        for mut removal in std::mem::take(&mut self.removals) {
            if removal.next > now {
                self.removals.push(removal);
                continue;
            }
            let result = match &removal.target {
                Target::Container(id) => self.try_remove_container(id),
                Target::Sandbox(id) => self.try_remove_sandbox(id),
                Target::Lives(id) => self.try_end_sandbox(id),
                Target::Cgroup(path) => self.try_remove_cgroup(path),
            };
            let result = match result {
                Ok(true) => Ok(Answer::Done),
                Ok(false) if now.duration_since(removal.since) < PATIENCE => {
                    removal.next = now + removal.pause;
                    removal.pause = (removal.pause * 2).min(LONGEST_PAUSE);
                    self.removals.push(removal);
                    continue;
                }
                Ok(false) => Err(Error::System(format!(
                    "{:?} is still busy after {} s; its processes do not die",
                    removal.target,
                    PATIENCE.as_secs()
                ))),
                Err(e) => Err(e),
            };
            if let Err(e) = &result {
                note(format_args!("remove {:?}: {e}", removal.target));
            }
            let result = result.map_err(crate::wire::Failure::from);
            for to in removal.replies {
                let result = match &result {
                    Ok(_) => Ok(Answer::Done),
                    Err(failure) => Err(failure.clone().into()),
                };
                self.answer(to, result);
            }
        }
    }

    fn try_remove_cgroup(&mut self, path: &std::path::Path) -> Result<bool> {
        let cgroup = self.place.layout.at(path);
        if cgroup.remove()? {
            return Ok(true);
        }
        cgroup.kill()?;
        Ok(false)
    }

    fn try_end_container(&mut self, id: &str) -> Result<bool> {
        let Some(container) = self.containers.get(id) else { return Ok(true) };
        if container.state == ContainerState::Running || container.starting.is_some() {
            self.kill(id)?;
            return Ok(false);
        }
        let path = self.container_cgroup(id)?;
        self.try_remove_cgroup(&path)
    }

    fn try_remove_container(&mut self, id: &str) -> Result<bool> {
        if !self.try_end_container(id)? {
            return Ok(false);
        }
        let folder = self.place.container(id);
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::System(format!("remove {}: {e}", folder.display())));
            }
            _ => {}
        }
        self.containers.remove(id);
        self.execs.retain(|_, exec| exec.container != id || !exec.waiters.is_empty());
        Ok(true)
    }

    fn try_end_sandbox(&mut self, id: &str) -> Result<bool> {
        let mut all = true;
        for container in self.containers_of(id) {
            all &= self.try_end_container(&container)?;
        }
        Ok(all && self.try_end_init(id)? && self.vacate_sandbox(id)?)
    }

    fn try_remove_sandbox(&mut self, id: &str) -> Result<bool> {
        if !self.sandboxes.contains_key(id) {
            return Ok(true);
        }
        let mut all = true;
        for container in self.containers_of(id) {
            all &= self.try_remove_container(&container)?;
        }
        if !all || !self.try_end_init(id)? || !self.clear_sandbox(id)? {
            return Ok(false);
        }
        self.sandboxes.remove(id);
        Ok(true)
    }

    /// Its connection ends when it is dead.
    fn try_end_init(&self, id: &str) -> Result<bool> {
        let init = self.sandboxes.get(id).and_then(|sandbox| sandbox.init.as_ref());
        let Some(init) = init else { return Ok(true) };
        match process::signal(&init.pidfd, libc::SIGKILL) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => {
                Err(Error::System(format!("kill pod init of {id}: {e}")))
            }
            _ => Ok(false),
        }
    }
}
