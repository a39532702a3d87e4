//! What a caller asks for: sandboxes, containers, execs, as plain values.
//!
//! Names are resolved and policy is decided by the caller; nothing here has a Kubernetes default.
//! Every field is honoured, or the request is refused with [`crate::Error::Invalid`].
//! Never here: IO, or a field that nobody reads.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One container: a program, its root file system, and what it may touch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Unique in the machine; letters, digits, `-`, `_` and `.`, at most 128.
    pub id: String,
    /// The caller's own marks; kept and listed, never read.
    pub labels: BTreeMap<String, String>,
    /// Program and arguments; the program is looked up in the PATH of `env` unless it has a slash.
    pub args: Vec<String>,
    /// `NAME=value`. HOME (from the image's passwd) and, with a terminal, TERM are added if absent.
    pub env: Vec<String>,
    /// Working directory inside the container, made if it is missing; empty means `/`.
    pub cwd: String,
    /// Where the root file system comes from.
    pub rootfs: Rootfs,
    /// Makes the root file system read-only (mounts keep their own mode).
    pub readonly_rootfs: bool,
    /// Mounts in the order they are made. /proc, /sys, /dev, /dev/pts, /dev/mqueue, /dev/shm and
    /// /sys/fs/cgroup are made first and need not be listed.
    pub mounts: Vec<Mount>,
    /// Who runs the program.
    pub user: User,
    /// Capabilities, masked paths, seccomp and the like.
    pub security: Security,
    /// Device nodes beyond the usual ones (null, zero, full, random, urandom, tty).
    pub devices: Vec<Device>,
    /// Limits for the container's own cgroup, `<cgroup_parent of the sandbox>/<id>`.
    pub resources: Resources,
    /// Resource limits of the process. Raising a hard limit may be refused by the kernel: the
    /// nearest permitted value is taken then.
    pub rlimits: Vec<Rlimit>,
    /// Written softly: a value lower than the kernel permits is replaced by the lowest permitted.
    pub oom_score_adj: Option<i32>,
    /// A running container of the same sandbox whose process ids it shares; None has what the
    /// sandbox's [`PidMode`] says.
    pub join_pids: Option<String>,
    /// Gives the container a terminal; stdout and stderr are one stream then.
    pub terminal: bool,
    /// Keeps a stdin open for attached clients; otherwise it is /dev/null.
    pub stdin: bool,
    /// Closes stdin for good when the first attached client that had it ends.
    pub stdin_once: bool,
    /// Where the log goes, in the format of CRI; parents are made. None discards the output
    /// (attached clients see it all the same).
    pub log_path: Option<PathBuf>,
    /// When the log is rotated.
    pub log_policy: LogPolicy,
}

/// The place where containers live together: the namespaces they share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxSpec {
    /// Unique in the machine; same alphabet as a container's.
    pub id: String,
    /// The caller's own marks; kept and listed, never read.
    pub labels: BTreeMap<String, String>,
    /// Host name in the sandbox's own UTS namespace; must be empty with `uts: Host`.
    pub hostname: String,
    /// Network namespace.
    pub network: Namespace,
    /// IPC namespace (System V, message queues) and /dev/shm.
    pub ipc: Namespace,
    /// UTS namespace (host name).
    pub uts: Namespace,
    /// Who shares process ids.
    pub pid: PidMode,
    /// `net.ipv4.ip_forward` = `1` and the like (`/` works as separator too). Those of a namespace
    /// that is the host's are refused.
    pub sysctls: BTreeMap<String, String>,
    /// Size of /dev/shm in bytes; 0 means 64 MiB. Unused with `ipc: Host`.
    pub shm_size: u64,
    /// The sandbox's own cgroup below [`crate::client::Config::cgroup_root`], for example
    /// `kubepods/burstable/pod123`. Made with the sandbox and removed with it (the last component
    /// only; make the ones above with [`crate::client::Runtime::set_cgroup`]).
    pub cgroup_parent: String,
    /// Limits of that cgroup.
    pub resources: Resources,
}

/// Whether a namespace is made for the sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// One of its own.
    #[default]
    Own,
    /// The machine's.
    Host,
}

/// Which processes a container sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidMode {
    /// Its own (each container has a process 1).
    #[default]
    Container,
    /// All of the sandbox (shareProcessNamespace); process 1 is nobody, and reaps.
    Pod,
    /// All of the machine.
    Host,
}

/// The root file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay, mounted in the container's own mount namespace only. `upper` and `work` are made
    /// if missing, and stay when the container is removed.
    Overlay {
        /// Topmost first; at least one.
        lower: Vec<PathBuf>,
        /// Takes the writes.
        upper: PathBuf,
        /// On the same file system as `upper`.
        work: PathBuf,
    },
    /// A folder, used as it is (its writes stay in it).
    Folder(PathBuf),
}

