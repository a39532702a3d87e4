//! Bringing one pod in: a cable, its two ends, and the pod's host ports.
//!
//! Three conversations with the kernel: the cable is made; the pod's end is set up from inside the
//! pod's namespace; the node's end gets its route. Each is one system call with several messages.

use std::fs;
use std::io;
use std::net::IpAddr;

use super::{Attach, Attachment, HostPort, PodNetwork, State, group, pod_route, rules, stale};
use crate::netlink::listeners::{self, Listener};
use crate::netlink::route::{self, End, Mac, Route};
use crate::netlink::socket::{Family, Socket};
use crate::nft::value::octets;
use crate::{Error, NetNs, Result};
use skiff_base::{Cidr, Fnv};

/// The pod's end of the cable, as Kubernetes users expect it.
const POD_LINK: &str = "eth0";
/// Index of the loopback in every namespace.
const LOOPBACK: u32 = 1;
const ID_LIMIT: usize = 64;

pub(super) fn attach(
    network: &PodNetwork,
    state: &mut State,
    pod: &Attach<'_>,
) -> Result<Attachment> {
    check(state, pod)?;
    check_machine(&network.config.namespace, pod.host_ports)?;
    let address = state.pool.take(pod.address)?;
    match connect(network, state, pod, address) {
        Ok(attachment) => {
            state.pods.insert(pod.id.to_string(), attachment.clone());
            Ok(attachment)
        }
        Err(error) => {
            state.pool.release(address);
            Err(error)
        }
    }
}

fn check(state: &State, pod: &Attach<'_>) -> Result<()> {
    let fit = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if pod.id.is_empty() || pod.id.len() > ID_LIMIT || !pod.id.bytes().all(fit) {
        return Err(Error::BadId(pod.id.to_string()));
    }
    if state.pods.contains_key(pod.id) {
        return Err(Error::AlreadyAttached(pod.id.to_string()));
    }
    let taken: Vec<&HostPort> = state.pods.values().flat_map(|p| &p.host_ports).collect();
    for (at, wanted) in pod.host_ports.iter().enumerate() {
        let before = taken.iter().copied().chain(&pod.host_ports[..at]);
        if before.into_iter().any(|other| collide(other, wanted)) {
            let HostPort { protocol, host_port, .. } = wanted;
            return Err(Error::HostPortTaken(format!("{host_port}/{protocol}")));
        }
    }
    Ok(())
}

/// Refuses what the machine itself listens on: its own door, or Skiff's, would be shut.
fn check_machine(namespace: &NetNs, wanted: &[HostPort]) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let listening = listeners::all(&mut Socket::open(namespace, Family::Sockets)?)?;
    for Listener { address, protocol, port } in listening {
        let host_ip = (!address.is_unspecified()).then_some(address);
        let machines = HostPort { protocol, host_ip, host_port: port, container_port: 0 };
        if wanted.iter().any(|wanted| collide(&machines, wanted)) {
            return Err(Error::HostPortOfMachine(format!("{port}/{protocol}")));
        }
    }
    Ok(())
}

/// Whether two host ports meet: the same port, and the same address or one on all addresses.
fn collide(a: &HostPort, b: &HostPort) -> bool {
    let ips = a.host_ip.is_none() || b.host_ip.is_none() || a.host_ip == b.host_ip;
    a.protocol == b.protocol && a.host_port == b.host_port && ips
}

