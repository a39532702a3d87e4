//! Stale UDP flows: those that connection tracking still sends to an endpoint that is gone, or past
//! a service that had no endpoint when they began.
//!
//! TCP notices for itself; a UDP sender does not, and each of its packets keeps the old flow alive.
//! So after a change that took something away the flows of the frontends concerned are listed, and
//! those that end elsewhere than in today's endpoints are deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::ServicePort;
use super::layout::frontends;
use crate::netlink::conntrack::{Flow, Wanted, delete, flows};
use crate::netlink::route;
use crate::netlink::socket::Socket;
use crate::{Protocol, Result};

/// Up to so many frontends are asked for one by one; beyond, all UDP flows are listed once.
const ONE_BY_ONE: usize = 8;

/// Frontends whose flows may be stale, each with the endpoints that are good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Suspects {
    frontends: BTreeMap<(IpAddr, u16), BTreeSet<(IpAddr, u16)>>,
}

impl Suspects {
    /// Looks at one change.
    pub(super) fn note(&mut self, old: Option<&ServicePort>, new: Option<&ServicePort>) {
        let udp = |port: &&ServicePort| port.protocol == Protocol::Udp;
        let (old, new) = (old.filter(udp), new.filter(udp));
        if old == new {
            return;
        }
        let good = new.map(endpoints).unwrap_or(BTreeSet::new());
        let had = old.map(endpoints).unwrap_or(BTreeSet::new());
        let all_stay = !had.is_empty() && had.is_subset(&good);
        let now: BTreeSet<_> = new.iter().flat_map(|p| keys(p)).collect();
        let before: BTreeSet<_> = old.iter().flat_map(|p| keys(p)).collect();
        for key in before.union(&now) {
            let kept = before.contains(key) && now.contains(key);
            if !(kept && all_stay) {
                let good = if now.contains(key) { good.clone() } else { BTreeSet::new() };
                self.frontends.entry(*key).or_default().extend(good);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frontends.is_empty()
    }

    /// Deletes stale flows; returns how many.
    pub(super) fn clear(&self, socket: &mut Socket, routes: &mut Socket) -> Result<usize> {
        let mut own = BTreeSet::new();
        if self.frontends.keys().any(|(address, _)| address.is_unspecified()) {
            own.extend(route::addresses(routes)?.into_iter().map(|(_, address)| address));
        }
        let mut stale = Vec::new();
        for wanted in self.wanted() {
            let found = flows(socket, &wanted)?;
            stale.extend(found.into_iter().filter(|flow| self.is_stale(flow, &own)));
        }
        delete(socket, &stale)?;
        Ok(stale.len())
    }

    fn wanted(&self) -> Vec<Wanted> {
        let all =
            Wanted { protocol: Protocol::Udp.number(), destination: None, destination_port: None };
        if self.frontends.len() > ONE_BY_ONE {
            return vec![all];
        }
        let one = |(address, port): &(IpAddr, u16)| Wanted {
            destination: (!address.is_unspecified()).then_some(*address),
            destination_port: Some(*port),
            ..all
        };
        self.frontends.keys().map(one).collect()
    }

    fn is_stale(&self, flow: &Flow, own: &BTreeSet<IpAddr>) -> bool {
        let asked = (flow.original.destination, flow.original.destination_port);
        let any = (Ipv4Addr::UNSPECIFIED.into(), asked.1);
        let good = match self.frontends.get(&asked) {
            Some(good) => Some(good),
            None if own.contains(&asked.0) || asked.0.is_loopback() => self.frontends.get(&any),
            None => None,
        };
        let ends = (flow.reply.source, flow.reply.source_port);
        good.is_some_and(|good| !good.contains(&ends))
    }
}

fn keys(port: &ServicePort) -> impl Iterator<Item = (IpAddr, u16)> + '_ {
    frontends(port).map(|frontend| (frontend.address, frontend.port))
}

fn endpoints(port: &ServicePort) -> BTreeSet<(IpAddr, u16)> {
    port.endpoints.iter().map(|e| (e.address, e.port)).collect()
}
