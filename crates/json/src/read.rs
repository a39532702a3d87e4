//! Trees from texts, and values from trees.

use crate::{Error, Map, Value};
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{
    Deserialize, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;
use serde::ser::{Serialize, Serializer};
use std::fmt;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => to.serialize_unit(),
            Value::Bool(value) => to.serialize_bool(*value),
            Value::Number(number) => number.serialize(to),
            Value::String(text) => to.serialize_str(text),
            Value::Array(list) => list.serialize(to),
            Value::Object(map) => map.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any valid JSON value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(Value::String(value))
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
                Value::deserialize(from)
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = all.next_element()? {
                    list.push(value);
                }
                Ok(Value::Array(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, all: A) -> Result<Value, A::Error> {
                Map::deserialize(MapAccessDeserializer::new(all)).map(Value::Object)
            }
        }

        from.deserialize_any(Any)
    }
}

/// What stands there, for an error that wanted something else.
fn found(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(_) => match (value.as_u64(), value.as_i64(), value.as_f64()) {
            (Some(number), ..) => Unexpected::Unsigned(number),
            (_, Some(number), _) => Unexpected::Signed(number),
            (.., number) => Unexpected::Float(number.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

/// A tree is read like a text, whether it may be taken apart or is only looked at.
macro_rules! reads {
    ($type_:ty, |$text:ident| $visit:ident($shown:expr), |$map:ident| $pairs:expr) => {
        impl<'de> Deserializer<'de> for $type_ {
            type Error = Error;

            fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                match self {
                    Value::Null => visitor.visit_unit(),
                    Value::Bool(value) => visitor.visit_bool(value.clone()),
                    Value::Number(number) => number.deserialize_any(visitor),
                    Value::String($text) => visitor.$visit($shown),
                    Value::Array(list) => {
                        let mut all = SeqDeserializer::new(list.into_iter());
                        let read = visitor.visit_seq(&mut all)?;
                        all.end().map(|()| read)
                    }
                    Value::Object($map) => {
                        let mut all = MapDeserializer::new($pairs);
                        let read = visitor.visit_map(&mut all)?;
                        all.end().map(|()| read)
                    }
                }
            }

            fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                match self.is_null() {
                    true => visitor.visit_none(),
                    false => visitor.visit_some(self),
                }
            }

            fn deserialize_newtype_struct<V: Visitor<'de>>(
                self,
                _: &'static str,
                visitor: V,
            ) -> Result<V::Value, Error> {
                visitor.visit_newtype_struct(self)
            }

            fn deserialize_enum<V: Visitor<'de>>(
                self,
                _: &'static str,
                _: &'static [&'static str],
                visitor: V,
            ) -> Result<V::Value, Error> {
                match self {
                    Value::String($text) => visitor.visit_enum($shown.into_deserializer()),
                    Value::Object($map) if $map.len() == 1 => {
                        visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new($pairs)))
                    }
                    other => Err(Error::invalid_type(found(&other), &"string or map")),
                }
            }

            forward_to_deserialize_any! {
                bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
                unit_struct seq tuple tuple_struct map struct identifier ignored_any
            }
        }

        impl<'de> IntoDeserializer<'de, Error> for $type_ {
            type Deserializer = Self;

            fn into_deserializer(self) -> Self {
                self
            }
        }
    };
}

reads!(Value, |text| visit_string(text), |map| map.into_iter());
reads!(&'de Value, |text| visit_borrowed_str(text.as_str()), |map| map
    .iter()
    .map(|(name, value)| (name.as_str(), value)));
