//! What Kubernetes objects ARE: kinds, schemas, defaults, validation, patches, field ownership,
//! codecs.
//!
//! Pure: no IO, no async, no clock, no randomness. Everything that serves, stores or reacts reads
//! these tables.

pub mod apply;
pub mod json;
pub mod jsonpath;
pub mod patch;
pub mod schema;
pub mod selector;
pub mod yaml;
