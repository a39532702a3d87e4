//! A pod as the scheduler counts it: what it asks for, summed, and its terms, parsed; once for each version of the pod,
//! never for each node.

use crate::tally::{Counted, Term, Who};
use skiff_api::quantity::Quantity;
use skiff_api::selector::Selector;
use skiff_api::view::Key;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{
    Container, HostPort, LabelSelector, PodAffinityTerm, Quantities, TopologySpreadConstraint,
    WeightedPodTerm,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What counts for a pod that asks for nothing, when nodes are compared.
const CPU_DEFAULT_MILLI: Amount = 100;
const MEMORY_DEFAULT: Amount = 200 * 1024 * 1024;

/// One quantity fills 64 bits, and whoever names a node himself asks it for as many as he likes.
pub type Amount = i128;

/// Amounts by resource name: thousandths for `cpu`, whole units for the others. The two that every pod has stand apart,
/// since every node is asked for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Amounts {
    pub cpu: Amount,
    pub memory: Amount,
    others: BTreeMap<String, Amount>,
}

/// One pod.
#[derive(Debug, Default)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub key: Key,
    pub requests: Amounts,
    /// As `requests`, with defaults where it asks for nothing: processor, memory.
    pub weighed: (Amount, Amount),
    pub ports: Vec<HostPort>,
    /// The claims of its volumes, in their order.
    pub claims: Vec<Key>,
    /// Required affinity and anti-affinity.
    pub near: Vec<Arc<Term>>,
    pub far: Vec<Arc<Term>>,
    /// Preferred affinity with its weights; anti-affinity has negative ones.
    pub rather: Vec<(i64, Arc<Term>)>,
    /// Required topology spread.
    pub spread: Vec<Constraint>,
}

/// A topology spread constraint.
#[derive(Debug)]
pub struct Constraint {
    pub term: Arc<Term>,
    pub max_skew: i64,
    pub min_domains: usize,
    /// Nodes that the pod's node affinity, or its tolerations, keep it from do not count.
    pub by_affinity: bool,
    pub by_taints: bool,
}

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> PodInfo {
        let (requests, affinity) = (requests(&pod), &pod.spec.affinity);
        let count = pod.spec.containers.len() as Amount;
        let or = |amount: Amount, least: Amount| if amount > 0 { amount } else { least * count };
        let terms = |terms: &[PodAffinityTerm]| terms.iter().map(|it| term(&pod, it)).collect();
        let weighed = |terms: &[WeightedPodTerm], sign: i64| -> Vec<_> {
            let of = |it: &WeightedPodTerm| term(&pod, &it.pod_affinity_term);
            terms.iter().map(|it| (sign * i64::from(it.weight), of(it))).collect()
        };
        let mut rather = weighed(&affinity.pod_affinity.preferred, 1);
        rather.extend(weighed(&affinity.pod_anti_affinity.preferred, -1));
        let hard = |c: &&TopologySpreadConstraint| c.when_unsatisfiable == "DoNotSchedule";
        let spread = pod.spec.topology_spread_constraints.iter().filter(hard);
        PodInfo {
            key: pod.metadata.key(),
            claims: pod.claim_keys(),
            weighed: (or(requests.cpu, CPU_DEFAULT_MILLI), or(requests.memory, MEMORY_DEFAULT)),
            ports: pod.spec.taken_ports(),
            near: terms(&affinity.pod_affinity.required),
            far: terms(&affinity.pod_anti_affinity.required),
            rather,
            spread: spread.map(|it| constraint(&pod, it)).collect(),
            requests,
            pod,
        }
    }

    pub fn uid(&self) -> &str {
        &self.pod.metadata.uid
    }

    pub fn priority(&self) -> i32 {
        self.pod.spec.priority.unwrap_or(0)
    }

    /// The node that it is bound to.
    pub fn node(&self) -> Option<&str> {
        Some(&*self.pod.spec.node_name).filter(|node| !node.is_empty())
    }
}

/// What cannot be parsed selects nothing; the API lets none in.
fn selector(selector: Option<&LabelSelector>) -> Selector {
    Selector::from_object(selector.map(|it| &it.0)).unwrap_or(Selector::Nothing)
}

fn term(owner: &Pod, term: &PodAffinityTerm) -> Arc<Term> {
    let by_default = term.namespaces.is_empty() && term.namespace_selector.is_none();
    let own = by_default.then_some(&owner.metadata.namespace).into_iter();
    let who = Who {
        namespaces: term.namespaces.iter().chain(own).cloned().collect(),
        namespace_labels: selector(term.namespace_selector.as_ref()),
        labels: selector(term.label_selector.as_ref()),
        counted: Counted::All,
    };
    Arc::new(Term { who: Arc::new(who), key: term.topology_key.clone() })
}

