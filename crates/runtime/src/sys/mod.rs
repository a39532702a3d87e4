//! System calls that the standard library has no word for, as safe functions.
//!
//! All `unsafe` of this crate is in this folder. A function here does one call (or one
//! inseparable pair), turns errno into `io::Error`, and decides nothing.

#![expect(unsafe_code, reason = "this folder is where the crate meets the kernel")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

pub(crate) mod mount;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod socket;

/// -1 becomes errno.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`check`], for calls that return a length.
fn check_len(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

/// As [`check`], for calls by number.
fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A path as the kernel takes it.
pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// read(2).
pub(crate) fn read(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a live, exclusively borrowed slice.
    check_len(unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) })
}

/// write(2).
pub(crate) fn write(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a live slice.
    check_len(unsafe { libc::write(fd, buf.as_ptr().cast(), buf.len()) })
}

/// fcntl(2) O_NONBLOCK.
pub(crate) fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: F_GETFL and F_SETFL take and return plain integers.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Sets how much a pipe holds; the kernel rounds up to pages.
pub(crate) fn set_pipe_size(fd: &impl AsFd, bytes: i32) -> io::Result<()> {
    // SAFETY: F_SETPIPE_SZ takes a plain integer.
    check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETPIPE_SZ, bytes) })?;
    Ok(())
}

/// pipe2(2) with O_CLOEXEC: (read end, write end).
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for the two descriptors; on success both are ours alone.
    unsafe {
        check(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// open(2); O_CLOEXEC is added.
pub(crate) fn open(path: &Path, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: the path is a live C string; on success the descriptor is ours alone.
    unsafe {
        let fd = check(libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// openat2(2); O_CLOEXEC is added. `resolve` is a set of RESOLVE_ flags.
pub(crate) fn open_at(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: i32,
    mode: u32,
    resolve: u64,
) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: open_how is plain data for which all zeros are valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = resolve;
    let size = std::mem::size_of::<libc::open_how>();
    // SAFETY: path and how are live; on success the descriptor is ours alone.
    unsafe {
        let (dir, path) = (dir.as_raw_fd(), path.as_ptr());
        let fd = check_long(libc::syscall(libc::SYS_openat2, dir, path, &raw const how, size))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// fstatfs(2): which file system it is, by its magic number.
pub(crate) fn file_system(fd: &impl AsFd) -> io::Result<i64> {
    // SAFETY: statfs is plain data for which all zeros are valid; the kernel fills a live local.
    unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        check(libc::fstatfs(fd.as_fd().as_raw_fd(), &raw mut found))?;
        Ok(found.f_type)
    }
}

/// fstat(2).
pub(crate) fn stat(fd: &impl AsFd) -> io::Result<libc::stat> {
    // SAFETY: stat is plain data for which all zeros are valid; the kernel fills a live local.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        check(libc::fstat(fd.as_fd().as_raw_fd(), &raw mut found))?;
        Ok(found)
    }
}

/// Where a link leads that was itself opened (readlinkat(2) with an empty path).
pub(crate) fn read_link(link: &impl AsFd) -> io::Result<std::path::PathBuf> {
    let mut text = vec![0u8; libc::PATH_MAX as usize];
    let fd = link.as_fd().as_raw_fd();
    // SAFETY: the path is empty; pointer and length are those of a live buffer.
    let length = check_len(unsafe {
        libc::readlinkat(fd, c"".as_ptr(), text.as_mut_ptr().cast(), text.len())
    })?;
    text.truncate(length);
    Ok(std::ffi::OsString::from_vec(text).into())
}

/// fchdir(2).
pub(crate) fn change_folder(fd: &impl AsFd) -> io::Result<()> {
    // SAFETY: a plain integer.
    check(unsafe { libc::fchdir(fd.as_fd().as_raw_fd()) })?;
    Ok(())
}

/// mkdirat(2).
pub(crate) fn mkdir_at(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: the name is a live C string.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) })?;
    Ok(())
}

/// mknodat(2).
pub(crate) fn mknod_at(dir: BorrowedFd<'_>, name: &CStr, mode: u32, device: u64) -> io::Result<()> {
    // SAFETY: the name is a live C string.
    check(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, device) })?;
    Ok(())
}

/// fchownat(2), of what the name itself is.
pub(crate) fn chown_at(dir: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the name is a live C string.
    check(unsafe { libc::fchownat(dir.as_raw_fd(), name.as_ptr(), uid, gid, flags) })?;
    Ok(())
}

/// mknod(2).
pub(crate) fn mknod(path: &Path, mode: u32, device: u64) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path is a live C string.
    check(unsafe { libc::mknod(path.as_ptr(), mode, device) })?;
    Ok(())
}

/// fchown(2).
pub(crate) fn fchown(fd: &impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::fchown(fd.as_fd().as_raw_fd(), uid, gid) })?;
    Ok(())
}

/// umask(2).
pub(crate) fn set_umask(mask: u32) {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::umask(mask) };
}

/// TIOCSWINSZ.
pub(crate) fn set_tty_size(fd: &impl AsFd, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })?;
    Ok(())
}

