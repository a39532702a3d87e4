//! Objects in protobuf: the JSON of a body becomes the bytes that upstream's encoder would write for it.
//!
//! The body is read once, with the schema beside it, and no tree is made of it: each field is written where it is met,
//! and the fields of a struct are put in the order of their numbers when it ends. What is written although it is empty
//! follows from Go: a value always is, a pointer, list or map only when it is there. Names of maps come in the order of
//! the body, which is theirs already. Nothing here looks at a kind.

use super::json::{Json, damaged};
use super::{Choice, LIST_OF_ITS_OWN, ProtobufError, SCHEMA, choice};
use crate::schema::{Emit, Field, Shape, Struct};
use crate::time::Precision;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Nesting of structs beyond any body that can be stored: schemas of custom resources are the deepest, at two levels of
/// JSON each.
const DEPTH_MOST: usize = 100;
/// The kinds of values on the wire.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

type Done = Result<(), ProtobufError>;

/// Appends the message that an object is.
///
/// # Errors
/// When this is no JSON, or none of that type.
pub fn encode(json: &[u8], of: &Struct, out: &mut Vec<u8>) -> Done {
    let mut encoder = Encoder { json: Json::new(json), out, slots: Vec::new(), depth: 0 };
    encoder.structure(of)
}

/// Appends a number in groups of seven bits, the lowest first.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a text or a message as this field.
pub fn bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    begin(out, number, content.len());
    out.extend_from_slice(content);
}

/// Appends what stands before a text or a message of this length.
pub fn begin(out: &mut Vec<u8>, number: u32, length: usize) {
    tag(out, number, BYTES);
    varint(out, length as u64);
}

fn tag(out: &mut Vec<u8>, number: u32, wire: u32) {
    varint(out, u64::from(number << 3 | wire));
}

struct Encoder<'a, 'o> {
    json: Json<'a>,
    out: &'o mut Vec<u8>,
    /// For each field of the structs that are being read, from where to where it was written.
    slots: Vec<(usize, usize)>,
    depth: usize,
}

impl Encoder<'_, '_> {
    fn structure(&mut self, of: &Struct) -> Done {
        if self.depth == DEPTH_MOST {
            return Err(ProtobufError::TooDeep);
        }
        self.depth += 1;
        let (slots, start) = (self.slots.len(), self.out.len());
        self.slots.resize(slots + of.fields.len(), (0, 0));
        self.json.take(b'{')?;
        let mut first = true;
        while self.json.more(&mut first, b'}')? {
            let key = self.json.key()?;
            let at = of.fields.binary_search_by(|it| it.name.as_bytes().cmp(key.raw));
            let field = at.ok().map(|at| (at, &of.fields[at])).filter(|(_, it)| it.tag > 0);
            match field {
                Some(_) if self.json.null()? => {}
                Some((at, field)) => {
                    let from = self.out.len();
                    self.field(field)?;
                    self.slots[slots + at] = (from, self.out.len());
                }
                None => _ = self.json.raw()?,
            }
        }
        let read = self.out.len();
        self.assemble(of, of.wire, 0, slots);
        self.out.drain(start..read);
        self.slots.truncate(slots);
        self.depth -= 1;
        Ok(())
    }

    /// Puts the fields of a struct, or of one that is embedded in it at this level, behind each other.
    fn assemble(&mut self, of: &Struct, wire: &[u16], level: usize, slots: usize) {
        let mut rest = wire;
        while let [at, others @ ..] = rest {
            let field = &of.fields[usize::from(*at)];
            if let Some(inline) = field.inline.get(level) {
                let embedded = |at: &u16| {
                    let other = of.fields[usize::from(*at)].inline.get(level);
                    other.is_some_and(|it| it.tag == inline.tag)
                };
                let count = rest.iter().position(|at| !embedded(at)).unwrap_or(rest.len());
                let begun = self.begin(inline.tag);
                self.assemble(of, &rest[..count], level + 1, slots);
                self.end(begun);
                rest = &rest[count..];
                continue;
            }
            rest = others;
            let (from, to) = self.slots[slots + usize::from(*at)];
            if from < to {
                self.out.extend_from_within(from..to);
            } else if matches!(field.emit, Emit::Always | Emit::NotEmpty) {
                self.empty(field.tag, &field.node.shape);
            }
        }
    }

