//! Tokens of service accounts: what they claim, who they are when they come back (KEP-1205, bound
//! service account tokens; documentation page "Managing Service Accounts").
//!
//! A token names a service account and perhaps one object that it is bound to (pod, secret or
//! node), each by name and uid. It is good as long as its time runs *and* all of these still exist:
//! both are looked up in the store on every use, so deleting a pod ends its token at once. Only the
//! signature's check is remembered. A token that lives in a secret has no end but that of secret and
//! account.

mod bootstrap;
pub mod claims;
mod used;

use crate::identity::jws::{Key, Token};
use crate::identity::keys::signing::SigningKey;
use claims::{Claims, Reference};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skiff_api::wire::User;
use skiff_base::Lock;
use skiff_base::World;
use skiff_kinds::views::token::{
    INVALID_SINCE, LAST_USED, LEGACY_ISSUER, LegacyClaims, TokenSecret,
};
use skiff_store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who issues the tokens where no setting says it, and the audience that means the API server itself.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The key of a user's extra that names the credential it came with (KEP-4193).
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Where clients find the public keys.
pub const JWKS_PATH: &str = "/openid/v1/jwks";
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// Longer texts are no tokens: ours stay below 2 KiB.
const TOKEN_MOST: usize = 16 * 1024;
/// Remembered signatures: each is some hundred bytes, so this is about a megabyte.
const REMEMBERED_MOST: usize = 2048;
/// Clocks may differ by this much (RFC 7519 section 4.1.4 allows "a few minutes").
const LEEWAY_S: i64 = 60;

/// Why a token names nobody; the text is for a TokenReview, a caller is told nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// Not signed by this cluster, or no token at all.
    #[error("invalid bearer token")]
    Foreign,
    #[error("[invalid bearer token, {0}]")]
    Invalid(String),
}

/// What this cluster has signed.
#[derive(Deserialize)]
#[serde(untagged)]
enum Signed {
    Claims(Box<Claims>),
    /// A token that lives in a secret.
    Legacy(LegacyClaims),
}

/// Under whose name tokens are issued and taken.
#[derive(Debug, Clone)]
pub struct Naming {
    /// The first issues; tokens of the others are taken as well.
    pub issuers: Vec<String>,
    /// What means the API server itself.
    pub audiences: Vec<String>,
    /// Keys of others that signed such tokens, too.
    pub keys: Vec<Key>,
    /// Where the documents say that the keys are; empty is this server.
    pub jwks_uri: String,
}

impl Default for Naming {
    fn default() -> Naming {
        let (keys, jwks_uri) = Default::default();
        Naming { issuers: vec![ISSUER.into()], audiences: vec![ISSUER.into()], keys, jwks_uri }
    }
}

/// Issues tokens and tells whose they are.
pub struct Tokens {
    store: Arc<dyn Store>,
    world: World,
    signing: Arc<SigningKey>,
    pub naming: Naming,
    /// Tokens by digest whose signature was found good.
    remembered: Lock<BTreeMap<[u8; 32], Arc<Signed>>>,
    used: used::Used,
}

impl Tokens {
    pub fn new(
        store: Arc<dyn Store>,
        world: World,
        signing: Arc<SigningKey>,
        naming: Naming,
    ) -> Tokens {
        let (remembered, used) = Default::default();
        Tokens { store, world, signing, naming, remembered, used }
    }

    /// Who issues.
    pub fn issuer(&self) -> &str {
        self.naming.issuers.first().map_or(ISSUER, String::as_str)
    }

    /// The user of a token that is meant for one of `audiences`, and those of them that it is meant
    /// for.
    pub fn user(&self, token: &str, audiences: &[&str]) -> Result<(User, Vec<String>), TokenError> {
        let own = &self.naming.audiences[..];
        if let Some(user) = self.bootstrapper(token) {
            let meant = common(audiences, own);
            return if meant.is_empty() { Err(TokenError::Foreign) } else { Ok((user, meant)) };
        }
        let signed = self.signed(token).ok_or(TokenError::Foreign)?;
        let aud = match &*signed {
            Signed::Claims(claims) => &claims.aud[..],
            Signed::Legacy(_) => own,
        };
        let meant = common(audiences, aud);
        if meant.is_empty() {
            return Err(TokenError::Invalid(format!(
                "token audiences {} is invalid for the target audiences {}",
                crate::authorize::rule::quoted(aud),
                crate::authorize::rule::quoted(audiences),
            )));
        }
        let user = match &*signed {
            Signed::Claims(claims) => self.bound(claims)?,
            Signed::Legacy(claims) => self.kept(claims, token)?,
        };
        Ok((user, meant))
    }

