//! What the supervisor knows: sandboxes, containers, execs, and the files that outlive it.
//!
//! ```text
//! root/sandboxes/<id>/  spec.json  init.sock  events (written by the init)  shm/
//! root/containers/<id>/ spec.json  stdout stderr (FIFOs)  *.carry (unfinished lines)  rootfs/
//! ```
//! A state is never stored: it follows from the spec (it was created), the init's record (it
//! started, it ended) and the init itself (it is alive). Never here: system calls beyond files.

use super::clients::ReplyTo;
use super::output::{Log, Output, Watcher};
use crate::container::cgroup::Layout;
use crate::spec::{ContainerSpec, PidMode, SandboxSpec};
use crate::status::{ContainerState, ContainerStatus, Exit, ExitReason, Nanos, SandboxStatus};
use crate::wire::Failure;
use crate::{Error, Result, failed};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The folders of a machine.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub root: PathBuf,
    pub cgroup_root: PathBuf,
    pub layout: Layout,
}

impl Place {
    pub(super) fn sandbox(&self, id: &str) -> PathBuf {
        self.root.join("sandboxes").join(id)
    }

    pub(super) fn container(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id)
    }

    /// A cgroup path of a caller, below the machine's root.
    pub(super) fn cgroup(&self, path: &str) -> Result<PathBuf> {
        let fine = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !fine && !path.is_empty() {
            return Err(Error::Invalid(format!("\"{path}\" is not a relative cgroup path")));
        }
        Ok(self.cgroup_root.join(path))
    }
}

/// A sandbox.
pub(super) struct Sandbox {
    pub spec: SandboxSpec,
    pub created_at: Nanos,
    /// None: it has lost its namespaces.
    pub init: Option<Init>,
    /// Its creation is under way.
    pub creating: Option<(ReplyTo, OwnedFd)>,
}

/// The way to a pod init.
pub(super) struct Init {
    pub connection: OwnedFd,
    pub token: u64,
    pub pid: u32,
    pub pidfd: OwnedFd,
}

/// A container.
pub(super) struct Container {
    pub sandbox: String,
    pub spec: ContainerSpec,
    pub created_at: Nanos,
    pub state: ContainerState,
    pub started_at: Option<Nanos>,
    pub exit: Option<Exit>,
    pub process: Option<Process>,
    /// Its start is under way: who asked, and its status socket.
    pub starting: Option<Starting>,
    pub log: Log,
    pub outputs: Vec<Output>,
    /// The write end of its stdin.
    pub stdin: Option<OwnedFd>,
    /// The master of its terminal, and the token it is watched under.
    pub terminal: Option<(OwnedFd, u64)>,
    pub watchers: Vec<Watcher>,
    pub waiters: Vec<ReplyTo>,
}

/// A process that the init has started.
#[derive(Debug)]
pub(super) struct Process {
    pub pid: u32,
    pub pidfd: OwnedFd,
}

/// A start under way.
pub(super) struct Starting {
    pub reply: ReplyTo,
    pub status: OwnedFd,
    pub token: u64,
}

/// One more process in a container.
pub(super) struct Exec {
    pub container: String,
    pub process: Option<Process>,
    pub starting: Option<Starting>,
    /// stdin, stdout, stderr, terminal: for the caller, once it has started.
    pub streams: [Option<OwnedFd>; 4],
    pub exit: Option<Exit>,
    pub waiters: Vec<ReplyTo>,
}

/// `spec.json` of a sandbox.
#[derive(Serialize, Deserialize)]
pub(super) struct SandboxFile {
    pub created_at: Nanos,
    pub spec: SandboxSpec,
}

/// `spec.json` of a container.
#[derive(Serialize, Deserialize)]
pub(super) struct ContainerFile {
    pub created_at: Nanos,
    pub sandbox: String,
    pub spec: ContainerSpec,
}

impl Exec {
    /// Started by a former supervisor.
    pub(super) fn adopted(container: String, process: Option<Process>) -> Exec {
        let streams = [None, None, None, None];
        Exec { container, process, starting: None, streams, exit: None, waiters: Vec::new() }
    }
}

