//! Making sandboxes: a pod init is cloned into new namespaces and executed.

use super::clients::ReplyTo;
use super::state::{Init, Sandbox, SandboxFile, check_id, save};
use super::{Source, Supervisor, note};
use crate::container::Word;
use crate::spec::{Namespace, PidMode, SandboxSpec};
use crate::sys::{self, mount, poll, process, socket};
use crate::wire::{Answer, Failure};
use crate::{Error, INIT_WORD, Result, failed, first};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Below the machine's root: where the supervisor and the pod inits live, out of reach of pods'
/// limits and of whoever stops the daemon's service.
pub(super) const OWN_CGROUP: &str = "supervisor";
/// The socket of a pod init, in its sandbox's folder.
pub(super) const INIT_SOCKET: &str = "init.sock";
/// The init's record, beside it.
pub(super) const EVENTS: &str = "events";
/// Shared memory of a sandbox that does not say how much.
const SHM_SIZE: u64 = 64 << 20;

impl Supervisor {
    /// The answer comes when the init has been executed.
    pub(super) fn create_sandbox(&mut self, to: ReplyTo, spec: SandboxSpec) -> Result<()> {
        check_sandbox(&spec)?;
        self.place.cgroup(&spec.cgroup_parent)?;
        let id = spec.id.clone();
        if self.sandboxes.contains_key(&id) {
            return Err(Error::Exists(format!("sandbox {id}")));
        }
        let folder = self.place.sandbox(&id);
        let made = self.make_sandbox(to, spec, &folder);
        if made.is_err() {
            self.clear_sandbox(&id)?;
        }
        made
    }

    fn make_sandbox(&mut self, to: ReplyTo, spec: SandboxSpec, folder: &Path) -> Result<()> {
        let id = spec.id.clone();
        std::fs::create_dir(folder).map_err(failed(folder.display()))?;
        if spec.ipc == Namespace::Own {
            let shm = folder.join("shm");
            std::fs::create_dir(&shm).map_err(failed(shm.display()))?;
            let size = if spec.shm_size == 0 { SHM_SIZE } else { spec.shm_size };
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            mount::mount("shm", &shm, "tmpfs", flags, &format!("mode=1777,size={size}"))
                .map_err(failed("mount shm"))?;
        }
        if spec.pid == PidMode::Pod {
            let proc = folder.join("proc");
            std::fs::create_dir(&proc).map_err(failed(proc.display()))?;
        }
        let parent = self.place.cgroup(&spec.cgroup_parent)?;
        let cgroup = self.place.layout.at(&parent);
        cgroup.create()?;
        cgroup.limit(&spec.resources)?;
        let file = SandboxFile { created_at: sys::now(), spec };
        save(folder, &file)?;
        let spec = file.spec;
        let listener = socket::listen_below(folder, INIT_SOCKET, libc::SOCK_SEQPACKET)
            .map_err(failed("listen for a pod init"))?;
        let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_APPEND;
        let events = sys::open(&folder.join(EVENTS), flags, 0o600).map_err(failed(EVENTS))?;
        let (mine, theirs) = socket::pair(libc::SOCK_SEQPACKET).map_err(failed("socketpair"))?;
        let child = match process::fork(clone_flags(&spec), None).map_err(failed("clone3"))? {
            process::Fork::Child => {
                let with = InitWith { folder, program: &self.program, listener, events };
                become_init(&spec, &with, &theirs)
            }
            process::Fork::Parent { pid, pidfd } => (pid as u32, pidfd),
        };
        let init = self.meet_init(&id, child.0, child.1)?;
        let token = self.token(Source::SandboxStatus(id.clone()));
        self.poll.add(mine.as_raw_fd(), poll::IN, token).map_err(failed("epoll"))?;
        let created_at = file.created_at;
        let sandbox = Sandbox { spec, created_at, init: Some(init), creating: Some((to, mine)) };
        self.sandboxes.insert(id, sandbox);
        Ok(())
    }

