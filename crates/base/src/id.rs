//! Identifiers: UUIDs (RFC 9562, version 4) and the random suffixes of generated names.

use crate::World;

/// The alphabet of generated names: no vowels and no look-alikes, so that no words come about.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A random UUID in its usual text form.
pub fn uuid(world: &World) -> String {
    let mut b = [0u8; 16];
    world.fill(&mut b);
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (i, byte) in b.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        push_hex(&mut text, byte);
    }
    text
}

/// `length` random characters for a generated name.
pub fn suffix(world: &World, length: usize) -> String {
    (0..length).map(|_| ALPHABET[world.below(27) as usize] as char).collect()
}

/// Writes a number in the alphabet of generated names, digit by digit as decimal digits map onto it
/// (how hashes become part of names: `pod-template-hash`).
pub fn safe_encode(decimal: &str) -> String {
    decimal.bytes().map(|b| ALPHABET[b as usize % 27] as char).collect()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    bytes.iter().for_each(|byte| push_hex(&mut text, *byte));
    text
}

fn push_hex(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in [byte >> 4, byte & 15] {
        text.push(DIGITS[usize::from(digit)] as char);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn uuids_have_version_and_variant() {
        let id = uuid(&World::seeded(1));
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]));
        assert_eq!([8, 13, 18, 23].map(|at| &id[at..=at]), ["-"; 4]);
        assert_eq!(hex(&[0, 0x0f, 0xa5]), "000fa5");
        assert_eq!(suffix(&World::seeded(1), 5).len(), 5);
    }
}
