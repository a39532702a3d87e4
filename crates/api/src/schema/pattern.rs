//! Regular expressions as Go's `regexp` reads them (its syntax is RE2's, package regexp/syntax), on the engine that is
//! here: the two agree but for a few letters. Inside brackets `[`, `&&`, `--` and `~~` mean themselves; `\d`, `\s`, `\w`
//! and `\b` know ASCII alone; a brace that counts nothing is a brace; `\Q...\E` quotes; `\1` to `\377` are octal.
//!
//! Never here: a search. What both engines refuse is left as it is for the engine to say so.

use regex::{Regex, RegexBuilder};

/// Go's bound of a count.
const MOST_TIMES: u32 = 1000;
/// The names of `[:alpha:]`.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];
/// The bytes of a machine that a schema may ask for: the engine's own bound.
const LARGEST: usize = 10 << 20;

/// The machine for a pattern of a schema.
///
/// # Errors
/// What is wrong with the pattern, as Go says it.
pub fn machine(pattern: &str) -> Result<Regex, String> {
    machine_within(pattern, LARGEST)
}

/// A machine of so many bytes at most; what it remembers of its searches is a quarter of that.
pub fn machine_within(pattern: &str, bytes: usize) -> Result<Regex, String> {
    let compiled =
        |it: String| RegexBuilder::new(&it).size_limit(bytes).dfa_size_limit(bytes / 4).build();
    translated(pattern)
        .and_then(|it| compiled(it).map_err(|error| in_go(pattern, &error.to_string())))
        .map_err(|error| format!("error parsing regexp: {error}"))
}

/// The common mistakes in a pattern as Go names them; others keep the words of our engine.
fn in_go(pattern: &str, error: &str) -> String {
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

/// The pattern as our engine reads it, or what Go alone refuses.
fn translated(pattern: &str) -> Result<String, String> {
    let mut rest = pattern;
    let mut out = String::with_capacity(pattern.len());
    let mut place = Place::Outside;
    while let Some(next) = rest.chars().next() {
        if next == '\\' {
            rest = escape(&rest[1..], place, &mut out);
            place = place.within();
            continue;
        }
        let after = &rest[next.len_utf8()..];
        match (next, place) {
            ('[', Place::Outside) => {
                let negated = after.starts_with('^');
                out.push_str(if negated { "[^" } else { "[" });
                rest = after.strip_prefix('^').unwrap_or(after);
                place = Place::First;
                continue;
            }
            ('[', _) => {
                // The one thing that brackets hold in brackets; else it is a letter.
                let name = after.starts_with(':').then(|| after.find(":]")).flatten();
                if let Some(end) = name {
                    if !CLASSES.contains(&after[1..end].trim_start_matches('^')) {
                        let found = &rest[..end + 3];
                        return Err(format!("invalid character class range: `{found}`"));
                    }
                    out.push_str(&rest[..end + 3]);
                    rest = &rest[end + 3..];
                    place = Place::Inside;
                    continue;
                }
                out.push_str("\\[");
            }
            (']', Place::First) => out.push_str("\\]"),
            (']', Place::Inside) => {
                out.push(']');
                rest = after;
                place = Place::Outside;
                continue;
            }
            ('&' | '~', Place::First | Place::Inside) => out.extend(['\\', next]),
            // A second dash in a row is one of the ends of a range.
            ('-', Place::First | Place::Inside) if out.ends_with('-') => out.push_str("\\-"),
            ('{', Place::Outside) => match count(after) {
                None => out.push_str("\\{"),
                Some(it) if it.split(',').all(|it| it.is_empty() || few(it)) => out.push('{'),
                Some(it) => return Err(format!("invalid repeat count: `{{{it}}}`")),
            },
            (other, _) => out.push(other),
        }
        rest = after;
        place = place.within();
    }
    Ok(out)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Outside,
    /// In brackets, where `]` is a letter still.
    First,
    Inside,
}

impl Place {
    fn within(self) -> Place {
        if self == Place::First { Place::Inside } else { self }
    }
}

/// What is counted where a brace begins `{2}`, `{2,}` or `{2,3}`.
fn count(after: &str) -> Option<&str> {
    let (inner, _) = after.split_once('}')?;
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let is_number = |it: &str| it.bytes().all(|b| b.is_ascii_digit());
    (!least.is_empty() && is_number(least) && is_number(most)).then_some(inner)
}

fn few(times: &str) -> bool {
    times.parse::<u32>().is_ok_and(|it| it <= MOST_TIMES)
}

/// Writes what stands behind a backslash; what is left of the pattern.
fn escape<'a>(rest: &'a str, place: Place, out: &mut String) -> &'a str {
    let Some(next) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let after = &rest[next.len_utf8()..];
    let outside = place == Place::Outside;
    match next {
        'Q' if outside => {
            let (quoted, left) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return left;
        }
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str(r"[\t\n\f\r ]"),
        'S' => out.push_str(r"[^\t\n\f\r ]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'b' if outside => out.push_str(r"(?-u:\b)"),
        'B' if outside => out.push_str(r"(?-u:\B)"),
        '0'..='7' => return octal(rest, out),
        other => out.extend(['\\', other]),
    }
    after
}

