//! Where a registry is reached: itself, and mirrors before it.

use std::net::IpAddr;

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
        _ if is_loopback(domain) => format!("http://{domain}"),
        _ => format!("https://{domain}"),
    }
}

/// Whether `host[:port]` is this machine.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, _)) => ip,
        None => authority.split(':').next().unwrap_or(authority),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
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
}
