//! Places that nobody can take all of: what one source may hold depends on what is free.
//!
//! Whoever holds `n` gets one more while four times `n` is below what is free (the dynamic threshold
//! of shared buffers in switches): one source alone gets a fifth. Who holds none gets one even when
//! none is free, so there are as many more as there are sources. Sources are pods, which cannot forge
//! their address; all others (the node itself, and strangers, who can) count as one.

use skiff_base::Cidr;
use skiff_base::Lock;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, MutexGuard};

/// How many times what a source holds has to be free.
const FREE: usize = 4;
/// All who are no pods.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// So many places, and at the very most twice as many.
#[derive(Debug)]
pub struct Places {
    most: usize,
    pods: Arc<[Cidr]>,
    taken: Lock<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// A place that is held; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    who: IpAddr,
}

impl Places {
    pub fn new(most: usize, pods: Arc<[Cidr]>) -> Arc<Places> {
        Arc::new(Places { most, pods, taken: Lock::default() })
    }

    /// A place for a source, unless it holds its share.
    pub fn take(self: &Arc<Places>, from: IpAddr) -> Option<Place> {
        let who = if self.pods.iter().any(|range| range.contains(from)) { from } else { OTHERS };
        let mut taken = self.taken();
        let held = taken.by.get(&who).copied().unwrap_or(0);
        let free = self.most.saturating_sub(taken.all);
        if (held > 0 && FREE * held >= free) || taken.all >= 2 * self.most {
            return None;
        }
        taken.all += 1;
        taken.by.insert(who, held + 1);
        Some(Place { places: self.clone(), who })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(held) = taken.by.get_mut(&self.who) {
            *held -= 1;
            if *held == 0 {
                taken.by.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_take_all_they_can_a_newcomer_gets_a_place() {
        let pods = Arc::new(["10.244.0.0/16".parse().unwrap()]);
        let places = Places::new(256, pods);
        let mut held = Vec::new();
        let mut grab = |from: Ipv4Addr| {
            let before = held.len();
            held.extend(std::iter::from_fn(|| places.take(from.into())));
            held.len() - before
        };
        assert_eq!(grab([10, 244, 0, 2].into()), 52, "a fifth");
        for pod in 3..112 {
            assert!(grab([10, 244, 0, pod].into()) > 0, "{pod}");
        }
        let strangers: usize = (0..=255).map(|n| grab([192, 0, 2, n].into())).sum();
        assert!(strangers <= 2, "with as many addresses as they like: {strangers}");
        assert!(grab([10, 244, 0, 112].into()) > 0);
        held.clear();
        assert_eq!(places.taken().all, 0);
        assert!(places.taken().by.is_empty());
    }
}
