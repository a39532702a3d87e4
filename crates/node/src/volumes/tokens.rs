//! Tokens of service accounts for a pod: asked for from the API, renewed in time (API reference:
//! TokenRequest; documentation of projected volumes).

use crate::pod::seen::later;
use crate::rim::Rim;
use skiff_api::view::View;
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::pod::TokenProjection;
use skiff_kinds::views::{Pod, ServiceAccount};
use std::collections::BTreeMap;
use std::time::Duration;

/// The API's default of expirationSeconds.
const LIFE_S: u32 = 3600;
/// A token is renewed when this part of its life is over, or after a day.
const RENEW_PERCENT: u64 = 80;
const RENEW_MOST: Duration = Duration::from_secs(24 * 3600);

/// A token and when it has to be renewed.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub text: String,
    pub renew: Time,
}

/// By audience and path.
pub type Tokens = BTreeMap<(String, String), Token>;

/// Makes sure that every token that is wanted is there and fresh.
pub async fn renew(
    rim: &Rim,
    pod: &Pod,
    wanted: &[TokenProjection],
    tokens: &mut Tokens,
) -> Result<(), String> {
    for token in wanted {
        let key = (token.audience.clone(), token.path.clone());
        let now = rim.world.now();
        if tokens.get(&key).is_some_and(|token| token.renew > now) {
            continue;
        }
        let life = token.expiration_seconds.unwrap_or(LIFE_S);
        let text = issue(rim, pod, &token.audience, life).await?;
        let life = Duration::from_secs(u64::from(life) * RENEW_PERCENT / 100).min(RENEW_MOST);
        tokens.insert(key, Token { text, renew: later(now, life) });
    }
    Ok(())
}

async fn issue(rim: &Rim, pod: &Pod, audience: &str, life_s: u32) -> Result<String, String> {
    let meta = &pod.metadata;
    let audiences: Vec<&str> = Some(audience).filter(|it| !it.is_empty()).into_iter().collect();
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {
            "audiences": audiences,
            "expirationSeconds": life_s,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid},
        },
    });
    let account = match &*pod.spec.service_account_name {
        "" => "default",
        name => name,
    };
    let resource = ServiceAccount::RESOURCE;
    let answer = rim.client.create_below(resource, &meta.namespace, account, "token", body).await;
    let answer = answer.and_then(|written| written.object());
    let answer = answer.map_err(|status| format!("failed to fetch token: {status}"))?;
    let token = answer.value().pointer("/status/token").and_then(|token| token.as_str());
    token.map(str::to_owned).ok_or_else(|| "failed to fetch token: the answer has none".into())
}
