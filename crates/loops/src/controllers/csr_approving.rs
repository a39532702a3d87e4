//! Approves what nodes ask for to call the API server by, if who asks may (documentation page "Certificates and
//! Certificate Signing Requests"): a node for itself, or somebody for a node that joins. All else waits for a person.

use crate::parts::certificates::kubelet_client;
use crate::parts::status::this_revision;
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::{Backoff, Time};
use skiff_json::{Value, json};
use skiff_kinds::authorization::subjectaccessreview;
use skiff_kinds::certificates::certificatesigningrequest::APPROVAL;
use skiff_kinds::certificates::request::Request;
use skiff_kinds::certificates::signer;
use skiff_kinds::views::{CertificateSigningRequest, Condition};
use std::sync::Arc;
use std::time::Duration;

/// Rights may come later; nothing tells of that.
const ASK_AGAIN: Backoff =
    Backoff { first: Duration::from_secs(1), most: Duration::from_secs(1000) };
const SELF: (&str, &str) =
    ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
const NODE: (&str, &str) =
    ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");

/// Key: a request.
pub struct Approver;

pub struct Seen {
    request: Arc<CertificateSigningRequest>,
    /// The rights by which it would be approved, and whether who asks has them.
    tried: Vec<(&'static str, bool, &'static str)>,
}

impl Loop for Approver {
    const NAME: &'static str = "certificate-controller";
    const PART: &'static str = "csr-approving";
    type Seen = Seen;
    /// How often it was in vain.
    type Memory = u32;

    fn on(on: &mut On) {
        on.own::<CertificateSigningRequest>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(request) = pending(cx, key, signer::KUBELET_CLIENT) else { return Ok(None) };
        let Ok(asked) = Request::of_pem(&request.spec.request) else { return Ok(None) };
        if kubelet_client(&asked, &request.spec.usages).is_err() {
            return Ok(None);
        }
        let own = (request.spec.username == asked.common_name()).then_some(SELF);
        let mut tried = Vec::new();
        for (entry, message) in own.into_iter().chain([NODE]) {
            let may = may(cx, &request, entry).await?;
            tried.push((entry, may, message));
            if may {
                break;
            }
        }
        Ok(Some(Seen { request, tried }))
    }

    fn plan(seen: &Seen, vain: &mut u32, now: Time, out: &mut Changes) -> Next {
        if let Some((_, _, message)) = seen.tried.iter().find(|(_, may, _)| *may) {
            approve(&seen.request, message, out);
            return Next::Wait;
        }
        let tried: Vec<&str> = seen.tried.iter().map(|(entry, ..)| *entry).collect();
        out.because(format!("who asks may not create {}", tried.join(" or ")));
        *vain += 1;
        Next::At(now + ASK_AGAIN.delay(*vain))
    }
}

/// A request of this signer that nobody has decided about.
pub fn pending(cx: &Context, key: &Key, signer: &str) -> Option<Arc<CertificateSigningRequest>> {
    let request = cx.caches.of::<CertificateSigningRequest>().get(key)?;
    let decided = request.condition("Approved").or(request.condition("Denied")).is_some();
    let waits = !decided && !request.issued() && !request.metadata.deleting();
    (waits && request.spec.signer_name == signer).then_some(request)
}

/// Approves a request, as it was seen.
pub fn approve(request: &CertificateSigningRequest, message: &str, out: &mut Changes) {
    let meta = &request.metadata;
    let mut conditions = request.status.conditions.clone();
    conditions.push(Condition {
        type_: "Approved".into(),
        status: "True".into(),
        reason: "AutoApproved".into(),
        message: message.into(),
        ..Condition::default()
    });
    out.push(crate::Change::Merge {
        resource: CertificateSigningRequest::RESOURCE,
        key: meta.key(),
        subresource: APPROVAL,
        body: json!({"metadata": this_revision(meta), "status": {"conditions": conditions}}),
    });
}

/// Whether who asked has the right to this entry.
async fn may(
    cx: &Context,
    request: &CertificateSigningRequest,
    entry: &str,
) -> Result<bool, Status> {
    let spec = &request.spec;
    let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
        "user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra,
        "resourceAttributes": {"group": "certificates.k8s.io", "version": "*", "verb": "create",
            "resource": CertificateSigningRequest::RESOURCE.plural, "subresource": entry}}});
    let answer = cx.client.create(subjectaccessreview::RESOURCE, "", body).await?.object()?;
    Ok(answer.at("status.allowed").and_then(Value::as_bool) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(tried: Vec<(&'static str, bool, &'static str)>, expected: Expect) {
        let request = r#"{"metadata": {"name": "c", "uid": "u", "resourceVersion": "7"}}"#;
        let request = Arc::new(skiff_json::from_str(request).expect("a view"));
        let mut out = Changes::default();
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let next = Approver::plan(&Seen { request, tried }, &mut 3, now, &mut out);
        expected.assert_eq(&format!("{}{next:?}\n", out.text()));
    }

    #[test]
    fn what_may_be_asked_for_is_approved() {
        check(
            vec![(SELF.0, false, SELF.1), (NODE.0, true, NODE.1)],
            expect![[r#"
            merge certificatesigningrequests c approval {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"conditions":[{"message":"Auto approving kubelet client certificate after SubjectAccessReview.","reason":"AutoApproved","status":"True","type":"Approved"}]}}
            Wait
        "#]],
        );
        check(
            vec![(SELF.0, true, SELF.1)],
            expect![[r#"
            merge certificatesigningrequests c approval {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"conditions":[{"message":"Auto approving self kubelet client certificate after SubjectAccessReview.","reason":"AutoApproved","status":"True","type":"Approved"}]}}
            Wait
        "#]],
        );
        check(
            vec![(SELF.0, false, SELF.1), (NODE.0, false, NODE.1)],
            expect![[r#"
            because who asks may not create selfnodeclient or nodeclient
            At(2026-01-01T00:00:08Z)
        "#]],
        );
    }
}