impl Default for Rootfs {
    fn default() -> Rootfs {
        Rootfs::Folder(PathBuf::new())
    }
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container; resolved inside its root file system, made if missing.
    pub target: PathBuf,
    /// What is mounted.
    pub source: MountSource,
    /// Read-only.
    pub readonly: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or folder of the machine. It must exist.
    Bind {
        /// Where it is.
        path: PathBuf,
        /// Below `path`: resolved so that neither `..` nor a symbolic link leads out of it, and
        /// made as a folder if missing (as open as `path` is).
        sub_path: Option<PathBuf>,
        /// How mounts below it travel.
        propagation: Propagation,
        /// With `readonly`: mounts below it are read-only too (RecursiveReadOnly).
        recursive_readonly: bool,
    },
    /// What the root file system has at the target itself, made as a folder if it is missing: it
    /// can be written to even where the root is read-only.
    Own,
    /// A fresh tmpfs.
    Tmpfs {
        /// Bytes; None for the kernel's default of half of the memory.
        size: Option<u64>,
        /// Permission bits of its root, for example 0o1777.
        mode: u32,
    },
}

/// Kubernetes' mountPropagation, by mount(2)'s names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// None.
    #[default]
    Private,
    /// HostToContainer.
    Slave,
    /// Bidirectional.
    Shared,
}

/// Numbers only; [`crate::container::user::resolve`] makes them from names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What the program may do beyond its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// All capabilities and host devices, nothing masked, /sys and cgroups writable, no seccomp.
    pub privileged: bool,
    /// Beyond [`crate::container::caps::DEFAULT`]: `NET_ADMIN`, `CAP_NET_ADMIN` or `ALL`.
    pub add_capabilities: Vec<String>,
    /// Taken away: `ALL` before single ones are added, single names after.
    pub drop_capabilities: Vec<String>,
    /// The program and its children can never gain privileges by executing a file.
    pub no_new_privileges: bool,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// The AppArmor profile, which must have been loaded; None takes no other than the runtime's own.
    pub apparmor: Option<String>,
    /// procMount: Default hides parts of /proc, Unmasked does not.
    pub proc_mount: ProcMount,
}

impl Default for Security {
    fn default() -> Security {
        Security {
            privileged: false,
            add_capabilities: Vec::new(),
            drop_capabilities: Vec::new(),
            no_new_privileges: false,
            seccomp: Seccomp::RuntimeDefault,
            apparmor: None,
            proc_mount: ProcMount::Default,
        }
    }
}

/// How much of /proc is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcMount {
    /// Masked and read-only paths as container runtimes have them.
    #[default]
    Default,
    /// All of it.
    Unmasked,
}

/// Which system call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// The runtime's own.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A profile in the format of the OCI runtime specification, on this machine's disk.
    Localhost(PathBuf),
}

/// A device of the machine in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The node on the machine.
    pub host_path: PathBuf,
    /// Where it appears.
    pub path: PathBuf,
    /// Any of `rwm`.
    pub access: String,
}

/// cgroup limits; None leaves a value as it is (on creation: as the kernel has it).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative weight as cgroup v1 counts (1024 is one core's request); converted for v2.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; -1 lifts the limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds; 100000 if absent.
    pub cpu_period: Option<u64>,
    /// Bytes; -1 lifts the limit.
    pub memory: Option<i64>,
    /// Processes and threads; -1 lifts the limit.
    pub pids: Option<i64>,
    /// Page size (`2MB`, `1GB`) to bytes. Refused where the kernel has no such controller.
    pub hugepages: BTreeMap<String, u64>,
}

/// One limit of setrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `nofile`, `nproc`, `core` and so on (`RLIMIT_NOFILE` is understood too).
    pub kind: String,
    /// Soft.
    pub soft: u64,
    /// Hard.
    pub hard: u64,
}

/// Size and number of log files. When the current one has passed `max_size`, it is renamed to
/// `<path>.<YYYYMMDD-HHMMSS>`, and the oldest beyond `max_files` (the current one counts) goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPolicy {
    /// Bytes; 0 never rotates.
    pub max_size: u64,
    /// At least 2 where `max_size` is set.
    pub max_files: u32,
}

impl Default for LogPolicy {
    /// The kubelet's containerLogMaxSize and containerLogMaxFiles.
    fn default() -> LogPolicy {
        LogPolicy { max_size: 10 << 20, max_files: 5 }
    }
}

/// One more process in a running container, with its user, capabilities and filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSpec {
    /// Program and arguments, as in a container.
    pub args: Vec<String>,
    /// Added to (and winning over) the container's.
    pub env: Vec<String>,
    /// None takes the container's.
    pub cwd: Option<String>,
    /// A terminal instead of pipes.
    pub terminal: bool,
    /// Wants a stdin; otherwise it is /dev/null.
    pub stdin: bool,
    /// Wants the output streams; otherwise they are /dev/null.
    pub stdout: bool,
    /// As `stdout`; without meaning for a terminal.
    pub stderr: bool,
    /// First size of the terminal.
    pub size: Option<TtySize>,
}

/// Which streams of a running container a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttachSpec {
    /// Feed its stdin (refused if the container has none).
    pub stdin: bool,
    /// See its stdout (with a terminal: all its output).
    pub stdout: bool,
    /// See its stderr; empty for a container with a terminal.
    pub stderr: bool,
}

/// Rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtySize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}
