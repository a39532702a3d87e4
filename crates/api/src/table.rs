//! Table: what `kubectl get` shows, computed by the server from a kind's columns (API reference: meta/v1 Table).
//!
//! A row is written once and sent many times, later too: what depends on the time of sending is a [`Cut`] in it.

use crate::jsonpath;
use crate::kind::{Cell, Column, Kind};
use crate::object::Object;
use jiff::Timestamp;
use skiff_json::{Value, json};

/// What a cell shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    Value(Value),
    /// How long ago something was, between words that stay.
    Since {
        before: String,
        since: Timestamp,
        after: &'static str,
    },
}

impl Shown {
    /// How long ago a time was, as the API writes times.
    pub fn ago(time: &str) -> Shown {
        Shown::ago_in("", time, "")
    }

    /// The same between words.
    pub fn ago_in(before: &str, time: &str, after: &'static str) -> Shown {
        let fixed = |text: &str| Shown::Value(format!("{before}{text}{after}").into());
        match time.parse() {
            Ok(since) => Shown::Since { before: before.to_owned(), since, after },
            Err(_) if time.is_empty() => fixed("<unknown>"),
            Err(_) => fixed("<invalid>"),
        }
    }

    /// What it shows at this time.
    pub fn at(&self, now: Timestamp) -> Value {
        match self {
            Shown::Value(value) => value.clone(),
            Shown::Since { before, since, after } => {
                format!("{before}{}{after}", age(*since, now)).into()
            }
        }
    }

    /// Appends it as JSON; where an age belongs a cut is noted.
    fn write(&self, out: &mut Vec<u8>, cuts: &mut Vec<Cut>) {
        let (before, since, after) = match self {
            Shown::Value(value) => return append(out, value),
            Shown::Since { before, since, after } => (before, since, after),
        };
        append(out, before);
        // Its closing quote comes later; what is put in between needs no escapes.
        out.pop();
        cuts.push(Cut { at: out.len(), since: *since });
        out.extend_from_slice(after.as_bytes());
        out.push(b'"');
    }
}

impl From<Value> for Shown {
    fn from(value: Value) -> Shown {
        Shown::Value(value)
    }
}

/// A place in bytes where [`age`] is put in on sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// How many bytes are before it.
    pub at: usize,
    pub since: Timestamp,
}

fn append(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    skiff_json::to_writer(out, value).expect("JSON of texts and trees goes into memory");
}

/// The column definitions of a kind.
pub fn columns(kind: &Kind) -> Value {
    let definition = |c: &Column| {
        json!({"name": c.name, "type": c.type_, "format": c.format, "description": c.description,
               "priority": c.priority})
    };
    kind.columns.iter().map(definition).collect()
}

/// The cells of one object. The columns of a built-in kind read what is stored, whatever face of it is shown.
pub fn cells(kind: &Kind, object: &Object) -> Vec<Shown> {
    let mut stored = std::borrow::Cow::Borrowed(object);
    if let (Some(convert), true) = (kind.convert, kind.manner.stored_columns) {
        (convert.to_stored)(stored.to_mut());
    }
    kind.columns.iter().map(|column| cell(column, &stored)).collect()
}

/// Appends the cells of one object as a JSON array; the cuts in it, counted from the beginning of `out`.
pub fn write_cells(kind: &Kind, object: &Object, out: &mut Vec<u8>) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut separator = b'[';
    for shown in cells(kind, object) {
        out.push(separator);
        separator = b',';
        shown.write(out, &mut cuts);
    }
    out.extend_from_slice(if separator == b'[' { b"[]" } else { b"]" });
    cuts
}

fn cell(column: &Column, object: &Object) -> Shown {
    match &column.cell {
        Cell::With(show) => show(object).into(),
        Cell::Since(show) => show(object),
        Cell::Age(path) => Shown::ago(object.text(path)),
        Cell::Path(path) => {
            let absent = || if column.type_ == "string" { "<none>".into() } else { Value::Null };
            object.at(path).cloned().unwrap_or_else(absent).into()
        }
        Cell::JsonPath(path) => jsonpath::cell(path, &column.type_, object.value()),
    }
}

/// How long ago a time was, as tables show it: `5m10s`, `3d`.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - since.as_second();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |big: i64, unit: &str, small: i64, part: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{part}"),
    };
    match () {
        // Clocks may differ by a second or two.
        () if seconds < -1 => "<invalid>".to_string(),
        () if seconds < 0 => "0s".to_string(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => pair(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let now = Timestamp::from_second(1_000_000_000).expect("a time");
        let cases = [
            (0, "0s"),
            (-1, "0s"),
            (-5, "<invalid>"),
            (119, "119s"),
            (120, "2m"),
            (601, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 61, "3h1m"),
            (9 * 3600, "9h"),
            (50 * 3600, "2d2h"),
            (9 * 86400, "9d"),
            (800 * 86400, "2y70d"),
            (3000 * 86400, "8y"),
        ];
        for (ago, wanted) in cases {
            let time = Timestamp::from_second(1_000_000_000 - ago).expect("a time");
            assert_eq!(age(time, now), wanted, "{ago}");
        }
        assert_eq!(Shown::ago("").at(now), "<unknown>");
        assert_eq!(Shown::ago("yesterday").at(now), "<invalid>");
    }

    /// With its cuts filled, what is written is what the cells show.
    #[test]
    fn cuts_are_where_ages_belong() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let shown = [
            Shown::Value(json!("a\"b")),
            Shown::ago_in("3 \"times\" (", "2026-01-01T00:00:30Z", " ago)"),
            Shown::Value(json!(7)),
            Shown::ago("2026-01-01T00:00:00Z"),
        ];
        let (mut out, mut cuts) = (Vec::new(), Vec::new());
        for it in &shown {
            it.write(&mut out, &mut cuts);
            out.push(b'\n');
        }
        for cut in cuts.iter().rev() {
            out.splice(cut.at..cut.at, age(cut.since, now).into_bytes());
        }
        let lines: Vec<Value> = String::from_utf8(out)
            .expect("it is text")
            .lines()
            .map(|line| skiff_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines, shown.map(|it| it.at(now)));
        assert_eq!(lines[1], "3 \"times\" (30s ago)");
    }
}
