//! A parcel: a stream in pieces that is known to be whole and as it was written, and that a passphrase may lock.
//!
//! ```text
//! skiff-backup 1\n                                     the format; a newer one is refused
//! u32 length, JSON                                     what wrote it, how it is locked
//! u32 length of a piece (the top bit: the last), bytes, and what proves them:
//! ```
//!
//! Unlocked, that is a SHA-256 over the proof before, the length and the bytes: it finds damage. Locked, the bytes are
//! sealed by AES-256-GCM, with their number as nonce and the head's sum and the length as what is authenticated: no
//! piece can be changed, left out or put elsewhere, and the end not cut off. The key comes from the passphrase by
//! Argon2id (RFC 9106, its second recommendation), and is used for one file. This is age's way of payloads with what
//! is in the program already; age itself would bring sixty crates.

use anyhow::{Context, Result, anyhow, bail};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context as Digest, SHA256, SHA256_OUTPUT_LEN};
use skiff_base::World;
use skiff_json::{Value, json};
use std::io::{self, Read, Write};

/// The format that this program writes; it reads all up to it.
const FORMAT: u64 = 1;
const MAGIC: &str = "skiff-backup ";
/// The first line, up to a format of twenty digits.
const LINE_MOST: usize = 40;
const HEAD_MOST: u32 = 64 << 10;
/// Bytes of a piece: what a reader holds before it has proved them.
const PIECE: usize = 64 << 10;
const LAST: u32 = 1 << 31;
const TAG: usize = 16;
/// RFC 9106, section 4: 64 MiB, three passes, four lanes.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// What a file may ask for of this machine: 1 GiB.
const MEMORY_KIB_MOST: u32 = 1 << 20;
const PASSES_MOST: u32 = 16;
const SALT: usize = 16;

/// What proves the pieces.
enum Guard {
    Sum([u8; SHA256_OUTPUT_LEN]),
    Key { key: Box<LessSafeKey>, head: [u8; SHA256_OUTPUT_LEN], number: u64 },
}

fn sum(parts: &[&[u8]]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut digest = Digest::new(&SHA256);
    parts.iter().for_each(|part| digest.update(part));
    digest.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl Guard {
    /// Seals, or sums up, a piece in its place.
    fn close(&mut self, word: [u8; 4], piece: &mut Vec<u8>) -> Result<()> {
        match self {
            Guard::Sum(before) => {
                *before = sum(&[&before[..], &word, piece]);
                piece.extend(*before);
            }
            Guard::Key { key, head, number } => {
                let nonce = nonce(number)?;
                let bound = [&head[..], &word].concat();
                let sealed = key.seal_in_place_append_tag(nonce, Aad::from(bound), piece);
                sealed.map_err(|_| anyhow!("a piece cannot be sealed"))?;
            }
        }
        Ok(())
    }

    /// Proves a piece and leaves its bytes.
    fn open(&mut self, word: [u8; 4], piece: &mut Vec<u8>) -> Option<()> {
        match self {
            Guard::Sum(before) => {
                let at = piece.len().checked_sub(SHA256_OUTPUT_LEN)?;
                let (bytes, proof) = piece.split_at(at);
                let found = sum(&[&before[..], &word, bytes]);
                (found == proof).then_some(())?;
                *before = found;
                piece.truncate(at);
            }
            Guard::Key { key, head, number } => {
                let nonce = nonce(number).ok()?;
                let bound = [&head[..], &word].concat();
                let plain = key.open_in_place(nonce, Aad::from(bound), piece).ok()?.len();
                piece.truncate(plain);
            }
        }
        Some(())
    }

    fn proof(&self) -> usize {
        match self {
            Guard::Sum(_) => SHA256_OUTPUT_LEN,
            Guard::Key { .. } => TAG,
        }
    }
}

/// The next number; 2^32 pieces are 256 TiB, and below what one key of AES-GCM may seal.
fn nonce(number: &mut u64) -> Result<Nonce> {
    *number += 1;
    if *number > u64::from(u32::MAX) {
        bail!("a backup cannot be larger than 256 TiB");
    }
    let mut bytes = [0; NONCE_LEN];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Ok(Nonce::assume_unique_for_key(bytes))
}

fn key(passphrase: &[u8], memory: u32, passes: u32, salt: &[u8]) -> Result<Box<LessSafeKey>> {
    let mut bytes = [0; 32];
    let params = Params::new(memory, passes, LANES, Some(bytes.len()));
    let params = params.map_err(|error| anyhow!("the passphrase's parameters: {error}"))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut bytes)
        .map_err(|error| anyhow!("making a key of the passphrase: {error}"))?;
    let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| anyhow!("the key is no key"))?;
    Ok(Box::new(LessSafeKey::new(key)))
}

