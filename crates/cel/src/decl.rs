//! What a schema says of a value: its type in expressions, the fields that can be named, how its
//! lists are compared, and how large it may become (for the estimate of costs).
//!
//! Values are read through a declaration where they lie: the JSON tree is never copied.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use skiff_json::Value as Json;

use crate::types::Type;

/// Upstream's bound of a request, from which it reckons what fits into one.
const REQUEST_BYTES: u64 = 3 * 1024 * 1024;

#[derive(Debug)]
pub struct Decl {
    pub shape: Shape,
    pub nullable: bool,
    /// The most elements or characters; 0 where the size is fixed.
    pub max: u64,
    /// The fewest bytes that it takes in JSON.
    pub min_bytes: u64,
}

#[derive(Debug)]
pub enum Shape {
    /// Whatever it is; typed when it is read.
    Dyn,
    /// Kept without a schema: it can be compared and nothing else.
    Opaque,
    IntOrString,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Duration,
    Date,
    Timestamp,
    List(Arc<Decl>, Compared),
    Map(Arc<Decl>),
    Object(Object),
}

/// How lists of a schema are compared and joined (`x-kubernetes-list-type`).
#[derive(Debug, PartialEq, Eq)]
pub enum Compared {
    InOrder,
    AsSet,
    /// By these fields of the elements.
    ByKeys(Vec<String>),
}

#[derive(Debug)]
pub struct Object {
    pub name: Arc<str>,
    /// By the name in expressions, which is escaped.
    pub fields: HashMap<String, Arc<Decl>>,
    /// Fields by their name in JSON, also those that no expression can name.
    pub known: HashMap<String, Arc<Decl>>,
}

/// Whether a schema is that of a whole object, whose kind and name are always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Root,
    Within,
}

impl Place {
    /// That of a schema within another.
    pub fn of(schema: &Json) -> Place {
        match schema["x-kubernetes-embedded-resource"] == true {
            true => Place::Root,
            false => Place::Within,
        }
    }
}

static DYN: LazyLock<Arc<Decl>> = LazyLock::new(|| Arc::new(Decl::simple(Shape::Dyn, 0, 1)));

impl Decl {
    /// Of a value without a schema.
    pub fn dynamic() -> &'static Arc<Decl> {
        &DYN
    }

    /// What a structural schema declares; none if nothing of it may be named in expressions.
    /// `name` is that of its type, if it is an object.
    pub fn of(schema: &Json, place: Place, name: &str) -> Option<Arc<Decl>> {
        let mut decl = declared(schema, place, name)?;
        decl.nullable = schema["nullable"] == true;
        Some(Arc::new(decl))
    }

    fn simple(shape: Shape, max: u64, min_bytes: u64) -> Decl {
        Decl { shape, nullable: false, max, min_bytes }
    }

    /// The type that expressions see.
    pub fn kind(self: &Arc<Decl>) -> Type {
        match &self.shape {
            Shape::Dyn | Shape::IntOrString | Shape::Opaque => Type::Dyn,
            Shape::Bool => Type::Bool,
            Shape::Int => Type::Int,
            Shape::Double => Type::Double,
            Shape::String => Type::String,
            Shape::Bytes => Type::Bytes,
            Shape::Duration => Type::Duration,
            Shape::Date | Shape::Timestamp => Type::Timestamp,
            Shape::List(of, _) => Type::list(of.kind()),
            Shape::Map(of) => Type::map(Type::String, of.kind()),
            Shape::Object(it) => Type::Object(it.name.clone(), Some(self.clone())),
        }
    }

    /// The declaration of the elements of a list or a map.
    pub fn elements(&self) -> Option<&Arc<Decl>> {
        match &self.shape {
            Shape::List(of, _) | Shape::Map(of) => Some(of),
            _ => None,
        }
    }

    pub fn field(&self, escaped: &str) -> Option<&Arc<Decl>> {
        match &self.shape {
            Shape::Object(it) => it.fields.get(escaped),
            _ => None,
        }
    }

    /// A field whose name is a reserved word may be selected by that word.
    pub fn keyword(&self, field: &str) -> Option<&Arc<Decl>> {
        RESERVED.contains(&field).then(|| self.field(&format!("__{field}__"))).flatten()
    }

    /// How often a value of at least this size may occur in one request.
    pub fn cardinality(&self) -> u64 {
        REQUEST_BYTES / (self.min_bytes + 1)
    }
}

fn declared(schema: &Json, place: Place, name: &str) -> Option<Decl> {
    let max_length = || schema["maxLength"].as_i64().map(|it| it.max(0) as u64);
    if schema["x-kubernetes-int-or-string"] == true {
        let max = max_length().map_or(REQUEST_BYTES - 2, |it| it * 4);
        return Some(Decl::simple(Shape::IntOrString, max, 1));
    }
    let kind = schema["type"].as_str().unwrap_or_default();
    if place == Place::Root {
        return object(schema, place, name);
    }
    match kind {
        "array" => list(schema, name),
        "object" => match schema["additionalProperties"].is_object() {
            true => map(schema, name),
            false => object(schema, place, name),
        },
        "string" => Some(match schema["format"].as_str().unwrap_or_default() {
            "byte" => Decl::simple(Shape::Bytes, max_length().unwrap_or(REQUEST_BYTES - 2), 2),
            "duration" => Decl::simple(Shape::Duration, 32, 3),
            "date" => Decl::simple(Shape::Date, 12, 12),
            "date-time" => Decl::simple(Shape::Timestamp, 32, 21),
            _ => {
                let listed = schema["enum"].as_array().filter(|it| !it.is_empty());
                let longest = listed.map(|it| {
                    it.iter().filter_map(Json::as_str).map(str::len).max().unwrap_or(0) as u64
                });
                let max = max_length().map(|it| it * 4).or(longest).unwrap_or(REQUEST_BYTES - 2);
                Decl::simple(Shape::String, max, 2)
            }
        }),
        "boolean" => Some(Decl::simple(Shape::Bool, 0, 4)),
        "number" => Some(Decl::simple(Shape::Double, 0, 1)),
        "integer" => Some(Decl::simple(Shape::Int, 0, 1)),
        _ => None,
    }
}

