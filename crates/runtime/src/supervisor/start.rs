//! Starting containers and execs: everything is laid ready here, the pod init forks, and the child
//! says on its status socket how it went. The answer to the caller waits for that; nothing else
//! does.

use super::clients::ReplyTo;
use super::life::Removal;
use super::output::Output;
use super::state::{
    Container, ContainerFile, Exec, Process, Starting, check_id, save, start_error,
};
use super::{Source, Supervisor};
use crate::container::{Job, Role, Word, caps, devices, identity, seccomp, user};
use crate::init::{Held, Kind, Order};
use crate::spec::{ContainerSpec, ExecSpec, Namespace, PidMode, Rootfs, Seccomp};
use crate::status::{ContainerState, Event};
use crate::sys::{self, poll, socket};
use crate::wire::{Answer, Failure};
use crate::{Error, Result, failed};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Compiled filters that are kept: each differing set of capabilities has its own.
const MAX_FILTERS: usize = 64;

/// A compiled filter of RuntimeDefault for a set of capabilities, in a memory file.
pub(super) struct Filter {
    capabilities: u64,
    program: OwnedFd,
}

impl Supervisor {
    pub(super) fn create_container(
        &mut self,
        sandbox: String,
        spec: ContainerSpec,
    ) -> Result<Answer> {
        check_container(&spec)?;
        if !self.sandboxes.contains_key(&sandbox) {
            return Err(Error::NotFound(format!("sandbox {sandbox}")));
        }
        let id = spec.id.clone();
        if self.containers.contains_key(&id) {
            return Err(Error::Exists(format!("container {id}")));
        }
        let folder = self.place.container(&id);
        std::fs::create_dir(&folder).map_err(failed(folder.display()))?;
        let file = ContainerFile { created_at: sys::now(), sandbox, spec };
        save(&folder, &file)?;
        let container = Container::new(file);
        let status = container.status();
        self.containers.insert(id, container);
        Ok(Answer::Container(status))
    }

    /// The answer comes when the program has been executed.
    pub(super) fn start_container(&mut self, to: ReplyTo, id: &str) -> Result<()> {
        let container = self.container(id)?;
        if container.state != ContainerState::Created || container.starting.is_some() {
            return Err(Error::State(format!("container {id} has been started before")));
        }
        let launched = self.launch(to, id);
        if let Err(e) = launched {
            let failure = Failure::from(e);
            self.not_started(id, &failure);
            return Err(failure.into());
        }
        Ok(())
    }

    fn launch(&mut self, to: ReplyTo, id: &str) -> Result<()> {
        let folder = self.place.container(id);
        let container = self.container(id)?;
        let spec = container.spec.clone();
        let (sandbox, own_pids) = self.sandbox_of(id)?;
        let path = self.container_cgroup(id)?;
        let cgroup = self.place.layout.at(&path);
        cgroup.create()?;
        cgroup.limit(&spec.resources)?;
        cgroup.group_oom()?;
        if let Some(rules) = devices::rules(&spec)? {
            cgroup.devices(&rules)?;
        }
        let mountpoint = folder.join("rootfs");
        std::fs::create_dir(&mountpoint).map_err(failed(mountpoint.display()))?;
        let streams: &[_] = if spec.terminal { &["stdout"] } else { &["stdout", "stderr"] };
        let mut with = vec![];
        for (at, stream) in streams.iter().enumerate() {
            let path = folder.join(stream);
            sys::mknod(&path, libc::S_IFIFO | 0o600, 0).map_err(failed(path.display()))?;
            self.listen_to(id, at, stream)?;
            let end = sys::open(&path, libc::O_RDWR, 0).map_err(failed(path.display()))?;
            with.push((if at == 0 { Role::Stdout } else { Role::Stderr }, end));
        }
        self.container_mut(id)?.log.begin().map_err(failed("begin the log"))?;
        if spec.stdin && !spec.terminal {
            with.push((Role::Stdin, self.open_stdin(id, &sandbox)?));
        }
        let mut flags = libc::CLONE_NEWNS;
        match spec.join_pids.as_deref().filter(|_| own_pids) {
            Some(target) => with.push((Role::Target, self.pids_of(target, &sandbox)?)),
            None if own_pids => flags |= libc::CLONE_NEWPID,
            None => {}
        }
        let token = self.token(Source::ContainerStatus(id.to_string()));
        let job = self.job(spec, None, &path, mountpoint, &sandbox)?;
        let status = self.spawn(&sandbox, id, Kind::Container, flags, job, with)?;
        self.poll.add(status.as_raw_fd(), poll::IN, token).map_err(failed("epoll"))?;
        self.container_mut(id)?.starting = Some(Starting { reply: to, status, token });
        Ok(())
    }

