//! From a container of a pod to what the runtime is asked for: pure, one file per decision.
//!
//! Never here: IO. What has to be read (config maps, images, passwd files) comes in as values.

pub mod command;
pub mod env;
pub mod expand;
pub mod fields;
pub mod identity;
pub mod limits;
pub mod mounts;
pub mod security;
pub mod service_env;
