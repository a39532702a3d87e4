//! Addresses: whom the server cannot be sent to by an object that names an address. Pure.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether this machine itself may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Local {
    #[default]
    Refused,
    Allowed,
}

/// Whom the server may call.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub local: Local,
    /// The addresses of this machine.
    pub own_addresses: Vec<IpAddr>,
    /// The ports of the API and of the node's API: at the addresses of this machine they are ours.
    pub own_ports: Vec<u16>,
}

impl Rules {
    /// Why an address is not called.
    pub fn refuse(&self, address: SocketAddr) -> Option<String> {
        let ip = address.ip().to_canonical();
        if self.local == Local::Allowed {
            return None;
        }
        if self.own_addresses.contains(&ip) && self.own_ports.contains(&address.port()) {
            return Some("address not allowed: it is the server's own".into());
        }
        let why = "address not allowed: loopback and link-local addresses are called with \
                   --allow-local-webhooks only";
        is_forbidden(ip).then(|| why.into())
    }
}

/// Loopback, link-local, multicast, broadcast and no address at all, however they are written.
pub fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.octets()[0] == 0
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_multicast()
                || ip.is_unspecified()
                || inside(ip).is_some_and(|ip| is_forbidden(ip.into()))
        }
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped and compatible ones (RFC 4291, section 2.5.5), those of NAT64
/// (RFC 6052; RFC 8215), of 6to4 (RFC 3056) and of SIIT (RFC 2765).
fn inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = |words: [u16; 2]| Ipv4Addr::from(u32::from(words[0]) << 16 | u32::from(words[1]));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b]
        | [0, 0, 0, 0, 0xffff, 0, a, b]
        | [0x64, 0xff9b, 0, 0, 0, 0, a, b]
        | [0x64, 0xff9b, 1, _, _, _, a, b]
        | [0x2002, a, b, ..] => Some(last([a, b])),
        _ => None,
    }
}

/// Why there is no connection, in the words that operators look for.
pub fn in_known_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connect: connection timed out".to_owned(),
        io::ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_called_by_a_setting_only() {
        let own: IpAddr = [10, 0, 0, 5].into();
        let rules =
            Rules { local: Local::Refused, own_addresses: vec![own], own_ports: vec![6443] };
        let refused = |rules: &Rules, address: &str| {
            rules.refuse(address.parse().expect("an address")).is_some()
        };
        for address in ["127.0.0.1:443", "[::1]:443", "169.254.169.254:80", "10.0.0.5:6443"] {
            assert!(refused(&rules, address), "{address}");
            assert!(!refused(&Rules { local: Local::Allowed, ..rules.clone() }, address));
        }
        assert!(refused(&rules, "[::ffff:10.0.0.5]:6443"));
        for address in ["10.0.0.5:443", "10.0.0.6:6443", "[2001:db8::1]:443"] {
            assert!(!refused(&rules, address), "{address}");
        }
    }
}
