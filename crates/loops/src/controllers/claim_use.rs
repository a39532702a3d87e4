//! Since when nobody uses a claim: its condition `Unused` (KEP-5541). Pods count until they ended, also those without a
//! node; claims once they are bound, as before that the binder writes their status.

use super::protection::has;
use crate::parts::conditions::{condition, find, set};
use crate::parts::status::this_revision;
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::{PersistentVolumeClaim, Pod};
use std::sync::Arc;

const UNUSED: &str = "Unused";
const FREE: (&str, &str, &str) =
    ("True", "NoPodsUsingPVC", "No pods are currently referencing this PVC");
const TAKEN: (&str, &str, &str) =
    ("False", "PodUsingPVC", "A pod is currently referencing this PVC");

/// Key: a claim.
pub struct ClaimUse;

pub struct Seen {
    claim: Arc<PersistentVolumeClaim>,
    used: bool,
}

impl Loop for ClaimUse {
    const NAME: &'static str = "pvc-protection-controller";
    const PART: &'static str = "claim-use";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<PersistentVolumeClaim>();
        on.map::<Pod>(|pod, _| pod.claim_keys());
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(claim) = cx.caches.of::<PersistentVolumeClaim>().get(key) else { return Ok(None) };
        if claim.metadata.deleting() || claim.status.phase != "Bound" {
            return Ok(None);
        }
        let pods = cx.caches.of::<Pod>().find("claim", &key.to_string());
        let used = pods.iter().any(|pod| uses(pod, &claim));
        Ok(Some(Seen { claim, used }))
    }

    fn plan(seen: &Seen, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let (status, reason, message) = if seen.used { TAKEN } else { FREE };
        let claim = &seen.claim;
        let mut conditions = claim.status.conditions.clone();
        if find(&conditions, UNUSED).is_none_or(|it| it.status != status) {
            set(&mut conditions, condition(UNUSED, status, reason, message, now));
            let metadata = this_revision(&claim.metadata);
            let body = json!({"metadata": metadata, "status": {"conditions": conditions}});
            out.status(PersistentVolumeClaim::RESOURCE, claim.metadata.key(), body);
        }
        Next::Wait
    }
}

/// Whether a pod that did not end has the claim.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    !pod.ended() && has(pod, claim, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::Value;

    fn check(conditions: Value, used: bool, expected: Expect) {
        let meta = json!({"name": "a", "namespace": "n", "uid": "u"});
        let status = json!({"phase": "Bound", "conditions": conditions});
        let claim = skiff_json::from_value(json!({"metadata": meta, "status": status}));
        let seen = Seen { claim: Arc::new(claim.expect("a valid view")), used };
        let mut out = Changes::default();
        ClaimUse::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn the_condition_follows_the_use() {
        check(
            json!(null),
            true,
            expect![[r#"
                merge persistentvolumeclaims n/a status {"metadata":{"resourceVersion":"","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"A pod is currently referencing this PVC","reason":"PodUsingPVC","status":"False","type":"Unused"}]}}
            "#]],
        );
        check(
            json!([]),
            false,
            expect![[r#"
                merge persistentvolumeclaims n/a status {"metadata":{"resourceVersion":"","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"No pods are currently referencing this PVC","reason":"NoPodsUsingPVC","status":"True","type":"Unused"}]}}
            "#]],
        );
        let unused = |status: &str| json!([{"type": "Unused", "status": status}]);
        check(unused("True"), false, expect![[r#""#]]);
        check(unused("False"), true, expect![[r#""#]]);
        check(
            unused("True"),
            true,
            expect![[r#"
                merge persistentvolumeclaims n/a status {"metadata":{"resourceVersion":"","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"A pod is currently referencing this PVC","reason":"PodUsingPVC","status":"False","type":"Unused"}]}}
            "#]],
        );
    }

    #[test]
    fn a_pod_that_ended_uses_nothing() {
        let claim: PersistentVolumeClaim =
            skiff_json::from_value(json!({"metadata": {"name": "c"}})).expect("a valid view");
        let pod = |phase: &str, claim: &str| -> Pod {
            let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
            let pod = json!({"spec": {"volumes": volumes}, "status": {"phase": phase}});
            skiff_json::from_value(pod).expect("a valid view")
        };
        assert!(uses(&pod("Pending", "c"), &claim));
        assert!(uses(&pod("Running", "c"), &claim));
        assert!(!uses(&pod("Succeeded", "c"), &claim));
        assert!(!uses(&pod("Running", "d"), &claim));
    }
}
