//! Keys of one issuer: found by its discovery document, fetched when a token needs one that is not here, and kept as
//! long as the issuer lets them (OpenID Connect Discovery 1.0; `Cache-Control` of RFC 9111). Keys that are here serve
//! on when the issuer is away.

use crate::configured::remote::{Client, Reply};
use crate::identity::jws::{self, Key, Token};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use skiff_base::{Lock, World};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Of one request to the issuer.
const WITHIN: Duration = Duration::from_secs(30);
/// Between tries to find the issuer: there is nothing that would tell of its coming.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// Between two fetches of keys: whoever shows tokens with made-up keys must not make this server flood the issuer.
const FETCH_AGAIN: Duration = Duration::from_secs(1);
/// Keys are fetched anew so long before their time is over.
const BEFORE_END: Duration = Duration::from_secs(30);
/// The longest time that is believed of an issuer's headers.
const LIFE_MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// What of an answer is repeated in an error.
const SHOWN_MOST: usize = 512;
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

pub struct Keys {
    world: World,
    client: Client,
    issuer: String,
    discovery: String,
    /// Where the keys are, or why that is not known.
    at: watch::Sender<Result<String, String>>,
    kept: Lock<Kept>,
    /// One fetch at a time.
    fetch: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Kept {
    keys: Arc<[Key]>,
    /// By uptime.
    until: Duration,
    fetched: Option<Duration>,
    /// How often they were fetched, and what came of the last time.
    fetches: u64,
    wrong: Option<String>,
}

impl Kept {
    /// What came of the last fetch.
    fn told(&self) -> Result<Arc<[Key]>, String> {
        match &self.wrong {
            None => Ok(self.keys.clone()),
            Some(why) => Err(why.clone()),
        }
    }
}

#[derive(Deserialize)]
struct Discovery {
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

impl Keys {
    pub fn new(client: Client, issuer: &str, discovery: &str, world: &World) -> Keys {
        let well_known = || format!("{}{WELL_KNOWN}", issuer.strip_suffix('/').unwrap_or(issuer));
        let why = format!("oidc: authenticator for issuer {issuer:?} is not initialized");
        Keys {
            world: world.clone(),
            client,
            issuer: issuer.to_owned(),
            discovery: if discovery.is_empty() { well_known() } else { discovery.to_owned() },
            at: watch::Sender::new(Err(why)),
            kept: Lock::default(),
            fetch: tokio::sync::Mutex::default(),
        }
    }

    /// Looks for the issuer until it is found.
    pub async fn find(&self) {
        loop {
            let found = self.discover().await;
            if let Err(why) = &found {
                tracing::warn!(issuer = self.issuer, why, "an issuer of tokens is not found");
            }
            let done = found.is_ok();
            self.at.send_modify(|at| *at = found);
            if done {
                return;
            }
            self.world.sleep(TRY_AGAIN).await;
        }
    }

    async fn discover(&self) -> Result<String, String> {
        let reply = self.client.get(&self.discovery, WITHIN).await?;
        if reply.status != http::StatusCode::OK {
            return Err(format!("{}: {}", reply.status, shown(&reply)));
        }
        let found: Discovery = skiff_json::from_slice(&reply.body).map_err(|error| {
            format!("oidc: failed to decode provider discovery object: {}", unread(&reply, &error))
        })?;
        if found.issuer != self.issuer {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {:?}",
                self.issuer, found.issuer
            ));
        }
        match &*found.jwks_uri {
            "" => Err("provider did not return JWKS URL".to_owned()),
            at if at.starts_with("https://") => Ok(found.jwks_uri),
            at => Err(format!("the provider's JWKS URL must be https, got {at:?}")),
        }
    }

    /// Waits until it is known where the keys are.
    pub async fn ready(&self) {
        // The sender lives in self.
        _ = self.at.subscribe().wait_for(Result::is_ok).await;
    }

    /// What comes of looking for the issuer.
    #[cfg(test)]
    pub fn tried(&self) -> watch::Receiver<Result<String, String>> {
        self.at.subscribe()
    }

    /// Why it is not known where the keys are.
    pub fn unready(&self) -> Option<String> {
        self.at.borrow().as_ref().err().cloned()
    }

    /// Whether a key of the issuer signed the token.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self, token: &Token<'_>) -> Result<(), String> {
        let signed = |keys: &[Key]| {
            keys.iter()
                .filter(|key| token.key.is_empty() || key.id == token.key)
                .any(|key| token.is_signed_by(key))
        };
        let (keys, until, fetches) = {
            let kept = self.kept.lock();
            (kept.keys.clone(), kept.until, kept.fetches)
        };
        if signed(&keys) {
            return Ok(());
        }
        let unsigned = || Err("failed to verify id token signature".to_owned());
        if self.world.uptime() + BEFORE_END < until {
            return unsigned();
        }
        let keys = self.fetched(fetches).await.map_err(|why| format!("fetching keys {why}"))?;
        if signed(&keys) { Ok(()) } else { unsigned() }
    }

    /// Keys that were fetched after `seen` fetches: by whoever comes first, for all who wait, failures too.
    async fn fetched(&self, seen: u64) -> Result<Arc<[Key]>, String> {
        let _one = self.fetch.lock().await;
        let fetched = {
            let kept = self.kept.lock();
            if kept.fetches > seen {
                return kept.told();
            }
            kept.fetched
        };
        if let Some(last) = fetched {
            self.world.sleep_until(last + FETCH_AGAIN).await;
        }
        let answer = self.get().await;
        let now = self.world.uptime();
        let mut kept = self.kept.lock();
        kept.fetched = Some(now);
        kept.fetches += 1;
        match answer {
            Ok((keys, life)) => {
                (kept.keys, kept.until, kept.wrong) = (keys.into(), now + life, None);
            }
            Err(why) => kept.wrong = Some(why),
        }
        kept.told()
    }

    async fn get(&self) -> Result<(Vec<Key>, Duration), String> {
        let at = self.at.borrow().clone()?;
        let reply = self.client.get(&at, WITHIN).await;
        let reply = reply.map_err(|why| format!("oidc: get keys failed {why}"))?;
        if reply.status != http::StatusCode::OK {
            return Err(format!("oidc: get keys failed: {} {}", reply.status, shown(&reply)));
        }
        let keys = skiff_json::from_slice::<skiff_json::Value>(&reply.body)
            .map_err(|error| unread(&reply, &error))
            .and_then(|_| jws::keys(&reply.body));
        let keys =
            keys.map_err(|why| format!("oidc: failed to decode keys: {why} {}", shown(&reply)))?;
        Ok((keys, life(&reply)))
    }
}

/// How long an answer may be kept; no word about it means not at all.
fn life(reply: &Reply) -> Duration {
    let text = reply.headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut life = Duration::ZERO;
    for part in text.split(',').map(str::trim) {
        if ["no-store", "no-cache"].iter().any(|no| part.eq_ignore_ascii_case(no)) {
            return Duration::ZERO;
        }
        if let Some(seconds) = part.to_ascii_lowercase().strip_prefix("max-age=") {
            life = seconds.parse().map_or(life, Duration::from_secs);
        }
    }
    life.min(LIFE_MOST)
}

fn shown(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body[..reply.body.len().min(SHOWN_MOST)]);
    text.trim_end().to_owned()
}

fn unread(reply: &Reply, error: &skiff_json::Error) -> String {
    let sort = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match sort.split(';').next().map(str::trim) {
        Some("application/json") => {
            format!("got Content-Type = application/json, but could not unmarshal as JSON: {error}")
        }
        _ => format!("expected Content-Type = application/json, got {sort:?}: {error}"),
    }
}
