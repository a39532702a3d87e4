//! The grammar of JSONPath templates.

use skiff_json::Value;

use super::{Filter, JsonPath, MAX_FILTER_DEPTH, MAX_PATH_BYTES, Part, Slice, Step};

pub(super) fn template(text: &str) -> Result<JsonPath, String> {
    if text.len() > MAX_PATH_BYTES {
        return Err(format!("the path must be at most {MAX_PATH_BYTES} bytes long"));
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_string()));
        }
        let end = closing(&rest[at + 1..]).ok_or("unclosed action")?;
        let action = &rest[at + 1..at + 1 + end];
        parts.push(match quoted(action.trim()) {
            Some((text, "")) => Part::Text(text),
            _ => Part::Path(path(action.trim(), 0)?),
        });
        rest = &rest[at + end + 2..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_string()));
    }
    Ok(JsonPath { parts })
}

/// Where the brace closes that was opened before `text`; braces in quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Some(i),
            _ => {}
        }
    }
    None
}

/// A quoted text at the start, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut out = String::new();
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            c if escaped => {
                out.push(match c {
                    'n' => '\n',
                    't' => '\t',
                    c => c,
                });
                escaped = false;
            }
            '\\' => escaped = true,
            c if c == quote => return Some((out, &text[i + 1..])),
            c => out.push(c),
        }
    }
    None
}

fn path(text: &str, depth: usize) -> Result<Vec<Step>, String> {
    if depth > MAX_FILTER_DEPTH {
        return Err("filters are nested too deeply".to_string());
    }
    let mut steps = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            '$' | '@' | ' ' => rest = &rest[1..],
            '.' if rest.starts_with("..") => {
                steps.push(Step::Descend);
                rest = &rest[1..];
                if rest[1..].starts_with('[') || rest.len() == 1 {
                    rest = &rest[1..];
                }
            }
            '.' => {
                let (name, after) = word(&rest[1..]);
                rest = after;
                match name.as_str() {
                    "" => {}
                    "*" => steps.push(Step::Wildcard),
                    _ => steps.push(Step::Field(name)),
                }
            }
            '[' => {
                let end = bracket(rest).ok_or("unterminated array")?;
                steps.push(subscript(&rest[1..end], depth)?);
                rest = &rest[end + 1..];
            }
            '"' | '\'' => {
                let (text, after) = quoted(rest).ok_or("unterminated quoted string")?;
                steps.push(Step::Literal(Value::String(text)));
                rest = after;
            }
            '*' => {
                steps.push(Step::Wildcard);
                rest = &rest[1..];
            }
            _ => {
                let (name, after) = word(rest);
                if name.is_empty() {
                    return Err(format!(
                        "unrecognized character in action: U+{:04X} {first:?}",
                        first as u32
                    ));
                }
                steps.push(literal(&name)?);
                rest = after;
            }
        }
    }
    Ok(steps)
}

fn literal(name: &str) -> Result<Step, String> {
    if let Ok(number) = name.parse::<i64>() {
        return Ok(Step::Literal(number.into()));
    }
    if name.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-')) {
        return match name.parse::<f64>() {
            Ok(number) => Ok(Step::Literal(number.into())),
            Err(_) => Err(format!("cannot parse number {name}")),
        };
    }
    Ok(match name {
        "true" => Step::Literal(true.into()),
        "false" => Step::Literal(false.into()),
        _ => Step::Word(name.to_string()),
    })
}

/// A name up to the next character that means something; a backslash takes the meaning away.
fn word(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut escaped = false;
    // A number may have a point in it.
    let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'));
    for (i, c) in text.char_indices() {
        match c {
            c if escaped => {
                out.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '.' if number
                && out.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-')) =>
            {
                out.push('.')
            }
            '.' | '[' | ']' | '$' | '@' | '{' | '}' | ' ' | '\t' | '\n' | '"' | '\'' | ',' => {
                return (out, &text[i..]);
            }
            c => out.push(c),
        }
    }
    (out, "")
}

/// Where the bracket at the start closes; brackets in quotes and inner brackets do not count.
fn bracket(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

fn subscript(text: &str, depth: usize) -> Result<Step, String> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filter(inner, depth);
    }
    let whole = Slice { start: None, end: None, step: None, single: false };
    if text == "*" {
        return Ok(Step::Slice(whole));
    }
    let invalid = || format!("invalid array index {text}");
    if text.starts_with('?') || text.starts_with('(') || text.is_empty() {
        return Err(invalid());
    }
    let parts = commas(text);
    if parts.len() > 1 {
        let paths = parts.iter().map(|part| subscript(part, depth + 1).map(|step| vec![step]));
        return Ok(Step::Union(paths.collect::<Result<_, _>>()?));
    }
    if text.starts_with(['"', '\'']) {
        let (key, rest) = quoted(text).ok_or("unterminated quoted string")?;
        if !rest.is_empty() {
            return Err(invalid());
        }
        // A key in quotes is read as a path, so that a point in it still separates fields.
        let steps = path(&format!(".{key}"), depth + 1)?;
        return Ok(match <[Step; 1]>::try_from(steps) {
            Ok([step]) => step,
            Err(steps) => Step::Union(vec![steps]),
        });
    }
    let mut bounds = [None; 3];
    let numbers: Vec<&str> = text.split(':').collect();
    if numbers.len() > 3 {
        return Err(invalid());
    }
    for (bound, number) in bounds.iter_mut().zip(&numbers) {
        if !number.is_empty() {
            *bound = Some(number.parse().map_err(|_| invalid())?);
        }
    }
    let [start, end, step] = bounds;
    Ok(Step::Slice(Slice { start, end, step, single: numbers.len() == 1 }))
}

/// Splits at commas outside quotes.
fn commas(text: &str) -> Vec<&str> {
    let (mut out, mut start, mut quote) = (Vec::new(), 0, None);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ',') => {
                out.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(text[start..].trim());
    out
}

fn filter(text: &str, depth: usize) -> Result<Step, String> {
    let operator = |c: char| matches!(c, '!' | '<' | '>' | '=');
    let mut quote = None;
    let at = text.char_indices().find(|(_, c)| match quote {
        Some(open) => {
            if *c == open {
                quote = None;
            }
            false
        }
        None => {
            if matches!(c, '"' | '\'') {
                quote = Some(*c);
            }
            operator(*c)
        }
    });
    let Some((at, _)) = at.filter(|(at, _)| *at > 0) else {
        return Ok(Step::Filter(Box::new(Filter {
            left: path(text.trim(), depth + 1)?,
            right: None,
        })));
    };
    let (left, rest) = text.split_at(at);
    let right = rest.trim_start_matches(operator);
    let operator = rest[..rest.len() - right.len()].to_string();
    let right = Some((operator, path(right.trim(), depth + 1)?));
    Ok(Step::Filter(Box::new(Filter { left: path(left.trim(), depth + 1)?, right })))
}
