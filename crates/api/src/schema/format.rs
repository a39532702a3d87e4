//! The formats that upstream checks in custom resources (API reference, "format").
//!
//! A name that is not listed here is no check at all, as upstream has it; dashes in names do not
//! count, so `date-time` and `datetime` are one.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use crate::duration;

/// Whether the text is of that format; true for formats that nobody checks.
pub fn matches(format: &str, text: &str) -> bool {
    match format.replace('-', "").as_str() {
        "date" => {
            format!("{text}T00:00:00Z").parse::<jiff::Timestamp>().is_ok() && text.len() == 10
        }
        "datetime" => date_time(text),
        "duration" => duration::parse(text).is_ok() || spelled_duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "mac" => mac(text),
        "email" => email(text),
        "uri" => uri(text),
        "hostname" => hostname(text),
        "byte" => byte(text),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID.is_match(text) && version(text) == Some('3'),
        "uuid4" => UUID.is_match(text) && version(text) == Some('4') && variant(text),
        "uuid5" => UUID.is_match(text) && version(text) == Some('5') && variant(text),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => credit_card(text),
        "ssn" => SSN.is_match(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "rgbcolor" => rgb_color(text),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|it| it.is_ascii_hexdigit()),
        "k8sshortname" => dns_label(text),
        "k8slongname" => text.len() <= 253 && text.split('.').all(dns_segment),
        _ => true,
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns here are constants")
}

static UUID: LazyLock<Regex> =
    LazyLock::new(|| pattern("(?i)^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$"));
static SSN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"));
static HEX_COLOR: LazyLock<Regex> = LazyLock::new(|| pattern("(?i)^#?([0-9a-f]{3}){1,2}$"));
static DURATION: LazyLock<Regex> = LazyLock::new(|| pattern(r"([0-9]+)\s*(\p{L}+)"));

/// The words for units that a duration may be spelled with.
const DURATION_WORDS: &[&str] = &[
    "ns", "nano", "us", "\u{b5}s", "micro", "ms", "milli", "s", "sec", "second", "m", "min",
    "minute", "h", "hr", "hour", "d", "day", "w", "wk", "week",
];

fn spelled_duration(text: &str) -> bool {
    let mut found = DURATION.captures_iter(text).peekable();
    found.peek().is_some()
        && found.all(|it| {
            let word = it[2].to_lowercase();
            DURATION_WORDS.contains(&word.as_str())
                || DURATION_WORDS.iter().any(|unit| word == format!("{unit}s"))
        })
}

/// A date, a letter T, a time with optional fraction, and a zone.
fn date_time(text: &str) -> bool {
    let text = text.to_uppercase();
    let Some((date, clock)) = text.split_once('T') else { return false };
    if !matches("date", date) {
        return false;
    }
    let zoned = clock.ends_with('Z') || clock.get(8..).is_some_and(|it| it.contains(['+', '-']));
    zoned && format!("{date}T{clock}").parse::<jiff::Timestamp>().is_ok()
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let bits = bits.parse::<u8>().ok().filter(|_| bits.bytes().all(|it| it.is_ascii_digit()));
    match bits {
        Some(0..=32) if address.parse::<Ipv4Addr>().is_ok() => true,
        Some(0..=128) => address.parse::<Ipv6Addr>().is_ok(),
        _ => false,
    }
}

/// Six, eight or twenty bytes in hexadecimal, in pairs with `:` or `-`, or in fours with `.`.
fn mac(text: &str) -> bool {
    let (mark, width) = match text.find([':', '-', '.']).map(|at| &text[at..=at]) {
        Some(".") => (".", 4),
        Some(mark) => (mark, 2),
        None => return false,
    };
    let groups: Vec<&str> = text.split(mark).collect();
    let hex = |it: &&str| it.len() == width && it.bytes().all(|it| it.is_ascii_hexdigit());
    groups.iter().all(hex) && [6, 8, 20].contains(&(groups.len() * width / 2))
}

fn email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(at), Some(text)) => &text[at + 1..],
        _ => text,
    };
    match address.rsplit_once('@') {
        Some((user, host)) => {
            let plain = |it: &str| {
                !it.is_empty() && !it.contains(|it: char| it.is_whitespace() || "<>,;".contains(it))
            };
            plain(user) && plain(host) && !host.contains('@')
        }
        None => false,
    }
}

