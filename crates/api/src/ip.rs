//! Addresses and CIDR blocks as the API reads them, with the sentences that users know (KEP-4858, strict validation).

use crate::errors::{Errors, Path};
pub use skiff_base::Cidr;
use std::net::{IpAddr, Ipv4Addr};

pub const INVALID: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const MAPPED: &str = "must not have an IPv4-mapped IPv6 address";
const INVALID_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address, read sloppily: leading zeros are ignored, an IPv4 address in IPv6 form is IPv4.
pub fn parse(text: &str) -> Option<IpAddr> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)),
        Ok(v4) => Some(v4),
        Err(_) => sloppy_v4(text).map(IpAddr::V4),
    }
}

fn sloppy_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        *octet = part.trim_start_matches('0').parse().or_else(|_| zero(part)).ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

fn zero(part: &str) -> Result<u8, ()> {
    if part.bytes().all(|c| c == b'0') { Ok(0) } else { Err(()) }
}

/// The IP family as Services name it.
pub fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// An address of a field that is older than strict validation: not necessarily in canonical form.
pub fn validate(path: &Path, text: &str, errors: &mut Errors) {
    if let Err(why) = strict(text) {
        errors.invalid(path, text, why);
    }
}

/// An address as it is written today, in whatever form of those that mean the same to all.
fn strict(text: &str) -> Result<IpAddr, &'static str> {
    if parse(text).is_none() {
        return Err(INVALID);
    }
    match text.parse::<IpAddr>() {
        Err(_) => Err("must not have leading 0s"),
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Err("must not be an IPv4-mapped IPv6 address")
        }
        Ok(address) => Ok(address),
    }
}

/// What is wrong with an address that has one form only.
pub fn problems(text: &str) -> Vec<String> {
    match strict(text) {
        Err(why) => vec![why.to_owned()],
        Ok(address) => canonical(text, &address.to_string()).into_iter().collect(),
    }
}

fn canonical(text: &str, canonical: &str) -> Option<String> {
    (text != canonical).then(|| format!("must be in canonical form ({canonical:?})"))
}

/// What an endpoint may not have as its address.
pub fn validate_endpoint(path: &Path, text: &str, address: IpAddr, errors: &mut Errors) {
    let (link_local, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => {
            (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02)
        }
    };
    if address.is_unspecified() {
        errors.invalid(path, text, &format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        let why = "may not be in the loopback range (127.0.0.0/8, ::1/128)";
        errors.invalid(path, text, why);
    }
    if link_local {
        let why = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
        errors.invalid(path, text, why);
    }
    if multicast {
        let why = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
        errors.invalid(path, text, why);
    }
}

/// What users are warned of about an address that is accepted.
pub fn warnings(path: &str, text: &str) -> Option<String> {
    let sloppy = parse(text)?;
    match text.parse::<IpAddr>() {
        Err(_) => {
            Some(format!("{path}: non-standard IP address {text:?} is invalid: use \"{sloppy}\""))
        }
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Some(format!("{path}: non-standard IP address {text:?} is invalid: use \"{sloppy}\""))
        }
        Ok(IpAddr::V6(v6)) if v6.to_string() != text => Some(format!(
            "{path}: IPv6 address {text:?} should be in RFC 5952 canonical format (\"{v6}\")"
        )),
        Ok(_) => None,
    }
}

/// Reads a block of addresses sloppily; the second value is the address as it was written.
pub fn parse_cidr(text: &str) -> Option<(Cidr, IpAddr)> {
    let (address, bits) = text.split_once('/')?;
    let address = parse(address)?;
    if bits.is_empty() || bits.len() > 3 || !bits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    Cidr::new(address, bits.parse().ok()?).map(|cidr| (cidr, address))
}

/// A block in a field that is older than strict validation.
pub fn validate_cidr(path: &Path, text: &str, errors: &mut Errors) {
    if let Err(why) = strict_cidr(text) {
        errors.invalid(path, text, why);
    }
}

