//! Plugins: what says whether a pod may run on a node, and how gladly. One file each, and one line in [`PLUGINS`];
//! pure. The first that says no speaks for the node. Names, words and weights are those that users of upstream know.
//!
//! What a plugin needs to know of a pod it finds once, in `prepare`, where it also says whether it has anything to say:
//! one without a part in a cycle costs that cycle nothing.

mod balanced;
pub mod devices;
mod image_locality;
pub mod node_affinity;
mod node_name;
mod pod_affinity;
mod ports;
mod resources;
mod spread;
pub mod taints;
mod unschedulable;
mod volume_binding;
mod volume_limits;
mod volume_restrictions;
mod volume_zone;

use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::tally::Who;
use skiff_api::view::{Key, Resource};
use skiff_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The highest score, after `normalize`.
pub const MOST: i64 = 100;

/// In the order in which they are asked.
pub const PLUGINS: &[&dyn Plugin] = &[
    &unschedulable::Unschedulable,
    &node_name::NodeName,
    &taints::Taints,
    &node_affinity::NodeAffinity,
    &ports::Ports,
    &resources::Resources,
    &volume_restrictions::VolumeRestrictions,
    &volume_limits::VolumeLimits,
    &volume_binding::VolumeBinding,
    &volume_zone::VolumeZone,
    &spread::Spread,
    &pod_affinity::PodAffinity,
    &devices::Devices,
    &balanced::Balanced,
    &image_locality::ImageLocality,
];

pub trait Plugin: Sync {
    /// Upstream's name of it.
    fn name(&self) -> &'static str;

    /// What it has to say about where this pod may run.
    fn prepare(&self, _pod: &Arc<PodInfo>, _snapshot: &Snapshot) -> Prepared {
        Prepared::default()
    }

    /// The part of one that had none in the cycle, if pods move; only what moves can make it have one.
    fn join(&self, _pod: &Arc<PodInfo>, _moved: &Moved) -> Option<Arc<dyn Filter>> {
        None
    }

    /// What it has to say about where this pod runs best; asked only if there is a choice.
    fn rank(&self, _pod: &Arc<PodInfo>, _snapshot: &Snapshot) -> Option<Box<dyn Score>> {
        None
    }

    /// The events that may make it accept what it refused.
    fn listens(&self) -> &'static [EventKind] {
        &[EventKind::Node]
    }

    /// Whether this event may make it accept the pod that it refused. A node is asked anew.
    fn helps(&self, pod: &Arc<PodInfo>, event: &Event, snapshot: &Snapshot) -> bool {
        let Event::Node(new) = event else { return false };
        let filter = self.prepare(pod, snapshot).filter;
        new.is_some_and(|info| filter.is_none_or(|filter| filter.filter(info).is_empty()))
    }

    /// Takes what the pod needs on the node it was given, in memory; an error makes the pod wait. What it says must be
    /// written, and every claim of the pod bound, before the pod is.
    fn reserve(&self, _: &PodInfo, _: &str, _: &mut Snapshot) -> Result<Vec<Write>, String> {
        Ok(Vec::new())
    }

    /// Gives back what `reserve` took, if it did.
    fn unreserve(&self, _pod: &PodInfo, _node: &str, _snapshot: &mut Snapshot) {}
}

/// Fields of an object that are set (RFC 7386) before a pod may be bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    pub resource: Resource,
    pub key: Key,
    pub body: Value,
}

/// A plugin's part of a cycle.
#[derive(Default)]
pub struct Prepared {
    /// `None`: any node will do.
    pub filter: Option<Arc<dyn Filter>>,
    /// The only nodes that `filter` can accept, if they are few and known.
    pub nodes: Option<Nodes>,
    /// Why no node whatever will do.
    pub never: Option<String>,
}

/// Nodes by their names.
pub type Nodes = BTreeSet<String>;

impl Prepared {
    fn of(filter: impl Filter + 'static) -> Prepared {
        Prepared { filter: Some(Arc::new(filter)), ..Prepared::default() }
    }

    fn never(why: String) -> Prepared {
        Prepared { never: Some(why), ..Prepared::default() }
    }
}

