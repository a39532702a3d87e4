//! Table: what `kubectl get` shows, computed by the server from a kind's columns (API reference: meta/v1 Table).

use crate::kind::{Cell, Column, Kind};
use crate::object::Object;
use serde_json::{Value, json};

/// The column definitions of a kind.
pub fn columns(kind: &Kind) -> Value {
    let definition = |c: &Column| {
        json!({"name": c.name, "type": c.sort, "format": c.format, "description": c.description,
               "priority": c.priority})
    };
    kind.columns.iter().map(definition).collect()
}

/// The cells of one object; `now_s` is the time in seconds since the epoch, for ages.
pub fn cells(kind: &Kind, object: &Object, now_s: i64) -> Value {
    kind.columns.iter().map(|column| cell(column, object, now_s)).collect()
}

fn cell(column: &Column, object: &Object, now_s: i64) -> Value {
    match &column.cell {
        Cell::With(show) => show(object, now_s),
        Cell::Age(path) => age(object.text(path), now_s).into(),
        Cell::Path(path) => {
            let absent = || if column.sort == "string" { "<none>".into() } else { Value::Null };
            object.at(path).cloned().unwrap_or_else(absent)
        }
        Cell::JsonPath(path) => crate::jsonpath::cell(object.value(), path, &column.sort, now_s),
    }
}

/// How long ago an RFC 3339 time was, as kubectl shows it; `<unknown>` without a time.
pub fn age(time: &str, now_s: i64) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(then) => human_duration((now_s - then.as_second()).max(0)),
        Err(_) => "<unknown>".into(),
    }
}

/// A span in at most two units, coarser the longer it is: `45s`, `3m10s`, `5h`, `2d3h`, `400d`.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        ..120 => format!("{seconds}s"),
        ..600 => two(minutes, "m", seconds % 60, "s"),
        ..10_800 => format!("{minutes}m"),
        ..28_800 => two(hours, "h", minutes % 60, "m"),
        ..172_800 => format!("{hours}h"),
        ..691_200 => two(days, "d", hours % 24, "h"),
        ..63_072_000 => format!("{days}d"),
        ..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_shown_as_kubectl_does() {
        let table = [
            (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"), (10_799, "179m"),
            (10_800, "3h"), (11_000, "3h3m"), (28_800, "8h"), (172_799, "47h"), (172_800, "2d"),
            (180_000, "2d2h"), (691_200, "8d"), (63_072_000, "2y"), (63_158_400, "2y1d"), (252_288_000, "8y"),
        ];
        for (seconds, expected) in table {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }
}
