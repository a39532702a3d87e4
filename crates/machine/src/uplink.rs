//! How a machine is reached from outside: one cable, to its maker's network or to a switch.

use std::net::IpAddr;
use std::path::Path;

use skiff_base::{Cidr, Fnv};
use skiff_net::netlink::route::{self, End, Link, Route};
use skiff_net::netlink::socket::{Family, Socket};
use skiff_net::{NetNs, way_out};

use crate::Result;
use crate::process::Process;

/// Index of the loopback in every namespace.
const LOOPBACK: u32 = 1;
const MTU: u32 = 1500;
/// The machine's end of the cable.
const INSIDE: &str = "eth0";

/// How a machine is reached.
#[derive(Clone, Debug)]
pub enum Uplink {
    /// Not at all.
    None,
    /// By a cable of its own to the network of the caller: a pair of addresses, `prefix` bits wide
    /// (10.111.0.1 and 10.111.0.2 of a /30). The machine's default route leads to `outside`, and
    /// from there wherever the caller's network gets, under the caller's address.
    Pair { outside: IpAddr, inside: IpAddr, prefix: u8 },
    /// By a port of a switch (a bridge) in some namespace, so that machines see each other and
    /// nobody else. The switch is made if missing, and left; `gateway` is the machine's default
    /// route, if it shall have one.
    Switch { namespace: NetNs, bridge: String, inside: IpAddr, prefix: u8, gateway: Option<IpAddr> },
}

impl Uplink {
    /// The machine's own address.
    pub(crate) fn inside(&self) -> Option<IpAddr> {
        match self {
            Uplink::None => None,
            Uplink::Pair { inside, .. } | Uplink::Switch { inside, .. } => Some(*inside),
        }
    }
}

/// A name for the outer end that no other machine of any registry has: FNV-1a of both names.
pub(crate) fn link_name(registry: &Path, machine: &str) -> String {
    let text = format!("{}/{machine}", registry.display());
    format!("sk-{:012x}", Fnv::of(text) & 0xffff_ffff_ffff)
}

pub(crate) fn connect(uplink: &Uplink, link: &str, machine: &str, init: &Process) -> Result<()> {
    let inside = NetNs::open(init.namespace("net"))?;
    let mut in_there = Socket::open(&inside, Family::Route)?;
    in_there.request(vec![route::set_up(LOOPBACK)], "bring up loopback of machine")?;
    match uplink {
        Uplink::None => Ok(()),
        Uplink::Pair { outside, inside: address, prefix } => {
            let mut here = Socket::open_here(Family::Route)?;
            let index = cable(&mut here, link, machine, &inside)?;
            let set_up = vec![route::set_up(index), route::add_address(index, *outside, *prefix)];
            here.request(set_up, "set up cable to machine")?;
            let outer = must_find(&mut here, link)?;
            let behind = Cidr::new(*address, *prefix);
            let behind = behind.ok_or(skiff_net::Error::Decode(
                "prefix of a cable is too long for its addresses",
            ))?;
            way_out::open(&mut here, &NetNs::current()?, &outer, behind)?;
            address_inside(&mut in_there, *address, *prefix, Some(*outside))
        }
        Uplink::Switch { namespace, bridge, inside: address, prefix, gateway } => {
            let mut there = Socket::open(namespace, Family::Route)?;
            let switch = switch(&mut there, bridge)?;
            let index = cable(&mut there, link, machine, &inside)?;
            let set_up = vec![route::set_master(index, switch), route::set_up(index)];
            there.request(set_up, "plug machine into switch")?;
            address_inside(&mut in_there, *address, *prefix, *gateway)
        }
    }
}

/// Makes the cable and returns the index of its outer end.
fn cable(socket: &mut Socket, link: &str, machine: &str, inside: &NetNs) -> Result<u32> {
    let (outer, inner) = (End { name: link, mac: None }, End { name: INSIDE, mac: None });
    socket.request(vec![route::add_veth(&outer, &inner, inside, MTU, 0)], "make cable")?;
    let index = must_find(socket, link)?.index;
    socket.request(vec![route::set_alias(index, &format!("machine {machine}"))], "name cable")?;
    Ok(index)
}

fn switch(socket: &mut Socket, name: &str) -> Result<u32> {
    if route::link_by_name(socket, name)?.is_none() {
        socket.request(vec![route::add_bridge(name, MTU, 0)], &format!("make switch {name}"))?;
    }
    let index = must_find(socket, name)?.index;
    socket.request(vec![route::set_up(index)], &format!("bring up switch {name}"))?;
    Ok(index)
}

fn must_find(socket: &mut Socket, name: &str) -> Result<Link> {
    let link = route::link_by_name(socket, name)?;
    let gone = skiff_net::Error::Decode("link that was just made is not there");
    Ok(link.ok_or(gone)?)
}

fn address_inside(
    socket: &mut Socket,
    address: IpAddr,
    prefix: u8,
    gateway: Option<IpAddr>,
) -> Result<()> {
    let index = must_find(socket, INSIDE)?.index;
    let mut set_up = vec![route::set_up(index), route::add_address(index, address, prefix)];
    if gateway.is_some() {
        set_up.push(route::add_route(&Route { via: gateway, ..Route::on(index) }));
    }
    Ok(socket.request(set_up, "set up network of machine")?)
}

/// Removes the outer end, if it is in the caller's network. One in a switch goes with the machine.
pub(crate) fn disconnect(link: &str) -> Result<()> {
    let mut here = Socket::open_here(Family::Route)?;
    let namespace = NetNs::current()?;
    way_out::forget(&namespace, link)?;
    if let Some(found) = route::link_by_name(&mut here, link)? {
        way_out::close(&mut here, &namespace, &found)?;
        here.remove(vec![route::delete_link(found.index)], "remove cable")?;
    }
    Ok(())
}
