//! ReplicaSet: as many pods of one template as `spec.replicas` asks for.
//!
//! Invariants: at most `BURST` pods are created or deleted in a pass; a pod that another one controls is never touched;
//! pods that ended or are going do not count, and are not waited for.

mod status;
#[cfg(test)]
mod tests;
mod victims;

use crate::changes::Tell;
use crate::parts::adoption::{Claim, adopt, claim, reference, release, selector};
use crate::parts::template;
use crate::{Change, Changes, Context, Loop, Next, On};
use serde_json::json;
use skiff_api::Status;
use skiff_api::selector::Selector;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::{Caches, DeleteOptions};
use skiff_kinds::views::{Pod, ReplicaSet};
use std::sync::Arc;

/// Upstream's bound on the pods that one pass creates or deletes: it keeps one set from holding up all others.
const BURST: usize = 500;

/// Key: a ReplicaSet.
pub struct ReplicaSetLoop;

pub struct Seen {
    set: Arc<ReplicaSet>,
    selector: Selector,
    /// Those that it controls, and orphans that it may take in.
    pods: Vec<Arc<Pod>>,
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
        on.map::<Pod>(sets_of);
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let sets = cx.caches.of::<ReplicaSet>();
        let Some(set) = sets.get(key) else { return Ok(None) };
        let selector = selector(&set.spec.selector, &set.metadata)?;
        let cache = cx.caches.of::<Pod>();
        let mut pods = cache.find("owner", &set.metadata.uid);
        let orphans = cache.find("orphan", &key.namespace).into_iter();
        let wanted: Vec<_> = orphans
            .filter(|pod| !pod.ended())
            .filter(|pod| claim(&set.metadata, &pod.metadata, &selector) == Claim::Adopt)
            .collect();
        if !wanted.is_empty() {
            let live: ReplicaSet = cx.client.view(&key.namespace, &key.name).await?;
            if live.metadata.uid == set.metadata.uid && !live.metadata.deleting() {
                pods.extend(wanted);
            }
        }
        let related = match set.metadata.controller() {
            None => pods.clone(),
            Some(owner) => {
                let siblings = sets.find("owner", &owner.uid);
                siblings.iter().flat_map(|s| cache.find("owner", &s.metadata.uid)).collect()
            }
        };
        Ok(Some(Seen { set, selector, pods, related }))
    }

    fn failed(memory: &mut Memory, change: &Change, why: &Status) {
        if matches!(change, Change::Told(..)) {
            memory.failure = Some(why.message.clone());
        }
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let set = &seen.set;
        let (mut active, mut going) = (Vec::new(), 0);
        for pod in &seen.pods {
            match claim(&set.metadata, &pod.metadata, &seen.selector) {
                Claim::Ignore => continue,
                Claim::Release => {
                    release(out, &set.metadata, (Pod::RESOURCE, &pod.metadata));
                    continue;
                }
                Claim::Adopt => {
                    let owner = (ReplicaSet::RESOURCE, &set.metadata);
                    adopt(out, owner, (Pod::RESOURCE, &pod.metadata));
                }
                Claim::Own => {}
            }
            match (pod.ended(), pod.metadata.deleting()) {
                (true, _) => {}
                (false, true) => going += 1,
                (false, false) => active.push(pod),
            }
        }
        let failure = memory.failure.take();
        // The status goes first: what comes after may be refused, and then users still see how things stand.
        let status = status::of(set, &active, going, failure.as_deref(), now);
        status::write(set, &status, out);
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

/// The set that controls a pod; for an orphan every set that would take it in.
fn sets_of(pod: &Pod, caches: &Caches) -> Vec<Key> {
    let meta = &pod.metadata;
    if let Some(owner) = meta.controller() {
        let ours = owner.kind == "ReplicaSet";
        return if ours { vec![Key::new(&meta.namespace, &owner.name)] } else { Vec::new() };
    }
    if meta.deleting() {
        return Vec::new();
    }
    let sets = caches.of::<ReplicaSet>().list(&meta.namespace);
    let takes = |set: &&Arc<ReplicaSet>| {
        let selector = Selector::from_object(Some(&set.spec.selector.0));
        // A selector that cannot be read selects nothing; the pass over the set itself reports it.
        selector.is_ok_and(|s| s.matches(|key| meta.labels.get(key).map(String::as_str)))
    };
    sets.iter().filter(takes).map(|set| set.metadata.key()).collect()
}

fn create(set: &ReplicaSet, missing: usize, out: &mut Changes) {
    let meta = &set.metadata;
    let mut metadata = template::metadata(&set.spec.template.metadata);
    if let Some(fields) = metadata.as_object_mut() {
        fields.remove("name");
    }
    metadata["generateName"] = json!(format!("{}-", meta.name));
    metadata["namespace"] = json!(meta.namespace);
    metadata["ownerReferences"] = json!([reference(ReplicaSet::RESOURCE, meta)]);
    let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": set.spec.template.spec});
    let tell = Tell {
        about: about(set),
        done: ("SuccessfulCreate", "Created pod: {name}".into()),
        failed: ("FailedCreate", "Error creating: {error}".into()),
    };
    let create =
        Change::Create { resource: Pod::RESOURCE, namespace: meta.namespace.clone(), body };
    let one = Change::Told(Box::new(create), tell);
    out.push(Change::Together(vec![one; missing.min(BURST)]));
}

fn delete(seen: &Seen, victims: Vec<&Arc<Pod>>, out: &mut Changes) {
    let one = |pod: &&Arc<Pod>| {
        let meta = &pod.metadata;
        let options = DeleteOptions { uid: Some(meta.uid.clone()), ..DeleteOptions::default() };
        let delete = Change::Delete { resource: Pod::RESOURCE, key: meta.key(), options };
        let tell = Tell {
            about: about(&seen.set),
            done: ("SuccessfulDelete", "Deleted pod: {name}".into()),
            failed: ("FailedDelete", "Error deleting: {error}".into()),
        };
        Change::Told(Box::new(delete), tell)
    };
    out.push(Change::Together(victims.iter().take(BURST).map(one).collect()));
}

fn about(set: &ReplicaSet) -> serde_json::Value {
    skiff_client::events::reference(ReplicaSet::RESOURCE, &set.metadata)
}
