//! The name of a manager who gave none: the program's name from the User-Agent header.

/// Longer names are refused where they are given and cut where they are derived. (API reference,
/// `fieldManager`)
pub const MAX_MANAGER_BYTES: usize = 128;

/// What stands before the first slash, without characters that cannot be printed.
pub fn manager_from_agent(agent: &str) -> String {
    let name = agent.split('/').next().unwrap_or_default();
    let mut out = String::with_capacity(name.len().min(MAX_MANAGER_BYTES));
    for c in name.chars().filter(|c| is_printable(*c)) {
        if out.len() + c.len_utf8() > MAX_MANAGER_BYTES {
            break;
        }
        out.push(c);
    }
    out
}

/// Letters, marks, numbers, punctuation, symbols and the plain space, as far as the standard
/// library can tell.
fn is_printable(c: char) -> bool {
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "x".repeat(200);
        let cases = [
            ("kubectl/v1.37.0 (linux/amd64)", "kubectl"),
            ("Mozilla 5.0", "Mozilla 5.0"),
            ("a\tb\u{7}c/d", "abc"),
            ("", ""),
            (long.as_str(), &long[..128]),
        ];
        for (agent, name) in cases {
            assert_eq!(manager_from_agent(agent), name, "{agent:?}");
        }
    }
}
