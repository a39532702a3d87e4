//! A machine as a value: the namespaces, cgroups and folder that one Skiff runs in.
//!
//! The host is a machine ([`Machine::host`]); so is a "machine in a namespace", with a network,
//! mounts, processes, host name and cgroups of its own, which `skiff -p NAME` and the test kit use.
//! Code that takes a [`Machine`] works in both without a difference.
//!
//! A machine in a namespace stands on one small process, its init: it is process 1 in there, reaps
//! what nobody waits for, and its life is the machine's. Killing it is pulling the plug: the kernel
//! ends every process inside, then mounts and network go by themselves. Nothing has to be found and
//! undone, and nothing is pinned by a bind mount somewhere. A [`Registry`], a folder, remembers
//! which machines there are, so that any later process can open or destroy them.
//!
//! Never here: Kubernetes, a choice of addresses or names, a path that the caller did not give.

mod cgroup;
mod enter;
pub mod error;
mod init;
pub mod machine;
pub mod memory;
mod process;
mod record;
pub mod registry;
#[cfg(test)]
mod tests;
mod uplink;

pub use error::{Error, Result};
pub use machine::Machine;
pub use registry::{Registry, Spec};
pub use uplink::Uplink;
