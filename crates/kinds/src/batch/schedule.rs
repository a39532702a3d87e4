//! Schedules: when a CronJob is due (API reference: CronJobSpec.schedule; the dialect is that of the Go library which
//! upstream reads them with).
//!
//! Five fields, in each numbers, names, ranges, steps and lists; or `@daily` and its like; or `@every 1h30m`. A
//! schedule is due at every instant whose local time its fields match: what falls into the hour that a change of the
//! clocks leaves out is not due, and what falls into the hour that comes twice is due twice.
//!
//! No library of ours to hand does this: those for cron know other dialects (seconds, `L`, `#`, days of week that begin
//! elsewhere), and say what is wrong in other words; a field of robfig's is a set of bits and a page of code.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, Zoned};
use std::sync::LazyLock;

/// A schedule that is not due for so many years is never due.
const YEARS_MOST: i16 = 5;

/// The bit that says that a field was a star: then the day of the month and that of the week must both match.
const STAR: u64 = 1 << 63;

/// When something is due.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    Fields(Box<Fields>),
    Every(SignedDuration),
}

/// Which minutes match: a bit for each number.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    zone: TimeZone,
}

struct Bounds {
    least: u64,
    most: u64,
    names: &'static [&'static str],
}

const MINUTE: Bounds = Bounds { least: 0, most: 59, names: &[] };
const HOUR: Bounds = Bounds { least: 0, most: 23, names: &[] };
const DAY: Bounds = Bounds { least: 1, most: 31, names: &[] };
const MONTH: Bounds = Bounds {
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Bounds =
    Bounds { least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// A time zone. They come with the program: it does not matter what a machine has.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// The zone of this name, which is told apart by case; nothing names UTC.
    pub fn named(name: &str) -> Option<Zone> {
        static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        match name {
            "" | "UTC" => Some(Zone::UTC),
            name => ZONES.get(name).ok().filter(|zone| zone.iana_name() == Some(name)).map(Zone),
        }
    }

    /// A time as it is told there (RFC 3339).
    pub fn tell(&self, at: Timestamp) -> String {
        let local = at.to_zoned(self.0.clone());
        match local.offset().is_zero() {
            true => at.to_string(),
            false => local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        }
    }

    /// The same as people write it (RFC 1123).
    pub fn tell_long(&self, at: Timestamp) -> String {
        at.to_zoned(self.0.clone()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
    }
}

impl Schedule {
    /// Reads a schedule; its times are those of `zone` unless it names one itself (`TZ=Zone ...`).
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn read(text: &str, zone: &Zone) -> Result<Schedule, String> {
        if text.is_empty() {
            return Err("empty spec string".into());
        }
        let named = ["TZ=", "CRON_TZ="].into_iter().find_map(|prefix| text.strip_prefix(prefix));
        let (text, zone) = match named {
            None => (text, zone.clone()),
            Some(rest) => {
                let Some((name, rest)) = rest.split_once(' ') else {
                    let why = "runtime error: slice bounds out of range [:-1]";
                    return Err(format!("invalid schedule format: {why}"));
                };
                let unknown = || format!("provided bad location {name}: unknown time zone {name}");
                (rest.trim(), Zone::named(name).ok_or_else(unknown)?)
            }
        };
        match text.strip_prefix('@') {
            Some(_) => descriptor(text, zone.0),
            None => fields(text, zone.0),
        }
    }

    /// The first time after this one at which it is due; `None` is never.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Schedule::Every(delay) => whole(after).checked_add(*delay).ok(),
            Schedule::Fields(fields) => fields.next(after),
        }
    }
}

/// The second that a time is in.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_nanosecond().div_euclid(1_000_000_000) as i64)
        .expect("the second of a time in range is in range")
}

