//! A machine as a value: the namespaces, cgroups and folder that one Skiff runs in.
//!
//! The host is a machine ([`Machine::host`]); so is a "machine in a namespace", with a network,
//! mounts, processes and cgroups of its own, which `skiff -p NAME` and the test kit use. Code that
//! takes a [`Machine`] runs in both without a difference. What makes a machine stand is kept where
//! any later process finds it again: an init process, bind mounts of its namespaces and one folder
//! below the registry.
//!
//! Never here: Kubernetes, a choice of addresses or names, a host path that the caller did not give.

pub mod error;
pub mod machine;

pub use error::{Error, Result};
pub use machine::{Machine, Registry, Spec, Uplink};
