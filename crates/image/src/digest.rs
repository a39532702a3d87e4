//! Digests: content is named by the SHA-256 of its bytes, written `sha256:<64 hex digits>`.
//!
//! OCI image spec, "Descriptors": other algorithms may be registered, but every registry in use
//! speaks SHA-256, so the others are refused rather than half supported.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The SHA-256 digest of some content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hash = Hash::new();
        hash.update(bytes);
        hash.finish()
    }

    /// The 64 hex digits without `sha256:`.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is below 16"));
            }
        }
        text
    }

    /// Reads 64 lower-case hex digits.
    pub fn from_hex(hex: &str) -> Option<Digest> {
        let bytes = hex.as_bytes();
        if bytes.len() != 64 || bytes.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let mut digest = [0; 32];
        for (place, pair) in digest.iter_mut().zip(bytes.chunks(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *place = (high * 16 + low) as u8;
        }
        Some(Digest(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest, Error> {
        let bad = |why| Error::ReadDigest { text: text.chars().take(200).collect(), why };
        let Some((algorithm, hex)) = text.split_once(':') else {
            return Err(bad("invalid checksum digest format"));
        };
        if algorithm != "sha256" {
            return Err(bad("unsupported digest algorithm"));
        }
        if hex.len() != 64 {
            return Err(bad("invalid checksum digest length"));
        }
        Digest::from_hex(hex).ok_or_else(|| bad("invalid checksum digest format"))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Digest, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// A running hash.
#[derive(Clone)]
pub(crate) struct Hash(ring::digest::Context);

impl Hash {
    pub(crate) fn new() -> Hash {
        Hash(ring::digest::Context::new(&ring::digest::SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let hash = self.0.finish();
        Digest(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// Hashes and counts what is read through it.
pub(crate) struct HashReader<R> {
    inner: R,
    hash: Hash,
    count: u64,
}

impl<R: Read> HashReader<R> {
    pub(crate) fn new(inner: R) -> HashReader<R> {
        HashReader { inner, hash: Hash::new(), count: 0 }
    }

    /// The digest and number of all bytes that were read.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (self.hash.finish(), self.count)
    }
}

impl<R: Read> Read for HashReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back() {
        let empty = Digest::of(b"");
        assert_eq!(
            empty.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(empty.to_string().parse::<Digest>().unwrap(), empty);
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, why) in [
            ("", "invalid checksum digest format"),
            ("sha256", "invalid checksum digest format"),
            ("sha512:00", "unsupported digest algorithm"),
            ("sha256:00", "invalid checksum digest length"),
            (&format!("sha256:{}", "Z".repeat(64)), "invalid checksum digest format"),
            (&format!("sha256:{}", "A".repeat(64)), "invalid checksum digest format"),
            (&format!("sha256:{}", "é".repeat(32)), "invalid checksum digest format"),
        ] {
            let error = text.parse::<Digest>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
