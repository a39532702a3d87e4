//! Signs `cluster-info` with each bootstrap token that may sign, so that whoever holds one of them knows whom to trust
//! (documentation page "Authenticating with Bootstrap Tokens", ConfigMap Signing; RFC 7515 appendix F).

use crate::parts::status::this_revision;
use crate::{Changes, Context, Loop, Next, On};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::hmac;
use serde::Deserialize;
use skiff_api::Status;
use skiff_api::view::{Key, Meta, Resource, View};
use skiff_base::Time;
use skiff_json::{Map, Value, json};
use skiff_kinds::core::configmap;
use skiff_kinds::views::bootstrap::{BootstrapToken, NAMESPACE, PREFIX};
use std::collections::BTreeMap;
use std::sync::Arc;

const PUBLIC: &str = "kube-public";
const NAME: &str = "cluster-info";
const SIGNATURE: &str = "jws-kubeconfig-";

/// What is signed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ClusterInfo {
    metadata: Meta,
    data: BTreeMap<String, String>,
}

impl View for ClusterInfo {
    const RESOURCE: Resource = configmap::RESOURCE;
    const QUERY: &'static str = "&fieldSelector=metadata.name%3Dcluster-info";
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Key: the one ConfigMap.
pub struct BootstrapSigner;

pub struct Seen {
    info: Arc<ClusterInfo>,
    tokens: Vec<Arc<BootstrapToken>>,
}

impl Loop for BootstrapSigner {
    const NAME: &'static str = "bootstrap-signer";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<ClusterInfo>();
        on.map::<BootstrapToken>(|_, _| vec![Key::new(PUBLIC, NAME)]);
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        if key.namespace != PUBLIC {
            return Ok(None);
        }
        let Some(info) = cx.caches.of::<ClusterInfo>().get(key) else { return Ok(None) };
        let tokens = cx.caches.of::<BootstrapToken>().list(NAMESPACE);
        Ok(Some(Seen { info, tokens }))
    }

    fn plan(seen: &Seen, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let Seen { info, tokens } = seen;
        let Some(content) = info.data.get("kubeconfig") else {
            out.because("it holds no kubeconfig");
            return Next::Wait;
        };
        let signing = tokens.iter().filter(|token| signs(token, now));
        let wanted: BTreeMap<String, String> = signing
            .map(|token| (format!("{SIGNATURE}{}", token.id()), signature(content, token)))
            .collect();
        // Null takes a signature away.
        let mut data = Map::new();
        for key in info.data.keys().filter(|key| key.starts_with(SIGNATURE)) {
            if !wanted.contains_key(key) {
                data.insert(key.clone(), Value::Null);
            }
        }
        for (key, signature) in wanted {
            if info.data.get(&key) != Some(&signature) {
                data.insert(key, signature.into());
            }
        }
        if !data.is_empty() {
            let meta = &info.metadata;
            let body = json!({"metadata": this_revision(meta), "data": data});
            out.merge(ClusterInfo::RESOURCE, meta.key(), body);
        }
        Next::Wait
    }
}

fn signs(token: &BootstrapToken, now: Time) -> bool {
    let id = token.id();
    token.metadata.name.strip_prefix(PREFIX) == Some(id)
        && id.len() == 6
        && !token.secret().is_empty()
        && !token.ended(now)
        && token.serves("signing")
}

/// The signature of a text that is not repeated in it.
fn signature(content: &str, token: &BootstrapToken) -> String {
    let head = BASE64URL.encode(json!({"alg": "HS256", "kid": token.id()}).to_string());
    let text = format!("{head}.{}", BASE64URL.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret().as_bytes());
    format!("{head}..{}", BASE64URL.encode(hmac::sign(&key, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn token(name: &str, data: &[(&str, &str)]) -> Arc<BootstrapToken> {
        let mut token = BootstrapToken::default();
        token.metadata.name = format!("{PREFIX}{name}");
        token.data = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Arc::new(token)
    }

    fn check(data: &[(&str, &str)], tokens: Vec<Arc<BootstrapToken>>, expected: Expect) {
        let data = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut info = ClusterInfo { data, ..ClusterInfo::default() };
        info.metadata.name = NAME.into();
        info.metadata.namespace = PUBLIC.into();
        let mut out = Changes::default();
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        BootstrapSigner::plan(&Seen { info: Arc::new(info), tokens }, &mut (), now, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn each_token_signs_once() {
        let good = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-signing", "true"),
        ];
        let signed = token("abcdef", &good);
        check(
            &[("kubeconfig", "content")],
            vec![signed.clone()],
            expect![[r#"
            merge configmaps kube-public/cluster-info  {"data":{"jws-kubeconfig-abcdef":"eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..psz1NayrXM3IaFzKZGsb5n_mBl7MjtlsZ1xE8MRmF_4"},"metadata":{"resourceVersion":"","uid":""}}
        "#]],
        );
        let own = signature("content", &signed);
        let there = [("kubeconfig", "content"), ("jws-kubeconfig-abcdef", &own)];
        check(&there, vec![signed], expect![[""]]);
        check(
            &there,
            vec![token("abcdef", &good[..2])],
            expect![[r#"
            merge configmaps kube-public/cluster-info  {"data":{"jws-kubeconfig-abcdef":null},"metadata":{"resourceVersion":"","uid":""}}
        "#]],
        );
        check(
            &there,
            vec![token("other1", &good)],
            expect![[r#"
            merge configmaps kube-public/cluster-info  {"data":{"jws-kubeconfig-abcdef":null},"metadata":{"resourceVersion":"","uid":""}}
        "#]],
        );
        check(
            &[],
            vec![],
            expect![[r#"
            because it holds no kubeconfig
        "#]],
        );
    }
}
