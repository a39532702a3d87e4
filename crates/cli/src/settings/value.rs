//! The shapes that a setting's value can have, and what is wrong with one that has not.

use skiff_base::Cidr;
use skiff_kinds::pod_security::{Exemptions, Policy};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Address,
    Cgroup,
    /// A number that is not negative.
    Count,
    /// A span of a second or more, in Go's words.
    Duration,
    /// Whom Pod Security asks nothing of.
    Exemption,
    File,
    Folder,
    /// What is logged: levels, for all or by part.
    Level,
    Mirrors,
    /// A DNS name: labels of a-z, 0-9 and -.
    Name,
    /// One of these words.
    OneOf(&'static [&'static str]),
    Ranges,
    /// A registry as image names have it: a host, and mostly a port.
    Registry,
    Socket,
    /// A sysctl of a namespace, or the beginning of one with a `*` behind.
    Sysctls,
    /// A mode of Pod Security with its level.
    Standard,
    Switch,
    /// Any text.
    Text,
    /// An https URL without query and fragment.
    Url,
}

/// The longest DNS name (RFC 1035, section 2.3.4).
const NAME_MOST: usize = 253;
const LABEL_MOST: usize = 63;

impl Shape {
    pub(super) fn placeholder(self) -> &'static str {
        match self {
            Shape::Address => "ADDRESS",
            Shape::Cgroup => "PATH",
            Shape::Count => "NUMBER",
            Shape::Duration => "DURATION",
            Shape::Exemption => "SORT=NAME",
            Shape::File => "FILE",
            Shape::Folder => "FOLDER",
            Shape::Level => "LEVEL",
            Shape::Mirrors => "REGISTRY=URL",
            Shape::Name => "NAME",
            Shape::OneOf(_) => "WORD",
            Shape::Ranges => "CIDR",
            Shape::Registry => "HOST:PORT",
            Shape::Socket => "ADDRESS:PORT",
            Shape::Sysctls => "SYSCTL",
            Shape::Standard => "MODE=LEVEL",
            Shape::Switch => "BOOL",
            Shape::Text => "TEXT",
            Shape::Url => "URL",
        }
    }

    pub(super) fn check(self, value: &str) -> Result<(), String> {
        let fits = match self {
            Shape::Address => value.parse::<Ipv4Addr>().is_ok(),
            Shape::Cgroup => is_below(value),
            Shape::Count => value.parse::<u32>().is_ok(),
            Shape::Duration => return duration(value).map(drop),
            Shape::Exemption => return Exemptions::default().add(value),
            Shape::File | Shape::Folder => {
                value.starts_with('/') && value.len() > 1 && is_below(&value[1..])
            }
            Shape::Level => value.split(',').all(is_level),
            Shape::Mirrors => is_mirror(value),
            Shape::Name => is_name(value),
            Shape::OneOf(words) => words.contains(&value),
            Shape::Ranges => return ranges(value).map(|_| ()),
            Shape::Registry => is_registry(value),
            Shape::Socket => value.parse::<SocketAddr>().is_ok_and(|socket| socket.is_ipv4()),
            Shape::Sysctls => is_sysctl(value),
            Shape::Standard => return Policy::default().set(value),
            Shape::Switch => value == "true" || value == "false",
            Shape::Text => !value.is_empty(),
            Shape::Url => is_https(value),
        };
        match (fits, self) {
            (true, _) => Ok(()),
            (false, Shape::OneOf(words)) => {
                Err(format!("it has to be one of {}", words.join(", ")))
            }
            (false, _) => Err(format!("it has to be {}", self.wanted())),
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Shape::Address => "an IPv4 address",
            Shape::Cgroup => "a path without . and .., as in skiff or machine/skiff",
            Shape::Count => "a number from 0 to 4294967295",
            Shape::Duration => "a second or more, as in 8760h or 1m30s",
            Shape::Exemption => "namespace=, runtime-class= or user= and a name",
            Shape::File | Shape::Folder => "an absolute path without . and ..",
            Shape::Level => {
                "error, warn, info, debug or trace, or by part, as in info,skiff_node=debug"
            }
            Shape::Mirrors => "a registry and a URL, as in registry.k8s.io=http://127.0.0.1:5000",
            Shape::OneOf(_) => "one of its words",
            Shape::Name => "a name of a-z, 0-9, - and .",
            Shape::Registry => "a host, mostly with a port, as in 192.0.2.7:5000",
            Shape::Ranges => "a range of IPv4 addresses, as in 10.244.0.0/16",
            Shape::Socket => "an IPv4 address and a port, as in 0.0.0.0:6443",
            Shape::Sysctls => "a sysctl of a namespace, as in kernel.msgmax or net.core.*",
            Shape::Standard => "a mode and a level, as in enforce=baseline:latest",
            Shape::Switch => "true or false",
            Shape::Text => "a text",
            Shape::Url => {
                "an https URL without query and fragment, as in https://issuer.example.com"
            }
        }
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let nanos = skiff_api::duration::parse(text)?;
    let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    match span.as_secs() {
        0 => Err(format!("it has to be {}", Shape::Duration.wanted())),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

fn is_below(path: &str) -> bool {
    let named = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.strip_suffix('/').unwrap_or(path).split('/').all(named)
}

fn is_level(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-".contains(&b))
    };
    let level = text.split_once('=').map_or(Some(text), |(of, level)| part(of).then_some(level));
    matches!(level, Some("off" | "error" | "warn" | "info" | "debug" | "trace"))
}

fn is_mirror(text: &str) -> bool {
    let Some((registry, url)) = text.split_once('=') else { return false };
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    !registry.is_empty() && host.is_some_and(|host| !host.is_empty())
}

fn is_https(text: &str) -> bool {
    let rest = text.strip_prefix("https://");
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['?', '#', '@', ' ']))
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "80"));
    is_name(&host.to_lowercase()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Namespaced by the kernel: no other may be set for a pod.
fn is_sysctl(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text).replace('/', ".");
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let starts = ["net.", "fs.mqueue.", "kernel.msg", "kernel.shm", "kernel.sem"];
    name.bytes().all(inner) && starts.iter().any(|start| name.starts_with(start))
}

fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| {
        let ends = !label.starts_with('-') && !label.ends_with('-');
        !label.is_empty() && label.len() <= LABEL_MOST && ends && label.bytes().all(inner)
    };
    name.len() <= NAME_MOST && name.split('.').all(label)
}

/// A name that is like this one: other letters than a name's are taken for `-`.
pub(super) fn as_name(text: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let text: String = text.to_lowercase().chars().map(letter).collect();
    let labels = text.split('.').map(|label| label.trim_matches('-')).filter(|l| !l.is_empty());
    match labels.collect::<Vec<_>>().join(".") {
        name if is_name(&name) => name,
        _ => "node".to_owned(),
    }
}

/// As they are written in a setting.
pub(super) fn listed(ranges: &[Cidr]) -> String {
    ranges.iter().map(Cidr::to_string).collect::<Vec<_>>().join(",")
}

/// Ranges of addresses, separated by commas. The one place that knows that there is one family yet.
pub(super) fn ranges(text: &str) -> Result<Vec<Cidr>, String> {
    let wrong = || format!("it has to be {}", Shape::Ranges.wanted());
    let ranges = text.split(',').map(|range| {
        let (base, prefix) = range.split_once('/').ok_or_else(wrong)?;
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let prefix = prefix.parse().ok().filter(|bits| *bits > 0).ok_or_else(wrong)?;
        let range = Cidr::new(base, prefix).ok_or_else(wrong)?;
        if range.base() != base {
            return Err("its address has bits behind the prefix".to_owned());
        }
        Ok(range)
    });
    let ranges: Vec<Cidr> = ranges.collect::<Result<_, _>>()?;
    match &ranges[..] {
        [range] if range.is_ipv4() => Ok(ranges),
        _ => Err(wrong()),
    }
}