/// Unlocks the far end of a terminal and opens it (TIOCSPTLCK, TIOCGPTPEER).
pub(crate) fn open_tty_peer(master: &impl AsFd) -> io::Result<OwnedFd> {
    let master = master.as_fd().as_raw_fd();
    let unlock: libc::c_int = 0;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCSPTLCK reads one int; TIOCGPTPEER takes flags and returns a descriptor of ours.
    unsafe {
        check(libc::ioctl(master, libc::TIOCSPTLCK, &raw const unlock))?;
        Ok(OwnedFd::from_raw_fd(check(libc::ioctl(master, libc::TIOCGPTPEER, flags))?))
    }
}

/// Makes the terminal the controlling one of this session.
pub(crate) fn set_controlling_tty(fd: RawFd) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) })?;
    Ok(())
}

/// splice(2) out of a pipe into a file at `offset`: the bytes leave the pipe exactly as far as they
/// have reached the file, also when the caller is killed meanwhile.
pub(crate) fn splice_to_file(
    pipe: RawFd,
    file: RawFd,
    mut offset: i64,
    length: usize,
) -> io::Result<usize> {
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: the offset is a live local; a pipe has none.
    check_len(unsafe {
        libc::splice(pipe, std::ptr::null_mut(), file, &raw mut offset, length, flags)
    })
}

/// flock(2) LOCK_EX | LOCK_NB.
pub(crate) fn try_lock(fd: &impl AsFd) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::flock(fd.as_fd().as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })?;
    Ok(())
}

/// Nanoseconds since 1970 by the machine's clock.
pub(crate) fn now() -> crate::status::Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the timespec is a live local. CLOCK_REALTIME cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// A sealed-off scratch file in memory.
pub(crate) fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name is a live C string; on success the descriptor is ours alone.
    unsafe {
        let fd = check(libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// All of a file in memory, wherever its other owners have read to.
pub(crate) fn contents(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let file = std::fs::File::from(file.try_clone()?);
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
    Ok(bytes)
}

/// A file in memory that may be executed.
pub(crate) fn memory_program(name: &CStr) -> io::Result<OwnedFd> {
    /// Since 6.3, where vm.memfd_noexec may forbid it to those that do not ask; EINVAL before.
    const MFD_EXEC: u32 = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a live C string; on success the descriptor is ours alone.
    unsafe {
        let fd = check(libc::memfd_create(name.as_ptr(), flags | MFD_EXEC));
        let fd = fd.or_else(|_| check(libc::memfd_create(name.as_ptr(), flags)))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Sets the mode of a file in memory; nobody can write to it from now on (F_ADD_SEALS).
pub(crate) fn seal(file: &impl AsFd, mode: u32) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: plain integers.
    unsafe {
        check(libc::fchmod(fd, mode))?;
        check(libc::fcntl(fd, libc::F_ADD_SEALS, seals))?;
    }
    Ok(())
}

/// The bpf(2) calls that a device filter needs.
pub(crate) fn bpf(command: u32, attributes: &mut [u64; 16]) -> io::Result<RawFd> {
    let size = std::mem::size_of_val(attributes);
    // SAFETY: the kernel reads (and for some commands writes) at most `size` bytes of the array;
    // pointers inside it are the caller's, which keeps their targets alive.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, libc::c_long::from(command), attributes.as_mut_ptr(), size)
    };
    Ok(check_long(result)? as RawFd)
}

/// A shared mapping of the first `length` bytes of a file, for the life of the process.
pub(crate) fn map_shared(file: &impl AsFd, length: usize) -> io::Result<&'static mut [u8]> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: a fresh mapping overlaps nothing; it is never unmapped, so the lifetime holds. The
    // file is ours alone (locked) and at least `length` long (the caller has set its size).
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let at = libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, 0);
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(std::slice::from_raw_parts_mut(at.cast(), length))
    }
}

/// Takes charge of a descriptor that a system call here has just returned.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers (bpf) pass a new descriptor that nobody else closes.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes charge of a descriptor that was inherited under a known number.
pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the flag call fails for a number that is not open; the caller passes a number that it
    // was told by its parent, which nothing else in this new process uses.
    unsafe {
        check(libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Lets a descriptor survive the next execution.
pub(crate) fn keep_on_exec(fd: &impl AsFd) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETFD, 0) })?;
    Ok(())
}

/// The usual: a descriptor does not survive the next execution.
pub(crate) fn close_on_exec(fd: &impl AsFd) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(())
}

/// splice(2) from a terminal into a pipe, without waiting.
pub(crate) fn splice_to_pipe(from: RawFd, pipe: RawFd, length: usize) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    // SAFETY: neither end has an offset.
    check_len(unsafe {
        libc::splice(from, none, pipe, std::ptr::null_mut(), length, libc::SPLICE_F_NONBLOCK)
    })
}

/// Brings the loopback interface of this process's network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: ifreq is plain data for which all zeros are valid; SIOCSIFFLAGS reads one.
    unsafe {
        let socket = OwnedFd::from_raw_fd(check(libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            0,
        ))?);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request))?;
    }
    Ok(())
}

/// Lets tokio watch a descriptor.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what it is registered with, so it stays the same open file
    // until it is deregistered.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(fd) }?)
}
