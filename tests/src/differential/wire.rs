//! Protobuf as text, for cases to compare: what is on the wire, by field numbers and in its order, whoever wrote it.
//!
//! Nothing is known of types: bytes are shown as text where they read like one, else as the message that they could be,
//! else in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

/// An envelope, messages of a watch (each behind four bytes of length), or what is neither, as it is.
pub fn shown(bytes: &[u8]) -> String {
    let mut out = String::new();
    if let Some(message) = bytes.strip_prefix(b"k8s\0") {
        envelope(&mut out, message, 0);
        return out;
    }
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((message, after)) = after.split_at_checked(length) else { break };
        out.push_str("message\n");
        show(&mut out, message, 1);
        rest = after;
    }
    match rest.is_empty() && !bytes.is_empty() {
        true => out,
        false => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn envelope(out: &mut String, message: &[u8], depth: usize) {
    out.push_str(&" ".repeat(depth));
    out.push_str("k8s\n");
    show(out, message, depth + 1);
}

fn show(out: &mut String, message: &[u8], depth: usize) {
    let margin = " ".repeat(depth);
    for (number, value) in fields(message).unwrap_or_default() {
        match value {
            // Times are those of now.
            Value::Number(1_500_000_000..4_000_000_000) => line(out, &margin, number, "TIME"),
            Value::Number(it) => line(out, &margin, number, &it.to_string()),
            Value::Bytes(it) if let Some(inner) = it.strip_prefix(b"k8s\0") => {
                line(out, &margin, number, "");
                envelope(out, inner, depth + 1);
            }
            Value::Bytes(it) => match (text(it), fields(it)) {
                (Some(it), _) if it.bytes().all(|it| it.is_ascii_digit()) && it.len() < 9 => {
                    // Perhaps a revision.
                    line(out, &margin, number, if it.is_empty() { "''" } else { "'DIGITS'" });
                }
                (Some(it), _) => line(out, &margin, number, &format!("'{it}'")),
                (None, Some(_)) => {
                    line(out, &margin, number, "");
                    show(out, it, depth + 1);
                }
                (None, None) => line(out, &margin, number, &STANDARD.encode(it)),
            },
        }
    }
}

fn line(out: &mut String, margin: &str, number: u64, value: &str) {
    writeln!(out, "{margin}{number}: {value}").expect("strings grow");
}

/// Bytes that read like a text.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.chars().all(|it| !it.is_control() || it == '\n').then_some(text)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, if these bytes are one.
fn fields(mut rest: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut rest)?),
            1 => {
                let (eight, after) = rest.split_first_chunk::<8>()?;
                rest = after;
                Value::Number(u64::from_le_bytes(*eight))
            }
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (bytes, after) = rest.split_at_checked(length)?;
                rest = after;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        found.push((tag >> 3, value));
        // No message of the API has so high a number: these bytes are something else.
        if !(1..=100).contains(&(tag >> 3)) {
            return None;
        }
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_texts_and_messages() {
        let object = b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Status\x12\x06\x08\x07\x12\x02\x08\x01";
        let wanted = "k8s\n 1: \n  1: 'v1'\n  2: 'Status'\n 2: \n  1: 7\n  2: \n   1: 1\n";
        assert_eq!(shown(object), wanted);
        assert_eq!(shown(b"{}"), "{}");
        let framed =
            [&[0, 0, 0, object.len() as u8 + 2, 0x0a, object.len() as u8][..], object].concat();
        assert!(shown(&framed).starts_with("message\n 1: \n  k8s\n   1: "), "{}", shown(&framed));
    }
}
