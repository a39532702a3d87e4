//! Hearing that a network has other addresses, or another way out, than a moment ago (rtnetlink(7)).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::netlink::socket::{Family, Socket};
use crate::{NetNs, Result};

/// Groups of linux/rtnetlink.h (`RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`).
const ADDRESSES: u32 = 5;
const ROUTES: u32 = 7;
/// Where a route's message has the length of its destination: 0 is the default route.
const DESTINATION_BITS: usize = 1;

/// Readable when something was changed.
#[derive(Debug)]
pub struct Moves(Socket);

impl Moves {
    pub fn open(namespace: &NetNs) -> Result<Moves> {
        let mut socket = Socket::open(namespace, Family::Route)?;
        socket.subscribe(ADDRESSES)?;
        socket.subscribe(ROUTES)?;
        Ok(Moves(socket))
    }

    /// Whether what was heard since the last call concerns an address or the default route; a pod's route does not.
    pub fn heard(&mut self) -> Result<bool> {
        let mut moved = false;
        let whole = self.0.heard(|reply| {
            moved |= match reply.kind {
                libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
                    reply.body.get(DESTINATION_BITS) == Some(&0)
                }
                kind => matches!(kind, libc::RTM_NEWADDR | libc::RTM_DELADDR),
            };
        })?;
        Ok(moved || !whole)
    }
}

impl AsFd for Moves {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Moves {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::route::{self, Route};

    #[test]
    fn addresses_and_the_way_out_are_heard_and_other_routes_are_not() {
        let ns = NetNs::create().unwrap();
        let mut moves = Moves::open(&ns).unwrap();
        assert!(!moves.heard().unwrap());
        let mut socket = Socket::open(&ns, Family::Route).unwrap();
        let address = "10.9.0.1".parse().unwrap();
        socket.request(vec![route::set_up(1)], "bring up").unwrap();
        moves.heard().unwrap();
        socket.request(vec![route::add_address(1, address, 24)], "address").unwrap();
        assert!(moves.heard().unwrap());
        assert!(!moves.heard().unwrap());
        let to = Route { to: "10.10.0.0/16".parse().unwrap(), ..Route::on(1) };
        socket.request(vec![route::add_route(&to)], "route").unwrap();
        assert!(!moves.heard().unwrap(), "a pod's");
        socket.request(vec![route::add_route(&Route::on(1))], "route").unwrap();
        assert!(moves.heard().unwrap(), "the way out");
    }
}
