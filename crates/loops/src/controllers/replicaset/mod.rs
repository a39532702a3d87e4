//! ReplicaSet: as many pods of one template as `spec.replicas` asks for.
//!
//! Invariants: at most `BURST` pods are created or deleted in a pass; a pod that another one controls is never touched;
//! pods that ended or are going do not count, and are not waited for.

mod status;
#[cfg(test)]
mod tests;
mod victims;

use crate::parts::adoption::{Claimed, claimed, selector};
use crate::parts::pods;
use crate::parts::status::{this, write};
use crate::{Change, Changes, Context, Loop, Next, On};
use serde_json::json;
use skiff_api::Status;
use skiff_api::view::Key;
use skiff_base::Time;
use skiff_kinds::views::{Pod, ReplicaSet};
use std::sync::Arc;

/// Upstream's bound on the pods that one pass creates or deletes: it keeps one set from holding up all others.
const BURST: usize = 500;

/// Key: a ReplicaSet.
pub struct ReplicaSetLoop;

pub struct Seen {
    set: Arc<ReplicaSet>,
    pods: Claimed<Pod>,
    /// Pods of all sets with the same controller: a node that has many of them loses one first.
    related: Vec<Arc<Pod>>,
}

/// Why pods could not be created or deleted when it was last tried.
#[derive(Debug, Default)]
pub struct Memory {
    failure: Option<String>,
}

impl Loop for ReplicaSetLoop {
    const NAME: &'static str = "replicaset-controller";
    type Seen = Seen;
    type Memory = Memory;

    fn on(on: &mut On) {
        on.own::<ReplicaSet>();
        on.adopts::<ReplicaSet, Pod>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let sets = cx.caches.of::<ReplicaSet>();
        let Some(set) = sets.get(key) else { return Ok(None) };
        let selector = selector(&set.spec.selector, &set.metadata)?;
        let pods = claimed(cx, &*set, &selector, |pod: &Pod| !pod.ended()).await?;
        let cache = cx.caches.of::<Pod>();
        let related = match set.metadata.controller() {
            None => pods.all().cloned().collect(),
            Some(owner) => {
                let siblings = sets.find("owner", &owner.uid);
                siblings.iter().flat_map(|s| cache.find("owner", &s.metadata.uid)).collect()
            }
        };
        Ok(Some(Seen { set, pods, related }))
    }

    fn failed(memory: &mut Memory, change: &Change, why: &Status) {
        if matches!(change, Change::Told(..)) {
            memory.failure = Some(why.message.clone());
        }
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let set = &seen.set;
        let (mut active, mut going) = (Vec::new(), 0);
        seen.pods.settle(&**set, out);
        for pod in seen.pods.all() {
            match (pod.ended(), pod.metadata.deleting()) {
                (true, _) => {}
                (false, true) => going += 1,
                (false, false) => active.push(pod),
            }
        }
        let failure = memory.failure.take();
        // The status goes first: what comes after may be refused, and then users still see how things stand.
        let after = status::of(set, &active, going, failure.as_deref(), now);
        write(&**set, this(&set.metadata), (&set.status, &after), out);
        let next = status::next_check(set, &active, now);
        if set.metadata.deleting() {
            out.because("the set is going");
            return next;
        }
        match usize::try_from(set.spec.replicas).unwrap_or(0) {
            wanted if wanted > active.len() => create(set, wanted - active.len(), out),
            wanted if wanted < active.len() => {
                delete(seen, victims::choose(active, &seen.related, wanted, now), out);
            }
            _ => {}
        }
        next
    }
}

fn create(set: &ReplicaSet, missing: usize, out: &mut Changes) {
    let mut pod = pods::of_template(&set.spec.template);
    pod["metadata"]["generateName"] = json!(format!("{}-", set.metadata.name));
    out.push(Change::Together(vec![pods::create(set, pod); missing.min(BURST)]));
}

fn delete(seen: &Seen, victims: Vec<&Arc<Pod>>, out: &mut Changes) {
    let one = |pod: &&Arc<Pod>| pods::delete(&*seen.set, &pod.metadata);
    out.push(Change::Together(victims.iter().take(BURST).map(one).collect()));
}
