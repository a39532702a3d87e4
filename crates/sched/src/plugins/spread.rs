//! Topology spread: the pods of a selector in even numbers over domains (API reference:
//! TopologySpreadConstraint).

use super::{Event, EventKind, Filter, Moved, Plugin, Prepared, Refusal, node_affinity, taints};
use crate::pod::{Constraint, PodInfo};
use crate::snapshot::{NodeInfo, Snapshot};
use crate::tally::Domains;
use std::sync::Arc;

pub struct Spread;

/// The constraints of a pod, each with the pods that it counts.
struct Even(Arc<PodInfo>, Vec<Counted>);

#[derive(Clone)]
struct Counted {
    domains: Arc<Domains>,
    /// Pods in each domain; `None` where no node counts for the pod.
    sums: Vec<Option<i64>>,
    fewest: i64,
    /// Whether the pod counts itself.
    own: i64,
}

impl Plugin for Spread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn prepare(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Prepared {
        if info.spread.is_empty() {
            return Prepared::default();
        }
        let counted = info.spread.iter().map(|it| Counted::of(info, it, snapshot)).collect();
        Prepared::of(Even(info.clone(), counted))
    }

    fn listens(&self) -> &'static [EventKind] {
        &[EventKind::Node, EventKind::Came, EventKind::Left, EventKind::Changed]
    }

    fn helps(&self, info: &Arc<PodInfo>, event: &Event, snapshot: &Snapshot) -> bool {
        let about = |other: &PodInfo| {
            info.spread.iter().any(|it| it.term.who.selects(other, &snapshot.namespaces))
        };
        match event {
            // Also one that goes: it may have been the domain with the fewest.
            Event::Node(_) => true,
            Event::Came(other) | Event::Left(other) => about(other),
            Event::Changed { old, new } => about(old) != about(new),
            Event::Namespace | Event::Claim(_) | Event::Storage => false,
        }
    }
}

impl Counted {
    fn of(info: &PodInfo, constraint: &Constraint, snapshot: &Snapshot) -> Counted {
        let domains = snapshot.domains(&constraint.term.key);
        let tally = snapshot.tally(&constraint.term.who);
        let particular = constraint.by_affinity && node_affinity::particular(info);
        let sums = match particular || constraint.by_taints && snapshot.tainted > 0 {
            false => domains.sums(&tally, |_| true),
            true => domains.sums(&tally, |place| {
                snapshot.at(place).is_some_and(|node| counts(info, constraint, node))
            }),
        };
        let own = i64::from(constraint.term.who.selects(info, &snapshot.namespaces));
        let mut counted = Counted { domains, sums, fewest: 0, own };
        counted.find_fewest(constraint);
        counted
    }

    fn find_fewest(&mut self, constraint: &Constraint) {
        let sums = || self.sums.iter().flatten();
        self.fewest = match sums().count() < constraint.min_domains {
            true => 0,
            false => sums().min().copied().unwrap_or(0),
        };
    }
}

/// Whether the pods of a node count for the pod.
fn counts(info: &PodInfo, constraint: &Constraint, node: &NodeInfo) -> bool {
    (!constraint.by_affinity || info.pod.spec.wants(&node.node))
        && (!constraint.by_taints || taints::admits(info, node))
}

impl Filter for Even {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        if self.1.iter().any(|it| it.domains.at(info.place).is_none()) {
            return Refusal::for_good(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            );
        }
        let fits = self.1.iter().zip(&self.0.spread).all(|(counted, constraint)| {
            let here = counted.domains.at(info.place).and_then(|domain| counted.sums[domain]);
            here.unwrap_or(0) + counted.own - counted.fewest <= constraint.max_skew
        });
        match fits {
            true => Vec::new(),
            false => Refusal::for_now("node(s) didn't match pod topology spread constraints"),
        }
    }

    fn with(&self, moved: &Moved) -> Option<Arc<dyn Filter>> {
        let mut all = self.1.clone();
        for (counted, constraint) in all.iter_mut().zip(&self.0.spread) {
            let Some(domain) = counted.domains.at(moved.info.place) else { continue };
            if let (Some(sum), true) =
                (&mut counted.sums[domain], counts(&self.0, constraint, moved.info))
            {
                *sum += moved.more(&constraint.term.who);
                counted.find_fewest(constraint);
            }
        }
        Some(Arc::new(Even(self.0.clone(), all)))
    }
}
