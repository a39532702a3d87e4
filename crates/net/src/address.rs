//! Address ranges and protocols: plain values with one way to write them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::{Error, Result};

/// A range of IPv4 addresses, `10.244.0.0/24`. The host bits are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    base: Ipv4Addr,
    prefix: u8,
}

impl Cidr {
    /// The range that holds `address`; `None` if `prefix` is over 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Cidr> {
        let mask = mask(prefix)?;
        Some(Cidr { base: Ipv4Addr::from(u32::from(address) & mask), prefix })
    }

    pub fn base(&self) -> Ipv4Addr {
        self.base
    }

    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The number of addresses, network and broadcast included.
    pub fn size(&self) -> u64 {
        1 << (32 - u32::from(self.prefix))
    }

    /// The address at `offset` from the base, if it lies inside.
    pub fn nth(&self, offset: u64) -> Option<Ipv4Addr> {
        (offset < self.size()).then(|| Ipv4Addr::from(u32::from(self.base) + offset as u32))
    }

    /// The last address of the range.
    pub fn last(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) + (self.size() - 1) as u32)
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        mask(self.prefix).is_some_and(|m| u32::from(address) & m == u32::from(self.base))
    }
}

fn mask(prefix: u8) -> Option<u32> {
    match prefix {
        0 => Some(0),
        1..=32 => Some(u32::MAX << (32 - prefix)),
        _ => None,
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cidr> {
        let wrong = || Error::ParseCidr(text.to_string());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let cidr = Cidr::new(address, prefix.parse().map_err(|_| wrong())?).ok_or_else(wrong)?;
        if cidr.base == address { Ok(cidr) } else { Err(wrong()) }
    }
}

/// The transport protocols that a service can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol of a number in an IP header.
    pub fn from_number(number: u8) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| p.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_parsed_strictly() {
        for (text, good) in [
            ("10.244.0.0/24", true),
            ("0.0.0.0/0", true),
            ("10.0.0.1/32", true),
            ("10.244.0.1/24", false),
            ("10.244.0.0", false),
            ("10.244.0.0/33", false),
            ("fd00::/64", false),
        ] {
            let parsed = text.parse::<Cidr>();
            assert_eq!(parsed.is_ok(), good, "{text}");
            if let Ok(cidr) = parsed {
                assert_eq!(cidr.to_string(), text);
            }
        }
    }

    #[test]
    fn a_range_knows_its_ends() {
        let cidr: Cidr = "10.1.2.4/30".parse().unwrap();
        assert_eq!(cidr.last(), Ipv4Addr::new(10, 1, 2, 7));
        assert_eq!(cidr.nth(3), Some(cidr.last()));
        assert_eq!(cidr.nth(4), None);
        assert!(cidr.contains(Ipv4Addr::new(10, 1, 2, 5)));
        assert!(!cidr.contains(Ipv4Addr::new(10, 1, 2, 8)));
        assert_eq!("0.0.0.0/0".parse::<Cidr>().unwrap().size(), 1 << 32);
    }
}
