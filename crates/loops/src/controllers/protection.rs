//! Protection: what is in use stays until nobody uses it. A finalizer holds it, is put back when it is taken away, and
//! goes when the object is to go and is not used any more (API reference: PersistentVolumeClaim, "Storage Object in Use
//! Protection").

use crate::parts::status::this_revision;
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::storage::VolumeAttributesClass;
use skiff_kinds::views::{PersistentVolume, PersistentVolumeClaim, Pod};
use std::marker::PhantomData;
use std::sync::Arc;

/// Something that is held while it is in use.
pub trait Guarded: View + Sized {
    const LOOP: &'static str;
    const FINALIZER: &'static str;
    /// What may stop using it.
    fn users(on: &mut On);
    /// Whether something uses it. Asked of an object that is to go.
    fn used(&self, cx: &Context) -> impl Future<Output = Result<bool, Status>> + Send;
}

/// Key: an object of that kind.
pub struct Protection<V>(PhantomData<V>);

pub struct Seen<V> {
    object: Arc<V>,
    used: bool,
}

impl<V: Guarded> Loop for Protection<V> {
    const NAME: &'static str = V::LOOP;
    type Seen = Seen<V>;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<V>();
        V::users(on);
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen<V>>, Status> {
        let Some(object) = cx.caches.of::<V>().get(key) else { return Ok(None) };
        let used = object.meta().deleting() && object.used(cx).await?;
        Ok(Some(Seen { object, used }))
    }

    fn plan(seen: &Seen<V>, _: &mut (), _: Time, out: &mut Changes) -> Next {
        let meta = seen.object.meta();
        let mut finalizers = meta.finalizers.clone();
        let held = finalizers.iter().any(|it| it == V::FINALIZER);
        match (meta.deleting(), held) {
            (true, true) if seen.used => {
                out.because("it is in use");
                return Next::Wait;
            }
            (true, true) => finalizers.retain(|it| it != V::FINALIZER),
            (false, false) => finalizers.push(V::FINALIZER.into()),
            _ => return Next::Wait,
        }
        let mut metadata = this_revision(meta);
        metadata["finalizers"] = json!(finalizers);
        out.merge(V::RESOURCE, meta.key(), json!({"metadata": metadata}));
        Next::Wait
    }
}

impl Guarded for PersistentVolumeClaim {
    const LOOP: &'static str = "pvc-protection-controller";
    const FINALIZER: &'static str = "kubernetes.io/pvc-protection";

    fn users(on: &mut On) {
        on.map::<Pod>(|pod, _| pod.claim_keys());
    }

    async fn used(&self, cx: &Context) -> Result<bool, Status> {
        let key = self.metadata.key();
        let pods = cx.caches.of::<Pod>().find("claim", &key.to_string());
        if pods.iter().any(|pod| uses(pod, self)) {
            return Ok(true);
        }
        // A cache may not show yet the pod that has just got its node.
        let pods = cx.client.list(Pod::RESOURCE, &key.namespace, "").await?;
        let views = pods.into_iter().map(|pod| skiff_json::from_value::<Pod>(pod.into_value()));
        // One that cannot be read may use it.
        Ok(views.into_iter().any(|pod| pod.is_ok_and(|pod| uses(&pod, self))))
    }
}

/// Whether a pod that has a node has the claim, too. A claim of its own goes with it, as soon as its containers are
/// gone.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let meta = &pod.metadata;
    let gone = meta.deleting() && meta.deletion_grace_period_seconds == Some(0);
    !pod.spec.node_name.is_empty() && has(pod, claim, !gone)
}

/// Whether a volume of the pod is the claim. One that was made for a pod is that pod's alone, and is asked for by
/// `own`.
pub fn has(pod: &Pod, claim: &PersistentVolumeClaim, own: bool) -> bool {
    let own = own && claim.metadata.controlled_by(&pod.metadata.uid);
    let mut found = pod.claims().filter(|(_, name)| *name == *claim.metadata.name);
    found.any(|(volume, _)| volume.persistent_volume_claim.is_some() || own)
}

