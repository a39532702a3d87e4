//! What is odd about the fields of a body, in the order in which the body has them: a tree has forgotten it, and
//! upstream's decoder tells its findings as it meets them. Runs only where there is something to tell.

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Sorts texts like `unknown field "spec.a"` and `duplicate field "spec.b"` by where the body has those fields.
pub fn sort(body: &[u8], texts: &mut [String]) {
    if texts.len() < 2 {
        return;
    }
    let wanted: Vec<(usize, &str)> =
        texts.iter().map(|text| path(text)).enumerate().filter(|(_, it)| !it.is_empty()).collect();
    let mut seen = Seen { now: 0, places: vec![Vec::new(); texts.len()] };
    let mut reader = skiff_json::Deserializer::from_slice(body);
    if (Below { wanted, seen: &mut seen }).deserialize(&mut reader).is_err() {
        // Another reader has read this body; if this one cannot, the order stays as it is.
        return;
    }
    let place = |(index, text): (usize, &String)| {
        // A field is a repetition when it comes for the second time.
        let time = usize::from(text.starts_with("duplicate"));
        seen.places[index].get(time).copied().unwrap_or(usize::MAX)
    };
    let places: Vec<usize> = texts.iter().enumerate().map(place).collect();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|index| places[*index]);
    let sorted: Vec<String> = order.into_iter().map(|index| texts[index].clone()).collect();
    texts.clone_from_slice(&sorted);
}

fn path(text: &str) -> &str {
    let quoted = text.split_once(" field \"").map_or("", |(_, path)| path);
    quoted.strip_suffix('"').unwrap_or("")
}

/// When each wanted field was met.
struct Seen {
    now: usize,
    places: Vec<Vec<usize>>,
}

/// A value in which fields are looked for: their numbers, and what is left of their paths.
struct Below<'a, 's> {
    wanted: Vec<(usize, &'a str)>,
    seen: &'s mut Seen,
}

impl<'a> Below<'a, '_> {
    /// Goes into the part with this name: notes the paths that end here, and keeps those that go on.
    fn step(&mut self, name: &str) -> Vec<(usize, &'a str)> {
        self.seen.now += 1;
        let mut below = Vec::new();
        for (index, path) in &self.wanted {
            match path.strip_prefix(name) {
                Some("") => self.seen.places[*index].push(self.seen.now),
                Some(rest) if rest.starts_with('.') => below.push((*index, &rest[1..])),
                Some(rest) if rest.starts_with('[') => below.push((*index, rest)),
                _ => {}
            }
        }
        below
    }
}

impl<'de> DeserializeSeed<'de> for Below<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        match self.wanted.is_empty() {
            true => reader.deserialize_ignored_any(IgnoredAny).map(drop),
            false => reader.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Below<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let wanted = self.step(&format!("[{index}]"));
            if items.next_element_seed(Below { wanted, seen: self.seen })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(key) = fields.next_key::<String>()? {
            let wanted = self.step(&key);
            fields.next_value_seed(Below { wanted, seen: self.seen })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_as_the_body_has_them() {
        let body = br#"{"z": 1, "spec": {"b": [{"c": 1, "c": 2, "x": 0}], "a": 1}, "Kind": "k"}"#;
        let mut texts = [
            "duplicate field \"spec.b[0].c\"",
            "unknown field \"Kind\"",
            "unknown field \"spec.a\"",
            "unknown field \"spec.b[0].x\"",
            "unknown field \"z\"",
        ]
        .map(String::from);
        sort(body, &mut texts);
        let wanted = [
            "unknown field \"z\"",
            "duplicate field \"spec.b[0].c\"",
            "unknown field \"spec.b[0].x\"",
            "unknown field \"spec.a\"",
            "unknown field \"Kind\"",
        ];
        assert_eq!(texts, wanted);
    }
}