    /// Connects to an init (which need not run yet: its socket listens already).
    pub(super) fn meet_init(&mut self, id: &str, pid: u32, pidfd: OwnedFd) -> Result<Init> {
        let folder = self.place.sandbox(id);
        let connection = socket::connect_below(&folder, INIT_SOCKET, libc::SOCK_SEQPACKET)
            .map_err(failed("connect to a pod init"))?;
        sys::set_nonblocking(&connection).map_err(failed("connect to a pod init"))?;
        let token = self.token(Source::Init(id.to_string()));
        self.poll.add(connection.as_raw_fd(), poll::IN, token).map_err(failed("epoll"))?;
        Ok(Init { connection, token, pid, pidfd })
    }

    /// The init has been executed, or cannot be.
    pub(super) fn sandbox_status(&mut self, id: &str) {
        let Some(sandbox) = self.sandboxes.get_mut(id) else { return };
        let Some((to, status)) = sandbox.creating.take() else { return };
        let (mut packet, mut carried) = (Vec::new(), Vec::new());
        let failure = match socket::receive(status.as_raw_fd(), &mut packet, &mut carried) {
            Ok(0) => None,
            Ok(_) => match serde_json::from_slice(&packet) {
                Ok(Word::Failed(failure)) => Some(failure),
                other => Some(Failure::System(format!("a pod init said {other:?}"))),
            },
            Err(e) => Some(Failure::System(format!("start a pod init: {e}"))),
        };
        let Some(failure) = failure else {
            let status = sandbox.status();
            return self.answer(to, Ok(Answer::Sandbox(status)));
        };
        let cleared = self.clear_sandbox(id);
        if let Err(e) = cleared {
            note(format_args!("sandbox {id}: clean up a failed creation: {e}"));
        }
        self.sandboxes.remove(id);
        self.answer(to, Err(failure.into()));
    }

    /// Removes what a sandbox has outside of processes. False: its cgroup is still busy.
    pub(super) fn clear_sandbox(&mut self, id: &str) -> Result<bool> {
        if !self.vacate_sandbox(id)? {
            return Ok(false);
        }
        let folder = self.place.sandbox(id);
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(folder.display())(e)),
            _ => Ok(true),
        }
    }

    /// Removes its mounts and its cgroup. False: that is still busy.
    pub(super) fn vacate_sandbox(&mut self, id: &str) -> Result<bool> {
        for name in ["shm", "proc"] {
            let path = self.place.sandbox(id).join(name);
            match mount::unmount(&path, libc::MNT_DETACH) {
                // Not there, or not a mount.
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {}
                other => other.map_err(failed(format_args!("unmount {}", path.display())))?,
            }
        }
        let parent = self.sandboxes.get(id).map(|sandbox| sandbox.spec.cgroup_parent.clone());
        if let Some(parent) = parent.filter(|parent| !parent.is_empty()) {
            let parent = self.place.cgroup(&parent)?;
            return self.place.layout.at(&parent).remove();
        }
        Ok(true)
    }
}

fn check_sandbox(spec: &SandboxSpec) -> Result<()> {
    check_id(&spec.id)?;
    if spec.uts == Namespace::Host && !spec.hostname.is_empty() {
        return Err(Error::Invalid("a host name needs a UTS namespace of one's own".into()));
    }
    for name in spec.sysctls.keys() {
        sysctl(spec, name)?;
    }
    Ok(())
}

fn clone_flags(spec: &SandboxSpec) -> i32 {
    [
        (spec.network == Namespace::Own, libc::CLONE_NEWNET),
        (spec.ipc == Namespace::Own, libc::CLONE_NEWIPC),
        (spec.uts == Namespace::Own, libc::CLONE_NEWUTS),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// The file of a sysctl, if its namespace is the sandbox's own (sysctl(8): `.` and `/` separate;
/// where the first is a `/`, dots belong to names).
fn sysctl(spec: &SandboxSpec, name: &str) -> Result<PathBuf> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let slashes = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/');
    let path = if slashes {
        name.to_string()
    } else {
        name.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect()
    };
    let dotted = path.replace('/', ".");
    let needs = if path.starts_with("net/") {
        spec.network
    } else if IPC.contains(&dotted.as_str()) || path.starts_with("fs/mqueue/") {
        spec.ipc
    } else if dotted == "kernel.domainname" {
        spec.uts
    } else {
        return Err(Error::Invalid(format!("sysctl \"{name}\" is not namespaced")));
    };
    if needs == Namespace::Host {
        return Err(Error::Invalid(format!("sysctl \"{name}\" would change the host's")));
    }
    if path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(Error::Invalid(format!("sysctl \"{name}\" is malformed")));
    }
    Ok(Path::new("/proc/sys").join(path))
}

