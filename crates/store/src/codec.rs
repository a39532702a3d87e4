//! Bytes to disk and from disk: the one place where a stored row takes its form.
//!
//! What is to be encrypted at rest passes [`crate::seal`] first: everything above sees plain bytes, the
//! sum covers what lies on the disk. It guards every row against a disk that lies; SQLite has none of
//! its own for its pages.

use crate::{Facets, facets::facets};

/// Facets as length-prefixed strings: name, value, name, value...
pub(crate) fn encode_facets(facets: &Facets) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in facets.iter() {
        for text in [name, value] {
            length(text.len(), &mut out);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// Seven bits a byte, the lowest first.
pub(crate) fn length(mut rest: usize, out: &mut Vec<u8>) {
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// `None` when the bytes are not what `encode_facets` makes.
pub(crate) fn decode_facets(mut bytes: &[u8]) -> Option<Facets> {
    let mut pairs = Vec::new();
    while !bytes.is_empty() {
        let name = take_text(&mut bytes)?;
        pairs.push((name, take_text(&mut bytes)?));
    }
    Some(facets(pairs))
}

/// The number that [`length`] wrote.
pub(crate) fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let (mut length, mut shift) = (0usize, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return Some(length);
        }
        if shift > 28 {
            return None;
        }
    }
}

fn take_text(bytes: &mut &[u8]) -> Option<Box<str>> {
    let length = take_length(bytes)?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(std::str::from_utf8(text).ok()?.into())
}

/// Everything of a row that the sum covers, as it lies on disk.
pub(crate) struct Stored<'a> {
    pub revision: u64,
    pub prev: u64,
    pub deleted: u64,
    pub generation: u32,
    pub key: &'a str,
    pub facets: &'a [u8],
    pub body: Option<&'a [u8]>,
}

impl Stored<'_> {
    /// A sum over all fields. It finds damage, it does not resist an attacker: each step is a
    /// bijection of the state, so a difference in one word cannot get lost.
    pub fn sum(&self) -> i64 {
        let mut sum = 0x534b_4946_u64;
        for word in [self.revision, self.prev, self.deleted, u64::from(self.generation)] {
            sum = mix(sum, word);
        }
        for part in [Some(self.key.as_bytes()), Some(self.facets), self.body] {
            // An absent body and an empty one differ.
            sum = mix(sum, part.map_or(u64::MAX, |bytes| bytes.len() as u64));
            let (words, rest) = part.unwrap_or(&[]).as_chunks::<8>();
            for word in words {
                sum = mix(sum, u64::from_le_bytes(*word));
            }
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            sum = mix(sum, u64::from_le_bytes(last));
        }
        sum.cast_signed()
    }
}

fn mix(sum: u64, word: u64) -> u64 {
    (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facets_come_back() {
        let long = "x".repeat(300);
        let set = facets(vec![
            ("l:app".into(), "web".into()),
            ("o".into(), long.into()),
            ("f:empty".into(), "".into()),
        ]);
        let bytes = encode_facets(&set);
        assert_eq!(decode_facets(&bytes), Some(set));
        for cut in 1..bytes.len() {
            // A cut may fall between two pairs, but never gives the same again.
            assert_ne!(decode_facets(&bytes[..cut]), decode_facets(&bytes));
        }
        assert_eq!(decode_facets(&[0xff; 9]), None);
    }

    #[test]
    fn sum_sees_every_bit() {
        let body: Vec<u8> = (0..37).collect();
        let row = |body: Option<&[u8]>, prev| {
            Stored { revision: 7, prev, deleted: 0, generation: 1, key: "a/b", facets: &[], body }
                .sum()
        };
        let whole = row(Some(&body), 3);
        for bit in 0..body.len() * 8 {
            let mut bad = body.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(row(Some(&bad), 3), whole);
        }
        assert_ne!(row(Some(&body), 4), whole);
        assert_ne!(row(None, 3), row(Some(&[]), 3));
    }
}
