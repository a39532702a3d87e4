//! What a service may have: cluster addresses in their range, external ones outside of every range
//! of ours, endpoints that are somewhere. Pure.
//!
//! The API refuses most of the rest, but not all of it (the addresses in a Service's status, objects
//! of an older release), and an address that is taken from its owner is taken silently
//! (CVE-2020-8554, CVE-2021-25737). So it is looked at here once more, where nothing goes past.

use std::net::IpAddr;
use std::sync::Arc;

use skiff_base::Cidr;

use super::{ServicePort, ServiceTableConfig};

impl ServiceTableConfig {
    /// The service port without what it may not have; the same `Arc` if that is nothing.
    pub(super) fn fit(&self, port: &Arc<ServicePort>) -> Arc<ServicePort> {
        let within = |all: &[Cidr], address: IpAddr| all.iter().any(|it| it.contains(address));
        let internal = |address: &IpAddr| within(&self.services, *address);
        let external = |address: &IpAddr| {
            is_somewhere(*address) && !internal(address) && !within(&self.cluster, *address)
        };
        if port.cluster_ip.iter().all(internal)
            && port.external_ips.iter().all(external)
            && port.endpoints.iter().all(|endpoint| is_somewhere(endpoint.address))
        {
            return port.clone();
        }
        let mut fitting = ServicePort::clone(port);
        fitting.cluster_ip = fitting.cluster_ip.filter(internal);
        fitting.external_ips.retain(external);
        fitting.endpoints.retain(|endpoint| is_somewhere(endpoint.address));
        Arc::new(fitting)
    }
}

impl ServicePort {
    /// Whether it asks for something that may be a port of the machine.
    pub(super) fn is_external(&self) -> bool {
        self.node_port.is_some() || !self.external_ips.is_empty()
    }
}

/// Whether the address is that of one machine which is not this one by definition: not 0.0.0.0/8 (as
/// a frontend that is every address of the node), not loopback, link-local (where clouds tell
/// machines their secrets), multicast, reserved or broadcast (RFC 6890).
///
/// One of IPv6 is not either, for as long as our tables are of IPv4.
fn is_somewhere(address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    let [first, ..] = address.octets();
    (1..224).contains(&first) && !address.is_loopback() && !address.is_link_local()
}
