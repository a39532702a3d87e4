//! From a freshly forked child of the pod init to the container's program.
//!
//! The child is born in the sandbox's network, IPC and UTS namespaces, with its own mount (and
//! mostly pid) namespace. It joins its cgroup, builds its file system, gives up what it may not
//! keep, and executes. Whatever fails is said in words on the status socket, which closes by itself
//! when the program is executed: that is how the supervisor knows that it started.
//! Never here: anything that waits for somebody else.

use self::apparmor::Profile;
use self::inside::Inside;
use crate::spec::{ContainerSpec, ExecSpec};
use crate::sys::{self, process, socket};
use crate::wire::Failure;
use crate::{Error, Result, failed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

mod apparmor;
pub mod caps;
pub(crate) mod cgroup;
pub(crate) mod devices;
pub(crate) mod identity;
mod inside;
mod mounts;
mod program;
pub(crate) mod seccomp;
pub mod user;

/// What new files of a container are closed to, unless it says otherwise, as elsewhere.
const UMASK: u32 = 0o022;

/// Everything that the child needs to know; travels as JSON in a memory file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The container (also for an exec, which takes its user, capabilities and environment).
    pub spec: ContainerSpec,
    /// One more process instead of the first.
    pub exec: Option<ExecSpec>,
    /// Files to write oneself into (cgroup v1).
    pub join: Vec<PathBuf>,
    /// Mounts of /sys/fs/cgroup; empty means the one of v2.
    pub cgroup_views: Vec<(String, String)>,
    /// An empty folder to mount the root file system on.
    pub mountpoint: PathBuf,
    /// What becomes /dev/shm.
    pub shm: PathBuf,
    /// What becomes /proc where process ids are those of the pod; else a new one does.
    pub proc: Option<PathBuf>,
}

/// What a descriptor that comes with a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Role {
    /// A [`Job`] in JSON.
    Job,
    /// Where errors and the terminal's master go.
    Status,
    Stdin,
    Stdout,
    Stderr,
    /// A compiled filter.
    Seccomp,
    /// v2 cgroup to be born in (the init's business).
    Birthplace,
    /// A process, by its pidfd: that of a container, for an exec; whose process ids are joined, for
    /// a container.
    Target,
    /// To the init: where a child that joins a target says as whom it went there.
    Birth,
}

/// Descriptors by role.
pub(crate) type Descriptors = BTreeMap<Role, OwnedFd>;

/// What the child says on its status socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// The master of its terminal is attached.
    Terminal,
    /// It will not start.
    Failed(Failure),
}

/// Becomes the container's (or exec's) program. `events` is the sandbox's record of lives, into
/// which a failure to start is written, for whoever asks later.
pub(crate) fn become_program(id: &str, mut with: Descriptors, events: &OwnedFd) -> ! {
    let result = execute(&mut with, events);
    let Err(error) = result;
    let failure = Failure::from(error);
    let record = crate::init::Record::failed(id, &failure);
    let word = serde_json::to_vec(&Word::Failed(failure)).expect("has string keys only");
    let recorded = match with.get(&Role::Birth) {
        // In sight of a container, the record is not in hand any more: the init writes it.
        Some(birth) => socket::send(birth.as_raw_fd(), &word, &[]).map(drop),
        None => record.append(events),
    };
    if let Err(e) = recorded {
        eprintln!("container {id}: record a failed start: {e}");
    }
    if let Some(status) = with.get(&Role::Status) {
        // An error means that the supervisor has gone; the record tells its successor.
        let _ = socket::send(status.as_raw_fd(), &word, &[]);
    }
    process::exit_now(1)
}

/// A value that cannot exist: execution does not come back.
enum Never {}

