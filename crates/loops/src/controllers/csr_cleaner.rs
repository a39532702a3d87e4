//! Takes away requests for certificates that nobody needs any more: answered an hour ago, or unanswered for a day.

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_kinds::certificates;
use skiff_kinds::views::CertificateSigningRequest;
use std::sync::Arc;
use std::time::Duration;

const ANSWERED: Duration = Duration::from_secs(60 * 60);
const UNANSWERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Key: a request.
pub struct Cleaner;

pub struct Seen {
    request: Arc<CertificateSigningRequest>,
    /// When the certificate ends.
    ends: Option<Time>,
}

impl Loop for Cleaner {
    const NAME: &'static str = "certificate-controller";
    const PART: &'static str = "csr-cleaner";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<CertificateSigningRequest>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let request = cx.caches.of::<CertificateSigningRequest>().get(key);
        Ok(request.filter(|it| !it.metadata.deleting()).map(|request| {
            let pem = String::from_utf8_lossy(&request.status.certificate);
            let ends = certificates::ends(&pem).and_then(|at| Time::from_second(at).ok());
            Seen { request, ends }
        }))
    }

    fn plan(seen: &Seen, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let meta = &seen.request.metadata;
        match due(&seen.request, seen.ends) {
            Some(at) if at <= now => {
                out.delete(CertificateSigningRequest::RESOURCE, meta.key(), &meta.uid);
                Next::Wait
            }
            Some(at) => Next::At(at),
            None => Next::Wait,
        }
    }
}

/// When it may go.
fn due(request: &CertificateSigningRequest, ends: Option<Time>) -> Option<Time> {
    let since = |type_| request.condition(type_)?.last_update_time;
    let approved = since("Approved").map(|at| match request.issued() {
        true => at + ANSWERED,
        false => at + UNANSWERED,
    });
    let expired = ends.filter(|_| request.condition("Approved").is_some());
    let answered = ["Denied", "Failed"].map(|type_| since(type_).map(|at| at + ANSWERED));
    let pending = request.metadata.creation_timestamp.map(|at| at + UNANSWERED);
    let pending = pending.filter(|_| request.status.conditions.is_empty());
    answered.into_iter().chain([approved, expired, pending]).flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: &str, ends: Option<&str>) -> String {
        let text = format!(
            r#"{{"metadata": {{"name": "c", "creationTimestamp": "2026-01-01T00:00:00Z"}}, "status": {status}}}"#
        );
        let request = skiff_json::from_str(&text).expect("a view");
        let ends = ends.map(|it| it.parse().expect("a time"));
        due(&request, ends).map_or_else(|| "never".into(), |at| at.to_string())
    }

    #[test]
    fn each_goes_in_its_time() {
        let condition = |type_: &str| {
            format!(
                r#""conditions": [{{"type": "{type_}", "lastUpdateTime": "2026-01-01T01:00:00Z"}}]"#
            )
        };
        assert_eq!(check("{}", None), "2026-01-02T00:00:00Z");
        assert_eq!(check(&format!("{{{}}}", condition("Denied")), None), "2026-01-01T02:00:00Z");
        assert_eq!(check(&format!("{{{}}}", condition("Failed")), None), "2026-01-01T02:00:00Z");
        assert_eq!(check(&format!("{{{}}}", condition("Approved")), None), "2026-01-02T01:00:00Z");
        let issued = format!(r#"{{"certificate": "YQ==", {}}}"#, condition("Approved"));
        assert_eq!(check(&issued, None), "2026-01-01T02:00:00Z");
        assert_eq!(check(&issued, Some("2026-01-01T01:10:00Z")), "2026-01-01T01:10:00Z");
        assert_eq!(check(&format!("{{{}}}", condition("Other")), None), "never");
    }
}
