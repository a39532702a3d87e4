//! What expressions evaluate to. Parts of an object are looked at where they lie, through the
//! declaration of their schema; nothing of the tree is copied.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_api::quantity::Quantity;
use skiff_json::Value as Json;

use crate::decl::{Compared, Decl, Shape};
use crate::library::format::Format;
use crate::library::semver::Semver;
use crate::library::url::Url;
use crate::run::RunError;

#[derive(Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Arc<[u8]>),
    /// In nanoseconds.
    Duration(i64),
    Time(jiff::Timestamp),
    /// The name of a type.
    Type(Arc<str>),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Arc<Value<'a>>>),
    /// Kept without a schema; can only be compared.
    Raw(&'a Json),
    Quantity(Arc<Quantity>),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    Url(Arc<Url>),
    Semver(Arc<Semver>),
    Format(&'static Format),
    Message(Arc<Message<'a>>),
    Fields(&'a dyn Fields),
    Host(Arc<dyn Host>),
}

/// A value of the caller whose fields are computed when they are asked for (`variables.x`).
pub trait Fields: Sync {
    /// The name of its type.
    fn kind(&self) -> &str;
    /// A field of it, if it has one of this name.
    fn field(&self, name: &str) -> Option<Result<Value<'_>, RunError>>;
}

/// A value of the caller that has functions of its own (`authorizer.group('')`).
pub trait Host: Send + Sync {
    /// The name of its type (`kubernetes.authorization.Authorizer`).
    fn kind(&self) -> &str;
    /// What a method called on it gives; its arguments are as declared.
    fn call(&self, method: &str, args: &[Value]) -> Result<Value<'static>, RunError>;
}

/// A message that an expression makes (`Object{spec: ...}`).
pub struct Message<'a> {
    pub name: Arc<str>,
    pub fields: BTreeMap<String, Value<'a>>,
}

#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

#[derive(Clone)]
pub enum List<'a> {
    Json(&'a Vec<Json>, &'a Decl),
    Owned(Arc<Vec<Value<'a>>>),
    /// One after the other: joining costs nothing, however often it is done.
    Joined(Arc<(List<'a>, List<'a>, usize)>),
}

#[derive(Clone)]
pub enum Map<'a> {
    Json(&'a skiff_json::Map, &'a Decl),
    Owned(Arc<BTreeMap<Key<'a>, Value<'a>>>),
}

/// What may be a key of a map; numbers are one kind, whatever they were written as.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    Bool(bool),
    Number(i128),
    Text(Cow<'a, str>),
}

/// No list of an object has as many elements (a request has 3 MiB); a longer one is a bomb.
const LONGEST_WALK: usize = 4_000_000;

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Text::Borrowed(it) => it,
            Text::Shared(it) => it,
        }
    }
}

