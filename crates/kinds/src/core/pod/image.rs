//! Image references: as much of their grammar as the API's defaults need
//! (OCI distribution specification, "pulling manifests"; docker's familiar names).

/// What follows the name of an image; `None` for what is no image reference.
#[derive(Debug, PartialEq, Eq)]
pub struct Tail<'a> {
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
}

impl Tail<'_> {
    /// Neither a tag nor a digest, or the tag `latest`: what a registry answers may change.
    pub fn moves(&self) -> bool {
        self.tag == Some("latest") || (self.tag.is_none() && self.digest.is_none())
    }
}

/// `Always` for images that move, `IfNotPresent` for all others and for what is no image.
pub fn pull_policy(image: &str) -> &'static str {
    match tail(image) {
        Some(tail) if tail.moves() => "Always",
        _ => "IfNotPresent",
    }
}

/// Splits a reference `[domain/]path[:tag][@digest]`.
pub fn tail(reference: &str) -> Option<Tail<'_>> {
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) if is_digest(digest) => (rest, Some(digest)),
        Some(_) => return None,
        None => (reference, None),
    };
    let start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[start..].split_once(':') {
        Some((last, tag)) if is_tag(tag) => (&rest[..start + last.len()], Some(tag)),
        Some(_) => return None,
        None => (rest, None),
    };
    let is_id = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let path = match name.split_once('/') {
        Some((first, path)) if is_domain_like(first) => is_domain(first).then_some(path)?,
        _ => name,
    };
    (!is_id && path.split('/').all(is_component)).then_some(Tail { tag, digest })
}

/// The first part is a registry when nothing else could look like it.
fn is_domain_like(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let (host, port) =
        text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let digits =
        port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let label = |label: &str| {
        !label.starts_with('-')
            && !label.ends_with('-')
            && !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    digits && (bracketed || host.split('.').all(label))
}

/// Lower-case letters and digits, with `.`, `_`, `__` or dashes in between.
fn is_component(text: &str) -> bool {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain);
    let separated = bytes
        .split(plain)
        .all(|run| matches!(run, [] | b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'));
    ends && separated
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let letters = algorithm.starts_with(|c: char| c.is_ascii_alphabetic());
    letters && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_move_are_pulled_always() {
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            (&*digest, "IfNotPresent"),
            ("localhost:5000/a/b", "Always"),
            ("localhost:5000/a/b:v1", "IfNotPresent"),
            ("Nginx", "IfNotPresent"),
            ("Example.com/nginx", "Always"),
            ("a b", "IfNotPresent"),
            ("", "IfNotPresent"),
            ("a__b/c--d", "Always"),
            ("a..b", "IfNotPresent"),
        ];
        for (image, wanted) in cases {
            assert_eq!(pull_policy(image), wanted, "{image}");
        }
    }
}
