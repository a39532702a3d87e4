//! References: the names of images, as people write them and as they are stored.
//!
//! `busybox` means `docker.io/library/busybox:latest`. The grammar is the one of the OCI
//! distribution spec ("Pulling manifests") with Docker's normalization: a first component with a
//! dot, a colon or an upper-case letter, or `localhost`, is a registry; without one it is Docker
//! Hub, and a single component there lies in `library/`. A reference with a tag and a digest means
//! the digest.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The longest repository path that registries take.
const PATH_MAX: usize = 255;
/// The longest tag (OCI distribution spec).
const TAG_MAX: usize = 128;
const HUB: &str = "docker.io";

/// A normalized reference: registry, repository, and a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    pick: Pick,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Pick {
    Tag(String),
    Digest(Digest),
}

/// Why a text is no reference, in the words that users of Docker and Kubernetes know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Hexadecimal(String),
    #[error("unsupported digest algorithm")]
    Algorithm,
    #[error("invalid checksum digest length")]
    DigestLength,
}

impl Reference {
    /// Parses and normalizes a name as a person writes it.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        if Digest::from_hex(text).is_some() {
            return Err(ReferenceError::Hexadecimal(text.to_owned()));
        }
        let (domain, rest) = split_domain(text);
        let remote = rest.split(':').next().unwrap_or(&rest);
        if remote.chars().any(char::is_uppercase) {
            return Err(ReferenceError::Uppercase(remote.to_owned()));
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (rest.as_str(), None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !is_domain(&domain) || !is_path(path) || tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Format);
        }
        if path.len() > PATH_MAX {
            return Err(ReferenceError::TooLong);
        }
        let pick = match (digest, tag) {
            (Some(digest), _) => Pick::Digest(digest),
            (None, Some(tag)) => Pick::Tag(tag.to_owned()),
            (None, None) => Pick::Tag("latest".to_owned()),
        };
        Ok(Reference { domain, path: path.to_owned(), pick })
    }

    /// The registry as it is written, `docker.io` for Docker Hub.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry, `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `registry/repository` without tag or digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    pub fn tag(&self) -> Option<&str> {
        match &self.pick {
            Pick::Tag(tag) => Some(tag),
            Pick::Digest(_) => None,
        }
    }

    pub fn digest(&self) -> Option<Digest> {
        match &self.pick {
            Pick::Tag(_) => None,
            Pick::Digest(digest) => Some(*digest),
        }
    }

    /// The tag or the digest, as a registry is asked for it.
    pub fn version(&self) -> String {
        match &self.pick {
            Pick::Tag(tag) => tag.clone(),
            Pick::Digest(digest) => digest.to_string(),
        }
    }

    /// The same repository by this digest.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { pick: Pick::Digest(digest), ..self.clone() }
    }

    /// The short name that Docker shows: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_repository(), self.suffix())
    }

    /// The short name of the repository, as in the REPOSITORY column of `docker images`.
    pub fn familiar_repository(&self) -> String {
        if self.domain != HUB {
            return self.repository();
        }
        match self.path.strip_prefix("library/") {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.path.clone(),
        }
    }

    fn suffix(&self) -> String {
        match &self.pick {
            Pick::Tag(tag) => format!(":{tag}"),
            Pick::Digest(digest) => format!("@{digest}"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text)
    }
}

fn split_domain(text: &str) -> (String, String) {
    let (domain, rest) = match text.split_once('/') {
        None => (HUB, text),
        Some((first, rest)) => {
            let is_registry = first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase);
            match first {
                "index.docker.io" => (HUB, rest),
                _ if is_registry => (first, rest),
                _ => (HUB, text),
            }
        }
    };
    match domain == HUB && !rest.contains('/') {
        true => (domain.to_owned(), format!("library/{rest}")),
        false => (domain.to_owned(), rest.to_owned()),
    }
}

fn parse_digest(text: &str) -> Result<Digest, ReferenceError> {
    let (algorithm, hex) = text.split_once(':').ok_or(ReferenceError::Format)?;
    if hex.len() < 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) || !is_algorithm(algorithm) {
        return Err(ReferenceError::Format);
    }
    if algorithm != "sha256" {
        return Err(ReferenceError::Algorithm);
    }
    if hex.len() != 64 {
        return Err(ReferenceError::DigestLength);
    }
    Digest::from_hex(hex).ok_or(ReferenceError::Format)
}

