//! Points in time as the API writes them: RFC 3339 in UTC, whole seconds or microseconds.
//!
//! Only texts are handled here; what the time is now comes through `base::World`. The errors are
//! those of Go's time.Parse, for users see them in answers.

use jiff::civil::{DateTime, Time as Clock};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Which of the API's two forms of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `metav1.Time`: a fraction is read and dropped.
    Seconds,
    /// `metav1.MicroTime`: exactly six digits after the point.
    Micros,
}

impl Precision {
    fn layout(self) -> &'static str {
        match self {
            Precision::Seconds => "2006-01-02T15:04:05Z07:00",
            Precision::Micros => "2006-01-02T15:04:05.000000Z07:00",
        }
    }
}

/// Reads a time, or says why not as Go does.
pub fn parse(text: &str, precision: Precision) -> Result<Timestamp, String> {
    let mut reader = Reader { text, rest: text, precision };
    let [year, month, day] =
        [reader.number("2006", 4)?, reader.mark_number('-', "01")?, reader.mark_number('-', "02")?];
    reader.range(month, 1, 12, "month")?;
    reader.mark('T')?;
    let hour = reader.hour()?;
    let minute = reader.mark_number(':', "04")?;
    reader.range(minute, 0, 59, "minute")?;
    let second = reader.mark_number(':', "05")?;
    reader.range(second, 0, 59, "second")?;
    let nanos = reader.fraction()?;
    let offset = reader.offset()?;
    if !reader.rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", reader.rest));
    }
    let date = jiff::civil::Date::new(year as i16, month as i8, day as i8)
        .map_err(|_| format!("parsing time {text:?}: day out of range"))?;
    let clock = Clock::constant(hour as i8, minute as i8, second as i8, nanos as i32);
    DateTime::from_parts(date, clock)
        .to_zoned(TimeZone::fixed(Offset::UTC))
        .and_then(|it| it.timestamp().checked_sub(SignedDuration::from_secs(offset.into())))
        .map_err(|_| format!("parsing time {text:?}: year out of range"))
}

/// The text of a time in UTC.
pub fn format(time: Timestamp, precision: Precision) -> String {
    let it = Offset::UTC.to_datetime(time);
    let seconds = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        it.year(),
        it.month(),
        it.day(),
        it.hour(),
        it.minute(),
        it.second()
    );
    match precision {
        Precision::Seconds => format!("{seconds}Z"),
        Precision::Micros => format!("{seconds}.{:06}Z", it.subsec_nanosecond() / 1000),
    }
}

/// Go's zero time, which the API writes as null.
pub fn is_zero(time: Timestamp) -> bool {
    time.as_second() == -62_135_596_800 && time.subsec_nanosecond() == 0
}

/// The canonical text of a given one; none for Go's zero time.
pub fn canonical(text: &str, precision: Precision) -> Result<Option<String>, String> {
    let time = parse(text, precision)?;
    Ok((!is_zero(time)).then(|| format(time, precision)))
}

/// Walks a text along the layout.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    precision: Precision,
}

impl Reader<'_> {
    fn bad(&self, at: &str, element: &str) -> String {
        let layout = self.precision.layout();
        format!("parsing time {:?} as {layout:?}: cannot parse {at:?} as {element:?}", self.text)
    }

    fn range(&self, value: u32, least: u32, most: u32, name: &str) -> Result<(), String> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(format!("parsing time {:?}: {name} out of range", self.text))
    }

    fn number(&mut self, element: &str, width: usize) -> Result<u32, String> {
        let found = self.rest.get(..width).filter(|it| it.bytes().all(|it| it.is_ascii_digit()));
        let Some(found) = found else { return Err(self.bad(self.rest, element)) };
        self.rest = &self.rest[width..];
        Ok(found.bytes().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    }

    fn mark(&mut self, mark: char) -> Result<(), String> {
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.bad(self.rest, &mark.to_string())),
        }
    }

    fn mark_number(&mut self, mark: char, element: &str) -> Result<u32, String> {
        self.mark(mark)?;
        self.number(element, 2)
    }

    /// One digit is enough for an hour.
    fn hour(&mut self) -> Result<u32, String> {
        let width = if self.rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) { 2 } else { 1 };
        let hour = self.number("15", width)?;
        self.range(hour, 0, 23, "hour")?;
        Ok(hour)
    }

    /// Nanoseconds: optional with seconds, six digits with microseconds.
    fn fraction(&mut self) -> Result<u32, String> {
        let digits = match self.rest.strip_prefix(['.', ',']) {
            Some(rest) => rest.bytes().take_while(u8::is_ascii_digit).count(),
            None => 0,
        };
        let taken = match self.precision {
            Precision::Seconds if digits == 0 => return Ok(0),
            Precision::Seconds => digits,
            Precision::Micros if digits < 6 => return Err(self.bad(self.rest, ".000000")),
            Precision::Micros => 6,
        };
        let shown = &self.rest[1..=taken.min(9)];
        let value = shown.bytes().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        self.rest = &self.rest[1 + taken..];
        Ok(value * 10u32.pow(9 - shown.len() as u32))
    }

    /// Seconds east of UTC.
    fn offset(&mut self) -> Result<i32, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let start = self.rest;
        let sign = match start.as_bytes().first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.bad(start, "Z07:00")),
        };
        self.rest = &start[1..];
        let parts = (self.number("Z07:00", 2), self.mark(':'), self.number("Z07:00", 2));
        let (Ok(hours), Ok(()), Ok(minutes)) = parts else { return Err(self.bad(start, "Z07:00")) };
        self.range(hours, 0, 24, "time zone offset hour")?;
        self.range(minutes, 0, 60, "time zone offset minute")?;
        Ok(sign * (hours * 3600 + minutes * 60) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts() {
        let cases = [
            ("2024-02-29T10:11:12Z", Ok(Some("2024-02-29T10:11:12Z"))),
            ("2024-02-29T10:11:12.999+02:00", Ok(Some("2024-02-29T08:11:12Z"))),
            ("0001-01-01T00:00:00Z", Ok(None)),
            (
                "yesterday",
                Err("parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \
                     \"yesterday\" as \"2006\""),
            ),
            (
                "2023-02-29T10:11:12Z",
                Err("parsing time \"2023-02-29T10:11:12Z\": day out of range"),
            ),
            (
                "2023-02-28 10:11:12Z",
                Err("parsing time \"2023-02-28 10:11:12Z\" as \"2006-01-02T15:04:05Z07:00\": \
                     cannot parse \" 10:11:12Z\" as \"T\""),
            ),
            (
                "2023-02-28T10:11:12Zx",
                Err("parsing time \"2023-02-28T10:11:12Zx\": extra text: \"x\""),
            ),
        ];
        for (given, wanted) in cases {
            let got = canonical(given, Precision::Seconds);
            assert_eq!(got.as_ref().map(Option::as_deref).map_err(String::as_str), wanted);
        }
    }

    #[test]
    fn microseconds() {
        let got = canonical("2024-02-29T10:11:12.000001-01:00", Precision::Micros);
        assert_eq!(got, Ok(Some("2024-02-29T11:11:12.000001Z".into())));
        let error = canonical("2024-02-29T10:11:12Z", Precision::Micros).expect_err("no fraction");
        assert!(error.ends_with("cannot parse \"Z\" as \".000000\""), "{error}");
    }
}
