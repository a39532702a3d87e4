//! Reading the logs of containers, in the format of CRI: each line is a time, a stream, `F` for a
//! whole line or `P` for a part of one, and the text.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// One line of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// RFC 3339 with nanoseconds.
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// More of the same line follows in the next record.
    pub partial: bool,
    pub text: &'a [u8],
}

/// Takes a record apart; None if it is none.
pub fn parse(record: &[u8]) -> Option<Line<'_>> {
    let mut parts = record.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let partial = parts.next()?.starts_with(b"P");
    Some(Line { time, stream, partial, text: parts.next().unwrap_or_default() })
}

/// The end of a log: so many lines and bytes at most (terminationMessagePolicy
/// FallbackToLogsOnError).
pub fn last_words(path: &Path, lines: usize, bytes: usize) -> io::Result<String> {
    // A record has up to 50 bytes of its own beside its text.
    let window = bytes as u64 + lines as u64 * 64;
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(window);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let records = tail.split(|byte| *byte == b'\n').skip(usize::from(start > 0));
    let mut whole: Vec<u8> = Vec::new();
    let parsed: Vec<Line> = records.filter_map(parse).collect();
    for line in &parsed[parsed.len().saturating_sub(lines)..] {
        whole.extend_from_slice(line.text);
        if !line.partial {
            whole.push(b'\n');
        }
    }
    let whole = &whole[whole.len().saturating_sub(bytes)..];
    Ok(String::from_utf8_lossy(whole).into_owned())
}
