//! The snapshot: each node with the pods on it and the sums of what they ask for, as filters and scores see it.
//!
//! It follows the change of one object at a time, so that a decision never counts pods anew. A copy of it shares every
//! node with the original until that node changes.

use crate::pod::{Amount, Amounts, PodInfo};
use crate::preempt::{Budget, Budgets};
use crate::storage::Storage;
use crate::tally::{Domains, Memo, Namespaces, Term, Who};
use skiff_api::view::Key;
use skiff_kinds::views::pod::HostPort;
use skiff_kinds::views::{Namespace, Node, OWN_PORTS, PodDisruptionBudget};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// One node.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
    /// Pods may name a node that is not there, or not yet: then `node` is empty.
    pub name: String,
    pub node: Arc<Node>,
    /// Whether there is one.
    known: bool,
    /// Its number among the nodes of the snapshot; it keeps it.
    pub place: usize,
    pub allocatable: Amounts,
    /// How many pods it takes.
    pub pods_most: Amount,
    pub requested: Amounts,
    /// As `requested`, with defaults for pods that ask for nothing: processor, memory.
    pub weighed: (Amount, Amount),
    pub pods: Vec<Arc<PodInfo>>,
    pub ports: Vec<HostPort>,
    /// Those on which the cluster itself listens.
    pub own_ports: Vec<HostPort>,
}

/// All nodes.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By place. An entry can be kept by its pods alone, or be free.
    nodes: Vec<Arc<NodeInfo>>,
    places: HashMap<String, usize>,
    free: Vec<usize>,
    known: usize,
    pub namespaces: Namespaces,
    pub storage: Arc<Storage>,
    /// Where each pod counts.
    pods: HashMap<Key, (usize, Arc<PodInfo>)>,
    /// Pods that wait for room on a node, and the nodes that they were promised.
    promised: HashMap<Key, (String, Arc<PodInfo>)>,
    promises: HashMap<String, BTreeSet<Key>>,
    pub budgets: Budgets,
    /// Nodes with taints, and those that are cordoned.
    pub tainted: usize,
    pub cordoned: usize,
    /// How many pods with this required anti-affinity each node has.
    shunning: HashMap<Arc<Term>, BTreeMap<usize, u32>>,
    /// Which nodes have an image, and its bytes there: by every name that pods may call it.
    images: HashMap<String, BTreeMap<usize, i64>>,
    memo: Memo,
}

impl Snapshot {
    /// The nodes that are there, with the places between them that are not: for a walk from any place.
    pub fn places(&self) -> usize {
        self.nodes.len()
    }

    pub fn at(&self, place: usize) -> Option<&Arc<NodeInfo>> {
        self.nodes.get(place).filter(|info| info.known)
    }

    pub fn named(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.at(*self.places.get(name)?)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.known
    }

    pub fn is_empty(&self) -> bool {
        self.known == 0
    }

    /// The node of a pod, and what it counts for there.
    pub fn pod(&self, key: &Key) -> Option<(&Arc<NodeInfo>, &Arc<PodInfo>)> {
        let (place, info) = self.pods.get(key)?;
        Some((&self.nodes[*place], info))
    }

    /// Promises a node to a pod, or takes the promise back.
    pub fn promise(&mut self, pod: &Arc<PodInfo>, node: Option<&str>) {
        self.unpromise(&pod.key);
        if let Some(node) = node {
            self.promised.insert(pod.key.clone(), (node.to_owned(), pod.clone()));
            self.promises.entry(node.to_owned()).or_default().insert(pod.key.clone());
        }
    }

    pub fn unpromise(&mut self, key: &Key) {
        let Some((node, _)) = self.promised.remove(key) else { return };
        if let Some(keys) = self.promises.get_mut(&node) {
            keys.remove(key);
            if keys.is_empty() {
                self.promises.remove(&node);
            }
        }
    }

    /// The node that a pod was promised.
    pub fn promised(&self, key: &Key) -> Option<&str> {
        self.promised.get(key).map(|(node, _)| &**node)
    }

    /// The pods that wait for room on a node.
    pub fn promised_to(&self, node: &str) -> impl Iterator<Item = &Arc<PodInfo>> {
        let keys = self.promises.get(node).into_iter().flatten();
        keys.filter_map(|key| self.promised.get(key)).map(|(_, pod)| pod)
    }

    pub fn set_budget(&mut self, key: &Key, budget: Option<&Arc<PodDisruptionBudget>>) {
        match budget.and_then(|it| Budget::of(it)) {
            Some(budget) => _ = self.budgets.insert(key.clone(), budget),
            None => _ = self.budgets.remove(key),
        }
    }

    pub fn set_node(&mut self, name: &str, node: Option<&Arc<Node>>) {
        let place = match (self.places.get(name), node) {
            (Some(place), _) => *place,
            (None, Some(_)) => self.take_place(name),
            (None, None) => return,
        };
        let old = self.nodes[place].node.clone();
        let new = node.cloned().unwrap_or_default();
        let step = |count: usize, was: bool, is: bool| count + usize::from(is) - usize::from(was);
        let tainted = |node: &Node| !node.spec.taints.is_empty();
        let (was, is) = (self.nodes[place].known, node.is_some());
        self.known = step(self.known, was, is);
        self.tainted = step(self.tainted, tainted(&old), tainted(&new));
        self.cordoned = step(self.cordoned, old.spec.unschedulable, new.spec.unschedulable);
        if was != is || old.metadata.labels != new.metadata.labels {
            self.memo.nodes_changed();
        }
        if old.status.images != new.status.images {
            self.list_images(place, &old, &new);
        }
        let info = Arc::make_mut(&mut self.nodes[place]);
        info.allocatable = Amounts::parse(&new.status.allocatable);
        info.pods_most = info.allocatable.get("pods");
        info.own_ports = own_ports(&new);
        info.node = new;
        info.known = is;
        self.leave_place(place);
    }