fn list(schema: &Json, name: &str) -> Option<Decl> {
    let items = &schema["items"];
    let of = Decl::of(items, Place::of(items), &format!("{name}.@idx"))?;
    let said = schema["maxItems"].as_i64().map(|it| it.max(0) as u64);
    let max = said.unwrap_or((REQUEST_BYTES - 2) / (of.min_bytes + 1));
    let keys = || {
        let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
        keys.filter_map(|it| it.as_str().map(str::to_string)).collect()
    };
    let compared = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Compared::AsSet,
        Some("map") => Compared::ByKeys(keys()),
        _ => Compared::InOrder,
    };
    Some(Decl::simple(Shape::List(of, compared), max, 2))
}

fn map(schema: &Json, name: &str) -> Option<Decl> {
    let values = &schema["additionalProperties"];
    let of = Decl::of(values, Place::of(values), &format!("{name}.@elem"))?;
    let said = schema["maxProperties"].as_i64().map(|it| it.max(0) as u64);
    let max = said.unwrap_or((REQUEST_BYTES - 2) / (of.min_bytes + 6));
    Some(Decl::simple(Shape::Map(of), max, 2))
}

fn object(schema: &Json, place: Place, name: &str) -> Option<Decl> {
    let (mut fields, mut known) = (HashMap::new(), HashMap::new());
    let mut min_bytes = 2;
    let required = |field: &str| {
        schema["required"].as_array().is_some_and(|it| it.iter().any(|it| it == field))
    };
    let mut add = |field: &str, schema: &Json, min_bytes: &mut u64| {
        let escaped = escape(field);
        let type_name = format!("{name}.{}", escaped.as_deref().unwrap_or(field));
        let Some(decl) = Decl::of(schema, Place::of(schema), &type_name) else { return };
        if required(field) && schema["default"].is_null() {
            *min_bytes += field.len() as u64 + decl.min_bytes + 4;
        }
        if let Some(escaped) = escaped {
            fields.insert(escaped, decl.clone());
        }
        known.insert(field.to_string(), decl);
    };
    for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
        let implied = ["kind", "apiVersion", "metadata"].contains(&field.as_str());
        if place == Place::Within || !implied {
            add(field, schema, &mut min_bytes);
        }
    }
    if place == Place::Root {
        let string = skiff_json::json!({"type": "string"});
        add("kind", &string, &mut min_bytes);
        add("apiVersion", &string, &mut min_bytes);
        let said = &schema["properties"]["metadata"];
        let names = ["name", "generateName"];
        match names.iter().all(|it| said["properties"][it]["type"] == "string") {
            true => add("metadata", said, &mut min_bytes),
            false => {
                let meta = skiff_json::json!({
                    "type": "object", "properties": {"name": string, "generateName": string},
                });
                add("metadata", &meta, &mut min_bytes);
            }
        }
    }
    let shape = Shape::Object(Object { name: name.into(), fields, known });
    Some(Decl::simple(shape, 0, min_bytes))
}

/// Words that cannot be identifiers, and stand between underscores instead.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The identifier that stands for a property in expressions; none if none can.
pub fn escape(property: &str) -> Option<String> {
    if RESERVED.contains(&property) {
        return Some(format!("__{property}__"));
    }
    if property.is_empty() || property.starts_with(|it: char| it.is_ascii_digit()) {
        return None;
    }
    let mut escaped = String::with_capacity(property.len());
    let mut rest = property;
    while let Some(first) = rest.chars().next() {
        let (taken, text) = match first {
            '_' if rest.starts_with("__") => (2, "__underscores__"),
            '.' => (1, "__dot__"),
            '-' => (1, "__dash__"),
            '/' => (1, "__slash__"),
            _ if first.is_ascii_alphanumeric() || first == '_' => (1, &rest[..1]),
            _ => return None,
        };
        escaped.push_str(text);
        rest = &rest[taken..];
    }
    Some(escaped)
}

/// The property that an identifier in an expression stands for.
pub fn unescape(identifier: &str) -> Option<std::borrow::Cow<'_, str>> {
    if !identifier.contains("__") {
        return Some(identifier.into());
    }
    let mut property = String::new();
    let mut rest = identifier;
    while let Some(at) = rest.find("__") {
        property.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let Some(end) = inner.find("__").filter(|end| *end > 0 && !inner[..*end].contains('_'))
        else {
            property.push_str("__");
            rest = inner;
            continue;
        };
        match &inner[..end] {
            "underscores" => property.push_str("__"),
            "dot" => property.push('.'),
            "dash" => property.push('-'),
            "slash" => property.push('/'),
            word if RESERVED.contains(&word) && identifier.len() == end + 4 => {
                property.push_str(word);
            }
            _ => return None,
        }
        rest = &inner[end + 2..];
    }
    property.push_str(rest);
    Some(property.into())
}
