//! Packet rules for pods: masquerade on the way out, host ports, loopback kept apart, and sources.
//!
//! The table never changes; host ports are elements of a map. Pods' traffic to other pods keeps
//! its source, whatever leaves the cluster takes the node's address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{Attachment, HostPort, PodNetworkConfig, doomed_group, group};
use crate::netlink::socket::{Socket, unless_missing};
use crate::nft::batch::{Batch, Hook, Step, Work};
use crate::nft::expression::{
    Expression as E, Meta, STATUS_DESTINATION, Side, Track, When, came_by, destination, is_own,
    no_address, port, protocol, source, tracked, within,
};
use crate::nft::read;
use crate::nft::value::{Data, DataType, Element, Field, FieldType, Lifetime, Set, Verdict};
use crate::{Protocol, Result};
use skiff_base::Cidr;

/// Just behind service tables, so that a node port and a host port of one number do not race.
const TRANSLATE_DESTINATION: i32 = -99;
const TRANSLATE_SOURCE: i32 = 101;
const FILTER: i32 = 0;
/// Before connection tracking (-200): what is dropped there leaves no flow behind.
const RAW: i32 = -300;
const HOST_PORTS: &str = "host-ports";
const HAIRPIN: &str = "hairpin";
const LOOPBACK_LINK: u32 = 1;

pub(super) fn table(config: &PodNetworkConfig) -> String {
    format!("{}-pods", config.link)
}

fn host_port_map() -> Set {
    use FieldType::{Address, Port, Protocol};
    Set {
        name: HOST_PORTS.to_string(),
        key: vec![Address, Protocol, Port],
        data: DataType::Row(vec![Address, Port]),
        lifetime: Lifetime::Lasting,
    }
}

/// Writes the whole table in one transaction, in the place of an earlier one.
pub(super) fn write(
    socket: &mut Socket,
    config: &PodNetworkConfig,
    pods: &BTreeMap<String, Attachment>,
) -> Result<()> {
    let mut batch = Batch::replace(&table(config));
    frame(&mut batch, config);
    for pod in pods.values() {
        batch.add(HOST_PORTS, ports(pod));
        batch.add(HAIRPIN, hairpin(pod));
    }
    batch.commit(socket)
}

fn frame(batch: &mut Batch, config: &PodNetworkConfig) {
    batch.set(host_port_map());
    let pair = vec![FieldType::Address, FieldType::Address];
    let (name, lifetime) = (HAIRPIN.to_string(), Lifetime::Lasting);
    batch.set(Set { name, key: pair, data: DataType::None, lifetime });
    for (chain, hook) in [("incoming", Hook::Prerouting), ("outgoing", Hook::Output)] {
        batch.base_chain(chain, Work::Nat, hook, TRANSLATE_DESTINATION);
        for address in [vec![destination(0)], no_address().to_vec()] {
            let translate = [
                protocol(1),
                port(2),
                E::Map { map: HOST_PORTS.to_string(), key: 0, into: 3 },
                E::TranslateTo { address: 3, port: 4 },
            ];
            batch
                .rule(chain, is_own(Side::Destination).into_iter().chain(address).chain(translate));
        }
    }
    leaving(batch, config);
    guard(batch);
    sources(batch, config);
}

fn loopback() -> Cidr {
    Cidr::new(Ipv4Addr::LOCALHOST, 8).expect("8 is a valid prefix")
}

fn leaving(batch: &mut Batch, config: &PodNetworkConfig) {
    const CHAIN: &str = "leaving";
    batch.base_chain(CHAIN, Work::Nat, Hook::Postrouting, TRANSLATE_SOURCE);
    let translated = || tracked(Track::Status, STATUS_DESTINATION).into_iter();
    // A pod that reached itself through a port of the node.
    let set = HAIRPIN.to_string();
    let itself = [source(0), destination(1), E::Contains { set, key: 0, when: When::Equal }];
    batch.rule(CHAIN, translated().chain(itself).chain([E::Masquerade]));
    // The node that asked for one of its ports on 127.0.0.1.
    let from = within(Side::Source, loopback(), When::Equal);
    let to = within(Side::Destination, config.pods, When::Equal);
    batch.rule(CHAIN, translated().chain(from).chain(to).chain([E::Masquerade]));
    // A pod that leaves the cluster.
    let mut out = within(Side::Source, config.pods, When::Equal);
    for range in &config.cluster {
        out.extend(within(Side::Destination, *range, When::Different));
    }
    out.push(E::Masquerade);
    batch.rule(CHAIN, out);
}

