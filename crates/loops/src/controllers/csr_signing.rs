//! Signs what was approved, for Kubernetes' own signers (documentation page "Certificates and Certificate Signing
//! Requests"). A request that its signer does not take fails for good. The key is elsewhere: what signs is given.

use crate::parts::certificates::{client, kubelet_client, kubelet_serving};
use crate::parts::conditions::{condition, whole_seconds};
use crate::parts::status::this_revision;
use crate::{Changes, Context, Loop, Next, On};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::certificates::request::Request;
use skiff_kinds::certificates::signer;
use skiff_kinds::views::{CertificateSigningRequest, Condition};
use std::sync::Arc;
use std::time::Duration;

/// Key: a request.
pub struct Signing;

pub struct Seen {
    request: Arc<CertificateSigningRequest>,
    /// The certificate (PEM), or why there is none.
    signed: Result<String, String>,
}

impl Loop for Signing {
    const NAME: &'static str = "certificate-controller";
    const PART: &'static str = "csr-signing";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<CertificateSigningRequest>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(request) = cx.caches.of::<CertificateSigningRequest>().get(key) else {
            return Ok(None);
        };
        let decided = ["Approved", "Denied", "Failed"].map(|it| request.condition(it).is_some());
        if decided != [true, false, false] || request.issued() || request.metadata.deleting() {
            return Ok(None);
        }
        let spec = &request.spec;
        let Ok(asked) = Request::of_pem(&spec.request) else { return Ok(None) };
        let checked = match &*spec.signer_name {
            signer::CLIENT => client(&spec.usages),
            signer::KUBELET_CLIENT => kubelet_client(&asked, &spec.usages),
            signer::KUBELET_SERVING => kubelet_serving(&asked, &spec.usages),
            signer::LEGACY => Ok(()),
            _ => return Ok(None),
        };
        let life = spec.expiration_seconds.map(|it| Duration::from_secs(it.into()));
        let signed = match checked {
            Ok(()) => Ok((cx.settings.certify)(&asked, &spec.usages, life)?),
            Err(why) => Err(why),
        };
        Ok(Some(Seen { request, signed }))
    }

    fn plan(seen: &Seen, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let meta = &seen.request.metadata;
        let status = match &seen.signed {
            Ok(certificate) => json!({"certificate": STANDARD.encode(certificate)}),
            Err(why) => {
                let mut conditions = seen.request.status.conditions.clone();
                conditions.push(Condition {
                    last_update_time: Some(whole_seconds(now)),
                    ..condition("Failed", "True", "SignerValidationFailure", why, now)
                });
                json!({"conditions": conditions})
            }
        };
        let body = json!({"metadata": this_revision(meta), "status": status});
        out.status(CertificateSigningRequest::RESOURCE, meta.key(), body);
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(signed: Result<&str, &str>, expected: Expect) {
        let request = r#"{"metadata": {"name": "c", "uid": "u", "resourceVersion": "7"},
            "status": {"conditions": [{"type": "Approved", "status": "True"}]}}"#;
        let request = Arc::new(skiff_json::from_str(request).expect("a view"));
        let signed = signed.map(str::to_owned).map_err(str::to_owned);
        let mut out = Changes::default();
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        Signing::plan(&Seen { request, signed }, &mut (), now, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn what_is_signed_is_shown_and_what_cannot_be_fails() {
        check(
            Ok("PEM"),
            expect![[r#"
            merge certificatesigningrequests c status {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"certificate":"UEVN"}}
        "#]],
        );
        check(
            Err("usages did not match [x]"),
            expect![[r#"
            merge certificatesigningrequests c status {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"conditions":[{"message":"","reason":"","status":"True","type":"Approved"},{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"usages did not match [x]","reason":"SignerValidationFailure","status":"True","type":"Failed"}]}}
        "#]],
        );
    }
}
