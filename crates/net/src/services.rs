//! Service tables.
//!
//! skeleton

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::{Cidr, NetNs, Protocol, Result};

/// Where the tables stand and what they need to know of the node.
#[derive(Clone, Debug)]
pub struct ServiceTableConfig {
    /// The machine's namespace.
    pub namespace: NetNs,
    /// Name of the nftables table (`skiff-services`).
    pub table: String,
    /// The range of all pods: sources that a Local external policy treats as its own.
    pub cluster: Cidr,
    /// The range of service addresses: packets to an address in it that no service has are dropped.
    pub services: Cidr,
    pub loopback_node_ports: LoopbackNodePorts,
}

/// Whether node ports answer on 127.0.0.1 too (from the node itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopbackNodePorts {
    Answer,
    Ignore,
}

/// One port of one service, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub protocol: Protocol,
    /// `None` for a service without a cluster address (headless ones are not given at all).
    pub cluster_ip: Option<Ipv4Addr>,
    pub port: u16,
    pub node_port: Option<u16>,
    /// External addresses and load balancer addresses, as plain addresses.
    pub external_ips: Vec<Ipv4Addr>,
    pub affinity: Affinity,
    pub internal_policy: TrafficPolicy,
    pub external_policy: TrafficPolicy,
    /// Those that shall get connections now. Whether a terminating one that still serves belongs
    /// here is the caller's decision.
    pub endpoints: Vec<Endpoint>,
}

/// Which endpoint a client's next connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    None,
    /// The same as its last one, if that was less than `timeout_s` ago and is still there.
    ClientIp {
        timeout_s: u32,
    },
}

/// Which endpoints traffic may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    Cluster,
    /// Only those of this node.
    Local,
}

/// Where a connection can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: Ipv4Addr,
    pub port: u16,
    pub locality: Locality,
}

/// Whether an endpoint runs on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Locality {
    ThisNode,
    OtherNode,
}

/// All service ports by name; `namespace/service:port` is usual, but any unique text will do.
pub type Desired = BTreeMap<Arc<str>, Arc<ServicePort>>;

/// One service port that is new or different (`Some`), or gone (`None`).
pub type Change = (Arc<str>, Option<Arc<ServicePort>>);

/// The service tables of one namespace.
pub struct ServiceTable {
    config: ServiceTableConfig,
}

impl ServiceTable {
    /// Nothing is sent yet: the first [`apply`](Self::apply) replaces, in one transaction, whatever
    /// an earlier process left, so that no connection sees a node without tables.
    pub fn open(config: ServiceTableConfig) -> Result<ServiceTable> {
        Ok(ServiceTable { config })
    }

    /// Makes the kernel hold exactly `desired`. Entries that are the same `Arc` cost one comparison.
    pub fn apply(&mut self, desired: &Desired) -> Result<()> {
        todo!("{:?} {:?}", desired, self.config)
    }

    /// Makes some changes; the cost depends on them alone, not on the number of services.
    pub fn change(&mut self, changes: &[Change]) -> Result<()> {
        todo!("{changes:?}")
    }

    /// Removes the tables.
    pub fn teardown(self) -> Result<()> {
        todo!()
    }
}
