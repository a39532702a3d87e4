//! DaemonSet: one pod on each node that fits, put there by the scheduler.
//!
//! A pass first brings each node to one pod, and looks for pods of an older template only when nothing of that is left
//! to do. Invariants: at most `BURST` pods are made and as many deleted in a pass; a node has a second pod only while
//! it surges; a pod that fails again and again is replaced ever more slowly.

mod nodes;
mod placement;
mod roll;
mod status;
#[cfg(test)]
mod tests;

use crate::changes::Note;
use crate::parts::adoption::{Claimed, claimed, selector};
use crate::parts::pods;
use crate::parts::revisions::{History, Revision, hash_of};
use crate::{Changes, Context, Loop, Next, On};
use placement::Daemon;
use skiff_api::Status;
use skiff_api::view::Key;
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::apps::daemonset::TEMPLATE_GENERATION;
use skiff_kinds::views::{ControllerRevision, DaemonSet, Node, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Upstream's bound on the pods that one pass makes, and on those that it deletes.
const BURST: usize = 250;
/// The label with the hash of a template, of revisions and of pods.
const HASH_LABEL: &str = "controller-revision-hash";
/// The label with the number of a template, for clients of old.
const GENERATION_LABEL: &str = "pod-template-generation";

/// Key: a DaemonSet.
pub struct DaemonSetLoop;

pub struct Seen {
    set: Arc<DaemonSet>,
    daemon: Daemon,
    nodes: Vec<Arc<Node>>,
    pods: Claimed<Pod>,
    history: History,
}

impl Loop for DaemonSetLoop {
    const NAME: &'static str = "daemon-set-controller";
    const SOURCE: &'static str = "daemonset-controller";
    type Seen = Seen;
    type Memory = nodes::Failures;

    fn on(on: &mut On) {
        on.own::<DaemonSet>();
        on.adopts::<DaemonSet, Pod>();
        on.adopts::<DaemonSet, ControllerRevision>();
        on.changes::<Node>(placement::concerned);
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(set) = cx.caches.of::<DaemonSet>().get(key) else { return Ok(None) };
        let (spec, meta) = (&set.spec, &set.metadata);
        let selector = selector(&spec.selector, meta)?;
        let daemon = Daemon::of(&set).map_err(|why| {
            Status::internal(format!("the template of {key} cannot be read: {why}"))
        })?;
        let pods = claimed(cx, &*set, &selector, |_: &Pod| true).await?;
        let collisions = set.status.collision_count;
        let history = History::of(cx, &*set, &selector, &spec.template, collisions).await?;
        let nodes = cx.caches.of::<Node>().list("");
        Ok(Some(Seen { set, daemon, nodes, pods, history }))
    }

    fn plan(seen: &Seen, memory: &mut nodes::Failures, now: Time, out: &mut Changes) -> Next {
        let set = &*seen.set;
        if set.metadata.deleting() {
            out.because("the set is going");
            return Next::Wait;
        }
        seen.pods.settle(set, out);
        seen.history.settle(set, out);
        let current = seen.history.current(set, &set.spec.template, HASH_LABEL, out);
        let mut pass = Pass::new(seen, current, now);
        pass.manage(memory);
        if pass.wanting.is_empty() && pass.going.is_empty() {
            pass.roll();
        }
        // The status goes first: what comes after may be refused, and then users still see how things stand.
        pass.tell(out);
        let next = pass.next();
        pass.act(out);
        pass.clean_up(out);
        next
    }
}

/// One pass over a set: what it has decided so far.
struct Pass<'s> {
    seen: &'s Seen,
    set: &'s DaemonSet,
    now: Time,
    current: Revision,
    /// The pods by the node that they are on or are meant for, the oldest first.
    on: BTreeMap<&'s str, Vec<&'s Arc<Pod>>>,
    /// The nodes that are to get a pod.
    wanting: Vec<&'s str>,
    /// The pods that are to go.
    going: Vec<&'s Arc<Pod>>,
    notes: Vec<Note>,
    /// When a pod that failed may be replaced.
    retry: Option<Time>,
}

impl<'s> Pass<'s> {
    fn new(seen: &'s Seen, current: Revision, now: Time) -> Pass<'s> {
        let mut on: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
        for pod in seen.pods.all().filter(|pod| !(pod.ended() && pod.metadata.deleting())) {
            if let Some(node) = placement::target(pod) {
                on.entry(node).or_default().push(pod);
            }
        }
        for pods in on.values_mut() {
            pods.sort_by_key(|pod| {
                let meta = &pod.metadata;
                (pod.spec.node_name.is_empty(), meta.creation_timestamp, meta.name.clone())
            });
        }
        let (wanting, going, notes) = (Vec::new(), Vec::new(), Vec::new());
        Pass { seen, set: &seen.set, now, current, on, wanting, going, notes, retry: None }
    }

    fn pods_on(&self, node: &str) -> &[&'s Arc<Pod>] {
        self.on.get(node).map_or(&[], Vec::as_slice)
    }

    fn available(&self, pod: &Pod) -> bool {
        pods::available(pod, self.set.spec.min_ready_seconds, self.now)
    }

    /// Whether a pod is of the template of today.
    fn updated(&self, pod: &Pod) -> bool {
        let number = self.set.metadata.annotations.get(TEMPLATE_GENERATION);
        let labels = &pod.metadata.labels;
        labels.get(HASH_LABEL).is_some_and(|hash| self.current.hashes.contains(hash))
            || (number.is_some() && labels.get(GENERATION_LABEL) == number)
    }

    /// Makes and deletes pods.
    fn act(&mut self, out: &mut Changes) {
        self.notes.drain(..).for_each(|note| out.event(note));
        let made = self.wanting.iter().take(BURST).map(|node| {
            let mut template = self.set.spec.template.clone();
            template.spec = self.seen.daemon.on(node);
            let labels = &mut template.metadata.labels;
            labels.insert(HASH_LABEL.into(), self.current.hash().into());
            if let Some(number) = self.set.metadata.annotations.get(TEMPLATE_GENERATION) {
                labels.insert(GENERATION_LABEL.into(), number.clone());
            }
            let mut pod = pods::of_template(&template);
            pod["metadata"]["generateName"] = json!(format!("{}-", self.set.metadata.name));
            pods::create(self.set, pod)
        });
        let deleted = self.going.iter().take(BURST);
        let deleted = deleted.map(|pod| pods::delete(self.set, &pod.metadata));
        out.together(made);
        out.together(deleted);
    }

    /// Deletes old revisions that no pod is of.
    fn clean_up(&self, out: &mut Changes) {
        let old = |it: &ControllerRevision| it.metadata.name != self.current.name;
        let used = |it: &ControllerRevision| {
            let hash = hash_of(it, HASH_LABEL);
            self.seen.pods.all().any(|pod| pod.metadata.labels.get(HASH_LABEL) == Some(&hash))
        };
        self.seen.history.truncate(self.set.spec.revision_history_limit, old, used, out);
    }
}