fn is_algorithm(text: &str) -> bool {
    text.split(['-', '_', '+', '.']).all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rfind(']') {
        Some(end) => text.split_at(end + 1),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let good_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let good_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => !ip.is_empty() && ip.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => host.split('.').all(|part| {
            let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
            edge(part.bytes().next())
                && edge(part.bytes().last())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    good_port && good_host
}

/// Components of lower-case letters and digits, joined by one `.`, `_`, `__` or any number of `-`.
fn is_path(text: &str) -> bool {
    text.split('/').all(|part| {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let mut separators = part.split(word).filter(|s| !s.is_empty());
        part.starts_with(word)
            && part.ends_with(word)
            && separators.all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
    })
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= TAG_MAX
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn names_are_normalized_as_docker_does() {
        let hex = "ab".repeat(32);
        let mut seen = String::new();
        for text in [
            "busybox",
            "busybox:1.36",
            "library/busybox",
            "me/tool",
            "docker.io/busybox",
            "index.docker.io/busybox",
            "docker.io/library/a/b",
            "localhost/x",
            "localhost:5000/x:y",
            "registry.k8s.io/pause:3.10",
            "127.0.0.1:5000/a/b/c",
            "[::1]:5000/a",
            "UPPER/x",
            "a__b-c---d.e",
            &format!("busybox@sha256:{hex}"),
            &format!("busybox:1@sha256:{hex}"),
        ] {
            let name = Reference::parse(text).unwrap();
            seen += &format!("{text}\n  {name}\n  {}\n", name.familiar());
        }
        expect![[r#"
            busybox
              docker.io/library/busybox:latest
              busybox:latest
            busybox:1.36
              docker.io/library/busybox:1.36
              busybox:1.36
            library/busybox
              docker.io/library/busybox:latest
              busybox:latest
            me/tool
              docker.io/me/tool:latest
              me/tool:latest
            docker.io/busybox
              docker.io/library/busybox:latest
              busybox:latest
            index.docker.io/busybox
              docker.io/library/busybox:latest
              busybox:latest
            docker.io/library/a/b
              docker.io/library/a/b:latest
              library/a/b:latest
            localhost/x
              localhost/x:latest
              localhost/x:latest
            localhost:5000/x:y
              localhost:5000/x:y
              localhost:5000/x:y
            registry.k8s.io/pause:3.10
              registry.k8s.io/pause:3.10
              registry.k8s.io/pause:3.10
            127.0.0.1:5000/a/b/c
              127.0.0.1:5000/a/b/c:latest
              127.0.0.1:5000/a/b/c:latest
            [::1]:5000/a
              [::1]:5000/a:latest
              [::1]:5000/a:latest
            UPPER/x
              UPPER/x:latest
              UPPER/x:latest
            a__b-c---d.e
              docker.io/library/a__b-c---d.e:latest
              a__b-c---d.e:latest
            busybox@sha256:abababababababababababababababababababababababababababababababab
              docker.io/library/busybox@sha256:abababababababababababababababababababababababababababababababab
              busybox@sha256:abababababababababababababababababababababababababababababababab
            busybox:1@sha256:abababababababababababababababababababababababababababababababab
              docker.io/library/busybox@sha256:abababababababababababababababababababababababababababababababab
              busybox@sha256:abababababababababababababababababababababababababababababababab
        "#]].assert_eq(&seen);
    }

    #[test]
    fn bad_names_are_refused_in_known_words() {
        let mut seen = String::new();
        for text in [
            "",
            "Busybox",
            "busybox:",
            "busybox:-x",
            "a b",
            "a..b",
            "a___b",
            "-a",
            "a/",
            "/a",
            "a//b",
            ":5000/a",
            "host:port/a",
            "a@sha256:12",
            "a@sha512:00000000000000000000000000000000",
            "a@sha256:00000000000000000000000000000000",
            &"ab".repeat(32),
            &"a".repeat(300),
            &format!("a:{}", "b".repeat(129)),
            "é",
        ] {
            let short: String = text.chars().take(20).collect();
            seen += &format!("{short}: {}\n", Reference::parse(text).unwrap_err());
        }
        expect![[r#"
            : invalid reference format
            Busybox: invalid reference format: repository name (library/Busybox) must be lowercase
            busybox:: invalid reference format
            busybox:-x: invalid reference format
            a b: invalid reference format
            a..b: invalid reference format
            a___b: invalid reference format
            -a: invalid reference format
            a/: invalid reference format
            /a: invalid reference format
            a//b: invalid reference format
            :5000/a: invalid reference format
            host:port/a: invalid reference format
            a@sha256:12: invalid reference format
            a@sha512:00000000000: unsupported digest algorithm
            a@sha256:00000000000: invalid checksum digest length
            abababababababababab: invalid repository name (abababababababababababababababababababababababababababababababab), cannot specify 64-byte hexadecimal strings
            aaaaaaaaaaaaaaaaaaaa: repository name must not be more than 255 characters
            a:bbbbbbbbbbbbbbbbbb: invalid reference format
            é: invalid reference format
        "#]].assert_eq(&seen);
    }

    #[test]
    fn a_normalized_name_reads_back() {
        for text in ["busybox", "localhost:5000/x:y", "registry.k8s.io/a/b@sha256:0123"] {
            let Ok(name) = Reference::parse(text) else { continue };
            assert_eq!(Reference::parse(&name.to_string()).unwrap(), name);
            assert_eq!(Reference::parse(&name.familiar()).unwrap(), name);
        }
    }
}
