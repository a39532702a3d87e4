//! Addresses and ranges of addresses (Kubernetes' `ip` and `cidr`).

use std::net::{IpAddr, Ipv6Addr};

use super::{Function, text};
use crate::run::RunError;
use crate::value::Value;

type Made<'a> = Result<Value<'a>, RunError>;

pub fn find(name: &str) -> Option<Function> {
    Some(match name {
        "ip" => ip,
        "isIP" => |args| Ok(Value::Bool(parse(text(args, 0)?).is_ok())),
        "ip.isCanonical" => |args| {
            let given = text(args, 0)?;
            Ok(Value::Bool(parse(given)?.to_string() == given))
        },
        "family" => |args| Ok(Value::Int(if address(args)?.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => |args| Ok(Value::Bool(address(args)?.is_unspecified())),
        "isLoopback" => |args| Ok(Value::Bool(address(args)?.is_loopback())),
        "isLinkLocalMulticast" => |args| Ok(Value::Bool(link_local_multicast(address(args)?))),
        "isLinkLocalUnicast" => |args| Ok(Value::Bool(link_local(address(args)?))),
        "isGlobalUnicast" => |args| Ok(Value::Bool(global(address(args)?))),
        "cidr" => |args| cidr(text(args, 0)?).map(|(address, length)| Value::Cidr(address, length)),
        "isCIDR" => |args| Ok(Value::Bool(parse_cidr(text(args, 0)?).is_ok())),
        "containsIP" => contains_ip,
        "containsCIDR" => contains_cidr,
        "prefixLength" => |args| Ok(Value::Int(range(args)?.1.into())),
        "masked" => |args| {
            let (address, length) = range(args)?;
            Ok(Value::Cidr(masked(address, length), length))
        },
        _ => return None,
    })
}

fn ip<'a>(args: &[Value<'a>]) -> Made<'a> {
    match &args[0] {
        Value::Cidr(address, _) => Ok(Value::Ip(*address)),
        _ => parse(text(args, 0)?).map(Value::Ip),
    }
}

fn address(args: &[Value]) -> Result<IpAddr, RunError> {
    match args.first() {
        Some(Value::Ip(it)) => Ok(*it),
        _ => Err(RunError::no_overload()),
    }
}

fn range(args: &[Value]) -> Result<(IpAddr, u8), RunError> {
    match args.first() {
        Some(Value::Cidr(address, length)) => Ok((*address, *length)),
        _ => Err(RunError::no_overload()),
    }
}

fn mapped(it: IpAddr) -> bool {
    matches!(it, IpAddr::V6(it) if it.to_ipv4_mapped().is_some())
}

fn parse(raw: &str) -> Result<IpAddr, RunError> {
    if let Some((address, zone)) = raw.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
        && !zone.is_empty()
    {
        let message = format!("IP address {raw:?} with zone value is not allowed");
        return Err(RunError::of(message));
    }
    let found: IpAddr = raw.parse().map_err(|_| {
        RunError::of(format!(
            "IP Address {raw:?} parse error during conversion from string: ParseAddr({raw:?}): {}",
            wrong(raw)
        ))
    })?;
    match mapped(found) {
        true => Err(RunError::of(format!("IPv4-mapped IPv6 address {raw:?} is not allowed"))),
        false => Ok(found),
    }
}

/// What Go's parser says of a text that is no address.
fn wrong(raw: &str) -> String {
    let Some(at) = raw.find(['.', ':', '%']) else { return "unable to parse IP".to_string() };
    if raw.as_bytes()[at] != b'.' {
        return match raw.as_bytes()[at] {
            b'%' => "missing IPv6 address".to_string(),
            _ => format!("unexpected character (at {raw:?})"),
        };
    }
    let parts: Vec<&str> = raw.split('.').collect();
    if let Some(at) = raw.find(|it: char| it != '.' && !it.is_ascii_digit()) {
        return format!("unexpected character (at {:?})", &raw[at..]);
    }
    if let Some(empty) = parts.iter().position(|it| it.is_empty()) {
        let from = parts[..empty].iter().map(|it| it.len() + 1).sum::<usize>();
        let from = from.min(raw.len().saturating_sub(1));
        return format!("IPv4 field must have at least one digit (at {:?})", &raw[from..]);
    }
    if parts.iter().any(|it| it.len() > 1 && it.starts_with('0')) {
        return "IPv4 field has octet with leading zero".to_string();
    }
    if parts.iter().any(|it| it.len() > 3 || it.parse::<u16>().is_ok_and(|it| it > 255)) {
        return "IPv4 field has value >255".to_string();
    }
    if parts.len() < 4 { "IPv4 address too short" } else { "IPv4 address too long" }.to_string()
}

