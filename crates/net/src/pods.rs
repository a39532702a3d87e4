//! The pod network of a node: one link and one address per pod.
//!
//! skeleton

use std::net::Ipv4Addr;

use crate::{Cidr, NetNs, Protocol, Result};

/// Where and how pods are attached.
#[derive(Clone, Debug)]
pub struct PodNetworkConfig {
    /// The machine's namespace: node ends of links, routes, tables and sysctls live here.
    pub namespace: NetNs,
    /// Name of the node's own link in the pod network, at most 15 bytes (`skiff0`). All other
    /// names (tables, groups) derive from it, so two networks of one namespace need two names.
    pub link: String,
    /// The range of this node's pods. Its first address is the node's own.
    pub pods: Cidr,
    /// The range of all pods of the cluster: traffic into it keeps its source address.
    pub cluster: Cidr,
    /// The range of service addresses: the node gets a route for it.
    pub services: Cidr,
    /// Largest packet of a pod link; `None` takes that of the node's default route, else 1500.
    pub mtu: Option<u32>,
}

/// One pod that wants in.
#[derive(Clone, Debug)]
pub struct Attach<'a> {
    /// The sandbox's id; it is kept in the kernel beside the link, so that a restart finds it.
    pub id: &'a str,
    /// The pod's namespace.
    pub namespace: &'a NetNs,
    /// A wished address, or `None` for the lowest that is free and not just released.
    pub address: Option<Ipv4Addr>,
    pub host_ports: &'a [HostPort],
}

/// A port of the node that leads to a port of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: Protocol,
    /// `None`: on every address of the node.
    pub host_ip: Option<Ipv4Addr>,
    pub host_port: u16,
    pub container_port: u16,
}

/// A pod that is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub id: String,
    pub address: Ipv4Addr,
    /// The node's address as the pod sees it, its only next hop.
    pub gateway: Ipv4Addr,
    /// Index of the node's end of the link.
    pub link: u32,
    pub host_ports: Vec<HostPort>,
}

/// The pod network of one node.
pub struct PodNetwork {
    config: PodNetworkConfig,
}

impl PodNetwork {
    /// Makes the network, or adopts what an earlier process of this node left: the state is what
    /// exists in the kernel.
    pub fn open(config: PodNetworkConfig) -> Result<PodNetwork> {
        Ok(PodNetwork { config })
    }

    /// Gives the pod its link, address, routes and host ports. One to two milliseconds.
    pub fn attach(&self, pod: &Attach<'_>) -> Result<Attachment> {
        todo!("{:?} {:?}", pod, self.config)
    }

    /// Takes the pod out. Address and ports are free at once; the link goes soon after, together
    /// with others and never in the way of an attach. Unknown ids are fine.
    pub fn detach(&self, id: &str) -> Result<()> {
        todo!("{id}")
    }

    /// The pods that are in, by id.
    pub fn attachments(&self) -> Vec<Attachment> {
        todo!()
    }

    /// The node's own address in the pod network.
    pub fn gateway(&self) -> Ipv4Addr {
        todo!()
    }

    /// Waits until every link of a detached pod is gone.
    pub fn settle(&self) -> Result<()> {
        todo!()
    }

    /// Removes every trace: links, routes, tables; sysctls get their former values back.
    pub fn teardown(self) -> Result<()> {
        todo!()
    }
}

/// The address that the node is known by: that of the default route's link, else the first address
/// of the first link that is up and not a loopback.
pub fn node_address(namespace: &NetNs) -> Result<Ipv4Addr> {
    todo!("{namespace:?}")
}
