//! Ports of the machine that pods take.

use super::{ContainerPort, PodSpec};

/// A port of the machine that one pod has to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// On this address of the machine; empty is every one.
    pub ip: String,
    pub protocol: String,
    pub port: u16,
}

/// Why a pod whose ports another one has is not taken.
pub const NO_FREE_PORTS: &str = "node(s) didn't have free ports for the requested pod ports";

impl HostPort {
    /// Of all addresses.
    pub fn tcp(port: u16) -> HostPort {
        HostPort { ip: String::new(), protocol: "TCP".to_owned(), port }
    }

    /// Whether not both can be had.
    fn clashes(&self, other: &HostPort) -> bool {
        let one_address = self.ip.is_empty() || other.ip.is_empty() || self.ip == other.ip;
        one_address && self.protocol == other.protocol && self.port == other.port
    }
}

/// Whether one of the ports that are wanted is taken.
pub fn clash<'a>(wanted: &[HostPort], taken: impl IntoIterator<Item = &'a HostPort>) -> bool {
    taken.into_iter().any(|taken| wanted.iter().any(|wanted| wanted.clashes(taken)))
}

impl From<&ContainerPort> for HostPort {
    fn from(port: &ContainerPort) -> HostPort {
        let ip = if port.host_ip == "0.0.0.0" { String::new() } else { port.host_ip.clone() };
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        HostPort { ip, protocol: protocol.to_owned(), port: port.host_port }
    }
}

impl PodSpec {
    /// The ports of the machine that the pod takes for as long as it runs.
    pub fn taken_ports(&self) -> Vec<HostPort> {
        let sidecars = self.init_containers.iter().filter(|c| c.is_sidecar());
        let ports = sidecars.chain(&self.containers).flat_map(|c| &c.ports);
        ports.filter(|port| port.host_port != 0).map(HostPort::from).collect()
    }
}