/// A block that has one form only.
pub fn validate_canonical_cidr(path: &Path, text: &str, errors: &mut Errors) {
    match strict_cidr(text) {
        Err(why) => errors.invalid(path, text, why),
        Ok(cidr) => {
            let why = canonical(text, &cidr.to_string());
            why.into_iter().for_each(|why| errors.invalid(path, text, &why));
        }
    }
}

fn strict_cidr(text: &str) -> Result<Cidr, &'static str> {
    let form = form(text);
    let (cidr, address) = match (parse_cidr(text), &form) {
        (Some(parsed), _) => parsed,
        // It is read as one of IPv4, of which it has too many bits.
        (None, Form::Mapped) if mapped_bits(text) => return Err(MAPPED),
        (None, _) => return Err(INVALID_CIDR),
    };
    match form {
        Form::Zeros => Err("must not have leading 0s in IP or prefix length"),
        Form::Mapped => Err(MAPPED),
        Form::Plain if address != cidr.base() => {
            Err("must not have bits set beyond the prefix length")
        }
        Form::Plain => Ok(cidr),
    }
}

/// Whether the prefix is one of an IPv6 address.
fn mapped_bits(text: &str) -> bool {
    text.split_once('/').and_then(|(_, bits)| bits.parse().ok()).is_some_and(|bits: u8| bits <= 128)
}

/// How a block that can be read is written.
enum Form {
    /// With zeros that some read as octal.
    Zeros,
    /// As IPv6, though it is of IPv4.
    Mapped,
    Plain,
}

fn form(text: &str) -> Form {
    let (plain, bits) = text.split_once('/').unwrap_or((text, ""));
    let zeros = bits.len() > 1 && bits.starts_with('0');
    match plain.parse::<IpAddr>() {
        Err(_) => Form::Zeros,
        Ok(_) if zeros => Form::Zeros,
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => Form::Mapped,
        Ok(_) => Form::Plain,
    }
}

/// What users are warned of about a block that is accepted.
pub fn cidr_warnings(path: &str, text: &str) -> Vec<String> {
    let Some((cidr, address)) = parse_cidr(text) else { return Vec::new() };
    let mut warnings = Vec::new();
    if address != cidr.base() {
        let one = Cidr::one(address);
        warnings.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be \"{cidr}\" or \"{one}\"?)"
        ));
    }
    if !matches!(form(text), Form::Plain) {
        warnings
            .push(format!("{path}: non-standard CIDR value {text:?} is invalid: use \"{cidr}\""));
    } else if warnings.is_empty() && !cidr.is_ipv4() && cidr.to_string() != text {
        warnings.push(format!(
            "{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format (\"{cidr}\")"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_blocks_are_read() {
        assert_eq!(parse("010.2.3.004"), Some([10, 2, 3, 4].into()));
        assert_eq!(parse("::ffff:1.2.3.4"), Some([1, 2, 3, 4].into()));
        assert_eq!(parse("1.2.3"), None);
        let (cidr, _) = parse_cidr("10.96.0.0/16").expect("it is one");
        assert!(cidr.contains([10, 96, 3, 4]) && !cidr.contains([10, 97, 0, 1]));
        assert_eq!(parse_cidr("10.0.0.0/33"), None);
    }

    #[test]
    fn what_is_odd_is_told() {
        let mut errors = Errors::new();
        validate(&Path::new("a"), "1.2.3.04", &mut errors);
        validate_cidr(&Path::new("b"), "10.0.0.1/24", &mut errors);
        assert_eq!(
            errors.text(),
            "[a: Invalid value: \"1.2.3.04\": must not have leading 0s, b: Invalid value: \
             \"10.0.0.1/24\": must not have bits set beyond the prefix length]"
        );
        assert_eq!(
            warnings("x", "2001:DB8::1").as_deref(),
            Some(
                "x: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format \
                 (\"2001:db8::1\")"
            )
        );
    }
}
