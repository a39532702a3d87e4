//! The grammar of names, labels and keys, with the sentences that tell users what a valid one is
//! (API concepts page "Object Names and IDs"; RFC 1123, RFC 1035).

use crate::errors::{Errors, Path};

/// Longest label value, label name and RFC 1123 label.
pub const LABEL_MOST: usize = 63;
/// Longest RFC 1123 subdomain.
pub const SUBDOMAIN_MOST: usize = 253;

const LABEL_WHY: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
                         must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex \
                         used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_WHY: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
     characters, '-' or '.', and must start \
     and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD_WHY: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, \
     which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. \
     '*.example.com', regex used for validation is \
     '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL1035_WHY: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with \
                             an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
                             'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_WHY: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                             an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                             validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_WHY: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
                         '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
                         'my_value',  or '12345', regex used for validation is \
                         '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with an RFC 1123 label; nothing when it is valid.
pub fn label(text: &str) -> Vec<String> {
    let mut wrong = too_long_name(text, LABEL_MOST);
    if !is_label(text) && is_subdomain(text) {
        wrong.push("must not contain dots".into());
    } else if !is_label(text) {
        wrong.push(LABEL_WHY.into());
    }
    wrong
}

/// What is wrong with an RFC 1123 subdomain.
pub fn subdomain(text: &str) -> Vec<String> {
    let mut wrong = too_long_name(text, SUBDOMAIN_MOST);
    if !is_subdomain(text) {
        wrong.push(SUBDOMAIN_WHY.into());
    }
    wrong
}

/// What is wrong with a domain whose first label is `*` (RFC 1034, 4.3.3).
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    let mut wrong = too_long_name(text, SUBDOMAIN_MOST);
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        wrong.push(WILDCARD_WHY.into());
    }
    wrong
}

/// The same, as kinds say it whose names upstream checks by a marker: it counts bytes.
pub fn long_name(text: &str) -> Vec<String> {
    let mut wrong = subdomain(text);
    if text.len() > SUBDOMAIN_MOST {
        wrong[0] = format!("must be no more than {SUBDOMAIN_MOST} bytes");
    }
    wrong
}

/// What is wrong with an RFC 1035 label.
pub fn label1035(text: &str) -> Vec<String> {
    let mut wrong = too_long_name(text, LABEL_MOST);
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        wrong.push(LABEL1035_WHY.into());
    }
    wrong
}

/// What is wrong with a name that must fit into one path segment.
pub fn segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| text.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// What is wrong with a label or annotation key (`prefix/name`).
pub fn qualified(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".into());
            } else {
                let problems = too_long(prefix, SUBDOMAIN_MOST).into_iter();
                let grammar = (!is_subdomain(prefix)).then(|| SUBDOMAIN_WHY.to_owned());
                wrong.extend(problems.chain(grammar).map(|w| format!("prefix part {w}")));
            }
            name
        }
        _ => {
            let why = QUALIFIED_WHY;
            return vec![format!(
                "a valid label key {why} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".into());
    } else if name.len() > LABEL_MOST {
        wrong.push(format!("name part must be no more than {LABEL_MOST} bytes"));
    }
    if !is_qualified_name(name) {
        wrong.push(format!("name part {QUALIFIED_WHY}"));
    }
    wrong
}

/// What is wrong with a label value.
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong = too_long(text, LABEL_MOST);
    if !text.is_empty() && !is_qualified_name(text) {
        wrong.push(VALUE_WHY.into());
    }
    wrong
}

/// Names of objects are measured in other words than labels.
fn too_long_name(text: &str, most: usize) -> Vec<String> {
    if text.len() > most {
        vec![format!("must be no more than {most} characters")]
    } else {
        Vec::new()
    }
}

fn too_long(text: &str, most: usize) -> Vec<String> {
    if text.len() > most { vec![format!("must be no more than {most} bytes")] } else { Vec::new() }
}

/// Says what is wrong with a domain of at least two segments, whose last dot may be there.
pub fn fully_qualified(path: &Path, text: &str, errors: &mut Errors) {
    if text.is_empty() {
        return errors.required(path, "");
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let wrong = subdomain(name);
    if !wrong.is_empty() {
        return errors.invalid(path, name, &wrong.join(","));
    }
    if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        return errors.invalid(path, name, why);
    }
    if let Some(long) = name.split('.').find(|part| part.len() > LABEL_MOST) {
        errors.invalid(path, long, &label(long).join(","));
    }
}

/// What is wrong with a port number.
pub fn port(number: i64) -> Option<&'static str> {
    (!(1..=65535).contains(&number)).then_some("must be between 1 and 65535, inclusive")
}

/// What is wrong with the name of a port (IANA service names, RFC 6335).
pub fn port_name(text: &str) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    if text.len() > 15 {
        wrong.push("must be no more than 15 characters");
    }
    if !text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)");
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens");
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen");
    }
    wrong
}

/// Kubernetes' order of versions: GA before beta before alpha, the higher number first.
pub fn version_order(version: &str) -> (u8, std::cmp::Reverse<(u64, u64)>, String) {
    let split = |rest: &str| -> Option<(u64, u8, u64)> {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major = rest[..digits].parse().ok()?;
        match &rest[digits..] {
            "" => Some((major, 0, 0)),
            beta if beta.starts_with("beta") => Some((major, 1, beta[4..].parse().ok()?)),
            alpha if alpha.starts_with("alpha") => Some((major, 2, alpha[5..].parse().ok()?)),
            _ => None,
        }
    };
    match version.strip_prefix('v').and_then(split) {
        Some((major, rank, minor)) => (rank, std::cmp::Reverse((major, minor)), String::new()),
        None => (3, std::cmp::Reverse((0, 0)), version.to_owned()),
    }
}

pub fn is_label(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    edge(text.bytes().next()) && edge(text.bytes().last()) && text.bytes().all(inner)
}

pub fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_qualified_name(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    edge(text.bytes().next()) && edge(text.bytes().last()) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert!(label("a-1").is_empty() && !label("A").is_empty() && !label("a-").is_empty());
        assert!(subdomain("a.b-c").is_empty() && !subdomain("a..b").is_empty());
        assert!(label1035("a1").is_empty() && !label1035("1a").is_empty());
        assert!(segment("system:node").is_empty());
        assert_eq!(segment("a/b"), ["may not contain '/'"]);
        assert!(qualified("example.com/Name_1").is_empty() && qualified("a").is_empty());
        assert_eq!(qualified("/a"), ["prefix part must be non-empty"]);
        assert_eq!(qualified("a b").len(), 1);
        assert!(label_value("").is_empty());
        assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
    }
}
