//! Trees of JSON. An object of Kubernetes is mostly maps with few names: here such a map is one list in the order of
//! its names, so that `{"id":1}` takes 128 bytes and not 700, and a hostile list of a hundred thousand of them is no
//! burden. A map that grows large becomes a search tree, so that no order of inserts is slow.
//!
//! Texts are read and written by `serde_json`, whose functions stand here under their names; [`Value`] and [`Map`] have
//! the methods of its types.

mod map;
mod read;
mod value;

pub use map::{Entry, IntoIter, Iter, IterMut, Map};
pub use serde_json::{
    Deserializer, Error, Number, Result, Serializer, from_slice, from_str, ser, to_string,
    to_string_pretty, to_vec, to_writer,
};
pub use value::{Index, Value};

/// What `json!` is made of.
#[doc(hidden)]
pub use serde_json as text;

/// A tree, written as the JSON that it is; expressions stand for what they serialize to.
#[macro_export]
macro_rules! json {
    ($($part:tt)+) => { $crate::Value::from($crate::text::json!($($part)+)) };
}

/// The value that a tree describes.
///
/// # Errors
/// When it describes no such value.
pub fn from_value<T: serde::de::DeserializeOwned>(tree: Value) -> Result<T> {
    T::deserialize(tree)
}

/// The tree that describes a value.
///
/// # Errors
/// When it cannot be JSON: a map whose names are no texts.
pub fn to_value(value: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map(Value::from)
}
