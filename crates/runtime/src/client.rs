//! The daemon's door to the supervisor: async calls, events, streams.
//!
//! One task owns the connection: it reads answers and events, and when the supervisor goes away it
//! starts another one and connects again; containers do not notice. A call that was under way then
//! ends in [`Error::Lost`], except for those that only look or wait: they are asked again.
//!
//! Never here: a decision about containers, and polling (an exit is an event).

use crate::spec::{AttachSpec, ContainerSpec, ExecSpec, Resources, SandboxSpec, TtySize};
use crate::status::{ContainerStatus, Event, Exit, Listing, SandboxStatus, Stats};
use crate::stream::{Stream, Terminal};
use crate::wire::{Answer, Ask};
use crate::{Error, Result};
use connection::Keeper;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::broadcast;

mod connection;

/// Everything of the machine that the runtime may touch.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder for sockets, state and the containers' pipes; made with mode 0700. Everything in it
    /// is the runtime's.
    pub root: PathBuf,
    /// Below each cgroup mount: `skiff`, `machine-7/skiff`. Made if missing; [`Runtime::shutdown`]
    /// removes what is empty of it.
    pub cgroup_root: String,
    /// The program that is executed as supervisor; its `main` calls [`crate::reexec`] first.
    pub exe: PathBuf,
}

/// The runtime of one machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    keeper: Arc<Keeper>,
}

/// A process started in a container, and its ends of the streams.
#[derive(Debug)]
pub struct Exec {
    /// For [`Runtime::signal_exec`] and [`Runtime::wait_exec`].
    pub id: String,
    /// Drop it to give the process an end of file.
    pub stdin: Option<Stream>,
    /// With a terminal: all output.
    pub stdout: Option<Stream>,
    /// None with a terminal.
    pub stderr: Option<Stream>,
    /// Resizes the terminal, if there is one.
    pub terminal: Option<Terminal>,
}

/// A client of a running container's streams. Dropping the streams detaches it.
#[derive(Debug)]
pub struct Attach {
    /// Bytes for the container.
    pub stdin: Option<Stream>,
    /// From now on, not from the start. Ends when the container ends, or when the reader was so
    /// slow that the container would have had to wait for it.
    pub stdout: Option<Stream>,
    /// As `stdout`.
    pub stderr: Option<Stream>,
}

