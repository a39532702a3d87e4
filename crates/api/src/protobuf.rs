//! Protobuf bodies: what client-go and kubectl send by default becomes the same tree as JSON would.
//!
//! An object travels in an envelope (`k8s\0`, then `runtime.Unknown`: the type and the encoded object). Fields
//! are found by their numbers in the schema table; nothing is generated. Unknown fields are skipped, as protobuf
//! does. The decoder faces the network: every length is checked against what is there, and depth is bounded.

use crate::schema::emit::emit;
use crate::schema::{Node, Shape, Struct};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_json::{Map, Value, json};

mod encode;
mod json;

pub(crate) use encode::varint;
pub use encode::{begin, bytes, encode};
pub use json::types;

/// The media type of such bodies.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The first bytes of an envelope.
const MAGIC: &[u8] = b"k8s\0";
/// Nesting beyond any object of the API; upstream's schemas of custom resources are the deepest.
const DEPTH_MOST: usize = 64;

/// The definition that schemas of custom resources consist of.
const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// A named list that is a message of its own where it is a field; in maps all lists are.
const LIST_OF_ITS_OWN: &str = "v1.Verbs";

/// Why a body cannot be read, or an object not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    NoEnvelope,
    #[error("empty data")]
    NoData,
    #[error("empty body")]
    NoBody,
    #[error("unexpected EOF")]
    CutShort,
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    #[error("proto: illegal tag 0 (wire type {0})")]
    Tag(u8),
    #[error("proto: wrong wireType = {1} for field {0}")]
    WrongWire(String, u8),
    #[error("proto: a time of {0} seconds is none that can be told")]
    Time(i64),
    #[error("proto: the message is nested too deeply")]
    TooDeep,
    #[error("proto: {0} holds no valid JSON")]
    Json(String),
    #[error("proto: there are no messages of the type {0:?} in {1:?}")]
    NoType(String, String),
}

/// The type that an envelope names, and the object inside.
#[derive(Debug)]
pub struct Envelope<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
}

impl Envelope<'_> {
    /// What it says of the type, as the beginning of the object.
    pub fn named(&self) -> Map {
        let said = [("apiVersion", &self.api_version), ("kind", &self.kind)];
        let said = said.into_iter().filter(|(_, text)| !text.is_empty());
        said.map(|(key, text)| (key.to_owned(), text.as_str().into())).collect()
    }
}

/// Opens an envelope.
///
/// # Errors
/// When it is none, or empty.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    if bytes.is_empty() {
        return Err(ProtobufError::NoData);
    }
    let rest = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NoEnvelope)?;
    if rest.is_empty() {
        return Err(ProtobufError::NoBody);
    }
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
    let mut reader = Reader(rest);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => {
                let mut meta = Reader(meta);
                while let Some((number, wire)) = meta.field()? {
                    match (number, wire) {
                        (1, Wire::Bytes(text)) => envelope.api_version = lossy(text),
                        (2, Wire::Bytes(text)) => envelope.kind = lossy(text),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => envelope.raw = raw,
            _ => {}
        }
    }
    Ok(envelope)
}

/// The end of an envelope: the object is of no other coding and no other type than the envelope says.
pub const ENVELOPE_END: &[u8] = b"\x1a\0\"\0";

