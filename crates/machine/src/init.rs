//! The machine's process 1: it makes the machine's namespaces by being born into them, gives them
//! their mounts, and then does nothing but take away dead processes.
//!
//! It is a copy of the caller that executes no other program, so that it needs none. The copy has
//! one thread of perhaps many, so it may not allocate and may not wait for a lock: everything it
//! needs is prepared before, and it makes system calls only. `skiff -p` makes it from the short
//! command line process, so the copy is small.

#![expect(unsafe_code, reason = "a process in new namespaces is made of system calls")]

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::process::Process;
use crate::{Error, Result};

const NAMESPACES: i32 =
    libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS;
/// The highest signal number of Linux.
const SIGNALS: i32 = 64;

/// What goes wrong in the copy is told by number.
const STEPS: [&str; 5] = [
    "start machine",
    "keep machine's mounts apart",
    "mount /proc in machine",
    "mount /run in machine",
    "name machine",
];

/// Starts the init of a new machine and returns when its mounts stand.
pub(crate) fn start(name: &str) -> Result<Process> {
    let (read, write) = pipe()?;
    let flags = (NAMESPACES | libc::SIGCHLD) as libc::c_ulong;
    // SAFETY: without CLONE_VM and with a null stack this is a fork; the copy calls `life` alone,
    // which makes system calls only and never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        0 => life(name, write.as_raw_fd()),
        1.. => {}
        _ => return Err(Error::last("start machine (this needs root)")),
    }
    drop(write);
    let mut answer = Vec::new();
    File::from(read)
        .read_to_end(&mut answer)
        .map_err(|source| Error::System { what: "hear from machine", source })?;
    let process = Process::now(pid as u32)?;
    match answer[..] {
        [0] => Ok(process),
        [step, a, b, c, d] => {
            process.kill()?;
            let what = STEPS.get(usize::from(step)).copied().unwrap_or(STEPS[0]);
            let source = io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]));
            Err(Error::System { what, source })
        }
        _ => {
            process.kill()?;
            let source = io::Error::from(io::ErrorKind::UnexpectedEof);
            Err(Error::System { what: STEPS[0], source })
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the pointer is to two live integers, which pipe2 fills.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(Error::last("make pipe"));
    }
    // SAFETY: both descriptors were just made and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// All that the copy does.
fn life(name: &str, out: RawFd) -> ! {
    let out = detach(out);
    match set_up(name) {
        Ok(()) => tell(out, &[0]),
        Err((step, error)) => {
            let [a, b, c, d] = error.to_ne_bytes();
            tell(out, &[step, a, b, c, d]);
            // SAFETY: _exit ends the process without running anything of the caller's.
            unsafe { libc::_exit(1) }
        }
    }
    reap_forever()
}

/// Leaves what belongs to the caller: signals, session, terminal, open files but the pipe.
fn detach(out: RawFd) -> RawFd {
    const KEPT: RawFd = 3;
    // SAFETY: system calls on numbers and on a zeroed sigaction, which means the default action;
    // the path is a constant. Descriptors are closed without regard to their owners, whose code
    // never runs in this copy.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=SIGNALS {
            libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        }
        libc::setsid();
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        // The pipe may itself be in the way, so it moves up first.
        let out = libc::fcntl(out, libc::F_DUPFD, KEPT + 1);
        for fd in 0..KEPT {
            libc::dup2(null, fd);
        }
        libc::dup2(out, KEPT);
        libc::syscall(libc::SYS_close_range, KEPT + 1, u32::MAX, 0);
        libc::prctl(libc::PR_SET_NAME, c"skiff-machine".as_ptr());
    }
    KEPT
}

fn set_up(name: &str) -> Result<(), (u8, i32)> {
    let safe = libc::MS_NOSUID | libc::MS_NODEV;
    mount(1, c"none", c"/", None, libc::MS_REC | libc::MS_SLAVE)?;
    mount(2, c"proc", c"/proc", Some(c"proc"), safe | libc::MS_NOEXEC)?;
    mount(3, c"tmpfs", c"/run", Some(c"tmpfs"), safe)?;
    // SAFETY: the pointer and length are those of a live text, and chdir's path is a constant.
    let named = unsafe {
        libc::chdir(c"/".as_ptr());
        libc::sethostname(name.as_ptr().cast(), name.len())
    };
    if named == 0 { Ok(()) } else { Err((4, errno())) }
}

fn mount(
    step: u8,
    source: &CStr,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
) -> Result<(), (u8, i32)> {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: all pointers are to texts with a zero byte that live on, or null where mount(2)
    // allows it.
    let done =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, std::ptr::null()) };
    if done == 0 { Ok(()) } else { Err((step, errno())) }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn tell(out: RawFd, bytes: &[u8]) {
    // SAFETY: the pointer and length are those of a live slice. If nobody listens any more, nobody
    // is left to be told; the caller takes silence for a failure.
    unsafe {
        libc::write(out, bytes.as_ptr().cast(), bytes.len());
        libc::close(out);
    }
}

/// Every process of the machine whose parent has ended becomes a child of this one.
fn reap_forever() -> ! {
    // SAFETY: the signal set lives on this stack; waitpid may be given no place for a status. A
    // blocked SIGCHLD stays pending until it is waited for, so none is missed.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        loop {
            while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
            libc::sigwaitinfo(&raw const set, std::ptr::null_mut());
        }
    }
}
