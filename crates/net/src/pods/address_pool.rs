//! Which addresses of the node's range are free. Pure.
//!
//! The lowest free one comes next, but one that was just released rests first: somebody may still
//! send to it. Resting is counted in releases, not in time, so no clock is needed.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::{Error, Result};
use skiff_base::Cidr;

/// So many released addresses rest at a time; a small range rests fewer, when it has to.
const RESTING: usize = 64;

#[derive(Debug)]
pub(super) struct AddressPool {
    range: Cidr,
    taken: BTreeSet<IpAddr>,
    resting: VecDeque<IpAddr>,
}

impl AddressPool {
    /// All but the first (the network), the second (the node's) and the last (broadcast).
    pub(super) fn new(range: Cidr) -> AddressPool {
        AddressPool { range, taken: BTreeSet::new(), resting: VecDeque::new() }
    }

    /// Takes the wished address, or the next.
    pub(super) fn take(&mut self, wish: Option<IpAddr>) -> Result<IpAddr> {
        let address = match wish {
            Some(address) if !self.usable().any(|a| a == address) => {
                return Err(Error::AddressOutside(address, self.range));
            }
            Some(address) if self.taken.contains(&address) => {
                return Err(Error::AddressTaken(address));
            }
            Some(address) => address,
            None => self.next()?,
        };
        self.resting.retain(|resting| *resting != address);
        self.taken.insert(address);
        Ok(address)
    }

    fn next(&self) -> Result<IpAddr> {
        let free = |a: &IpAddr| !self.taken.contains(a) && !self.resting.contains(a);
        let lowest = self.usable().find(free);
        lowest.or(self.resting.front().copied()).ok_or(Error::RangeExhausted(self.range))
    }

    pub(super) fn release(&mut self, address: IpAddr) {
        if self.taken.remove(&address) {
            self.resting.push_back(address);
            if self.resting.len() > RESTING {
                self.resting.pop_front();
            }
        }
    }

    fn usable(&self) -> impl Iterator<Item = IpAddr> + '_ {
        (2..self.range.size() - 1).filter_map(|offset| self.range.nth(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pool: &mut AddressPool, wish: Option<&str>) -> String {
        match pool.take(wish.map(|w| w.parse().unwrap())) {
            Ok(address) => address.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_lowest_free_one_comes_next_and_a_released_one_rests() {
        let mut pool = AddressPool::new("10.1.0.0/29".parse().unwrap());
        assert_eq!(take(&mut pool, None), "10.1.0.2");
        assert_eq!(take(&mut pool, None), "10.1.0.3");
        pool.release("10.1.0.2".parse().unwrap());
        assert_eq!(take(&mut pool, None), "10.1.0.4");
        assert_eq!(take(&mut pool, None), "10.1.0.5");
        assert_eq!(take(&mut pool, None), "10.1.0.6");
        assert_eq!(take(&mut pool, None), "10.1.0.2", "the range is empty otherwise");
        assert_eq!(
            take(&mut pool, None),
            "no free address in 10.1.0.0/29; delete pods or give the node a larger range"
        );
        pool.release("10.1.0.4".parse().unwrap());
        assert_eq!(take(&mut pool, None), "10.1.0.4");
    }

    #[test]
    fn a_wish_is_honoured_or_refused() {
        let mut pool = AddressPool::new("10.1.0.0/29".parse().unwrap());
        assert_eq!(take(&mut pool, Some("10.1.0.4")), "10.1.0.4");
        assert_eq!(
            take(&mut pool, Some("10.1.0.4")),
            "address 10.1.0.4 is already in use by another pod"
        );
        for outside in ["10.1.0.0", "10.1.0.1", "10.1.0.7", "10.2.0.1"] {
            assert_eq!(
                take(&mut pool, Some(outside)),
                format!("address {outside} is not in the node's pod range 10.1.0.0/29")
            );
        }
    }

    #[test]
    fn after_enough_releases_an_address_comes_back() {
        let mut pool = AddressPool::new("10.1.0.0/16".parse().unwrap());
        for _ in 0..RESTING {
            let address = pool.take(None).unwrap();
            pool.release(address);
        }
        assert_eq!(take(&mut pool, None), "10.1.0.66");
        pool.release("10.1.0.66".parse().unwrap());
        assert_eq!(take(&mut pool, None), "10.1.0.2");
    }
}
