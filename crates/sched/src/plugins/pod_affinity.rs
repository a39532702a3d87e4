//! Affinity and anti-affinity between pods: near or far by a label of the nodes (API reference:
//! PodAffinityTerm). Required anti-affinity counts both ways.

use super::{Event, EventKind, Filter, MOST, Moved, Plugin, Prepared, Refusal, Score};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::tally::{Domains, Term};
use std::sync::Arc;

pub struct PodAffinity;

#[derive(Clone)]
struct Rules {
    info: Arc<PodInfo>,
    near: Vec<Near>,
    far: Vec<Around>,
    /// Terms of pods that are there and do not want this one in their domain.
    shunned: Vec<Around>,
}

/// How many pods a term is about are in each domain.
#[derive(Clone)]
struct Around {
    term: Arc<Term>,
    domains: Arc<Domains>,
    sums: Vec<Option<i64>>,
}

#[derive(Clone)]
struct Near {
    around: Around,
    /// The pod is one of those that it wants to be near to: then the first may go anywhere where the label is.
    own: bool,
    somewhere: i64,
}

impl Plugin for PodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn prepare(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Prepared {
        let near = info.near.iter().map(|term| Near::of(info, term, snapshot)).collect();
        let far = info.far.iter().map(|term| Around::of(term, snapshot)).collect();
        let about = snapshot.shunning();
        let about = about.filter(|(term, _)| term.who.selects(info, &snapshot.namespaces));
        let shunned = about.map(|(term, nodes)| {
            let mut around = Around::empty(term, snapshot);
            nodes.iter().for_each(|(place, count)| around.add(*place, i64::from(*count)));
            around
        });
        let rules = Rules { info: info.clone(), near, far, shunned: shunned.collect() };
        match rules.near.is_empty() && rules.far.is_empty() && rules.shunned.is_empty() {
            true => Prepared::default(),
            false => Prepared::of(rules),
        }
    }

    fn join(&self, info: &Arc<PodInfo>, moved: &Moved) -> Option<Arc<dyn Filter>> {
        let (near, far, shunned) = Default::default();
        Rules { info: info.clone(), near, far, shunned }.with(moved)
    }

    fn rank(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Option<Box<dyn Score>> {
        let of = |(weight, term): &(i64, Arc<Term>)| (*weight, Around::of(term, snapshot));
        let all: Vec<_> = info.rather.iter().map(of).collect();
        (!all.is_empty()).then(|| Box::new(Rather(all)) as Box<dyn Score>)
    }

    fn listens(&self) -> &'static [EventKind] {
        &[
            EventKind::Node,
            EventKind::Came,
            EventKind::Left,
            EventKind::Changed,
            EventKind::Namespace,
        ]
    }

    fn helps(&self, info: &Arc<PodInfo>, event: &Event, snapshot: &Snapshot) -> bool {
        let about = |terms: &[Arc<Term>], pod: &PodInfo| {
            terms.iter().any(|term| term.who.selects(pod, &snapshot.namespaces))
        };
        let left = |other: &PodInfo| about(&info.far, other) || about(&other.far, info);
        match event {
            Event::Node(new) => new.is_some(),
            Event::Came(other) => about(&info.near, other),
            Event::Left(other) => left(other),
            Event::Changed { old, new } => left(old) || about(&info.near, new),
            Event::Namespace => true,
            Event::Claim(_) | Event::Storage => false,
        }
    }
}

impl Around {
    fn of(term: &Arc<Term>, snapshot: &Snapshot) -> Around {
        let (domains, tally) = (snapshot.domains(&term.key), snapshot.tally(&term.who));
        let sums = domains.sums(&tally, |_| true);
        Around { term: term.clone(), domains, sums }
    }

    fn empty(term: &Arc<Term>, snapshot: &Snapshot) -> Around {
        let domains = snapshot.domains(&term.key);
        let sums = domains.empty();
        Around { term: term.clone(), domains, sums }
    }

    fn add(&mut self, place: usize, more: i64) {
        if let Some(domain) = self.domains.at(place) {
            *self.sums[domain].get_or_insert(0) += more;
        }
    }

    fn at(&self, info: &NodeInfo) -> i64 {
        let domain = self.domains.at(info.place);
        domain.and_then(|domain| self.sums[domain]).unwrap_or(0)
    }
}

impl Near {
    fn of(info: &PodInfo, term: &Arc<Term>, snapshot: &Snapshot) -> Near {
        let tally = snapshot.tally(&term.who);
        let there = |(place, pods): (usize, &u32)| *pods > 0 && snapshot.at(place).is_some();
        Near {
            around: Around::of(term, snapshot),
            own: term.who.selects(info, &snapshot.namespaces),
            somewhere: tally
                .iter()
                .enumerate()
                .filter(|it| there(*it))
                .map(|it| i64::from(*it.1))
                .sum(),
        }
    }

    fn accepts(&self, info: &NodeInfo) -> bool {
        self.around.domains.at(info.place).is_some()
            && (self.around.at(info) > 0 || self.own && self.somewhere == 0)
    }
}

impl Filter for Rules {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        if !self.near.iter().all(|near| near.accepts(info)) {
            return Refusal::for_good("node(s) didn't match pod affinity rules");
        }
        if self.far.iter().any(|around| around.at(info) > 0) {
            return Refusal::for_now("node(s) didn't match pod anti-affinity rules");
        }
        if self.shunned.iter().any(|around| around.at(info) > 0) {
            return Refusal::for_now("node(s) didn't satisfy existing pods anti-affinity rules");
        }
        Vec::new()
    }

    fn with(&self, moved: &Moved) -> Option<Arc<dyn Filter>> {
        let mut rules = self.clone();
        let place = moved.info.place;
        for near in &mut rules.near {
            let more = moved.more(&near.around.term.who);
            near.around.add(place, more);
            near.somewhere += more;
        }
        for around in &mut rules.far {
            around.add(place, moved.more(&around.term.who));
        }
        let namespaces = &moved.snapshot.namespaces;
        let signed = |pods: &'_ [Arc<PodInfo>], by: i64| -> Vec<(Arc<Term>, i64)> {
            let terms = pods.iter().flat_map(|pod| &pod.far);
            let about = terms.filter(|term| term.who.selects(&self.info, namespaces));
            about.map(|term| (term.clone(), by)).collect()
        };
        for (term, by) in signed(moved.came, 1).into_iter().chain(signed(moved.left, -1)) {
            let at = rules.shunned.iter().position(|around| around.term == term);
            let at = at.unwrap_or_else(|| {
                rules.shunned.push(Around::empty(&term, moved.snapshot));
                rules.shunned.len() - 1
            });
            rules.shunned[at].add(place, by);
        }
        Some(Arc::new(rules))
    }
}

/// The weights of the pods in the node's domain.
struct Rather(Vec<(i64, Around)>);

impl Score for Rather {
    fn score(&self, info: &NodeInfo) -> i64 {
        self.0.iter().map(|(weight, around)| weight * around.at(info)).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        let most = scores.iter().max().copied().unwrap_or(0);
        let least = scores.iter().min().copied().unwrap_or(0);
        let range = (most - least).max(1);
        scores.iter_mut().for_each(|score| *score = (*score - least) * MOST / range);
    }

    fn weight(&self) -> i64 {
        2
    }
}
