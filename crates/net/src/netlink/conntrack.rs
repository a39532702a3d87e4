//! Connection tracking: the flows that the kernel remembers, listed and forgotten.
//!
//! A flow has two tuples: the packets as their sender wrote them, and the answers as their sender
//! wrote them. Where an address was translated the answer's source is the true endpoint. A UDP flow
//! lives as long as packets come, so one that leads to an endpoint that is gone has to be deleted.

use std::net::IpAddr;

use super::message::Message;
use super::parse::{Reply, attributes, be16, be32, behind, find};
use super::route::address;
use super::socket::Socket;
use crate::Result;

const GET: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | 1;
const DELETE: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | 2;
/// `struct nfgenmsg`: family, version, resource.
const FIXED: [u8; 4] = [libc::AF_INET as u8, 0, 0, 0];

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// Which fields of a tuple a listing compares.
const BY_DESTINATION: u32 = 1 << 1;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_DESTINATION_PORT: u32 = 1 << 5;

/// The packets of one direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub protocol: u8,
    pub source: IpAddr,
    pub source_port: u16,
    pub destination: IpAddr,
    pub destination_port: u16,
}

/// One flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub original: Tuple,
    pub reply: Tuple,
    id: u32,
    zone: u16,
}

/// Which flows to list. Older kernels ignore this and list all, so the caller looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub protocol: u8,
    pub destination: Option<IpAddr>,
    pub destination_port: Option<u16>,
}

impl Wanted {
    fn matches(&self, flow: &Flow) -> bool {
        let tuple = &flow.original;
        tuple.protocol == self.protocol
            && self.destination.is_none_or(|d| d == tuple.destination)
            && self.destination_port.is_none_or(|p| p == tuple.destination_port)
    }
}

/// The flows that match.
pub fn flows(socket: &mut Socket, wanted: &Wanted) -> Result<Vec<Flow>> {
    let mut message = Message::new(GET, 0, &FIXED);
    let mut by = BY_PROTOCOL;
    message.nest(TUPLE_ORIGINAL, |m| {
        if let Some(destination) = wanted.destination {
            by |= BY_DESTINATION;
            m.nest(TUPLE_IP, |m| m.put_address(IP_DESTINATION, destination));
        }
        m.nest(TUPLE_PROTOCOL, |m| {
            m.put_u8(PROTOCOL_NUMBER, wanted.protocol);
            if let Some(port) = wanted.destination_port {
                by |= BY_DESTINATION_PORT;
                m.put_be16(DESTINATION_PORT, port);
            }
        });
    });
    message.nest(FILTER, |m| {
        m.put_u32(FILTER_ORIGINAL, by);
        m.put_u32(FILTER_REPLY, 0);
    });
    let mut found = socket.dump(&message, "list flows", read_flow)?;
    found.retain(|flow| wanted.matches(flow));
    Ok(found)
}

/// Makes the kernel forget flows; their next packet is looked at anew.
pub fn delete(socket: &mut Socket, flows: &[Flow]) -> Result<()> {
    /// So many at once keep the kernel's answers within the receive buffer.
    const AT_ONCE: usize = 256;
    for some in flows.chunks(AT_ONCE) {
        let messages = some.iter().map(delete_message).collect();
        socket.remove(messages, "delete stale flows")?;
    }
    Ok(())
}

fn delete_message(flow: &Flow) -> Message {
    let mut message = Message::new(DELETE, 0, &FIXED);
    let tuple = &flow.original;
    message.nest(TUPLE_ORIGINAL, |m| {
        m.nest(TUPLE_IP, |m| {
            m.put_address(IP_SOURCE, tuple.source);
            m.put_address(IP_DESTINATION, tuple.destination);
        });
        m.nest(TUPLE_PROTOCOL, |m| {
            m.put_u8(PROTOCOL_NUMBER, tuple.protocol);
            m.put_be16(SOURCE_PORT, tuple.source_port);
            m.put_be16(DESTINATION_PORT, tuple.destination_port);
        });
    });
    if flow.zone != 0 {
        message.put_be16(ZONE, flow.zone);
    }
    message.put_be32(ID, flow.id);
    message
}

fn read_flow(reply: Reply<'_>) -> Option<Flow> {
    let rest = behind(reply.body, FIXED.len());
    Some(Flow {
        original: read_tuple(find(rest, TUPLE_ORIGINAL)?)?,
        reply: read_tuple(find(rest, TUPLE_REPLY)?)?,
        id: be32(find(rest, ID)?)?,
        zone: find(rest, ZONE).and_then(be16).unwrap_or(0),
    })
}

/// A tuple of a protocol with ports; others (ICMP) yield nothing.
fn read_tuple(value: &[u8]) -> Option<Tuple> {
    let ip = find(value, TUPLE_IP)?;
    let (mut protocol, mut source_port, mut destination_port) = (None, None, None);
    for (kind, value) in attributes(find(value, TUPLE_PROTOCOL)?) {
        match kind {
            PROTOCOL_NUMBER => protocol = value.first().copied(),
            SOURCE_PORT => source_port = be16(value),
            DESTINATION_PORT => destination_port = be16(value),
            _ => {}
        }
    }
    Some(Tuple {
        protocol: protocol?,
        source: address(find(ip, IP_SOURCE)?)?,
        source_port: source_port?,
        destination: address(find(ip, IP_DESTINATION)?)?,
        destination_port: destination_port?,
    })
}
