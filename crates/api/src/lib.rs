//! What Kubernetes objects ARE: kinds, schemas, defaults, validation, patches, field ownership, codecs.
//!
//! Pure: no IO, no async, no clock, no randomness. Everything that serves, stores or reacts reads these tables.

pub mod duration;
pub mod quantity;
pub mod schema;
pub mod time;