/// Wraps a stream.
pub struct Wrap<W> {
    out: W,
    guard: Guard,
    piece: Vec<u8>,
}

impl<W: Write> Wrap<W> {
    /// Begins a parcel.
    pub fn new(mut out: W, passphrase: Option<&[u8]>, world: &World) -> Result<Wrap<W>> {
        let mut salt = [0; SALT];
        world.fill(&mut salt);
        let lock = passphrase.map(|_| {
            json!({"kdf": "argon2id", "memoryKiB": MEMORY_KIB, "passes": PASSES,
                   "salt": BASE64_STANDARD.encode(salt)})
        });
        let version = format!("v{}", env!("CARGO_PKG_VERSION"));
        let head = json!({"skiff": version, "created": world.now().to_string(), "lock": lock});
        let (first, head) = (format!("{MAGIC}{FORMAT}\n"), head.to_string());
        let length = u32::try_from(head.len()).context("the head is short")?.to_le_bytes();
        let head = [first.as_bytes(), &length, head.as_bytes()].concat();
        out.write_all(&head)?;
        let head = sum(&[&head]);
        let guard = match passphrase {
            None => Guard::Sum(head),
            Some(words) => {
                Guard::Key { key: key(words, MEMORY_KIB, PASSES, &salt)?, head, number: 0 }
            }
        };
        let mut wrap = Wrap { out, guard, piece: Vec::with_capacity(PIECE + SHA256_OUTPUT_LEN) };
        // The first piece is empty: a wrong passphrase is told from damage by it.
        wrap.close(0)?;
        Ok(wrap)
    }

    pub fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let n = bytes.len().min(PIECE - self.piece.len());
            let (now, later) = bytes.split_at(n);
            self.piece.extend(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.close(0)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, last: u32) -> Result<()> {
        let length = u32::try_from(self.piece.len()).context("a piece is short")?;
        let word = (length | last).to_le_bytes();
        self.guard.close(word, &mut self.piece)?;
        self.out.write_all(&word)?;
        self.out.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    /// Ends it: without this it counts as cut short.
    pub fn finish(mut self) -> Result<W> {
        self.close(LAST)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Why a parcel is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    Cut,
    Damaged,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Flaw::Cut => "it is cut short: take another backup, nothing was touched",
            Flaw::Damaged => "it is damaged: take another backup, nothing was touched",
        })
    }
}

impl std::error::Error for Flaw {}

