//! Trees as YAML, in the style users know from `kubectl get -o yaml`: block style, lists flush with
//! their key.

use skiff_json::Value;

use crate::json::float;

/// The value as a YAML document.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut out, value, 0, false),
        Value::Array(items) if !items.is_empty() => block(&mut out, value, 0, false),
        other => {
            scalar(&mut out, other, 0);
            out.push('\n');
        }
    }
    out
}

/// Writes a container that is not empty. `inline`: the cursor stands behind `- `.
fn block(out: &mut String, value: &Value, indent: usize, mut inline: bool) {
    let margin = |out: &mut String, inline: &mut bool| {
        if !std::mem::take(inline) {
            out.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                margin(out, &mut inline);
                text(out, key);
                out.push(':');
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        out.push('\n');
                        block(out, value, indent + 2, false);
                    }
                    Value::Array(items) if !items.is_empty() => {
                        out.push('\n');
                        block(out, value, indent, false);
                    }
                    other => {
                        out.push(' ');
                        scalar(out, other, indent);
                        out.push('\n');
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                margin(out, &mut inline);
                out.push_str("- ");
                match item {
                    Value::Object(map) if !map.is_empty() => block(out, item, indent + 2, true),
                    Value::Array(items) if !items.is_empty() => block(out, item, indent + 2, true),
                    other => {
                        scalar(out, other, indent);
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(value) if value.contains('\n') && is_literal(value) => {
            literal(out, value, indent)
        }
        Value::String(value) => text(out, value),
        Value::Number(number) if number.is_f64() => {
            out.push_str(&float(number.as_f64().unwrap_or_default()));
        }
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        other => out.push_str(&other.to_string()),
    }
}

/// Can the text stand as it is below a `|`?
fn is_literal(text: &str) -> bool {
    !text.starts_with([' ', '\n', '\t'])
        && !text.lines().any(|line| line.ends_with(' '))
        && text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control() && c != '\u{feff}')
}

fn literal(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    out.push('|');
    match text.len() - body.len() {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent + 2));
            out.push_str(line);
        }
    }
}

fn text(out: &mut String, text: &str) {
    if text.chars().any(|c| c.is_control() || c == '\u{feff}') || means_something(text) {
        out.push_str(&Value::String(text.to_string()).to_string());
    } else if is_plain(text) {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

/// Would a reader of YAML 1.1 take the bare text for something else than a string?
fn means_something(text: &str) -> bool {
    let words = ["", "~", "null", "true", "false", "=", "<<"];
    // There are readers, this one among them, to which the case of such a word is nothing.
    let lower = text.to_ascii_lowercase();
    if words.contains(&&*lower) || super::word(&lower).is_some() {
        return true;
    }
    let first = text.trim_start_matches(['+', '-']);
    // A group of hexadecimal digits before a dash is no year: a UID is plain.
    let day = text.split('-').next().is_none_or(|year| year.chars().all(|c| c.is_ascii_digit()));
    (day || !text.contains('-'))
        && text != "."
        && first.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && first.chars().all(|c| {
            c.is_ascii_hexdigit() || "xXob_.:eE+-TtZz ".contains(c) || c == 'n' || c == 'i'
        })
}

fn is_plain(text: &str) -> bool {
    !text.starts_with(|c: char| "!&*-?[]{}|>@`\"'%#,: ".contains(c) && !is_dash_word(text))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
}

/// A dash or question mark begins a plain text when no space follows.
fn is_dash_word(text: &str) -> bool {
    text.starts_with(['-', '?', ':'])
        && text.chars().nth(1).is_some_and(|c| c != ' ' && c != ',')
        && !text.starts_with("---")
}