/// What may stand in a request line: an absolute path or a URL with a scheme.
fn uri(text: &str) -> bool {
    let clean = !text.contains(|it: char| it.is_control() || it == ' ');
    let scheme = text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|it: char| it.is_ascii_alphabetic())
            && scheme.chars().all(|it| it.is_ascii_alphanumeric() || "+-.".contains(it))
            && !rest.is_empty()
    });
    clean && (text.starts_with('/') || scheme)
}

/// One label, or labels that end in a top-level domain of at least two letters.
fn hostname(text: &str) -> bool {
    let label = |it: &str| {
        (1..=63).contains(&it.len())
            && !it.starts_with('-')
            && !it.ends_with('-')
            && it.chars().all(|it| it.is_alphanumeric() || it == '-')
    };
    let labels: Vec<&str> = text.split('.').collect();
    let top = labels.last().is_some_and(|it| {
        it.chars().count() >= 2 && it.chars().all(char::is_alphabetic) || labels.len() == 1
    });
    text.len() <= 255 && top && labels.into_iter().all(label)
}

/// Padded base64 of at least one byte.
fn byte(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && digits.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/'))
}

/// The hexadecimal digit at a position, dashes not counted.
fn uuid_digit(text: &str, at: usize) -> Option<char> {
    text.chars().filter(|it| *it != '-').nth(at).map(|it| it.to_ascii_lowercase())
}

fn version(text: &str) -> Option<char> {
    uuid_digit(text, 12)
}

fn variant(text: &str) -> bool {
    uuid_digit(text, 16).is_some_and(|it| "89ab".contains(it))
}

fn isbn10(text: &str) -> bool {
    let digits: Vec<char> = text.chars().filter(|it| !matches!(it, '-' | ' ')).collect();
    let value = |at: usize, it: char| match it {
        'X' | 'x' if at == 9 => Some(10),
        it => it.to_digit(10),
    };
    let values: Option<Vec<u32>> =
        digits.iter().enumerate().map(|(at, it)| value(at, *it)).collect();
    values.is_some_and(|it| {
        it.len() == 10 && it.iter().zip(1..).map(|(it, at)| it * at).sum::<u32>() % 11 == 0
    })
}

fn isbn13(text: &str) -> bool {
    let plain = text.chars().filter(|it| !matches!(it, '-' | ' '));
    let values: Option<Vec<u32>> = plain.map(|it| it.to_digit(10)).collect();
    values.is_some_and(|it| {
        let sum: u32 = it.iter().enumerate().map(|(at, it)| it * [1, 3][at % 2]).sum();
        it.len() == 13 && sum.is_multiple_of(10)
    })
}

/// A number of a known issuer's length whose digits have a right Luhn sum.
fn credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|it| it.to_digit(10)).collect();
    let doubled = |it: u32| if it > 4 { it * 2 - 9 } else { it * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, it)| if at % 2 == 1 { doubled(*it) } else { *it })
        .sum();
    (13..=16).contains(&digits.len()) && sum.is_multiple_of(10)
}

fn rgb_color(text: &str) -> bool {
    let inner = text.strip_prefix("rgb(").and_then(|it| it.strip_suffix(')'));
    inner.is_some_and(|it| {
        let parts: Vec<&str> = it.split(',').map(str::trim).collect();
        parts.len() == 3 && parts.iter().all(|it| it.parse::<u8>().is_ok())
    })
}

fn dns_segment(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
}

fn dns_label(text: &str) -> bool {
    text.len() <= 63 && dns_segment(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the recorded answers do not hold.
    #[test]
    fn rare_formats() {
        let cases = [
            ("uuid4", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", false),
            ("uuid4", "f47ac10b-58cc-4372-a567-0e02b2c3d479", true),
            ("creditcard", "4111 1111 1111 1111", true),
            ("creditcard", "4111 1111 1111 1112", false),
            ("ssn", "123-45-6789", true),
            ("rgbcolor", "rgb(1, 2, 256)", false),
            ("rgbcolor", "rgb(1,2,255)", true),
            ("isbn10", "0-321-75104-3", true),
            ("hostname", "example.com", true),
            ("date-time", "2024-02-30T00:00:00Z", false),
            ("made-up", "anything", true),
        ];
        for (format, text, wanted) in cases {
            assert_eq!(matches(format, text), wanted, "{format} {text}");
        }
    }
}
