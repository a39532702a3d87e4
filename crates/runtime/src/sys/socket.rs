//! Unix sockets with descriptors on board, and sockets whose path is longer than sun_path.

use super::poll::{self, Poll};
use super::{check, check_len};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Descriptors in one message: the kernel's own limit is 253; a container start needs under 20.
const MAX_DESCRIPTORS: usize = 32;
/// Read at once.
const CHUNK: usize = 64 << 10;

/// A connected pair, close-on-exec. `kind` is SOCK_STREAM or SOCK_SEQPACKET.
pub(crate) fn pair(kind: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for the two descriptors; on success both are ours alone.
    unsafe {
        check(libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Connects to `folder/name`, however long `folder` is.
pub(crate) fn connect_below(folder: &Path, name: &str, kind: i32) -> io::Result<OwnedFd> {
    let folder = super::open(folder, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let socket = socket(kind)?;
    let (address, length) = address(&folder, name)?;
    // SAFETY: the address is a live local of that length.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

/// Listens on `folder/name`, which only the owner may connect to.
pub(crate) fn listen_below(folder: &Path, name: &str, kind: i32) -> io::Result<OwnedFd> {
    match std::fs::remove_file(folder.join(name)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let directory = super::open(folder, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let socket = socket(kind)?;
    let (address, length) = address(&directory, name)?;
    // SAFETY: the address is a live local of that length; fchmod on a socket before bind sets the
    // mode that bind gives the file.
    unsafe {
        check(libc::fchmod(socket.as_raw_fd(), 0o600))?;
        check(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length))?;
    }
    listen(&socket)?;
    Ok(socket)
}

/// listen(2); again by another process, it makes that one the peer of new connections.
pub(crate) fn listen(socket: &OwnedFd) -> io::Result<()> {
    /// Connections that may wait: the daemon, and tools beside it.
    const BACKLOG: i32 = 64;
    // SAFETY: plain integers.
    check(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) })?;
    Ok(())
}

/// A socket that listens, watched by an epoll. A lack of descriptors or memory stops it for a
/// moment: nothing tells when there are some again, and whoever knocks waits in the kernel's queue.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    token: u64,
    paused: Option<Instant>,
}

impl Listener {
    pub(crate) fn new(socket: OwnedFd, poll: &Poll, token: u64) -> io::Result<Listener> {
        super::set_nonblocking(&socket)?;
        poll.add(socket.as_raw_fd(), poll::IN, token)?;
        Ok(Listener { socket, token, paused: None })
    }

    /// Who has knocked, non-blocking; None is nobody.
    pub(crate) fn accept(&mut self, poll: &Poll) -> io::Result<Option<OwnedFd>> {
        /// As long as people do not notice, and too long to eat a core.
        const PAUSE: Duration = Duration::from_millis(100);
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let (fd, none) = (self.socket.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: no address is asked for; on success the descriptor is ours alone.
        let accepted = unsafe {
            let fd = check(libc::accept4(fd, none, std::ptr::null_mut(), flags));
            fd.map(|fd| OwnedFd::from_raw_fd(fd))
        };
        match accepted {
            Ok(connection) => Ok(Some(connection)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => {
                poll.remove(fd)?;
                self.paused = Some(Instant::now() + PAUSE);
                Err(e)
            }
        }
    }

    /// When it goes on, if it is paused.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.paused
    }

    /// Goes on, if it is time.
    pub(crate) fn resume(&mut self, poll: &Poll) -> io::Result<()> {
        if self.paused.is_some_and(|until| until <= Instant::now()) {
            poll.add(self.socket.as_raw_fd(), poll::IN, self.token)?;
            self.paused = None;
        }
        Ok(())
    }
}

fn socket(kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers; on success the descriptor is ours alone.
    unsafe {
        let fd = check(libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// sun_path holds 108 bytes; a path through /proc/self/fd always fits.
fn address(folder: &OwnedFd, name: &str) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    let path = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
    // SAFETY: sockaddr_un is plain data for which all zeros are valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if path.len() >= address.sun_path.len() {
        return Err(io::Error::other(format!("socket name {name} is too long")));
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = from as libc::c_char;
    }
    Ok((address, std::mem::size_of::<libc::sockaddr_un>() as libc::socklen_t))
}

/// Room for control data, aligned as cmsghdr wants it.
#[repr(C, align(8))]
struct Control([u8; 256]);

/// sendmsg(2) with descriptors on its first byte.
pub(crate) fn send(fd: RawFd, bytes: &[u8], carry: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut control = Control([0; 256]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data for which all zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if carry.len() > MAX_DESCRIPTORS {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    if !carry.is_empty() {
        let length = size_of_val(carry) as u32;
        message.msg_control = (&raw mut control.0).cast();
        // SAFETY: 32 descriptors need CMSG_SPACE(128) = 144 bytes of the 256; the header pointer
        // is into `control`, which outlives the call; BorrowedFd has the layout of a descriptor.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(length) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length) as usize;
            let data = libc::CMSG_DATA(header);
            std::ptr::copy_nonoverlapping(carry.as_ptr().cast(), data, length as usize);
        }
    }
    // SAFETY: the message points to live locals.
    check_len(unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) })
}

/// recvmsg(2): appends bytes and descriptors. 0 is the end.
pub(crate) fn receive(
    fd: RawFd,
    bytes: &mut Vec<u8>,
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let start = bytes.len();
    bytes.resize(start + CHUNK, 0);
    let mut control = Control([0; 256]);
    let mut part = libc::iovec { iov_base: bytes[start..].as_mut_ptr().cast(), iov_len: CHUNK };
    // SAFETY: msghdr is plain data for which all zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: the message points to live buffers of the lengths given.
    let got = check_len(unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_CMSG_CLOEXEC) });
    bytes.truncate(start + *got.as_ref().unwrap_or(&0));
    let got = got?;
    // SAFETY: the kernel has written well-formed control messages into `control`; the descriptors
    // in them are new and ours alone.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if ((*header).cmsg_level, (*header).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let length = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for i in 0..length / size_of::<RawFd>() {
                    let fd = data.add(i).read_unaligned();
                    descriptors.push(OwnedFd::from_raw_fd(fd));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    if message.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(io::Error::other("a message was cut: it is too long"));
    }
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    Ok(got)
}

/// The process at the other end: of a listener's connection, the one that listens.
pub(crate) fn peer_pid(socket: &OwnedFd) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: the kernel writes at most `length` bytes into a live local of that size.
    check(unsafe {
        let at = (&raw mut peer).cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, at, &raw mut length)
    })?;
    Ok(peer.pid as u32)
}
