//! What a label's key and value may look like, and what is said when they do not.

const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";

/// Names and values of labels are at most this long; a key's prefix may have the length of a domain
/// name.
const MAX_NAME_BYTES: usize = 63;
const MAX_PREFIX_BYTES: usize = 253;

fn regex_problem(what: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|it| format!("'{it}'")).collect();
    format!("{what} (e.g. {}, regex used for validation is '{regex}')", examples.join(",  or "))
}

/// A letter or digit at both ends, and besides these `-`, `_` and `.` in between.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|label| {
        let bytes = label.as_bytes();
        let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        bytes.first().is_some_and(plain)
            && bytes.last().is_some_and(plain)
            && bytes.iter().all(|b| plain(b) || *b == b'-')
    })
}

/// Everything that is wrong with a label's key; nothing when it is valid.
pub fn label_key_problems(key: &str) -> Vec<String> {
    let what = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                with an alphanumeric character";
    let examples = ["MyName", "my.name", "123-abc"];
    let mut out = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_string());
            } else {
                if prefix.len() > MAX_PREFIX_BYTES {
                    out.push(format!("prefix part must be no more than {MAX_PREFIX_BYTES} bytes"));
                }
                if !is_subdomain(prefix) {
                    let what = "a lowercase RFC 1123 subdomain must consist of lower case \
                                alphanumeric characters, '-' or '.', and must start and end \
                                with an alphanumeric character";
                    out.push(format!(
                        "prefix part {}",
                        regex_problem(what, SUBDOMAIN, &["example.com"])
                    ));
                }
            }
            name
        }
        _ => {
            let problem = regex_problem(&format!("a valid label key {what}"), KEY, &examples);
            let tail = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("{problem} {tail}")];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_string());
    } else if name.len() > MAX_NAME_BYTES {
        out.push(format!("name part must be no more than {MAX_NAME_BYTES} bytes"));
    }
    if !is_name(name) {
        out.push(format!("name part {}", regex_problem(what, KEY, &examples)));
    }
    out
}

/// Everything that is wrong with a label's value; nothing when it is valid.
pub fn label_value_problems(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > MAX_NAME_BYTES {
        out.push(format!("must be no more than {MAX_NAME_BYTES} bytes"));
    }
    if !value.is_empty() && !is_name(value) {
        let what = "a valid label must be an empty string or consist of alphanumeric characters, \
                    '-', '_' or '.', and must start and end with an alphanumeric character";
        out.push(regex_problem(what, &format!("({KEY})?"), &["MyValue", "my_value", "12345"]));
    }
    out
}
