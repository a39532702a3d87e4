//! Replaces pods of an older template: it deletes old ones as long as few enough are unavailable, or with a surge makes
//! new ones beside them and deletes the old when the new are available (KEP-1591).

use super::Pass;
use super::placement::Fit;
use skiff_kinds::views::Pod;
use skiff_kinds::views::workloads::Rounding;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The pods of a node that are not going.
struct Pair<'s> {
    new: Option<&'s Arc<Pod>>,
    old: Option<&'s Arc<Pod>>,
}

impl<'s> Pass<'s> {
    pub(super) fn roll(&mut self) {
        let strategy = &self.set.spec.update_strategy;
        if strategy.type_ != "RollingUpdate" {
            return;
        }
        let fits: BTreeMap<&str, Fit> = self
            .seen
            .nodes
            .iter()
            .map(|node| (&*node.metadata.name, self.seen.daemon.fit(node)))
            .collect();
        let fitting = fits.iter().filter(|(_, fit)| **fit == Fit::Runs).map(|(node, _)| *node);
        let desired = i32::try_from(fitting.clone().count()).unwrap_or(i32::MAX);
        // Nodes that should have a pod and have none count as well.
        let nodes: std::collections::BTreeSet<&str> =
            fitting.chain(self.on.keys().copied()).collect();
        let surge = self.surge(desired);
        if surge > 0 {
            return self.beside(nodes.into_iter(), &fits, surge, desired);
        }
        let rolling = strategy.rolling_update.as_ref();
        let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let most = most.map_or(0, |most| most.of(desired, Rounding::Up));
        // With neither, nothing could ever move.
        let most = if most == 0 && desired > 0 { 1 } else { most };
        self.in_place(nodes.into_iter(), most);
    }

    /// At most one of each; `None`: there are more, which `manage` cleans up.
    fn pair(&self, node: &str) -> Option<Pair<'s>> {
        let mut pair = Pair { new: None, old: None };
        for pod in self.pods_on(node).iter().copied().filter(|pod| !pod.metadata.deleting()) {
            let place = if self.updated(pod) { &mut pair.new } else { &mut pair.old };
            if place.replace(pod).is_some() {
                return None;
            }
        }
        Some(pair)
    }

    fn in_place(&mut self, nodes: impl Iterator<Item = &'s str>, most: i32) {
        let (mut unavailable, mut candidates) = (0, Vec::new());
        for node in nodes {
            match self.pair(node) {
                Some(Pair { new: Some(new), old: None }) => {
                    unavailable += i32::from(!self.available(new));
                }
                Some(Pair { new: None, old: Some(old) }) if self.available(old) => {
                    candidates.push(old);
                }
                Some(Pair { new: None, old: Some(old) }) => {
                    // It serves nobody: replacing it makes nothing worse.
                    self.going.push(old);
                    unavailable += 1;
                }
                _ => unavailable += 1,
            }
        }
        let left = usize::try_from(most - unavailable).unwrap_or(0);
        self.going.extend(candidates.into_iter().take(left));
    }

    fn beside(
        &mut self,
        nodes: impl Iterator<Item = &'s str>,
        fits: &BTreeMap<&str, Fit>,
        surge: i32,
        desired: i32,
    ) {
        let (mut surging, mut available) = (0, 0);
        let (mut candidates, mut misplaced) = (Vec::new(), Vec::new());
        for node in nodes {
            let Some(pair) = self.pair(node) else {
                surging += 1;
                continue;
            };
            available += i32::from(pair.old.or(pair.new).is_some_and(|pod| self.available(pod)));
            let runs = fits.get(node) == Some(&Fit::Runs);
            match (pair.old, pair.new) {
                (None, _) => {}
                (Some(old), None) => match (self.available(old), runs) {
                    (false, false) => self.going.push(old),
                    (false, true) => self.wanting.push(node),
                    (true, false) => misplaced.push(old),
                    (true, true) => candidates.push(node),
                },
                (Some(old), Some(new)) if self.available(new) => self.going.push(old),
                (Some(_), Some(_)) => surging += 1,
            }
        }
        // Users count on all of them: one in a wrong place goes when there are enough in right ones.
        let spare = usize::try_from(available - desired).unwrap_or(0);
        self.going.extend(misplaced.into_iter().take(spare));
        let left = usize::try_from(surge - surging).unwrap_or(0);
        self.wanting.extend(candidates.into_iter().take(left));
    }
}
