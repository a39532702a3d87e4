//! Issuers: tokens of others (OpenID Connect; KEP-3331, "Structured Authentication Config"). A file names the issuers;
//! each has its keys fetched, its tokens checked and its claims made into a user. The cluster's own tokens are never
//! asked about here.

mod check;
pub mod file;
mod jwt;
mod keys;

use crate::authorize::aggregate;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use file::Anonymous;
use jwt::Jwt;
use serde::Deserialize;
use skiff_api::wire::User;
use skiff_base::{Tasks, World};
use std::sync::Arc;

/// All issuers of one file, and what finds their keys meanwhile.
#[derive(Default)]
pub struct Issuers {
    all: Vec<Arc<Jwt>>,
    /// They end with this.
    _tasks: Tasks,
}

/// What a file says.
pub struct Configured {
    pub issuers: Issuers,
    pub anonymous: Option<Anonymous>,
}

/// Reads a file and begins to look for the issuers; `taken` are issuers that none of them may be.
///
/// # Errors
/// What is wrong with the file.
pub fn configure(text: &[u8], taken: &[String], world: &World) -> Result<Configured, String> {
    let file = file::read(text)?;
    let wrong = |why| format!("invalid authentication configuration: {why}");
    let compiled = check::check_file(&file, taken).map_err(wrong)?;
    let tasks = Tasks::new();
    let mut all = Vec::new();
    for (config, compiled) in file.jwt.into_iter().zip(compiled) {
        let jwt = Arc::new(Jwt::new(config, compiled, world).map_err(wrong)?);
        let found = jwt.clone();
        tasks.spawn(async move { found.keys.find().await });
        all.push(jwt);
    }
    Ok(Configured { issuers: Issuers { all, _tasks: tasks }, anonymous: file.anonymous })
}

impl Issuers {
    /// The user of a token; `None` when no issuer of these made it.
    ///
    /// # Errors
    /// What is wrong with a token of one of them.
    pub async fn user(&self, token: &str) -> Result<Option<User>, String> {
        if self.all.is_empty() {
            return Ok(None);
        }
        let Some(issuer) = issuer(token) else { return Ok(None) };
        match self.all.iter().find(|jwt| jwt.is(&issuer)) {
            Some(jwt) => jwt.user(token).await.map(Some),
            None => Ok(None),
        }
    }

    /// Waits until the keys of all issuers can be fetched.
    pub async fn ready(&self) {
        for jwt in &self.all {
            jwt.keys.ready().await;
        }
    }

    /// What is wrong with those that are not ready.
    pub fn unready(&self) -> String {
        let one = |jwt: &Arc<Jwt>| {
            let why = jwt.keys.unready()?;
            let url = jwt.issuer();
            Some(format!("oidc: authenticator for issuer {url:?} is not healthy: {why}"))
        };
        aggregate(&self.all.iter().filter_map(one).collect::<Vec<_>>())
    }
}

/// Who issued a token, as the token says it: not to be believed yet.
fn issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        iss: String,
    }
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims: Claims = skiff_json::from_slice(&BASE64URL.decode(claims).ok()?).ok()?;
    Some(claims.iss)
}

#[cfg(test)]
mod tests;
