//! The pod network of a node: one link and one address per pod.
//!
//! Each pod has an address of its own, a /32, and a cable (veth) whose other end stays with the
//! node. There is no switch: the node routes, with one route per pod, and is the pod's only next
//! hop. So every packet of a pod, also one to its neighbour on the same node, passes the node's
//! packet rules and its connection tracking; through a bridge the answers between two pods of one
//! node would go past both, and services between them would break. Neighbour entries are written
//! on both ends, so nobody asks by ARP and nobody can lie by it.
//!
//! The node's own link (`skiff0`) is a bridge without ports, used as a place: it holds the node's
//! address in the pod network (the first of the range), the route for service addresses, so that a
//! node without a default route reaches services, and the settings to restore in the end.
//!
//! The state is what exists in the kernel: links in a group of their own, the sandbox's id beside
//! the link, the address in the route, host ports in a map. A restart reads that.
//!
//! Never here: a wait on a peer, a change that `teardown` does not take back.

mod address_pool;
mod attach;
#[cfg(test)]
mod forged;
mod recover;
mod remove;
mod rules;
mod stale;
pub(crate) mod sysctl;
#[cfg(test)]
mod tests;

use skiff_base::{Cidr, Fnv, Lock};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::MutexGuard;

use self::address_pool::AddressPool;
use self::remove::Remover;
use crate::netlink::route;
use crate::netlink::socket::{Family, Socket};
use crate::passage::{self, Obstacle};
use crate::watch::Watch;
use crate::{Error, NetNs, Protocol, Result};

/// Where and how pods are attached.
#[derive(Clone, Debug)]
pub struct PodNetworkConfig {
    /// The machine's namespace: node ends of links, routes, tables and sysctls live here.
    pub namespace: NetNs,
    /// Name of the node's own link in the pod network, at most 15 bytes (`skiff0`). All other
    /// names (table, groups) derive from it, so two networks of one namespace need two names.
    pub link: String,
    /// The range of this node's pods. Its first address is the node's own.
    pub pods: Cidr,
    /// The ranges of all pods of the cluster: traffic into them keeps its source address.
    pub cluster: Vec<Cidr>,
    /// The ranges of service addresses: the node gets a route for each.
    pub services: Vec<Cidr>,
    /// Largest packet of a pod link; `None` takes that of the node's default route, else 1500.
    pub mtu: Option<u32>,
}

/// One pod that wants in.
#[derive(Clone, Debug)]
pub struct Attach<'a> {
    /// The sandbox's id, never used twice; it is kept in the kernel beside the link, so that a
    /// restart finds it. 1 to 64 of `a-z A-Z 0-9 . _ -`.
    pub id: &'a str,
    /// The pod's namespace.
    pub namespace: &'a NetNs,
    /// A wished address, or `None` for the lowest that is free and not just released.
    pub address: Option<IpAddr>,
    pub host_ports: &'a [HostPort],
}

/// A port of the node that leads to a port of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: Protocol,
    /// `None`: on every address of the node.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
}

/// A pod that is in. Its link inside is `eth0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub id: String,
    pub address: IpAddr,
    /// The node's address as the pod sees it, its only next hop.
    pub gateway: IpAddr,
    /// Index of the node's end of the link.
    pub link: u32,
    pub host_ports: Vec<HostPort>,
}

/// The pod network of one node. Calls from several threads take turns; each takes a millisecond
/// or two, in the kernel alone.
pub struct PodNetwork {
    config: PodNetworkConfig,
    gateway: IpAddr,
    mtu: u32,
    state: Lock<State>,
    remover: Remover,
}

struct State {
    routes: Socket,
    rules: Socket,
    pool: AddressPool,
    pods: BTreeMap<String, Attachment>,
}

impl PodNetwork {
    /// Makes the network, or adopts what an earlier process of this node left. Links that were
    /// left half made are removed.
    pub fn open(config: PodNetworkConfig) -> Result<PodNetwork> {
        let too_small = || Error::RangeTooSmall(config.pods);
        if config.pods.prefix() > 30 {
            return Err(too_small());
        }
        let gateway = config.pods.nth(1).ok_or_else(too_small)?;
        let mut state = State {
            routes: Socket::open(&config.namespace, Family::Route)?,
            rules: Socket::open(&config.namespace, Family::Netfilter)?,
            pool: AddressPool::new(config.pods),
            pods: BTreeMap::new(),
        };
        let mtu = match config.mtu {
            Some(mtu) => mtu,
            None => recover::uplink_mtu(&mut state.routes)?,
        };
        recover::ground(&mut state.routes, &config, gateway, mtu)?;
        let left = recover::pods(&mut state, &config, gateway)?;
        rules::write(&mut state.rules, &config, &state.pods)?;
        passage::open(&mut state.rules, &config.link, config.pods)?;
        let remover = Remover::start(&config, left)?;
        Ok(PodNetwork { config, gateway, mtu, state: Lock::new(state), remover })
    }