    /// A value that is not there, and that Go has all the same.
    fn empty(&mut self, number: u32, shape: &Shape) {
        match shape {
            Shape::List(_) | Shape::Map(_) | Shape::Bytes => {}
            Shape::Bool | Shape::Int32 | Shape::Int64 => self.whole(number, 0),
            Shape::Float => self.float(number, 0.0),
            Shape::String | Shape::Any | Shape::Time | Shape::MicroTime => {
                bytes(self.out, number, b"");
            }
            Shape::Quantity => bytes(self.out, number, b"\x0a\x010"),
            Shape::Duration => bytes(self.out, number, b"\x08\0"),
            Shape::IntOrString => bytes(self.out, number, b"\x08\0\x10\0\x1a\0"),
            Shape::Struct(of) => {
                let begun = self.begin(number);
                let slots = self.slots.len();
                self.slots.resize(slots + of.fields.len(), (0, 0));
                self.assemble(of, of.wire, 0, slots);
                self.slots.truncate(slots);
                self.end(begun);
            }
        }
    }

    fn field(&mut self, field: &Field) -> Done {
        match &field.node.shape {
            Shape::List(item) if field.go != LIST_OF_ITS_OWN => self.list(field.tag, &item.shape),
            Shape::Map(item) if field.go == "v1.JSONSchemaDependencies" => {
                self.map(field.tag, |it| it.choice(2, Choice::Texts), &item.shape)
            }
            Shape::Map(item) => self.map(field.tag, |it| it.value(2, &item.shape), &item.shape),
            Shape::Any if let Some(choice) = choice(&field.go) => self.choice(field.tag, choice),
            shape => self.value(field.tag, shape),
        }
    }

    /// Each element is a field of its own.
    fn list(&mut self, number: u32, item: &Shape) -> Done {
        self.json.take(b'[')?;
        let mut first = true;
        while self.json.more(&mut first, b']')? {
            match self.json.null()? {
                true => self.empty(number, item),
                false => self.value(number, item)?,
            }
        }
        Ok(())
    }

    /// Each entry is a message of its name (1) and its value (2), which `write` writes.
    fn map(&mut self, number: u32, write: impl Fn(&mut Self) -> Done, item: &Shape) -> Done {
        self.json.take(b'{')?;
        let mut first = true;
        while self.json.more(&mut first, b'}')? {
            let key = self.json.key()?.plain()?;
            let begun = self.begin(number);
            bytes(self.out, 1, &key);
            match (self.json.null()?, item) {
                (true, Shape::Bytes) => bytes(self.out, 2, b""),
                (true, shape) => self.empty(2, shape),
                (false, _) => write(self)?,
            }
            self.end(begun);
        }
        Ok(())
    }

    /// A value that is no list and no map of a struct.
    fn value(&mut self, number: u32, shape: &Shape) -> Done {
        match shape {
            Shape::Bool => self.flag(number)?,
            Shape::Int32 | Shape::Int64 => {
                let value = self.number()?;
                self.whole(number, value);
            }
            Shape::Float => {
                let value = self.json.word()?.parse().map_err(|_| damaged())?;
                self.float(number, value);
            }
            Shape::String => {
                let text = self.json.text()?.plain()?;
                bytes(self.out, number, &text);
            }
            Shape::Bytes => {
                let text = self.json.text()?.plain()?;
                let decoded = STANDARD.decode(text).map_err(|_| damaged())?;
                bytes(self.out, number, &decoded);
            }
            Shape::Struct(of) => {
                let begun = self.begin(number);
                self.structure(of)?;
                self.end(begun);
            }
            shape => {
                let begun = self.begin(number);
                self.wrapped(shape)?;
                self.end(begun);
            }
        }
        Ok(())
    }