/// What stands before an object of this length in its envelope.
pub fn envelope(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    bytes(&mut meta, 1, api_version.as_bytes());
    bytes(&mut meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(meta.len() + 16);
    out.extend_from_slice(MAGIC);
    bytes(&mut out, 1, &meta);
    encode::begin(&mut out, 2, length);
    out
}

/// An object that says what it is, in its envelope.
///
/// # Errors
/// When it is no JSON, or of no built-in type.
pub fn document(json: &[u8]) -> Result<Vec<u8>, ProtobufError> {
    let (api_version, kind) = json::types(json)?;
    // The oldest documents of discovery do not name their version.
    let named = if api_version.is_empty() { "v1" } else { &api_version };
    let (group, version) = named.split_once('/').unwrap_or(("", named));
    let of = crate::schema::gvk(group, version, &kind)
        .ok_or_else(|| ProtobufError::NoType(kind.clone(), api_version.clone()))?;
    let mut object = Vec::with_capacity(json.len());
    encode(json, of, &mut object)?;
    let mut out = envelope(&api_version, &kind, object.len());
    out.extend_from_slice(&object);
    out.extend_from_slice(ENVELOPE_END);
    Ok(out)
}

/// What stands before an object of this length in a message of a watch; [`ENVELOPE_END`] follows the object. Messages
/// have their length before them, in four bytes (API concepts page "Kubernetes Protobuf encoding").
pub fn watch_event(sort: &str, api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let envelope = envelope(api_version, kind, length);
    let raw = envelope.len() + length + ENVELOPE_END.len();
    let mut object = Vec::with_capacity(envelope.len() + 8);
    encode::begin(&mut object, 1, raw);
    object.extend_from_slice(&envelope);
    let mut out = vec![0; 4];
    bytes(&mut out, 1, sort.as_bytes());
    encode::begin(&mut out, 2, object.len() - envelope.len() + raw);
    out.extend_from_slice(&object);
    // Objects are bounded well below what four bytes can say.
    let rest = out.len() - 4 + length + ENVELOPE_END.len();
    out[..4].copy_from_slice(&(rest as u32).to_be_bytes());
    out
}

/// Decodes the object of an envelope, which is of this type.
///
/// # Errors
/// When it is no message, or none of this type.
pub fn read(envelope: Envelope, of: &Struct) -> Result<Value, ProtobufError> {
    let mut map = envelope.named();
    fill(&mut map, envelope.raw, of, &[], 0)?;
    Ok(Value::Object(map))
}

/// A value on the wire.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    /// The bytes of a text or a message; `name` is the field's.
    fn bytes(self, name: &str) -> Result<&'a [u8], ProtobufError> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong(name)),
        }
    }

    /// That the field is nothing that is written so.
    fn wrong(self, name: &str) -> ProtobufError {
        let wire = match self {
            Wire::Varint(_) => 0,
            Wire::Fixed64(_) => 1,
            Wire::Bytes(_) => 2,
            Wire::Fixed32(_) => 5,
        };
        // Upstream names fields as Go does.
        let (first, rest) = name.split_at(name.chars().next().map_or(0, char::len_utf8));
        ProtobufError::WrongWire(first.to_uppercase() + rest, wire)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field; `None` at the end.
    fn field(&mut self) -> Result<Option<(u32, Wire<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        if tag >> 3 == 0 {
            return Err(ProtobufError::Tag(tag as u8));
        }
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes"))),
            2 => {
                let length =
                    usize::try_from(self.varint()?).map_err(|_| ProtobufError::CutShort)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes"))),
            other => return Err(ProtobufError::WireType(other as u8)),
        };
        Ok(Some(((tag >> 3) as u32, wire)))
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::CutShort)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtobufError> {
        if length > self.0.len() {
            return Err(ProtobufError::CutShort);
        }
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn structure(bytes: &[u8], of: &Struct, depth: usize) -> Result<Value, ProtobufError> {
    let mut map = Map::new();
    fill(&mut map, bytes, of, &[], depth)?;
    Ok(Value::Object(map))
}

/// Reads the fields of a struct, or of one that is embedded in it: `within` are the field numbers that led there.
fn fill(
    map: &mut Map,
    bytes: &[u8],
    of: &Struct,
    within: &[u32],
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > DEPTH_MOST {
        return Err(ProtobufError::TooDeep);
    }
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.field()? {
        let inside = |field: &&crate::schema::Field| {
            field.inline.iter().map(|i| i.tag).take(within.len()).eq(within.iter().copied())
        };
        let direct = |field: &&crate::schema::Field| field.inline.len() == within.len();
        let mut fields = of.fields.iter().filter(inside);
        if let Some(field) = fields.clone().filter(direct).find(|f| f.tag == number) {
            put(map, field, wire, depth)?;
        } else if let Some(embedded) =
            fields.find(|f| f.inline.get(within.len()).is_some_and(|i| i.tag == number))
        {
            let message = wire.bytes(&embedded.name)?;
            let deeper = [within, &[number]].concat();
            fill(map, message, of, &deeper, depth + 1)?;
        }
    }
    Ok(())
}

/// Adds one field as it came: an element of a list, an entry of a map, or a value.
fn put(
    map: &mut Map,
    field: &crate::schema::Field,
    wire: Wire,
    depth: usize,
) -> Result<(), ProtobufError> {
    let name = field.name.as_ref();
    match &field.node.shape {
        Shape::Any if choice(&field.go).is_some() => {
            let message = wire.bytes(name)?;
            map.insert(name.to_owned(), alternative(message, choice(&field.go), depth)?);
        }
        Shape::Map(_) if field.go == "v1.JSONSchemaDependencies" => {
            let read = |wire: Wire| alternative(wire.bytes(name)?, Some(Choice::Texts), depth);
            let (key, value) = map_entry(wire.bytes(name)?, read)?;
            map.entry(name).or_insert_with(|| json!({}))[key] = value.unwrap_or(json!([]));
        }
        Shape::List(item) if field.go != LIST_OF_ITS_OWN => {
            let list = map.entry(name).or_insert_with(|| json!([]));
            append(list.as_array_mut().expect("it was made an array"), wire, (item, name), depth)?;
        }
        Shape::Map(item) => {
            let (key, value) =
                map_entry(wire.bytes(name)?, |wire| scalar(wire, item, name, depth))?;
            let value = value.unwrap_or_else(|| match &item.shape {
                Shape::String | Shape::Bytes => "".into(),
                other => crate::schema::decode::empty(other),
            });
            map.entry(name).or_insert_with(|| json!({}))[key] = value;
        }
        _ => {
            let value = scalar(wire, &field.node, name, depth)?;
            if !value.is_null() {
                map.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// One element, or several numbers packed into one field.
fn append(
    list: &mut Vec<Value>,
    wire: Wire,
    (item, name): (&Node, &str),
    depth: usize,
) -> Result<(), ProtobufError> {
    match (wire, &item.shape) {
        (Wire::Bytes(packed), Shape::Int32 | Shape::Int64 | Shape::Bool) => {
            let mut reader = Reader(packed);
            while !reader.0.is_empty() {
                let number = reader.varint()?;
                list.push(scalar(Wire::Varint(number), item, name, depth)?);
            }
        }
        _ => list.push(scalar(wire, item, name, depth)?),
    }
    Ok(())
}

fn map_entry<'a>(
    entry: &'a [u8],
    read: impl Fn(Wire<'a>) -> Result<Value, ProtobufError>,
) -> Result<(String, Option<Value>), ProtobufError> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader(entry);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, wire) => key = lossy(wire.bytes("key")?),
            (2, wire) => value = Some(read(wire)?),
            _ => {}
        }
    }
    Ok((key, value))
}

/// What else than one schema may stand in a place of a custom resource's schema. JSON tells them apart by their type;
/// protobuf wraps them in a message of two fields.
#[derive(Clone, Copy)]
enum Choice {
    Bool,
    Schemas,
    Texts,
}

fn choice(go: &str) -> Option<Choice> {
    match go {
        "v1.JSONSchemaPropsOrBool" => Some(Choice::Bool),
        "v1.JSONSchemaPropsOrArray" => Some(Choice::Schemas),
        "v1.JSONSchemaPropsOrStringArray" => Some(Choice::Texts),
        _ => None,
    }
}

fn alternative(
    message: &[u8],
    choice: Option<Choice>,
    depth: usize,
) -> Result<Value, ProtobufError> {
    let Some(choice) = choice else { return Ok(Value::Null) };
    let of = crate::schema::builtin(SCHEMA).expect("the table has the schema of schemas");
    let (mut schema, mut allows, mut list, mut reader) = (None, false, Vec::new(), Reader(message));
    while let Some((number, wire)) = reader.field()? {
        match (choice, number, wire) {
            (Choice::Bool, 1, Wire::Varint(n)) => allows = n != 0,
            (Choice::Bool, 2, Wire::Bytes(raw)) => schema = Some(structure(raw, of, depth + 1)?),
            (Choice::Schemas | Choice::Texts, 1, Wire::Bytes(raw)) => {
                schema = Some(structure(raw, of, depth + 1)?);
            }
            (Choice::Schemas, 2, Wire::Bytes(raw)) => list.push(structure(raw, of, depth + 1)?),
            (Choice::Texts, 2, Wire::Bytes(text)) => list.push(lossy(text).into()),
            _ => {}
        }
    }
    // Below here no table says what is left out when it is empty, and protobuf sends it all the same.
    schema.iter_mut().chain(&mut list).for_each(|it| emit(it, of));
    Ok(match (schema, choice) {
        (Some(schema), _) if list.is_empty() => schema,
        (_, Choice::Bool) => allows.into(),
        _ => list.into(),
    })
}

/// A value that is no list and no map of a struct.
fn scalar(wire: Wire, node: &Node, name: &str, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (&node.shape, wire) {
        (Shape::Bool, Wire::Varint(n)) => (n != 0).into(),
        (Shape::Int32, Wire::Varint(n)) => (n as i32).into(),
        (Shape::Int64, Wire::Varint(n)) => (n as i64).into(),
        (Shape::Float, Wire::Fixed64(n)) => json!(f64::from_bits(n)),
        (Shape::Float, Wire::Fixed32(n)) => json!(f64::from(f32::from_bits(n))),
        (Shape::String, Wire::Bytes(text)) => lossy(text).into(),
        (Shape::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Shape::Quantity, Wire::Bytes(message)) => match first(message)? {
            Some(Wire::Bytes(text)) => lossy(text).into(),
            _ => "0".into(),
        },
        (Shape::Time | Shape::MicroTime, Wire::Bytes(message)) => time(message, &node.shape)?,
        (Shape::Duration, Wire::Bytes(message)) => match first(message)? {
            Some(Wire::Varint(nanos)) => crate::duration::format(nanos as i64).into(),
            _ => "0s".into(),
        },
        (Shape::IntOrString, Wire::Bytes(message)) => int_or_string(message)?,
        (Shape::Struct(of), Wire::Bytes(message)) => structure(message, of, depth + 1)?,
        (Shape::Any, Wire::Bytes(message)) => match first(message)? {
            Some(Wire::Bytes(raw)) => {
                skiff_json::from_slice(raw).map_err(|_| ProtobufError::Json(name.into()))?
            }
            _ => Value::Null,
        },
        // A list inside a map is a message of its own with the items as field 1.
        (Shape::List(item), Wire::Bytes(message)) => {
            let (mut list, mut reader) = (Vec::new(), Reader(message));
            while let Some((number, wire)) = reader.field()? {
                if number == 1 {
                    append(&mut list, wire, (item, name), depth + 1)?;
                }
            }
            list.into()
        }
        (_, wire) => return Err(wire.wrong(name)),
    })
}

/// The first field of a message that wraps one value.
fn first(message: &[u8]) -> Result<Option<Wire<'_>>, ProtobufError> {
    let mut reader = Reader(message);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            return Ok(Some(wire));
        }
    }
    Ok(None)
}

