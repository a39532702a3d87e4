//! Where a registry is reached: itself, and mirrors before it.

use std::net::IpAddr;

use http::Uri;

use crate::reference::Reference;

/// Another place to get the images of a registry from, tried before the registry itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mirror {
    /// The registry that is mirrored, `registry.k8s.io`; `*` is every registry.
    pub registry: String,
    /// `http://127.0.0.1:5000`, or `https://host/prefix`.
    pub url: String,
}

/// A base of URLs, `https://registry-1.docker.io`, and whether it is the registry itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) base: String,
    /// Credentials are the registry's: mirrors get them only if they have its name.
    pub(crate) trusted: bool,
}

impl Host {
    /// The hosts for a reference, in the order in which they are tried.
    pub(crate) fn all(reference: &Reference, mirrors: &[Mirror]) -> Vec<Host> {
        let domain = reference.domain();
        let fits = |mirror: &&Mirror| mirror.registry == domain || mirror.registry == "*";
        let mirrors = mirrors.iter().filter(fits).map(|mirror| {
            let base = mirror.url.trim_end_matches('/').to_owned();
            Host { trusted: false, base }
        });
        mirrors.chain([Host { base: origin(domain), trusted: true }]).collect()
    }
}

/// Docker Hub's registry has another name than the hub; on loopback there are no certificates.
fn origin(domain: &str) -> String {
    match domain {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        _ if is_loopback(&format!("http://{domain}")) => format!("http://{domain}"),
        _ => format!("https://{domain}"),
    }
}

/// A URL as it will be dialed (RFC 3986, section 3.2). One with a user in front of the host is
/// none: `http://127.0.0.1:1@registry/` only looks like this machine.
pub(crate) fn parse(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?.as_str();
    (!authority.contains('@') && uri.scheme().is_some()).then_some(uri)
}

/// The host of a URL, an IPv6 address without its brackets.
pub(crate) fn bare(uri: &Uri) -> &str {
    uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']')
}

/// Whether the URL's host is this machine, by its name.
pub(crate) fn is_loopback(url: &str) -> bool {
    parse(url).is_some_and(|uri| {
        let host = bare(&uri);
        let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(loopback)
    })
}

/// Whether an address is of this machine or of its link alone. Only a registry that is there itself
/// may send a client to it: other services behind such addresses trust whoever reaches them.
pub(crate) fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_tried_in_order() {
        let mirror = |registry: &str, url: &str| Mirror {
            registry: registry.to_owned(),
            url: url.to_owned(),
        };
        let mirrors =
            [mirror("registry.k8s.io", "http://127.0.0.1:5000/"), mirror("*", "https://all/p")];
        for (reference, wanted) in [
            (
                "registry.k8s.io/pause:1",
                "http://127.0.0.1:5000 https://all/p https://registry.k8s.io",
            ),
            ("busybox", "https://all/p https://registry-1.docker.io"),
            ("localhost:5000/a", "https://all/p http://localhost:5000"),
            ("127.0.0.2:5000/a", "https://all/p http://127.0.0.2:5000"),
            ("[::1]:5000/a", "https://all/p http://[::1]:5000"),
            ("10.0.0.1:5000/a", "https://all/p https://10.0.0.1:5000"),
        ] {
            let hosts = Host::all(&Reference::parse(reference).unwrap(), &mirrors);
            let bases: Vec<String> = hosts.into_iter().map(|host| host.base).collect();
            assert_eq!(bases.join(" "), wanted, "{reference}");
        }
    }

    #[test]
    fn this_machine_is_known_by_the_host_that_is_dialed() {
        for (url, wanted) in [
            ("http://localhost:5000/v2", true),
            ("http://LocalHost", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]:5000", true),
            ("http://[::ffff:127.0.0.1]:5000", true),
            ("http://127.0.0.1:1@evil/", false),
            ("http://127.0.0.1@evil", false),
            ("http://localhost@evil:5000/", false),
            ("http://127.0.0.1.evil/", false),
            ("http://evil#@127.0.0.1/", false),
            ("http://evil?@127.0.0.1/", false),
            ("http://evil\\@127.0.0.1/", false),
            ("127.0.0.1:5000", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(url), wanted, "{url}");
        }
    }

    #[test]
    fn near_addresses() {
        for (address, wanted) in [
            ("127.0.0.1", true),
            ("169.254.169.254", true),
            ("0.0.0.0", true),
            ("::ffff:169.254.169.254", true),
            ("::1", true),
            ("fe80::1", true),
            ("10.0.0.1", false),
            ("fd00::1", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(is_near(address.parse().unwrap()), wanted, "{address}");
        }
    }
}
