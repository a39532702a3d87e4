//! Reading netlink messages: iterators that never look past the bytes that are there.
//!
//! What the kernel sends is trusted to be meant well, not to be well formed: a length that does not
//! fit ends the iteration (attributes) or is an error (messages).

use super::message::HEADER;
use crate::{Error, Result};

/// The mask of an attribute's type without its two flag bits.
const TYPE: u16 = 0x3fff;

/// One message of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// All behind the header: the fixed structure and the attributes.
    pub body: &'a [u8],
}

/// The messages of one datagram.
pub fn replies(mut bytes: &[u8]) -> impl Iterator<Item = Result<Reply<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let reply = first(bytes);
        bytes = match &reply {
            Ok(reply) => &bytes[aligned(HEADER + reply.body.len()).min(bytes.len())..],
            Err(_) => &[],
        };
        Some(reply)
    })
}

fn first(bytes: &[u8]) -> Result<Reply<'_>> {
    let length = u32_at(bytes, 0).ok_or(Error::Decode("message without a header"))? as usize;
    if length < HEADER || length > bytes.len() {
        return Err(Error::Decode("message length that does not fit"));
    }
    Ok(Reply {
        kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
        flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
        sequence: u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
        body: &bytes[HEADER..length],
    })
}

/// The attributes in a row of bytes: type without flags, and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = bytes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        if length < 4 || length > bytes.len() {
            return None;
        }
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE;
        let value = &bytes[4..length];
        bytes = &bytes[aligned(length).min(bytes.len())..];
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// All behind a fixed structure of `size` bytes; nothing if there is less.
pub fn behind(body: &[u8], size: usize) -> &[u8] {
    body.get(aligned(size)..).unwrap_or(&[])
}

/// A number in the machine's order at an offset.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let four = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

/// A number in network order that is the whole value.
pub fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// A number in network order that is the whole value.
pub fn be16(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

/// A text up to its zero byte.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lie_end_the_reading() {
        assert_eq!(attributes(&[8, 0, 1, 0, 5]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[5, 0, 1, 0, 5]).collect::<Vec<_>>(), vec![(1, &[5][..])]);
        assert!(replies(&[1, 2, 3]).next().unwrap().is_err());
        let mut long = vec![0u8; 16];
        long[0] = 17;
        assert!(replies(&long).next().unwrap().is_err());
        assert_eq!(replies(&long).count(), 1);
    }
}
