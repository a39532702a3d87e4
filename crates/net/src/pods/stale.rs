//! UDP flows through host ports: connection tracking would keep sending them to a pod that has
//! gone, or to the node itself if they began before the pod came.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Attachment, State};
use crate::netlink::conntrack::{Flow, Wanted, delete, flows};
use crate::netlink::route;
use crate::{Protocol, Result};

/// After the host ports of a pod were opened: flows that go past it.
pub(super) fn opened(state: &mut State, pod: &Attachment) -> Result<()> {
    if wanted(pod).next().is_none() {
        return Ok(());
    }
    let own = route::addresses(&mut state.routes)?;
    let own: BTreeSet<IpAddr> = own.into_iter().map(|(_, address)| address).collect();
    forget(state, pod, |flow| {
        let to = flow.original.destination;
        (own.contains(&to) || to.is_loopback()) && flow.reply.source != pod.address
    })
}

/// After the host ports of a pod were closed: flows that go to it.
pub(super) fn closed(state: &mut State, pod: &Attachment) -> Result<()> {
    forget(state, pod, |flow| flow.reply.source == pod.address)
}

fn wanted(pod: &Attachment) -> impl Iterator<Item = Wanted> + '_ {
    let udp = pod.host_ports.iter().filter(|port| port.protocol == Protocol::Udp);
    udp.map(|port| Wanted {
        protocol: Protocol::Udp.number(),
        destination: port.host_ip,
        destination_port: Some(port.host_port),
    })
}

fn forget(state: &mut State, pod: &Attachment, is_stale: impl Fn(&Flow) -> bool) -> Result<()> {
    for wanted in wanted(pod) {
        let mut found = flows(&mut state.rules, &wanted)?;
        found.retain(&is_stale);
        delete(&mut state.rules, &found)?;
    }
    Ok(())
}