    /// Gives the pod its link, address, routes and host ports; brings its loopback up. All or
    /// nothing: after an error the pod is as it was.
    pub fn attach(&self, pod: &Attach<'_>) -> Result<Attachment> {
        self.remover.attach_begins();
        let attached = attach::attach(self, &mut self.state(), pod);
        self.remover.attach_ends();
        attached
    }

    /// Takes the pod out. After an error it is out as well, but something may be left in the kernel
    /// until the next [`open`](Self::open). Address and host ports are free at once; the link goes
    /// soon after, together with others and never in the way of an attach. Unknown ids are fine.
    pub fn detach(&self, id: &str) -> Result<()> {
        let mut state = self.state();
        let Some(pod) = state.pods.remove(id) else { return Ok(()) };
        state.pool.release(pod.address);
        rules::remove(&mut state.rules, &self.config, &pod)?;
        stale::closed(&mut state, &pod)?;
        self.give_up_link(&mut state, pod.link, Some(pod.address))
    }

    /// The pods that are in, by id.
    pub fn attachments(&self) -> Vec<Attachment> {
        self.state().pods.values().cloned().collect()
    }

    /// The node's own address in the pod network.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Writes the packet rules anew, after somebody took them or a part of them away.
    pub fn restore(&self) -> Result<()> {
        let State { rules, pods, .. } = &mut *self.state();
        rules::write(rules, &self.config, pods)
    }

    /// Lets pods pass through the firewall of the machine, after it was set up anew; whether that was
    /// needed.
    pub fn pass(&self) -> Result<bool> {
        passage::open(&mut self.state().rules, &self.config.link, self.config.pods)
    }

    /// What of the machine's firewall stands in the way of pods.
    pub fn obstacles(&self) -> Result<Vec<Obstacle>> {
        let PodNetworkConfig { namespace, link, pods, .. } = &self.config;
        passage::obstacles(&mut self.state().rules, namespace, link, *pods)
    }

    /// Hears when somebody else changes packet rules; `port` is another socket of ours.
    pub fn watch(&self, port: u32) -> Result<Watch> {
        let own = self.state().rules.port()?;
        Watch::open(&self.config.namespace, &[port, own])
    }

    /// The name of the table with the rules for pods.
    pub fn table(&self) -> String {
        rules::table(&self.config)
    }

    /// Waits until every link of a detached pod is gone.
    pub fn settle(&self) -> Result<()> {
        self.remover.settle()
    }

    /// Removes every trace: links (of pods that are in, too), routes, table; sysctls get their
    /// former values back.
    pub fn teardown(self) -> Result<()> {
        let PodNetwork { config, state, remover, .. } = self;
        remover.stop();
        let mut state = state.into_inner();
        recover::remove_all(&mut state, &config)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Takes the route away and leaves the link to be removed with others.
    fn give_up_link(&self, state: &mut State, link: u32, address: Option<IpAddr>) -> Result<()> {
        let route = address.map(|address| route::delete_route(&pod_route(address, link, None)));
        let doom = route::set_group(link, doomed_group(&self.config.link));
        let messages = route.into_iter().chain([doom]).collect();
        state.routes.remove(messages, "take out pod link")?;
        self.remover.add();
        Ok(())
    }
}

/// The node's route to one pod.
fn pod_route(address: IpAddr, link: u32, source: Option<IpAddr>) -> route::Route {
    route::Route { to: Cidr::one(address), source, ..route::Route::on(link) }
}

/// The group of links that are in use. Links of one group are removed by one message.
fn group(link: &str) -> u32 {
    (Fnv::of(link) as u32 | 0x4000_0000) & !1
}

/// The group of links that shall go.
fn doomed_group(link: &str) -> u32 {
    group(link) | 1
}

/// The address that the node is known by: that of the default route's link, else the first address
/// of the first link that is up and no loopback. After [`PodNetwork::open`] there always is one.
pub fn node_address(namespace: &NetNs) -> Result<IpAddr> {
    let mut socket = Socket::open(namespace, Family::Route)?;
    let mut defaults = route::routes(&mut socket)?;
    defaults.retain(|r| r.to.prefix() == 0);
    defaults.sort_by_key(|r| r.priority);
    let addresses = route::addresses(&mut socket)?;
    let of = |link: u32| addresses.iter().find(|(l, _)| *l == link).map(|(_, address)| *address);
    if let Some(address) = defaults.iter().find_map(|r| r.source.or_else(|| of(r.link))) {
        return Ok(address);
    }
    let mut links = route::links(&mut socket)?;
    links.retain(|link| link.is_up() && !link.is_loopback());
    links.sort_by_key(|link| link.index);
    links.iter().find_map(|link| of(link.index)).ok_or(Error::NoNodeAddress)
}
