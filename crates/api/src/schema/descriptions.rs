//! The sentences that describe definitions and fields, for OpenAPI and `kubectl explain`.
//!
//! They are three quarters of a megabyte and asked for rarely, so they stay compressed in the
//! program, in chunks sorted by definition; one lookup expands one chunk and holds it until the
//! next chunk is asked for or the reader is dropped.

use std::io::Read;
use std::ops::Range;

use flate2::read::DeflateDecoder;

static BLOB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.bin"));

/// Reads descriptions; cheap to make, and cheapest when asked in the order of definition names.
#[derive(Debug, Default)]
pub struct Descriptions {
    /// The chunk that is expanded, and its text.
    open: Option<(usize, String)>,
    /// The definition that was asked for last, and where its records lie in the chunk.
    last: Option<(String, Range<usize>)>,
}

impl Descriptions {
    /// What the definition is for.
    pub fn of(&mut self, definition: &str) -> Option<&str> {
        self.field(definition, "")
    }

    /// What a field of the definition is for; the empty name means the definition itself.
    pub fn field(&mut self, definition: &str, field: &str) -> Option<&str> {
        if self.last.as_ref().is_none_or(|(last, _)| last != definition) {
            let records = records(self.chunk(definition)?, definition);
            self.last = Some((definition.to_string(), records));
        }
        let (_, text) = self.open.as_ref()?;
        let (_, records) = self.last.as_ref()?;
        text[records.clone()].split('\x1e').find_map(|record| {
            let rest = record.strip_prefix(definition)?.strip_prefix('\x1f')?;
            rest.strip_prefix(field)?.strip_prefix('\x1f')
        })
    }

    fn chunk(&mut self, definition: &str) -> Option<&str> {
        let at = CHUNKS.partition_point(|(first, _)| *first <= definition).checked_sub(1)?;
        if self.open.as_ref().is_none_or(|(open, _)| *open != at) {
            let end = CHUNKS.get(at + 1).map_or(BLOB.len(), |(_, start)| *start);
            let mut text = String::new();
            DeflateDecoder::new(&BLOB[CHUNKS[at].1..end])
                .read_to_string(&mut text)
                .expect("the build script compressed it");
            self.open = Some((at, text));
        }
        self.open.as_ref().map(|(_, text)| text.as_str())
    }
}

/// Where the records of a definition lie; they stand together, for the chunk is sorted.
fn records(text: &str, definition: &str) -> Range<usize> {
    let mut found = text.len()..text.len();
    let mut at = 0;
    for record in text.split_inclusive('\x1e') {
        let own = record.strip_prefix(definition).is_some_and(|it| it.starts_with('\x1f'));
        if own {
            found.start = found.start.min(at);
        } else if found.start < at {
            found.end = at;
            break;
        }
        at += record.len();
    }
    found
}

include!(concat!(env!("OUT_DIR"), "/descriptions.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    /// Descriptions are upstream's sentences, so the test asks for their shape only.
    #[test]
    fn nearly_every_field_has_a_description() {
        let mut reader = Descriptions::default();
        let (mut with, mut without) = (0, 0);
        for definition in super::super::builtin::DEFINITIONS {
            for field in definition.fields.iter() {
                match reader.field(&definition.name, &field.name) {
                    Some(text) if !text.is_empty() => with += 1,
                    _ => without += 1,
                }
            }
        }
        assert!(with > 3000 && without * 5 < with, "{with} with, {without} without");
        assert!(reader.of("io.k8s.api.core.v1.Pod").is_some_and(|it| it.len() > 20));
        assert_eq!(reader.of("io.k8s.api.core.v1.Nothing"), None);
        assert_eq!(reader.field("io.k8s.api.core.v1.Pod", "spe"), None);
    }

    #[test]
    fn chunks_are_small() {
        assert!(CHUNKS.len() > 8);
        assert!(BLOB.len() < 400_000, "{}", BLOB.len());
    }
}