    pub fn set_namespace(&mut self, name: &str, namespace: Option<&Arc<Namespace>>) {
        match namespace {
            Some(new) => self.namespaces.insert(name.to_owned(), new.clone()),
            None => self.namespaces.remove(name),
        };
        self.memo.namespaces_changed();
    }

    /// A pod takes its place on a node, or leaves it.
    pub fn set_pod(&mut self, key: &Key, to: Option<(&Arc<PodInfo>, &str)>) {
        if let Some((place, info)) = self.pods.remove(key) {
            Arc::make_mut(&mut self.nodes[place]).remove(key);
            self.memo.count(&info, place, false, &self.namespaces);
            info.far.iter().for_each(|term| self.shun_no_more(term, place));
            self.count_claims(&info, false);
            self.leave_place(place);
        }
        let Some((info, node)) = to else { return };
        let place = match self.places.get(node) {
            Some(place) => *place,
            None => self.take_place(node),
        };
        self.pods.insert(key.clone(), (place, info.clone()));
        Arc::make_mut(&mut self.nodes[place]).add(info.clone());
        self.memo.count(info, place, true, &self.namespaces);
        self.count_claims(info, true);
        for term in &info.far {
            *self.shunning.entry(term.clone()).or_default().entry(place).or_default() += 1;
        }
    }

    fn count_claims(&mut self, info: &PodInfo, comes: bool) {
        if !info.claims.is_empty() {
            Arc::make_mut(&mut self.storage).count(info, comes);
        }
    }

    fn shun_no_more(&mut self, term: &Arc<Term>, place: usize) {
        let Some(nodes) = self.shunning.get_mut(term) else { return };
        match nodes.get_mut(&place) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = nodes.remove(&place),
        }
        if nodes.is_empty() {
            self.shunning.remove(term);
        }
    }

    /// How many pods like that each node has, by place.
    pub fn tally(&self, who: &Arc<Who>) -> Arc<Vec<u32>> {
        let count = |info: &Arc<NodeInfo>| {
            info.pods.iter().filter(|pod| who.selects(pod, &self.namespaces)).count() as u32
        };
        self.memo.tally(who, || self.nodes.iter().map(count).collect())
    }

    pub fn domains(&self, key: &str) -> Arc<Domains> {
        let values = self.nodes.iter().map(|info| info.label(key));
        self.memo.domains(key, || Domains::new(values))
    }

    /// Required anti-affinity of pods that are on nodes: how many have the term, by place.
    pub fn shunning(&self) -> impl Iterator<Item = (&Arc<Term>, &BTreeMap<usize, u32>)> {
        self.shunning.iter()
    }

    /// The bytes of an image on each node that has it.
    pub fn image(&self, name: &str) -> Option<&BTreeMap<usize, i64>> {
        self.images.get(name)
    }

    fn take_place(&mut self, name: &str) -> usize {
        let place = self.free.pop().unwrap_or(self.nodes.len());
        let info = Arc::new(NodeInfo { name: name.to_owned(), place, ..NodeInfo::default() });
        match place == self.nodes.len() {
            true => self.nodes.push(info),
            false => self.nodes[place] = info,
        }
        self.places.insert(name.to_owned(), place);
        place
    }

    /// A node that is gone keeps its place for as long as it has pods.
    fn leave_place(&mut self, place: usize) {
        let info = &self.nodes[place];
        if !info.known && info.pods.is_empty() && self.places.remove(&info.name).is_some() {
            self.free.push(place);
        }
    }

    fn list_images(&mut self, place: usize, old: &Node, new: &Node) {
        for name in old.status.images.iter().flat_map(|image| &image.names).flat_map(calls) {
            if let Some(nodes) = self.images.get_mut(name) {
                nodes.remove(&place);
                if nodes.is_empty() {
                    self.images.remove(name);
                }
            }
        }
        for image in &new.status.images {
            for name in image.names.iter().flat_map(calls) {
                let nodes = self.images.entry(name.to_owned()).or_default();
                nodes.entry(place).or_insert(image.size_bytes);
            }
        }
    }
}

/// All that pods may call an image by its full name: with or without the registry and the folders.
fn calls(full: &String) -> impl Iterator<Item = &str> {
    let ends = full.match_indices('/').map(|(at, _)| &full[at + 1..]);
    std::iter::once(&**full).chain(ends)
}

fn own_ports(node: &Node) -> Vec<HostPort> {
    let listed = node.metadata.annotations.get(OWN_PORTS).into_iter();
    let numbers = listed.flat_map(|text| text.split(',')).filter_map(|port| port.parse().ok());
    numbers.map(HostPort::tcp).collect()
}

impl NodeInfo {
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.get(key).map(String::as_str)
    }

    /// Counts a pod here.
    pub fn add(&mut self, info: Arc<PodInfo>) {
        self.requested.add(&info.requests);
        self.weighed = (self.weighed.0 + info.weighed.0, self.weighed.1 + info.weighed.1);
        self.ports.extend(info.ports.iter().cloned());
        self.pods.push(info);
    }

    /// Counts a pod here no more.
    pub fn remove(&mut self, key: &Key) {
        let Some(at) = self.pods.iter().position(|info| info.key == *key) else { return };
        let info = self.pods.swap_remove(at);
        self.requested.subtract(&info.requests);
        self.weighed = (self.weighed.0 - info.weighed.0, self.weighed.1 - info.weighed.1);
        if !info.ports.is_empty() {
            self.ports = self.pods.iter().flat_map(|info| info.ports.clone()).collect();
        }
    }
}
