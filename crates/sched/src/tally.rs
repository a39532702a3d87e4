//! Tallies: how many pods that a term is about are on each node. Each is counted once, when the first pod asks, and
//! then follows every pod that comes and goes; a pod like the last one costs no count.

use crate::pod::PodInfo;
use skiff_api::selector::Selector;
use skiff_base::Lock;
use skiff_kinds::views::Namespace;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Tallies that are kept; beyond it the one that was asked for longest ago goes. Every pod that comes to a node is held
/// against each of them.
const TALLIES_MOST: usize = 128;
/// Topology keys whose domains are kept; beyond it all go.
const KEYS_MOST: usize = 64;
/// The domain of a node without the label.
const NONE: u32 = u32::MAX;

pub type Namespaces = BTreeMap<String, Arc<Namespace>>;

/// What an affinity term or a spread constraint speaks of: these pods, in one domain of this key.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Term {
    pub who: Arc<Who>,
    pub key: String,
}

/// Which pods.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Who {
    pub namespaces: BTreeSet<String>,
    /// Namespaces by their labels, besides those.
    pub namespace_labels: Selector,
    pub labels: Selector,
    pub counted: Counted,
}

/// Whether pods that are being deleted count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    All,
    Staying,
}

impl Who {
    pub fn selects(&self, info: &PodInfo, namespaces: &Namespaces) -> bool {
        let meta = &info.pod.metadata;
        if self.counted == Counted::Staying && meta.deleting() {
            return false;
        }
        let by_labels = || {
            let labels = namespaces.get(&meta.namespace).map(|it| &it.metadata.labels);
            self.namespace_labels.matches(|key| labels?.get(key).map(String::as_str))
        };
        (self.namespaces.contains(&meta.namespace) || by_labels())
            && self.labels.matches(|key| meta.labels.get(key).map(String::as_str))
    }
}

/// The domains of one topology key: a number for each value of the label.
#[derive(Debug)]
pub struct Domains {
    /// By the place of the node in the snapshot.
    of: Vec<u32>,
    count: usize,
}

impl Domains {
    /// From the value that each node has.
    pub fn new<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Domains {
        let mut numbers = HashMap::new();
        let of = values.map(|value| {
            let Some(value) = value else { return NONE };
            let next = numbers.len() as u32;
            *numbers.entry(value).or_insert(next)
        });
        Domains { of: of.collect(), count: numbers.len() }
    }

    pub fn at(&self, place: usize) -> Option<usize> {
        self.of.get(place).filter(|domain| **domain != NONE).map(|domain| *domain as usize)
    }

    /// The sum of each domain; `None` where no node counts.
    pub fn sums(&self, tally: &[u32], counts: impl Fn(usize) -> bool) -> Vec<Option<i64>> {
        let mut sums = self.empty();
        for (place, domain) in self.of.iter().enumerate() {
            if *domain != NONE && counts(place) {
                let pods = tally.get(place).copied().unwrap_or(0);
                *sums[*domain as usize].get_or_insert(0) += i64::from(pods);
            }
        }
        sums
    }

    /// Sums to which nothing has been added.
    pub fn empty(&self) -> Vec<Option<i64>> {
        vec![None; self.count]
    }
}

/// What was counted, for as long as it holds. A copy of a snapshot counts for itself. Whatever panics while it holds
/// the lock has put in nothing yet.
#[derive(Debug, Default)]
pub struct Memo(Lock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    tallies: Vec<Tally>,
    domains: HashMap<String, Arc<Domains>>,
    asked: u64,
}

#[derive(Debug)]
struct Tally {
    who: Arc<Who>,
    /// By the place of the node in the snapshot.
    pods: Arc<Vec<u32>>,
    asked: u64,
}

impl Clone for Memo {
    fn clone(&self) -> Memo {
        Memo::default()
    }
}

impl Memo {
    pub fn tally(&self, who: &Arc<Who>, count: impl FnOnce() -> Vec<u32>) -> Arc<Vec<u32>> {
        let kept = &mut *self.0.lock();
        kept.asked += 1;
        let asked = kept.asked;
        if let Some(known) = kept.tallies.iter_mut().find(|tally| tally.who == *who) {
            known.asked = asked;
            return known.pods.clone();
        }
        let pods = Arc::new(count());
        let oldest = kept.tallies.iter().enumerate().min_by_key(|(_, tally)| tally.asked);
        if let (TALLIES_MOST.., Some((at, _))) = (kept.tallies.len(), oldest) {
            kept.tallies.swap_remove(at);
        }
        kept.tallies.push(Tally { who: who.clone(), pods: pods.clone(), asked });
        pods
    }

    pub fn domains(&self, key: &str, find: impl FnOnce() -> Domains) -> Arc<Domains> {
        let kept = &mut *self.0.lock();
        if let Some(known) = kept.domains.get(key) {
            return known.clone();
        }
        let found = Arc::new(find());
        if kept.domains.len() >= KEYS_MOST {
            kept.domains.clear();
        }
        kept.domains.insert(key.to_owned(), found.clone());
        found
    }

    /// A pod came to the node at this place, or left it.
    pub fn count(&mut self, info: &PodInfo, place: usize, came: bool, namespaces: &Namespaces) {
        let kept = self.0.get_mut();
        for tally in kept.tallies.iter_mut().filter(|it| it.who.selects(info, namespaces)) {
            let pods = Arc::make_mut(&mut tally.pods);
            if pods.len() <= place {
                pods.resize(place + 1, 0);
            }
            pods[place] = if came { pods[place] + 1 } else { pods[place].saturating_sub(1) };
        }
    }

    /// Nodes came, went, or have other labels.
    pub fn nodes_changed(&mut self) {
        self.0.get_mut().domains.clear();
    }

    /// Namespaces have other labels.
    pub fn namespaces_changed(&mut self) {
        let kept = self.0.get_mut();
        kept.tallies.retain(|tally| tally.who.namespace_labels == Selector::Nothing);
    }
}
