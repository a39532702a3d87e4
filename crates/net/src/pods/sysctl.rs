//! Settings of the network stack that pods need, and their former values.
//!
//! What a setting was is recorded beside the node's link before it is changed, so the record lives
//! exactly as long as the network does, whatever happens to the process.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use crate::{Error, NetNs, Result};

/// Whether the node passes packets on.
pub(super) const FORWARD: &str = "net.ipv4.ip_forward";

/// Former values, as text `name=value name=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Former {
    values: BTreeMap<String, String>,
}

impl Former {
    pub(super) fn parse(text: &str) -> Former {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        Former { values: pairs.map(|(name, value)| (name.into(), value.into())).collect() }
    }

    /// Notes a value before it is changed; false if it need not be changed.
    pub(super) fn note(&mut self, namespace: &NetNs, name: &str, wanted: &str) -> Result<bool> {
        let now = read(namespace, name)?;
        if now == wanted {
            return Ok(false);
        }
        self.values.entry(name.to_string()).or_insert(now);
        Ok(true)
    }

    pub(super) fn restore(&self, namespace: &NetNs) -> Result<()> {
        self.values.iter().try_for_each(|(name, value)| write(namespace, name, value))
    }
}

impl fmt::Display for Former {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.values.iter().map(|(n, v)| format!("{n}={v}")).collect();
        f.write_str(&pairs.join(" "))
    }
}

fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// `/proc/sys/net` shows the namespace of the thread that looks.
pub(super) fn read(namespace: &NetNs, name: &str) -> Result<String> {
    let text = namespace.run(|| fs::read_to_string(path(name)))?;
    let text = text.map_err(|source| Error::Sysctl { name: name.to_string(), source })?;
    Ok(text.trim().to_string())
}

pub(super) fn write(namespace: &NetNs, name: &str, value: &str) -> Result<()> {
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
}
