//! Credentials of registries, and Docker's config files that hold them (imagePullSecrets).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use crate::digest::Digest;
use crate::error::Error;
use crate::reference::Reference;

/// What to show a registry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    Basic {
        username: String,
        password: String,
    },
    /// An OAuth2 refresh token (`identitytoken`).
    Identity {
        token: String,
    },
    /// A bearer token for the registry itself (`registrytoken`).
    Bearer {
        token: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

impl Credentials {
    /// Tells credentials apart without holding them.
    pub(crate) fn fingerprint(&self) -> String {
        let text = match self {
            Credentials::Basic { username, password } => format!("basic\0{username}\0{password}"),
            Credentials::Identity { token } => format!("identity\0{token}"),
            Credentials::Bearer { token } => format!("bearer\0{token}"),
        };
        Digest::of(text.as_bytes()).hex()
    }
}

/// The `auths` of a `.dockerconfigjson` (or a `.dockercfg`), by registry pattern.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    entries: Vec<(Pattern, Credentials)>,
}

#[derive(Deserialize)]
struct ConfigJson {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// `host[:port][/path]`, where each part of the host may have `*` (Kubernetes documentation,
/// "Images", "Interpretation of config.json").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    host: String,
    port: Option<String>,
    path: String,
}

impl DockerConfig {
    /// Reads a `.dockerconfigjson` (`{"auths": {...}}`) or a bare `.dockercfg`.
    pub fn parse(bytes: &[u8]) -> Result<DockerConfig, Error> {
        let bad =
            |why: String| Error::ReadDocument { what: "registry credentials".to_owned(), why };
        let auths = match serde_json::from_slice::<ConfigJson>(bytes) {
            Ok(config) => config.auths,
            Err(_) => serde_json::from_slice::<BTreeMap<String, Entry>>(bytes)
                // The position would be the only news, and the rest might quote a secret.
                .map_err(|error| bad(format!("not a docker config (line {})", error.line())))?,
        };
        let mut entries = Vec::new();
        for (registry, entry) in auths {
            if let Some(credentials) = entry.credentials().map_err(|why| bad(why.to_owned()))? {
                entries.push((Pattern::parse(&registry), credentials));
            }
        }
        // Kubernetes' order, backwards by letters: a longer path before a shorter one, and a name
        // before a wildcard.
        entries.sort_by(|(one, _), (other, _)| other.cmp(one));
        Ok(DockerConfig { entries })
    }

    /// The credentials for an image, the closest match first.
    pub fn lookup(&self, reference: &Reference) -> Vec<Credentials> {
        let hub = reference.domain() == "docker.io";
        let image = Pattern::parse(&reference.repository());
        let matches = self.entries.iter().filter(|(pattern, _)| {
            pattern.fits(&image) || (hub && pattern.host == "index.docker.io")
        });
        matches.map(|(_, credentials)| credentials.clone()).collect()
    }
}

impl Entry {
    fn credentials(self) -> Result<Option<Credentials>, &'static str> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credentials::Bearer { token: self.registrytoken }));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::Identity { token: self.identitytoken }));
        }
        if self.auth.is_empty() {
            let Entry { username, password, .. } = self;
            return Ok((!username.is_empty()).then_some(Credentials::Basic { username, password }));
        }
        let text = self.auth.trim();
        let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
        let bytes = bytes.map_err(|_| "auth is not base64")?;
        let text = String::from_utf8(bytes).map_err(|_| "auth is not UTF-8")?;
        let (username, password) =
            text.split_once(':').ok_or("auth is not username:password in base64")?;
        let password = password.trim_matches('\0').to_owned();
        Ok(Some(Credentials::Basic { username: username.to_owned(), password }))
    }
}

impl Pattern {
    /// Scheme and the API version that old clients appended say nothing.
    fn parse(text: &str) -> Pattern {
        let text = text.trim_start_matches("https://").trim_start_matches("http://");
        let (authority, path) = match text.find('/') {
            Some(slash) => text.split_at(slash),
            None => (text, ""),
        };
        let path = match path.get(..4) {
            Some("/v1/" | "/v2/") => &path[3..],
            _ => path,
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.to_owned())),
            _ => (authority, None),
        };
        let path = path.trim_end_matches('/').to_owned();
        Pattern { host: host.to_owned(), port, path }
    }

    fn fits(&self, image: &Pattern) -> bool {
        let (ours, theirs) = (self.host.split('.'), image.host.split('.'));
        self.port == image.port
            && ours.clone().count() == theirs.clone().count()
            && ours.zip(theirs).all(|(glob, part)| glob_fits(glob, part))
            && image.path.starts_with(&self.path)
    }
}

/// `*` stands for any run of characters.
fn glob_fits(glob: &str, text: &str) -> bool {
    let Some((before, after)) = glob.split_once('*') else { return glob == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    rest.char_indices()
        .map(|(at, _)| at)
        .chain([rest.len()])
        .any(|at| glob_fits(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_entry_comes_first() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "*.example.com": {"username": "wild", "password": "p"},
            "a.example.com": {"auth": "aG9zdDpwOnc="},
            "a.example.com/team": {"identitytoken": "t"},
            "localhost:5000": {"registrytoken": "r"},
            "empty.example.com": {}
        }}"#;
        let config = DockerConfig::parse(text.as_bytes()).unwrap();
        let show = |credentials: &Credentials| match credentials {
            Credentials::Basic { username, password } => format!("{username}/{password}"),
            Credentials::Identity { token } => format!("identity {token}"),
            Credentials::Bearer { token } => format!("bearer {token}"),
        };
        for (reference, wanted) in [
            ("busybox", "hub/pw"),
            ("a.example.com/team/x", "identity t, host/p:w, wild/p"),
            ("a.example.com/other", "host/p:w, wild/p"),
            ("b.example.com/x", "wild/p"),
            ("b.c.example.com/x", ""),
            ("localhost:5000/x", "bearer r"),
            ("localhost:5001/x", ""),
        ] {
            let found = config.lookup(&Reference::parse(reference).unwrap());
            let shown: Vec<String> = found.iter().map(show).collect();
            assert_eq!(shown.join(", "), wanted, "{reference}");
        }
    }

    #[test]
    fn both_formats_are_read_and_others_are_not() {
        let old = DockerConfig::parse(br#"{"r.io": {"auth": "YTpi"}}"#).unwrap();
        assert_eq!(old.lookup(&Reference::parse("r.io/x").unwrap()).len(), 1);
        for text in
            ["", "[]", r#"{"r.io": {"auth": "!"}}"#, r#"{"auths": {"r": {"auth": "YQ=="}}}"#]
        {
            assert!(DockerConfig::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
