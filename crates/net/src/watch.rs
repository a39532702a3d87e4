//! Hearing of changes of packet rules that others make: a firewall that is loaded anew begins with
//! `flush ruleset`, and takes what is not its own along.
//!
//! The kernel tells every change, with the socket that made it. Nothing is asked for and nothing
//! waits here: a caller that knows when the descriptor is readable reads what there is.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use crate::netlink::parse::{Reply, behind, find, text};
use crate::netlink::socket::{Family, Socket};
use crate::nft::encode::{FIXED, NFT};
use crate::{NetNs, Result};

/// What others have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Names of tables of ours that somebody took away, or something of.
    pub lost: BTreeSet<String>,
    /// Somebody changed anything at all.
    pub others: bool,
}

/// A subscription in one namespace.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
}

impl Watch {
    /// What the sockets with the numbers `ports` do is not told: it is our own, and would fill all
    /// room when ten thousand services are written.
    pub fn open(namespace: &NetNs, ports: &[u32]) -> Result<Watch> {
        let mut socket = Socket::open(namespace, Family::Netfilter)?;
        // The kernel itself (0) ends entries whose time is over.
        socket.ignore(&[&[0], ports].concat())?;
        socket.subscribe(libc::NFNLGRP_NFTABLES as u32)?;
        Ok(Watch { socket })
    }

    /// What was done since the last call to `tables` and others.
    pub fn seen(&mut self, tables: &[&str]) -> Result<Seen> {
        let mut seen = Seen::default();
        let whole = self.socket.heard(|reply| {
            if reply.kind & 0xff00 != NFT {
                return;
            }
            seen.others = true;
            seen.lost.extend(lost(reply).filter(|table| tables.contains(&table.as_str())));
        })?;
        if !whole {
            // More was told than fits: anything may be gone.
            let lost = tables.iter().map(|table| table.to_string()).collect();
            return Ok(Seen { lost, others: true });
        }
        Ok(seen)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The table that something was taken from. It is the first attribute of every message.
fn lost(reply: Reply<'_>) -> Option<String> {
    const TABLE: u16 = 1;
    let taken = matches!(
        i32::from(reply.kind & 0xff),
        libc::NFT_MSG_DELTABLE
            | libc::NFT_MSG_DELCHAIN
            | libc::NFT_MSG_DELRULE
            | libc::NFT_MSG_DELSET
            | libc::NFT_MSG_DELSETELEM
    );
    let ours = reply.body.first() == FIXED.first();
    (taken && ours).then(|| find(behind(reply.body, FIXED.len()), TABLE).map(text))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::tests::services;
    use crate::testkit::*;

    const WEB: &str = "web tcp 10.96.0.10:80 node 30080 -> 10.244.0.2:80*";

    #[test]
    fn what_others_take_is_told_and_comes_back() {
        let mut world = World::new();
        let tables = ["skiff-services", &world.network.table()].map(str::to_string);
        let tables = [&*tables[0], &*tables[1]];
        let mut watch = world.network.watch(world.table.port().unwrap()).unwrap();
        let (protocol, host_ip) = (crate::Protocol::Tcp, None);
        let port = crate::HostPort { protocol, host_ip, host_port: 8080, container_port: 80 };
        let a = world.pod_with("a", &[port]);
        tcp_server(&a.ns, "a", 80);
        world.table.change(&services(WEB)).unwrap();
        world.network.restore().unwrap();
        assert_eq!(watch.seen(&tables).unwrap(), Seen::default(), "our own changes");
        nft_does(&world.node, "add table ip somebody");
        let seen = watch.seen(&tables).unwrap();
        assert!(seen.others && seen.lost.is_empty(), "{seen:?}");
        let answers = |world: &World| {
            for to in ["192.168.77.1:30080", "192.168.77.1:8080"] {
                let answer = tcp_ask(&world.client, to);
                assert!(answer.starts_with("a from "), "{to}: {answer}");
            }
        };
        answers(&world);
        for (how, lost) in [
            ("flush ruleset", 2),
            ("delete table ip skiff-services", 1),
            ("delete table ip skiff0-pods", 1),
            ("flush chain ip skiff-services own", 1),
            ("flush map ip skiff-services slots", 1),
            ("flush map ip skiff0-pods host-ports", 1),
        ] {
            nft_does(&world.node, how);
            let seen = watch.seen(&tables).unwrap();
            assert_eq!(seen.lost.len(), lost, "{how}: {seen:?}");
            world.table.restore().unwrap();
            world.network.restore().unwrap();
            answers(&world);
            assert_eq!(watch.seen(&tables).unwrap(), Seen::default(), "{how}");
        }
    }
}
