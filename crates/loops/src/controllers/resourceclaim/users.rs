//! Users of claims: a pod that needs its devices no more is taken off, and a claim that nobody uses is given back.
//!
//! Invariant: a user is taken off only when the server, asked live, does not know it, or knows that it is done.

use super::done;
use crate::parts::status::this_revision;
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_json::{Value, json};
use skiff_kinds::resource::resourceclaim::FINALIZER;
use skiff_kinds::views::{Consumer, Pod, ResourceClaim};
use std::sync::Arc;

/// Key: a ResourceClaim.
pub struct ClaimUsers;

pub struct Seen {
    claim: Arc<ResourceClaim>,
    /// Those that use it on.
    users: Vec<Consumer>,
    /// The pod that it was made for is done, or is another one now.
    unneeded: bool,
}

impl Loop for ClaimUsers {
    const NAME: &'static str = super::NAME;
    const PART: &'static str = "resource-claim-users";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<ResourceClaim>();
        on.map::<Pod>(|pod, caches| {
            let claims = caches.of::<ResourceClaim>();
            let both =
                [claims.find("user", &pod.metadata.uid), claims.find("owner", &pod.metadata.uid)];
            both.iter().flatten().map(|claim| claim.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(claim) = cx.caches.of::<ResourceClaim>().get(key) else { return Ok(None) };
        let pods = cx.caches.of::<Pod>();
        let mut users = Vec::new();
        for user in &claim.status.reserved_for {
            let known = pods.get(&Key::new(&key.namespace, &user.name));
            let stays = !user.is_pod()
                || match known {
                    Some(pod) => pod.metadata.uid == user.uid && !done(&pod),
                    // A cache may be late, and who was just given the claim is about to start.
                    None => {
                        let pod = cx.live::<Pod>(&Key::new(&key.namespace, &user.name)).await?;
                        pod.is_some_and(|pod| pod.metadata.uid == user.uid)
                    }
                };
            if stays {
                users.push(user.clone());
            }
        }
        let owner = claim.metadata.controller().filter(|owner| owner.kind == "Pod");
        let pod = owner
            .and_then(|owner| Some((owner, pods.get(&Key::new(&key.namespace, &owner.name))?)));
        let unneeded = pod.is_some_and(|(owner, pod)| pod.metadata.uid != owner.uid || done(&pod));
        Ok(Some(Seen { claim, users, unneeded }))
    }

    fn plan(seen: &Seen, _: &mut (), _: Time, out: &mut Changes) -> Next {
        let (claim, meta) = (&seen.claim, &seen.claim.metadata);
        let (held, allocated) =
            (meta.finalizers.iter().any(|it| it == FINALIZER), claim.status.allocation.is_some());
        let fewer = seen.users.len() < claim.status.reserved_for.len();
        let free = seen.users.is_empty();
        let ends = free && held && (fewer || meta.deleting());
        if fewer || (ends && allocated) {
            let mut status = json!({"reservedFor": seen.users});
            if ends {
                status["allocation"] = Value::Null;
            }
            let body = json!({"metadata": this_revision(meta), "status": status});
            out.status(ResourceClaim::RESOURCE, meta.key(), body);
        }
        if ends {
            let rest: Vec<&String> = meta.finalizers.iter().filter(|it| *it != FINALIZER).collect();
            let body = json!({"metadata": {"uid": meta.uid, "finalizers": rest}});
            out.merge(ResourceClaim::RESOURCE, meta.key(), body);
        }
        if free && seen.unneeded && !meta.deleting() {
            out.delete(ResourceClaim::RESOURCE, meta.key(), &meta.uid);
        }
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(claim: Value, users: usize, unneeded: bool, expected: Expect) {
        let claim: Arc<ResourceClaim> =
            Arc::new(skiff_json::from_value(claim).expect("the case is a valid view"));
        let users = claim.status.reserved_for[..users].to_vec();
        let mut out = Changes::default();
        ClaimUsers::plan(&Seen { claim, users, unneeded }, &mut (), Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    fn used() -> Value {
        json!({"metadata": {"name": "c", "namespace": "n", "uid": "u", "resourceVersion": "3", "finalizers": [FINALIZER]},
            "status": {"allocation": {}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "1"},
                {"resource": "pods", "name": "q", "uid": "2"}]}})
    }

    #[test]
    fn who_is_done_uses_it_no_more() {
        check(used(), 2, false, expect![[""]]);
        check(
            used(),
            1,
            false,
            expect![[r#"
            merge resourceclaims n/c status {"metadata":{"resourceVersion":"3","uid":"u"},"status":{"reservedFor":[{"name":"p","resource":"pods","uid":"1"}]}}
        "#]],
        );
        check(
            used(),
            0,
            true,
            expect![[r#"
            merge resourceclaims n/c status {"metadata":{"resourceVersion":"3","uid":"u"},"status":{"allocation":null,"reservedFor":[]}}
            merge resourceclaims n/c  {"metadata":{"finalizers":[],"uid":"u"}}
            delete resourceclaims n/c uid=u
        "#]],
        );
    }

    #[test]
    fn a_claim_that_goes_is_let_go() {
        let mut going = used();
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        going["status"]["reservedFor"] = json!([]);
        check(
            going.clone(),
            0,
            false,
            expect![[r#"
            merge resourceclaims n/c status {"metadata":{"resourceVersion":"3","uid":"u"},"status":{"allocation":null,"reservedFor":[]}}
            merge resourceclaims n/c  {"metadata":{"finalizers":[],"uid":"u"}}
        "#]],
        );
        going["status"] = json!({});
        check(
            going,
            0,
            false,
            expect![[r#"
            merge resourceclaims n/c  {"metadata":{"finalizers":[],"uid":"u"}}
        "#]],
        );
    }
}
