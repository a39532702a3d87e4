//! The claims inside a token, and the user that they make. Data and its forms, no checks.

use super::CREDENTIAL_ID;
use serde::{Deserialize, Serialize};
use skiff_api::wire::User;

/// RFC 7519's registered claims and Kubernetes' own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub nbf: i64,
    /// The token's own id.
    #[serde(default)]
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
}

/// Which objects a token hangs on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Kubernetes {
    pub namespace: String,
    pub serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// From here on its owner should have fetched a new one; kept for client libraries that never
    /// do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// One object, and no later one of the same name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Claims {
    /// Claims of a service account from `now` for `seconds`.
    pub fn new(
        issuer: &str,
        kubernetes: Kubernetes,
        audiences: Vec<String>,
        now: i64,
        seconds: i64,
        id: String,
    ) -> Claims {
        let account = &kubernetes.serviceaccount.name;
        Claims {
            iss: issuer.into(),
            sub: format!("system:serviceaccount:{}:{account}", kubernetes.namespace),
            aud: audiences,
            exp: now + seconds,
            iat: now,
            nbf: now,
            jti: id,
            kubernetes,
        }
    }

    /// The user that these claims name.
    pub fn user(&self) -> User {
        let own = &self.kubernetes;
        let account = &own.serviceaccount;
        let mut extra = Vec::new();
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                extra.push((key.to_owned(), vec![value.to_owned()]));
            }
        };
        if !self.jti.is_empty() {
            add(CREDENTIAL_ID, &format!("JTI={}", self.jti));
        }
        for (reference, name, uid) in
            [(&own.node, "node-name", "node-uid"), (&own.pod, "pod-name", "pod-uid")]
        {
            if let Some(reference) = reference {
                add(&format!("authentication.kubernetes.io/{name}"), &reference.name);
                add(&format!("authentication.kubernetes.io/{uid}"), &reference.uid);
            }
        }
        let user = User::service_account(&own.namespace, &account.name);
        User { uid: account.uid.clone(), extra, ..user }
    }
}

/// `aud` may be one text or a list (RFC 7519 section 4.1.3).
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}
