//! Pieces: bytes that are sent in one go and never copied into one, for most of them are shared with others.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// A sequence of shared bytes, none of them empty.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    /// Most often there is no other, and then `rest` has no memory of its own.
    first: Bytes,
    rest: VecDeque<Bytes>,
    size: usize,
}

impl Pieces {
    /// Appends `piece`.
    pub fn push(&mut self, piece: Bytes) {
        self.size += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            self.rest.push_back(piece);
        }
    }

    /// Puts `piece`, which is not empty, before all others.
    pub fn put_before(&mut self, piece: Bytes) {
        self.size += piece.len();
        let second = std::mem::replace(&mut self.first, piece);
        if !second.is_empty() {
            self.rest.push_front(second);
        }
    }
}

impl From<Bytes> for Pieces {
    fn from(piece: Bytes) -> Pieces {
        Pieces { size: piece.len(), first: piece, rest: VecDeque::new() }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.size
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let all = std::iter::once(&self.first).chain(&self.rest).filter(|it| !it.is_empty());
        let filled = into.iter_mut().zip(all).map(|(slot, piece)| *slot = IoSlice::new(piece));
        filled.count()
    }

    fn advance(&mut self, mut count: usize) {
        self.size = self.size.checked_sub(count).expect("nobody advances beyond the end");
        while count >= self.first.len() && count > 0 {
            count -= self.first.len();
            self.first = self.rest.pop_front().unwrap_or_default();
        }
        self.first.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_like_one() {
        let parts = ["", "a", "bc", "", "def"].map(|part| Bytes::from_static(part.as_bytes()));
        for step in 1..=6 {
            let mut pieces = Pieces::default();
            parts[2..].iter().for_each(|part| pieces.push(part.clone()));
            pieces.put_before(parts[1].clone());
            let mut read = Vec::new();
            while pieces.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = pieces.chunks_vectored(&mut slices);
                let all: usize = slices[..count].iter().map(|slice| slice.len()).sum();
                assert_eq!((all, &*slices[0]), (pieces.remaining(), pieces.chunk()));
                let mut some = pieces.clone();
                let step = step.min(some.remaining());
                read.extend_from_slice(&some.copy_to_bytes(step));
                pieces.advance(step);
            }
            assert_eq!(read, b"abcdef");
            assert_eq!((pieces.chunk(), pieces.remaining()), (&b""[..], 0));
        }
    }
}
