//! A netlink socket inside a given network namespace, and the three ways to talk over it.
//!
//! `request` sends messages that each get a yes or a no; `dump` reads a list; `transaction` sends
//! one nftables batch, of which all or nothing happens. The kernel has done the work when the send
//! returns, so the answers are there already and no call waits for anybody but the kernel.

#![expect(unsafe_code, reason = "a raw netlink socket is made of system calls")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::message::Message;
use super::parse::{Reply, attributes, replies, text, u32_at};
use crate::{Error, NetNs, Result};

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nftables and connection tracking.
    Netfilter,
}

/// Big enough for every datagram of a dump: the kernel fills at most 32 KiB at a time.
const RECEIVE_BYTES: usize = 64 * 1024;
/// A dump that the kernel saw change under its hands is read again this often.
const DUMP_TRIES: u32 = 8;
/// Room for the answers of a batch; a thousand refusals fit.
const RECEIVE_BUFFER: i32 = 4 << 20;
/// Of many refusals the first says it; no more than this many datagrams are read for one batch.
const ANSWER_LIMIT: usize = 4096;
/// What `NLMSG_ERROR` puts behind its number: the header of the refused message.
const ERROR_FIXED: usize = 20;
/// The kernel's explanation of a refusal (`NLMSGERR_ATTR_MSG`).
const ERROR_TEXT: u16 = 1;