impl Guarded for PersistentVolume {
    const LOOP: &'static str = "pv-protection-controller";
    const FINALIZER: &'static str = "kubernetes.io/pv-protection";

    fn users(_: &mut On) {}

    async fn used(&self, _: &Context) -> Result<bool, Status> {
        Ok(self.status.phase == "Bound")
    }
}

impl Guarded for VolumeAttributesClass {
    const LOOP: &'static str = "volumeattributesclass-protection-controller";
    const FINALIZER: &'static str = "kubernetes.io/vac-protection";

    fn users(on: &mut On) {
        on.map::<PersistentVolume>(|volume, _| {
            let class = volume.spec.volume_attributes_class_name.iter();
            class.map(|name| Key::new("", name)).collect()
        });
        on.map::<PersistentVolumeClaim>(|claim, _| {
            claim.attributes_classes().map(|name| Key::new("", name)).collect()
        });
    }

    async fn used(&self, cx: &Context) -> Result<bool, Status> {
        let name = &self.metadata.name;
        let volumes = cx.caches.of::<PersistentVolume>().find("attributes", name);
        let claims = cx.caches.of::<PersistentVolumeClaim>().find("attributes", name);
        Ok(!volumes.is_empty() || !claims.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::Value;

    fn check(metadata: Value, used: bool, expected: Expect) {
        let object = skiff_json::from_value(json!({"metadata": metadata})).map(Arc::new);
        let seen = Seen::<PersistentVolumeClaim> { object: object.expect("a valid view"), used };
        let mut out = Changes::default();
        Protection::<PersistentVolumeClaim>::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn a_finalizer_holds_what_is_in_use() {
        let meta = |going: bool, finalizers: &[&str]| {
            let mut meta = json!({"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7",
                "finalizers": finalizers});
            if going {
                meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            meta
        };
        let all = ["mine", PersistentVolumeClaim::FINALIZER];
        check(meta(false, &all), false, expect![[r#""#]]);
        check(
            meta(false, &all[..1]),
            false,
            expect![[r#"
            merge persistentvolumeclaims n/a  {"metadata":{"finalizers":["mine","kubernetes.io/pvc-protection"],"resourceVersion":"7","uid":"u"}}
        "#]],
        );
        check(
            meta(true, &all),
            true,
            expect![[r#"
            because it is in use
        "#]],
        );
        check(
            meta(true, &all),
            false,
            expect![[r#"
            merge persistentvolumeclaims n/a  {"metadata":{"finalizers":["mine"],"resourceVersion":"7","uid":"u"}}
        "#]],
        );
        check(meta(true, &all[..1]), false, expect![[r#""#]]);
    }

    #[test]
    fn a_pod_with_a_node_uses_its_claims() {
        let claim = |owner: Value| -> PersistentVolumeClaim {
            let meta = json!({"name": "p-v", "namespace": "n", "ownerReferences": owner});
            skiff_json::from_value(json!({"metadata": meta})).expect("a valid view")
        };
        let pod = |node: &str, volume: Value, grace_s: Option<i64>| -> Pod {
            let mut meta = json!({"name": "p", "namespace": "n", "uid": "u"});
            if let Some(grace_s) = grace_s {
                meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                meta["deletionGracePeriodSeconds"] = json!(grace_s);
            }
            let spec = json!({"nodeName": node, "volumes": [volume]});
            skiff_json::from_value(json!({"metadata": meta, "spec": spec})).expect("a valid view")
        };
        let named = json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-v"}});
        let own = json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}});
        let owner = json!([{"uid": "u", "controller": true}]);
        assert!(uses(&pod("a", named.clone(), Some(0)), &claim(json!([]))));
        assert!(!uses(&pod("", named, None), &claim(json!([]))));
        assert!(uses(&pod("a", own.clone(), Some(30)), &claim(owner.clone())));
        assert!(!uses(&pod("a", own.clone(), Some(0)), &claim(owner)));
        assert!(!uses(&pod("a", own, None), &claim(json!([]))), "it is another's");
    }
}
