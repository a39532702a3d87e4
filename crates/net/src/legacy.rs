//! The older `iptables`, whose rules nftables does not show: only whether it drops the packets of a
//! range that go on to another machine because none of its rules accepts them.
//!
//! The layout is that of `ip_tables.h`: a table is a row of entries, and the policy of a chain is its
//! last one, whose target is a verdict.

#![expect(unsafe_code, reason = "its tables are read by getsockopt")]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::nft::value::octets;
use crate::{Error, NetNs, Result};
use skiff_base::Cidr;

const TABLE: &[u8] = b"filter";
/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// `struct ipt_getinfo`: where the first and the last entry of FORWARD begin, and how long all are.
const INFO: usize = 84;
const FIRST_OF_FORWARD: usize = 44;
const LAST_OF_FORWARD: usize = 64;
const SIZE: usize = 80;
/// `struct ipt_get_entries`: the length of all, and where they begin.
const WANTED: usize = 32;
const ENTRIES: usize = 40;
/// `struct ipt_entry` and `struct xt_standard_target`: where it says how far its target is, and how far
/// the next entry; the verdict in the target.
const TARGET: usize = 88;
const VERDICT: usize = 32;
/// `-NF_DROP - 1` and `-NF_ACCEPT - 1`.
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
/// A table is not read beyond this.
const MOST: usize = 16 << 20;

/// Whether the chain FORWARD drops what none of its rules decides, and has none for this range.
pub fn forward_drops(namespace: &NetNs, range: Cidr) -> Result<bool> {
    namespace.run(|| {
        // Asking for a table would make it.
        let names = fs::read_to_string("/proc/thread-self/net/ip_tables_names");
        let there = names.is_ok_and(|all| all.lines().any(|name| name.as_bytes() == TABLE));
        if there { drops(range).map_err(Error::OpenSocket) } else { Ok(false) }
    })?
}

fn drops(range: Cidr) -> io::Result<bool> {
    // SAFETY: socket takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 255) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = vec![0; INFO];
    info[..TABLE.len()].copy_from_slice(TABLE);
    ask(&socket, GET_INFO, &mut info)?;
    let (last, size) = (number(&info, LAST_OF_FORWARD)? as usize, number(&info, SIZE)? as usize);
    let mut all = vec![0; ENTRIES + size.min(MOST)];
    all[..TABLE.len()].copy_from_slice(TABLE);
    all[WANTED..WANTED + 4].copy_from_slice(&(size as u32).to_ne_bytes());
    ask(&socket, GET_ENTRIES, &mut all)?;
    let entries = &all[ENTRIES..];
    let (mut at, mut accepted) = (number(&info, FIRST_OF_FORWARD)? as usize, [false; 2]);
    while at < last {
        for (side, accepted) in accepted.iter_mut().enumerate() {
            *accepted |= verdict(entries, at)? == ACCEPT && is_for(&entries[at..], side, range);
        }
        // The two offsets are numbers of 16 bits.
        at += (number(entries, at + TARGET)? as u32 >> 16).max(1) as usize;
    }
    Ok(verdict(entries, last)? == DROP && accepted != [true; 2])
}

fn number(bytes: &[u8], at: usize) -> io::Result<i32> {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.ok_or(io::Error::from(io::ErrorKind::InvalidData)).map(i32::from_ne_bytes)
}

fn verdict(entries: &[u8], at: usize) -> io::Result<i32> {
    let target = (number(entries, at + TARGET)? & 0xffff) as usize;
    number(entries, at + target + VERDICT)
}

/// Whether an entry is for a range as source (side 0) or destination: two addresses, two masks.
fn is_for(entry: &[u8], side: usize, range: Cidr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(range.prefix())).unwrap_or(0);
    let four = |at: usize| entry.get(4 * at..4 * at + 4);
    four(side) == Some(&octets(range.base())) && four(2 + side) == Some(&mask.to_be_bytes())
}

fn ask(socket: &OwnedFd, what: i32, buffer: &mut [u8]) -> io::Result<()> {
    let mut length = buffer.len() as u32;
    let place = buffer.as_mut_ptr().cast();
    // SAFETY: the pointers are to a live buffer and to its length, beyond which nothing is written.
    let done =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_IP, what, place, &raw mut length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
