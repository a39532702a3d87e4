//! Writing netlink messages: bytes in the order of the wire, lengths filled in afterwards.
//!
//! Numbers are in the machine's order unless a method says `be`; nftables and connection tracking
//! want network order almost everywhere, rtnetlink wants the machine's.

use std::net::IpAddr;

/// Bytes of the header: length, type, flags, sequence, port.
pub const HEADER: usize = 16;

/// Marks an attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;

/// An attribute's length has 16 bits, its own header of four bytes included.
pub const ATTRIBUTE_LIMIT: usize = u16::MAX as usize;

/// One netlink message under construction, or several in a row (see [`Message::next`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    start: usize,
}

impl Message {
    /// A message of this type, with flags `NLM_F_*` (`NLM_F_REQUEST` is added) and the fixed
    /// structure that the type wants.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Message {
        let mut message = Message::default();
        message.begin(kind, flags, fixed);
        message
    }

    /// Ends the current message and starts another behind it, to be sent together.
    pub fn next(&mut self, kind: u16, flags: u16, fixed: &[u8]) {
        self.start = self.bytes.len();
        self.begin(kind, flags, fixed);
    }

    fn begin(&mut self, kind: u16, flags: u16, fixed: &[u8]) {
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        let flags = flags | libc::NLM_F_REQUEST as u16;
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(fixed);
        self.pad();
    }

    /// Gives the current message its sequence number.
    pub fn set_sequence(&mut self, sequence: u32) {
        self.bytes[self.start + 8..self.start + 12].copy_from_slice(&sequence.to_ne_bytes());
    }

    /// Adds flags to the current message.
    pub fn add_flags(&mut self, flags: u16) {
        let at = self.start + 6;
        let old = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].copy_from_slice(&(old | flags).to_ne_bytes());
    }

    /// The number of bytes so far, all messages together.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn put(&mut self, attribute: u16, value: &[u8]) {
        let length = value.len() + 4;
        debug_assert!(length <= ATTRIBUTE_LIMIT, "attribute of {length} bytes");
        self.bytes.extend_from_slice(&(length as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&attribute.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    pub fn put_u8(&mut self, attribute: u16, value: u8) {
        self.put(attribute, &[value]);
    }

    pub fn put_u32(&mut self, attribute: u16, value: u32) {
        self.put(attribute, &value.to_ne_bytes());
    }

    pub fn put_be16(&mut self, attribute: u16, value: u16) {
        self.put(attribute, &value.to_be_bytes());
    }

    pub fn put_be32(&mut self, attribute: u16, value: u32) {
        self.put(attribute, &value.to_be_bytes());
    }

    pub fn put_be64(&mut self, attribute: u16, value: u64) {
        self.put(attribute, &value.to_be_bytes());
    }

    pub fn put_address(&mut self, attribute: u16, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.put(attribute, &v4.octets()),
            IpAddr::V6(v6) => self.put(attribute, &v6.octets()),
        }
    }

    /// A text with the zero byte that the kernel wants behind it.
    pub fn put_text(&mut self, attribute: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.put(attribute, &bytes);
    }

    /// An attribute that holds what `fill` puts.
    pub fn nest(&mut self, attribute: u16, fill: impl FnOnce(&mut Message)) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&(attribute | NESTED).to_ne_bytes());
        fill(self);
        let length = self.bytes.len() - at;
        debug_assert!(length <= ATTRIBUTE_LIMIT, "attribute of {length} bytes");
        self.bytes[at..at + 2].copy_from_slice(&(length as u16).to_ne_bytes());
        self.close();
    }

    /// Raw bytes of a fixed structure inside a nested attribute.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        self.close();
    }

    /// Writes the current message's length into its header.
    fn close(&mut self) {
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::parse::{attributes, replies};

    #[test]
    fn what_is_written_is_read_back() {
        let mut message = Message::new(7, 0x100, &[1, 2]);
        message.set_sequence(41);
        message.put_text(1, "eth0");
        message.nest(2, |m| {
            m.put_u8(3, 9);
            m.put_be16(4, 0x1234);
        });
        message.next(8, 0, &[]);
        message.put_u32(5, 77);
        let read: Vec<_> = replies(message.bytes()).map(|r| r.unwrap()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].flags, read[0].sequence), (7, 0x101, 41));
        assert_eq!((read[1].kind, read[1].flags, read[1].sequence), (8, 1, 0));
        let fields: Vec<_> = attributes(&read[0].body[4..]).collect();
        assert_eq!(fields[0], (1, &b"eth0\0"[..]));
        assert_eq!(fields[1].0, 2);
        let inner: Vec<_> = attributes(fields[1].1).collect();
        assert_eq!(inner, vec![(3, &[9][..]), (4, &[0x12, 0x34][..])]);
    }
}
