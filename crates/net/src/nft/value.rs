//! What stands in sets and maps: keys and data, each a row of fields.
//!
//! Every field takes registers of its own, of four bytes each: one, or four for an address of IPv6. A row of fields is
//! a concatenation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::Protocol;

/// The kinds of field, with the numbers by which `nft list` knows how to print them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Of IPv4, the family of our tables.
    Address,
    Protocol,
    Port,
    /// Any number; listed as a mark (`0x0000002a`).
    Number,
    /// Two numbers of 16 bits; listed as a traffic class (`1:2a`).
    Pair,
}

impl FieldType {
    pub(super) fn number(self) -> u32 {
        match self {
            FieldType::Address => 7,
            FieldType::Protocol => 12,
            FieldType::Port => 13,
            FieldType::Number => 19,
            FieldType::Pair => 23,
        }
    }

    /// Whether its bytes stand as on the wire, not as in the machine.
    pub(super) fn is_big_endian(self) -> bool {
        !matches!(self, FieldType::Number | FieldType::Pair)
    }

    /// The field of this type in four bytes of the kernel's.
    pub(super) fn read(self, bytes: [u8; 4]) -> Field {
        match self {
            FieldType::Address => Field::Address(Ipv4Addr::from(bytes).into()),
            FieldType::Protocol => Field::Protocol(bytes[0]),
            FieldType::Port => Field::Port(u16::from_be_bytes([bytes[0], bytes[1]])),
            FieldType::Number => Field::Number(u32::from_ne_bytes(bytes)),
            FieldType::Pair => {
                let both = u32::from_ne_bytes(bytes);
                Field::Pair((both >> 16) as u16, both as u16)
            }
        }
    }
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    Address(IpAddr),
    Protocol(u8),
    Port(u16),
    Number(u32),
    Pair(u16, u16),
}

impl Field {
    /// Adds the field as registers hold it.
    pub fn put(self, to: &mut Vec<u8>) {
        let four = match self {
            Field::Address(IpAddr::V6(address)) => return to.extend(address.octets()),
            Field::Address(IpAddr::V4(address)) => address.octets(),
            Field::Protocol(number) => [number, 0, 0, 0],
            Field::Port(port) => {
                let [high, low] = port.to_be_bytes();
                [high, low, 0, 0]
            }
            Field::Number(number) => number.to_ne_bytes(),
            Field::Pair(high, low) => (u32::from(high) << 16 | u32::from(low)).to_ne_bytes(),
        };
        to.extend(four);
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Address(address) => address.fmt(f),
            Field::Protocol(number) => match Protocol::from_number(*number) {
                Some(protocol) => protocol.fmt(f),
                None => number.fmt(f),
            },
            Field::Port(port) => port.fmt(f),
            Field::Number(number) => number.fmt(f),
            Field::Pair(high, low) => write!(f, "{high:x}:{low:x}"),
        }
    }
}

/// An address as it stands on the wire.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

impl From<IpAddr> for Field {
    fn from(address: IpAddr) -> Field {
        Field::Address(address)
    }
}

impl From<Protocol> for Field {
    fn from(protocol: Protocol) -> Field {
        Field::Protocol(protocol.number())
    }
}

impl From<u16> for Field {
    fn from(port: u16) -> Field {
        Field::Port(port)
    }
}

impl From<u32> for Field {
    fn from(number: u32) -> Field {
        Field::Number(number)
    }
}

/// A key, or data.
pub type Row = Vec<Field>;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Drop,
    Accept,
    Return,
    Jump(String),
    Goto(String),
}

/// What a map's element leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Data {
    /// A set's element has none.
    None,
    Row(Row),
    Verdict(Verdict),
}

impl Data {
    /// The pair, if it is one.
    pub fn pair(&self) -> Option<(u16, u16)> {
        match self {
            Data::Row(row) => match row[..] {
                [Field::Pair(high, low)] => Some((high, low)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// One element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    pub key: Row,
    pub data: Data,
    /// For sets whose elements end: how long until this one does, if not the set's default.
    pub expires_ms: Option<u64>,
}

impl Element {
    /// An element of a set.
    pub fn key(key: Row) -> Element {
        Element { key, data: Data::None, expires_ms: None }
    }

    /// An element of a map.
    pub fn pair(key: Row, data: Row) -> Element {
        Element { key, data: Data::Row(data), expires_ms: None }
    }

    /// An element of a verdict map.
    pub fn verdict(key: Row, verdict: Verdict) -> Element {
        Element { key, data: Data::Verdict(verdict), expires_ms: None }
    }
}

/// What a set's elements lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataType {
    None,
    Row(Vec<FieldType>),
    Verdict,
}

/// How elements come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// By batches alone.
    Lasting,
    /// Rules add them too; each ends by itself. At most `limit` at a time.
    Expiring { timeout_ms: u64, limit: u32 },
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    pub key: Vec<FieldType>,
    pub data: DataType,
    pub lifetime: Lifetime,
}