fn execute(with: &mut Descriptors, events: &OwnedFd) -> Result<Never> {
    process::reset_signals();
    sys::set_umask(UMASK);
    // A process of the container must not reach this program's memory or file before it executes.
    process::control(libc::PR_SET_DUMPABLE, 0).map_err(failed("hide from ptrace"))?;
    let job = memory(with, Role::Job)?.ok_or_else(|| Error::System("there is no job".into()))?;
    let job: Job =
        serde_json::from_slice(&job).map_err(|e| Error::System(format!("read the job: {e}")))?;
    let filter = memory(with, Role::Seccomp)?;
    for file in &job.join {
        std::fs::write(file, "0")
            .map_err(|e| Error::System(format!("join cgroup {}: {e}", file.display())))?;
    }
    identity::set_oom_score(job.spec.oom_score_adj.unwrap_or(0))?;
    if job.spec.args.is_empty() && job.exec.is_none() {
        return Err(Error::Exec("no command specified".into()));
    }
    // What the last step closes by its number ([`be_born`]) is closed by nobody else.
    let profile = apparmor::Profile::open(job.spec.security.apparmor.as_deref())?;
    let profile = ManuallyDrop::new(profile);
    // Nothing of the machine is at hand any more when something of the container is looked at.
    let keep = with.values().chain([events]).chain(profile.as_ref().map(Profile::door));
    let keep = keep.map(AsRawFd::as_raw_fd).chain(0..3);
    process::close_all_but(&keep.collect::<Vec<_>>()).map_err(failed("close descriptors"))?;
    let (root, null) = match &job.exec {
        None => {
            process::unshare(libc::CLONE_NEWCGROUP).map_err(failed("cgroup namespace"))?;
            let proc = join(&job, with)?;
            mounts::build(&job, proc)?
        }
        Some(_) => {
            let root = enter(with)?;
            let null = mounts::null(&root)?;
            (root, null)
        }
    };
    let terminal = job.exec.as_ref().map_or(job.spec.terminal, |exec| exec.terminal);
    if terminal {
        open_terminal(&job, &root, with)?
    } else {
        wire_streams(&job, with, &null)?
    }
    let root = ManuallyDrop::new(root);
    // Closed on execution like all others; 0 to 2 are copies that stay.
    drop(null);
    run(&job, &root, with, profile.as_ref(), filter.as_deref())
}

/// What comes in a memory file is taken out of it and the file is closed.
fn memory(with: &mut Descriptors, role: Role) -> Result<Option<Vec<u8>>> {
    let file = with.remove(&role);
    let what = || format!("read {role:?}");
    file.map(|file| sys::contents(&file).map_err(failed(what()))).transpose()
}

/// Into the namespaces of a running container, all at once, by the process that holds them; into
/// its process ids with the fork at the end ([`be_born`]).
fn enter(with: &mut Descriptors) -> Result<Inside> {
    let target = with.remove(&Role::Target);
    let target = target.ok_or_else(|| Error::System("no container to enter".into()))?;
    let all = libc::CLONE_NEWCGROUP | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    process::enter(&target, all).map_err(failed("enter the container"))?;
    Inside::at(Path::new("/")).map_err(failed("open /"))
}

/// Shares the process ids of a target, if there is one, with the fork at the end. Returns what
/// becomes /proc: a new one would show the process ids of this process.
fn join(job: &Job, with: &mut Descriptors) -> Result<Option<OwnedFd>> {
    let Some(target) = with.remove(&Role::Target) else { return Ok(None) };
    let here = process::enter(&target, libc::CLONE_NEWPID);
    here.map_err(failed("join the process ids"))?;
    if let Some(proc) = &job.proc {
        return mounts::proc_at(proc).map(Some);
    }
    let home = sys::open(Path::new("/proc/self/ns/mnt"), libc::O_RDONLY, 0);
    let home = home.map_err(failed("open the mount namespace"))?;
    process::enter(&target, libc::CLONE_NEWNS).map_err(failed("enter the container"))?;
    let proc = mounts::proc_at(Path::new("/proc"))?;
    process::enter(&home, libc::CLONE_NEWNS).map_err(failed("leave the container"))?;
    Ok(Some(proc))
}

