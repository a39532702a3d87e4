//! The apps group, `/apis/apps/v1`.

pub mod deployment;
pub mod replicaset;
mod template;
