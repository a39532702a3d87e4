//! The value of a printer column as a cell of a Table.

use jiff::Timestamp;
use serde_json::Value;

use super::{JsonPath, show};

/// The cell of a custom resource's column; null where the path finds nothing or something of
/// another type. `kind` is the column's type: `integer`, `number`, `boolean`, `string` or `date`.
pub fn cell(path: &JsonPath, kind: &str, object: &Value, now: Timestamp) -> Value {
    let Some(value) = path.find(object).ok().and_then(|found| found.first().copied()) else {
        return Value::Null;
    };
    match (kind, value) {
        ("string", Value::Null) => Value::Null,
        ("string", value) => Value::String(show(value)),
        ("integer", Value::Number(number)) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().map_or(Value::Null, |number| (number as i64).into()),
        },
        ("number", Value::Number(_)) => value.clone(),
        ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => Value::String(age(text, now)),
        _ => Value::Null,
    }
}

/// How long ago a time was, as tables show it: `5m10s`, `3d`.
pub fn age(time: &str, now: Timestamp) -> String {
    if time.is_empty() {
        return "<unknown>".to_string();
    }
    let Ok(time) = time.parse::<Timestamp>() else { return "<invalid>".to_string() };
    let seconds = now.as_second() - time.as_second();
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
