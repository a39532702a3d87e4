//! Tokens in secrets: a Secret of the type `kubernetes.io/service-account-token` is filled with a token of the account
//! that it names, and goes when that account goes (documentation page "Managing Service Accounts").

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, Meta, View};
use skiff_api::wire::User;
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::ServiceAccount;
use skiff_kinds::views::token::{ACCOUNT_NAME, ACCOUNT_UID, LegacyClaims, TokenSecret};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Key: such a secret.
pub struct AccountTokens;

pub struct Seen {
    secret: Arc<TokenSecret>,
    /// The account that the secret is of, and no later one of its name.
    account: Option<Meta>,
    /// Keys and values that it lacks.
    lacks: Vec<(&'static str, String)>,
}

impl Loop for AccountTokens {
    const NAME: &'static str = "tokens-controller";
    type Seen = Seen;
    type Memory = ();

    fn user() -> User {
        // Upstream's has no account of its own either.
        User::system("system:kube-controller-manager", &[])
    }

    fn on(on: &mut On) {
        on.own::<TokenSecret>();
        on.map::<ServiceAccount>(|account, caches| {
            let secrets = caches.of::<TokenSecret>();
            let secrets = secrets.find("account", &account.metadata.key().to_string());
            secrets.iter().map(|secret| secret.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(secret) = cx.caches.of::<TokenSecret>().get(key) else { return Ok(None) };
        if secret.metadata.deleting() {
            return Ok(None);
        }
        let account = account(cx, &secret).await?;
        let mut lacks = Vec::new();
        if let Some(account) = &account {
            let ca = &cx.settings.ca;
            let has = |key| secret.data.get(key).filter(|value| !value.is_empty());
            if has("ca.crt") != Some(ca) {
                lacks.push(("ca.crt", ca.clone()));
            }
            if has("namespace").is_none() {
                lacks.push(("namespace", key.namespace.clone()));
            }
            if has("token").is_none() {
                let claims = LegacyClaims::new(&key.name, account);
                lacks.push(("token", (cx.settings.sign)(&claims)?));
            }
        }
        Ok(Some(Seen { secret, account, lacks }))
    }

    fn plan(seen: &Seen, _: &mut (), _: Time, out: &mut Changes) -> Next {
        let meta = &seen.secret.metadata;
        let Some(account) = &seen.account else {
            out.delete(TokenSecret::RESOURCE, meta.key(), &meta.uid);
            return Next::Wait;
        };
        if !seen.lacks.is_empty() {
            let data: BTreeMap<_, _> = seen.lacks.iter().cloned().collect();
            let annotations = json!({ACCOUNT_NAME: account.name, ACCOUNT_UID: account.uid});
            let metadata = json!({"uid": meta.uid, "resourceVersion": meta.resource_version,
                "annotations": annotations});
            let body = json!({"metadata": metadata, "stringData": data});
            out.merge(TokenSecret::RESOURCE, meta.key(), body);
        }
        Next::Wait
    }
}

/// From the cache if it is there; what is missing there is asked for live, for the secret would go.
async fn account(cx: &Context, secret: &TokenSecret) -> Result<Option<Meta>, Status> {
    let (namespace, name) = (&secret.metadata.namespace, secret.account());
    let uid = secret.metadata.annotations.get(ACCOUNT_UID);
    let fits = |account: &ServiceAccount| uid.is_none_or(|uid| *uid == account.metadata.uid);
    if let Some(cached) = cx.caches.of::<ServiceAccount>().get(&Key::new(namespace, name))
        && fits(&cached)
    {
        return Ok(Some(cached.metadata.clone()));
    }
    let account = cx.live::<ServiceAccount>(&Key::new(namespace, name)).await?;
    Ok(account.filter(|it| fits(it)).map(|account| account.metadata.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(account: Option<&str>, lacks: &[(&'static str, &str)], expected: Expect) {
        let secret = json!({"metadata": {"name": "s", "namespace": "a", "uid": "u1",
            "resourceVersion": "7", "annotations": {ACCOUNT_NAME: "bob"}}});
        let account = account.map(|uid| json!({"name": "bob", "namespace": "a", "uid": uid}));
        let seen = Seen {
            secret: Arc::new(skiff_json::from_value(secret).expect("a view")),
            account: account.map(|meta| skiff_json::from_value(meta).expect("metadata")),
            lacks: lacks.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        };
        let mut out = Changes::default();
        AccountTokens::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn a_secret_is_filled_and_goes_with_its_account() {
        check(
            Some("u2"),
            &[("token", "dA==")],
            expect![[r#"
            merge secrets a/s  {"metadata":{"annotations":{"kubernetes.io/service-account.name":"bob","kubernetes.io/service-account.uid":"u2"},"resourceVersion":"7","uid":"u1"},"stringData":{"token":"dA=="}}
        "#]],
        );
        check(Some("u2"), &[], expect![[""]]);
        check(
            None,
            &[],
            expect![[r#"
            delete secrets a/s uid=u1
        "#]],
        );
    }
}
