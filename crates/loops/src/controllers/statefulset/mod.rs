//! StatefulSet: pods that are told apart by an ordinal, each with a name and claims that outlive it.
//!
//! A pass looks at the ordinals from the lowest to the highest, then at pods beyond them, then at pods of an older
//! template. An ordered set stops at the first that is not as it should be; a parallel one does all at once.
//! Invariants: there is never a second pod of an ordinal, so a successor starts only when its predecessor is gone for
//! good; only pods that the set controls are touched; at most `BURST` are made in a pass, however many are asked for.

mod claims;
mod member;
mod status;
#[cfg(test)]
mod tests;
mod update;

use crate::parts::adoption::{Claimed, claimed, selector};
use crate::parts::pods;
use crate::parts::revisions::{History, Revision};
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::Key;
use skiff_base::Time;
use skiff_kinds::views::workloads::Template;
use skiff_kinds::views::{ControllerRevision, PersistentVolumeClaim, Pod, StatefulSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Upstream's bound on the pods that a parallel set makes in one pass.
const BURST: usize = 500;
/// The label of a revision with the hash of its template.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// Key: a StatefulSet.
pub struct StatefulSetLoop;

pub struct Seen {
    set: Arc<StatefulSet>,
    pods: Claimed<Pod>,
    history: History,
    /// The claims that there are of those that its pods have or would get, by name.
    claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
}

impl Loop for StatefulSetLoop {
    const NAME: &'static str = "statefulset-controller";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<StatefulSet>();
        on.adopts::<StatefulSet, Pod>();
        on.adopts::<StatefulSet, ControllerRevision>();
        // A claim has the labels that its set selects by.
        on.selected_by::<StatefulSet, PersistentVolumeClaim>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(set) = cx.caches.of::<StatefulSet>().get(key) else { return Ok(None) };
        let (spec, meta) = (&set.spec, &set.metadata);
        let selector = selector(&spec.selector, meta)?;
        let pods =
            claimed(cx, &*set, &selector, |pod: &Pod| member::ordinal(meta, pod).is_some()).await?;
        // The count is part of each name from the first on.
        let collisions = Some(set.status.collision_count.unwrap_or(0));
        let history = History::of(cx, &*set, &selector, &spec.template, collisions).await?;
        let cache = cx.caches.of::<PersistentVolumeClaim>();
        let mut claims = BTreeMap::new();
        if !spec.volume_claim_templates.is_empty() {
            let (replicas, condemned) = sort(&set, &pods);
            let there = condemned.into_iter().chain(replicas.iter().map(|(at, pod)| (*at, *pod)));
            let ordinals = there.map(|(at, _)| at).chain(missing(&set, &replicas));
            for name in ordinals.flat_map(|ordinal| claims::names(&set, ordinal)) {
                if let Some(claim) = cache.get(&Key::new(&meta.namespace, &name)) {
                    claims.insert(name, claim);
                }
            }
        }
        Ok(Some(Seen { set, pods, history, claims }))
    }

    fn plan(seen: &Seen, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let set = &*seen.set;
        seen.pods.settle(set, out);
        if set.metadata.deleting() {
            out.because("the set is going");
            return Next::Wait;
        }
        seen.history.settle(set, out);
        let update = seen.history.current(set, &set.spec.template, HASH_LABEL, out);
        let mut pass = Pass::new(seen, update, now);
        pass.go();
        // The status goes first: what comes after may be refused, and then users still see how things stand.
        let next = pass.tell(out);
        pass.todo.into_iter().for_each(|change| out.push(change));
        pass.reasons.into_iter().for_each(|reason| out.because(reason));
        let live = |it: &ControllerRevision| {
            let name = &it.metadata.name;
            *name == pass.update.name
                || *name == pass.current
                || seen.pods.all().any(|pod| member::revision(pod) == name)
        };
        seen.history.truncate(set.spec.revision_history_limit, |it| !live(it), |_| false, out);
        next
    }
}

/// The pods by their ordinals, and those beyond what is asked for, the highest first.
type Sorted<'s> = (BTreeMap<i32, &'s Arc<Pod>>, Vec<(i32, &'s Arc<Pod>)>);

fn sort<'s>(set: &StatefulSet, pods: &'s Claimed<Pod>) -> Sorted<'s> {
    let (mut replicas, mut condemned) = (BTreeMap::new(), Vec::new());
    for pod in pods.all() {
        match member::ordinal(&set.metadata, pod) {
            Some(ordinal) if in_range(set, ordinal) => drop(replicas.insert(ordinal, pod)),
            Some(ordinal) => condemned.push((ordinal, pod)),
            None => {}
        }
    }
    condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
    (replicas, condemned)
}

/// The ordinals that the set asks for.
fn range(set: &StatefulSet) -> std::ops::Range<i32> {
    let start = set.spec.ordinals.start;
    start..start.saturating_add(set.spec.replicas)
}

fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    range(set).contains(&ordinal)
}

