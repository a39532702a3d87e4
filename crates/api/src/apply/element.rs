//! One step of a path in a field set: its spelling as a trie key, as users read it in conflicts,
//! and its order.
//!
//! Pure text: which list has which keys is decided elsewhere (`place`).

use std::cmp::Ordering;
use std::fmt::Write;

use skiff_json::{Map, Value};

/// The key of a named field.
pub(super) fn field(name: &str) -> String {
    let mut key = String::with_capacity(name.len() + 2);
    key.push_str("f:");
    key.push_str(name);
    key
}

/// The key of an item of a set.
pub(super) fn value(item: &Value) -> String {
    let mut key = String::from("v:");
    write_json(&mut key, item);
    key
}

/// The key of an item of a keyed list; `fields` are sorted by name.
pub(super) fn keyed<'a>(fields: impl Iterator<Item = (&'a str, &'a Value)>) -> String {
    let mut key = String::from("k:{");
    for (i, (name, value)) in fields.enumerate() {
        if i > 0 {
            key.push(',');
        }
        write_string(&mut key, name);
        key.push(':');
        write_json(&mut key, value);
    }
    key.push('}');
    key
}

fn write_json(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => write_string(out, text),
        Value::Number(number) => match number.as_f64() {
            // A client may have written 80.0; it is the same item as 80.
            Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 => {
                write!(out, "{}", float as i64).expect("writing to a string cannot fail")
            }
            _ => write!(out, "{number}").expect("writing to a string cannot fail"),
        },
        other => write!(out, "{other}").expect("writing to a string cannot fail"),
    }
}

/// JSON as the API's own encoder writes it inside keys, with the HTML characters escaped.
fn write_string(out: &mut String, text: &str) {
    let plain = text.bytes().all(|b| {
        (b.is_ascii_graphic() || b == b' ') && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&')
    });
    if plain {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    let quoted = Value::String(text.to_string()).to_string();
    for c in quoted.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", c as u32).expect("writing to a string cannot fail")
            }
            c => out.push(c),
        }
    }
}

/// Puts a key that a client wrote into the one spelling; `None` for kinds of elements that nobody
/// knows.
pub(super) fn normalize(key: &str) -> Result<Option<String>, String> {
    let (kind, rest) = match key.as_bytes() {
        [kind, b':', ..] => (*kind, &key[2..]),
        [_, _, ..] => return Err(format!("missing colon: {key}")),
        _ => return Err("key must be 2 characters long:".to_string()),
    };
    let json =
        || skiff_json::from_str::<Value>(rest).map_err(|e| format!("error decoding set: {e}"));
    match kind {
        b'f' => Ok(Some(key.to_string())),
        b'v' => Ok(Some(value(&json()?))),
        b'k' => match json()? {
            Value::Object(map) => Ok(Some(keyed(map.iter().map(|(k, v)| (k.as_str(), v))))),
            _ => Err("error decoding set: a key must be an object".to_string()),
        },
        b'i' => match rest.parse::<i64>() {
            Ok(index) => Ok(Some(format!("i:{index}"))),
            Err(_) => Err(format!("strconv.Atoi: parsing {rest:?}: invalid syntax")),
        },
        _ => Ok(None),
    }
}

/// A path as conflicts show it: `.spec.containers[name="a"].image`.
pub(super) fn show_path(path: &[String]) -> String {
    let mut out = String::new();
    for key in path {
        show(&mut out, key);
    }
    out
}

/// One trie key as users read it.
pub(super) fn show(out: &mut String, key: &str) {
    let rest = &key[2.min(key.len())..];
    match key.as_bytes().first() {
        Some(b'f') => {
            out.push('.');
            out.push_str(rest);
        }
        Some(b'k') => {
            let fields: Map = skiff_json::from_str(rest).unwrap_or_default();
            out.push('[');
            for (i, (name, value)) in fields.iter().enumerate() {
                let comma = if i > 0 { "," } else { "" };
                write!(out, "{comma}{name}={value}").expect("writing to a string cannot fail");
            }
            out.push(']');
        }
        Some(b'v') => {
            let value: Value = skiff_json::from_str(rest).unwrap_or(Value::Null);
            write!(out, "[={value}]").expect("writing to a string cannot fail");
        }
        _ => write!(out, "[{rest}]").expect("writing to a string cannot fail"),
    }
}

/// The order of elements: fields, keys, values, positions; numbers by size.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    fn rank(key: &str) -> u8 {
        b"fkvi".iter().position(|k| key.as_bytes().first() == Some(k)).unwrap_or(4) as u8
    }
    let (ra, rb) = (rank(a), rank(b));
    if ra != rb || ra == 0 {
        return ra.cmp(&rb).then_with(|| a.cmp(b));
    }
    let parse = |key: &str| skiff_json::from_str::<Value>(&key[2.min(key.len())..]);
    match (parse(a), parse(b)) {
        (Ok(Value::Object(a)), Ok(Value::Object(b))) => {
            for ((ka, va), (kb, vb)) in a.iter().zip(b.iter()) {
                let found = ka.cmp(kb).then_with(|| order_values(va, vb));
                if found != Ordering::Equal {
                    return found;
                }
            }
            a.len().cmp(&b.len())
        }
        (Ok(a), Ok(b)) => order_values(&a, &b),
        _ => a.cmp(b),
    }
}

fn order_values(a: &Value, b: &Value) -> Ordering {
    fn rank(value: &Value) -> u8 {
        match value {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            x.as_f64().partial_cmp(&y.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Value::String(x), Value::String(y)) => x.cmp(y),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
        _ => rank(a).cmp(&rank(b)).then_with(|| a.to_string().cmp(&b.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn spelling_and_showing() {
        let port = json!(80);
        let name = json!("a<b\"");
        let key = keyed([("name", &name), ("port", &port)].into_iter());
        assert_eq!(key, r#"k:{"name":"a\u003cb\"","port":80}"#);
        assert_eq!(show_path(&["f:spec".into(), key]), r#".spec[name="a<b\"",port=80]"#);
        assert_eq!(show_path(&[value(&json!("x")), "i:3".into()]), r#"[="x"][3]"#);
        assert_eq!(value(&json!(80.0)), "v:80");
    }

    #[test]
    fn numbers_are_ordered_by_size() {
        let mut keys = vec!["k:{\"p\":443}", "v:1", "k:{\"p\":8080}", "f:z", "k:{\"p\":80}"];
        keys.sort_by(|a, b| order(a, b));
        assert_eq!(keys, ["f:z", "k:{\"p\":80}", "k:{\"p\":443}", "k:{\"p\":8080}", "v:1"]);
    }
}
