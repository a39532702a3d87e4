//! Depth: how deeply a value may be nested, whatever brought it in. What is stored is read again by readers that end
//! at a depth of their own, so nothing may become deeper than they go: an object that nobody can read could be neither
//! changed nor deleted.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use skiff_json::Value;
use std::fmt;

/// So many lists and objects may stand within each other. The reader ends at 128; what is between is for what answers
/// wrap around an object (the items of a list, the message of a watch, the row of a table).
pub const MAX_DEPTH: usize = 120;

/// How deeply a value is nested, and how many values there are in it: what it took to find out.
pub fn measure(value: &Value) -> (usize, usize) {
    let within = |parts: &mut dyn Iterator<Item = &Value>| {
        parts
            .map(measure)
            .fold((1, 1), |(depth, count), (deeper, more)| (depth.max(deeper + 1), count + more))
    };
    match value {
        Value::Array(items) => within(&mut items.iter()),
        Value::Object(map) => within(&mut map.values()),
        _ => (0, 1),
    }
}

/// The path of the first value that is nested too deeply; `None` when none is.
pub fn too_deep(value: &Value) -> Option<String> {
    let mut steps = Vec::new();
    search(value, MAX_DEPTH, &mut steps).then(|| {
        let path = steps.into_iter().rev().collect::<String>();
        path.strip_prefix('.').map(str::to_owned).unwrap_or(path)
    })
}

/// Whether something lies deeper than `left`; if so, the steps to it, the last one first.
fn search(value: &Value, left: usize, steps: &mut Vec<String>) -> bool {
    let mut found = |step: &dyn Fn() -> String, value: &Value| {
        let is_deep = search(value, left.saturating_sub(1), steps);
        if is_deep {
            steps.push(step());
        }
        is_deep
    };
    match value {
        Value::Array(_) | Value::Object(_) if left == 0 => true,
        Value::Array(items) => {
            items.iter().enumerate().any(|(i, item)| found(&|| format!("[{i}]"), item))
        }
        Value::Object(map) => map.iter().any(|(key, item)| found(&|| format!(".{key}"), item)),
        _ => false,
    }
}

/// Whether bytes are JSON that can be read; nothing is built.
///
/// # Errors
/// Where and why not.
pub fn readable(bytes: &[u8]) -> Result<(), skiff_json::Error> {
    skiff_json::from_slice::<Readable>(bytes).map(|_| ())
}

/// Any value. (`IgnoredAny` alone would go to any depth.)
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Readable, D::Error> {
        reader.deserialize_any(Readable)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Readable;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Readable, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Readable, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Readable, E> {
        Ok(self)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Readable, E> {
        if number.is_finite() { Ok(self) } else { Err(E::custom("number out of range")) }
    }

    fn visit_str<E>(self, _: &str) -> Result<Readable, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Readable, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Readable, A::Error> {
        while items.next_element::<Readable>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Readable, A::Error> {
        while fields.next_entry::<IgnoredAny, Readable>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::Null, |within, i| match i % 2 {
            0 => json!({"a": within}),
            _ => json!([1, within]),
        })
    }

    #[test]
    fn the_bound_is_found_with_its_path_and_lies_within_what_readers_read() {
        let bound = nested(MAX_DEPTH);
        assert_eq!(too_deep(&bound), None);
        assert_eq!(measure(&bound).0, MAX_DEPTH);
        assert_eq!(measure(&json!({"a": [1, {}], "b": 2})), (3, 5));
        let deep = json!({"spec": {"x": [0, bound]}});
        let path = too_deep(&deep).expect("it is deeper");
        assert!(path.starts_with("spec.x[1][1].a[1].a"), "{path}");
        assert_eq!(path.matches(['.', '[']).count() + 1, MAX_DEPTH, "{path}");
        let answer = json!({"items": [{"rows": [{"object": nested(MAX_DEPTH)}]}]});
        assert!(crate::json::parse(answer.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn what_the_reader_refuses_is_not_readable() {
        for depth in [1, 126, 127, 128, 129, 200] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let read = skiff_json::from_str::<Value>(&text);
            assert_eq!(readable(text.as_bytes()).is_ok(), read.is_ok(), "{depth}");
            assert_eq!(read.is_ok(), depth < 128, "{depth}");
        }
        for text in ["", "{", "{\"a\":1}x", "{\"a\":\"\u{1}\"}", "nul", "{\"a\":1e999}", "{1:2}"] {
            assert!(readable(text.as_bytes()).is_err(), "{text}");
        }
        assert!(readable(br#"{"a":[1,-2,3.5,true,null,"x"],"b":{}}"#).is_ok());
        assert!(readable(b"{\"a\":\"\xff\"}").is_err());
    }
}