impl Fields {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // A list of nothing matches nothing, and there is no use in looking for it.
        if [self.minute, self.hour, self.month].contains(&0) {
            return None;
        }
        let start = whole(after).checked_add(SignedDuration::from_secs(1)).ok()?;
        let mut at = start.to_zoned(self.zone.clone());
        let last = at.year() + YEARS_MOST;
        while at.year() <= last {
            let (minute, second) = (i64::from(at.minute()), i64::from(at.second()));
            // Every step goes to where the first field that does not match changes next.
            at = if self.month & 1 << at.month() == 0 {
                at.date()
                    .first_of_month()
                    .checked_add(jiff::Span::new().months(1))
                    .ok()?
                    .to_zoned(self.zone.clone())
                    .ok()?
            } else if !self.on(&at) {
                at.date().tomorrow().ok()?.to_zoned(self.zone.clone()).ok()?
            } else if self.hour & 1 << at.hour() == 0 {
                at.checked_add(SignedDuration::from_secs(3600 - 60 * minute - second)).ok()?
            } else if self.minute & 1 << minute == 0 || second != 0 {
                at.checked_add(SignedDuration::from_secs(60 - second)).ok()?
            } else {
                return Some(at.timestamp());
            };
        }
        None
    }

    fn on(&self, at: &Zoned) -> bool {
        let day = self.day & 1 << at.day() != 0;
        let weekday = self.weekday & 1 << at.weekday().to_sunday_zero_offset() != 0;
        match (self.day | self.weekday) & STAR {
            0 => day || weekday,
            _ => day && weekday,
        }
    }
}

fn descriptor(text: &str, zone: TimeZone) -> Result<Schedule, String> {
    let short = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(every) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let nanos = skiff_api::duration::parse(every)
                .map_err(|why| format!("failed to parse duration {text}: {why}"))?;
            // Less than a second, or less than nothing, is a second.
            let seconds = (nanos / 1_000_000_000).max(1);
            return Ok(Schedule::Every(SignedDuration::from_secs(seconds)));
        }
    };
    fields(short, zone)
}

fn fields(text: &str, zone: TimeZone) -> Result<Schedule, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = parts[..] else {
        let shown = parts.join(" ");
        return Err(format!("expected exactly 5 fields, found {}: [{shown}]", parts.len()));
    };
    Ok(Schedule::Fields(Box::new(Fields {
        minute: field(minute, &MINUTE)?,
        hour: field(hour, &HOUR)?,
        day: field(day, &DAY)?,
        month: field(month, &MONTH)?,
        weekday: field(weekday, &WEEKDAY)?,
        zone,
    })))
}

fn field(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let ranges = text.split(',').filter(|range| !range.is_empty());
    ranges.map(|text| range(text, bounds)).try_fold(0, |bits, range| Ok(bits | range?))
}

/// `number`, `number-number` or a star, each with `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let star = matches!(ends[0], "*" | "?");
    let (first, mut last) = match (star, &ends[..]) {
        (true, _) => (bounds.least, bounds.most),
        (false, [one]) => (number(one, bounds.names)?, number(one, bounds.names)?),
        (false, [first, last]) => (number(first, bounds.names)?, number(last, bounds.names)?),
        (false, _) => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            // `5/10` goes on to the end.
            if ends.len() == 1 {
                last = bounds.most;
            }
            number(step, &[])?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    let Bounds { least, most, .. } = bounds;
    match () {
        () if first < *least => {
            Err(format!("beginning of range ({first}) below minimum ({least}): {text}"))
        }
        () if last > *most => Err(format!("end of range ({last}) above maximum ({most}): {text}")),
        () if first > last => {
            Err(format!("beginning of range ({first}) beyond end of range ({last}): {text}"))
        }
        () if step == 0 => Err(format!("step of range should be a positive number: {text}")),
        () => {
            let step = usize::try_from(step).unwrap_or(usize::MAX);
            let bits = (first..=last).step_by(step).fold(0, |bits, number| bits | 1 << number);
            Ok(if star && step == 1 { bits | STAR } else { bits })
        }
    }
}