/// What an init is made of.
struct InitWith<'a> {
    folder: &'a Path,
    program: &'a OwnedFd,
    listener: OwnedFd,
    events: OwnedFd,
}

/// In the child: settles the namespaces, then becomes the same program in another role.
fn become_init(spec: &SandboxSpec, with: &InitWith<'_>, status: &OwnedFd) -> ! {
    let Err(error) = settle_init(spec, with);
    let word = Word::Failed(Failure::from(error));
    let word = serde_json::to_vec(&word).expect("has string keys only");
    // An error means that the supervisor has gone, and with it everybody who could be told.
    let _ = socket::send(status.as_raw_fd(), &word, &[]);
    process::exit_now(1)
}

fn settle_init(spec: &SandboxSpec, with: &InitWith<'_>) -> Result<std::convert::Infallible> {
    process::reset_signals();
    if spec.network == Namespace::Own {
        sys::loopback_up().map_err(failed("bring lo up"))?;
    }
    if !spec.hostname.is_empty() {
        process::set_hostname(&spec.hostname).map_err(failed("set the host name"))?;
    }
    for (name, value) in &spec.sysctls {
        let path = sysctl(spec, name)?;
        std::fs::write(path, value).map_err(failed(format_args!("write sysctl \"{name}\"")))?;
    }
    let first = (spec.pid == PidMode::Pod).then(|| first::start(&with.folder.join("proc")));
    let first = first.transpose()?;
    let mut words = vec!["skiff".to_string(), INIT_WORD.into(), spec.id.clone()];
    for descriptor in [&with.listener, &with.events].into_iter().chain(&first) {
        sys::keep_on_exec(descriptor).map_err(failed("keep a descriptor"))?;
        words.push(descriptor.as_raw_fd().to_string());
    }
    let words = words.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
    let args = words.expect("ids and numbers have no zero byte");
    let error = process::execute_open(with.program, &args, &[]);
    Err(failed("execute a pod init")(error))
}

/// This process's own program, as it may be executed within reach of containers: who finds it
/// through /proc (`exe` of a process that is about to become theirs) can read it, and never write to
/// the file on the machine, not even as root and when nobody executes it any more (CVE-2019-5736).
///
/// A read-only mount of its own costs no memory, where a copy in memory would cost all of the
/// program's length. It is opened anew and then let go: what belongs to no mount namespace any more,
/// nobody can make writable again (mount_setattr(2)).
pub(super) fn sealed_program() -> io::Result<OwnedFd> {
    let own = sys::open(Path::new("/proc/self/exe"), libc::O_PATH, 0)?;
    let tree = mount::copy_tree(own.as_fd(), 0)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    mount::set_attributes(tree.as_fd(), attributes, 0, libc::MS_PRIVATE, 0)?;
    let name = format!("/proc/self/fd/{}", tree.as_raw_fd());
    sys::open(Path::new(&name), libc::O_PATH, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn check(name: &str) -> String {
        let spec = SandboxSpec { uts: Namespace::Host, ..SandboxSpec::default() };
        match sysctl(&spec, name) {
            Ok(path) => path.display().to_string(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn sysctls() {
        expect!["/proc/sys/net/ipv4/ip_forward"].assert_eq(&check("net.ipv4.ip_forward"));
        expect!["/proc/sys/net/ipv4/conf/eth0.1/rp_filter"]
            .assert_eq(&check("net/ipv4/conf/eth0.1/rp_filter"));
        expect!["/proc/sys/kernel/shm_rmid_forced"].assert_eq(&check("kernel.shm_rmid_forced"));
        expect![[r#"sysctl "kernel.panic" is not namespaced"#]].assert_eq(&check("kernel.panic"));
        expect![[r#"sysctl "kernel.domainname" would change the host's"#]]
            .assert_eq(&check("kernel.domainname"));
        expect![[r#"sysctl "net/../kernel/panic" is malformed"#]]
            .assert_eq(&check("net/../kernel/panic"));
    }
}
