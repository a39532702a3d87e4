//! What the scheduler knows: each node with the pods on it and the sums of what they ask for.
//!
//! Kept current by the change of one object at a time, so that a decision never counts pods anew.

use skiff_api::quantity::Quantity;
use skiff_api::view::Key;
use skiff_kinds::views::pod::{Container, Quantities};
use skiff_kinds::views::{Namespace, Node, OWN_PORTS, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What counts for a pod that asks for nothing, when nodes are compared.
const CPU_DEFAULT_MILLI: Amount = 100;
const MEMORY_DEFAULT: Amount = 200 * 1024 * 1024;

/// One quantity fills 64 bits, and whoever names a node himself asks it for as many as he likes.
pub type Amount = i128;

/// Amounts by resource name: thousandths for `cpu`, whole units for the others.
pub type Amounts = BTreeMap<String, Amount>;

/// A port of the machine: address (empty is all), protocol, number.
pub type HostPort = (String, String, u16);

/// One node as filters and scores see it.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    pub allocatable: Amounts,
    pub requested: Amounts,
    /// As `requested`, with defaults for pods that ask for nothing: processor, memory.
    pub weighed: (Amount, Amount),
    pub pods: BTreeMap<Key, Arc<Pod>>,
    pub ports: BTreeSet<HostPort>,
    /// Those on which the cluster itself listens.
    pub own_ports: BTreeSet<HostPort>,
}

/// All nodes.
#[derive(Debug, Default)]
pub struct State {
    pub nodes: BTreeMap<String, NodeInfo>,
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
    /// Which node each pod counts for.
    places: BTreeMap<Key, String>,
}

impl State {
    pub fn set_node(&mut self, name: &str, node: Option<&Arc<Node>>) {
        let Some(node) = node else {
            self.nodes.remove(name);
            return;
        };
        let info = self.nodes.entry(name.to_owned()).or_default();
        info.allocatable = node.status.allocatable.iter().filter_map(amount).collect();
        info.own_ports = own_ports(node);
        info.node = node.clone();
    }

    /// A pod takes its place on a node, or leaves it when it has ended or is gone.
    pub fn set_pod(&mut self, key: &Key, pod: Option<&Arc<Pod>>, node: &str) {
        if let Some(place) = self.places.remove(key)
            && let Some(info) = self.nodes.get_mut(&place)
        {
            info.remove(key);
        }
        let Some(pod) = pod.filter(|pod| !pod.ended() && !node.is_empty()) else { return };
        self.places.insert(key.clone(), node.to_owned());
        self.nodes.entry(node.to_owned()).or_default().add(key.clone(), pod.clone());
    }

    /// The nodes that are there: an entry can be kept alive by its pods alone.
    pub fn known(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|info| !info.node.metadata.name.is_empty())
    }
}

fn own_ports(node: &Node) -> BTreeSet<HostPort> {
    let listed = node.metadata.annotations.get(OWN_PORTS).into_iter();
    let numbers = listed.flat_map(|text| text.split(',')).filter_map(|port| port.parse().ok());
    numbers.map(|port| (String::new(), "TCP".to_owned(), port)).collect()
}

fn amount((name, text): (&String, &String)) -> Option<(String, Amount)> {
    Some((name.clone(), whole(name, &Quantity::parse(text).ok()?)))
}

fn whole(name: &str, quantity: &Quantity) -> Amount {
    let value = if name == "cpu" { quantity.milli_value() } else { quantity.value() };
    value.into()
}

impl NodeInfo {
    fn add(&mut self, key: Key, pod: Arc<Pod>) {
        for (name, amount) in requests(&pod) {
            *self.requested.entry(name).or_default() += amount;
        }
        let (cpu, memory) = weighed(&pod);
        self.weighed = (self.weighed.0 + cpu, self.weighed.1 + memory);
        self.ports.extend(host_ports(&pod));
        self.pods.insert(key, pod);
    }

    fn remove(&mut self, key: &Key) {
        let Some(pod) = self.pods.remove(key) else { return };
        for (name, amount) in requests(&pod) {
            *self.requested.entry(name).or_default() -= amount;
        }
        let (cpu, memory) = weighed(&pod);
        self.weighed = (self.weighed.0 - cpu, self.weighed.1 - memory);
        self.ports = self.pods.values().flat_map(|pod| host_ports(pod)).collect();
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.get(key).map(String::as_str)
    }
}

/// Processor and memory with defaults.
pub fn weighed(pod: &Pod) -> (Amount, Amount) {
    let all = requests(pod);
    let count = pod.spec.containers.len() as Amount;
    let or = |name: &str, least: Amount| match all.get(name) {
        Some(amount) if *amount > 0 => *amount,
        _ => least * count,
    };
    (or("cpu", CPU_DEFAULT_MILLI), or("memory", MEMORY_DEFAULT))
}

/// The ports of the machine that a pod takes.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecars = pod.spec.init_containers.iter().filter(|c| c.is_sidecar());
    let ports = sidecars.chain(&pod.spec.containers).flat_map(|c| &c.ports);
    let taken = ports.filter(|port| port.host_port != 0).map(|port| {
        let ip = if port.host_ip == "0.0.0.0" { String::new() } else { port.host_ip.clone() };
        let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
        (ip, protocol.to_owned(), port.host_port)
    });
    taken.collect()
}

/// What a pod asks for: the main containers and sidecars together, or the most that an init
/// container needs beside the sidecars before it (KEP-753), or the pod's own word (KEP-2837). While
/// its resources change, each container counts with the more of what it has and what it shall have,
/// unless its node cannot give that at all (KEP-1287).
pub fn requests(pod: &Pod) -> Amounts {
    let status = &pod.status;
    let pending = status.condition("PodResizePending");
    let infeasible = pending.is_some_and(|condition| condition.reason == "Infeasible");
    let of = |container: &Container| -> Amounts {
        let mut all = status.init_container_statuses.iter().chain(&status.container_statuses);
        let has = all.find(|status| status.name == container.name);
        let has = has.and_then(|status| status.resources.as_ref());
        let has = has.map(|resources| amounts(&resources.requests));
        match has {
            Some(has) if infeasible => has,
            has => {
                let mut all = amounts(&container.resources.requests);
                raise(&mut all, &has.unwrap_or_default());
                all
            }
        }
    };
    let mut total = Amounts::new();
    for container in &pod.spec.containers {
        add(&mut total, &of(container));
    }
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in &pod.spec.init_containers {
        let mut here = sidecars.clone();
        add(&mut here, &of(container));
        if container.is_sidecar() {
            sidecars = here.clone();
            add(&mut total, &of(container));
        }
        raise(&mut most, &here);
    }
    raise(&mut total, &most);
    if let Some(own) = &pod.spec.resources {
        total.extend(amounts(&own.requests));
    }
    add(&mut total, &amounts(&pod.spec.overhead));
    total
}

fn amounts(all: &Quantities) -> Amounts {
    all.iter().map(|(name, amount)| (name.to_owned(), whole(name, amount))).collect()
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *total.entry(name.clone()).or_default() += amount;
    }
}

fn raise(total: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let at = total.entry(name.clone()).or_default();
        *at = (*at).max(*amount);
    }
}