fn connect(
    network: &PodNetwork,
    state: &mut State,
    pod: &Attach<'_>,
    address: IpAddr,
) -> Result<Attachment> {
    let name = link_name(pod.id);
    let here = End { name: &name, mac: Some(node_mac(network.gateway)) };
    let there = End { name: POD_LINK, mac: Some(pod_mac(address)) };
    let group = group(&network.config.link);
    let cable = route::add_veth(&here, &there, pod.namespace, network.mtu, group);
    state.routes.request(vec![cable], "make pod link")?;
    let link = route::link_by_name(&mut state.routes, &name)?
        .ok_or(Error::Decode("link that was just made is not there"))?
        .index;
    let mut host_ports = pod.host_ports.to_vec();
    host_ports.sort();
    let attachment =
        Attachment { id: pod.id.to_string(), address, gateway: network.gateway, link, host_ports };
    let done = set_up_inside(pod.namespace, address, network.gateway)
        .and_then(|()| set_up_outside(state, &network.config.namespace, &name, &attachment))
        .and_then(|()| rules::add(&mut state.rules, &network.config, &attachment))
        .and_then(|()| stale::opened(state, &attachment));
    if let Err(error) = done {
        // The link goes with the next batch; the first error is the one that says why, and what
        // fails here too is found by the next `open`.
        rules::remove(&mut state.rules, &network.config, &attachment).ok();
        network.give_up_link(state, link, Some(address)).ok();
        return Err(error);
    }
    Ok(attachment)
}

/// The pod's end: address, the node as only neighbour and only next hop, loopback.
fn set_up_inside(namespace: &NetNs, address: IpAddr, gateway: IpAddr) -> Result<()> {
    let mut socket = Socket::open(namespace, Family::Route)?;
    let link = route::link_by_name(&mut socket, POD_LINK)?
        .ok_or(Error::Decode("pod's end of the link is not there"))?
        .index;
    let messages = vec![
        route::set_up(LOOPBACK),
        route::set_up(link),
        route::add_address(link, address, Cidr::one(address).prefix()),
        route::add_neighbour(link, gateway, node_mac(gateway)),
        route::add_route(&Route { to: Cidr::one(gateway), ..Route::on(link) }),
        route::add_route(&Route { via: Some(gateway), ..Route::on(link) }),
    ];
    socket.request(messages, "set up link in pod")
}

/// The node's end: the id to be found by, and the way to the pod. May be done again.
pub(super) fn set_up_outside(
    state: &mut State,
    namespace: &NetNs,
    name: &str,
    pod: &Attachment,
) -> Result<()> {
    no_ipv6(namespace, name)?;
    let messages = vec![
        route::set_alias(pod.link, &pod.id),
        route::set_up_node_end(pod.link),
        route::add_neighbour(pod.link, pod.address, pod_mac(pod.address)),
        route::add_route(&pod_route(pod.address, pod.link, Some(pod.gateway))),
    ];
    // A route needs a link that is up, and a link that turns deaf to ARP forgets its neighbours: the
    // order matters.
    state.routes.request(messages, "set up pod link on node")
}

/// Pods have no IPv6. Without this both ends would give themselves link-local addresses, by which a
/// pod reaches what the machine listens on, past every rule, and tells it of routers
/// (CVE-2020-10749).
fn no_ipv6(namespace: &NetNs, link: &str) -> Result<()> {
    let name = format!("net.ipv6.conf.{link}.disable_ipv6");
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    match namespace.run(|| fs::write(path, "1"))? {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| Error::Sysctl { name, source }),
    }
}

/// The node's end of the cable: a name made of the id, of exactly 15 bytes, which is the limit.
fn link_name(id: &str) -> String {
    format!("pod{:012x}", Fnv::of(id) & 0xffff_ffff_ffff)
}

/// Hardware addresses are made of addresses: unique where they have to be, and the same again.
fn pod_mac(address: IpAddr) -> Mac {
    mac(0x0a, address)
}

/// Every pod sees the node under the same one, each on a cable of its own.
fn node_mac(gateway: IpAddr) -> Mac {
    mac(0x0e, gateway)
}

fn mac(first: u8, address: IpAddr) -> Mac {
    let all = octets(address);
    let mut mac = [first, 0x58, 0, 0, 0, 0];
    mac[2..].copy_from_slice(&all[all.len() - 4..]);
    mac
}
