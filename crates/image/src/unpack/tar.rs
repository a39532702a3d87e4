//! A tar reader for streams that are not trusted (POSIX.1-2024 `pax`, GNU long names, sparse files).
//!
//! A tar is a row of 512-byte blocks: a header, then the data of that member, padded. Long names,
//! attributes and large numbers stand in *extension* members before the one that they are about.
//! This reader keeps one header in memory and never more than a limit of extensions; sizes that a
//! header announces allocate nothing.

use std::io::{self, Read};

use crate::error::Error;
use crate::unpack::limits::{EXTENSION_MAX, EXTENSIONS_MAX};
use crate::unpack::pax::{self, Extensions};
use crate::unpack::sparse::{self, Piece};

pub(crate) const BLOCK: usize = 512;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Dir,
    Fifo,
}

/// One member, all extensions applied.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) kind: Kind,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    /// Length of the file, holes included.
    pub(crate) size: u64,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data goes, if the file has holes.
    pub(crate) pieces: Option<Vec<Piece>>,
}

/// Reads members one after another. As a reader it gives the data of the current one.
pub(crate) struct Tar<R> {
    inner: R,
    /// Data of the current member that was not read yet, and the padding behind it.
    data: u64,
    padding: u64,
    /// Whether the block of zeros that ends every tar was seen.
    ended: bool,
}

impl<R: Read> Tar<R> {
    pub(crate) fn new(inner: R) -> Tar<R> {
        Tar { inner, data: 0, padding: 0, ended: false }
    }

    /// Whether the stream ended where a tar ends. Some writers leave the end out.
    pub(crate) fn is_whole(&self) -> bool {
        self.ended
    }

    /// The next member; what is left of the data before is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, Error> {
        let mut extensions = Extensions::default();
        for _ in 0..EXTENSIONS_MAX {
            self.skip()?;
            let mut block = [0; BLOCK];
            if !self.fill(&mut block)? {
                return Ok(None);
            }
            if block == [0; BLOCK] {
                self.ended = true;
                return Ok(None);
            }
            let header = Header(&block);
            header.check_sum()?;
            let size = header.number(124, 12)?;
            match block[156] {
                b'x' => pax::read(&self.extension(size)?, &mut extensions)?,
                // Global headers carry comments (git archive); no image tool relies on their values.
                b'g' => drop(self.extension(size)?),
                b'L' => extensions.path = Some(until_nul(&self.extension(size)?).to_vec()),
                b'K' => extensions.link = Some(until_nul(&self.extension(size)?).to_vec()),
                _ => return self.member(&header, extensions).map(Some),
            }
        }
        Err(bad("too many extension headers before one entry"))
    }

    fn member(&mut self, header: &Header, extensions: Extensions) -> Result<Member, Error> {
        let flag = header.0[156];
        let path = extensions.path.unwrap_or_else(|| header.path());
        let kind = match flag {
            0 | b'0' if path.ends_with(b"/") => Kind::Dir,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            other => return Err(bad(&format!("unknown entry type {:?}", char::from(other)))),
        };
        let stored = match kind {
            Kind::File => extensions.size.map_or_else(|| header.number(124, 12), Ok)?,
            _ => 0,
        };
        self.open(stored)?;
        let mut member = Member {
            kind,
            path,
            link: extensions.link.unwrap_or_else(|| until_nul(&header.0[157..257]).to_vec()),
            mode: (header.number(100, 8)? & 0o7777) as u32,
            uid: extensions.uid.map_or_else(|| header.number(108, 8), Ok)?,
            gid: extensions.gid.map_or_else(|| header.number(116, 8), Ok)?,
            mtime: match extensions.mtime {
                Some(mtime) => mtime,
                None => (header.signed(136, 12)?, 0),
            },
            device: (0, 0),
            size: stored,
            xattrs: extensions.xattrs,
            pieces: None,
        };
        if matches!(kind, Kind::Char | Kind::Block) {
            member.device = (header.number(329, 8)? as u32, header.number(337, 8)? as u32);
        }
        if flag == b'S' {
            let (pieces, size) = self.old_sparse(header)?;
            member.pieces = Some(pieces);
            member.size = size;
        } else if let Some(map) = extensions.sparse {
            let name = map.name.clone();
            let (pieces, size) = map.finish(&mut *self)?;
            member.pieces = Some(pieces);
            member.size = size;
            member.path = name.unwrap_or(member.path);
        }
        if let Some(pieces) = &member.pieces {
            sparse::check(pieces, member.size, self.data)?;
        }
        Ok(member)
    }

    /// The map of a sparse file in GNU's old format: four pieces in the header, 21 per block after.
    fn old_sparse(&mut self, header: &Header) -> Result<(Vec<Piece>, u64), Error> {
        let size = header.number(483, 12)?;
        let mut pieces = Vec::new();
        let mut more = sparse::old_pieces(&header.0[386..482], header.0[482], &mut pieces)?;
        while more {
            let mut block = [0; BLOCK];
            if !self.fill(&mut block)? {
                return Err(bad("it is cut short, inside of a sparse map"));
            }
            more = sparse::old_pieces(&block[..504], block[504], &mut pieces)?;
        }
        Ok((pieces, size))
    }

    fn open(&mut self, size: u64) -> Result<(), Error> {
        if size > i64::MAX as u64 {
            return Err(bad("an entry announces an impossible size"));
        }
        self.data = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > EXTENSION_MAX {
            return Err(bad(&format!("an extension header is larger than {EXTENSION_MAX} bytes")));
        }
        self.open(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(Error::from_io)?;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), Error> {
        let rest = self.data + self.padding;
        let skipped = io::copy(&mut self.inner.by_ref().take(rest), &mut io::sink())
            .map_err(Error::from_io)?;
        // Some writers leave the last padding out.
        if skipped < self.data {
            return Err(bad("it is cut short, inside of an entry"));
        }
        (self.data, self.padding) = (0, 0);
        Ok(())
    }

    /// A whole block, or false at the end of the stream.
    fn fill(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Error> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(bad("it is cut short, inside of a header")),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_io(error)),
            }
        }
        Ok(true)
    }
}

