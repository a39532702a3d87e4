//! The claims of a StatefulSet's pods: made before their pod, kept when it goes, and owned by whom the policy of
//! retention says, so that they go with that owner (KEP-1847).

use super::{Pass, in_range};
use crate::Change;
use crate::changes::{Note, Tell, about};
use crate::parts::adoption::reference;
use crate::parts::status::this_revision;
use skiff_api::view::{Meta, Owner, Resource, View};
use skiff_json::{Value, json};
use skiff_kinds::views::{PersistentVolumeClaim, Pod, StatefulSet};
use std::sync::Arc;

/// The names of an ordinal's claims, in the order of the templates.
pub fn names(set: &StatefulSet, ordinal: i32) -> impl Iterator<Item = String> {
    let templates = set.spec.volume_claim_templates.iter();
    templates.map(move |it| format!("{}-{}-{ordinal}", name(it), set.metadata.name))
}

fn name(template: &Value) -> &str {
    template["metadata"]["name"].as_str().unwrap_or("")
}

impl Pass<'_> {
    /// The volumes that a pod has of its claims.
    pub(super) fn volumes(&self, ordinal: i32) -> Vec<Value> {
        let templates = self.set.spec.volume_claim_templates.iter();
        let volume = |(template, claim): (&Value, String)| {
            let source = json!({"claimName": claim});
            json!({"name": name(template), "persistentVolumeClaim": source})
        };
        templates.zip(names(self.set, ordinal)).map(volume).collect()
    }

    pub(super) fn holds_claims(&self, ordinal: i32, pod: &Pod) -> bool {
        let templates = self.set.spec.volume_claim_templates.iter();
        templates.zip(names(self.set, ordinal)).all(|(template, claim)| {
            let volume = pod.spec.volume(name(template));
            let source = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
            source.is_some_and(|source| source.claim_name == claim)
        })
    }

    /// Creates of the claims that a pod lacks.
    pub(super) fn claims_to_make(&self, ordinal: i32, pod: &str) -> Vec<Change> {
        let templates = self.set.spec.volume_claim_templates.iter();
        let both = templates.zip(names(self.set, ordinal));
        let lacking = both.filter(|(_, name)| !self.seen.claims.contains_key(name));
        lacking.map(|(template, name)| self.claim_to_make(template, name, pod)).collect()
    }

    fn claim_to_make(&self, template: &Value, name: String, pod: &str) -> Change {
        let meta = &self.set.metadata;
        let mut body = template.clone();
        let selected = self.set.spec.selector.0["matchLabels"].as_object();
        for (key, value) in selected.into_iter().flatten() {
            body["metadata"]["labels"][key] = value.clone();
        }
        body["metadata"]["namespace"] = json!(meta.namespace);
        body["metadata"]["name"] = json!(name);
        let of = format!("Pod {pod} in StatefulSet {}", meta.name);
        let claim = Tell {
            about: about(self.set),
            done: ("SuccessfulCreate", format!("Create Claim {name} {of} success")),
            failed: (
                "FailedCreate",
                format!("Create Claim {name} for {of} failed error: {{error}}"),
            ),
        };
        let mut whole = self.tell_of("Create", pod);
        whole.done.0 = "";
        whole.failed.1 =
            whole.failed.1.replace("{error}", &format!("failed to create PVC {name}: {{error}}"));
        let (resource, namespace) = (PersistentVolumeClaim::RESOURCE, meta.namespace.clone());
        let create = Change::Create { resource, namespace, body };
        Change::Told(Box::new(Change::Told(Box::new(create), claim)), whole)
    }

    fn there(&self, ordinal: i32) -> impl Iterator<Item = &Arc<PersistentVolumeClaim>> {
        names(self.set, ordinal).filter_map(move |name| self.seen.claims.get(&name))
    }

    /// A claim that goes while its pod is to be made.
    pub(super) fn claim_going(&self, ordinal: i32) -> Option<String> {
        let going = self.there(ordinal).find(|claim| claim.metadata.deleting())?;
        Some(format!("pvc {} is being deleted", going.metadata.name))
    }

    /// A claim that waits to go with an earlier pod of this name.
    pub(super) fn leftover(&self, ordinal: i32) -> Option<String> {
        if self.set.spec.persistent_volume_claim_retention_policy.when_scaled != "Delete" {
            return None;
        }
        let pod = format!("{}-{ordinal}", self.set.metadata.name);
        let stale = |it: &&Arc<PersistentVolumeClaim>| {
            it.metadata.owner_references.iter().any(|owner| is(owner, Pod::RESOURCE, &pod))
        };
        let claim = self.there(ordinal).find(stale)?;
        Some(format!("{} goes with an earlier pod", claim.metadata.name))
    }

    /// Gives the claims of a pod the owners that the policy wants; says whether some had others.
    pub(super) fn retain(&mut self, ordinal: i32, pod: &Pod) -> bool {
        let differs = self.there(ordinal).any(|it| self.owners(it, ordinal, pod).is_some());
        if differs {
            self.retain_now(ordinal, pod);
        }
        differs
    }

    pub(super) fn retain_now(&mut self, ordinal: i32, pod: &Pod) {
        let mut changes = Vec::new();
        for claim in self.there(ordinal) {
            let meta = &claim.metadata;
            if self.foreign(meta, &pod.metadata) {
                let message = format!(
                    "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a manging controller, \
                     the retention policy is ignored for this claim",
                    meta.name
                );
                let note = Note::of(self.set, "Warning", "ConflictingController", message);
                changes.push(Change::Event(note));
            }
            if let Some(owners) = self.owners(claim, ordinal, pod) {
                let mut metadata = this_revision(meta);
                metadata["ownerReferences"] = json!(owners);
                let body = json!({"metadata": metadata});
                let (resource, key) = (PersistentVolumeClaim::RESOURCE, meta.key());
                changes.push(Change::Merge { resource, key, subresource: "", body });
            }
        }
        self.todo.extend(changes);
    }

    /// The owners that a claim should have, where it has others.
    fn owners(&self, claim: &PersistentVolumeClaim, ordinal: i32, pod: &Pod) -> Option<Vec<Value>> {
        let (set, pod, meta) = (&self.set.metadata, &pod.metadata, &claim.metadata);
        let both = [(StatefulSet::RESOURCE, set), (Pod::RESOURCE, pod)];
        let refers = |owner: &Owner| both.iter().any(|(kind, it)| is(owner, *kind, &it.name));
        let stale = |owner: &&Owner| refers(owner) && owner.uid != set.uid && owner.uid != pod.uid;
        if meta.owner_references.iter().any(|owner| stale(&owner)) {
            return None;
        }
        let has = |it: &Meta| meta.owner_references.iter().any(|owner| owner.uid == it.uid);
        let foreign = self.foreign(meta, pod);
        let policy = &self.set.spec.persistent_volume_claim_retention_policy;
        let going = policy.when_scaled == "Delete" && !in_range(self.set, ordinal);
        let wanted = match foreign {
            true => [false, false],
            false => [policy.when_deleted == "Delete" && !going, going],
        };
        let uncontrolled =
            |owner: &Owner| !owner.controller && [&set.uid, &pod.uid].contains(&&owner.uid);
        let loose = !foreign && meta.owner_references.iter().any(uncontrolled);
        if [has(set), has(pod)] == wanted && !loose {
            return None;
        }
        let others = meta.owner_references.iter().filter(|owner| !refers(owner)).map(written);
        let ours = both.iter().zip(wanted).filter(|(_, wanted)| *wanted);
        Some(others.chain(ours.map(|((kind, it), _)| reference(*kind, it))).collect())
    }

    /// Whether somebody else controls a claim that the policy speaks of.
    fn foreign(&self, claim: &Meta, pod: &Meta) -> bool {
        let policy = &self.set.spec.persistent_volume_claim_retention_policy;
        if policy.when_scaled != "Delete" && policy.when_deleted != "Delete" {
            return false;
        }
        let set = &self.set.metadata;
        claim.owner_references.iter().any(|owner| {
            match (is(owner, StatefulSet::RESOURCE, &set.name), is(owner, Pod::RESOURCE, &pod.name))
            {
                (true, _) => owner.uid != set.uid,
                (_, true) => owner.uid != pod.uid,
                _ => owner.controller,
            }
        })
    }
}

/// Whether an owner is of this name, whichever of that name it is.
fn is(owner: &Owner, kind: Resource, name: &str) -> bool {
    owner.api_version == kind.api_version() && owner.kind == kind.kind && owner.name == name
}

/// An owner as it stands in an object.
fn written(owner: &Owner) -> Value {
    let mut value = json!({"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid});
    for (field, set) in
        [("controller", owner.controller), ("blockOwnerDeletion", owner.block_owner_deletion)]
    {
        if set {
            value[field] = json!(true);
        }
    }
    value
}