    /// The user of a token of a time and of objects.
    fn bound(&self, claims: &Claims) -> Result<User, TokenError> {
        let invalid = |why: &str| TokenError::Invalid(why.to_owned());
        let now = self.world.now().as_second();
        if now > claims.exp + LEEWAY_S {
            return Err(invalid("service account token has expired"));
        }
        if now < claims.nbf - LEEWAY_S {
            return Err(invalid("service account token is not valid yet"));
        }
        self.check_bound(claims, now)?;
        Ok(claims.user())
    }

    /// The user of a token that its secret keeps.
    fn kept(&self, claims: &LegacyClaims, token: &str) -> Result<User, TokenError> {
        let invalid = |why: String| Err(TokenError::Invalid(why));
        let (namespace, account) = (&*claims.namespace, &*claims.account);
        let found = self.read::<TokenSecret>("secrets", namespace, &claims.secret);
        let Some(secret) = found.filter(|secret| !secret.metadata.deleting()) else {
            return invalid("token has been invalidated".into());
        };
        if secret.data.get("token").is_none_or(|copy| copy != token) {
            return invalid("token does not match server's copy".into());
        }
        match self.metadata("serviceaccounts", namespace, account) {
            None => return invalid(format!("serviceaccounts \"{account}\" not found")),
            Some(found) if found.deletion_timestamp.is_some() => {
                return invalid(format!("service account {namespace}/{account} has been deleted"));
            }
            Some(found) if found.uid != claims.account_uid => {
                let (uid, claimed) = (found.uid, &claims.account_uid);
                let why = format!("service account UID ({uid}) does not match claim ({claimed})");
                return invalid(why);
            }
            Some(_) => {}
        }
        let labels = &secret.metadata.labels;
        if labels.get(INVALID_SINCE).is_some_and(|since| !since.is_empty()) {
            let name = &claims.secret;
            return invalid(format!(
                "the token in secret {namespace}/{name} for service account {namespace}/{account} has been marked \
                 invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove \
                 the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            ));
        }
        let today = self.world.now().strftime("%Y-%m-%d").to_string();
        if labels.get(LAST_USED).is_none_or(|day| *day < today) {
            self.used.note(namespace, &claims.secret, today);
        }
        let uid = claims.account_uid.clone();
        Ok(User { uid, ..User::service_account(namespace, account) })
    }

    /// Signs claims.
    ///
    /// # Errors
    /// When the kernel gives no randomness.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, ring::error::Unspecified> {
        self.signing.sign(&skiff_json::to_value(claims).map_err(|_| ring::error::Unspecified)?)
    }

    /// The document at `/.well-known/openid-configuration`; `server` is `https://host:port`.
    pub fn discovery(&self, server: &str) -> skiff_json::Value {
        let keys = match &*self.naming.jwks_uri {
            "" => format!("{server}{JWKS_PATH}"),
            elsewhere => elsewhere.to_owned(),
        };
        let mut algorithms: Vec<&str> = self.naming.keys.iter().map(Key::algorithm).collect();
        algorithms.push("ES256");
        algorithms.sort_unstable();
        algorithms.dedup();
        skiff_json::json!({
            "issuer": self.issuer(),
            "jwks_uri": keys,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }

    /// The document at `/openid/v1/jwks`.
    pub fn jwks(&self) -> skiff_json::Value {
        let mut set = self.signing.jwks();
        if let Some(keys) = set["keys"].as_array_mut() {
            keys.extend(self.naming.keys.iter().map(Key::jwk));
        }
        set
    }

    /// The claims of a token that this cluster signed, whatever their time.
    fn signed(&self, token: &str) -> Option<Arc<Signed>> {
        if token.len() > TOKEN_MOST {
            return None;
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        if let Some(signed) = self.lock().get(&digest) {
            return Some(signed.clone());
        }
        let claims = self.signing.open(token).or_else(|| self.opened_by_another(token))?;
        let signed = Arc::new(skiff_json::from_slice(&claims).ok()?);
        match &*signed {
            Signed::Claims(claims) if self.naming.issuers.contains(&claims.iss) => {}
            Signed::Legacy(claims) if claims.iss == LEGACY_ISSUER => {}
            _ => return None,
        }
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED_MOST {
            let now = self.world.now().as_second();
            remembered.retain(|_, signed| match &**signed {
                Signed::Claims(claims) => claims.exp > now,
                Signed::Legacy(_) => true,
            });
        }
        if remembered.len() >= REMEMBERED_MOST {
            // All are in use: forget everything rather than keep an order; each costs one check
            // again.
            remembered.clear();
        }
        remembered.insert(digest, signed.clone());
        Some(signed)
    }

    /// The claims of a token that another key of the cluster signed.
    fn opened_by_another(&self, token: &str) -> Option<Vec<u8>> {
        let keys = &self.naming.keys;
        let token = Token::parse(token).ok().filter(|_| !keys.is_empty())?;
        let named = |key: &&Key| token.key.is_empty() || key.id == token.key;
        let signed = keys.iter().filter(named).any(|key| token.is_signed_by(key));
        signed.then_some(token.claims)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<[u8; 32], Arc<Signed>>> {
        self.remembered.lock()
    }

    /// Whether the service account and what the token is bound to are still those of its issue.
    fn check_bound(&self, claims: &Claims, now: i64) -> Result<(), TokenError> {
        let invalid = |why: String| Err(TokenError::Invalid(why));
        let gone = || "service account token has been invalidated".to_owned();
        let own = &claims.kubernetes;
        let (namespace, account) = (&*own.namespace, &own.serviceaccount);
        match self.metadata("serviceaccounts", namespace, &account.name) {
            None => return invalid(format!("serviceaccounts \"{}\" not found", account.name)),
            Some(found) if found.uid != account.uid => {
                return invalid(format!(
                    "service account UID ({}) does not match claim ({})",
                    found.uid, account.uid
                ));
            }
            Some(found) if found.deleted_before(now - LEEWAY_S) => {
                let name = &account.name;
                return invalid(format!("service account {namespace}/{name} has been deleted"));
            }
            Some(_) => {}
        }
        // The node of a pod's token is information only.
        let node = own.node.as_ref().filter(|_| own.pod.is_none());
        let bound: [(&str, &str, &str, Option<&Reference>); 3] = [
            (
                "secrets",
                namespace,
                "secret UID ({}) does not match service account secret",
                own.secret.as_ref(),
            ),
            (
                "pods",
                namespace,
                "pod UID ({}) does not match service account pod",
                own.pod.as_ref(),
            ),
            ("nodes", "", "node UID ({}) does not match service account node", node),
        ];
        for (resource, namespace, mismatch, reference) in bound {
            let Some(reference) = reference else { continue };
            match self.metadata(resource, namespace, &reference.name) {
                Some(found) if found.uid != reference.uid => {
                    let head = mismatch.replace("{}", &found.uid);
                    return invalid(format!("{head} ref claim ({})", reference.uid));
                }
                Some(found) if !found.deleted_before(now - LEEWAY_S) => {}
                _ => return invalid(gone()),
            }
        }
        Ok(())
    }

    fn metadata(&self, resource: &str, namespace: &str, name: &str) -> Option<Metadata> {
        self.read::<Identity>(resource, namespace, name).map(|identity| identity.metadata)
    }

    fn read<T: DeserializeOwned>(&self, resource: &str, namespace: &str, name: &str) -> Option<T> {
        let record = self.store.get(&format!("{resource}/{namespace}/{name}"))?;
        match skiff_json::from_slice(&record.body) {
            Ok(part) => Some(part),
            Err(error) => {
                tracing::error!(key = %record.key, %error, "a stored object is unreadable");
                None
            }
        }
    }
}

/// Those audiences of `wanted` that are among `given`.
pub fn common(wanted: &[&str], given: &[String]) -> Vec<String> {
    let both = wanted.iter().filter(|wanted| given.iter().any(|given| given == *wanted));
    both.map(|audience| (*audience).to_owned()).collect()
}

/// The part of an object that says which one it is.
#[derive(Deserialize)]
struct Identity {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: String,
    deletion_timestamp: Option<String>,
}

impl Metadata {
    fn deleted_before(&self, second: i64) -> bool {
        let at =
            self.deletion_timestamp.as_ref().and_then(|at| at.parse::<skiff_base::Time>().ok());
        at.is_some_and(|at| at.as_second() < second)
    }
}

#[cfg(test)]
mod tests;
