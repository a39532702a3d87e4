//! Authenticate: whose call is this? The first stage of the pipeline; it says who, never what they
//! may do.
//!
//! In order: a part of this process is who it was assembled as; a verified client certificate names
//! its user; a bearer token names a service account, or a user of an issuer or a webhook that the machine's owner
//! configured; nobody else is `system:anonymous`. A token that is wrong is refused outright (401): who tries to be
//! somebody must not silently become nobody.

use super::issuers::file::Anonymous;
use super::issuers::{Configured, Issuers, configure};
use super::reviewed::Webhook;
use crate::authorize::aggregate;
use crate::identity::token::{TokenError, Tokens, common};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use skiff_api::Status;
use skiff_api::wire::{Peer, User};
use skiff_base::{RwLock, World};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub const ANONYMOUS: &str = "system:anonymous";
pub const AUTHENTICATED: &str = "system:authenticated";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

/// A WebSocket subprotocol that begins so is no protocol but a token (browsers cannot set headers).
/// Whoever picks the subprotocol of the answer must pass over it.
pub const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// How long issuers of a new file are looked for, before it is left alone.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Tells who calls.
pub struct Authenticator {
    world: World,
    tokens: Arc<Tokens>,
    /// `https://host:port`, as the issuer's documents name the server.
    server: String,
    issuers: RwLock<Arc<Issuers>>,
    webhook: Option<Webhook>,
    anonymous: RwLock<Anonymous>,
}

impl Authenticator {
    pub fn new(world: World, tokens: Arc<Tokens>, server: String) -> Authenticator {
        let anonymous = RwLock::new(Anonymous { enabled: true, ..Anonymous::default() });
        let issuers = Default::default();
        Authenticator { world, tokens, server, issuers, webhook: None, anonymous }
    }

    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The document at [`crate::identity::token::DISCOVERY_PATH`].
    pub fn issuer_document(&self) -> skiff_json::Value {
        self.tokens.discovery(&self.server)
    }

    /// The document at [`crate::identity::token::JWKS_PATH`].
    pub fn key_set(&self) -> skiff_json::Value {
        self.tokens.jwks()
    }

    /// Asks this webhook about tokens that nobody else knows.
    pub fn ask(&mut self, webhook: Webhook) {
        self.webhook = Some(webhook);
    }

    /// Whether callers who say nothing are let in at all, where no file says it.
    pub fn let_in(&self, anonymous: bool) {
        self.anonymous.write().enabled = anonymous;
    }

