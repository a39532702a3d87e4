//! Ranges of addresses, of either family: `10.244.0.0/16`, `fd00:10:244::/56` (RFC 4632, RFC 4291).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses of one family. The bits behind the prefix are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

/// A text that is no range, or one whose address has bits behind the prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses like 10.244.0.0/16")]
pub struct NoCidr(pub String);

impl Cidr {
    /// The range that holds `address`; `None` if its family has no such prefix.
    pub fn new(address: impl Into<IpAddr>, prefix: u8) -> Option<Cidr> {
        let address = address.into();
        (prefix <= width(address)).then(|| Cidr { base: masked(address, prefix), prefix })
    }

    /// The range of one address.
    pub fn one(address: impl Into<IpAddr>) -> Cidr {
        let base = address.into();
        Cidr { base, prefix: width(base) }
    }

    /// The first address.
    pub fn base(&self) -> IpAddr {
        self.base
    }

    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    pub fn is_ipv4(&self) -> bool {
        self.base.is_ipv4()
    }

    /// The number of addresses, all of them counted; the largest number where that does not fit.
    pub fn size(&self) -> u64 {
        1u64.checked_shl(u32::from(width(self.base) - self.prefix)).unwrap_or(u64::MAX)
    }

    /// The address at `offset` from the base, if it lies inside.
    pub fn nth(&self, offset: u64) -> Option<IpAddr> {
        let inside = offset < self.size();
        inside.then(|| address(self.base, number(self.base) + u128::from(offset)))
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        let host_bits = u32::from(width(self.base) - self.prefix);
        let most = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        address(self.base, number(self.base) | most)
    }

    pub fn contains(&self, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        self.base.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.base
    }

    /// Whether some address lies in both.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }
}

/// How many bits an address of this family has.
fn width(of: IpAddr) -> u8 {
    if of.is_ipv4() { 32 } else { 128 }
}

fn number(of: IpAddr) -> u128 {
    match of {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// The address of this number, of the family of `like`.
fn address(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

fn masked(of: IpAddr, prefix: u8) -> IpAddr {
    let mask = u128::MAX.checked_shl(u32::from(width(of) - prefix)).unwrap_or(0);
    address(of, number(of) & mask)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = NoCidr;

    fn from_str(text: &str) -> Result<Cidr, NoCidr> {
        let wrong = || NoCidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let cidr = Cidr::new(address, prefix.parse().map_err(|_| wrong())?).ok_or_else(wrong)?;
        if cidr.base == address { Ok(cidr) } else { Err(wrong()) }
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
            ("fd00:10:244::/56", true),
            ("::/0", true),
            ("10.244.0.1/24", false),
            ("10.244.0.0", false),
            ("10.244.0.0/33", false),
            ("fd00::1/64", false),
            ("fd00::/129", false),
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
        let of = |text: &str| text.parse::<Cidr>().unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (range, size, second, last) in [
            ("10.1.2.4/30", 4, "10.1.2.5", "10.1.2.7"),
            ("0.0.0.0/0", 1 << 32, "0.0.0.1", "255.255.255.255"),
            ("fd00::/120", 256, "fd00::1", "fd00::ff"),
            ("::/0", u64::MAX, "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let range = of(range);
            assert_eq!((range.size(), range.last()), (size, ip(last)), "{range}");
            assert_eq!(range.nth(1), Some(ip(second)), "{range}");
            assert!(range.contains(range.last()), "{range}");
        }
        let small = of("10.1.2.4/30");
        assert_eq!(small.nth(4), None);
        assert_eq!(Cidr::one(ip("fd00::1")).last(), ip("fd00::1"));
        assert!(!small.contains(ip("10.1.2.8")) && !small.contains(ip("::ffff:10.1.2.5")));
        assert!(small.overlaps(&of("10.0.0.0/8")) && of("10.0.0.0/8").overlaps(&small));
        assert!(!small.overlaps(&of("10.1.2.8/30")) && !small.overlaps(&of("::/0")));
    }
}
