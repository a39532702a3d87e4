//! The grammar of names in this group: of drivers, pools, attributes and requests.

use skiff_api::check::{label, refuse, subdomain};
use skiff_api::errors::{Errors, Path};
use skiff_api::names;

const DRIVER_MOST: usize = 63;
const POOL_MOST: usize = names::SUBDOMAIN_MOST;
const IDENTIFIER_MOST: usize = 32;
const UUID_LENGTH: usize = 36;

/// A text that its declaration gives a format.
pub fn check(format: &str, path: &Path, text: &str, errors: &mut Errors) {
    match format {
        "short" => label(path, text, errors),
        "long" => subdomain(path, text, errors),
        "caseless" => caseless(path, text, errors),
        "key" => refuse(path, text, names::qualified(text), errors),
        "full" => declared_full(path, text, errors),
        "pool" => declared_pool(path, text, errors),
        "uuid" => uuid(path, text, errors),
        "extended" => extended(path, text, errors),
        other => unreachable!("the table names no format {other}"),
    }
}

/// The name of a driver.
pub fn driver(path: &Path, name: &str, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > DRIVER_MOST {
        errors.too_long(path, DRIVER_MOST);
    }
    refuse(path, name, names::subdomain(&name.to_lowercase()), errors);
}

fn caseless(path: &Path, text: &str, errors: &mut Errors) {
    if !names::subdomain(&text.to_lowercase()).is_empty() {
        let why = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end \
                   with an alphanumeric character (e.g. 'Example.com', regex used for validation is \
                   '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        errors.invalid(path, text, why);
    }
}

/// The name of a pool: one or more parts.
pub fn pool(path: &Path, name: &str, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > POOL_MOST {
        errors.too_long(path, POOL_MOST);
    }
    for part in name.split('/') {
        subdomain(path, part, errors);
    }
}

fn declared_pool(path: &Path, name: &str, errors: &mut Errors) {
    if name.len() > POOL_MOST {
        errors.too_long(path, POOL_MOST);
    }
    for (index, part) in name.split('/').enumerate() {
        if part.is_empty() {
            errors.invalid(path, name, &format!("segment {index}: must not be empty"));
            continue;
        }
        for why in names::subdomain(part) {
            errors.invalid(path, part, &format!("segment {index}: {why}"));
        }
    }
}

/// The name of an attribute or capacity: an identifier, with a domain before it or without.
pub fn qualified(path: &Path, name: &str, errors: &mut Errors) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(path, id, errors),
        [domain, id] => {
            match domain {
                "" => errors.invalid(path, "", "the domain must not be empty"),
                domain => driver(path, domain, errors),
            }
            match id {
                "" => errors.invalid(path, "", "the name must not be empty"),
                id => identifier(path, id, errors),
            }
        }
        // Upstream says nothing of more parts.
        _ => {}
    }
}

fn declared_full(path: &Path, name: &str, errors: &mut Errors) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(path, id, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.invalid(path, "", "prefix must not be empty");
            } else {
                if domain.len() > DRIVER_MOST {
                    errors.too_long(path, DRIVER_MOST);
                }
                for why in names::subdomain(domain) {
                    errors.invalid(path, domain, &format!("prefix: {why}"));
                }
            }
            match id {
                "" => errors.invalid(path, "", "name must not be empty"),
                id => identifier(path, id, errors),
            }
        }
        _ => {}
    }
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.invalid(path, name, why);
    }
}

fn identifier(path: &Path, id: &str, errors: &mut Errors) {
    if id.len() > IDENTIFIER_MOST {
        errors.too_long(path, IDENTIFIER_MOST);
    }
    let first = id.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    if !first || !id.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
        let why = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                   alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for \
                   validation is '[A-Za-z_][A-Za-z0-9_]*')";
        errors.invalid(path, id, why);
    }
}

fn uuid(path: &Path, text: &str, errors: &mut Errors) {
    let fits = |(index, byte): (usize, u8)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
    };
    if text.len() != UUID_LENGTH || !text.bytes().enumerate().all(fits) {
        errors.invalid(path, text, "must be a lowercase UUID in 8-4-4-4-12 format");
    }
}

fn extended(path: &Path, name: &str, errors: &mut Errors) {
    if !name.contains('/') {
        let why = "a name must be a domain-prefixed path, such as 'example.com/my-prop'";
        errors.invalid(path, name, why);
    } else if name.contains("kubernetes.io/") {
        errors.invalid(path, name, "must not have \"kubernetes.io/\" domain");
    }
    if name.starts_with("requests.") {
        errors.invalid(path, name, "must not have \"requests.\" prefix");
    }
    refuse(path, name, names::qualified(&format!("requests.{name}")), errors);
}

/// A semantic version (semver.org 2.0.0).
pub fn is_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, it)| (text, Some(it)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, it)| (core, Some(it)));
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte == b'-' || byte.is_ascii_alphanumeric())
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| digits(part) && (part.len() == 1 || !part.starts_with('0'));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|it| {
            it.split('.').all(|part| word(part) && (number(part) || !digits(part)))
        })
        && build.is_none_or(|it| it.split('.').all(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_names() {
        for good in ["1.2.3", "0.0.0-a.1+b.01", "1.0.0-0a", "10.20.30"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["1", "1.2", "01.2.3", "1.2.3-01", "1.2.3-", "1.2.3+", "v1.2.3"] {
            assert!(!is_version(bad), "{bad}");
        }
        let check = |format: &str, text: &str| {
            let mut errors = Errors::new();
            check(format, &Path::new("x"), text, &mut errors);
            errors.text()
        };
        assert_eq!(check("full", "example.com/model"), "[]");
        assert!(check("full", "model").contains("must be a domain and a name"));
        assert!(check("pool", "a//b").contains("segment 1: must not be empty"));
        assert_eq!(check("uuid", "123e4567-e89b-12d3-a456-426614174000"), "[]");
        assert!(check("extended", "requests.a/b").contains("must not have \"requests.\" prefix"));
    }
}