/// What happens to containers, from the moment of [`Runtime::events`] on.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next one; None when the runtime is gone. A reader that fell behind gets
    /// [`Event::Resync`] in place of what it missed.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Event::Resync),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Runtime {
    /// Finds the machine's supervisor, or starts it (it adopts whatever runs).
    pub async fn open(config: Config) -> Result<Runtime> {
        Ok(Runtime { keeper: Keeper::open(config).await? })
    }

    /// Makes the namespaces. Attach the network to `netns` before containers need it.
    pub async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxStatus> {
        match self.keeper.ask(Ask::CreateSandbox(Box::new(spec.clone()))).await?.0 {
            Answer::Sandbox(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Kills and removes its containers, its namespaces, its cgroup. Done when all is gone.
    /// Removing one that does not exist succeeds.
    pub async fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.done(Ask::RemoveSandbox { id: id.into() }).await
    }

    /// Keeps the spec; starts nothing.
    pub async fn create_container(
        &self,
        sandbox: &str,
        spec: &ContainerSpec,
    ) -> Result<ContainerStatus> {
        let spec = Box::new(spec.clone());
        self.container(Ask::CreateContainer { sandbox: sandbox.into(), spec }).await
    }

    /// Returns when the program has been executed. If it cannot be, the container is `Exited` with
    /// reason `StartError`, and the error is [`Error::Exec`].
    pub async fn start_container(&self, id: &str) -> Result<ContainerStatus> {
        self.container(Ask::StartContainer { id: id.into() }).await
    }

    /// To process 1 of the container. Succeeds if it has ended already.
    pub async fn signal_container(&self, id: &str, signal: i32) -> Result<()> {
        self.done(Ask::SignalContainer { id: id.into(), signal }).await
    }

    /// SIGKILL to every process of the container.
    pub async fn kill_container(&self, id: &str) -> Result<()> {
        self.done(Ask::KillContainer { id: id.into() }).await
    }

    /// Returns when the container has ended (at once if it has).
    pub async fn wait_container(&self, id: &str) -> Result<ContainerStatus> {
        loop {
            match self.container(Ask::WaitContainer { id: id.into() }).await {
                Err(Error::Lost) => continue,
                other => return other,
            }
        }
    }

    /// Kills it if it runs and removes all but its log and its upper folder. Removing one that does
    /// not exist succeeds.
    pub async fn remove_container(&self, id: &str) -> Result<()> {
        self.done(Ask::RemoveContainer { id: id.into() }).await
    }

    /// All sandboxes and containers.
    pub async fn list(&self) -> Result<Listing> {
        loop {
            match self.keeper.ask(Ask::List).await {
                Ok((Answer::Listing(listing), _)) => return Ok(listing),
                Ok((other, _)) => return Err(unexpected(&other)),
                Err(Error::Lost) => continue,
                Err(e) => return Err(e),
            }
        }
    }

    /// Starts and exits from now on. Subscribe first, then list.
    pub fn events(&self) -> Events {
        Events(self.keeper.events())
    }

    /// Runs one more process in a running container.
    pub async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<Exec> {
        let ask = Ask::Exec { id: id.into(), spec: Box::new(spec.clone()) };
        let (id, [stdin, stdout, stderr, terminal]) = self.streams(ask).await?;
        let stream = |fd: Option<OwnedFd>| {
            fd.map(Stream::new).transpose().map_err(|e| Error::System(format!("open exec: {e}")))
        };
        let Some(terminal) = terminal else {
            let (stdin, stdout, stderr) = (stream(stdin)?, stream(stdout)?, stream(stderr)?);
            return Ok(Exec { id, stdin, stdout, stderr, terminal: None });
        };
        let copy =
            || terminal.try_clone().map_err(|e| Error::System(format!("copy a terminal: {e}")));
        let stdin = if spec.stdin { stream(Some(copy()?))? } else { None };
        let stdout = stream(Some(copy()?))?;
        Ok(Exec { id, stdin, stdout, stderr: None, terminal: Some(Terminal(terminal)) })
    }

    /// Returns when the process has ended. Its streams may still hold output.
    pub async fn wait_exec(&self, exec: &str) -> Result<Exit> {
        loop {
            match self.keeper.ask(Ask::WaitExec { exec: exec.into() }).await {
                Ok((Answer::Exit(exit), _)) => return Ok(exit),
                Ok((other, _)) => return Err(unexpected(&other)),
                Err(Error::Lost) => continue,
                Err(e) => return Err(e),
            }
        }
    }

    /// To the process of an exec and to all of its process group (those that it has started, unless
    /// they have made a group of their own). Succeeds if it has ended already.
    pub async fn signal_exec(&self, exec: &str, signal: i32) -> Result<()> {
        self.done(Ask::SignalExec { exec: exec.into(), signal }).await
    }

    /// Joins the streams of a running container.
    pub async fn attach(&self, id: &str, spec: AttachSpec) -> Result<Attach> {
        let (_, [stdin, stdout, stderr, _]) =
            self.streams(Ask::Attach { id: id.into(), spec }).await?;
        let stream = |fd: Option<OwnedFd>| {
            fd.map(Stream::new).transpose().map_err(|e| Error::System(format!("attach: {e}")))
        };
        Ok(Attach { stdin: stream(stdin)?, stdout: stream(stdout)?, stderr: stream(stderr)? })
    }

    /// Resizes the terminal of a container (that of an exec: [`Terminal::resize`]).
    pub async fn resize_tty(&self, id: &str, size: TtySize) -> Result<()> {
        self.done(Ask::ResizeTty { id: id.into(), size }).await
    }

    /// Opens the log's path anew, after somebody else has moved the file away.
    pub async fn reopen_log(&self, id: &str) -> Result<()> {
        self.done(Ask::ReopenLog { id: id.into() }).await
    }

    /// Rotates the log now, by the container's [`crate::spec::LogPolicy`].
    pub async fn rotate_log(&self, id: &str) -> Result<()> {
        self.done(Ask::RotateLog { id: id.into() }).await
    }

    /// Changes the limits of a container while it runs.
    pub async fn update_container(&self, id: &str, resources: &Resources) -> Result<()> {
        self.done(Ask::UpdateContainer { id: id.into(), resources: resources.clone() }).await
    }

    /// Makes a cgroup below the root (`kubepods`, `kubepods/burstable`, a sandbox's parent) if it
    /// is missing, and sets its limits.
    pub async fn set_cgroup(&self, path: &str, resources: &Resources) -> Result<()> {
        self.done(Ask::SetCgroup { path: path.into(), resources: resources.clone() }).await
    }

    /// Removes an empty cgroup below the root; one that does not exist is fine.
    pub async fn remove_cgroup(&self, path: &str) -> Result<()> {
        self.done(Ask::RemoveCgroup { path: path.into() }).await
    }

    /// Use of any cgroup below the root; an empty path is the root itself.
    pub async fn cgroup_stats(&self, path: &str) -> Result<Stats> {
        self.stats(Ask::CgroupStats { path: path.into() }).await
    }

    /// Use of a running container.
    pub async fn container_stats(&self, id: &str) -> Result<Stats> {
        self.stats(Ask::ContainerStats { id: id.into() }).await
    }

    /// Use of all containers of a sandbox.
    pub async fn sandbox_stats(&self, id: &str) -> Result<Stats> {
        self.stats(Ask::SandboxStats { id: id.into() }).await
    }

    /// Replaces the supervisor by another program (a newer Skiff) in the same process. Containers
    /// and their logs go on; attached clients are cut off. Supervisors that are started from now on
    /// use this program too.
    pub async fn upgrade(&self, exe: &Path) -> Result<()> {
        self.keeper.set_exe(exe);
        let exe = exe
            .to_str()
            .ok_or_else(|| Error::Invalid(format!("{} is not UTF-8", exe.display())))?;
        match self.done(Ask::Upgrade { exe: exe.into() }).await {
            // The connection ends with the old program: that is what success looks like.
            Ok(()) | Err(Error::Lost) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Kills everything, then ends the supervisor. No call works afterwards. What has ended stays on
    /// record: the next [`Runtime::open`] finds sandboxes without namespaces and ended containers.
    pub async fn shutdown(&self) -> Result<()> {
        self.keeper.close();
        match self.done(Ask::Shutdown).await {
            // It may be gone before its answer is read; it answers errors before it goes.
            Ok(()) | Err(Error::Lost) => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn done(&self, ask: Ask) -> Result<()> {
        match self.keeper.ask(ask).await?.0 {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn container(&self, ask: Ask) -> Result<ContainerStatus> {
        match self.keeper.ask(ask).await?.0 {
            Answer::Container(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    async fn stats(&self, ask: Ask) -> Result<Stats> {
        match self.keeper.ask(ask).await?.0 {
            Answer::Stats(stats) => Ok(stats),
            other => Err(unexpected(&other)),
        }
    }

    async fn streams(&self, ask: Ask) -> Result<(String, [Option<OwnedFd>; 4])> {
        let (answer, descriptors) = self.keeper.ask(ask).await?;
        let Answer::Streams { id, has } = answer else { return Err(unexpected(&answer)) };
        let mut descriptors = descriptors.into_iter();
        Ok((id, has.map(|there| if there { descriptors.next() } else { None })))
    }
}

/// Only a supervisor of another version can do this.
fn unexpected(answer: &Answer) -> Error {
    Error::System(format!("the supervisor gave an answer of the wrong kind: {answer:?}"))
}
