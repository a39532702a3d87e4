//! Times and durations: how they are read and written, and their parts in a time zone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use skiff_api::duration;

use crate::decl::Shape;
use crate::run::RunError;
use crate::value::Value;

/// Nanoseconds of the units that a schema's durations may be spelled with, by the words' beginnings.
const UNITS: &[(&[&str], i64)] = &[
    (&["ns", "nano"], 1),
    (&["us", "\u{b5}s", "micro"], 1_000),
    (&["ms", "milli"], 1_000_000),
    (&["s", "sec", "second"], 1_000_000_000),
    (&["m", "min", "minute"], 60_000_000_000),
    (&["h", "hr", "hour"], 3_600_000_000_000),
    (&["d", "day"], 86_400_000_000_000),
    (&["w", "wk", "week"], 604_800_000_000_000),
];

/// A text of the format `duration`, `date` or `date-time`.
pub fn of_schema(text: &str, shape: &Shape) -> Result<Value<'static>, RunError> {
    let found = match shape {
        Shape::Duration => spelled(text).map(Value::Duration),
        Shape::Date => text.parse::<Date>().ok().and_then(midnight).map(Value::Time),
        _ => moment(text).map(Value::Time),
    };
    found.ok_or_else(|| {
        RunError::of(match shape {
            Shape::Duration => {
                format!("Invalid duration {text}: unable to parse {text} as duration")
            }
            Shape::Date => format!("Invalid date formatted string {text}"),
            _ => format!("Invalid date-time formatted string {text}"),
        })
    })
}

fn midnight(date: Date) -> Option<Timestamp> {
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn spelled(text: &str) -> Option<i64> {
    if let Ok(found) = duration::parse(text) {
        return Some(found);
    }
    let (mut total, mut found, mut rest) = (0i64, false, text);
    while let Some(at) = rest.find(|it: char| it.is_ascii_digit()) {
        let after = &rest[at..];
        let end = after.find(|it: char| !it.is_ascii_digit()).unwrap_or(after.len());
        let count: i64 = after[..end].parse().ok()?;
        let word = after[end..].trim_start();
        let length = word.find(|it: char| !it.is_alphabetic()).unwrap_or(word.len());
        let unit = word[..length].to_lowercase();
        let known = UNITS.iter().find(|(words, _)| {
            let last = words.last().expect("each unit has words");
            words.contains(&unit.as_str()) || unit.starts_with(last)
        });
        if let Some((_, nanos)) = known {
            found = true;
            total = total.wrapping_add(count.wrapping_mul(*nanos));
        }
        rest = &word[length..];
    }
    found.then_some(total)
}

/// A date and a time of day; without a zone it is UTC.
fn moment(text: &str) -> Option<Timestamp> {
    let upper = text.to_uppercase();
    upper.parse().ok().or_else(|| format!("{upper}Z").parse().ok())
}

/// A time of RFC 3339 as Go reads it: no blanks, capital letters, a zone.
pub fn rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| {
        bytes.get(from..to).is_some_and(|it| it.iter().all(u8::is_ascii_digit))
    };
    let sign = |at: usize, it: u8| bytes.get(at) == Some(&it);
    let shaped = digits(0, 4)
        && sign(4, b'-')
        && digits(5, 7)
        && sign(7, b'-')
        && digits(8, 10)
        && sign(10, b'T')
        && digits(11, 13)
        && sign(13, b':')
        && digits(14, 16)
        && sign(16, b':')
        && digits(17, 19);
    let zone = text.get(19..)?.trim_start_matches(|it: char| it == '.' || it.is_ascii_digit());
    let zoned = zone == "Z" || zone.len() == 6 && zone.starts_with(['+', '-']);
    if !shaped || !zoned { None } else { text.parse().ok().filter(|it| in_range(*it)) }
}

/// The years that the language knows.
pub fn in_range(it: Timestamp) -> bool {
    (-62_135_596_800..=253_402_300_799).contains(&it.as_second())
}

/// As RFC 3339 with as many digits of a second as there are.
pub fn written(it: Timestamp) -> String {
    it.to_string()
}

/// Seconds, with a fraction if there is one.
pub fn duration_text(nanos: i64) -> String {
    format!("{}s", nanos as f64 / 1e9)
}

/// A part of a time, by the name of the function that asks for it.
pub fn part(name: &str, it: &Value, zone: Option<&Value>) -> Result<Value<'static>, RunError> {
    if let Value::Duration(nanos) = it {
        return Ok(Value::Int(match name {
            "getHours" => nanos / 3_600_000_000_000,
            "getMinutes" => nanos / 60_000_000_000,
            "getSeconds" => nanos / 1_000_000_000,
            "getMilliseconds" => nanos / 1_000_000,
            _ => return Err(RunError::no_overload()),
        }));
    }
    let Value::Time(it) = it else { return Err(RunError::no_overload()) };
    let it = match zone {
        None => Zoned::new(*it, TimeZone::UTC),
        Some(Value::Text(zone)) => local(*it, zone.as_str())?,
        Some(_) => return Err(RunError::no_overload()),
    };
    Ok(Value::Int(match name {
        "getFullYear" => it.year().into(),
        "getMonth" => i64::from(it.month()) - 1,
        "getDayOfYear" => i64::from(it.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(it.day()) - 1,
        "getDate" => it.day().into(),
        "getDayOfWeek" => it.weekday().to_sunday_zero_offset().into(),
        "getHours" => it.hour().into(),
        "getMinutes" => it.minute().into(),
        "getSeconds" => it.second().into(),
        _ => (it.subsec_nanosecond() / 1_000_000).into(),
    }))
}

/// A time as the clocks of a zone show it: that of a name, or whatever hours and minutes from UTC.
fn local(it: Timestamp, zone: &str) -> Result<Zoned, RunError> {
    let unknown = || RunError::of(format!("unknown time zone {zone}"));
    let Some((hours, minutes)) = zone.split_once(':') else {
        let found = match zone {
            "" | "UTC" => TimeZone::UTC,
            _ => TimeZone::get(zone).map_err(|_| unknown())?,
        };
        return Ok(Zoned::new(it, found));
    };
    let number = |it: &str| {
        it.parse::<i32>()
            .map_err(|_| RunError::of(format!("strconv.Atoi: parsing {it:?}: invalid syntax")))
    };
    let (hours_east, minutes) = (number(hours)?, number(minutes)?);
    let sign = if hours.starts_with('-') { -1 } else { 1 };
    let seconds = i64::from(hours_east) * 3600 + i64::from(sign * minutes) * 60;
    let shown = it.checked_add(SignedDuration::from_secs(seconds)).map_err(|_| unknown())?;
    Ok(Zoned::new(shown, TimeZone::UTC))
}
