//! rtnetlink: the messages about links, addresses, routes and neighbours that Skiff sends, and the
//! entries that it reads. Each function makes one message; sending it is the caller's.

use std::net::{IpAddr, Ipv4Addr};

use super::message::Message;
use super::parse::{Reply, attributes, behind, find, text, u32_at};
use super::socket::Socket;
use crate::{NetNs, Result};
use skiff_base::Cidr;
use std::os::fd::{AsFd, AsRawFd};

const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
const LINK_FIXED: usize = 16;
const ROUTE_FIXED: usize = 12;
const ADDRESS_FIXED: usize = 8;
const UP: u32 = libc::IFF_UP as u32;

/// `IFLA_INFO_KIND`, `IFLA_INFO_DATA`, `VETH_INFO_PEER`: the nested attributes of a new link.
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
/// `IFLA_INET_CONF`, and the number of `route_localnet` among the settings of a link.
const INET_CONF: u16 = 1;
const CONF_ROUTE_LOCALNET: u16 = 26;

/// A hardware address.
pub type Mac = [u8; 6];

/// A link as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// A free text beside the link (`ip link` shows it as alias).
    pub alias: String,
    pub group: u32,
    pub flags: u32,
    pub mtu: u32,
    /// Index of the bridge that the link is a port of; 0 if none.
    pub master: u32,
}

impl Link {
    pub fn is_up(&self) -> bool {
        self.flags & UP != 0
    }

    pub fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK as u32 != 0
    }
}

/// One end of a veth pair that shall be made.
#[derive(Clone, Debug)]
pub struct End<'a> {
    pub name: &'a str,
    pub mac: Option<Mac>,
}

/// A route, as wanted and as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub to: Cidr,
    pub via: Option<IpAddr>,
    /// Index of the link that packets leave by.
    pub link: u32,
    /// The source address of connections that the node itself opens over this route.
    pub source: Option<IpAddr>,
    pub priority: u32,
}

impl Route {
    /// A route to everything, over a link without a next hop.
    pub fn on(link: u32) -> Route {
        let to = Cidr::new(Ipv4Addr::UNSPECIFIED, 0).expect("0 is a valid prefix");
        Route { to, via: None, link, source: None, priority: 0 }
    }
}

fn link_fixed(index: u32, flags: u32, change: u32) -> [u8; LINK_FIXED] {
    let mut fixed = [0; LINK_FIXED];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&change.to_ne_bytes());
    fixed
}

/// Makes a veth pair, both ends down: `here` in the socket's namespace, `there` in another. An end
/// cannot be up before the other exists.
pub fn add_veth(
    here: &End<'_>,
    there: &End<'_>,
    namespace: &NetNs,
    mtu: u32,
    group: u32,
) -> Message {
    let mut message = Message::new(libc::RTM_NEWLINK, CREATE, &link_fixed(0, 0, 0));
    let end = |m: &mut Message, end: &End<'_>| {
        m.put_text(libc::IFLA_IFNAME, end.name);
        m.put_u32(libc::IFLA_MTU, mtu);
        if let Some(mac) = end.mac {
            m.put(libc::IFLA_ADDRESS, &mac);
        }
    };
    end(&mut message, here);
    message.put_u32(libc::IFLA_GROUP, group);
    message.nest(libc::IFLA_LINKINFO, |m| {
        m.put_text(INFO_KIND, "veth");
        m.nest(INFO_DATA, |m| {
            m.nest(VETH_PEER, |m| {
                m.raw(&link_fixed(0, 0, 0));
                end(m, there);
                m.put_u32(libc::IFLA_NET_NS_FD, namespace.as_fd().as_raw_fd() as u32);
            });
        });
    });
    message
}

/// Makes a bridge, down.
pub fn add_bridge(name: &str, mtu: u32, group: u32) -> Message {
    let mut message = Message::new(libc::RTM_NEWLINK, CREATE, &link_fixed(0, 0, 0));
    message.put_text(libc::IFLA_IFNAME, name);
    message.put_u32(libc::IFLA_MTU, mtu);
    message.put_u32(libc::IFLA_GROUP, group);
    message.nest(libc::IFLA_LINKINFO, |m| m.put_text(INFO_KIND, "bridge"));
    message
}

