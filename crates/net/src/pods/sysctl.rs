//! Settings of the network stack that pods need, and their former values.
//!
//! What a setting was is recorded beside the node's link before it is changed, so the record lives
//! exactly as long as the network does, whatever happens to the process. Several links of one
//! namespace may need the same setting (the pods', a machine's cable): the former value is handed
//! from one to the next, and the last one gives it back.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use crate::netlink::route::{self, Link};
use crate::netlink::socket::Socket;
use crate::{Error, NetNs, Result};

/// Whether the node passes packets on.
const FORWARD: &str = "net.ipv4.ip_forward";
/// A word beside every link that needs this.
const NEEDS: &str = "needs-forwarding";

/// Former values, as text `name=value name=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Former {
    values: BTreeMap<String, String>,
}

impl Former {
    fn parse(text: &str) -> Former {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        Former { values: pairs.map(|(name, value)| (name.into(), value.into())).collect() }
    }

    /// Notes a value before it is changed; false if it need not be changed.
    fn note(&mut self, namespace: &NetNs, name: &str, wanted: &str) -> Result<bool> {
        let now = read(namespace, name)?;
        if now == wanted {
            return Ok(false);
        }
        self.values.entry(name.to_string()).or_insert(now);
        Ok(true)
    }

    fn restore(&self, namespace: &NetNs) -> Result<()> {
        self.values.iter().try_for_each(|(name, value)| write(namespace, name, value))
    }
}

impl fmt::Display for Former {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.values.iter().map(|(n, v)| format!("{n}={v}")).collect();
        f.write_str(&pairs.join(" "))
    }
}

/// Lets the node pass packets on for a link, beside which the former value is noted.
pub(crate) fn forward(socket: &mut Socket, namespace: &NetNs, link: &Link) -> Result<()> {
    let mut former = Former::parse(&link.alias);
    let change = former.note(namespace, FORWARD, "1")?;
    if needs(link) && !change {
        return Ok(());
    }
    let words = link.alias.split_whitespace().filter(|word| *word != NEEDS && !word.contains('='));
    let words: Vec<_> = words.chain([NEEDS]).collect();
    let alias = format!("{} {former}", words.join(" "));
    // First the record, then the change: a crash between them restores what is already so.
    socket.request(vec![route::set_alias(link.index, alias.trim_end())], "record sysctls")?;
    if change { write(namespace, FORWARD, "1") } else { Ok(()) }
}

/// The link goes: another one that needs forwarding inherits the former value, or it comes back.
pub(crate) fn unforward(socket: &mut Socket, namespace: &NetNs, link: &Link) -> Result<()> {
    let former = Former::parse(&link.alias);
    if former.values.is_empty() {
        return Ok(());
    }
    let heir = route::links(socket)?.into_iter().find(|l| l.index != link.index && needs(l));
    let Some(heir) = heir else { return former.restore(namespace) };
    let alias = format!("{} {former}", heir.alias);
    socket.request(vec![route::set_alias(heir.index, &alias)], "hand on sysctls")
}

fn needs(link: &Link) -> bool {
    link.alias.split_whitespace().any(|word| word == NEEDS)
}

fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// `/proc/sys/net` shows the namespace of the thread that looks.
fn read(namespace: &NetNs, name: &str) -> Result<String> {
    let text = namespace.run(|| fs::read_to_string(path(name)))?;
    let text = text.map_err(|source| Error::Sysctl { name: name.to_string(), source })?;
    Ok(text.trim().to_string())
}

fn write(namespace: &NetNs, name: &str, value: &str) -> Result<()> {
    let done = namespace.run(|| fs::write(path(name), value))?;
    done.map_err(|source| Error::Sysctl { name: name.to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_former_value_is_kept() {
        let ns = NetNs::create().unwrap();
        let mut former = Former::default();
        write(&ns, FORWARD, "0").unwrap();
        assert!(former.note(&ns, FORWARD, "1").unwrap());
        write(&ns, FORWARD, "1").unwrap();
        assert!(!former.note(&ns, FORWARD, "1").unwrap());
        assert_eq!(former.to_string(), "net.ipv4.ip_forward=0");
        assert_eq!(Former::parse(&former.to_string()), former);
        former.restore(&ns).unwrap();
        assert_eq!(read(&ns, FORWARD).unwrap(), "0");
    }

    #[test]
    fn the_last_link_gives_forwarding_back() {
        let ns = NetNs::create().unwrap();
        write(&ns, FORWARD, "0").unwrap();
        let mut socket = Socket::open(&ns, crate::netlink::socket::Family::Route).unwrap();
        let mut link = |name: &str| {
            let bridge = route::add_bridge(name, 1500, 0);
            socket.request(vec![bridge], "make link").unwrap();
            let link = route::link_by_name(&mut socket, name).unwrap().unwrap();
            forward(&mut socket, &ns, &link).unwrap();
        };
        link("first");
        link("second");
        let mut go = |name: &str| {
            let link = route::link_by_name(&mut socket, name).unwrap().unwrap();
            unforward(&mut socket, &ns, &link).unwrap();
            socket.request(vec![route::delete_link(link.index)], "remove link").unwrap();
            read(&ns, FORWARD).unwrap()
        };
        assert_eq!(go("first"), "1", "the second still needs it");
        assert_eq!(go("second"), "0");
    }
}
