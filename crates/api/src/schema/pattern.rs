//! Regular expressions as Go's `regexp` reads them (its syntax is RE2's, package regexp/syntax), on the engine that is
//! here: the two agree but for a few letters. Inside brackets `[`, `&&`, `--` and `~~` mean themselves; `\d`, `\s`,
//! `\w` and `\b` know ASCII alone; a brace that counts nothing is a brace; `\Q...\E` quotes; `\1` to `\377` are octal;
//! an operator that repeats follows no other.
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
    let (mut rest, mut repeats) = (pattern, Repeats::default());
    let mut out = String::with_capacity(pattern.len());
    while let Some(next) = rest.chars().next() {
        let (operator, after) = (operator(rest)?, &rest[next.len_utf8()..]);
        repeats.follow(operator)?;
        rest = match next {
            _ if !operator.is_empty() => {
                out.push_str(operator);
                &rest[operator.len()..]
            }
            '\\' => escape(after, Place::Outside, &mut out),
            '[' => brackets(after, &mut out)?,
            other => {
                out.push_str(if other == '{' { "\\" } else { "" });
                out.push(other);
                after
            }
        };
    }
    Ok(out)
}

/// The operator that a pattern begins with, if it is one that repeats.
fn operator(rest: &str) -> Result<&str, String> {
    let few = |it: &str| it.is_empty() || it.parse::<u32>().is_ok_and(|it| it <= MOST_TIMES);
    match rest.as_bytes()[0] {
        b'*' | b'+' | b'?' => Ok(&rest[..1]),
        b'{' => match count(&rest[1..]) {
            None => Ok(""),
            Some(it) if it.split(',').all(few) => Ok(&rest[..it.len() + 2]),
            Some(it) => Err(format!("invalid repeat count: `{{{it}}}`")),
        },
        _ => Ok(""),
    }
}

/// The operators that repeat what stands before them; Go takes one, and `?` behind it.
#[derive(Default)]
struct Repeats<'p>(Vec<&'p str>);

impl<'p> Repeats<'p> {
    fn follow(&mut self, operator: &'p str) -> Result<(), String> {
        match (operator, self.0.as_slice()) {
            ("", _) => self.0.clear(),
            (_, []) | ("?", [_]) => self.0.push(operator),
            (_, before) => {
                let all = before.concat() + operator;
                return Err(format!("invalid nested repetition operator: `{all}`"));
            }
        }
        Ok(())
    }
}

/// Writes what stands behind an opening bracket; what is left of the pattern.
fn brackets<'a>(after: &'a str, out: &mut String) -> Result<&'a str, String> {
    let negated = after.starts_with('^');
    out.push_str(if negated { "[^" } else { "[" });
    let (mut rest, mut first) = (&after[usize::from(negated)..], true);
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        rest = after;
        match next {
            '\\' => rest = escape(after, Place::Inside, out),
            ']' if !first => {
                out.push(']');
                return Ok(rest);
            }
            // The one thing that brackets hold in brackets; else it is a letter.
            '[' => match after.strip_prefix(':').and_then(|it| it.split_once(":]")) {
                Some((name, left)) if CLASSES.contains(&name.trim_start_matches('^')) => {
                    out.push_str(&format!("[:{name}:]"));
                    rest = left;
                }
                Some((name, _)) => {
                    return Err(format!("invalid character class range: `[:{name}:]`"));
                }
                None => out.push_str("\\["),
            },
            ']' | '&' | '~' => out.extend(['\\', next]),
            // A second dash in a row is one of the ends of a range.
            '-' if out.ends_with('-') => out.push_str("\\-"),
            other => out.push(other),
        }
        first = false;
    }
    Ok(rest)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Outside,
    /// In brackets.
    Inside,
}

/// What is counted where a brace begins `{2}`, `{2,}` or `{2,3}`.
fn count(after: &str) -> Option<&str> {
    let (inner, _) = after.split_once('}')?;
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let is_number = |it: &str| it.bytes().all(|b| b.is_ascii_digit());
    (!least.is_empty() && is_number(least) && is_number(most)).then_some(inner)
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
        ("a**", "a", None),
        ("a{2}+", "a", None),
        ("^a+?$", "aa", Some(true)),
        ("^a{2}?$", "aa", Some(true)),
        ("^a???$", "a", None),
        ("^[*]*$", "**", Some(true)),
        (r"^\**$", "**", Some(true)),
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