/// Brings a link up.
pub fn set_up(link: u32) -> Message {
    Message::new(libc::RTM_NEWLINK, 0, &link_fixed(link, UP, UP))
}

/// Brings the node's end of a pod's cable up. Addresses of 127.0.0.0/8 may pass over it
/// (`route_localnet`), as a port of the node that is asked for on 127.0.0.1 needs. It is deaf to ARP:
/// both ends know their neighbour, and whoever forges requests fills the machine's table no more.
pub fn set_up_node_end(link: u32) -> Message {
    let flags = UP | libc::IFF_NOARP as u32;
    let mut message = Message::new(libc::RTM_NEWLINK, 0, &link_fixed(link, flags, flags));
    message.nest(libc::IFLA_AF_SPEC, |m| {
        m.nest(libc::AF_INET as u16, |m| {
            m.nest(INET_CONF, |m| m.put_u32(CONF_ROUTE_LOCALNET, 1));
        });
    });
    message
}

/// Keeps a text beside a link.
pub fn set_alias(link: u32, alias: &str) -> Message {
    let mut message = Message::new(libc::RTM_NEWLINK, 0, &link_fixed(link, 0, 0));
    message.put(libc::IFLA_IFALIAS, alias.as_bytes());
    message
}

/// Puts a link into a group.
pub fn set_group(link: u32, group: u32) -> Message {
    let mut message = Message::new(libc::RTM_NEWLINK, 0, &link_fixed(link, 0, 0));
    message.put_u32(libc::IFLA_GROUP, group);
    message
}

/// Makes a link a port of a bridge.
pub fn set_master(link: u32, bridge: u32) -> Message {
    let mut message = Message::new(libc::RTM_NEWLINK, 0, &link_fixed(link, 0, 0));
    message.put_u32(libc::IFLA_MASTER, bridge);
    message
}

/// Removes one link.
pub fn delete_link(link: u32) -> Message {
    Message::new(libc::RTM_DELLINK, 0, &link_fixed(link, 0, 0))
}

/// Removes all links of a group at once, which costs little more than one.
pub fn delete_group(group: u32) -> Message {
    let mut message = Message::new(libc::RTM_DELLINK, 0, &link_fixed(0, 0, 0));
    message.put_u32(libc::IFLA_GROUP, group);
    message
}