    /// What is a scalar or a list in JSON, and a message in protobuf.
    fn wrapped(&mut self, shape: &Shape) -> Done {
        match shape {
            Shape::Any => {
                let raw = self.json.raw()?;
                bytes(self.out, 1, raw);
            }
            Shape::List(item) => self.list(1, &item.shape)?,
            Shape::IntOrString => self.int_or_string()?,
            Shape::Quantity if self.json.peek()? != b'"' => {
                let text = self.json.word()?;
                bytes(self.out, 1, text.as_bytes());
            }
            Shape::Quantity => {
                let text = self.json.text()?.plain()?;
                bytes(self.out, 1, &text);
            }
            _ => {
                let text = self.json.text()?.plain()?;
                self.moment(std::str::from_utf8(&text).map_err(|_| damaged())?, shape)?;
            }
        }
        Ok(())
    }

    fn moment(&mut self, text: &str, shape: &Shape) -> Done {
        if let Shape::Duration = shape {
            let nanos = crate::duration::parse(text).map_err(|_| damaged())?;
            self.whole(1, nanos);
            return Ok(());
        }
        let precision = match shape {
            Shape::MicroTime => Precision::Micros,
            _ => Precision::Seconds,
        };
        let time = crate::time::parse(text, precision).map_err(|_| damaged())?;
        if !crate::time::is_zero(time) {
            let micros = match precision {
                Precision::Micros => time.subsec_nanosecond() / 1000,
                Precision::Seconds => 0,
            };
            self.whole(1, time.as_second());
            self.whole(2, i64::from(micros) * 1000);
        }
        Ok(())
    }

    fn int_or_string(&mut self) -> Done {
        let is_text = self.json.peek()? == b'"';
        let number = if is_text { 0 } else { self.number()? };
        self.whole(1, i64::from(is_text));
        self.whole(2, number);
        match is_text {
            true => {
                let text = self.json.text()?.plain()?;
                bytes(self.out, 3, &text);
            }
            false => bytes(self.out, 3, b""),
        }
        Ok(())
    }

    /// One schema, or what else may stand there.
    fn choice(&mut self, number: u32, choice: Choice) -> Done {
        let of = crate::schema::builtin(SCHEMA).expect("the table has the schema of schemas");
        let schema = Shape::Struct(crate::schema::Ref::Static(of));
        let begun = self.begin(number);
        match (self.json.peek()?, choice) {
            (b'{', Choice::Bool) => {
                self.whole(1, 1);
                self.value(2, &schema)?;
            }
            (b'{', _) => self.value(1, &schema)?,
            (_, Choice::Bool) => self.flag(1)?,
            (_, Choice::Schemas) => self.list(2, &schema)?,
            (_, Choice::Texts) => self.list(2, &Shape::String)?,
        }
        self.end(begun);
        Ok(())
    }

    fn number(&mut self) -> Result<i64, ProtobufError> {
        let word = self.json.word()?;
        // A float without a fraction is a number like others.
        let float = |_| word.parse::<f64>().map(|it| it as i64);
        word.parse().or_else(float).map_err(|_| damaged())
    }

    fn flag(&mut self, number: u32) -> Done {
        let value = self.json.word()? == "true";
        self.whole(number, i64::from(value));
        Ok(())
    }

    fn whole(&mut self, number: u32, value: i64) {
        tag(self.out, number, VARINT);
        varint(self.out, value as u64);
    }

    fn float(&mut self, number: u32, value: f64) {
        tag(self.out, number, FIXED64);
        self.out.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// Begins a message whose length is not known yet: one byte is kept for it.
    fn begin(&mut self, number: u32) -> usize {
        tag(self.out, number, BYTES);
        self.out.push(0);
        self.out.len()
    }

    /// Ends the message that began there. A longer length moves what was written.
    fn end(&mut self, begun: usize) {
        let length = self.out.len() - begun;
        if let Ok(short @ ..0x80) = u8::try_from(length) {
            self.out[begun - 1] = short;
            return;
        }
        let end = self.out.len();
        // Made at the end, and moved to its place.
        varint(self.out, length as u64);
        let more = self.out.len() - end - 1;
        let mut prefix = [0; 10];
        prefix[..=more].copy_from_slice(&self.out[end..]);
        self.out.truncate(end + more);
        self.out.copy_within(begun..end, begun + more);
        self.out[begun - 1..begun + more].copy_from_slice(&prefix[..=more]);
    }
}

#[cfg(test)]
mod tests;
