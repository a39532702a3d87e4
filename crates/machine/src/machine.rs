//! skeleton of the machine

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use skiff_net::NetNs;

use crate::Result;

/// The folder that holds the machines of this host, one sub-folder each, on a file system that
/// ends with the boot (`/run/skiff/machines`).
#[derive(Clone, Debug)]
pub struct Registry {
    folder: PathBuf,
}

/// What a machine shall be.
#[derive(Clone, Debug)]
pub struct Spec {
    /// 1 to 32 of `a-z 0-9 -`, a letter first.
    pub name: String,
    /// Folder for its data; created if missing, never removed by [`Machine::destroy`].
    pub data: PathBuf,
    pub uplink: Uplink,
}

/// How a machine is reached from outside.
#[derive(Clone, Debug)]
pub enum Uplink {
    /// Not at all.
    None,
    /// By a link of its own to the namespace of the caller: a pair of addresses, `prefix` bits wide
    /// (10.111.0.1 and 10.111.0.2 of a /30). The machine's default route leads to `outside`.
    Pair { outside: Ipv4Addr, inside: Ipv4Addr, prefix: u8 },
    /// By a port of a bridge in another namespace, so that several machines share a private switch.
    /// The bridge is made if missing; `gateway` is the machine's default route, if it shall have one.
    Switch {
        namespace: NetNs,
        bridge: String,
        inside: Ipv4Addr,
        prefix: u8,
        gateway: Option<Ipv4Addr>,
    },
}

impl Registry {
    pub fn at(folder: impl Into<PathBuf>) -> Registry {
        Registry { folder: folder.into() }
    }

    /// Makes a machine and leaves it standing until [`Machine::destroy`].
    pub fn create(&self, spec: &Spec) -> Result<Machine> {
        todo!("{spec:?} {:?}", self.folder)
    }

    /// A machine that stands.
    pub fn open(&self, name: &str) -> Result<Machine> {
        todo!("{name}")
    }

    /// The names of the machines that stand, or that were left half made.
    pub fn list(&self) -> Result<Vec<String>> {
        todo!()
    }
}

/// The namespaces, cgroups and data of one Skiff.
#[derive(Clone, Debug)]
pub struct Machine {
    name: String,
    network: NetNs,
    data: PathBuf,
    cgroup: PathBuf,
}

impl Machine {
    /// The host itself, as the calling thread sees it. Nothing is made.
    pub fn host(data: impl Into<PathBuf>) -> Result<Machine> {
        Ok(Machine {
            name: "host".to_string(),
            network: NetNs::current()?,
            data: data.into(),
            cgroup: PathBuf::from("/"),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn network(&self) -> &NetNs {
        &self.network
    }

    /// The folder that holds all data of this machine.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The machine's root in each cgroup hierarchy, relative to the hierarchy's mount point: `/`
    /// for the host, `/skiff-NAME` for others.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// The address under which the host reaches the machine; `None` for the host itself.
    pub fn address(&self) -> Option<Ipv4Addr> {
        todo!()
    }

    /// Starts `command` inside: its namespaces, its cgroup. For the host it is a plain spawn.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        todo!("{command:?}")
    }

    /// Removes every trace but the data folder: processes, mounts, links, cgroups, files.
    pub fn destroy(self) -> Result<()> {
        todo!()
    }
}
