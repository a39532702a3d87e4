//! Starting a command inside a machine.
//!
//! A process namespace is entered by children, so a thread of its own enters it and spawns; the
//! other namespaces and the cgroups are entered by the child itself, between fork and exec, where
//! only system calls are allowed: everything is opened before.
//!
//! The child forks once more and ends. A dead process is handed to the first process of its parent's
//! namespace, and the child's parent is outside, where perhaps nobody takes the dead away: such a
//! one would hold the machine's process namespace for good. The second child's parent was inside, so
//! it becomes the machine's init's.

#![expect(unsafe_code, reason = "entering namespaces is a system call")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

use crate::process::Process;
use crate::{Error, Result, cgroup};

pub(crate) fn spawn(init: &Process, cgroup: &Path, command: &mut Command) -> Result<Child> {
    let open = |kind: &str| {
        let path = init.namespace(kind);
        File::open(&path).map_err(Error::file("open namespace", path))
    };
    let processes = open("pid")?;
    let mut namespaces = Vec::new();
    // Mounts last: behind them the paths of this side are gone.
    for (kind, flag) in
        [("uts", libc::CLONE_NEWUTS), ("net", libc::CLONE_NEWNET), ("mnt", libc::CLONE_NEWNS)]
    {
        namespaces.push((open(kind)?, flag));
    }
    let mut groups = Vec::new();
    for folder in cgroup::folders(&cgroup.join(cgroup::OWN))? {
        let path = folder.join("cgroup.procs");
        let text = CString::new(path.as_os_str().as_bytes());
        groups.push(text.map_err(|e| Error::file("open", path)(e.into()))?);
    }
    let enter = move || {
        groups.iter().try_for_each(join)?;
        namespaces.iter().try_for_each(|(file, flag)| set_namespace(file, *flag))?;
        leave_to_init()
    };
    // SAFETY: `enter` makes system calls on what was prepared above; it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(enter) };
    let spawned = thread::scope(|scope| {
        let work = || {
            set_namespace(&processes, libc::CLONE_NEWPID)?;
            let mut child = command.spawn()?;
            // To wait for the first child closes the input, which is the second's too.
            let input = child.stdin.take();
            child.wait()?;
            child.stdin = input;
            Ok(child)
        };
        let thread = thread::Builder::new().name("skiff-enter".to_string());
        match thread.spawn_scoped(scope, work)?.join() {
            Ok(spawned) => spawned,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    spawned.map_err(|source| Error::System { what: "start command in machine", source })
}

fn set_namespace(file: &File, flag: i32) -> io::Result<()> {
    // SAFETY: setns takes an open descriptor and a number, and changes the calling thread alone.
    match unsafe { libc::setns(file.as_raw_fd(), flag) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Goes on in a child and ends the calling process.
fn leave_to_init() -> io::Result<()> {
    // SAFETY: without CLONE_VM and with a null stack this is a fork, of a process that has one
    // thread; _exit ends the process without running anything of the caller's.
    unsafe {
        match libc::syscall(libc::SYS_clone, libc::SIGCHLD as libc::c_ulong, 0, 0, 0, 0) {
            0 => Ok(()),
            1.. => libc::_exit(0),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Moves the calling process into a cgroup.
fn join(procs: &CString) -> io::Result<()> {
    // SAFETY: the path is a text with a zero byte; the descriptor is closed before return; "0"
    // means the writer itself.
    unsafe {
        let fd = libc::open(procs.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let written = libc::write(fd, c"0".as_ptr().cast(), 1);
        let error = io::Error::last_os_error();
        libc::close(fd);
        if written == 1 { Ok(()) } else { Err(error) }
    }
}