/// Seconds and nanoseconds; a message without either is no time.
fn time(message: &[u8], shape: &Shape) -> Result<Value, ProtobufError> {
    let (mut seconds, mut nanos, mut reader) = (None, 0, Reader(message));
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Varint(n)) => seconds = Some(n as i64),
            (2, Wire::Varint(n)) => nanos = n as i32,
            _ => {}
        }
    }
    let precision = match shape {
        Shape::MicroTime => crate::time::Precision::Micros,
        _ => crate::time::Precision::Seconds,
    };
    let Some(seconds) = seconds else { return Ok(Value::Null) };
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Time(seconds))?;
    Ok(crate::time::format(time, precision).into())
}

fn int_or_string(message: &[u8]) -> Result<Value, ProtobufError> {
    let (mut textual, mut number_value, mut text, mut reader) =
        (false, 0, String::new(), Reader(message));
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Varint(n)) => textual = n == 1,
            (2, Wire::Varint(n)) => number_value = n as i32,
            (3, Wire::Bytes(bytes)) => text = lossy(bytes),
            _ => {}
        }
    }
    Ok(if textual { text.into() } else { number_value.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::gvk;

    fn whole(body: &[u8], of: &Struct) -> Result<Value, ProtobufError> {
        read(open(body)?, of)
    }

    fn config_map() -> &'static Struct {
        gvk("", "v1", "ConfigMap").expect("the table has it")
    }

    #[test]
    fn what_kubectl_sends_for_a_config_map() {
        let body = b"k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12\x1b\n\x11\n\x01x\x12\0\x1a\0\"\0*\x002\x008\x00B\x00\x12\x06\n\x01a\x12\x01b\x1a\0\"\0";
        let value = whole(body, config_map()).expect("it is a body");
        assert_eq!((&value["kind"], &value["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
        assert_eq!((&value["metadata"]["name"], &value["data"]), (&json!("x"), &json!({"a": "b"})));
        assert_eq!(value["metadata"].get("creationTimestamp"), None);
    }

    #[test]
    fn schemas_hold_one_schema_or_something_else() {
        let of = crate::schema::builtin(SCHEMA).expect("the table has it");
        // (what is written, its JSON): items and additionalProperties as upstream's encoder writes them.
        let tagged = |name: &str, message: &[u8]| {
            let tag = of.field(name).expect("the field").tag << 3 | 2;
            let mut out = vec![(tag & 0x7f) as u8 | 0x80, (tag >> 7) as u8, message.len() as u8];
            out.extend(message);
            structure(&out, of, 0).expect("it is a schema")
        };
        // With an empty id and `uniqueItems: false`.
        let typed = b"\x0a\0\x2a\x01s\x90\x01\0";
        let with = |lead: &[u8]| [lead, &[typed.len() as u8], typed].concat();
        assert_eq!(tagged("items", &with(b"\x0a")), json!({"items": {"type": "s"}}));
        assert_eq!(tagged("items", &with(b"\x12")), json!({"items": [{"type": "s"}]}));
        let extra = |value| json!({"additionalProperties": value});
        assert_eq!(tagged("additionalProperties", b"\x08\x01"), extra(json!(true)));
        assert_eq!(tagged("additionalProperties", b"\x08\0"), extra(json!(false)));
        let schema = [b"\x08\x01".to_vec(), with(b"\x12")].concat();
        assert_eq!(tagged("additionalProperties", &schema), extra(json!({"type": "s"})));
        let entry = b"\x0a\x01a\x12\x03\x12\x01b";
        assert_eq!(tagged("dependencies", entry), json!({"dependencies": {"a": ["b"]}}));
    }

    #[test]
    fn broken_bodies_are_refused_and_never_panic() {
        let refused = |body: &[u8]| whole(body, config_map()).expect_err("it is broken");
        assert_eq!(refused(b"{}"), ProtobufError::NoEnvelope);
        assert_eq!(refused(b""), ProtobufError::NoData);
        assert_eq!(refused(b"k8s\0"), ProtobufError::NoBody);
        let body = b"k8s\0\x12\x1b\n\x11\n\x01x\x12\0\x1a\0\"\0*\x002\x008\x00B\x00\x12\x06\n\x01a\x12\x01b";
        for cut in 5..body.len() {
            // Whatever it is, it is answered.
            let _ = whole(&body[..cut], config_map());
            let mut flipped = body.to_vec();
            flipped[cut] ^= 0x55;
            let _ = whole(&flipped, config_map());
        }
        assert_eq!(refused(b"k8s\0\x12\xff\x01"), ProtobufError::CutShort);
        assert_eq!(refused(b"k8s\0\x12\x02\x00\x01"), ProtobufError::Tag(0));
        for (object, name) in
            [(&b"\x08\x01"[..], "Metadata"), (b"\x0a\x02\x08\x01", "Name"), (b"\x10\x01", "Data")]
        {
            let body = [&b"k8s\0\x12"[..], &[object.len() as u8], object].concat();
            assert_eq!(refused(&body), ProtobufError::WrongWire(name.into(), 0));
        }
    }
}