    /// Opens a stream of a container and listens to it.
    pub(super) fn listen_to(&mut self, id: &str, at: usize, stream: &'static str) -> Result<()> {
        let token = self.token(Source::Output(id.to_string(), at));
        let output = Output::open(&self.place.container(id), stream, token)?;
        self.poll.add(output.fifo.as_raw_fd(), poll::IN, token).map_err(failed("epoll"))?;
        self.container_mut(id)?.outputs.push(output);
        Ok(())
    }

    /// Returns the container's end; the write end stays here, and with the init.
    fn open_stdin(&mut self, id: &str, sandbox: &str) -> Result<OwnedFd> {
        let (read, write) = sys::pipe().map_err(failed("pipe"))?;
        sys::set_nonblocking(&write).map_err(failed("pipe"))?;
        let order = Order::Hold { id: id.into(), what: Held::Stdin };
        self.order(sandbox, &order, &[&write])?;
        self.take_stdin(id, write)?;
        Ok(read)
    }

    /// Keeps the write end, and hears when a full pipe has room again.
    pub(super) fn take_stdin(&mut self, id: &str, write: OwnedFd) -> Result<()> {
        let token = self.token(Source::Input(id.to_string()));
        let interest = poll::OUT | poll::EDGE;
        self.poll.add(write.as_raw_fd(), interest, token).map_err(failed("epoll"))?;
        self.container_mut(id)?.stdin = Some(write);
        Ok(())
    }

    /// Keeps a terminal's master: it is read from like a pipe, and written to if there is a stdin.
    pub(super) fn take_terminal(&mut self, id: &str, master: OwnedFd) -> Result<()> {
        sys::set_nonblocking(&master).map_err(failed("terminal"))?;
        let token = self.token(Source::Terminal(id.to_string()));
        self.poll.add(master.as_raw_fd(), poll::IN, token).map_err(failed("epoll"))?;
        if self.container(id)?.spec.stdin {
            let copy = master.try_clone().map_err(failed("terminal"))?;
            self.take_stdin(id, copy)?;
        }
        self.container_mut(id)?.terminal = Some((master, token));
        Ok(())
    }

    /// The process of a running container of the sandbox, for its process ids.
    fn pids_of(&mut self, id: &str, sandbox: &str) -> Result<OwnedFd> {
        if self.container(id)?.sandbox != sandbox {
            return Err(Error::Invalid(format!("container {id} is in another sandbox")));
        }
        self.pidfd_of(id)
    }

    /// Never by number: that may be another's by the time that it is looked up.
    fn pidfd_of(&mut self, id: &str) -> Result<OwnedFd> {
        let process = self.running(id)?.process.as_ref();
        let process =
            process.ok_or_else(|| Error::State(format!("container {id} is not ready")))?;
        process.pidfd.try_clone().map_err(failed("copy a pidfd"))
    }

