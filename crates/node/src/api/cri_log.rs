//! Logs as they lie on disk, and what a reader gets of them.
//!
//! A record is one line: time, stream, `F` or `P`, text. `P` is a piece of a line whose rest is in
//! the next records (CRI logging design). Options as in the API reference, `PodLogOptions`.
//!
//! Never here: IO beyond a seekable reader; following.

use jiff::Timestamp;
use std::io::{self, Read, Seek, SeekFrom};

/// Looking for the last lines goes backwards in steps of this size.
const STEP: u64 = 64 * 1024;

/// What a reader asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    /// Bytes of output at most.
    pub limit: Option<u64>,
    /// `stdout` or `stderr` alone.
    pub stream: Option<&'static str>,
}

/// Turns records into text, whatever pieces they come in.
#[derive(Debug)]
pub struct Reader {
    options: Options,
    /// A record that has not ended yet.
    rest: Vec<u8>,
    /// The next record begins a line.
    fresh: bool,
    left: u64,
}

/// One record.
struct Record<'a> {
    time: &'a str,
    stream: &'a str,
    partial: bool,
    text: &'a [u8],
}

impl Reader {
    pub fn new(options: Options) -> Reader {
        let left = options.limit.unwrap_or(u64::MAX);
        Reader { options, rest: Vec::new(), fresh: true, left }
    }

    /// The text of all records that are whole after these bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let records: Vec<u8> = self.rest.drain(..whole).collect();
        for record in records.split_inclusive(|b| *b == b'\n') {
            self.record(&record[..record.len() - 1], &mut out);
        }
        out
    }

    /// No more bytes are wanted: the limit is reached.
    pub fn full(&self) -> bool {
        self.left == 0
    }

    fn record(&mut self, line: &[u8], out: &mut Vec<u8>) {
        // A line in no known form is a torn write of a crash: nobody can say what it was.
        let Some(record) = parse(line) else { return };
        let fresh = std::mem::replace(&mut self.fresh, !record.partial);
        if self.options.stream.is_some_and(|wanted| wanted != record.stream) {
            return;
        }
        if let Some(since) = self.options.since {
            let time: Option<Timestamp> = record.time.parse().ok();
            if time.is_some_and(|time| time < since) {
                return;
            }
        }
        let begin = out.len();
        if self.options.timestamps && fresh {
            out.extend_from_slice(record.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(record.text);
        if !record.partial {
            out.push(b'\n');
        }
        let size = (out.len() - begin) as u64;
        let kept = size.min(self.left);
        out.truncate(begin + usize::try_from(kept).expect("not more than there is"));
        self.left -= kept;
    }
}

fn parse(line: &[u8]) -> Option<Record<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let partial = match parts.next()?.split(|b| *b == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Record { time, stream, partial, text: parts.next()? })
}

/// Where the last `lines` records begin.
pub fn tail(file: &mut (impl Read + Seek), lines: u64) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let (mut at, mut found) = (end, 0);
    let mut chunk = Vec::new();
    while at > 0 {
        let from = at.saturating_sub(STEP);
        file.seek(SeekFrom::Start(from))?;
        chunk.clear();
        file.by_ref().take(at - from).read_to_end(&mut chunk)?;
        for (offset, byte) in chunk.iter().enumerate().rev() {
            let place = from + offset as u64 + 1;
            // The newline at the very end closes the last line; every one before it opens another.
            if *byte == b'\n' && place < end {
                found += 1;
                if found == lines {
                    return Ok(place);
                }
            }
        }
        at = from;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const LOG: &[u8] = b"2026-01-01T00:00:01.5Z stdout F one\n\
        2026-01-01T00:00:02Z stderr F two\n\
        torn\n\
        2026-01-01T00:00:03Z stdout P thr\n\
        2026-01-01T00:00:03.1Z stdout F ee\n\
        2026-01-01T00:00:04Z stdout F \n\
        2026-01-01T00:00:05Z stdout F a  b\n";

    fn read(options: Options) -> String {
        // In pieces of any size, the text is the same.
        let whole = Reader::new(options.clone()).take(LOG);
        for size in [1, 7, 50] {
            let mut reader = Reader::new(options.clone());
            let pieces: Vec<u8> = LOG.chunks(size).flat_map(|c| reader.take(c)).collect();
            assert_eq!(pieces, whole);
        }
        String::from_utf8(whole).expect("it is text")
    }

    #[test]
    fn records_become_text() {
        expect![[r#"
            one
            two
            three

            a  b
        "#]]
        .assert_eq(&read(Options::default()));
    }

    #[test]
    fn options_choose_what_is_shown() {
        let since = "2026-01-01T00:00:03Z".parse().ok();
        expect![[r#"
            2026-01-01T00:00:03Z three
            2026-01-01T00:00:04Z 
            2026-01-01T00:00:05Z a  b
        "#]]
        .assert_eq(&read(Options { since, timestamps: true, ..Options::default() }));
        assert_eq!(read(Options { limit: Some(6), ..Options::default() }), "one\ntw");
        assert_eq!(read(Options { stream: Some("stderr"), ..Options::default() }), "two\n");
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let mut file = io::Cursor::new(LOG);
        let mut rest = |lines| {
            let at = usize::try_from(tail(&mut file, lines).expect("memory")).expect("small");
            LOG[at..].iter().filter(|b| **b == b'\n').count()
        };
        assert_eq!([rest(0), rest(1), rest(2), rest(7), rest(9)], [0, 1, 2, 7, 7]);
    }
}
