//! The expressions of a rule: what a packet is asked and what is done with it.
//!
//! There are sixteen registers of four bytes. A concatenation lies in neighbouring registers. A
//! register holds something only from the expression that loads it to the end of the rule.

use super::value::{Field, Verdict, octets};
use skiff_base::Cidr;

/// A register, 0 to 15.
pub type Register = u32;

/// Which header an offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    Network,
    Transport,
}

/// What the kernel knows of a packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    Mark,
    /// For queues behind the rules; the kernel works it out anew for what is passed on.
    Priority,
    InputIndex,
    /// The group of the link that the packet came in by.
    InputGroup,
    Protocol,
}

/// What connection tracking knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    State,
    Status,
}

/// Whose sort of address (local, unicast, ...) is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

/// How a refusal is told to the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    TcpReset,
    PortUnreachable,
}

/// Whether a comparison or a lookup goes on when it fits or when it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Equal,
    Different,
}

/// One expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    Load {
        header: Header,
        offset: u32,
        length: u32,
        into: Register,
    },
    LoadMeta {
        meta: Meta,
        into: Register,
    },
    SetMeta {
        meta: Meta,
        from: Register,
    },
    LoadTrack {
        track: Track,
        into: Register,
    },
    /// The sort of an address, as a routing table number (`RTN_*`).
    LoadSort {
        side: Side,
        into: Register,
    },
    /// The link that an answer to the source would leave by, if it is the one that the packet came
    /// in by; else 0.
    LoadWayBack {
        into: Register,
    },
    Put {
        field: Field,
        into: Register,
    },
    /// `into = into & mask ^ xor`, over as many registers as the two fill.
    Bits {
        register: Register,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    Compare {
        register: Register,
        when: When,
        with: Vec<u8>,
    },
    /// Goes on if the key is (not) in the set.
    Contains {
        set: String,
        key: Register,
        when: When,
    },
    /// Goes on with the data of the key, if it is in the map.
    Map {
        map: String,
        key: Register,
        into: Register,
    },
    /// Ends with the verdict of the key, if it is in the map.
    VerdictMap {
        map: String,
        key: Register,
    },
    Random {
        below: u32,
        into: Register,
    },
    /// Puts key and data into an expiring map, or renews them.
    Remember {
        map: String,
        key: Register,
        data: Register,
        timeout_ms: u64,
    },
    /// Takes a key out of an expiring map; a missing one is fine. The kernel wants to be shown data
    /// here too, whatever they are.
    Forget {
        map: String,
        key: Register,
        data: Register,
    },
    TranslateTo {
        address: Register,
        port: Register,
    },
    Masquerade,
    Refuse(Refusal),
    End(Verdict),
}

/// Bits of [`Track::State`]: the packet opens a flow.
pub const STATE_NEW: u32 = 8;
/// Bits of [`Track::Status`]: the flow's destination was translated.
pub const STATUS_DESTINATION: u32 = 32;

use Expression as E;

/// Loads the source address (of IPv4: tables of this family read keys by it).
pub fn source(into: Register) -> E {
    address(Side::Source, Family::V4, into)
}

/// Loads the destination address, likewise.
pub fn destination(into: Register) -> E {
    address(Side::Destination, Family::V4, into)
}

/// Which sort of address a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// The address on that side, from where RFC 791 and RFC 8200 put it.
fn address(side: Side, family: Family, into: Register) -> E {
    let (offset, length) = match (family, side) {
        (Family::V4, Side::Source) => (12, 4),
        (Family::V4, Side::Destination) => (16, 4),
        (Family::V6, Side::Source) => (8, 16),
        (Family::V6, Side::Destination) => (24, 16),
    };
    E::Load { header: Header::Network, offset, length, into }
}

/// Loads the address 0.0.0.0, written so that `nft list` can print it as part of a key.
pub fn no_address() -> [E; 2] {
    [destination(0), E::Bits { register: 0, mask: vec![0; 4], xor: vec![0; 4] }]
}

/// Loads the transport protocol.
pub fn protocol(into: Register) -> E {
    E::LoadMeta { meta: Meta::Protocol, into }
}

/// Loads the destination port (TCP, UDP and SCTP have it in the same place).
pub fn port(into: Register) -> E {
    E::Load { header: Header::Transport, offset: 2, length: 2, into }
}

/// Goes on if any of these bits is set in what connection tracking says.
pub fn tracked(track: Track, bits: u32) -> [E; 3] {
    [
        E::LoadTrack { track, into: 0 },
        E::Bits { register: 0, mask: bits.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        E::Compare { register: 0, when: When::Different, with: vec![0; 4] },
    ]
}

/// Goes on if the address on that side is (not) in the range. The table has to be of its family.
pub fn within(side: Side, range: Cidr, when: When) -> Vec<E> {
    let family = if range.is_ipv4() { Family::V4 } else { Family::V6 };
    let with = octets(range.base());
    let bits = |at: usize| usize::from(range.prefix()).saturating_sub(8 * at).min(8);
    let mask = (0..with.len()).map(|at| u8::MAX.checked_shl(8 - bits(at) as u32).unwrap_or(0));
    let (mask, xor) = (mask.collect(), vec![0; with.len()]);
    vec![
        address(side, family, 0),
        E::Bits { register: 0, mask, xor },
        E::Compare { register: 0, when, with },
    ]
}

/// Goes on if the address on that side is one of the node's own.
pub fn is_own(side: Side) -> [E; 2] {
    let local = u32::from(libc::RTN_LOCAL).to_ne_bytes();
    [
        E::LoadSort { side, into: 0 },
        E::Compare { register: 0, when: When::Equal, with: local.to_vec() },
    ]
}

/// Goes on if the packet came in by a link of a group, or of another that differs in `ignored` bits.
pub fn came_by(group: u32, ignored: u32) -> [E; 3] {
    let mask = (!ignored).to_ne_bytes();
    let with = (group & !ignored).to_ne_bytes();
    [
        E::LoadMeta { meta: Meta::InputGroup, into: 0 },
        E::Bits { register: 0, mask: mask.to_vec(), xor: vec![0; 4] },
        E::Compare { register: 0, when: When::Equal, with: with.to_vec() },
    ]
}

/// Goes on if the packet has this transport protocol.
pub fn is_protocol(number: u8) -> [E; 2] {
    [protocol(0), E::Compare { register: 0, when: When::Equal, with: vec![number] }]
}
