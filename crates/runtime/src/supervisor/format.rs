//! The log format of CRI: `<time> <stream> <F|P> <text>`, one per line or piece of a line.
//!
//! A line longer than [`MAX_LINE`] is cut into pieces marked P, its last one F. What comes without
//! a newline is carried over until more comes, or the container ends (then it is a P).
//! Never here: files.

use crate::status::Nanos;

/// As container runtimes have it; readers put the pieces together again.
pub(super) const MAX_LINE: usize = 16 << 10;
/// Longest time and longest stream name, two spaces, tag, space, newline.
pub(super) const OVERHEAD: usize = 30 + 1 + 6 + 1 + 1 + 1 + 1;

/// Formats `carry` and `data`; appends to `out`; returns what is left for the next time.
pub(super) fn format(
    carry: &[u8],
    data: &[u8],
    stream: &str,
    at: Nanos,
    out: &mut Vec<u8>,
) -> Vec<u8> {
    let time = timestamp(at);
    let mut put = |tag: &str, parts: [&[u8]; 2]| {
        for part in [time.as_str(), " ", stream, " ", tag, " "] {
            out.extend_from_slice(part.as_bytes());
        }
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.push(b'\n');
    };
    let mut carry = carry;
    let mut rest = data;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let length = end.unwrap_or(rest.len());
        if carry.len() + length > MAX_LINE {
            let piece = MAX_LINE - carry.len();
            put("P", [carry, &rest[..piece]]);
            (carry, rest) = (&[], &rest[piece..]);
        } else if end.is_some() {
            put("F", [carry, &rest[..length]]);
            (carry, rest) = (&[], &rest[length + 1..]);
        } else {
            return [carry, rest].concat();
        }
    }
}

/// What is left when the container has ended.
pub(super) fn finish(carry: &[u8], stream: &str, at: Nanos) -> Vec<u8> {
    [format!("{} {stream} P ", timestamp(at)).as_bytes(), carry, b"\n"].concat()
}

/// RFC 3339 with nanoseconds, UTC.
pub(super) fn timestamp(at: Nanos) -> String {
    let (seconds, nanos) = (at.div_euclid(1_000_000_000), at.rem_euclid(1_000_000_000));
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// What a rotated log is called, as the kubelet does it.
pub(super) fn suffix(at: Nanos) -> String {
    let (year, month, day, hour, minute, second) = civil(at.div_euclid(1_000_000_000));
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// The proleptic Gregorian calendar: days counted in eras of 400 years that begin on 1 March, so
/// that the leap day is the last of its year.
fn civil(seconds: i64) -> (i64, i64, i64, i64, i64, i64) {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let day = day - (153 * from_march + 2) / 5 + 1;
    (year, month, day, second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const AT: Nanos = 1_795_228_729_000_000_007;

    #[test]
    fn times() {
        expect!["2026-11-21T02:38:49.000000007Z"].assert_eq(&timestamp(AT));
        expect!["20261121-023849"].assert_eq(&suffix(AT));
        expect!["2024-02-29T23:59:59.999999999Z"].assert_eq(&timestamp(1_709_251_199_999_999_999));
        expect!["1969-12-31T23:59:59.000000000Z"].assert_eq(&timestamp(-1_000_000_000));
    }

    #[test]
    fn lines_and_rests() {
        let mut out = Vec::new();
        let carry = format(b"he", b"llo\n\nwor", "stdout", AT, &mut out);
        assert_eq!(carry, b"wor");
        out.extend(finish(&carry, "stdout", AT));
        expect![[r#"
            2026-11-21T02:38:49.000000007Z stdout F hello
            2026-11-21T02:38:49.000000007Z stdout F 
            2026-11-21T02:38:49.000000007Z stdout P wor
        "#]]
        .assert_eq(&String::from_utf8(out).expect("text"));
    }

    #[test]
    fn long_lines_come_in_pieces_however_they_arrive() {
        let line = vec![b'x'; MAX_LINE * 2 + 5];
        let text = [line.as_slice(), b"\n"].concat();
        for chunk in [1, 1000, MAX_LINE, MAX_LINE + 1, text.len()] {
            let (mut out, mut carry) = (Vec::new(), Vec::new());
            for data in text.chunks(chunk) {
                carry = format(&carry, data, "stderr", AT, &mut out);
            }
            assert_eq!(carry, b"");
            let shape: Vec<_> = out
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| (line[38], line.len() - 40))
                .collect();
            assert_eq!(shape, [(b'P', MAX_LINE), (b'P', MAX_LINE), (b'F', 5)], "chunk {chunk}");
        }
    }

    #[test]
    fn the_overhead_is_enough() {
        let mut out = Vec::new();
        format(b"", b"\n\n\n", "stdout", AT, &mut out);
        assert!(out.len() <= 3 * (OVERHEAD + 1));
    }
}
