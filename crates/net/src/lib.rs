//! Network of a node: pod addresses and links, service tables, all by netlink.
//!
//! Two things stand here, and neither knows Kubernetes. [`PodNetwork`] gives each pod a link and
//! an address of its own; [`ServiceTable`] makes an address that nobody owns (a cluster address,
//! a node port) lead to one of several endpoints. Both are tables in the kernel. What should stand
//! in them is computed purely, the difference is sent in one transaction.
//!
//! Calls block, but on the kernel only and never on a peer: an attach takes one to two
//! milliseconds, a change of a service some ten microseconds. An async caller puts them on a
//! blocking thread.
//!
//! Never here: a Kubernetes object, an external program, a host path, a change outside the network
//! namespace that the caller named.

pub mod error;
mod legacy;
pub mod moves;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod passage;
pub mod pods;
pub mod protocol;
pub mod services;
pub mod watch;
pub mod way_out;

pub use error::{Error, Result};
pub use moves::Moves;
pub use namespace::NetNs;
pub use passage::Obstacle;
pub use pods::{Attach, Attachment, HostPort, PodNetwork, PodNetworkConfig, node_address};
pub use protocol::Protocol;
pub use services::{
    Affinity, Change, Desired, Endpoint, Locality, LoopbackNodePorts, ServicePort, ServiceStats,
    ServiceTable, ServiceTableConfig, TrafficPolicy,
};

#[cfg(test)]
mod testkit;