/// The step into the sight of other containers' processes, which may be allowed to look into any
/// that they see and to steer it (CAP_SYS_PTRACE): only a sibling of this process takes it, that has
/// nothing any more which they have not. The init, its parent, learns who it is.
fn be_born(with: &Descriptors) -> Result<()> {
    let Some(birth) = with.get(&Role::Birth) else { return Ok(()) };
    let status = with.get(&Role::Status).map(AsRawFd::as_raw_fd);
    let keep: Vec<_> = [0, 1, 2, birth.as_raw_fd()].into_iter().chain(status).collect();
    process::close_all_but(&keep).map_err(failed("close descriptors"))?;
    let forked = process::fork_sibling()
        .map_err(|e| Error::System(format!("join: clone: {e}; a seccomp profile must allow it")))?;
    let Some((pid, pidfd)) = forked else { return Ok(()) };
    // An error means that the init is dead, and everything in the pod with it.
    let _ = socket::send(birth.as_raw_fd(), &pid.to_ne_bytes(), &[pidfd.as_fd()]);
    process::exit_now(0)
}

/// A terminal of the container's own devpts: its far end becomes stdin, stdout and stderr, its
/// master goes out through the status socket.
fn open_terminal(job: &Job, root: &Inside, with: &Descriptors) -> Result<()> {
    let master = mounts::terminal(root)?;
    let peer = sys::open_tty_peer(&master).map_err(failed("open the far end of a pty"))?;
    if let Some(size) = job.exec.as_ref().and_then(|exec| exec.size) {
        sys::set_tty_size(&master, size.width, size.height).map_err(failed("size a pty"))?;
    }
    /// Group `tty`, as everywhere; the devpts is mounted with it.
    const TTY_GROUP: u32 = 5;
    sys::fchown(&peer, job.spec.user.uid, TTY_GROUP).map_err(failed("own a pty"))?;
    if job.exec.is_none() {
        mounts::console(root, peer.as_fd())?;
    }
    for to in 0..3 {
        process::duplicate_to(peer.as_raw_fd(), to).map_err(failed("dup a pty"))?;
    }
    let status = with.get(&Role::Status).ok_or_else(|| Error::System("no status".into()))?;
    let word = serde_json::to_vec(&Word::Terminal).expect("has string keys only");
    socket::send(status.as_raw_fd(), &word, &[master.as_fd()]).map_err(failed("hand out a pty"))?;
    Ok(())
}

/// The streams belong to the user, so that the program may open /dev/stdout again by name.
fn wire_streams(job: &Job, with: &Descriptors, null: &OwnedFd) -> Result<()> {
    for (to, role) in [(0, Role::Stdin), (1, Role::Stdout), (2, Role::Stderr)] {
        let stream = with.get(&role);
        if let Some(stream) = stream {
            sys::fchown(stream, job.spec.user.uid, job.spec.user.gid).map_err(failed("chown"))?;
        }
        let stream = stream.unwrap_or(null);
        process::duplicate_to(stream.as_raw_fd(), to).map_err(failed("dup a stream"))?;
    }
    Ok(())
}

/// Gives up privileges and executes.
fn run(
    job: &Job,
    root: &Inside,
    with: &Descriptors,
    profile: Option<&Profile>,
    filter: Option<&[u8]>,
) -> Result<Never> {
    let (args, cwd) = match &job.exec {
        Some(exec) => (&exec.args, exec.cwd.as_deref().unwrap_or(&job.spec.cwd)),
        None => (&job.spec.args, job.spec.cwd.as_str()),
    };
    let env = program::environment(job, root);
    let taken = identity::take(&job.spec, || program::enter_folder(root, cwd))?;
    let program = program::Program::find(args, &env)?;
    // Said of the execution, also of a sibling's.
    profile.map_or(Ok(()), Profile::apply)?;
    taken.confine(filter, || be_born(with))?;
    process::new_session().map_err(failed("start a session"))?;
    if job.exec.as_ref().map_or(job.spec.terminal, |exec| exec.terminal) {
        sys::set_controlling_tty(0).map_err(failed("take a pty"))?;
    }
    Err(program.execute())
}
