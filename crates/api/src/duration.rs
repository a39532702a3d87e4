//! Durations as Go writes them: `1h30m0s`, `1.5s`, `300ms`.
//!
//! `metav1.Duration` is nanoseconds in 64 bits; its text has hours, minutes and seconds, or one
//! smaller unit below a second (API reference, "Duration"; Go's documentation of time.Duration).

/// Units from long to short; both spellings of micro are known.
const UNITS: [(&str, u64); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
];

/// Nanoseconds of a duration's text, or Go's error.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|it: char| it == '.' || it.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let part = whole.checked_mul(*nanos).ok_or_else(invalid)?;
        total = total
            .checked_add(part)
            .and_then(|it| it.checked_add(share(fraction, *nanos)))
            .filter(|it| *it <= 1 << 63)
            .ok_or_else(invalid)?;
        rest = after;
    }
    match (negative, i64::try_from(total)) {
        (false, Ok(total)) => Ok(total),
        (true, Ok(total)) => Ok(-total),
        (true, Err(_)) => Ok(i64::MIN),
        (false, Err(_)) => Err(invalid()),
    }
}

/// The canonical text of so many nanoseconds.
pub fn format(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if nanos == 0 {
        return "0s".into();
    }
    if seconds == 0 {
        let (unit, size) = match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("\u{b5}s", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(nanos, size));
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let seconds = decimal(seconds % 60 * 1_000_000_000 + rest, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len()))
}

/// The fraction of a unit that the digits after the point say, cut off below a nanosecond.
fn share(fraction: &str, nanos: u64) -> u64 {
    let mut rest = u128::from(nanos);
    let mut total = 0u128;
    // Each digit is worth a tenth of the one before; scaled up so that none is lost.
    rest *= 1_000_000_000_000_000;
    for digit in fraction.bytes() {
        rest /= 10;
        total += u128::from(digit - b'0') * rest;
    }
    (total / 1_000_000_000_000_000) as u64
}

fn decimal(value: u64, unit: u64) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0width$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_as_go_writes_them() {
        let cases = [
            ("0", "0s"),
            ("90m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("1h", "1h0m0s"),
            ("300ms", "300ms"),
            ("1500us", "1.5ms"),
            ("-1m0.25s", "-1m0.25s"),
            (".5h", "30m0s"),
            ("100ns", "100ns"),
            ("2562047h47m16.854775807s", "2562047h47m16.854775807s"),
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("s", "time: invalid duration \"s\""),
            ("2562048h", "time: invalid duration \"2562048h\""),
        ];
        for (given, wanted) in cases {
            let got = parse(given).map_or_else(|error| error, format);
            assert_eq!(got, wanted, "{given}");
        }
    }
}
