//! What objects use of a quota: by how much each counts, under which names, and in which scopes it lies.
//!
//! Pure: admission charges by it, and the loop that counts anew adds up by it, so that both always agree.

mod claim;
mod pod;

pub use pod::{aggregate, charged_until, is_charged};

use crate::views::pod::Quantities;
use crate::views::{Pod, ResourceQuota, Scope};
use jiff::Timestamp as Time;
use skiff_api::object::Object;
use skiff_api::quantity::{Format, Quantity};
use std::collections::{BTreeMap, BTreeSet};

/// Resources whose names are a count by themselves, without `count/`.
const ALIASES: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
/// What is answered and not stored, and events, which nobody ever counted.
const UNCOUNTED: [(&str, &str); 4] =
    [("", "bindings"), ("", "componentstatuses"), ("", "events"), ("events.k8s.io", "events")];

/// How the objects of a resource count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    Pods,
    Services,
    Claims,
    DeviceClaims,
    /// One each, under these names.
    Objects(Vec<String>),
}

/// What one object uses.
#[derive(Debug)]
pub struct Use {
    pub type_: Counted,
    pub amounts: Quantities,
    facts: Facts,
}

/// What scopes ask about.
#[derive(Debug)]
enum Facts {
    Pod(pod::Facts),
    /// The attributes classes that it names, or had.
    Claim(BTreeSet<String>),
    None,
}

impl Counted {
    /// How the objects of a resource count; `None`: not at all.
    pub fn of(group: &str, plural: &str) -> Option<Counted> {
        let none = UNCOUNTED.contains(&(group, plural))
            || ["authentication.k8s.io", "authorization.k8s.io"].contains(&group);
        Some(match (group, plural) {
            _ if none => return None,
            ("", "pods") => Counted::Pods,
            ("", "services") => Counted::Services,
            ("", "persistentvolumeclaims") => Counted::Claims,
            ("resource.k8s.io", "resourceclaims") => Counted::DeviceClaims,
            _ => {
                let alias = (group.is_empty() && ALIASES.contains(&plural)).then_some(plural);
                let names = alias.map(str::to_owned).into_iter();
                Counted::Objects(names.chain([count_name(group, plural)]).collect())
            }
        })
    }

    /// Whether objects of this sort count under this name of a quota.
    pub fn counts(&self, name: &str) -> bool {
        match self {
            Counted::Pods => pod::counts(name),
            Counted::Services => {
                name.strip_prefix("count/") == Some("services") || is_of(name, "services")
            }
            Counted::Claims => claim::counts(name),
            Counted::DeviceClaims => claim::counts_devices(name),
            Counted::Objects(names) => names.iter().any(|own| own == name),
        }
    }

    /// Those of a quota's names under which its objects count.
    pub fn counted<'n>(&self, names: impl Iterator<Item = &'n str>) -> BTreeSet<&'n str> {
        names.filter(|name| self.counts(name)).collect()
    }
}

/// The name of a resource, or of a part of it.
fn is_of(name: &str, resource: &str) -> bool {
    name == resource
        || name
            .strip_prefix(resource)
            .is_some_and(|part| [".nodeports", ".loadbalancers"].contains(&part))
}

/// `count/deployments.apps`.
pub fn count_name(group: &str, plural: &str) -> String {
    if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") }
}

/// Group and plural of the resource that a name counts the objects of, if it names one.
pub fn named_by(name: &str) -> Option<(&str, &str)> {
    if let Some(resource) = name.strip_prefix("count/") {
        return Some(
            resource.split_once('.').map_or(("", resource), |(plural, group)| (group, plural)),
        );
    }
    ALIASES.contains(&name).then_some(("", name))
}

pub(crate) fn whole(count: usize) -> Quantity {
    Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), Format::Decimal)
}

impl Use {
    /// What an object of this resource uses.
    pub fn of(type_: Counted, object: &Object, now: Time) -> Use {
        use serde::Deserialize;
        match type_ {
            // One whose fields nobody can read uses what it is: it counts, and asks for nothing.
            Counted::Pods => {
                Use::of_pod(&Pod::deserialize(object.value()).unwrap_or_default(), now)
            }
            Counted::Services => Use { amounts: service(object), facts: Facts::None, type_ },
            Counted::Claims => Use {
                amounts: claim::amounts(object),
                facts: Facts::Claim(claim::classes(object)),
                type_,
            },
            Counted::DeviceClaims => {
                Use { amounts: claim::devices(object), facts: Facts::None, type_ }
            }
            Counted::Objects(ref names) => {
                let one = |name: &String| (name.clone(), whole(1));
                let amounts = Quantities(names.iter().map(one).collect());
                Use { amounts, facts: Facts::None, type_ }
            }
        }
    }

    pub fn of_pod(pod: &Pod, now: Time) -> Use {
        let facts = Facts::Pod(pod::Facts::of(pod));
        Use { type_: Counted::Pods, amounts: pod::amounts(pod, now), facts }
    }

    /// Whether a quota limits this object: by what it is, under one of these names at least.
    pub fn is_within(&self, quota: &ResourceQuota, hard: &Quantities) -> bool {
        hard.iter().any(|(name, _)| self.type_.counts(name))
            && quota.scopes().all(|scope| self.is_in(&scope))
    }

    /// Whether it lies in a scope.
    pub fn is_in(&self, scope: &Scope) -> bool {
        match &self.facts {
            Facts::Pod(facts) => facts.are_in(scope),
            Facts::Claim(classes) if scope.scope_name == "VolumeAttributesClass" => {
                claim::is_in(classes, scope)
            }
            Facts::Claim(_) | Facts::None => false,
        }
    }

    /// What it must say and does not, where these are limited: pods name what they ask for of processors and memory.
    pub fn lacks(&self, limited: &BTreeSet<&str>) -> Option<String> {
        match &self.facts {
            Facts::Pod(facts) => facts.lack(limited),
            Facts::Claim(_) | Facts::None => None,
        }
    }
}

/// What a change adds: never less than nothing, for what it frees is found by counting.
pub fn increase(after: &Quantities, before: &Quantities) -> Quantities {
    let mut more = after.clone();
    more.take(before);
    more
}

/// What a service uses. Its node ports are not drawn yet when it is asked, so what it wants counts.
fn service(service: &Object) -> Quantities {
    let ports = service.list("spec.ports");
    let named = ports.iter().filter(|port| port["nodePort"].as_i64().is_some_and(|it| it != 0));
    let (node_ports, balancers) = match service.text("spec.type") {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer"
            if service.at("spec.allocateLoadBalancerNodePorts") == Some(&false.into()) =>
        {
            (named.count(), 1)
        }
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    let amounts = [
        ("count/services", 1),
        ("services", 1),
        ("services.loadbalancers", balancers),
        ("services.nodeports", node_ports),
    ];
    let named = amounts.into_iter().map(|(name, count)| (name.to_owned(), whole(count)));
    Quantities(named.collect::<BTreeMap<_, _>>())
}

#[cfg(test)]
mod tests;
