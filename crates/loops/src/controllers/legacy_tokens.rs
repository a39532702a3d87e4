//! Takes away tokens in secrets that were made for accounts long ago and that nobody has used for a year (KEP-2799):
//! they are marked first, and no good from then on; a year later they go.

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::{DeleteOptions, PatchKind};
use skiff_json::json;
use skiff_kinds::views::ServiceAccount;
use skiff_kinds::views::token::{ACCOUNT_UID, INVALID_SINCE, LAST_USED, TRACKING, TokenSecret};
use skiff_kinds::views::{ConfigMap, Pod};
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const UNUSED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Key: such a secret.
pub struct LegacyTokens;

pub struct Seen {
    secret: Arc<TokenSecret>,
    /// Since when uses are noted.
    tracked: Option<Time>,
    /// Why it stays whatever its age.
    kept: Option<&'static str>,
}

impl Loop for LegacyTokens {
    const NAME: &'static str = "legacy-service-account-token-cleaner";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<TokenSecret>();
        on.reads::<ServiceAccount>();
        on.reads::<Pod>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(secret) = cx.caches.of::<TokenSecret>().get(key) else { return Ok(None) };
        if secret.metadata.deleting() {
            return Ok(None);
        }
        let kept = kept(cx, &secret);
        let tracked = match kept {
            Some(_) => None,
            None => {
                let map = cx.live::<ConfigMap>(&Key::new("kube-system", TRACKING)).await?;
                map.and_then(|map| day(map.data.get("since")?))
            }
        };
        Ok(Some(Seen { secret, tracked, kept }))
    }

    fn plan(seen: &Seen, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let meta = &seen.secret.metadata;
        let (Some(tracked), None) = (seen.tracked, seen.kept) else {
            out.because(seen.kept.unwrap_or("nobody notes the use of tokens"));
            return Next::Wait;
        };
        let label = |key: &str| meta.labels.get(key);
        let used = match label(LAST_USED).map(|text| day(text)) {
            // What is no day tells nothing.
            Some(None) => return Next::Wait,
            Some(used) => used,
            None => None,
        };
        let made = meta.creation_timestamp.unwrap_or(now);
        // Days are told, so that each begins to count when it is over.
        let idle = [Some(tracked + DAY), Some(made), used.map(|day| day + DAY)];
        let due = idle.into_iter().flatten().max().unwrap_or(now) + UNUSED;
        if now < due {
            return Next::At(due);
        }
        match label(INVALID_SINCE).and_then(|text| day(text)) {
            None => {
                let today = now.strftime("%Y-%m-%d").to_string();
                let body = json!({"metadata": {"uid": meta.uid, "labels": {INVALID_SINCE: today}}});
                out.patch(PatchKind::Merge, TokenSecret::RESOURCE, meta.key(), "", body);
                Next::Wait
            }
            Some(since) if now < since + DAY + UNUSED => Next::At(since + DAY + UNUSED),
            Some(_) => {
                let revision = Some(meta.resource_version.clone());
                let options = DeleteOptions { revision, ..DeleteOptions::default() };
                out.delete_with(TokenSecret::RESOURCE, meta.key(), options);
                Next::Wait
            }
        }
    }
}

/// Only what was made for an account by itself goes, and what no pod mounts.
fn kept(cx: &Context, secret: &TokenSecret) -> Option<&'static str> {
    let meta = &secret.metadata;
    let account = Key::new(&meta.namespace, secret.account());
    let account = cx.caches.of::<ServiceAccount>().get(&account);
    let uid = meta.annotations.get(ACCOUNT_UID);
    let own = account.filter(|it| uid.is_none_or(|uid| *uid == it.metadata.uid));
    if !own.is_some_and(|it| it.secrets.iter().any(|named| named.name == meta.name)) {
        return Some("somebody made it by hand");
    }
    let pods = cx.caches.of::<Pod>().list(&meta.namespace);
    let mounts = pods.iter().any(|pod| {
        let mut volumes = pod.spec.volumes.iter().filter_map(|volume| volume.secret.as_ref());
        volumes.any(|source| source.secret_name == meta.name)
    });
    mounts.then_some("a pod mounts it")
}

fn day(text: &str) -> Option<Time> {
    format!("{text}T00:00:00Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(labels: &str, now: &str, expected: Expect) {
        let secret = format!(
            r#"{{"metadata": {{"name": "s", "namespace": "a", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2020-01-01T00:00:00Z", "labels": {labels}}}}}"#
        );
        let seen = Seen {
            secret: Arc::new(skiff_json::from_str(&secret).expect("a view")),
            tracked: day("2021-01-01"),
            kept: None,
        };
        let mut out = Changes::default();
        let next = LegacyTokens::plan(&seen, &mut (), now.parse().expect("a time"), &mut out);
        expected.assert_eq(&format!("{}{next:?}\n", out.text()));
    }

    #[test]
    fn what_nobody_uses_is_marked_and_then_goes() {
        check(
            "{}",
            "2021-06-01T00:00:00Z",
            expect![[r#"
            At(2022-01-02T00:00:00Z)
        "#]],
        );
        check(
            "{}",
            "2022-06-01T00:00:00Z",
            expect![[r#"
            patch Merge secrets a/s  {"metadata":{"labels":{"kubernetes.io/legacy-token-invalid-since":"2022-06-01"},"uid":"u"}}
            Wait
        "#]],
        );
        let used = r#"{"kubernetes.io/legacy-token-last-used": "2022-03-01"}"#;
        check(
            used,
            "2022-06-01T00:00:00Z",
            expect![[r#"
            At(2023-03-02T00:00:00Z)
        "#]],
        );
        let marked = r#"{"kubernetes.io/legacy-token-invalid-since": "2022-06-01"}"#;
        check(
            marked,
            "2022-07-01T00:00:00Z",
            expect![[r#"
            At(2023-06-02T00:00:00Z)
        "#]],
        );
        check(
            marked,
            "2023-07-01T00:00:00Z",
            expect![[r#"
            delete secrets a/s uid=
            Wait
        "#]],
        );
    }
}