impl<R: Read> Read for Tar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.data.min(buffer.len() as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(bad("it is cut short, inside of an entry").into_io());
        }
        self.data -= n as u64;
        Ok(n)
    }
}

/// A header block: fields at fixed places, numbers in octal or, with the top bit set, in binary.
struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn check_sum(&self) -> Result<(), Error> {
        let wanted = self.number(148, 8).ok();
        let bytes = self.0.iter().enumerate();
        let sum: u64 = bytes
            .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum();
        if wanted != Some(sum) {
            return Err(bad("wrong checksum of a tar header: this is no tar, or it is damaged"));
        }
        Ok(())
    }

    fn number(&self, at: usize, length: usize) -> Result<u64, Error> {
        number(&self.0[at..at + length])
    }

    fn signed(&self, at: usize, length: usize) -> Result<i64, Error> {
        let field = &self.0[at..at + length];
        if field[0] == 0xff {
            let low = field[length - 8..].try_into().expect("eight bytes");
            return Ok(i64::from_be_bytes(low));
        }
        i64::try_from(number(field)?).map_err(|_| bad("a time is out of range"))
    }

    fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = until_nul(&self.0[345..500]);
        // GNU's own format ("ustar  ") keeps other things where POSIX has the prefix.
        if &self.0[257..263] != b"ustar\0" || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }
}

/// Whether a block begins a tar: a header, or the end of an empty one.
pub(crate) fn is_header(block: &[u8]) -> bool {
    match <&[u8; BLOCK]>::try_from(block) {
        Ok(block) => *block == [0; BLOCK] || Header(block).check_sum().is_ok(),
        Err(_) => false,
    }
}

/// An octal or binary field of a header.
pub(crate) fn number(field: &[u8]) -> Result<u64, Error> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        let spill = high.iter().enumerate().any(|(at, b)| if at == 0 { b & 0x7f } else { *b } != 0);
        if spill {
            return Err(bad("a number in a header is out of range"));
        }
        let mut bytes = [0; 8];
        bytes[8 - low.len()..].copy_from_slice(low);
        if high.is_empty() {
            bytes[0] &= 0x7f;
        }
        return Ok(u64::from_be_bytes(bytes));
    }
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'7' => Ok(sum * 8 + u64::from(digit - b'0')),
        _ => Err(bad("a number in a header is not octal")),
    })
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

pub(crate) fn bad(why: &str) -> Error {
    Error::RefuseLayer { why: why.to_owned() }
}
