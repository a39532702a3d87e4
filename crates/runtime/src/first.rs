//! Process 1 of a pod whose containers share process ids: it reaps orphans, and is nobody.
//!
//! Containers of such a pod see it, and one with CAP_SYS_PTRACE may look into it and steer it. So
//! there is nothing in it to find: an empty root, no descriptor, no capability, a user that owns
//! nothing, a filter that lets it wait and no more, and a program of a few instructions in memory of
//! its own instead of this one. What starts containers stays outside their namespace ([`crate::init`]
//! is its parent: they end together).
//! Never here: anything that a container could use.

use crate::container::{identity, seccomp};
use crate::sys::{self, mount, process, socket};
use crate::{Error, Result, failed};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// The kernel's own number for "nobody in particular" (overflowuid).
const NOBODY: u32 = 65534;
/// What `ps` shows, by the name that it has in other clusters.
const NAME: &std::ffi::CStr = c"/pause";

/// Starts it as a child of this process, which it does not outlive. `proc` is an empty folder, onto
/// which the process file system of the new namespace is mounted.
pub(crate) fn start(proc: &Path) -> Result<OwnedFd> {
    let (program, filter) = (program()?, seccomp::waiting()?);
    let (mine, theirs) = socket::pair(libc::SOCK_SEQPACKET).map_err(failed("socketpair"))?;
    let pidfd = match process::fork(libc::CLONE_NEWPID, None).map_err(failed("clone3"))? {
        process::Fork::Parent { pidfd, .. } => pidfd,
        process::Fork::Child => {
            let Err(error) = settle(proc, &program, &filter, &theirs);
            // An error means that the parent is dead, and so is this one.
            let _ = socket::send(theirs.as_raw_fd(), error.to_string().as_bytes(), &[]);
            process::exit_now(1)
        }
    };
    drop(theirs);
    // One word before it executes, and the end when it has.
    for wanted in [ALIVE, b""] {
        let (mut word, mut carried) = (Vec::new(), Vec::new());
        socket::receive(mine.as_raw_fd(), &mut word, &mut carried)
            .map_err(failed("hear from process 1"))?;
        if word != wanted {
            return Err(Error::System(format!("process 1: {}", String::from_utf8_lossy(&word))));
        }
    }
    Ok(pidfd)
}

const ALIVE: &[u8] = b"alive";

/// Gives up everything, step by step, and executes.
fn settle(proc: &Path, program: &OwnedFd, filter: &[u8], tell: &OwnedFd) -> Result<Infallible> {
    process::reset_signals();
    // Orphans that end need nobody to look after them then (waitpid(2), SIGCHLD ignored).
    process::ignore_signal(libc::SIGCHLD);
    let plain = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount::mount("proc", proc, "proc", plain, "")
        .map_err(failed(format_args!("mount {}", proc.display())))?;
    process::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP).map_err(failed("unshare"))?;
    empty_root(plain).map_err(failed("leave the root"))?;
    process::new_session().map_err(failed("start a session"))?;
    identity::bound(0)?;
    process::set_user(NOBODY, NOBODY, &[]).map_err(failed("set user"))?;
    process::set_capabilities(0, 0, 0).map_err(failed("set capabilities"))?;
    process::control(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(failed("no_new_privs"))?;
    // After the change of user, which resets it. A parent that died before hears nothing.
    process::control(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).map_err(failed("bind"))?;
    socket::send(tell.as_raw_fd(), ALIVE, &[]).map_err(failed("tell"))?;
    process::close_all_but(&[program.as_raw_fd(), tell.as_raw_fd()]).map_err(failed("close"))?;
    process::set_seccomp(filter).map_err(failed("install the filter"))?;
    let error = process::execute_open(program, &[CString::from(NAME)], &[]);
    Err(failed("execute process 1")(error))
}

/// A file system with nothing in it, not even room, becomes the root and the only mount. It is
/// mounted where there is a folder on every machine.
fn empty_root(flags: u64) -> std::io::Result<()> {
    let any = Path::new("/proc");
    mount::mount("", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    let options = "mode=555,size=4k,nr_inodes=1";
    mount::mount("none", any, "tmpfs", flags | libc::MS_RDONLY, options)?;
    std::env::set_current_dir(any)?;
    mount::pivot_here()?;
    mount::unmount(Path::new("."), libc::MNT_DETACH)?;
    std::env::set_current_dir("/")
}

/// The program in a sealed file of memory. Its mode keeps the user that executes it from reading
/// it, which makes the process one that only CAP_SYS_PTRACE may look into (prctl(2),
/// PR_SET_DUMPABLE).
fn program() -> Result<OwnedFd> {
    let file = sys::memory_program(c"pause").map_err(failed("memfd"))?;
    sys::write(file.as_raw_fd(), &elf(CODE)).map_err(failed("memfd"))?;
    sys::seal(&file, 0o111).map_err(failed("seal"))?;
    Ok(file)
}

/// `loop { ppoll(NULL, 0, NULL, NULL) }`.
#[cfg(target_arch = "x86_64")]
const CODE: &[u8] = &[
    0x31, 0xff, // xor edi, edi
    0x31, 0xf6, // xor esi, esi
    0x31, 0xd2, // xor edx, edx
    0x4d, 0x31, 0xd2, // xor r10, r10
    0xb8, 0x0f, 0x01, 0x00, 0x00, // mov eax, 271
    0x0f, 0x05, // syscall
    0xeb, 0xee, // jmp to the first
];
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
/// As above: x0 to x3 are zero, x8 is 73, `svc`, and back.
#[cfg(target_arch = "aarch64")]
const CODE: &[u8] = &[
    0x00, 0x00, 0x80, 0xd2, // mov x0, 0
    0x01, 0x00, 0x80, 0xd2, // mov x1, 0
    0x02, 0x00, 0x80, 0xd2, // mov x2, 0
    0x03, 0x00, 0x80, 0xd2, // mov x3, 0
    0x28, 0x09, 0x80, 0xd2, // mov x8, 73
    0x01, 0x00, 0x00, 0xd4, // svc 0
    0xfa, 0xff, 0xff, 0x17, // b to the first
];
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// The smallest executable around some code (elf(5)): one segment to load, and a word that the stack
/// needs not be executable.
fn elf(code: &[u8]) -> Vec<u8> {
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    const START: u64 = HEADER + 2 * SEGMENT;
    const AT: u64 = 0x40_0000;
    const PAGE: u64 = 0x1_0000;
    let (read_execute, read_write) = (5, 6);
    let length = START + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // Type EXEC, machine, version, entry, where segments and sections are, flags, and sizes.
    let kind = [2u16.to_le_bytes(), MACHINE.to_le_bytes()].concat();
    file.extend([kind, 1u32.to_le_bytes().to_vec()].concat());
    file.extend([AT + START, HEADER, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(0u32.to_le_bytes());
    let sizes = [HEADER as u16, SEGMENT as u16, 2, 64, 0, 0];
    file.extend(sizes.iter().flat_map(|word| word.to_le_bytes()));
    const LOAD: u32 = 1;
    const GNU_STACK: u32 = 0x6474_e551;
    for (kind, rights, at, size, align) in
        [(LOAD, read_execute, AT, length, PAGE), (GNU_STACK, read_write, 0, 0, 16)]
    {
        file.extend([kind, rights].iter().flat_map(|word: &u32| word.to_le_bytes()));
        file.extend([0, at, at, size, size, align].iter().flat_map(|word| word.to_le_bytes()));
    }
    file.extend_from_slice(code);
    file
}
