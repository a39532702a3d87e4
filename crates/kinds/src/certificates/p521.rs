//! Signatures by ECDSA over the curve P-521 (FIPS 186-5): the one curve of certificates and tokens that the library for
//! all others has no code for.

use p521::ecdsa::signature::hazmat::PrehashVerifier;
use p521::ecdsa::{Signature as Ecdsa, VerifyingKey};
use x509_parser::asn1_rs::{Integer, Sequence};
use x509_parser::prelude::FromDer;

/// Bytes of a number of the curve's field.
pub const NUMBER: usize = 66;
/// Bytes of a public key as an uncompressed point.
pub const POINT: usize = 1 + 2 * NUMBER;

/// A signature, of which only the form is known.
pub struct Signature([u8; 2 * NUMBER]);

impl Signature {
    /// As certificates have it: a sequence of two numbers (RFC 3279, section 2.2.3).
    pub fn of_der(der: &[u8]) -> Option<Signature> {
        let (rest, numbers) = Sequence::from_der(der).ok()?;
        let (inner, r) = Integer::from_der(&numbers.content).ok()?;
        let (end, s) = Integer::from_der(inner).ok()?;
        if !rest.is_empty() || !end.is_empty() {
            return None;
        }
        let mut both = [0; 2 * NUMBER];
        for (number, place) in [r, s].iter().zip(both.chunks_mut(NUMBER)) {
            let bytes = number.as_ref();
            let zeros = bytes.iter().take_while(|it| **it == 0).count();
            let bytes = &bytes[zeros..];
            let at = NUMBER.checked_sub(bytes.len())?;
            place[at..].copy_from_slice(bytes);
        }
        Some(Signature(both))
    }

    /// As tokens have it: the two numbers one behind the other (RFC 7518, section 3.4).
    pub fn of_numbers(bytes: &[u8]) -> Option<Signature> {
        bytes.try_into().ok().map(Signature)
    }

    /// Whether the key that is this point signed what has this digest, of 64 bytes at most.
    pub fn is_by(&self, point: &[u8], digest: &[u8]) -> bool {
        // A short digest is the same number with zeros before it, which the library wants to see.
        let mut number = [0; NUMBER];
        let Some(at) = NUMBER.checked_sub(digest.len()) else { return false };
        number[at..].copy_from_slice(digest);
        let key = VerifyingKey::from_sec1_bytes(point);
        let signature = Ecdsa::from_slice(&self.0);
        matches!((key, signature), (Ok(key), Ok(it)) if key.verify_prehash(&number, &it).is_ok())
    }
}