impl<'a> Value<'a> {
    pub fn text(it: impl Into<Arc<str>>) -> Value<'a> {
        Value::Text(Text::Shared(it.into()))
    }

    pub fn list(it: Vec<Value<'a>>) -> Value<'a> {
        Value::List(List::Owned(Arc::new(it)))
    }

    pub fn some(it: Value<'a>) -> Value<'a> {
        Value::Optional(Some(Arc::new(it)))
    }

    pub fn kind(name: &str) -> Value<'a> {
        Value::Type(name.into())
    }

    /// A part of an object, as its declaration says that it is read.
    pub fn of(json: &'a Json, decl: &'a Decl) -> Result<Value<'a>, RunError> {
        let wrong = |what: &str| Err(RunError::of(format!("invalid data, expected {what}")));
        Ok(match (&decl.shape, json) {
            (Shape::Dyn, it) => return Ok(Value::untyped(it)),
            (Shape::Opaque, it) => Value::Raw(it),
            (_, Json::Null) if decl.nullable => Value::Null,
            (_, Json::Null) => {
                let message = "invalid data, got null for schema with nullable=false";
                return Err(RunError::of(message));
            }
            (Shape::Bool, Json::Bool(it)) => Value::Bool(*it),
            (Shape::Int, Json::Number(it)) => match it.as_i64() {
                Some(it) => Value::Int(it),
                None => match it.as_f64().filter(|it| it.fract() == 0.0) {
                    Some(it) => Value::Int(it as i64),
                    None => return wrong("int, got float64"),
                },
            },
            (Shape::Double, Json::Number(it)) => Value::Double(it.as_f64().unwrap_or(f64::NAN)),
            (Shape::String, Json::String(it)) => Value::Text(Text::Borrowed(it)),
            (Shape::IntOrString, Json::String(it)) => Value::Text(Text::Borrowed(it)),
            (Shape::IntOrString, Json::Number(it)) if it.is_i64() => {
                Value::Int(it.as_i64().unwrap_or_default())
            }
            (Shape::IntOrString, _) => {
                return wrong("XIntOrString value to be either a string or integer");
            }
            (Shape::List(..), Json::Array(it)) => Value::List(List::Json(it, decl)),
            (Shape::Map(_) | Shape::Object(_), Json::Object(it)) => Value::Map(Map::Json(it, decl)),
            (Shape::Bytes, Json::String(it)) => match STANDARD.decode(it) {
                Ok(bytes) => Value::Bytes(bytes.into()),
                Err(error) => {
                    let message = format!("Invalid byte formatted string {it}: {error}");
                    return Err(RunError::of(message));
                }
            },
            (Shape::Duration | Shape::Date | Shape::Timestamp, Json::String(it)) => {
                return crate::time::of_schema(it, &decl.shape);
            }
            (Shape::Bool, _) => return wrong("bool"),
            (Shape::Int, _) => return wrong("int"),
            (Shape::Double, _) => return wrong("float"),
            (Shape::List(..), _) => {
                return wrong("an array for the provided schema with type=array");
            }
            (Shape::Map(_) | Shape::Object(_), _) => {
                return wrong("a map for the provided schema with type=object");
            }
            (Shape::String | Shape::Bytes, _) => return wrong("string"),
            (Shape::Duration | Shape::Date | Shape::Timestamp, _) => return wrong("string"),
        })
    }

    /// JSON as it is: whole numbers are int, others double.
    pub fn untyped(json: &'a Json) -> Value<'a> {
        let decl: &'a Decl = Decl::dynamic();
        match json {
            Json::Null => Value::Null,
            Json::Bool(it) => Value::Bool(*it),
            Json::Number(it) => match it.as_i64() {
                Some(it) => Value::Int(it),
                None => Value::Double(it.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(it) => Value::Text(Text::Borrowed(it)),
            Json::Array(it) => Value::List(List::Json(it, decl)),
            Json::Object(it) => Value::Map(Map::Json(it, decl)),
        }
    }

    /// The name of its type.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Time(_) => "google.protobuf.Timestamp",
            Value::Type(_) => "type",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Optional(_) => "optional_type",
            Value::Raw(_) => "unknown",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Ip(_) => "net.IP",
            Value::Cidr(..) => "net.CIDR",
            Value::Url(_) => "kubernetes.URL",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
            Value::Message(it) => &it.name,
            Value::Fields(it) => it.kind(),
            Value::Host(it) => it.kind(),
        }
    }

    /// What the language's `size` says, and costs are reckoned by; 1 of what has no size.
    pub fn size(&self) -> u64 {
        match self {
            Value::Text(it) => characters(it.as_str()) as u64,
            Value::Bytes(it) => it.len() as u64,
            Value::List(it) => it.len() as u64,
            Value::Map(it) => it.len() as u64,
            Value::Ip(IpAddr::V4(_)) | Value::Cidr(IpAddr::V4(_), _) => 4,
            Value::Ip(IpAddr::V6(_)) | Value::Cidr(IpAddr::V6(_), _) => 16,
            Value::Optional(Some(it)) => it.size(),
            _ => 1,
        }
    }

    /// What a walk over the whole value costs.
    pub fn walk_cost(&self) -> Result<u64, RunError> {
        Ok(match self {
            Value::Text(it) => (it.as_str().len() as f64 * 0.1) as u64,
            Value::Bytes(it) => (it.len() as f64 * 0.1) as u64,
            Value::List(it) => {
                let mut cost = 0u64;
                it.each(|it| {
                    cost = cost.saturating_add(it.walk_cost()?);
                    Ok(true)
                })?;
                cost
            }
            Value::Map(it) => {
                let mut cost = 0u64;
                for (key, value) in it.entries()? {
                    cost = cost.saturating_add(key.into_value().walk_cost()?);
                    cost = cost.saturating_add(value?.walk_cost()?);
                }
                cost
            }
            _ => 1,
        })
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(it) => Some(it.as_str()),
            _ => None,
        }
    }

    pub fn is_true(&self) -> bool {
        matches!(self, Value::Bool(true))
    }

    /// Empty, zero or null (`optional.ofNonZeroValue`).
    pub fn is_zero(&self) -> bool {
        match self {
            Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) => true,
            Value::Duration(0) | Value::Optional(None) => true,
            Value::Double(it) => *it == 0.0,
            Value::Time(it) => it.as_second() == -62_135_596_800,
            Value::Text(it) => it.as_str().is_empty(),
            Value::Bytes(it) => it.is_empty(),
            Value::List(it) => it.is_empty(),
            Value::Map(it) => it.is_empty(),
            Value::Message(it) => it.fields.is_empty(),
            _ => false,
        }
    }

    /// The key that this value is in a map.
    pub fn as_key(&self) -> Option<Key<'_>> {
        Some(match self {
            Value::Bool(it) => Key::Bool(*it),
            Value::Int(it) => Key::Number(i128::from(*it)),
            Value::Uint(it) => Key::Number(i128::from(*it)),
            Value::Double(it) if it.fract() == 0.0 => Key::Number(*it as i128),
            Value::Text(it) => Key::Text(Cow::Borrowed(it.as_str())),
            _ => return None,
        })
    }

    pub fn to_key(&self) -> Option<Key<'a>> {
        Some(match self {
            Value::Text(Text::Borrowed(it)) => Key::Text(Cow::Borrowed(it)),
            other => match other.as_key()? {
                Key::Text(it) => Key::Text(Cow::Owned(it.into_owned())),
                Key::Bool(it) => Key::Bool(it),
                Key::Number(it) => Key::Number(it),
            },
        })
    }

    /// As JSON, for callers that keep what an expression made.
    pub fn to_json(&self) -> Result<Json, RunError> {
        Ok(match self {
            Value::Null | Value::Optional(None) => Json::Null,
            Value::Optional(Some(it)) => it.to_json()?,
            Value::Bool(it) => (*it).into(),
            Value::Int(it) => (*it).into(),
            Value::Uint(it) => (*it).into(),
            Value::Double(it) => (*it).into(),
            Value::Raw(it) => (*it).clone(),
            Value::Bytes(it) => STANDARD.encode(it).into(),
            Value::List(it) => {
                let mut made = Vec::new();
                it.each(|it| {
                    made.push(it.to_json()?);
                    Ok(true)
                })?;
                made.into()
            }
            Value::Map(Map::Json(it, _)) => Json::Object((*it).clone()),
            Value::Map(Map::Owned(it)) => {
                let mut made = skiff_json::Map::new();
                for (key, value) in it.iter() {
                    made.insert(key.to_field()?.to_owned(), value.to_json()?);
                }
                Json::Object(made)
            }
            Value::Message(it) => {
                let mut made = skiff_json::Map::new();
                for (key, value) in &it.fields {
                    let value = value.to_json().map_err(|error| {
                        RunError::of(format!("fail to convert field {key:?}: {error}"))
                    })?;
                    made.insert(key.clone(), value);
                }
                Json::Object(made)
            }
            other => crate::library::convert::to_text(other)?.into(),
        })
    }
}

