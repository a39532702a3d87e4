//! Tokens that live in secrets: the secrets, and what such a token claims (documentation page "Managing Service
//! Accounts"). The controller that issues them and the server that believes them both read this.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use skiff_api::view::{Meta, Resource, View};
use std::collections::BTreeMap;

/// Who issues these tokens.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Annotations that say whose token a secret holds.
pub const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// Labels that say on which day such a token was last used, and since when it is no good (KEP-2799).
pub const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
pub const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// The ConfigMap that says since when uses are noted.
pub const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";

/// A secret of the type `kubernetes.io/service-account-token`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TokenSecret {
    pub metadata: Meta,
    /// Decoded: all that belongs there is text.
    #[serde(deserialize_with = "texts")]
    pub data: BTreeMap<String, String>,
}

/// A value that is no text is one that is missing.
pub(super) fn texts<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let data = BTreeMap::<String, String>::deserialize(from)?;
    let decoded = data.into_iter().filter_map(|(key, value)| {
        let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
        Some((key, text))
    });
    Ok(decoded.collect())
}

impl TokenSecret {
    /// The name of the account whose token this is.
    pub fn account(&self) -> &str {
        self.metadata.annotations.get(ACCOUNT_NAME).map_or("", String::as_str)
    }
}

impl View for TokenSecret {
    const RESOURCE: Resource = crate::core::secret::RESOURCE;
    const QUERY: &'static str = "&fieldSelector=type%3Dkubernetes.io%2Fservice-account-token";

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        put("account", &format!("{}/{}", self.metadata.namespace, self.account()));
    }
}

/// What such a token claims: it is good for as long as secret and account are there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LegacyClaims {
    pub iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub account_uid: String,
    pub sub: String,
}

impl LegacyClaims {
    pub fn new(secret: &str, account: &Meta) -> LegacyClaims {
        let (namespace, name) = (account.namespace.clone(), account.name.clone());
        LegacyClaims {
            iss: LEGACY_ISSUER.into(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
            namespace,
            secret: secret.into(),
            account: name,
            account_uid: account.uid.clone(),
        }
    }
}