/// Gives a link an address. The rest of the range of that prefix is then reachable over it.
pub fn add_address(link: u32, address: IpAddr, prefix: u8) -> Message {
    let mut fixed = [family(address), prefix, 0, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    fixed[4..8].copy_from_slice(&link.to_ne_bytes());
    let mut message = Message::new(libc::RTM_NEWADDR, REPLACE, &fixed);
    message.put_address(libc::IFA_LOCAL, address);
    message.put_address(libc::IFA_ADDRESS, address);
    message
}

fn route_message(kind: u16, flags: u16, route: &Route) -> Message {
    let scope = if route.via.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
    let fixed = [
        family(route.to.base()),
        route.to.prefix(),
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        scope,
        libc::RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let mut message = Message::new(kind, flags, &fixed);
    message.put_address(libc::RTA_DST, route.to.base());
    message.put_u32(libc::RTA_OIF, route.link);
    if let Some(via) = route.via {
        message.put_address(libc::RTA_GATEWAY, via);
    }
    if let Some(source) = route.source {
        message.put_address(libc::RTA_PREFSRC, source);
    }
    if route.priority > 0 {
        message.put_u32(libc::RTA_PRIORITY, route.priority);
    }
    message
}

/// Adds a route, or puts it in the place of the one to the same range.
pub fn add_route(route: &Route) -> Message {
    route_message(libc::RTM_NEWROUTE, REPLACE, route)
}

/// Removes a route.
pub fn delete_route(route: &Route) -> Message {
    route_message(libc::RTM_DELROUTE, 0, route)
}

/// Says for good which hardware address an address has, so that nobody asks by ARP. Entries of
/// this sort do not count towards the kernel's limit of neighbours.
pub fn add_neighbour(link: u32, address: IpAddr, mac: Mac) -> Message {
    let mut fixed = [0; 12];
    fixed[0] = family(address);
    fixed[4..8].copy_from_slice(&link.to_ne_bytes());
    fixed[8..10].copy_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
    let mut message = Message::new(libc::RTM_NEWNEIGH, REPLACE, &fixed);
    message.put_address(libc::NDA_DST, address);
    message.put(libc::NDA_LLADDR, &mac);
    message
}

/// The link of a name.
pub fn link_by_name(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let mut message = Message::new(libc::RTM_GETLINK, 0, &link_fixed(0, 0, 0));
    message.put_text(libc::IFLA_IFNAME, name);
    socket.get(&message, &format!("look up link {name}"), read_link)
}

/// All links.
pub fn links(socket: &mut Socket) -> Result<Vec<Link>> {
    let message = Message::new(libc::RTM_GETLINK, 0, &link_fixed(0, 0, 0));
    socket.dump(&message, "list links", read_link)
}

fn read_link(reply: Reply<'_>) -> Option<Link> {
    let mut link = Link {
        index: u32_at(reply.body, 4)?,
        flags: u32_at(reply.body, 8)?,
        name: String::new(),
        alias: String::new(),
        group: 0,
        mtu: 0,
        master: 0,
    };
    for (kind, value) in attributes(behind(reply.body, LINK_FIXED)) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_IFALIAS => link.alias = text(value),
            libc::IFLA_GROUP => link.group = u32_at(value, 0)?,
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            libc::IFLA_MASTER => link.master = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(link)
}

/// The IPv4 routes of the main table.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>> {
    let mut fixed = [0; ROUTE_FIXED];
    fixed[0] = libc::AF_INET as u8;
    let message = Message::new(libc::RTM_GETROUTE, 0, &fixed);
    socket.dump(&message, "list routes", read_route)
}

fn read_route(reply: Reply<'_>) -> Option<Route> {
    let fixed = reply.body.get(..ROUTE_FIXED)?;
    let in_main = fixed[4] == libc::RT_TABLE_MAIN && fixed[7] == libc::RTN_UNICAST;
    if !in_main || fixed[0] != libc::AF_INET as u8 {
        return None;
    }
    let rest = behind(reply.body, ROUTE_FIXED);
    let to = find(rest, libc::RTA_DST).map_or(Some(Ipv4Addr::UNSPECIFIED.into()), address)?;
    Some(Route {
        to: Cidr::new(to, fixed[1])?,
        via: find(rest, libc::RTA_GATEWAY).and_then(address),
        link: find(rest, libc::RTA_OIF).and_then(|v| u32_at(v, 0)).unwrap_or(0),
        source: find(rest, libc::RTA_PREFSRC).and_then(address),
        priority: find(rest, libc::RTA_PRIORITY).and_then(|v| u32_at(v, 0)).unwrap_or(0),
    })
}

/// All IPv4 addresses of global scope: link index and address, in the kernel's order.
pub fn addresses(socket: &mut Socket) -> Result<Vec<(u32, IpAddr)>> {
    let mut fixed = [0; ADDRESS_FIXED];
    fixed[0] = libc::AF_INET as u8;
    let message = Message::new(libc::RTM_GETADDR, 0, &fixed);
    socket.dump(&message, "list addresses", |reply| {
        let fixed = reply.body.get(..ADDRESS_FIXED)?;
        if fixed[0] != libc::AF_INET as u8 || fixed[3] != libc::RT_SCOPE_UNIVERSE {
            return None;
        }
        let local = find(behind(reply.body, ADDRESS_FIXED), libc::IFA_LOCAL).and_then(address)?;
        Some((u32_at(fixed, 4)?, local))
    })
}

/// An address that is the whole value; its length tells the family.
pub fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(<[u8; 4]>::try_from(value).ok()?.into()),
        _ => Some(<[u8; 16]>::try_from(value).ok()?.into()),
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}
