//! Patterns as schemas and expressions write them, and what is wrong with one in Go's words.

use regex::Regex;

/// The machine of a pattern, or Go's error.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern)
        .map_err(|error| format!("error parsing regexp: {}", go_error(pattern, &error.to_string())))
}

/// The common mistakes in a pattern as Go names them; others keep the words of our engine.
fn go_error(pattern: &str, error: &str) -> String {
    let last = error.lines().last().unwrap_or(error).trim_start_matches("error: ");
    let after = |mark: &str| pattern.find(mark).map_or(pattern, |at| &pattern[at..]);
    match last {
        it if it.starts_with("unclosed group") => format!("missing closing ): `{pattern}`"),
        it if it.starts_with("unopened group") => format!("unexpected ): `{pattern}`"),
        it if it.starts_with("unclosed character class") => {
            format!("missing closing ]: `{}`", after("["))
        }
        it if it.starts_with("look-around") => {
            let found = after("(?");
            let width = if found.starts_with("(?<") { 4 } else { 3 };
            let found: String = found.chars().take(width).collect();
            format!("invalid or unsupported Perl syntax: `{found}`")
        }
        other => other.to_string(),
    }
}