/// Whether a node will do for the pod of the cycle.
pub trait Filter: Send + Sync {
    /// Empty: it will.
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal>;

    /// The same if pods had come to a node, and others had left it; `None` if what is kept beside the node does not
    /// change by that.
    fn with(&self, _change: &Moved) -> Option<Arc<dyn Filter>> {
        None
    }
}

/// Pods that would come to a node, or leave it.
pub struct Moved<'a> {
    pub snapshot: &'a Snapshot,
    pub info: &'a NodeInfo,
    pub came: &'a [Arc<PodInfo>],
    pub left: &'a [Arc<PodInfo>],
}

impl Moved<'_> {
    /// How many more of those pods there would be.
    fn more(&self, who: &Who) -> i64 {
        let count = |pods: &[Arc<PodInfo>]| {
            pods.iter().filter(|pod| who.selects(pod, &self.snapshot.namespaces)).count() as i64
        };
        count(self.came) - count(self.left)
    }
}

/// How gladly a node takes the pod of the cycle.
pub trait Score: Send + Sync {
    /// Any number, the higher the better.
    fn score(&self, info: &NodeInfo) -> i64;

    /// Brings the numbers of all nodes to 0 to [`MOST`].
    fn normalize(&self, _scores: &mut [i64]) {}

    fn weight(&self) -> i64 {
        1
    }
}

/// Why a node is not for a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    pub reason: Cow<'static, str>,
    /// The node would still refuse if other pods left it.
    pub for_good: bool,
}

impl Refusal {
    pub fn for_good(reason: &'static str) -> Vec<Refusal> {
        vec![Refusal { reason: reason.into(), for_good: true }]
    }

    pub fn for_now(reason: &'static str) -> Vec<Refusal> {
        vec![Refusal { reason: reason.into(), for_good: false }]
    }
}

/// What happened to the cluster, besides the pods that wait.
pub enum Event<'a> {
    /// A node came, changed in what plugins look at, or went (`None`).
    Node(Option<&'a NodeInfo>),
    /// A pod came to a node.
    Came(&'a PodInfo),
    /// A pod left its node, or ended.
    Left(&'a PodInfo),
    /// A pod on a node asks for something else, or has other labels.
    Changed { old: &'a PodInfo, new: &'a PodInfo },
    /// The labels of a namespace.
    Namespace,
    /// A claim came, changed or went.
    Claim(&'a Key),
    /// Something about volumes, their classes or drivers.
    Storage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Node,
    Came,
    Left,
    Changed,
    Namespace,
    Claim,
    Storage,
}

impl Event<'_> {
    pub fn kind(&self) -> EventKind {
        match self {
            Event::Node(_) => EventKind::Node,
            Event::Came(_) => EventKind::Came,
            Event::Left(_) => EventKind::Left,
            Event::Changed { .. } => EventKind::Changed,
            Event::Namespace => EventKind::Namespace,
            Event::Claim(_) => EventKind::Claim,
            Event::Storage => EventKind::Storage,
        }
    }
}

/// A set of plugins: those that refused a pod.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusers(u32);

impl Refusers {
    /// By its number in [`PLUGINS`].
    pub fn add(&mut self, plugin: usize) {
        self.0 |= 1 << plugin;
    }

    fn all(self) -> impl Iterator<Item = &'static &'static dyn Plugin> {
        PLUGINS.iter().enumerate().filter(move |(at, _)| self.0 >> at & 1 == 1).map(|it| it.1)
    }

    /// Whether any of them listens to such events. Where there was no node at all, a node helps.
    pub fn listen(self, kind: EventKind) -> bool {
        self.0 == 0 && kind == EventKind::Node || self.all().any(|it| it.listens().contains(&kind))
    }

    /// Whether the event may help the pod that they refused.
    pub fn helped(self, pod: &Arc<PodInfo>, event: &Event, snapshot: &Snapshot) -> bool {
        let kind = event.kind();
        let mut listening = self.all().filter(|it| it.listens().contains(&kind));
        self.0 == 0 && kind == EventKind::Node || listening.any(|it| it.helps(pod, event, snapshot))
    }
}

impl fmt::Debug for Refusers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all().map(|plugin| plugin.name())).finish()
    }
}
