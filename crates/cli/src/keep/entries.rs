//! What is in a backup, one entry after another: a letter, a length, the bytes.
//!
//! | entry | what it holds |
//! |---|---|
//! | `M` | the first: JSON, what the cluster is, and as of which revision |
//! | `F` | JSON, the path of a file below the data folder; its bytes follow as `D`s |
//! | `R` | a record, as the store saves it |
//! | `I` | the node's images; their bytes follow as `D`s |
//! | `D` | bytes |
//! | `X` | the text of an error: what wrote this could not go on |
//! | `E` | the last: JSON, how many records there were |

use anyhow::{Context, Result, bail};
use std::io::Read;

/// What is in an entry at most: the largest object and what stands around it.
const BYTES_MOST: u32 = 32 << 20;
/// Bytes of a file in one entry.
pub const PIECE: usize = 256 << 10;
/// Files that a backup names are the cluster's own, which are few.
pub const FILES_MOST: usize = 4096;

/// What an entry is, by its letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryType {
    Meta = b'M',
    File = b'F',
    Record = b'R',
    Images = b'I',
    Data = b'D',
    Error = b'X',
    End = b'E',
}

impl EntryType {
    const ALL: [EntryType; 7] = [
        EntryType::Meta,
        EntryType::File,
        EntryType::Record,
        EntryType::Images,
        EntryType::Data,
        EntryType::Error,
        EntryType::End,
    ];

    pub fn of(letter: u8) -> Option<EntryType> {
        EntryType::ALL.into_iter().find(|it| *it as u8 == letter)
    }
}

/// Puts an entry behind what is there.
pub fn put(out: &mut Vec<u8>, type_: EntryType, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= BYTES_MOST);
    let length =
        length.with_context(|| format!("an entry of {} bytes is too large", bytes.len()))?;
    out.push(type_ as u8);
    out.extend(length.to_le_bytes());
    out.extend(bytes);
    Ok(())
}

/// Reads the next entry; `None`: the stream ends here.
pub fn next(from: &mut (impl Read + ?Sized)) -> Result<Option<(EntryType, Vec<u8>)>> {
    let mut head = [0; 5];
    let mut filled = 0;
    while filled < head.len() {
        match from.read(&mut head[filled..])? {
            0 if filled == 0 => return Ok(None),
            0 => bail!("an entry is cut short"),
            n => filled += n,
        }
    }
    let [letter, length @ ..] = head;
    let type_ = EntryType::of(letter).context("an entry is of no known type")?;
    let length = u32::from_le_bytes(length);
    if length > BYTES_MOST {
        bail!("an entry is too large");
    }
    let mut bytes = Vec::new();
    from.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() != length as usize {
        bail!("an entry is cut short");
    }
    Ok(Some((type_, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_nonsense_does_not() {
        let mut out = Vec::new();
        put(&mut out, EntryType::Meta, b"{}").unwrap();
        put(&mut out, EntryType::Record, &[7; 1000]).unwrap();
        let mut from = &out[..];
        assert_eq!(next(&mut from).unwrap(), Some((EntryType::Meta, b"{}".to_vec())));
        assert_eq!(next(&mut from).unwrap().unwrap().1.len(), 1000);
        assert_eq!(next(&mut from).unwrap(), None);
        for bad in [&out[..6], &out[..3], b"?\0\0\0\0", b"R\xff\xff\xff\xff"] {
            assert!(next(&mut &bad[..]).is_err());
        }
    }
}