    fn job(
        &self,
        spec: ContainerSpec,
        exec: Option<ExecSpec>,
        cgroup: &Path,
        mountpoint: PathBuf,
        sandbox: &str,
    ) -> Result<Job> {
        let own_ipc = self.sandboxes.get(sandbox).is_some_and(|s| s.spec.ipc == Namespace::Own);
        let shm = if own_ipc { self.place.sandbox(sandbox).join("shm") } else { "/dev/shm".into() };
        let shared = self.sandboxes.get(sandbox).is_some_and(|s| s.spec.pid == PidMode::Pod);
        let proc = shared.then(|| self.place.sandbox(sandbox).join("proc"));
        let cgroup = self.place.layout.at(cgroup);
        let (join, cgroup_views) = (cgroup.join_files(), cgroup.views());
        Ok(Job { spec, exec, join, cgroup_views, mountpoint, shm, proc })
    }

    /// Hands a job to the init; returns our end of the status socket.
    fn spawn(
        &mut self,
        sandbox: &str,
        id: &str,
        kind: Kind,
        flags: i32,
        job: Job,
        mut with: Vec<(Role, OwnedFd)>,
    ) -> Result<OwnedFd> {
        if let Some(filter) = self.filter(&job.spec)? {
            with.push((Role::Seccomp, filter));
        }
        let path = self.container_cgroup(&job.spec.id)?;
        let cgroup = self.place.layout.at(&path);
        let oom_file = cgroup.oom_file();
        if let Some(folder) = cgroup.birthplace() {
            let folder = sys::open(&folder, libc::O_PATH | libc::O_DIRECTORY, 0)
                .map_err(failed(folder.display()))?;
            with.push((Role::Birthplace, folder));
        }
        let text = serde_json::to_vec(&job).expect("has string keys only");
        with.push((Role::Job, memory(c"skiff-job", &text)?));
        let (mine, theirs) = socket::pair(libc::SOCK_SEQPACKET).map_err(failed("socketpair"))?;
        sys::set_nonblocking(&mine).map_err(failed("socketpair"))?;
        with.push((Role::Status, theirs));
        let roles = with.iter().map(|(role, _)| *role).collect();
        let order = Order::Spawn { id: id.into(), kind, flags, oom_file, roles };
        let descriptors: Vec<_> = with.iter().map(|(_, descriptor)| descriptor).collect();
        self.order(sandbox, &order, &descriptors)?;
        Ok(mine)
    }

    /// One packet to an init.
    pub(super) fn order(&self, sandbox: &str, order: &Order, with: &[&OwnedFd]) -> Result<()> {
        let init = self.sandboxes.get(sandbox).and_then(|sandbox| sandbox.init.as_ref());
        let Some(init) = init else {
            return Err(Error::State(format!("sandbox {sandbox} is not ready")));
        };
        let packet = serde_json::to_vec(order).expect("has string keys only");
        let with: Vec<_> = with.iter().map(|descriptor| descriptor.as_fd()).collect();
        socket::send(init.connection.as_raw_fd(), &packet, &with)
            .map(|_| ())
            .map_err(failed("tell a pod init"))
    }

    /// Lets the init drop what it holds; None is all. An init that has gone holds nothing.
    pub(super) fn release(&self, sandbox: &str, id: &str, what: Option<Held>) {
        let id = id.to_string();
        let order = match what {
            Some(what) => Order::Release { id, what },
            None => Order::ReleaseAll { id },
        };
        if let Err(e) = self.order(sandbox, &order, &[]) {
            super::note(format_args!("release: {e}"));
        }
    }

    fn filter(&mut self, spec: &ContainerSpec) -> Result<Option<OwnedFd>> {
        let capabilities = caps::set(&spec.security)?;
        let usual = spec.security.seccomp == Seccomp::RuntimeDefault;
        let known = self.filters.iter().find(|filter| filter.capabilities == capabilities);
        if let Some(known) = known.filter(|_| usual && !spec.security.privileged) {
            return known.program.try_clone().map(Some).map_err(failed("copy a filter"));
        }
        let Some(program) = seccomp::filter(&spec.security, capabilities)? else {
            return Ok(None);
        };
        let program = memory(c"skiff-seccomp", &program)?;
        if usual && self.filters.len() < MAX_FILTERS {
            let program = program.try_clone().map_err(failed("copy a filter"))?;
            self.filters.push(Filter { capabilities, program });
        }
        Ok(Some(program))
    }