/// Characters of a text; those of ASCII are counted by its length.
pub fn characters(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            List::Json(it, _) => it.len(),
            List::Owned(it) => it.len(),
            List::Joined(it) => it.2,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn decl(of: &'a Decl) -> &'a Decl {
        of.elements().unwrap_or_else(|| Decl::dynamic())
    }

    pub fn get(&self, index: usize) -> Option<Result<Value<'a>, RunError>> {
        let (mut list, mut index) = (self, index);
        loop {
            match list {
                List::Json(it, decl) => {
                    return it.get(index).map(|it| Value::of(it, Self::decl(decl)));
                }
                List::Owned(it) => return it.get(index).cloned().map(Ok),
                List::Joined(it) if index < it.0.len() => list = &it.0,
                List::Joined(it) => {
                    index -= it.0.len();
                    list = &it.1;
                }
            }
        }
    }

    /// Hands out each element until one is answered with false.
    pub fn each(
        &self,
        mut to: impl FnMut(Value<'a>) -> Result<bool, RunError>,
    ) -> Result<(), RunError> {
        if self.len() > LONGEST_WALK {
            return Err(RunError::Cost);
        }
        let mut left = vec![self];
        while let Some(list) = left.pop() {
            match list {
                List::Json(it, decl) => {
                    let decl = Self::decl(decl);
                    for it in it.iter() {
                        if !to(Value::of(it, decl)?)? {
                            return Ok(());
                        }
                    }
                }
                List::Owned(it) => {
                    for it in it.iter() {
                        if !to(it.clone())? {
                            return Ok(());
                        }
                    }
                }
                List::Joined(it) => {
                    left.push(&it.1);
                    left.push(&it.0);
                }
            }
        }
        Ok(())
    }

    pub fn to_vec(&self) -> Result<Vec<Value<'a>>, RunError> {
        let mut all = Vec::with_capacity(self.len().min(1024));
        self.each(|it| {
            all.push(it);
            Ok(true)
        })?;
        Ok(all)
    }

    /// How its schema says that it is compared.
    pub fn compared(&self) -> &'a Compared {
        match self {
            List::Json(_, Decl { shape: Shape::List(_, compared), .. }) => compared,
            _ => &Compared::InOrder,
        }
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Map::Json(it, _) => it.len(),
            Map::Owned(it) => it.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A field by its name in JSON, or an entry by its key.
    pub fn get_text(&self, name: &str) -> Option<Result<Value<'a>, RunError>> {
        match self {
            Map::Json(it, decl) => {
                let found = it.get(name)?;
                let of = match &decl.shape {
                    Shape::Map(of) => of,
                    Shape::Object(_) if found.is_null() => return None,
                    Shape::Object(it) => it.known.get(name)?,
                    _ => return Some(Ok(Value::untyped(found))),
                };
                Some(Value::of(found, of))
            }
            Map::Owned(it) => it.get(&Key::Text(Cow::Borrowed(name))).cloned().map(Ok),
        }
    }

    /// An entry by its key; the fields of objects by their names in expressions.
    pub fn get(&self, key: &Value) -> Option<Result<Value<'a>, RunError>> {
        match (self, key) {
            (Map::Json(_, Decl { shape: Shape::Object(_), .. }), Value::Text(it)) => {
                self.get_text(&crate::decl::unescape(it.as_str())?)
            }
            (Map::Json(..), Value::Text(it)) => self.get_text(it.as_str()),
            (Map::Json(..), _) => Some(Err(RunError::no_overload())),
            (Map::Owned(it), key) => it.get(&key.as_key()?).cloned().map(Ok),
        }
    }

    /// Keys as expressions see them, in order.
    pub fn keys(&self) -> Result<Vec<Key<'a>>, RunError> {
        Ok(self.entries()?.into_iter().map(|it| it.0).collect())
    }

    pub fn entries(&self) -> Result<Vec<(Key<'a>, Result<Value<'a>, RunError>)>, RunError> {
        if self.len() > LONGEST_WALK {
            return Err(RunError::Cost);
        }
        Ok(match self {
            Map::Owned(it) => it.iter().map(|it| (it.0.clone(), Ok(it.1.clone()))).collect(),
            Map::Json(it, decl) => {
                let entry = |(name, value): (&'a String, &'a Json)| {
                    let plain = Cow::Borrowed(name.as_str());
                    Some(match &decl.shape {
                        Shape::Map(of) => (Key::Text(plain), Value::of(value, of)),
                        Shape::Object(it) => {
                            let of = it.known.get(name)?;
                            let escaped = crate::decl::escape(name).map_or(plain, Cow::Owned);
                            (Key::Text(escaped), Value::of(value, of))
                        }
                        _ => (Key::Text(plain), Ok(Value::untyped(value))),
                    })
                };
                it.iter().filter_map(entry).collect()
            }
        })
    }
}