/// The ordinals without a pod, as many as one pass makes.
fn missing(set: &StatefulSet, replicas: &BTreeMap<i32, &Arc<Pod>>) -> impl Iterator<Item = i32> {
    range(set).filter(|ordinal| !replicas.contains_key(ordinal)).take(BURST)
}

/// Whether a pass goes on behind a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    On,
    Stop,
}

/// One pass over a set: what it has decided so far.
struct Pass<'s> {
    seen: &'s Seen,
    set: &'s StatefulSet,
    now: Time,
    /// The revision of the set's template.
    update: Revision,
    /// The name of the revision that the set comes from, and its template.
    current: String,
    current_template: Option<Template>,
    replicas: BTreeMap<i32, &'s Arc<Pod>>,
    condemned: Vec<(i32, &'s Arc<Pod>)>,
    todo: Vec<Change>,
    reasons: Vec<String>,
    /// How many pods of the older revision go.
    outdated: i32,
}

impl<'s> Pass<'s> {
    fn new(seen: &'s Seen, update: Revision, now: Time) -> Pass<'s> {
        let set = &*seen.set;
        let (replicas, condemned) = sort(set, &seen.pods);
        let current_template = seen.history.template(&set.status.current_revision);
        let current = match current_template {
            Some(_) => set.status.current_revision.clone(),
            None => update.name.clone(),
        };
        let (todo, reasons) = (Vec::new(), Vec::new());
        Pass {
            seen,
            set,
            now,
            update,
            current,
            current_template,
            replicas,
            condemned,
            todo,
            reasons,
            outdated: 0,
        }
    }

    fn go(&mut self) {
        let step = match self.ordered() {
            true => self.one_after_the_other(),
            false => self.all_at_once(),
        };
        if step == Step::On && self.set.spec.update_strategy.type_ == "RollingUpdate" {
            self.roll();
        }
    }

    fn ordered(&self) -> bool {
        self.set.spec.pod_management_policy != "Parallel"
    }

    fn one_after_the_other(&mut self) -> Step {
        for ordinal in range(self.set) {
            let step = match self.replicas.get(&ordinal).copied() {
                None => self.make(vec![ordinal]),
                Some(pod) => self.keep(ordinal, pod),
            };
            if step == Step::Stop {
                return Step::Stop;
            }
        }
        for (ordinal, pod) in self.condemned.clone() {
            self.retain(ordinal, pod);
        }
        let Some((_, last)) = self.condemned.first().copied() else { return Step::On };
        let unavailable =
            |it: &&(i32, &Arc<Pod>)| !self.available(it.1) || it.1.metadata.deleting();
        let lowest = self.condemned.iter().rev().find(unavailable);
        if last.metadata.deleting() {
            self.reasons.push(format!("{} has to be gone first", last.metadata.name));
        } else if !self.available(last) && lowest.is_some_and(|(_, it)| !Arc::ptr_eq(it, last)) {
            self.reasons.push(format!("{} has to be available first", last.metadata.name));
        } else {
            self.delete(last);
        }
        Step::Stop
    }

    fn all_at_once(&mut self) -> Step {
        let missing: Vec<i32> = missing(self.set, &self.replicas).collect();
        self.make(missing);
        for (ordinal, pod) in self.replicas.clone() {
            self.keep(ordinal, pod);
        }
        for (ordinal, pod) in self.condemned.clone() {
            self.retain(ordinal, pod);
        }
        let going = self.condemned.iter().filter(|(_, pod)| !pod.metadata.deleting());
        let going: Vec<_> = going.map(|(_, pod)| self.deletion(pod)).collect();
        self.together(going);
        Step::On
    }

    /// Keeps a pod that is there; an ordered set goes on behind it when it is available.
    fn keep(&mut self, ordinal: i32, pod: &'s Arc<Pod>) -> Step {
        let (name, going) = (&pod.metadata.name, pod.metadata.deleting());
        // Also one that succeeded: how a pod that was evicted ends is its containers' affair.
        if pod.ended() {
            if !going {
                self.delete(pod);
            }
            return Step::Stop;
        }
        if pod.status.phase == "Pending" {
            let claims = self.claims_to_make(ordinal, name);
            self.together(claims);
            self.retain_now(ordinal, pod);
        }
        let waits = match () {
            () if going => Some("gone"),
            () if !self.running(pod) => Some("running and ready"),
            () if !self.available(pod) => Some("available"),
            () => None,
        };
        if let Some(what) = waits.filter(|_| self.ordered()) {
            self.reasons.push(format!("{name} has to be {what} first"));
            return Step::Stop;
        }
        self.mend(ordinal, pod);
        Step::On
    }

    fn running(&self, pod: &Pod) -> bool {
        pod.status.phase == "Running" && pod.ready()
    }

    fn available(&self, pod: &Pod) -> bool {
        pods::available(pod, self.set.spec.min_ready_seconds, self.now)
    }

    fn together(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.todo.push(Change::Together(changes));
        }
    }
}