/// Up to three octal digits. A single one that is not 0 would refer back, which neither engine does.
fn octal<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let most = rest.len().min(3);
    let digits = rest[..most].bytes().take_while(|b| matches!(b, b'0'..=b'7')).count();
    match u32::from_str_radix(&rest[..digits], 8) {
        Ok(code) if digits > 1 || code == 0 => out.push_str(&format!("\\x{{{code:x}}}")),
        _ => out.extend(["\\", &rest[..digits]]),
    }
    &rest[digits..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern, a text, and what Go answers: whether it matches, or nothing where it refuses the pattern.
    const ASKED: &[(&str, &str, Option<bool>)] = &[
        (r#"^[^()<>@,;:\\"\/[\]?={} \t\x7f\x00]+$"#, "cookie", Some(true)),
        (r#"^[^()<>@,;:\\"\/[\]?={} \t\x7f\x00]+$"#, "a[b", Some(false)),
        ("^[a[b]+$", "[ab", Some(true)),
        ("^[]a]+$", "a]", Some(true)),
        ("^[^]a]$", "]", Some(false)),
        ("^[[:alpha:][]+$", "x[", Some(true)),
        ("^[[:nothing:]]$", "x", None),
        ("^[a&&b]+$", "&", Some(true)),
        ("^[a~~b]+$", "~", Some(true)),
        ("^[+--]+$", "-,", Some(true)),
        ("^[^--]$", "-", Some(false)),
        (r"^\d+$", "٣", Some(false)),
        (r"^[\d]+$", "12", Some(true)),
        (r"^[^\d]+$", "12", Some(false)),
        (r"^[\D]$", "x", Some(true)),
        (r"^\w+$", "é", Some(false)),
        (r"^[\w-]+$", "a-b", Some(true)),
        (r"^\s$", "\u{a0}", Some(false)),
        (r"^\s$", "\u{b}", Some(false)),
        (r"\bé", "é", Some(false)),
        ("^{a}$", "{a}", Some(true)),
        ("^a{,2}$", "a{,2}", Some(true)),
        ("^a{2,}$", "aaa", Some(true)),
        ("^a{2,3}$", "aaaa", Some(false)),
        ("^a{1", "a{1", Some(true)),
        ("^a{1001}$", "a", None),
        ("^[{1001}]$", "{", Some(true)),
        (r"^\Qa.b\E$", "a.b", Some(true)),
        (r"^\Qa.b\E$", "axb", Some(false)),
        (r"^\101$", "A", Some(true)),
        (r"^\0$", "\0", Some(true)),
        (r"^(a)\1$", "aa", None),
        (r"^\pL+$", "é", Some(true)),
        ("(?i)^K$", "\u{212a}", Some(true)),
        ("^[a", "a", None),
        ("a\\", "a", None),
    ];

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, wanted) in ASKED {
            let said = machine(pattern).ok().map(|it| it.is_match(text));
            assert_eq!(said, *wanted, "{pattern} on {text:?}, as {:?}", translated(pattern));
        }
    }
}