/// Pod links let 127.0.0.0/8 pass, for answers of host ports; nothing else may come that way, or a
/// pod could reach what listens on the node's loopback (CVE-2020-8558).
fn guard(batch: &mut Batch) {
    batch.base_chain("guard", Work::Filter, Hook::Input, FILTER);
    let mut rule = within(Side::Destination, loopback(), When::Equal);
    let link = LOOPBACK_LINK.to_ne_bytes();
    rule.extend([
        E::LoadMeta { meta: Meta::InputIndex, into: 0 },
        E::Compare { register: 0, when: When::Different, with: link.to_vec() },
        E::LoadTrack { track: Track::Status, into: 0 },
        E::Bits { register: 0, mask: STATUS_DESTINATION.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        E::Compare { register: 0, when: When::Equal, with: vec![0; 4] },
        E::End(Verdict::Drop),
    ]);
    batch.rule("guard", rule);
}

/// A pod sends from its own address, which is the one that its link is the way to: from no other
/// pod's, from none of the node's or of loopback, from nowhere outside. The kernel's `rp_filter` says
/// the same, but a machine's general setting of it can only be added to, not be relied on.
fn sources(batch: &mut Batch, config: &PodNetworkConfig) {
    const CHAIN: &str = "sources";
    batch.base_chain(CHAIN, Work::Filter, Hook::Prerouting, RAW);
    // Links that wait for their removal count too: their pods may still send.
    let from_pod =
        || came_by(group(&config.link), group(&config.link) ^ doomed_group(&config.link));
    let nowhere = E::Compare { register: 0, when: When::Equal, with: vec![0; 4] };
    let another = [E::LoadWayBack { into: 0 }, nowhere, E::End(Verdict::Drop)];
    batch.rule(CHAIN, from_pod().into_iter().chain(another));
    // The kernel lets 0.0.0.0 pass to broadcast and multicast addresses, for DHCP.
    let none = Cidr::new(Ipv4Addr::UNSPECIFIED, 8).expect("8 is a valid prefix");
    let unset = within(Side::Source, none, When::Equal);
    batch.rule(CHAIN, from_pod().into_iter().chain(unset).chain([E::End(Verdict::Drop)]));
    // Answers to 127.0.0.1 are not sent there: they lead back to it only behind this. Whoever sends
    // there himself means a port of the machine alone (HostPort.host_ip).
    let inside = within(Side::Destination, loopback(), When::Equal);
    batch.rule(CHAIN, from_pod().into_iter().chain(inside).chain([E::End(Verdict::Drop)]));
}

fn ports(pod: &Attachment) -> Vec<Element> {
    let element = |port: &HostPort| {
        let address = port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Element::pair(
            vec![address.into(), port.protocol.into(), port.host_port.into()],
            vec![pod.address.into(), port.container_port.into()],
        )
    };
    pod.host_ports.iter().map(element).collect()
}

fn hairpin(pod: &Attachment) -> Vec<Element> {
    let itself = || Element::key(vec![pod.address.into(), pod.address.into()]);
    (!pod.host_ports.is_empty()).then(itself).into_iter().collect()
}

/// Opens a pod's host ports.
pub(super) fn add(socket: &mut Socket, config: &PodNetworkConfig, pod: &Attachment) -> Result<()> {
    let mut batch = Batch::new(&table(config));
    batch.add(HOST_PORTS, ports(pod));
    batch.add(HAIRPIN, hairpin(pod));
    batch.commit(socket)
}

/// Closes a pod's host ports.
pub(super) fn remove(
    socket: &mut Socket,
    config: &PodNetworkConfig,
    pod: &Attachment,
) -> Result<()> {
    let mut batch = Batch::new(&table(config));
    batch.delete(HOST_PORTS, ports(pod));
    batch.delete(HAIRPIN, hairpin(pod));
    unless_missing(batch.commit(socket))
}

/// The host ports that are open, by the pod's address.
pub(super) fn host_ports(
    socket: &mut Socket,
    config: &PodNetworkConfig,
) -> Result<BTreeMap<IpAddr, Vec<HostPort>>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for element in read::elements(socket, &table(config), &host_port_map())? {
        if let Some((pod, port)) = host_port(&element) {
            found.entry(pod).or_default().push(port);
        }
    }
    found.values_mut().for_each(|ports| ports.sort());
    Ok(found)
}

fn host_port(element: &Element) -> Option<(IpAddr, HostPort)> {
    let [Field::Address(ip), Field::Protocol(protocol), Field::Port(host_port)] = element.key[..]
    else {
        return None;
    };
    let Data::Row(to) = &element.data else { return None };
    let [Field::Address(pod), Field::Port(container_port)] = to[..] else { return None };
    let protocol = Protocol::from_number(protocol)?;
    let host_ip = (!ip.is_unspecified()).then_some(ip);
    Some((pod, HostPort { protocol, host_ip, host_port, container_port }))
}

/// Removes the table.
pub(super) fn remove_table(socket: &mut Socket, config: &PodNetworkConfig) -> Result<()> {
    let batch = Batch { table: table(config), steps: vec![Step::DeleteTable] };
    unless_missing(batch.commit(socket))
}
