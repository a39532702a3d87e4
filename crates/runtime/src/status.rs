//! What a caller gets told: states, exits, events, use of resources.
//!
//! Never here: IO or opinions; a status is what the supervisor and the kernel said.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One container as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its id.
    pub id: String,
    /// The sandbox it lives in.
    pub sandbox: String,
    /// The caller's marks.
    pub labels: BTreeMap<String, String>,
    /// Where it is in its life.
    pub state: ContainerState,
    /// Created, as [`Nanos`].
    pub created_at: Nanos,
    /// Process id on the machine while it runs.
    pub pid: Option<u32>,
    /// When its program started.
    pub started_at: Option<Nanos>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Its log.
    pub log_path: Option<PathBuf>,
}

/// Nanoseconds since 1970 UTC, by the machine's clock.
pub type Nanos = i64;

/// The life of a container, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Known, not started.
    Created,
    /// Its program runs.
    Running,
    /// Its program ended, or could not be started.
    Exited,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// As a shell counts: 128 + signal if a signal ended it; 128 if it could not be started.
    pub code: i32,
    /// The signal, if one ended it.
    pub signal: Option<i32>,
    /// Why.
    pub reason: ExitReason,
    /// For humans; empty if there is nothing to say.
    pub message: String,
    /// When.
    pub finished_at: Nanos,
}

/// Kubernetes' words for the end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitReason {
    /// Code 0.
    Completed,
    /// Any other code.
    Error,
    /// The kernel killed a process of the container for lack of memory.
    OOMKilled,
    /// The program could not be started; `message` says why.
    StartError,
    /// It ended while nobody could see it (power cut, a killed pod init): code 137.
    Unknown,
}

/// One sandbox as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// Its id.
    pub id: String,
    /// The caller's marks.
    pub labels: BTreeMap<String, String>,
    /// Whether its namespaces stand and containers can start in it. A sandbox that lost them (the
    /// machine was started anew, its init was killed) can only be removed.
    pub ready: bool,
    /// Process id of the pod init, while ready.
    pub pid: Option<u32>,
    /// The network namespace, to attach interfaces and to enter; None with the host's or not ready.
    pub netns: Option<PathBuf>,
    /// When it was created.
    pub created_at: Nanos,
}

/// Everything there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// By id.
    pub sandboxes: Vec<SandboxStatus>,
    /// By id.
    pub containers: Vec<ContainerStatus>,
}

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A container's program started.
    Started(ContainerStatus),
    /// A container ended.
    Exited(ContainerStatus),
    /// A sandbox lost its namespaces.
    SandboxLost(SandboxStatus),
    /// Events may have been missed (slow reader, new supervisor): list.
    Resync,
}

/// Use of resources of one container or sandbox, from its cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// CPU time used so far.
    pub cpu_ns: u64,
    /// Memory in use, page cache included.
    pub memory_bytes: u64,
    /// Memory in use without the page cache that can be dropped at once (working set).
    pub memory_working_set_bytes: u64,
    /// Anonymous memory.
    pub memory_rss_bytes: u64,
    /// Page faults, and those that read the disk.
    pub page_faults: u64,
    /// Of them, those that had to read.
    pub major_page_faults: u64,
    /// The limit, if there is one.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Processes that the kernel killed for lack of memory.
    pub oom_kills: u64,
}
