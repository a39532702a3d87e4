//! Being let in: a registry answers 401 and says in WWW-Authenticate what it wants (RFC 9110 11.6,
//! Docker's "Token Authentication Specification").
//!
//! `Bearer` names a server that gives tokens, for anybody or for credentials; `Basic` wants the
//! credentials themselves. Neither leaves this machine over plain HTTP.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::error::Error;
use crate::registry::client::{Ask, Client, is_safe};
use crate::registry::credentials::Credentials;

/// Answers of token servers are small.
const TOKEN_MAX: u64 = 1 << 20;

/// What a registry asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    scheme: String,
    realm: String,
    service: String,
    scope: String,
    error: String,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// The Authorization header that answers a challenge.
pub(crate) async fn answer(
    client: &Client,
    url: &str,
    header: &str,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<String, Error> {
    let challenge = Challenge::parse(header);
    if credentials.is_some() && !is_safe(url) {
        let why = format!("authorization failed: no credentials are sent to {url} without TLS");
        return Err(Error::Denied { why });
    }
    match (&challenge.scheme[..], credentials) {
        (_, Some(Credentials::Bearer { token })) => Ok(format!("Bearer {token}")),
        ("bearer", _) => bearer(client, url, &challenge, scope, credentials).await,
        ("basic", Some(Credentials::Basic { username, password })) => Ok(basic(username, password)),
        ("basic", _) => {
            Err(Error::Denied { why: "authorization failed: no basic auth credentials".into() })
        }
        (other, _) => {
            Err(Error::Denied { why: format!("failed to find supported auth scheme: {other}") })
        }
    }
}

/// What to say after credentials or a token were not enough.
pub(crate) fn refused(header: &str) -> Error {
    let error = Challenge::parse(header).error;
    let why = match error.is_empty() {
        true => "authorization failed".to_owned(),
        false => format!("server message: {error}: authorization failed"),
    };
    Error::Denied { why }
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

async fn bearer(
    client: &Client,
    url: &str,
    challenge: &Challenge,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<String, Error> {
    let kind = if credentials.is_some() { "oauth" } else { "anonymous" };
    let fetch = async {
        if credentials.is_some() && !is_safe(&challenge.realm) {
            let why = format!("no credentials are sent to {} without TLS", challenge.realm);
            return Err(Error::Denied { why });
        }
        let scope = if challenge.scope.is_empty() { scope } else { &challenge.scope };
        let query = form(&[("service", &challenge.service), ("scope", scope)]);
        let ask = match credentials {
            Some(Credentials::Identity { token }) => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("client_id", "skiff"),
                    ("refresh_token", &token[..]),
                ];
                Ask {
                    body: format!("{}&{query}", form(&fields)),
                    ..Ask::new(Method::POST, challenge.realm.clone())
                }
            }
            _ => {
                let mark = if challenge.realm.contains('?') { '&' } else { '?' };
                let mut ask = Ask::new(Method::GET, format!("{}{mark}{query}", challenge.realm));
                if let Some(Credentials::Basic { username, password }) = credentials {
                    ask.authorization = Some(basic(username, password));
                }
                ask
            }
        };
        let ask = Ask { named_by: Some(url.to_owned()), ..ask };
        let response = client.send(&ask).await?;
        if response.status() != StatusCode::OK {
            return Err(ask.status(response.status()));
        }
        let bytes = client.bytes(&ask, response, TOKEN_MAX).await?;
        let bad =
            |why: &str| Error::ReadDocument { what: "token response".into(), why: why.into() };
        let token: Token =
            serde_json::from_slice(&bytes).map_err(|_| bad("it is no JSON token"))?;
        let text = if token.token.is_empty() { token.access_token } else { token.token };
        match text.is_empty() {
            true => Err(bad("authorization server did not include a token in the response")),
            false => Ok(format!("Bearer {text}")),
        }
    };
    fetch.await.map_err(|source| Error::FetchToken { kind, source: source.into() })
}

/// Fields of a form or a query, percent-encoded.
fn form(fields: &[(&str, &str)]) -> String {
    let filled = fields.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> =
        filled.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    pairs.join("&")
}

fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b'/' => {
                out.push(char::from(byte));
            }
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}

impl Challenge {
    /// Reads `Scheme key="value", key=value`. What is not understood is left empty.
    fn parse(header: &str) -> Challenge {
        let (scheme, mut rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        let mut challenge =
            Challenge { scheme: scheme.to_ascii_lowercase(), ..Challenge::default() };
        while let Some((key, after)) = rest.split_once('=') {
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_once(',').unwrap_or((after, "")),
            };
            let place = match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
                "realm" => Some(&mut challenge.realm),
                "service" => Some(&mut challenge.service),
                "scope" => Some(&mut challenge.scope),
                "error" => Some(&mut challenge.error),
                _ => None,
            };
            if let Some(place) = place {
                *place = value.to_owned();
            }
            rest = next;
        }
        challenge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push", error=insufficient_scope"#;
        let seen = Challenge::parse(header);
        assert_eq!(seen.scheme, "bearer");
        assert_eq!(seen.realm, "https://auth.docker.io/token");
        assert_eq!(seen.scope, "repository:a/b:pull,push");
        assert_eq!(seen.error, "insufficient_scope");
        assert_eq!(Challenge::parse("Basic").scheme, "basic");
        for text in ["", "Bearer realm", "Bearer realm=\"", "=\"=\"=", "Bearer é=\"é"] {
            Challenge::parse(text);
        }
    }

    #[test]
    fn fields_are_encoded() {
        let text = form(&[("a", "x y&z"), ("b", ""), ("scope", "repository:a/b:pull")]);
        assert_eq!(text, "a=x%20y%26z&scope=repository:a/b:pull");
    }
}