    /// Takes the first file of issuers; they are looked for from then on.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn configure(&self, file: &[u8]) -> Result<Option<Anonymous>, String> {
        let Configured { issuers, anonymous } = self.read(file)?;
        *self.issuers.write() = Arc::new(issuers);
        if let Some(anonymous) = &anonymous {
            *self.anonymous.write() = anonymous.clone();
        }
        Ok(anonymous)
    }

    /// Takes a changed file, as soon as all its issuers are found; `first` is what the first one said of anonymous
    /// callers.
    ///
    /// # Errors
    /// Why the one before stays.
    pub async fn configure_anew(
        &self,
        file: &[u8],
        first: &Option<Anonymous>,
    ) -> Result<(), String> {
        let Configured { issuers, anonymous } = self.read(file)?;
        if anonymous != *first {
            return Err("anonymous: Forbidden: changed from initial configuration file".to_owned());
        }
        if self.world.within(READY_WITHIN, issuers.ready()).await.is_none() {
            return Err(issuers.unready());
        }
        *self.issuers.write() = Arc::new(issuers);
        Ok(())
    }

    fn read(&self, file: &[u8]) -> Result<Configured, String> {
        configure(file, &self.tokens.naming.issuers, &self.world)
    }

    /// The user of a call, or the refusal 401.
    pub async fn authenticate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<Arc<User>, Status> {
        let certificate = match peer {
            Peer::Local(user) => return Ok(user.clone()),
            Peer::Remote { certificate, .. } => certificate,
        };
        if let Some(user) = certificate {
            return Ok(user.clone());
        }
        let Some(token) = token(headers)? else { return self.nobody(path) };
        let own = &self.tokens.naming.audiences;
        match self.user(&token, &own.iter().map(String::as_str).collect::<Vec<_>>()).await {
            Ok((user, _)) => Ok(Arc::new(user)),
            Err(error) => {
                tracing::debug!(error, "a bearer token was refused");
                Err(Status::unauthorized())
            }
        }
    }

    /// The user of a token that is meant for one of `wanted`, and those of them that it is meant for.
    ///
    /// # Errors
    /// What everybody who was asked says is wrong with it; for a TokenReview: a caller is told nothing.
    pub async fn user(&self, token: &str, wanted: &[&str]) -> Result<(User, Vec<String>), String> {
        // Upstream's first to be asked knows only its own token.
        let mut wrong = vec!["invalid bearer token".to_owned()];
        match self.tokens.user(token, wanted) {
            Ok(known) => return Ok(known),
            Err(TokenError::Foreign) => {}
            Err(TokenError::Invalid(why)) => wrong.push(why),
        }
        let own = &self.tokens.naming.audiences;
        let meant = common(wanted, own);
        if !meant.is_empty() {
            let issuers = self.issuers.read().clone();
            match Box::pin(issuers.user(token)).await {
                Ok(Some(user)) => return Ok((in_groups(user), meant)),
                Ok(None) => {}
                Err(why) => wrong.push(why),
            }
        }
        if let Some(webhook) = &self.webhook {
            match Box::pin(webhook.user(token, wanted, own)).await {
                Ok(Some((user, meant))) => return Ok((in_groups(user), meant)),
                Ok(None) => {}
                Err(why) => wrong.push(why),
            }
        }
        Err(aggregate(&wrong))
    }

    /// Somebody who says nothing.
    fn nobody(&self, path: &str) -> Result<Arc<User>, Status> {
        let rules = self.anonymous.read();
        let here = rules.conditions.is_empty() || rules.conditions.iter().any(|it| it.path == path);
        if rules.enabled && here { Ok(anonymous()) } else { Err(Status::unauthorized()) }
    }
}

/// The user of callers who say nothing about themselves.
pub fn anonymous() -> Arc<User> {
    static NOBODY: LazyLock<Arc<User>> = LazyLock::new(|| {
        let groups = vec![UNAUTHENTICATED.into()];
        Arc::new(User { name: ANONYMOUS.into(), groups, ..User::default() })
    });
    NOBODY.clone()
}

fn in_groups(mut user: User) -> User {
    authenticated(&user.name, &mut user.groups);
    user
}

/// Adds the group of all who proved who they are.
pub fn authenticated(name: &str, groups: &mut Vec<String>) {
    let known = |group: &String| group == AUTHENTICATED || group == UNAUTHENTICATED;
    if name != ANONYMOUS && !groups.iter().any(known) {
        groups.push(AUTHENTICATED.into());
    }
}

/// The bearer token of a request, from its header or from the subprotocols of a WebSocket.
fn token(headers: &HeaderMap) -> Result<Option<String>, Status> {
    if let Some(header) = headers.get(AUTHORIZATION) {
        let text = header.to_str().map_err(|_| Status::unauthorized())?;
        let mut parts = text.trim().split(' ');
        let bearer = parts.next().is_some_and(|type_| type_.eq_ignore_ascii_case("bearer"));
        let token = parts.next().filter(|token| bearer && !token.is_empty());
        if let Some(token) = token {
            return Ok(Some(token.to_owned()));
        }
    }
    let mut found = None;
    let mut others = 0;
    for header in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let text = header.to_str().map_err(|_| Status::unauthorized())?;
        for protocol in text.split(',').map(str::trim) {
            match protocol.strip_prefix(TOKEN_PROTOCOL) {
                None => others += 1,
                // Two tokens: which one would count is anybody's guess.
                Some(_) if found.is_some() => return Err(Status::unauthorized()),
                Some(encoded) => {
                    let bytes = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('='));
                    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
                    found = Some(text.ok_or_else(Status::unauthorized)?);
                }
            }
        }
    }
    match found {
        // The answer must name a subprotocol, and the token cannot be it.
        Some(_) if others == 0 => Err(Status::unauthorized()),
        found => Ok(found),
    }
}