    /// The child of a container has said something, or has been executed.
    pub(super) fn container_status(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(starting) = container.starting.take() else { return };
        match listen(&starting.status) {
            Ok(None) => container.starting = Some(starting),
            Ok(Some(Heard::Executed)) => {
                self.sources.remove(&starting.token);
                self.started(id, starting.reply);
            }
            Ok(Some(Heard::Terminal(master))) => {
                container.starting = Some(starting);
                let sandbox = container.sandbox.clone();
                let order = Order::Hold { id: id.into(), what: Held::Terminal };
                let taken = self
                    .order(&sandbox, &order, &[&master])
                    .and_then(|()| self.take_terminal(id, master));
                if let Err(e) = taken {
                    super::note(format_args!("container {id}: terminal: {e}"));
                }
            }
            Err(failure) => {
                self.sources.remove(&starting.token);
                self.not_started(id, &failure);
                self.answer(starting.reply, Err(failure.into()));
            }
        }
    }

    fn started(&mut self, id: &str, reply: ReplyTo) {
        if self.containers.get(id).is_some_and(|container| container.process.is_none()) {
            // The init reported its process before the program ran: it is in the queue.
            if let Some(sandbox) = self.containers.get(id).map(|c| c.sandbox.clone()) {
                self.hear(&sandbox);
            }
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.state == ContainerState::Created {
            container.state = ContainerState::Running;
            container.started_at = Some(sys::now());
        }
        let status = container.status();
        self.publish(Event::Started(status.clone()));
        self.answer(reply, Ok(Answer::Container(status)));
    }

    /// Its life is over before it began.
    fn not_started(&mut self, id: &str, failure: &Failure) {
        self.close_container(id, start_error(failure, sys::now()));
    }

    /// The answer comes when the program has been executed.
    pub(super) fn exec(&mut self, to: ReplyTo, id: &str, spec: ExecSpec) -> Result<()> {
        let job_spec = self.running(id)?.spec.clone();
        let (sandbox, _) = self.sandbox_of(id)?;
        let exec = format!("{id}-exec-{:x}", sys::now());
        let (mut with, mut streams) = (Vec::new(), [None, None, None, None]);
        let wanted =
            if spec.terminal { [false; 3] } else { [spec.stdin, spec.stdout, spec.stderr] };
        for (at, role) in [Role::Stdin, Role::Stdout, Role::Stderr].into_iter().enumerate() {
            if wanted[at] {
                let (read, write) = self.client_pipe()?;
                let (theirs, mine) = if at == 0 { (read, write) } else { (write, read) };
                with.push((role, theirs));
                streams[at] = Some(mine);
            }
        }
        with.push((Role::Target, self.pidfd_of(id)?));
        let cgroup = self.container_cgroup(id)?;
        let job = self.job(job_spec, Some(spec), &cgroup, PathBuf::new(), &sandbox)?;
        let token = self.token(Source::ExecStatus(exec.clone()));
        let status = self.spawn(&sandbox, &exec, Kind::Exec, 0, job, with)?;
        self.poll.add(status.as_raw_fd(), poll::IN, token).map_err(failed("epoll"))?;
        let exec_state = Exec {
            container: id.to_string(),
            process: None,
            starting: Some(Starting { reply: to, status, token }),
            streams,
            exit: None,
            waiters: Vec::new(),
        };
        self.execs.insert(exec, exec_state);
        Ok(())
    }

    /// The child of an exec has said something, or has been executed.
    pub(super) fn exec_status(&mut self, id: &str) {
        let Some(exec) = self.execs.get_mut(id) else { return };
        let Some(starting) = exec.starting.take() else { return };
        match listen(&starting.status) {
            Ok(None) => exec.starting = Some(starting),
            Ok(Some(Heard::Terminal(master))) => {
                exec.streams[3] = Some(master);
                exec.starting = Some(starting);
            }
            Ok(Some(Heard::Executed)) => {
                self.sources.remove(&starting.token);
                let has = [0, 1, 2, 3].map(|at| exec.streams[at].is_some());
                let streams = exec.streams.iter_mut().filter_map(Option::take).collect();
                let answer = Answer::Streams { id: id.to_string(), has };
                self.answer_with(starting.reply, Ok(answer), streams);
            }
            Err(failure) => {
                self.sources.remove(&starting.token);
                self.execs.remove(id);
                self.answer(starting.reply, Err(failure.into()));
            }
        }
    }

    /// Whether something of this name runs, with its cgroup still to be removed.
    pub(super) fn forget_cgroup(&mut self, path: PathBuf) {
        self.removals.push(Removal::cgroup(path));
    }

    /// The cgroup of a container.
    pub(super) fn container_cgroup(&self, id: &str) -> Result<PathBuf> {
        let container = self.container(id)?;
        let sandbox = self.sandboxes.get(&container.sandbox);
        let parent = sandbox.map_or("", |sandbox| &sandbox.spec.cgroup_parent);
        Ok(self.place.cgroup(parent)?.join(id))
    }

    fn sandbox_of(&self, id: &str) -> Result<(String, bool)> {
        let name = &self.container(id)?.sandbox;
        match self.sandboxes.get(name) {
            Some(sandbox) if sandbox.init.is_some() => Ok((name.clone(), sandbox.own_pids())),
            _ => Err(Error::State(format!("sandbox {name} is not ready"))),
        }
    }
}

/// What a status socket says; an error is the child's, or that of the socket.
enum Heard {
    Executed,
    Terminal(OwnedFd),
}

fn listen(status: &OwnedFd) -> Result<Option<Heard>, Failure> {
    let (mut packet, mut carried) = (Vec::new(), Vec::new());
    match socket::receive(status.as_raw_fd(), &mut packet, &mut carried) {
        Ok(0) => return Ok(Some(Heard::Executed)),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(e) => return Err(Failure::System(format!("hear from a container: {e}"))),
    }
    match (serde_json::from_slice(&packet), carried.pop()) {
        (Ok(Word::Terminal), Some(master)) => Ok(Some(Heard::Terminal(master))),
        (Ok(Word::Failed(failure)), _) => Err(failure),
        (other, _) => Err(Failure::System(format!("a container said {other:?}"))),
    }
}

fn memory(name: &std::ffi::CStr, bytes: &[u8]) -> Result<OwnedFd> {
    let file = sys::memory_file(name).map_err(failed("memfd"))?;
    let file = std::fs::File::from(file);
    io::Write::write_all(&mut &file, bytes).map_err(failed("memfd"))?;
    Ok(file.into())
}

/// The process behind a pidfd, by its number on the machine.
pub(super) fn process_of(pidfd: OwnedFd) -> Result<Process> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(failed(path))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    // -1: it has been reaped already.
    let pid = pid.and_then(|pid| pid.trim().parse().ok()).unwrap_or(0);
    Ok(Process { pid, pidfd })
}

/// What can be known to be wrong before anything starts.
fn check_container(spec: &ContainerSpec) -> Result<()> {
    check_id(&spec.id)?;
    caps::set(&spec.security)?;
    user::check(&spec.user)?;
    for limit in &spec.rlimits {
        identity::limit_kind(&limit.kind)?;
    }
    match &spec.rootfs {
        Rootfs::Overlay { lower, .. } if lower.is_empty() => {
            return Err(Error::Invalid("an overlay needs at least one lower folder".into()));
        }
        Rootfs::Folder(path) if path.as_os_str().is_empty() => {
            return Err(Error::Invalid("a container needs a root file system".into()));
        }
        _ => {}
    }
    for mount in &spec.mounts {
        if !mount.target.is_absolute() {
            let target = mount.target.display();
            return Err(Error::Invalid(format!("mount target {target} must be absolute")));
        }
    }
    if spec.log_policy.max_size > 0 && spec.log_policy.max_files < 2 {
        return Err(Error::Invalid("a log that is rotated needs at least 2 files".into()));
    }
    Ok(())
}
