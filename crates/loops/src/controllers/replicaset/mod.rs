//! ReplicaSet, and ReplicationController before it: as many pods of one template as `spec.replicas` asks for.
//!
//! Invariants: at most `BURST` pods are created or deleted in a pass; a pod that another one controls is never touched;
//! pods that ended or are going do not count, and are not waited for.

mod status;
#[cfg(test)]
mod tests;
pub mod victims;

use crate::parts::adoption::{Claimed, claimed, selector};
use crate::parts::pods;
use crate::parts::status::{this, write};
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::{Pod, ReplicaSet, ReplicationController};
use std::marker::PhantomData;
use std::sync::Arc;

/// Upstream's bound on the pods that one pass creates or deletes: it keeps one set from holding up all others.
const BURST: usize = 500;

/// The kinds that keep a number of pods, under the names of their controllers.
pub trait Replicated: View + AsRef<ReplicaSet> {
    const NAME: &'static str;
    /// Whether its status tells how many pods are going.
    const TELLS_TERMINATING: bool;
}

impl Replicated for ReplicaSet {
    const NAME: &'static str = "replicaset-controller";
    const TELLS_TERMINATING: bool = true;
}

impl Replicated for ReplicationController {
    const NAME: &'static str = "replication-controller";
    const TELLS_TERMINATING: bool = false;
}

/// Key: a ReplicaSet, or a ReplicationController.
pub struct ReplicaLoop<S>(PhantomData<S>);

pub struct Seen<S> {
    set: Arc<S>,
    pods: Claimed<Pod>,
    /// Pods of all sets with the same controller: a node that has many of them loses one first.
    related: Vec<Arc<Pod>>,
}

/// Why pods could not be created or deleted when it was last tried.
#[derive(Debug, Default)]
pub struct Memory {
    failure: Option<String>,
}

impl<S: Replicated> Loop for ReplicaLoop<S> {
    const NAME: &'static str = S::NAME;
    type Seen = Seen<S>;
    type Memory = Memory;

    fn on(on: &mut On) {
        on.own::<S>();
        on.adopts::<S, Pod>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen<S>>, Status> {
        let sets = cx.caches.of::<S>();
        let Some(set) = sets.get(key) else { return Ok(None) };
        let selector = selector(&S::as_ref(&set).spec.selector, set.meta())?;
        let pods = claimed(cx, &*set, &selector, |pod: &Pod| !pod.ended()).await?;
        let cache = cx.caches.of::<Pod>();
        let related = match set.meta().controller() {
            None => pods.all().cloned().collect(),
            Some(owner) => {
                let siblings = sets.find("owner", &owner.uid);
                siblings.iter().flat_map(|s| cache.find("owner", &s.meta().uid)).collect()
            }
        };
        Ok(Some(Seen { set, pods, related }))
    }

    fn failed(memory: &mut Memory, change: &Change, why: &Status) {
        if matches!(change, Change::Told(..)) {
            memory.failure = Some(why.message.clone());
        }
    }

    fn plan(seen: &Seen<S>, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let set: &ReplicaSet = S::as_ref(&seen.set);
        let (mut active, mut going) = (Vec::new(), 0);
        seen.pods.settle(&*seen.set, out);
        for pod in seen.pods.all() {
            match (pod.ended(), pod.metadata.deleting()) {
                (true, _) => {}
                (false, true) => going += 1,
                (false, false) => active.push(pod),
            }
        }
        let failure = memory.failure.take();
        // The status goes first: what comes after may be refused, and then users still see how things stand.
        let going = S::TELLS_TERMINATING.then_some(going);
        let after = status::of(set, &active, going, failure.as_deref(), now);
        write(&*seen.set, this(&set.metadata), (&set.status, &after), out);
        let next = status::next_check(set, &active, now);
        if set.metadata.deleting() {
            out.because("the set is going");
            return next;
        }
        match usize::try_from(set.spec.replicas).unwrap_or(0) {
            wanted if wanted > active.len() => create(&*seen.set, wanted - active.len(), out),
            wanted if wanted < active.len() => {
                delete(seen, victims::choose(active, &seen.related, wanted, now), out);
            }
            _ => {}
        }
        next
    }
}

fn create<S: Replicated>(set: &S, missing: usize, out: &mut Changes) {
    let mut pod = pods::of_template(&set.as_ref().spec.template);
    pod["metadata"]["generateName"] = json!(format!("{}-", set.meta().name));
    out.together(vec![pods::create(set, pod); missing.min(BURST)]);
}

fn delete<S: Replicated>(seen: &Seen<S>, victims: Vec<&Arc<Pod>>, out: &mut Changes) {
    let one = |pod: &&Arc<Pod>| pods::delete(&*seen.set, &pod.metadata);
    out.together(victims.iter().take(BURST).map(one));
}
