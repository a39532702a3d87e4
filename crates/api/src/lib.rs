//! What Kubernetes objects ARE: kinds, schemas, defaults, validation, patches, field ownership,
//! codecs.
//!
//! Pure: no IO, no async, no clock, no randomness. Everything that serves, stores or reacts reads
//! these tables.

pub mod apply;
pub mod duration;
pub mod errors;
pub mod ip;
pub mod json;
pub mod jsonpath;
pub mod kind;
pub mod kinds;
pub mod meta;
pub mod names;
pub mod object;
pub mod patch;
pub mod pieces;
pub mod pod_security;
pub mod protobuf;
pub mod quantity;
pub mod registry;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod time;
pub mod views;
pub mod wire;
pub mod yaml;

pub use object::Object;
pub use status::Status;