fn number(text: &str, names: &[&str]) -> Result<u64, String> {
    if let Some(at) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        // Months begin with 1, days of the week with 0.
        return Ok(at as u64 + u64::from(names.len() == 12));
    }
    let number: i64 = text.parse().map_err(|why: std::num::ParseIntError| {
        let why = match why.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}")
    })?;
    u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(schedule: &str, zone: &str, from: &str, count: usize) -> String {
        let zone = Zone::named(zone).expect("the case names a zone");
        let schedule = Schedule::read(schedule, &zone).expect("the case is a schedule");
        let mut at: Timestamp = from.parse().expect("the case begins at a time");
        let mut found = Vec::new();
        for _ in 0..count {
            let Some(next) = schedule.next(at) else {
                found.push("never".to_owned());
                break;
            };
            found.push(zone.tell(next));
            at = next;
        }
        found.join(" ")
    }

    #[test]
    fn fields_match_local_times() {
        let from = "2026-01-01T00:00:00Z";
        let cases = [
            ("* * * * *", "2026-01-01T00:01:00Z 2026-01-01T00:02:00Z"),
            ("*/20 9-17/4 * * mon-fri", "2026-01-01T09:00:00Z 2026-01-01T09:20:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z 2032-02-29T00:00:00Z"),
            ("59 23 31 2 *", "never"),
            (", * * * *", "never"),
            // Both days are restricted, so either will do.
            ("0 0 13 * fri", "2026-01-02T00:00:00Z 2026-01-09T00:00:00Z"),
            ("0 0 */10 * 5", "2026-01-02T00:00:00Z 2026-01-09T00:00:00Z"),
            ("0 0 * * 5", "2026-01-02T00:00:00Z 2026-01-09T00:00:00Z"),
            ("5/25 3 ? DEC ?", "2026-12-01T03:05:00Z 2026-12-01T03:30:00Z"),
            ("@yearly", "2027-01-01T00:00:00Z 2028-01-01T00:00:00Z"),
            ("@weekly", "2026-01-04T00:00:00Z 2026-01-11T00:00:00Z"),
            ("@every 90m30.7s", "2026-01-01T01:30:30Z 2026-01-01T03:01:00Z"),
            ("@every 0", "2026-01-01T00:00:01Z 2026-01-01T00:00:02Z"),
            ("@every -3h", "2026-01-01T00:00:01Z 2026-01-01T00:00:02Z"),
            ("TZ=Asia/Tokyo 0 9 * * *", "2026-01-02T00:00:00Z 2026-01-03T00:00:00Z"),
        ];
        for (schedule, wanted) in cases {
            assert_eq!(due(schedule, "UTC", from, 2), wanted, "{schedule}");
        }
    }

    #[test]
    fn clocks_that_change_leave_out_and_repeat() {
        let gap = "2026-03-28T12:00:00Z";
        assert_eq!(
            due("30 2 * * *", "Europe/Berlin", gap, 2),
            "2026-03-30T02:30:00+02:00 2026-03-31T02:30:00+02:00"
        );
        assert_eq!(
            due("0 * 29 3 *", "Europe/Berlin", gap, 3),
            "2026-03-29T00:00:00+01:00 2026-03-29T01:00:00+01:00 2026-03-29T03:00:00+02:00"
        );
        assert_eq!(
            due("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 3),
            "2026-10-25T02:30:00+02:00 2026-10-25T02:30:00+01:00 2026-10-26T02:30:00+01:00"
        );
        // Midnight does not exist.
        assert_eq!(
            due("30 0,1 * * *", "Asia/Beirut", "2026-03-28T12:00:00Z", 2),
            "2026-03-29T01:30:00+03:00 2026-03-30T00:30:00+03:00"
        );
        // Half an hour.
        assert_eq!(
            due("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T12:00:00Z", 2),
            "2026-10-03T02:15:00+10:30 2026-10-05T02:15:00+11:00"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("TZ=UTC ", "expected exactly 5 fields, found 0: []"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("9-3 * * * *", "beginning of range (9) beyond end of range (3): 9-3"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("*/2/3 * * * *", "too many slashes: */2/3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            (
                "a * * * *",
                "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax",
            ),
            ("@never", "unrecognized descriptor: @never"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
            (
                "TZ=Moon/Base * * * * *",
                "provided bad location Moon/Base: unknown time zone Moon/Base",
            ),
            ("TZ=0", "invalid schedule format: runtime error: slice bounds out of range [:-1]"),
        ];
        for (schedule, why) in cases {
            assert_eq!(Schedule::read(schedule, &Zone::UTC), Err(why.to_owned()), "{schedule}");
        }
        assert_eq!(Zone::named("europe/berlin"), None, "names are told apart by case");
    }
}