fn constraint(owner: &Pod, constraint: &TopologySpreadConstraint) -> Constraint {
    let who = Who {
        namespaces: [owner.metadata.namespace.clone()].into(),
        namespace_labels: Selector::Nothing,
        labels: selector(constraint.label_selector.as_ref()),
        counted: Counted::Staying,
    };
    Constraint {
        term: Arc::new(Term { who: Arc::new(who), key: constraint.topology_key.clone() }),
        max_skew: constraint.max_skew.into(),
        min_domains: constraint.min_domains.and_then(|n| n.try_into().ok()).unwrap_or(0),
        by_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        by_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    }
}

/// What a pod asks for: the main containers and sidecars together, or the most that an init
/// container needs beside the sidecars before it (KEP-753), or the pod's own word (KEP-2837). While
/// its resources change, each container counts with the more of what it has and what it shall have,
/// unless its node cannot give that at all (KEP-1287).
fn requests(pod: &Pod) -> Amounts {
    let status = &pod.status;
    let pending = status.condition("PodResizePending");
    let infeasible = pending.is_some_and(|condition| condition.reason == "Infeasible");
    let of = |container: &Container| -> Amounts {
        let mut all = status.init_container_statuses.iter().chain(&status.container_statuses);
        let has = all.find(|status| status.name == container.name);
        let has = has.and_then(|status| status.resources.as_ref());
        let has = has.map(|resources| Amounts::of(&resources.requests));
        match has {
            Some(has) if infeasible => has,
            has => {
                let mut all = Amounts::of(&container.resources.requests);
                all.raise(&has.unwrap_or_default());
                all
            }
        }
    };
    let mut total = Amounts::default();
    for container in &pod.spec.containers {
        total.add(&of(container));
    }
    let (mut sidecars, mut most) = (Amounts::default(), Amounts::default());
    for container in &pod.spec.init_containers {
        let mut here = sidecars.clone();
        here.add(&of(container));
        if container.is_sidecar() {
            sidecars = here.clone();
            total.add(&of(container));
        }
        most.raise(&here);
    }
    total.raise(&most);
    for (name, own) in pod.spec.resources.iter().flat_map(|own| own.requests.iter()) {
        *total.at(name) = whole(name, own);
    }
    total.add(&Amounts::of(&pod.spec.overhead));
    total
}

fn whole(name: &str, quantity: &Quantity) -> Amount {
    let value = if name == "cpu" { quantity.milli_value() } else { quantity.value() };
    value.into()
}

impl Amounts {
    fn of(all: &Quantities) -> Amounts {
        let mut amounts = Amounts::default();
        all.iter().for_each(|(name, quantity)| *amounts.at(name) = whole(name, quantity));
        amounts
    }

    /// Quantities as texts; what is none does not count.
    pub fn parse(texts: &BTreeMap<String, String>) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, text) in texts {
            if let Ok(quantity) = Quantity::parse(text) {
                *amounts.at(name) = whole(name, &quantity);
            }
        }
        amounts
    }

    pub fn get(&self, name: &str) -> Amount {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            _ => self.others.get(name).copied().unwrap_or(0),
        }
    }

    fn at(&mut self, name: &str) -> &mut Amount {
        match name {
            "cpu" => &mut self.cpu,
            "memory" => &mut self.memory,
            _ => self.others.entry(name.to_owned()).or_default(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Amount)> {
        let others = self.others.iter().map(|(name, amount)| (&**name, *amount));
        [("cpu", self.cpu), ("memory", self.memory)].into_iter().chain(others)
    }

    /// Whether all that is wanted is left.
    pub fn fit(&self, has: &Amounts, taken: &Amounts) -> bool {
        let fits =
            |wanted: Amount, has: Amount, taken: Amount| wanted <= 0 || wanted <= has - taken;
        fits(self.cpu, has.cpu, taken.cpu)
            && fits(self.memory, has.memory, taken.memory)
            && self
                .others
                .iter()
                .all(|(name, wanted)| fits(*wanted, has.get(name), taken.get(name)))
    }

    pub fn add(&mut self, more: &Amounts) {
        more.iter().for_each(|(name, amount)| *self.at(name) += amount);
    }

    pub fn subtract(&mut self, less: &Amounts) {
        less.iter().for_each(|(name, amount)| *self.at(name) -= amount);
    }

    fn raise(&mut self, least: &Amounts) {
        for (name, amount) in least.iter() {
            let at = self.at(name);
            *at = (*at).max(amount);
        }
    }
}
