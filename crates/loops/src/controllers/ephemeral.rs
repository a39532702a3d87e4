//! Ephemeral claims: a volume that is claimed for one pod is made with it and goes with it (KEP-1698).
//!
//! Invariant: a claim of that name which is not the pod's own is left alone, and the pod's owner hears of it.

use crate::changes::{Note, Tell, about};
use crate::parts::adoption::reference;
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_api::wire::User;
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::{PersistentVolumeClaim, Pod};
use std::sync::Arc;

/// Key: a Pod.
pub struct EphemeralClaims;

pub struct Seen {
    pod: Arc<Pod>,
    claims: Vec<Arc<PersistentVolumeClaim>>,
}

/// What the pod's owner was told last.
#[derive(Debug, Default)]
pub struct Memory {
    told: Option<String>,
}

impl Loop for EphemeralClaims {
    const NAME: &'static str = "ephemeral_volume";
    type Seen = Seen;
    type Memory = Memory;

    fn user() -> User {
        User::service_account("kube-system", "ephemeral-volume-controller")
    }

    fn on(on: &mut On) {
        on.own::<Pod>();
        on.map::<PersistentVolumeClaim>(|claim, caches| {
            let key = claim.metadata.key();
            if caches.of::<PersistentVolumeClaim>().get(&key).is_some() {
                return Vec::new();
            }
            let pods = caches.of::<Pod>().find("claim", &key.to_string());
            pods.iter().map(|pod| pod.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(pod) = cx.caches.of::<Pod>().get(key) else { return Ok(None) };
        if pod.metadata.deleting() || !pod.spec.volumes.iter().any(|it| it.ephemeral.is_some()) {
            return Ok(None);
        }
        let cache = cx.caches.of::<PersistentVolumeClaim>();
        let claims =
            pod.claims().filter_map(|(_, name)| cache.get(&Key::new(&key.namespace, &name)));
        let claims = claims.collect();
        Ok(Some(Seen { pod, claims }))
    }

    fn plan(seen: &Seen, memory: &mut Memory, _: Time, out: &mut Changes) -> Next {
        let (meta, about) = (&seen.pod.metadata, about(&*seen.pod));
        for (volume, name) in seen.pod.claims() {
            let Some(ephemeral) = &volume.ephemeral else { continue };
            if let Some(claim) = seen.claims.iter().find(|it| it.metadata.name == name) {
                if claim.metadata.controlled_by(&meta.uid) {
                    continue;
                }
                let message = format!(
                    "ephemeral volume {}: PVC {} was not created for pod {} (pod is not owner)",
                    volume.name,
                    claim.metadata.key(),
                    meta.key()
                );
                if memory.told.replace(message.clone()).as_ref() != Some(&message) {
                    out.event(Note::of(&*seen.pod, "Warning", "FailedBinding", message));
                }
                return Next::Wait;
            }
            let template = &ephemeral.volume_claim_template;
            let body = json!({
                "apiVersion": "v1", "kind": PersistentVolumeClaim::RESOURCE.kind,
                "metadata": {"name": name, "namespace": meta.namespace,
                    "labels": template.metadata.labels, "annotations": template.metadata.annotations,
                    "ownerReferences": [reference(Pod::RESOURCE, meta)]},
                "spec": template.spec,
            });
            let resource = PersistentVolumeClaim::RESOURCE;
            let create = Change::Create { resource, namespace: meta.namespace.clone(), body };
            let failed = format!("ephemeral volume {}: create PVC {name}: {{error}}", volume.name);
            let tell =
                Tell { about: about.clone(), failed: ("FailedBinding", failed), ..Tell::default() };
            out.push(Change::Told(Box::new(create), tell));
        }
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(claims: skiff_json::Value, expected: Expect) {
        let spec = json!({"accessModes": ["ReadWriteOnce"]});
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"volumes": [
            {"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": spec}}},
            {"name": "w", "persistentVolumeClaim": {"claimName": "other"}}]}});
        let read = "the case is a valid view";
        let claims: Vec<PersistentVolumeClaim> = skiff_json::from_value(claims).expect(read);
        let seen = Seen {
            pod: skiff_json::from_value(pod).map(Arc::new).expect(read),
            claims: claims.into_iter().map(Arc::new).collect(),
        };
        let (mut memory, mut out) = (Memory::default(), Changes::default());
        EphemeralClaims::plan(&seen, &mut memory, Time::UNIX_EPOCH, &mut out);
        EphemeralClaims::plan(&seen, &mut memory, Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn a_pod_gets_its_claim_and_takes_nobody_elses() {
        check(
            json!([]),
            expect![[r#"
            create persistentvolumeclaims n {"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"annotations":{},"labels":{"a":"b"},"name":"p-v","namespace":"n","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Pod","name":"p","uid":"u"}]},"spec":{"accessModes":["ReadWriteOnce"]}}
              failed FailedBinding: ephemeral volume v: create PVC p-v: {error}
            create persistentvolumeclaims n {"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"annotations":{},"labels":{"a":"b"},"name":"p-v","namespace":"n","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Pod","name":"p","uid":"u"}]},"spec":{"accessModes":["ReadWriteOnce"]}}
              failed FailedBinding: ephemeral volume v: create PVC p-v: {error}
        "#]],
        );
        let own = json!([{"uid": "u", "controller": true}]);
        check(
            json!([{"metadata": {"name": "p-v", "namespace": "n", "ownerReferences": own}}]),
            expect![[r#""#]],
        );
        check(
            json!([{"metadata": {"name": "p-v", "namespace": "n"}}]),
            expect![[r#"
            event Warning FailedBinding: ephemeral volume v: PVC n/p-v was not created for pod n/p (pod is not owner)
        "#]],
        );
    }
}
