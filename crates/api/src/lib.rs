//! What Kubernetes objects ARE: what a kind is, schemas, defaults, patches, field ownership, codecs.
//!
//! Pure: no IO, no async, no clock, no randomness. It names no kind: the built-in ones are `skiff-kinds`, and whoever
//! needs them hands them in.

pub mod apply;
pub mod duration;
pub mod errors;
pub mod follow;
pub mod ip;
pub mod json;
pub mod jsonpath;
pub mod kind;
pub mod meta;
pub mod names;
pub mod object;
pub mod patch;
pub mod pieces;
pub mod protobuf;
pub mod quantity;
pub mod registry;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod time;
pub mod view;
pub mod wire;
pub mod yaml;

pub use object::Object;
pub use status::Status;
