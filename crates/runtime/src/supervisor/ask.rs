//! Requests: one arm each. An answer is given at once, or by whoever finishes the work.

use super::Supervisor;
use super::clients::ReplyTo;
use crate::spec::{Resources, TtySize};
use crate::status::{ContainerState, Listing};
use crate::sys::{self, process};
use crate::wire::{Answer, Ask};
use crate::{Error, Result, SUPERVISOR_WORD, failed};
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

impl Supervisor {
    pub(super) fn handle(&mut self, to: ReplyTo, ask: Ask) {
        let result = match ask {
            Ask::CreateSandbox(spec) => return self.later(to, |s| s.create_sandbox(to, *spec)),
            Ask::RemoveSandbox { id } => return self.remove_sandbox(to, &id),
            Ask::CreateContainer { sandbox, spec } => self.create_container(sandbox, *spec),
            Ask::StartContainer { id } => return self.later(to, |s| s.start_container(to, &id)),
            Ask::SignalContainer { id, signal } => self.signal_container(&id, signal),
            Ask::KillContainer { id } => self.kill_container(&id),
            Ask::WaitContainer { id } => return self.later(to, |s| s.wait_container(to, &id)),
            Ask::RemoveContainer { id } => return self.remove_container(to, &id),
            Ask::List => Ok(self.list()),
            Ask::Exec { id, spec } => return self.later(to, |s| s.exec(to, &id, *spec)),
            Ask::WaitExec { exec } => return self.later(to, |s| s.wait_exec(to, &exec)),
            Ask::SignalExec { exec, signal } => self.signal_exec(&exec, signal),
            Ask::Attach { id, spec } => {
                return match self.attach(&id, spec) {
                    Ok((answer, with)) => self.answer_with(to, Ok(answer), with),
                    Err(e) => self.answer(to, Err(e)),
                };
            }
            Ask::ResizeTty { id, size } => self.resize_tty(&id, size),
            Ask::ReopenLog { id } => self.reopen_log(&id),
            Ask::RotateLog { id } => self.rotate_log(&id),
            Ask::UpdateContainer { id, resources } => self.update_container(&id, &resources),
            Ask::SetCgroup { path, resources } => self.set_cgroup(&path, &resources),
            Ask::RemoveCgroup { path } => self.remove_cgroup(&path),
            Ask::CgroupStats { path } => self.cgroup_stats(&path),
            Ask::ContainerStats { id } => self.container_stats(&id),
            Ask::SandboxStats { id } => self.sandbox_stats(&id),
            Ask::Upgrade { exe } => self.upgrade(&exe),
            Ask::Shutdown => return self.shut_down(),
            Ask::Forget { seq } => return self.forget(|waiter| waiter == to.other(seq)),
        };
        self.answer(to, result);
    }

    /// For requests that are answered later if they are accepted.
    fn later(&mut self, to: ReplyTo, run: impl FnOnce(&mut Supervisor) -> Result<()>) {
        if let Err(e) = run(self) {
            self.answer(to, Err(e));
        }
    }

    fn list(&self) -> Answer {
        Answer::Listing(Listing {
            sandboxes: self.sandboxes.values().map(|sandbox| sandbox.status()).collect(),
            containers: self.containers.values().map(|container| container.status()).collect(),
        })
    }

    fn wait_container(&mut self, to: ReplyTo, id: &str) -> Result<()> {
        let container = self.container_mut(id)?;
        if container.state != ContainerState::Exited {
            container.waiters.push(to);
            return Ok(());
        }
        let status = container.status();
        self.answer(to, Ok(Answer::Container(status)));
        Ok(())
    }

    fn wait_exec(&mut self, to: ReplyTo, id: &str) -> Result<()> {
        let missing = || Error::NotFound(format!("exec {id}"));
        let exec = self.execs.get_mut(id).ok_or_else(missing)?;
        let Some(exit) = exec.exit.clone() else {
            exec.waiters.push(to);
            return Ok(());
        };
        self.execs.remove(id);
        self.ended_execs.retain(|ended| ended != id);
        self.answer(to, Ok(Answer::Exit(exit)));
        Ok(())
    }

    /// Lets go of those who wait for an end.
    pub(super) fn forget(&mut self, gone: impl Fn(ReplyTo) -> bool) {
        for container in self.containers.values_mut() {
            container.waiters.retain(|waiter| !gone(*waiter));
        }
        for exec in self.execs.values_mut() {
            exec.waiters.retain(|waiter| !gone(*waiter));
        }
    }

    fn signal_container(&mut self, id: &str, signal: i32) -> Result<Answer> {
        let process = self.container(id)?.process.as_ref();
        sent(process.map(|process| process::signal(&process.pidfd, signal)), signal)
    }