/// An open netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    send_buffer: usize,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in a namespace; it stays there whoever uses it.
    pub fn open(namespace: &NetNs, family: Family) -> Result<Socket> {
        namespace.run(|| Socket::open_here(family))?
    }

    /// Opens a socket in the calling thread's namespace.
    pub fn open_here(family: Family) -> Result<Socket> {
        let protocol = match family {
            Family::Route => libc::NETLINK_ROUTE,
            Family::Netfilter => libc::NETLINK_NETFILTER,
        };
        // SAFETY: socket takes no pointers.
        let fd = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol)
        };
        if fd < 0 {
            return Err(Error::OpenSocket(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeros is a valid sockaddr_nl.
        let mut any: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        any.nl_family = libc::AF_NETLINK as u16;
        let length = size_of::<libc::sockaddr_nl>() as u32;
        // SAFETY: the pointer is to a live value, and the length is that of the value.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const any).cast(), length) } != 0 {
            return Err(Error::OpenSocket(io::Error::last_os_error()));
        }
        let socket = Socket { fd, sequence: 0, send_buffer: 0, buffer: vec![0; RECEIVE_BYTES] };
        socket.option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1)?;
        socket.option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)?;
        socket.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
        Ok(socket)
    }

    /// Hears from now on what happens in a group (`NFNLGRP_*`).
    pub fn subscribe(&mut self, group: u32) -> Result<()> {
        self.option(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group as i32)
    }

    /// What a subscription has brought until now; false if so much came that some is lost.
    pub fn heard(&mut self, mut each: impl FnMut(Reply<'_>)) -> Result<bool> {
        let mut whole = true;
        for _ in 0..ANSWER_LIMIT {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(received) => {
                    for reply in replies(&self.buffer[..received]) {
                        each(reply?);
                    }
                }
                Err(Error::Exchange(error)) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(whole),
                    Some(libc::ENOBUFS) => whole = false,
                    _ => return Err(Error::Exchange(error)),
                },
                Err(error) => return Err(error),
            }
        }
        // Whoever makes so many changes at once goes on with it; there will be more to hear.
        Ok(false)
    }

    /// Sends messages, each acknowledged, all in one system call. Every message is tried even if
    /// one before it fails; the first refusal is returned. `what` names the attempt in the error.
    pub fn request(&mut self, messages: Vec<Message>, what: &str) -> Result<()> {
        let refusals = self.acknowledged(messages, what)?;
        refusals.into_iter().next().map_or(Ok(()), Err)
    }

    /// The same for messages that remove things: what is gone already is fine.
    pub fn remove(&mut self, messages: Vec<Message>, what: &str) -> Result<()> {
        let refusals = self.acknowledged(messages, what)?;
        refusals.into_iter().find(|error| !is_missing(error)).map_or(Ok(()), Err)
    }

    fn acknowledged(&mut self, messages: Vec<Message>, what: &str) -> Result<Vec<Error>> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for mut message in messages {
            self.sequence += 1;
            message.set_sequence(self.sequence);
            message.add_flags(libc::NLM_F_ACK as u16);
            bytes.extend_from_slice(message.bytes());
        }
        let mut refusals = Vec::new();
        if bytes.is_empty() {
            return Ok(refusals);
        }
        self.send(&bytes)?;
        let mut missing = self.sequence + 1 - first;
        while missing > 0 {
            let received = self.receive(0)?;
            for reply in replies(&self.buffer[..received]) {
                let reply = reply?;
                if reply.kind == libc::NLMSG_ERROR as u16 && reply.sequence >= first {
                    missing -= 1;
                    refusals.extend(refused(&reply, what));
                }
            }
        }
        Ok(refusals)
    }

    /// Reads a list: `each` is called with every entry. A list that changed while it was read is
    /// read again, so `start` is called before each reading.
    pub fn dump<T>(
        &mut self,
        message: &Message,
        what: &str,
        mut each: impl FnMut(Reply<'_>) -> Option<T>,
    ) -> Result<Vec<T>> {
        for _ in 0..DUMP_TRIES {
            let mut found = Vec::new();
            if self.dump_once(message, what, &mut |reply| found.extend(each(reply)))? {
                return Ok(found);
            }
        }
        Err(Error::Decode("list that changes faster than it can be read"))
    }

    /// One reading; false if the kernel says that the list changed meanwhile.
    fn dump_once(
        &mut self,
        message: &Message,
        what: &str,
        each: &mut dyn FnMut(Reply<'_>),
    ) -> Result<bool> {
        let mut message = message.clone();
        self.sequence += 1;
        message.set_sequence(self.sequence);
        message.add_flags(libc::NLM_F_DUMP as u16);
        self.send(message.bytes())?;
        let mut whole = true;
        loop {
            let received = self.receive(0)?;
            for reply in replies(&self.buffer[..received]) {
                let reply = reply?;
                if reply.sequence != self.sequence {
                    continue;
                }
                whole &= reply.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                if let Some(refusal) = refused(&reply, what) {
                    return Err(refusal);
                }
                if reply.kind == libc::NLMSG_DONE as u16 {
                    return Ok(whole);
                }
                each(reply);
            }
        }
    }

    /// Reads one object; `None` if there is no such one.
    pub fn get<T>(
        &mut self,
        message: &Message,
        what: &str,
        read: impl FnOnce(Reply<'_>) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut message = message.clone();
        self.sequence += 1;
        message.set_sequence(self.sequence);
        self.send(message.bytes())?;
        loop {
            let received = self.receive(0)?;
            for reply in replies(&self.buffer[..received]) {
                let reply = reply?;
                if reply.sequence != self.sequence {
                    continue;
                }
                return match refused(&reply, what) {
                    None => Ok(read(reply)),
                    Some(error) if is_missing(&error) => Ok(None),
                    Some(error) => Err(error),
                };
            }
        }
    }

    /// Sends a whole batch whose message `i` has sequence `base + i`, the last one acknowledged.
    /// Returns the first sequence that was refused, with the refusal.
    pub fn transaction(&mut self, bytes: &[u8], what: &str) -> Result<(), (u32, Error)> {
        self.send(bytes).map_err(|error| (0, error))?;
        let (mut refusal, mut answered) = (None, false);
        for _ in 0..ANSWER_LIMIT {
            let received = match self.receive(libc::MSG_DONTWAIT) {
                Ok(received) => received,
                Err(Error::Exchange(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err((0, error)),
            };
            for reply in replies(&self.buffer[..received]) {
                let reply = reply.map_err(|error| (0, error))?;
                answered |= reply.kind == libc::NLMSG_ERROR as u16;
                if refusal.is_none() {
                    refusal = refused(&reply, what).map(|error| (reply.sequence, error));
                }
            }
        }
        match refusal {
            Some(refusal) => Err(refusal),
            None if answered => Ok(()),
            None => Err((0, Error::Decode("batch without an answer"))),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.make_room(bytes.len())?;
        loop {
            // SAFETY: the pointer and length are those of a live slice that send only reads.
            let sent =
                unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(Error::Exchange(error));
            }
        }
    }

    /// A message has to fit the socket's send buffer whole; the default holds about 200 KB.
    fn make_room(&mut self, bytes: usize) -> Result<()> {
        const DEFAULT: usize = 64 * 1024;
        if bytes <= DEFAULT.max(self.send_buffer) {
            return Ok(());
        }
        let wanted = bytes.saturating_mul(2).min(i32::MAX as usize / 2);
        self.option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, wanted as i32)?;
        self.send_buffer = wanted;
        Ok(())
    }

    /// Receives one datagram into the buffer and returns its length.
    fn receive(&mut self, flags: i32) -> Result<usize> {
        loop {
            // SAFETY: the pointer and length are those of a live buffer that nobody else uses now;
            // MSG_TRUNC makes recv return the datagram's true length and writes no further.
            let received = unsafe {
                libc::recv(
                    self.fd.as_raw_fd(),
                    self.buffer.as_mut_ptr().cast(),
                    self.buffer.len(),
                    flags | libc::MSG_TRUNC,
                )
            };
            if received >= 0 {
                let received = received as usize;
                return match received <= self.buffer.len() {
                    true => Ok(received),
                    false => Err(Error::Decode("datagram larger than the buffer")),
                };
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(Error::Exchange(error));
            }
        }
    }

    fn option(&self, level: i32, name: i32, value: i32) -> Result<()> {
        // SAFETY: the pointer is to a live integer and the length is that of the integer.
        let done = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<i32>() as u32,
            )
        };
        match done {
            0 => Ok(()),
            _ => Err(Error::OpenSocket(io::Error::last_os_error())),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The refusal in a reply, if it is one. `NLMSG_ERROR` with number zero is an acknowledgement.
fn refused(reply: &Reply<'_>, what: &str) -> Option<Error> {
    if reply.kind != libc::NLMSG_ERROR as u16 && reply.kind != libc::NLMSG_DONE as u16 {
        return None;
    }
    let number = u32_at(reply.body, 0)? as i32;
    if number >= 0 {
        return None;
    }
    let tail = reply.body.get(ERROR_FIXED..).unwrap_or(&[]);
    let detail = attributes(tail).find(|(kind, _)| *kind == ERROR_TEXT).map(|(_, v)| text(v));
    Some(Error::Refused {
        what: what.to_string(),
        source: io::Error::from_raw_os_error(-number),
        detail: detail.map_or_else(String::new, |text| format!(" ({text})")),
    })
}

/// Whether a refusal says that the thing is not there.
pub fn is_missing(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL))
}

/// Success also for a thing that was gone already.
pub fn unless_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if is_missing(&error) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::route;

    #[test]
    fn a_refusal_names_the_attempt_and_the_kernels_reason() {
        let ns = NetNs::create().unwrap();
        let mut socket = Socket::open(&ns, Family::Route).unwrap();
        let wrong = route::add_route(&route::Route {
            to: "10.9.0.0/16".parse().unwrap(),
            via: Some("10.8.0.1".parse().unwrap()),
            ..route::Route::on(1)
        });
        let error = socket.request(vec![wrong], "add route to 10.9.0.0/16").unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENETUNREACH), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("add route to 10.9.0.0/16: Network is unreachable"), "{text}");
        assert!(text.ends_with(" (Nexthop has invalid gateway)"), "{text}");
    }
}