/// Reads a parcel as the stream that was wrapped; an error of it ends in a [`Flaw`].
pub struct Unwrap<R> {
    from: R,
    guard: Guard,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Unwrap<R> {
    /// Reads the head. `passphrase` is asked only if there is a lock.
    pub fn new(
        mut from: R,
        passphrase: impl FnOnce() -> Result<Option<Vec<u8>>>,
    ) -> Result<Unwrap<R>> {
        let first = first_line(&mut from)?;
        let mut length = [0; 4];
        fill(&mut from, &mut length)?;
        let size = u32::from_le_bytes(length);
        if size > HEAD_MOST {
            bail!(Flaw::Damaged);
        }
        let mut head = vec![0; size as usize];
        fill(&mut from, &mut head)?;
        let all = sum(&[first.as_bytes(), &length, &head]);
        let head: Value = skiff_json::from_slice(&head).map_err(|_| Flaw::Damaged)?;
        let guard = match &head["lock"] {
            Value::Null => Guard::Sum(all),
            lock => {
                let words = passphrase()?.context(
                    "it is locked: name the file that holds its passphrase with --passphrase-file",
                )?;
                let number = |name: &str, most: u32| {
                    let number = lock[name].as_u64().and_then(|n| u32::try_from(n).ok());
                    number.filter(|n| *n <= most).ok_or(Flaw::Damaged)
                };
                let salt = lock["salt"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
                let salt = salt.ok_or(Flaw::Damaged)?;
                let (memory, passes) =
                    (number("memoryKiB", MEMORY_KIB_MOST)?, number("passes", PASSES_MOST)?);
                Guard::Key { key: key(&words, memory, passes, &salt)?, head: all, number: 0 }
            }
        };
        let locked = matches!(guard, Guard::Key { .. });
        let mut unwrap = Unwrap { from, guard, piece: Vec::new(), at: 0, ended: false };
        match unwrap.open() {
            Err(Flaw::Damaged) if locked => {
                bail!(
                    "the passphrase is not that of the backup (or its head is damaged); nothing was touched"
                )
            }
            opened => opened?,
        }
        Ok(unwrap)
    }

    fn open(&mut self) -> Result<(), Flaw> {
        let mut word = [0; 4];
        fill(&mut self.from, &mut word)?;
        let length = u32::from_le_bytes(word);
        let size = (length & !LAST) as usize;
        if size > PIECE {
            return Err(Flaw::Damaged);
        }
        self.piece.resize(size + self.guard.proof(), 0);
        fill(&mut self.from, &mut self.piece)?;
        self.guard.open(word, &mut self.piece).ok_or(Flaw::Damaged)?;
        self.at = 0;
        self.ended = length & LAST != 0;
        Ok(())
    }
}

impl<R: Read> Read for Unwrap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            self.open().map_err(io::Error::other)?;
        }
        let n = buffer.len().min(self.piece.len() - self.at);
        buffer[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

fn first_line(from: &mut impl Read) -> Result<String> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') && line.len() < LINE_MOST {
        let mut byte = [0];
        if from.read(&mut byte)? == 0 {
            break;
        }
        line.push(byte[0]);
    }
    let text = String::from_utf8(line).unwrap_or_default();
    let format = text.strip_prefix(MAGIC).and_then(|rest| rest.trim_end().parse::<u64>().ok());
    match format {
        Some(FORMAT) => Ok(text),
        Some(newer) => bail!(
            "it was written by a newer Skiff (format {newer}, this one knows {FORMAT}): restore it with that one"
        ),
        None => bail!("it is no backup of Skiff's"),
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<(), Flaw> {
    from.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Flaw::Cut,
        _ => Flaw::Damaged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(bytes: &[u8], passphrase: Option<&[u8]>) -> Vec<u8> {
        let mut wrap = Wrap::new(Vec::new(), passphrase, &World::real()).unwrap();
        wrap.put(bytes).unwrap();
        wrap.finish().unwrap()
    }

    fn unwrapped(file: &[u8], passphrase: Option<&[u8]>) -> Result<Vec<u8>> {
        let mut unwrap = Unwrap::new(file, || Ok(passphrase.map(<[u8]>::to_vec)))?;
        let mut out = Vec::new();
        unwrap.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn what_was_wrapped_comes_back_or_not_at_all() {
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        for words in [None, Some(&b"a good passphrase"[..])] {
            for length in [0, 1, PIECE, bytes.len()] {
                let file = wrapped(&bytes[..length], words);
                assert_eq!(unwrapped(&file, words).unwrap(), bytes[..length]);
            }
            let file = wrapped(&bytes, words);
            assert_eq!(file.windows(8).any(|w| w == &bytes[400..408]), words.is_none());
            let says = |file: &[u8]| unwrapped(file, words).unwrap_err().to_string();
            // Cut anywhere, even between two pieces; a byte changed anywhere behind the head; two pieces exchanged.
            for cut in [file.len() - 1, file.len() / 2, 300] {
                assert!(
                    says(&file[..cut]).starts_with("it is cut short"),
                    "{}",
                    says(&file[..cut])
                );
            }
            for at in (1000..file.len()).step_by(50_021).chain([file.len() - 1]) {
                let mut bad = file.clone();
                bad[at] ^= 0x10;
                let said = says(&bad);
                assert!(
                    said.starts_with("it is damaged") || said.starts_with("it is cut"),
                    "{said}"
                );
            }
            let whole = PIECE + 4 + if words.is_some() { TAG } else { SHA256_OUTPUT_LEN };
            let begin = file.len() - whole * 3;
            let mut bad = file.clone();
            bad[begin..begin + whole * 2].rotate_left(whole);
            assert!(says(&bad).starts_with("it is damaged"));
        }
    }

    #[test]
    fn what_it_is_not_is_said() {
        let says = |file: &[u8], words| unwrapped(file, words).unwrap_err().to_string();
        let file = wrapped(b"x", Some(b"one"));
        assert!(says(&file, None).contains("--passphrase-file"));
        assert!(says(&file, Some(b"two")).starts_with("the passphrase is not that of the backup"));
        let newer = [b"skiff-backup 2\n", &file[15..]].concat();
        assert!(says(&newer, None).starts_with("it was written by a newer Skiff (format 2"));
        for foreign in [&b""[..], b"\x1f\x8b\0", b"skiff-backup x\n", b"skiff-backup"] {
            assert_eq!(says(foreign, None), "it is no backup of Skiff's");
        }
        // Nobody makes this machine spend more than it has for a file of a stranger's.
        let head = u32::from_le_bytes(file[15..19].try_into().unwrap()) as usize;
        let greedy = std::str::from_utf8(&file[19..19 + head]).unwrap();
        let greedy = greedy.replace("65536", "99999999");
        let length = u32::try_from(greedy.len()).unwrap().to_le_bytes();
        let greedy = [b"skiff-backup 1\n", &length[..], greedy.as_bytes()].concat();
        assert!(says(&greedy, Some(b"one")).starts_with("it is damaged"));
    }
}