    fn signal_exec(&mut self, id: &str, signal: i32) -> Result<Answer> {
        let process = self.execs.get(id).and_then(|exec| exec.process.as_ref());
        sent(
            process.map(|process| process::signal_group(&process.pidfd, process.pid, signal)),
            signal,
        )
    }

    fn kill_container(&mut self, id: &str) -> Result<Answer> {
        if self.container(id)?.state == ContainerState::Running {
            self.kill(id)?;
        }
        Ok(Answer::Done)
    }

    fn resize_tty(&mut self, id: &str, size: TtySize) -> Result<Answer> {
        let Some((terminal, _)) = &self.running(id)?.terminal else {
            return Err(Error::State(format!("container {id} has no terminal")));
        };
        sys::set_tty_size(terminal, size.width, size.height).map_err(failed("resize"))?;
        Ok(Answer::Done)
    }

    fn reopen_log(&mut self, id: &str) -> Result<Answer> {
        self.container_mut(id)?.log.close();
        Ok(Answer::Done)
    }

    fn rotate_log(&mut self, id: &str) -> Result<Answer> {
        self.container_mut(id)?.log.rotate(sys::now()).map_err(failed("rotate the log"))?;
        Ok(Answer::Done)
    }

    fn update_container(&mut self, id: &str, resources: &Resources) -> Result<Answer> {
        self.running(id)?;
        let path = self.container_cgroup(id)?;
        self.place.layout.at(&path).limit(resources)?;
        Ok(Answer::Done)
    }

    fn set_cgroup(&mut self, path: &str, resources: &Resources) -> Result<Answer> {
        let path = self.place.cgroup(path)?;
        let cgroup = self.place.layout.at(&path);
        cgroup.create()?;
        cgroup.limit(resources)?;
        Ok(Answer::Done)
    }

    fn remove_cgroup(&mut self, path: &str) -> Result<Answer> {
        let full = self.place.cgroup(path)?;
        if self.place.layout.at(&full).remove()? {
            return Ok(Answer::Done);
        }
        Err(Error::State(format!("cgroup {path} is not empty")))
    }

    fn cgroup_stats(&mut self, path: &str) -> Result<Answer> {
        let path = self.place.cgroup(path)?;
        self.place.layout.at(&path).stats().map(Answer::Stats)
    }

    fn container_stats(&mut self, id: &str) -> Result<Answer> {
        self.running(id)?;
        let path = self.container_cgroup(id)?;
        self.place.layout.at(&path).stats().map(Answer::Stats)
    }

    fn sandbox_stats(&mut self, id: &str) -> Result<Answer> {
        let sandbox = self.sandboxes.get(id);
        let sandbox = sandbox.ok_or_else(|| Error::NotFound(format!("sandbox {id}")))?;
        let path = self.place.cgroup(&sandbox.spec.cgroup_parent)?;
        self.place.layout.at(&path).stats().map(Answer::Stats)
    }

    /// Comes back only if the new program cannot be executed; connections end, containers do not
    /// notice: what this process knows, the next one finds.
    fn upgrade(&mut self, exe: &str) -> Result<Answer> {
        let starts = self.containers.values().any(|container| container.starting.is_some());
        let creates = self.sandboxes.values().any(|sandbox| sandbox.creating.is_some());
        if starts || creates {
            return Err(Error::State("something is being started; try again".into()));
        }
        let words = [
            exe,
            SUPERVISOR_WORD,
            "--root",
            &self.place.root.to_string_lossy(),
            "--cgroup-root",
            &self.place.cgroup_root.to_string_lossy(),
            super::IN_PLACE,
            &self.lock.as_raw_fd().to_string(),
        ];
        let words = words.map(|word| CString::new(word).map_err(|e| Error::Invalid(e.to_string())));
        let args = words.into_iter().collect::<Result<Vec<_>>>()?;
        sys::keep_on_exec(&self.lock).map_err(failed("keep the lock"))?;
        let error = process::execute(&args[0], &args, &[]);
        sys::close_on_exec(&self.lock).map_err(failed("keep the lock"))?;
        Err(failed(format_args!("execute {exe}"))(error))
    }
}

/// How it went. One that has ended is past all signals.
fn sent(result: Option<io::Result<()>>, signal: i32) -> Result<Answer> {
    match result.unwrap_or(Ok(())) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            Err(Error::Invalid(format!("{signal} is not a signal")))
        }
        Err(e) if e.raw_os_error() != Some(libc::ESRCH) => Err(failed("send a signal")(e)),
        _ => Ok(Answer::Done),
    }
}
