//! PAX extended headers (POSIX.1-2024, `pax`): records `length key=value\n` about the next member.

use crate::error::Error;
use crate::unpack::limits::XATTR_MAX;
use crate::unpack::sparse::PaxMap;
use crate::unpack::tar::bad;

/// What extension members said about the next member.
#[derive(Default)]
pub(crate) struct Extensions {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: Option<PaxMap>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// Reads the records of one extended header.
pub(crate) fn read(mut records: &[u8], into: &mut Extensions) -> Result<(), Error> {
    while !records.is_empty() {
        let (key, value, rest) = record(records).ok_or_else(|| bad("a PAX record is malformed"))?;
        records = rest;
        match key {
            b"path" => into.path = Some(name(value)?),
            b"linkpath" => into.link = Some(name(value)?),
            b"size" => into.size = Some(decimal(value)?),
            b"uid" => into.uid = Some(decimal(value)?),
            b"gid" => into.gid = Some(decimal(value)?),
            b"mtime" => into.mtime = Some(time(value)?),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    xattr(name, value, into)?;
                } else if let Some(field) = key.strip_prefix(SPARSE) {
                    into.sparse.get_or_insert_default().record(field, value)?;
                }
                // Comments, user names and times of access say nothing about the file's content.
            }
        }
    }
    Ok(())
}

/// Splits the first record off: its key, its value, and what follows.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return None;
    }
    let body = &bytes[space + 1..length - 1];
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &bytes[length..]))
}

fn name(value: &[u8]) -> Result<Vec<u8>, Error> {
    match value.contains(&0) {
        true => Err(bad("a name contains a zero byte")),
        false => Ok(value.to_vec()),
    }
}

fn xattr(name: &[u8], value: &[u8], into: &mut Extensions) -> Result<(), Error> {
    if value.len() > XATTR_MAX || name.len() > 255 || name.contains(&0) {
        return Err(bad(&format!("an extended attribute is larger than {XATTR_MAX} bytes")));
    }
    into.xattrs.push((name.to_vec(), value.to_vec()));
    Ok(())
}

pub(crate) fn decimal(value: &[u8]) -> Result<u64, Error> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| bad("a number in a PAX record is wrong"))
}

/// `-1.5` is a second and a half before 1970: whole seconds rounded down, and nanoseconds.
fn time(value: &[u8]) -> Result<(i64, u32), Error> {
    let wrong = || bad("a time in a PAX record is wrong");
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| wrong())?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().map_err(|_| wrong())?;
    match whole.starts_with('-') && nanos > 0 {
        true => Ok((seconds.checked_sub(1).ok_or_else(wrong)?, 1_000_000_000 - nanos)),
        false => Ok((seconds, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let mut seen = Extensions::default();
        read(b"12 path=a/b\n11 size=10\n20 mtime=-1.25\n", &mut seen).unwrap_err();
        let text = b"12 path=a/b\n11 size=10\n15 mtime=-1.25\n28 SCHILY.xattr.user.a=a=b\n\n";
        read(text, &mut seen).unwrap();
        assert_eq!(seen.path.unwrap(), b"a/b");
        assert_eq!(seen.size, Some(10));
        assert_eq!(seen.mtime, Some((-2, 750_000_000)));
        assert_eq!(seen.xattrs, [(b"user.a".to_vec(), b"a=b\n".to_vec())]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for text in [
            "x",
            "0 a=b\n",
            "3 a=b\n",
            "99 a=b\n",
            "6 a=bc",
            "6 abc\n",
            "99999999999999999999999 a=b\n",
            "12 size=-10\n",
            "11 path=a\0\n",
            "11 mtime=x\n",
            "28 mtime=-9223372036854775808.5\n",
        ] {
            assert!(read(text.as_bytes(), &mut Extensions::default()).is_err(), "{text}");
        }
    }
}
