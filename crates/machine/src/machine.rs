//! The value itself: what every part that acts on a kernel is given instead of "the host".

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use skiff_net::NetNs;

use crate::enter;
use crate::process::Process;
use crate::record::Record;
use crate::registry::Registry;
use crate::{Error, Result};

/// The namespaces, cgroups and data of one Skiff.
#[derive(Clone, Debug)]
pub struct Machine {
    name: String,
    network: NetNs,
    data: PathBuf,
    cgroup: PathBuf,
    /// `None` for the machine that the caller is in.
    inside: Option<Inside>,
}

/// What only a machine in a namespace has.
#[derive(Clone, Debug)]
struct Inside {
    init: Process,
    address: Option<IpAddr>,
    registry: Registry,
}

impl Machine {
    /// The host itself, as the calling thread sees it. Nothing is made.
    pub fn host(data: impl Into<PathBuf>) -> Result<Machine> {
        Machine::here("host", data, "/")
    }

    /// The machine that the caller is in already: how a daemon that was started inside one names
    /// its own.
    pub fn here(
        name: &str,
        data: impl Into<PathBuf>,
        cgroup: impl Into<PathBuf>,
    ) -> Result<Machine> {
        Ok(Machine {
            name: name.to_string(),
            network: NetNs::current()?,
            data: data.into(),
            cgroup: cgroup.into(),
            inside: None,
        })
    }

    pub(crate) fn from_record(registry: &Registry, name: &str, record: Record) -> Result<Machine> {
        let init = record.init.filter(Process::is_alive);
        let init = init.ok_or_else(|| Error::Stopped(name.to_string()))?;
        Ok(Machine {
            name: name.to_string(),
            network: NetNs::open(init.namespace("net"))?,
            data: record.data,
            cgroup: record.cgroup,
            inside: Some(Inside { init, address: record.address, registry: registry.clone() }),
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
    /// for the host.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// The address under which the machine is reached from outside; `None` for the host and for a
    /// machine without an uplink.
    pub fn address(&self) -> Option<IpAddr> {
        self.inside.as_ref()?.address
    }

    /// The machine's process 1, as the caller's process namespace numbers it; `None` for the host.
    /// `nsenter -a -t PID` goes in by hand.
    pub fn init(&self) -> Option<u32> {
        self.inside.as_ref().map(|inside| inside.init.pid)
    }

    /// Starts a command inside: in all of the machine's namespaces, in its cgroup, with `/` as
    /// working folder. For the host it is a plain spawn. Inside a machine the command is a child of
    /// the machine's init: what is returned has the command's input and output, but ends at once
    /// and knows nothing of how the command ends.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let failed = |source: io::Error| Error::System { what: "start command", source };
        match &self.inside {
            None => command.spawn().map_err(failed),
            Some(inside) => enter::spawn(&inside.init, &self.cgroup, command),
        }
    }

    /// Removes every trace but the data folder. The host cannot be destroyed; for it this does
    /// nothing.
    pub fn destroy(self) -> Result<()> {
        let Machine { name, network, inside, .. } = self;
        // Its descriptor would keep the namespace, and with it the links, alive.
        drop(network);
        match inside {
            None => Ok(()),
            Some(inside) => inside.registry.destroy(&name),
        }
    }
}
