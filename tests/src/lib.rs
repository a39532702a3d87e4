//! The black-box test kit: it drives the real `skiff` binary with the real kubectl and never looks
//! inside either.
//!
//! - [`cluster::Cluster`] starts a Skiff in a machine of its own; the files in `tests/tests/` are
//!   written against it.
//! - [`damage`] makes records on disk that nobody can decode.
//! - [`tearing`] is a disk that loses what was not made durable; [`promises`] says what must be on it.
//! - [`differential`] asks a cluster a few hundred questions and compares what a user sees with
//!   what upstream's own control plane answered.
//! - [`kit`] finds or makes the programs that both need.
//!
//! Nothing here may depend on another crate of the workspace than `skiff-machine`: a test that can
//! reach inside is no longer a user.

pub mod cluster;
pub mod damage;
pub mod differential;
pub mod kit;
pub mod kubectl;
pub mod load;
pub mod machine;
pub mod promises;
pub mod random;
pub mod tearing;

#[cfg(test)]
mod records;
