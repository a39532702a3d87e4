//! Field selectors: `metadata.name=x,spec.nodeName!=y`. Which fields a kind knows is the caller's
//! matter.

use std::fmt;

use super::MAX_SELECTOR_BYTES;

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: String,
    pub value: String,
    /// `!=` instead of `=`.
    pub negated: bool,
}

/// Conditions that must all hold; none at all select everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(pub Vec<FieldRequirement>);

impl FieldSelector {
    /// The selector of a query parameter.
    pub fn parse(text: &str) -> Result<FieldSelector, String> {
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(format!("the selector must be at most {MAX_SELECTOR_BYTES} bytes long"));
        }
        let mut terms = terms(text);
        terms.sort_unstable();
        let mut out = Vec::new();
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let Some((field, negated, value)) = split(term) else {
                return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
            };
            out.push(FieldRequirement {
                field: field.to_string(),
                value: unescape(value)?,
                negated,
            });
        }
        // A term without field and value says nothing.
        out.retain(|it| !(it.field.is_empty() && it.value.is_empty()));
        Ok(FieldSelector(out))
    }

    /// Finds the first field that the kind does not know.
    pub fn check(&self, known: impl Fn(&str) -> bool) -> Result<(), &str> {
        self.0.iter().find(|it| !known(&it.field)).map_or(Ok(()), |it| Err(&it.field))
    }

    /// `field` gives a field's value; one that is not there is the empty string.
    pub fn matches<'l>(&self, field: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.0.iter().all(|it| (field(&it.field).unwrap_or_default() == it.value) != it.negated)
    }

    /// The value that this field must have.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|it| it.field == field && !it.negated).map(|it| it.value.as_str())
    }
}

/// Splits at commas that no backslash escapes.
fn terms(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn split(term: &str) -> Option<(&str, bool, &str)> {
    let at = term
        .find(['=', '!'])
        .filter(|at| term[*at..].starts_with('=') || term[*at..].starts_with("!="));
    let at = match at {
        Some(at) => at,
        // A `!` that is no operator belongs to the field.
        None => (0..term.len()).find(|i| {
            term.is_char_boundary(*i)
                && (term[*i..].starts_with("!=") || term[*i..].starts_with('='))
        })?,
    };
    let (field, rest) = term.split_at(at);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, true, value));
    }
    Some((field, false, rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')).unwrap_or(rest)))
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                next => {
                    let sequence: String = ['\\'].into_iter().chain(next).collect();
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    ));
                }
            },
            ',' | '=' => {
                let code = c as u32;
                return Err(format!(
                    "invalid field selector: unescaped character in value: {code}"
                ));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, it) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let operator = if it.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}", it.field)?;
            for c in it.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}