impl<'a> Key<'a> {
    /// As the name of a field in JSON, which only a text can be.
    ///
    /// # Errors
    /// In the words of Go, which quotes numbers as characters.
    pub fn to_field(&self) -> Result<&str, RunError> {
        let (shown, of) = match self {
            Key::Text(it) => return Ok(it),
            Key::Bool(it) => (format!("%!q(types.Bool={it})"), "Bool"),
            Key::Number(it) => {
                let char = u32::try_from(*it).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
                let shown = match char {
                    '\n' | '\r' | '\t' | '\\' | '\'' => format!("'{}'", char.escape_default()),
                    '\0'..'\u{20}' | '\x7f' => format!("'\\x{:02x}'", u32::from(char)),
                    other => format!("'{other}'"),
                };
                (shown, if i64::try_from(*it).is_ok() { "Int" } else { "Uint" })
            }
        };
        Err(RunError::of(format!("map key {shown} is of type types.{of}, not string")))
    }

    pub fn into_value(self) -> Value<'a> {
        match self {
            Key::Bool(it) => Value::Bool(it),
            Key::Number(it) => i64::try_from(it).map_or(Value::Uint(it as u64), Value::Int),
            Key::Text(Cow::Borrowed(it)) => Value::Text(Text::Borrowed(it)),
            Key::Text(Cow::Owned(it)) => Value::text(it),
        }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Key::Bool(it) => write!(to, "{it}"),
            Key::Number(it) => write!(to, "{it}"),
            Key::Text(it) => to.write_str(it),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        match self.to_json() {
            Ok(it) => write!(to, "{it}"),
            Err(error) => write!(to, "<{}: {error}>", self.type_name()),
        }
    }
}
