//! The registry as the server keeps it and shows it: custom resources come and go in it, discovery and OpenAPI are read
//! off it.

pub mod custom;
pub(crate) mod discovery;
pub(crate) mod openapi;
