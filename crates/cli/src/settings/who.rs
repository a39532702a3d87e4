//! Settings about who callers may be and who says what they may. Files are named here, and read by who uses them.

use super::value;
use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub anonymous: bool,
    pub audiences: Vec<String>,
    pub authentication: Option<PathBuf>,
    pub token_webhook: Option<PathBuf>,
    pub token_webhook_ttl: Duration,
    pub authorization: Option<PathBuf>,
    pub issuers: Vec<String>,
    pub jwks_uri: String,
    pub key_files: Vec<String>,
}

const ANONYMOUS: &str = "anonymous-auth";
const AUDIENCES: &str = "api-audiences";
const AUTHENTICATION: &str = "authentication-config";
const TOKEN_WEBHOOK: &str = "authentication-token-webhook-config-file";
const TOKEN_WEBHOOK_TTL: &str = "authentication-token-webhook-cache-ttl";
const AUTHORIZATION: &str = "authorization-config";
const ISSUER: &str = "service-account-issuer";
const JWKS_URI: &str = "service-account-jwks-uri";
const KEY_FILE: &str = "service-account-key-file";

impl Who {
    pub(super) fn read(
        one: &dyn Fn(&str) -> String,
        many: &dyn Fn(&str) -> Vec<String>,
    ) -> Result<Who> {
        let file = |name| Some(one(name)).filter(|path| !path.is_empty()).map(PathBuf::from);
        let span = value::duration(&one(TOKEN_WEBHOOK_TTL)).map_err(anyhow::Error::msg)?;
        Ok(Who {
            anonymous: one(ANONYMOUS) == "true",
            audiences: many(AUDIENCES),
            authentication: file(AUTHENTICATION),
            token_webhook: file(TOKEN_WEBHOOK),
            token_webhook_ttl: span,
            authorization: file(AUTHORIZATION),
            issuers: many(ISSUER),
            jwks_uri: one(JWKS_URI),
            key_files: many(KEY_FILE),
        })
    }

    /// The flags that say the same again.
    pub(super) fn flags(&self, flag: &mut impl FnMut(&str, String)) {
        flag(ANONYMOUS, self.anonymous.to_string());
        flag(TOKEN_WEBHOOK_TTL, format!("{}s", self.token_webhook_ttl.as_secs()));
        let files = [
            (AUTHENTICATION, &self.authentication),
            (TOKEN_WEBHOOK, &self.token_webhook),
            (AUTHORIZATION, &self.authorization),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                flag(name, file.display().to_string());
            }
        }
        let lists =
            [(AUDIENCES, &self.audiences), (ISSUER, &self.issuers), (KEY_FILE, &self.key_files)];
        for (name, all) in lists {
            all.iter().for_each(|text| flag(name, text.clone()));
        }
        if !self.jwks_uri.is_empty() {
            flag(JWKS_URI, self.jwks_uri.clone());
        }
    }
}
