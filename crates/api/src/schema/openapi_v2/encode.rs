//! The protobuf form: JSON of a document, message by message, by the field numbers of gnostic's
//! `openapi.v2`. One table per message; what the table does not name is left out.

use crate::protobuf::{bytes, varint};
use skiff_json::Value;

/// A message: its fields by JSON name, and the number under which `x-` fields go (0: none).
pub struct Message {
    fields: &'static [Field],
    extensions: u32,
}

/// A field: its JSON name, the numbers that lead to it (more than one: messages of one field each
/// around it), and its form.
struct Field(&'static str, &'static [u32], Form);

enum Form {
    Text,
    /// Numbers and flags that are no floating point.
    Whole,
    Float,
    Message(&'static Message),
    /// A JSON object, as entries of a name (1) and a value: the entries' number, the numbers that
    /// lead to the value, its message.
    Named(u32, &'static [u32], &'static Message),
    /// A value of any type, as YAML.
    Any,
}

pub static DOCUMENT: Message = Message {
    fields: &[
        Field("swagger", &[1], Form::Text),
        Field("info", &[2], Form::Message(&INFO)),
        Field("paths", &[8], Form::Named(2, &[2], &PATH)),
        Field("definitions", &[9], Form::Named(1, &[2], &SCHEMA)),
    ],
    extensions: 16,
};

static INFO: Message = Message {
    fields: &[Field("title", &[1], Form::Text), Field("version", &[2], Form::Text)],
    extensions: 7,
};

static PATH: Message = Message {
    fields: &[
        Field("get", &[2], Form::Message(&OPERATION)),
        Field("put", &[3], Form::Message(&OPERATION)),
        Field("post", &[4], Form::Message(&OPERATION)),
        Field("delete", &[5], Form::Message(&OPERATION)),
        Field("options", &[6], Form::Message(&OPERATION)),
        Field("head", &[7], Form::Message(&OPERATION)),
        Field("patch", &[8], Form::Message(&OPERATION)),
        Field("parameters", &[9, 1], Form::Message(&PARAMETER)),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        Field("tags", &[1], Form::Text),
        Field("description", &[3], Form::Text),
        Field("operationId", &[5], Form::Text),
        Field("produces", &[6], Form::Text),
        Field("consumes", &[7], Form::Text),
        Field("parameters", &[8, 1], Form::Message(&PARAMETER)),
        Field("responses", &[9], Form::Named(1, &[2, 1], &RESPONSE)),
        Field("schemes", &[10], Form::Text),
    ],
    extensions: 13,
};

/// Which of its forms a parameter has, `in` says: `message` wraps it before it comes here.
static PARAMETER: Message = Message {
    fields: &[
        Field("body", &[1], Form::Message(&BODY)),
        Field("query", &[2, 3], Form::Message(&IN_QUERY)),
        Field("path", &[2, 4], Form::Message(&IN_PATH)),
    ],
    extensions: 0,
};

static BODY: Message = Message {
    fields: &[
        Field("name", &[2], Form::Text),
        Field("in", &[3], Form::Text),
        Field("required", &[4], Form::Whole),
        Field("schema", &[5], Form::Message(&SCHEMA)),
    ],
    extensions: 6,
};

static IN_QUERY: Message = Message {
    fields: &[
        Field("in", &[2], Form::Text),
        Field("description", &[3], Form::Text),
        Field("name", &[4], Form::Text),
        Field("type", &[6], Form::Text),
        Field("uniqueItems", &[20], Form::Whole),
    ],
    extensions: 23,
};

static IN_PATH: Message = Message {
    fields: &[
        Field("required", &[1], Form::Whole),
        Field("in", &[2], Form::Text),
        Field("description", &[3], Form::Text),
        Field("name", &[4], Form::Text),
        Field("type", &[5], Form::Text),
        Field("uniqueItems", &[19], Form::Whole),
    ],
    extensions: 22,
};

static RESPONSE: Message = Message {
    fields: &[
        Field("description", &[1], Form::Text),
        Field("schema", &[2, 1], Form::Message(&SCHEMA)),
    ],
    extensions: 5,
};

static SCHEMA: Message = Message {
    fields: &[
        Field("$ref", &[1], Form::Text),
        Field("format", &[2], Form::Text),
        Field("title", &[3], Form::Text),
        Field("description", &[4], Form::Text),
        Field("multipleOf", &[6], Form::Float),
        Field("maximum", &[7], Form::Float),
        Field("exclusiveMaximum", &[8], Form::Whole),
        Field("minimum", &[9], Form::Float),
        Field("exclusiveMinimum", &[10], Form::Whole),
        Field("maxLength", &[11], Form::Whole),
        Field("minLength", &[12], Form::Whole),
        Field("pattern", &[13], Form::Text),
        Field("maxItems", &[14], Form::Whole),
        Field("minItems", &[15], Form::Whole),
        Field("uniqueItems", &[16], Form::Whole),
        Field("maxProperties", &[17], Form::Whole),
        Field("minProperties", &[18], Form::Whole),
        Field("required", &[19], Form::Text),
        Field("enum", &[20], Form::Any),
        Field("additionalProperties", &[21, 1], Form::Message(&SCHEMA)),
        Field("type", &[22, 1], Form::Text),
        Field("items", &[23, 1], Form::Message(&SCHEMA)),
        Field("properties", &[25], Form::Named(1, &[2], &SCHEMA)),
    ],
    extensions: 31,
};

/// Where `additionalProperties: true` goes.
const ANYTHING: &[u32] = &[21, 2];

/// Appends the fields of a message.
pub fn message(out: &mut Vec<u8>, of: &'static Message, value: &Value) {
    for Field(name, numbers, form) in of.fields {
        match value.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) => items.iter().for_each(|it| field(out, numbers, form, it)),
            Some(Value::Bool(_)) if *name == "additionalProperties" => {
                field(out, ANYTHING, &Form::Whole, &value[name]);
            }
            Some(one) => field(out, numbers, form, one),
        }
    }
    let all = value.as_object().into_iter().flatten();
    for (name, it) in all.filter(|(name, _)| of.extensions > 0 && name.starts_with("x-")) {
        let mut entry = Vec::new();
        field(&mut entry, &[1], &Form::Text, &Value::from(name.as_str()));
        field(&mut entry, &[2], &Form::Any, it);
        bytes(out, of.extensions, &entry);
    }
}