impl Sandbox {
    pub(super) fn status(&self) -> SandboxStatus {
        let pid = self.init.as_ref().map(|init| init.pid);
        let own = self.spec.network == crate::spec::Namespace::Own;
        SandboxStatus {
            id: self.spec.id.clone(),
            labels: self.spec.labels.clone(),
            ready: pid.is_some(),
            pid,
            netns: pid.filter(|_| own).map(|pid| format!("/proc/{pid}/ns/net").into()),
            created_at: self.created_at,
        }
    }

    /// Whether a container's end ends all of its processes by itself.
    pub(super) fn own_pids(&self) -> bool {
        self.spec.pid == PidMode::Container
    }
}

impl Container {
    pub(super) fn new(file: ContainerFile) -> Container {
        Container {
            log: Log::new(file.spec.log_path.clone(), file.spec.log_policy),
            sandbox: file.sandbox,
            spec: file.spec,
            created_at: file.created_at,
            state: ContainerState::Created,
            started_at: None,
            exit: None,
            process: None,
            starting: None,
            outputs: Vec::new(),
            stdin: None,
            terminal: None,
            watchers: Vec::new(),
            waiters: Vec::new(),
        }
    }

    pub(super) fn status(&self) -> ContainerStatus {
        ContainerStatus {
            id: self.spec.id.clone(),
            sandbox: self.sandbox.clone(),
            labels: self.spec.labels.clone(),
            state: self.state,
            created_at: self.created_at,
            pid: self.process.as_ref().map(|process| process.pid),
            started_at: self.started_at,
            exit: self.exit.clone(),
            log_path: self.spec.log_path.clone(),
        }
    }
}

/// How a recorded exit looks from outside.
pub(super) fn exit(code: i32, signal: Option<i32>, oom: bool, finished_at: Nanos) -> Exit {
    let reason = match code {
        _ if oom => ExitReason::OOMKilled,
        0 => ExitReason::Completed,
        _ => ExitReason::Error,
    };
    Exit { code, signal, reason, message: String::new(), finished_at }
}

/// A program that did not start: the code that container runtimes give it.
pub(super) fn start_error(failure: &Failure, finished_at: Nanos) -> Exit {
    let message = Error::from(failure.clone()).to_string();
    Exit { code: 128, signal: None, reason: ExitReason::StartError, message, finished_at }
}

/// Nobody saw it end.
pub(super) fn unknown_exit(finished_at: Nanos) -> Exit {
    let message = "the container ended while its exit could not be recorded".into();
    Exit { code: 137, signal: None, reason: ExitReason::Unknown, message, finished_at }
}

/// Ids become file names, cgroup names and words on a command line.
pub(super) fn check_id(id: &str) -> Result<()> {
    const MAX: usize = 128;
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > MAX || id.starts_with('.') || !id.chars().all(fine) {
        return Err(Error::Invalid(format!("\"{id}\" is not an id: use A-Z a-z 0-9 - _ . only")));
    }
    Ok(())
}

/// Whole or not at all, also when killed in between.
pub(super) fn save(folder: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(|e| Error::Invalid(format!("encode: {e}")))?;
    let (new, name) = (folder.join("spec.json.new"), folder.join("spec.json"));
    std::fs::write(&new, text).map_err(failed(format_args!("write {}", new.display())))?;
    std::fs::rename(&new, &name).map_err(failed(format_args!("write {}", name.display())))
}

/// None: the folder was being made or removed when the last supervisor died.
pub(super) fn load<T: DeserializeOwned>(folder: &Path) -> Result<Option<T>> {
    let path = folder.join("spec.json");
    let text = match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed(format_args!("read {}", path.display())))?,
    };
    let wrong = |e| Error::System(format!("{} is damaged ({e}); remove it", path.display()));
    serde_json::from_slice(&text).map(Some).map_err(wrong)
}
