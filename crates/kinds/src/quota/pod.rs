//! Pods: each counts while it is there, and what it asks for counts until it has ended.

use super::whole;
use crate::core::pod::validate::resources::is_native;
use crate::views::pod::{Container, PodAffinity, PodAffinityTerm, Quantities};
use crate::views::{Pod, Scope};
use jiff::Timestamp as Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const COUNT: &str = "count/pods";
const NAMES: [&str; 11] = [
    COUNT,
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// Where these are limited, each container must say how much it wants; of no others.
const TO_BE_SAID: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const HUGE: &str = "hugepages-";
const IMPLICIT: &str = "deviceclass.resource.kubernetes.io/";

pub fn counts(name: &str) -> bool {
    let asked = name.strip_prefix("requests.");
    let extended = asked.is_some_and(|it| !is_native(name) || it.starts_with(IMPLICIT));
    let huge = name.starts_with(HUGE) || asked.is_some_and(|it| it.starts_with(HUGE));
    NAMES.contains(&name) || huge || extended
}

/// Whether what a pod asks for still counts: not when it has ended, nor when its node should have ended it by now.
pub fn is_charged(pod: &Pod, now: Time) -> bool {
    !pod.ended() && charged_until(pod).is_none_or(|until| now <= until)
}

/// When a pod that is going counts no longer, if its node does not end it before.
pub fn charged_until(pod: &Pod) -> Option<Time> {
    let grace_s = pod.metadata.deletion_grace_period_seconds?.max(0).unsigned_abs();
    pod.metadata.deletion_timestamp?.checked_add(Duration::from_secs(grace_s)).ok()
}

pub fn amounts(pod: &Pod, now: Time) -> Quantities {
    let mut amounts = Quantities(BTreeMap::from([(COUNT.to_owned(), whole(1))]));
    if is_charged(pod, now) {
        amounts.add(&named(&requests(pod), &limits(pod)));
    }
    amounts
}

/// Requests and limits under the names that quotas have for them.
fn named(requests: &Quantities, limits: &Quantities) -> Quantities {
    let mut all = BTreeMap::from([("pods".to_owned(), whole(1))]);
    for (name, amount) in requests.iter() {
        let plain =
            ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with(HUGE);
        if plain {
            all.insert(name.to_owned(), amount.clone());
        }
        if plain || !is_native(name) || name.starts_with(IMPLICIT) {
            all.insert(format!("requests.{name}"), amount.clone());
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            all.insert(format!("limits.{name}"), amount.clone());
        }
    }
    Quantities(all)
}

/// What the pod as a whole asks for. While it is resized, the more of what it has and what it shall have (KEP-1287).
fn requests(pod: &Pod) -> Quantities {
    let mut all = effective(pod, |resources| &resources.requests);
    for (name, own) in pod.spec.resources.iter().flat_map(|own| own.requests.iter()) {
        all.0.insert(name.to_owned(), own.clone());
    }
    all.add(&pod.spec.overhead);
    all
}

fn limits(pod: &Pod) -> Quantities {
    let mut all = effective(pod, |resources| &resources.limits);
    for (name, own) in pod.spec.resources.iter().flat_map(|own| own.limits.iter()) {
        all.0.insert(name.to_owned(), own.clone());
    }
    for (name, amount) in pod.spec.overhead.iter() {
        if let Some(limit) = all.0.get_mut(name).filter(|limit| !limit.is_zero()) {
            limit.add(amount);
        }
    }
    all
}

type Side = fn(&crate::views::pod::Resources) -> &Quantities;

fn effective(pod: &Pod, side: Side) -> Quantities {
    let status = &pod.status;
    let infeasible =
        status.condition("PodResizePending").is_some_and(|it| it.reason == "Infeasible");
    let has = aggregate(pod, |container| {
        let mut all = status.container_statuses.iter().chain(&status.init_container_statuses);
        let own = all.find(|status| status.name == container.name);
        let own = own.and_then(|status| status.resources.as_ref()).map(side);
        own.unwrap_or_else(|| side(&container.resources))
    });
    if infeasible {
        return has;
    }
    let mut all = aggregate(pod, |container| side(&container.resources));
    all.raise(&has);
    all
}

/// What all containers need together: the main ones and sidecars at once, init containers one after another (KEP-753).
pub fn aggregate<'p>(pod: &'p Pod, of: impl Fn(&'p Container) -> &'p Quantities) -> Quantities {
    let mut running = Quantities::default();
    pod.spec.containers.iter().for_each(|container| running.add(of(container)));
    let (mut sidecars, mut most) = (Quantities::default(), Quantities::default());
    for container in &pod.spec.init_containers {
        let mut here = sidecars.clone();
        here.add(of(container));
        if container.is_sidecar() {
            running.add(of(container));
            sidecars = here.clone();
        }
        most.raise(&here);
    }
    running.raise(&most);
    running
}

/// What scopes, and quotas of processors and memory, ask of a pod.
#[derive(Debug)]
pub struct Facts {
    terminating: bool,
    best_effort: bool,
    class: String,
    crosses_namespaces: bool,
    /// It says as a whole what it asks for, so its containers need not.
    whole: bool,
    /// Its containers with the names under which each says something.
    said: Vec<(String, BTreeSet<String>)>,
}

impl Facts {
    pub fn of(pod: &Pod) -> Facts {
        let spec = &pod.spec;
        let said = |container: &Container| {
            let named = named(&container.resources.requests, &container.resources.limits);
            (container.name.clone(), named.0.into_keys().collect())
        };
        let whole = |own: &crate::views::pod::Resources| {
            let mut names = own.requests.iter().chain(own.limits.iter()).map(|(name, _)| name);
            names.any(|name| ["cpu", "memory"].contains(&name) || name.starts_with(HUGE))
        };
        Facts {
            terminating: spec.active_deadline_seconds.is_some_and(|span_s| span_s >= 0),
            best_effort: pod.status.qos_class == "BestEffort",
            class: spec.priority_class_name.clone(),
            crosses_namespaces: [&spec.affinity.pod_affinity, &spec.affinity.pod_anti_affinity]
                .into_iter()
                .any(crosses),
            whole: spec.resources.as_ref().is_some_and(whole),
            said: spec.containers.iter().chain(&spec.init_containers).map(said).collect(),
        }
    }

    pub fn are_in(&self, scope: &Scope) -> bool {
        match &*scope.scope_name {
            "Terminating" => self.terminating,
            "NotTerminating" => !self.terminating,
            "BestEffort" => self.best_effort,
            "NotBestEffort" => !self.best_effort,
            "CrossNamespacePodAffinity" => self.crosses_namespaces,
            "PriorityClass" => selects(scope, Some(&*self.class).filter(|it| !it.is_empty())),
            _ => false,
        }
    }

    /// `must specify limits.cpu for: a,b; limits.memory for: a`.
    pub fn lack(&self, limited: &BTreeSet<&str>) -> Option<String> {
        let wanted = limited.iter().filter(|name| !self.whole && TO_BE_SAID.contains(name));
        let lacking = |name: &&str| {
            let silent = self.said.iter().filter(|(_, said)| !said.contains(*name));
            let silent: BTreeSet<&str> = silent.map(|(container, _)| &**container).collect();
            let silent: Vec<&str> = silent.into_iter().collect();
            (!silent.is_empty()).then(|| format!("{name} for: {}", silent.join(",")))
        };
        let lacking: Vec<String> = wanted.filter_map(lacking).collect();
        (!lacking.is_empty()).then(|| format!("must specify {}", lacking.join("; ")))
    }
}

/// Whether an expression holds of a name, or of none.
pub fn selects(scope: &Scope, name: Option<&str>) -> bool {
    let named = name.is_some_and(|name| scope.values.iter().any(|value| value == name));
    match &*scope.operator {
        "In" => named,
        "NotIn" => !named,
        "DoesNotExist" => name.is_none(),
        _ => name.is_some(),
    }
}

fn crosses(affinity: &PodAffinity) -> bool {
    let far =
        |term: &PodAffinityTerm| !term.namespaces.is_empty() || term.namespace_selector.is_some();
    affinity.required.iter().any(far)
        || affinity.preferred.iter().any(|term| far(&term.pod_affinity_term))
}
