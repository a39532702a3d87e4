//! Sparse files in tars: only the pieces between the holes are stored, with a map of where they go.
//!
//! GNU tar has four formats: its old one (type `S`, pieces in header blocks), and three with PAX
//! records `GNU.sparse.*`: 0.0 (a record per number), 0.1 (one record), 1.0 (the map stands in
//! decimal lines before the data, padded to a block).

use std::io::Read;

use crate::error::Error;
use crate::unpack::limits::PIECES_MAX;
use crate::unpack::pax::decimal;
use crate::unpack::tar::{BLOCK, bad, number};

/// A piece of data in a file with holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The PAX records of a sparse file.
#[derive(Default)]
pub(crate) struct PaxMap {
    pub(crate) name: Option<Vec<u8>>,
    major: Option<u64>,
    size: Option<u64>,
    numbers: Vec<u64>,
}

impl PaxMap {
    /// Takes the record `GNU.sparse.<field>`.
    pub(crate) fn record(&mut self, field: &[u8], value: &[u8]) -> Result<(), Error> {
        match field {
            b"major" => self.major = Some(decimal(value)?),
            b"name" if !value.contains(&0) => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"offset" | b"numbytes" => self.push(decimal(value)?)?,
            b"map" => {
                for part in value.split(|byte| *byte == b',').filter(|part| !part.is_empty()) {
                    self.push(decimal(part)?)?;
                }
            }
            b"minor" | b"numblocks" => {}
            _ => return Err(bad("an unknown record of a sparse file")),
        }
        Ok(())
    }

    fn push(&mut self, value: u64) -> Result<(), Error> {
        if self.numbers.len() >= 2 * PIECES_MAX {
            return Err(bad(&format!("a sparse file has more than {PIECES_MAX} pieces")));
        }
        self.numbers.push(value);
        Ok(())
    }

    /// The pieces and the size of the file; reads the map of format 1.0 from the data.
    pub(crate) fn finish(mut self, data: &mut impl Read) -> Result<(Vec<Piece>, u64), Error> {
        if self.major == Some(1) {
            self.read_map(data)?;
        }
        let size = self.size.ok_or_else(|| bad("a sparse file has no size"))?;
        if !self.numbers.len().is_multiple_of(2) {
            return Err(bad("a sparse map is incomplete"));
        }
        let pieces = self.numbers.chunks(2).map(|p| Piece { offset: p[0], length: p[1] }).collect();
        Ok((pieces, size))
    }

    fn read_map(&mut self, data: &mut impl Read) -> Result<(), Error> {
        let mut digits = Vec::new();
        let mut wanted = None;
        while wanted != Some(self.numbers.len()) {
            let mut block = [0; BLOCK];
            data.read_exact(&mut block).map_err(Error::from_io)?;
            for byte in block {
                if wanted == Some(self.numbers.len()) {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    continue;
                }
                let value = decimal(&digits)?;
                digits.clear();
                match wanted {
                    None if value > PIECES_MAX as u64 => {
                        return Err(bad(&format!(
                            "a sparse file has more than {PIECES_MAX} pieces"
                        )));
                    }
                    None => wanted = Some(2 * value as usize),
                    Some(_) => self.push(value)?,
                }
            }
            if digits.len() > 20 {
                return Err(bad("a number in a sparse map is too long"));
            }
        }
        Ok(())
    }
}

/// Takes pieces of GNU's old format; says whether another block of them follows.
pub(crate) fn old_pieces(fields: &[u8], more: u8, into: &mut Vec<Piece>) -> Result<bool, Error> {
    for field in fields.chunks_exact(24) {
        if field[0] == 0 {
            break;
        }
        if into.len() >= PIECES_MAX {
            return Err(bad(&format!("a sparse file has more than {PIECES_MAX} pieces")));
        }
        into.push(Piece { offset: number(&field[..12])?, length: number(&field[12..])? });
    }
    Ok(more != 0)
}

/// Pieces lie in order within the file, and their data is exactly what is stored.
pub(crate) fn check(pieces: &[Piece], size: u64, stored: u64) -> Result<(), Error> {
    let mut end = 0;
    let mut total = 0u64;
    for piece in pieces {
        let next = piece.offset.checked_add(piece.length);
        if piece.offset < end || next.is_none_or(|next| next > size) {
            return Err(bad("a sparse map is out of order or beyond the end of the file"));
        }
        end = piece.offset + piece.length;
        total += piece.length;
    }
    match total == stored && size <= i64::MAX as u64 {
        true => Ok(()),
        false => Err(bad("a sparse map does not fit the data")),
    }
}