/// Takes out of a request's headers what says who calls, for whoever else gets to see them: tokens, wherever they may
/// stand, impersonation, and what a proxy in front of an API server says in its own name.
pub fn forget(headers: &mut HeaderMap) {
    let says_who = |name: &HeaderName| {
        let name = name.as_str();
        name == AUTHORIZATION.as_str()
            || name.starts_with("impersonate-")
            || name.starts_with("x-remote-")
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| says_who(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    let offers: Vec<HeaderValue> =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().cloned().collect();
    if offers.is_empty() {
        return;
    }
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    for offer in offers {
        // What is no text holds no token either, and nobody could choose it.
        let Ok(text) = offer.to_str() else { continue };
        let protocols = text.split(',').map(str::trim);
        let kept: Vec<&str> = protocols.filter(|it| !it.starts_with(TOKEN_PROTOCOL)).collect();
        if let Ok(kept) = HeaderValue::from_str(&kept.join(", "))
            && !kept.is_empty()
        {
            headers.append(SEC_WEBSOCKET_PROTOCOL, kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_who_calls_is_forgotten_wherever_it_stands() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer abc"),
            ("authorization", "Basic abc"),
            ("impersonate-user", "a"),
            ("impersonate-extra-x", "a"),
            ("x-remote-user", "a"),
            ("x-remote-extra-x", "a"),
            ("cookie", "kept"),
            ("x-remoteness", "kept"),
            ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.YWJj, a,b"),
            ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.YWJj"),
            ("sec-websocket-protocol", "c"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        forget(&mut headers);
        let mut left: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        left.sort();
        let kept = [
            "cookie: \"kept\"",
            "sec-websocket-protocol: \"a, b\"",
            "sec-websocket-protocol: \"c\"",
            "x-remoteness: \"kept\"",
        ];
        assert_eq!(left, kept);
    }

    #[test]
    fn tokens_are_found_in_headers() {
        let find = |name, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).expect("a header"));
            token(&headers).map_err(|status| status.code)
        };
        assert_eq!(find(AUTHORIZATION, "Bearer abc"), Ok(Some("abc".into())));
        assert_eq!(find(AUTHORIZATION, "bearer abc def"), Ok(Some("abc".into())));
        assert_eq!(find(AUTHORIZATION, "Bearer "), Ok(None));
        assert_eq!(find(AUTHORIZATION, "Basic YTpi"), Ok(None));
        let protocol = |rest: &str| find(SEC_WEBSOCKET_PROTOCOL, rest);
        assert_eq!(
            protocol("base64url.bearer.authorization.k8s.io.YWJj, v5.channel.k8s.io"),
            Ok(Some("abc".into()))
        );
        assert_eq!(protocol("base64url.bearer.authorization.k8s.io.YWJj"), Err(401));
        assert_eq!(protocol("base64url.bearer.authorization.k8s.io.*, a"), Err(401));
        assert_eq!(protocol("v5.channel.k8s.io"), Ok(None));
    }

    #[test]
    fn certificates_make_authenticated_users() {
        let user = |name: &str, groups: &[&str]| {
            let mut groups = groups.iter().map(|g| (*g).to_owned()).collect();
            authenticated(name, &mut groups);
            groups.join(" ")
        };
        assert_eq!(user("a", &["g"]), "g system:authenticated");
        assert_eq!(user("a", &[AUTHENTICATED]), "system:authenticated");
        assert_eq!(user(ANONYMOUS, &[]), "");
    }
}