/// A range; upstream says twice what went wrong.
fn cidr(raw: &str) -> Result<(IpAddr, u8), RunError> {
    parse_cidr(raw).map_err(|error| {
        let said = "network address parse error during conversion from string";
        RunError::of(format!("{said}: {error}"))
    })
}

fn parse_cidr(raw: &str) -> Result<(IpAddr, u8), String> {
    let failed = |why: &str| {
        format!(
            "network address parse error during conversion from string: \
             netip.ParsePrefix({raw:?}): {why}"
        )
    };
    let Some((address, length)) = raw.rsplit_once('/') else { return Err(failed("no '/'")) };
    let address: IpAddr = address
        .parse()
        .map_err(|_| failed(&format!("ParseAddr({address:?}): {}", wrong(address))))?;
    let plain = length.bytes().all(|it| it.is_ascii_digit())
        && !length.is_empty()
        && (length.len() == 1 || !length.starts_with('0'));
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length: u8 = match length.parse::<u32>() {
        Ok(found) if plain && found <= most => found as u8,
        Ok(_) if plain => return Err(failed("prefix length out of range")),
        _ => return Err(failed(&format!("bad bits after slash: {length:?}"))),
    };
    match mapped(address) {
        true => Err(format!("IPv4-mapped IPv6 address {raw:?} is not allowed")),
        false => Ok((address, length)),
    }
}

fn link_local_multicast(it: IpAddr) -> bool {
    match it {
        IpAddr::V4(it) => it.octets()[..3] == [224, 0, 0],
        IpAddr::V6(it) => it.segments()[0] & 0xff0f == 0xff02,
    }
}

fn link_local(it: IpAddr) -> bool {
    match it {
        IpAddr::V4(it) => it.is_link_local(),
        IpAddr::V6(it) => it.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn global(it: IpAddr) -> bool {
    let broadcast = matches!(it, IpAddr::V4(it) if it.is_broadcast());
    !broadcast && !it.is_unspecified() && !it.is_loopback() && !it.is_multicast() && !link_local(it)
}

/// The bits of an address, and how many there are.
fn bits(it: IpAddr) -> (u128, u32) {
    match it {
        IpAddr::V4(it) => (u128::from(it.to_bits()), 32),
        IpAddr::V6(it) => (it.to_bits(), 128),
    }
}

fn masked(it: IpAddr, length: u8) -> IpAddr {
    let (number, width) = bits(it);
    let host = width - u32::from(length);
    let kept = if host == 128 { 0 } else { number >> host << host };
    match it {
        IpAddr::V4(_) => IpAddr::V4((kept as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(kept.into()),
    }
}

fn within(address: IpAddr, length: u8, it: IpAddr) -> bool {
    address.is_ipv4() == it.is_ipv4() && masked(it, length) == masked(address, length)
}

fn contains_ip<'a>(args: &[Value<'a>]) -> Made<'a> {
    let (address, length) = range(args)?;
    let it = match &args[1] {
        Value::Ip(it) => *it,
        // What cannot be read is no address to upstream, and so no argument.
        _ => parse(text(args, 1)?).map_err(|_| RunError::no_overload())?,
    };
    Ok(Value::Bool(within(address, length, it)))
}

fn contains_cidr<'a>(args: &[Value<'a>]) -> Made<'a> {
    let (address, length) = range(args)?;
    let (other, other_length) = match &args[1] {
        Value::Cidr(it, length) => (*it, *length),
        _ => cidr(text(args, 1)?)?,
    };
    let inside = within(address, length, masked(other, other_length));
    Ok(Value::Bool(inside && length <= other_length))
}