fn field(out: &mut Vec<u8>, numbers: &[u32], form: &Form, value: &Value) {
    if let [outer, inner @ ..] = numbers
        && !inner.is_empty()
    {
        let mut within = Vec::new();
        field(&mut within, inner, form, value);
        return bytes(out, *outer, &within);
    }
    let number = numbers[0];
    match form {
        Form::Text => bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Form::Whole => {
            let flag = value.as_bool().map(u64::from);
            let whole = flag.or(value.as_i64().map(i64::cast_unsigned));
            varint(out, u64::from(number) << 3);
            varint(out, whole.unwrap_or_default());
        }
        Form::Float => {
            varint(out, u64::from(number) << 3 | 1);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Form::Any => {
            // JSON is YAML.
            let mut any = Vec::new();
            bytes(&mut any, 2, value.to_string().as_bytes());
            bytes(out, number, &any);
        }
        Form::Message(of) => {
            let mut within = Vec::new();
            if std::ptr::eq(*of, &PARAMETER) {
                let place = value.get("in").and_then(Value::as_str).unwrap_or_default();
                message(&mut within, of, &skiff_json::json!({place: value}));
            } else {
                message(&mut within, of, value);
            }
            bytes(out, number, &within);
        }
        Form::Named(entries, numbers, of) => {
            let mut within = Vec::new();
            for (name, it) in value.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                bytes(&mut entry, 1, name.as_bytes());
                field(&mut entry, numbers, &Form::Message(of), it);
                bytes(&mut within, *entries, &entry);
            }
            bytes(out, number, &within);
        }
    }
}
