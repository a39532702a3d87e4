//! What the scheduler has in mind: it follows the cluster change by change, decides about the next pod, and counts it on
//! its node at once. No IO and no clock, and nothing that a pod or an object holds can stop it: a panic while one is
//! looked at costs that one its turn.

use crate::plan::{Decision, plan};
use crate::plugins::{Event, PLUGINS};
use crate::pod::PodInfo;
use crate::queue::{Lengths, Queue};
use crate::run::NAME;
use crate::snapshot::Snapshot;
use skiff_api::view::Key;
use skiff_kinds::views::{Namespace, Node, Pod};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How a pod's node is found.
type Plan = fn(&Arc<PodInfo>, &Snapshot, usize) -> (Decision, usize);

pub struct Mind {
    plan: Plan,
    snapshot: Snapshot,
    queue: Queue,
    /// Pods whose binds are under way, by uid and node: the API does not show them there yet.
    assumed: HashMap<Key, (String, String)>,
    start: usize,
}

/// What is to be done about a pod.
#[derive(Debug)]
pub enum Act {
    Bind(Arc<PodInfo>, String),
    Refuse(Arc<PodInfo>, String),
}

impl Default for Mind {
    fn default() -> Mind {
        Mind {
            plan,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            assumed: HashMap::new(),
            start: 0,
        }
    }
}

impl Mind {
    pub fn node(&mut self, key: &Key, new: Option<&Arc<Node>>, now: Duration) {
        let old = self.snapshot.named(&key.name).map(|info| info.node.clone());
        self.snapshot.set_node(&key.name, new);
        let same = match (&old, new) {
            (Some(old), Some(new)) => {
                old.spec.taints == new.spec.taints
                    && old.spec.unschedulable == new.spec.unschedulable
                    && old.metadata.labels == new.metadata.labels
                    && old.metadata.annotations == new.metadata.annotations
                    && old.status.allocatable == new.status.allocatable
            }
            (old, new) => old.is_none() && new.is_none(),
        };
        if !same {
            let new = self.snapshot.named(&key.name).cloned();
            self.tell(&Event::Node { old: old.as_deref(), new: new.as_deref() }, now);
        }
    }

    pub fn namespace(&mut self, key: &Key, new: Option<&Arc<Namespace>>, now: Duration) {
        let labels = |namespace: &Arc<Namespace>| namespace.metadata.labels.clone();
        let old = self.snapshot.namespaces.get(&key.name).map(labels);
        if old == new.map(labels) {
            return;
        }
        self.snapshot.set_namespace(&key.name, new);
        self.tell(&Event::Namespace, now);
    }

    pub fn pod(&mut self, key: &Key, new: Option<&Arc<Pod>>, now: Duration) {
        let new = new.filter(|new| !new.ended()).map(|new| Arc::new(PodInfo::new(new.clone())));
        if let Some((uid, _)) = self.assumed.get(key)
            && new.as_ref().is_none_or(|new| new.uid() != uid || new.node().is_some())
        {
            self.assumed.remove(key);
            self.queue.remove(key);
        }
        let assumed = self.assumed.get(key).map(|(_, node)| node.clone());
        let place = new.as_ref().and_then(|new| new.node().map(str::to_owned)).or(assumed);
        self.place(key, new.as_ref().zip(place.as_deref()), now);
        match new.filter(|new| wants_node(&new.pod)) {
            Some(new) => self.queue.add(new, now),
            None => self.queue.remove(key),
        }
    }

    fn place(&mut self, key: &Key, to: Option<(&Arc<PodInfo>, &str)>, now: Duration) {
        let old = self.snapshot.pod(key).map(|(node, info)| (node.name.clone(), info.clone()));
        self.snapshot.set_pod(key, to);
        match (&old, to) {
            (Some((was, old)), Some((new, is))) if was == is && old.uid() == new.uid() => {
                let (a, b) = (&old.pod.metadata, &new.pod.metadata);
                let same = a.labels == b.labels && a.deleting() == b.deleting();
                if !same || old.requests != new.requests {
                    self.tell(&Event::Changed { old, new }, now);
                }
            }
            (old, new) => {
                if let Some((_, old)) = old {
                    self.tell(&Event::Left(old), now);
                }
                if let Some((new, _)) = new {
                    self.tell(&Event::Came(new), now);
                }
            }
        }
    }

    fn tell(&mut self, event: &Event, now: Duration) {
        self.queue.tell(event, &self.snapshot, now);
    }

    pub fn is_ready(&mut self, now: Duration) -> bool {
        self.queue.is_ready(now)
    }

    /// When a pod becomes ready without any change.
    pub fn next(&self) -> Option<Duration> {
        self.queue.next()
    }

    pub fn lengths(&self) -> Lengths {
        self.queue.lengths()
    }

    /// Decides about the next pod that is ready.
    pub fn decide(&mut self, now: Duration) -> Option<Act> {
        let pod = self.queue.take(now)?;
        let planned = guarded(&pod.key, || (self.plan)(&pod, &self.snapshot, self.start));
        let Some((decision, next)) = planned else {
            self.queue.again(&pod.key, now);
            return None;
        };
        self.start = next;
        match decision {
            Decision::Refuse(message, by) => {
                tracing::debug!(key = %pod.key, ?by, "refused");
                self.queue.refused(&pod.key, by, now);
                Some(Act::Refuse(pod, message))
            }
            Decision::Bind(node) => {
                if let Err(why) = PLUGINS.iter().try_for_each(|it| it.reserve(&pod, &node)) {
                    tracing::warn!(key = %pod.key, node, why, "not reserved");
                    self.give_back(&pod, &node);
                    self.queue.again(&pod.key, now);
                    return None;
                }
                self.assumed.insert(pod.key.clone(), (pod.uid().to_owned(), node.clone()));
                self.place(&pod.key.clone(), Some((&pod, &node)), now);
                Some(Act::Bind(pod, node))
            }
        }
    }

    fn give_back(&self, pod: &PodInfo, node: &str) {
        PLUGINS.iter().rev().for_each(|plugin| plugin.unreserve(pod, node));
    }

    /// The bind of a pod came to nothing: it counts on its node no more, and is tried again.
    pub fn unbound(&mut self, pod: &PodInfo, now: Duration) {
        let key = &pod.key;
        let Some((_, node)) = self.assumed.get(key).filter(|(uid, _)| uid == pod.uid()) else {
            return;
        };
        self.give_back(pod, &node.clone());
        self.assumed.remove(key);
        self.place(key, None, now);
        self.queue.again(key, now);
    }
}

/// Does something about one object; a panic is logged, and the answer is `None`.
pub fn guarded<T>(key: &Key, work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work));
    if done.is_err() {
        tracing::error!(%key, "the scheduler panicked over this object");
    }
    done.ok()
}

/// Whether this scheduler has to find a node for the pod.
fn wants_node(pod: &Pod) -> bool {
    let spec = &pod.spec;
    spec.node_name.is_empty()
        && spec.scheduling_gates.is_empty()
        && !pod.metadata.deleting()
        && matches!(&*spec.scheduler_name, "" | NAME)
}
