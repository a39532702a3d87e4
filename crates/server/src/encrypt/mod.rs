//! Encryption at rest: which resources are sealed on the disk, by whom, and what the disk holds.
//!
//! The border is the log of the store: what goes below it is sealed, what comes up is plain. Memory, watches and lists
//! know nothing of it, so a read costs nothing and a write one pass over its bytes. What the configuration says is
//! read once and swapped as a whole ([`Sealer::replace`]); a row is written under the configuration of its moment.
//!
//! Never here: a body that is given up. What no key opens stays as it lies, under its name.

pub mod config;
pub mod own;
pub mod provider;
pub mod rewrite;

use config::Config;
use skiff_base::{RwLock, World};
use skiff_store::{SEALED, Seal};
use std::sync::Arc;

/// What seals and opens for the store, by the configuration of the moment.
pub struct Sealer {
    config: RwLock<Arc<Config>>,
    world: World,
}

impl Sealer {
    pub fn new(config: Config, world: World) -> Sealer {
        Sealer { config: RwLock::new(Arc::new(config)), world }
    }

    pub fn config(&self) -> Arc<Config> {
        self.config.read().clone()
    }

    /// From the next row on.
    pub fn replace(&self, config: Config) {
        *self.config.write() = Arc::new(config);
    }

    /// The same with the configuration of this moment, for good.
    pub fn still(&self) -> Sealer {
        Sealer { config: RwLock::new(self.config()), world: self.world.clone() }
    }

    /// Whether both seal by the very same configuration.
    pub fn is_like(&self, other: &Sealer) -> bool {
        Arc::ptr_eq(&self.config(), &other.config())
    }

    /// How a row of this key would begin today; empty: it would be plain.
    pub fn form(&self, key: &str) -> String {
        self.config().providers(key).first().map(|first| first.form()).unwrap_or_default()
    }
}

impl Seal for Sealer {
    fn seals(&self, key: &str) -> bool {
        self.config().providers(key).first().is_some_and(|first| !first.is_identity())
    }

    fn seal(&self, key: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        let config = self.config();
        let providers = config.providers(key);
        let first = providers.first().ok_or("nothing seals it any more")?;
        first.seal(key, plain, &self.world)
    }

    fn open(&self, key: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
        let config = self.config();
        let mut why = format!("no key opens {}", form_of(sealed));
        for provider in config.providers(key) {
            match provider.open(key, sealed) {
                Some(Ok(plain)) => return Ok(plain),
                Some(Err(error)) => why = error,
                None => {}
            }
        }
        Err(why)
    }
}

/// How a body was sealed, as it says itself: `k8s:enc:aescbc:v1:key1:`; empty for a plain one.
pub fn form_of(body: &[u8]) -> String {
    if !body.starts_with(SEALED) {
        return String::new();
    }
    let ends = body.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at + 1);
    String::from_utf8_lossy(&body[..ends.take(5).last().unwrap_or(body.len())]).into_owned()
}

/// Why a sealed body is not readable, in a sentence that says what to do.
pub fn sealed_text(body: &[u8]) -> Option<String> {
    body.starts_with(SEALED).then(|| {
        let form = form_of(body);
        format!(
            "it is encrypted ({form}) and no key of today's configuration opens it: give that key back, \
             in the encryption configuration, and start again"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(config: &str) -> Sealer {
        Sealer::new(Config::parse(config.as_bytes()).unwrap(), World::real())
    }

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn with(providers: &str) -> Sealer {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";
        sealer(&format!("{head}resources: [{{resources: [secrets], providers: [{providers}]}}]"))
    }

    #[test]
    fn every_provider_seals_in_upstreams_form_and_opens_what_it_sealed() {
        let key = "secrets/default/a";
        for name in ["aescbc", "aesgcm", "secretbox"] {
            let one = with(&format!("{{{name}: {{keys: [{{name: one, secret: {KEY}}}]}}}}"));
            for text in ["", "short", &"long ".repeat(1000)] {
                let sealed = one.seal(key, text.as_bytes()).unwrap();
                assert_eq!(form_of(&sealed), format!("k8s:enc:{name}:v1:one:"));
                assert_eq!(one.form(key), form_of(&sealed));
                assert_eq!(one.open(key, &sealed).unwrap(), text.as_bytes());
                assert_ne!(sealed, one.seal(key, text.as_bytes()).unwrap(), "never twice the same");
                let mut bad = sealed.clone();
                *bad.last_mut().unwrap() ^= 1;
                // CBC has no sum of its own: that of the row is what finds damage.
                assert!(name == "aescbc" || one.open(key, &bad).is_err(), "{name}");
                assert!(one.open(key, &sealed[..sealed.len().min(30)]).is_err(), "{name}");
            }
            assert!(one.seals(key) && !one.seals("pods/default/a"));
        }
        // AES-GCM is bound to the name: nobody puts one secret in the place of another.
        let gcm = with(&format!("{{aesgcm: {{keys: [{{name: one, secret: {KEY}}}]}}}}"));
        let sealed = gcm.seal(key, b"x").unwrap();
        assert!(gcm.open("secrets/default/b", &sealed).is_err());
    }

    #[test]
    fn the_first_writes_and_all_read() {
        let key = "secrets/default/a";
        let box_of =
            |name: &str| format!("{{secretbox: {{keys: [{{name: {name}, secret: {KEY}}}]}}}}");
        let old = with(&box_of("old")).seal(key, b"x").unwrap();
        let both = with(&format!("{}, {}", box_of("new"), box_of("old")));
        assert_eq!(both.open(key, &old).unwrap(), b"x");
        assert_eq!(both.form(key), "k8s:enc:secretbox:v1:new:");
        let off = with(&format!("{{identity: {{}}}}, {}", box_of("old")));
        assert_eq!((off.seals(key), off.form(key).as_str()), (false, ""));
        assert_eq!(off.open(key, &old).unwrap(), b"x");
        let lost = with(&box_of("new"));
        let why = lost.open(key, &old).unwrap_err();
        assert_eq!(why, "no key opens k8s:enc:secretbox:v1:old:");
        assert!(sealed_text(&old).unwrap().contains("(k8s:enc:secretbox:v1:old:)"));
        // Running with another configuration is a matter of the next row.
        lost.replace(Config::parse(b"{}").unwrap_or_default());
        assert!(!lost.seals(key));
    }
}
