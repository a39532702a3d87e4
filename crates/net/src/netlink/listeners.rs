//! Who listens on this machine: the sockets that take connections or datagrams of anybody, as
//! sock_diag(7) lists them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::Message;
use super::parse::Reply;
use super::socket::{Socket, is_missing};
use crate::{Error, Protocol, Result};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `TCP_CLOSE` and `TCP_LISTEN`: a datagram socket that is connected to nobody is in the first.
const UNCONNECTED: u32 = 1 << 7;
const LISTENING: u32 = 1 << 10;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 56;

/// A port that somebody listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listener {
    /// 0.0.0.0: on every address.
    pub address: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}

/// All of them; those that listen on IPv6 alone are not told from those that listen on both.
pub fn all(socket: &mut Socket) -> Result<Vec<Listener>> {
    let mut found = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            match of(socket, protocol, family as u8) {
                // A kernel without this protocol knows nobody who listens by it.
                Err(error) if protocol == Protocol::Sctp && is_missing(&error) => {}
                other => found.extend(other?),
            }
        }
    }
    Ok(found)
}

fn of(socket: &mut Socket, protocol: Protocol, family: u8) -> Result<Vec<Listener>> {
    let states = if protocol == Protocol::Udp { UNCONNECTED } else { LISTENING };
    let mut fixed = [0; REQUEST];
    fixed[..2].copy_from_slice(&[family, protocol.number()]);
    fixed[4..8].copy_from_slice(&states.to_ne_bytes());
    let message = Message::new(BY_FAMILY, 0, &fixed);
    let what = format!("list listening {protocol} sockets");
    let listed = socket.dump(&message, &what, |reply| Some(read(reply, protocol)))?;
    listed.into_iter().filter_map(Result::transpose).collect()
}

/// From a `struct inet_diag_msg`; `None` for a socket of IPv6 addresses alone.
fn read(reply: Reply<'_>, protocol: Protocol) -> Result<Option<Listener>> {
    let short = || Error::Decode("socket without an address");
    let id = reply.body.get(4..24).ok_or_else(short)?;
    let (port, address) = (u16::from_be_bytes([id[0], id[1]]), &id[4..20]);
    let four = |bytes: &[u8]| Ipv4Addr::from([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let address = match i32::from(reply.body[0]) {
        libc::AF_INET => Some(four(address)),
        _ => {
            let six = Ipv6Addr::from(<[u8; 16]>::try_from(address).map_err(|_| short())?);
            if six.is_unspecified() { Some(Ipv4Addr::UNSPECIFIED) } else { six.to_ipv4_mapped() }
        }
    };
    Ok(address.filter(|_| port != 0).map(|v4| Listener { address: v4.into(), protocol, port }))
}
