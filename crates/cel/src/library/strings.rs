//! Texts: those of the language, its string extension (version 2), and patterns.
//!
//! Positions are characters, not bytes. Searches are linear in the text.

use std::num::NonZeroUsize;
use std::sync::Arc;

use regex::Regex;

use super::{Function, LARGEST, int, pattern, print, text};
use crate::run::RunError;
use crate::value::{Text, Value, characters};

type Made<'a> = Result<Value<'a>, RunError>;

pub fn find(name: &str) -> Option<Function> {
    Some(match name {
        "contains" => |args| Ok(Value::Bool(text(args, 0)?.contains(text(args, 1)?))),
        "startsWith" => |args| Ok(Value::Bool(text(args, 0)?.starts_with(text(args, 1)?))),
        "endsWith" => |args| Ok(Value::Bool(text(args, 0)?.ends_with(text(args, 1)?))),
        "matches" => matches,
        "find" => find_first,
        "findAll" => find_all,
        "charAt" => char_at,
        "lowerAscii" => |args| Ok(Value::text(text(args, 0)?.to_ascii_lowercase())),
        "upperAscii" => |args| Ok(Value::text(text(args, 0)?.to_ascii_uppercase())),
        "trim" => |args| part(&args[0], |it| it.trim_matches(is_space)),
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "join" => join,
        "format" => print::format,
        "strings.quote" => |args| Ok(Value::text(quoted(text(args, 0)?))),
        "jsonpatch.escapeKey" => {
            |args| Ok(Value::text(text(args, 0)?.replace('~', "~0").replace('/', "~1")))
        }
        _ => return None,
    })
}

/// Go's blanks: those of Unicode, and two more of Latin 1.
fn is_space(it: char) -> bool {
    it.is_whitespace()
}

/// A part of a text, lent if the text is.
fn part<'a>(of: &Value<'a>, cut: impl Fn(&str) -> &str) -> Made<'a> {
    match of {
        Value::Text(Text::Borrowed(it)) => {
            let found = cut(it);
            let start = found.as_ptr() as usize - it.as_ptr() as usize;
            Ok(Value::Text(Text::Borrowed(&it[start..start + found.len()])))
        }
        Value::Text(it) => Ok(Value::text(cut(it.as_str()))),
        _ => Err(RunError::no_overload()),
    }
}

fn matches<'a>(args: &[Value<'a>]) -> Made<'a> {
    let machine = pattern::machine(text(args, 1)?).map_err(RunError::of)?;
    Ok(Value::Bool(machine.is_match(text(args, 0)?)))
}

fn machine(pattern: &str) -> Result<Arc<Regex>, RunError> {
    pattern::machine(pattern).map_err(|error| RunError::of(format!("Illegal regex: {error}")))
}

fn find_first<'a>(args: &[Value<'a>]) -> Made<'a> {
    let found = machine(text(args, 1)?)?.find(text(args, 0)?).map(|it| it.range());
    let range = found.unwrap_or(0..0);
    part(&args[0], |it| &it[range.clone()])
}

fn find_all<'a>(args: &[Value<'a>]) -> Made<'a> {
    let most = match args.get(2) {
        Some(_) => usize::try_from(int(args, 2)?).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let machine = machine(text(args, 1)?)?;
    let found = machine.find_iter(text(args, 0)?).take(most);
    Ok(Value::list(found.map(|it| Value::text(it.as_str())).collect()))
}

fn out_of_range(index: i64) -> RunError {
    RunError::of(format!("index out of range: {index}"))
}

/// Where a character begins; its text's end is the place after the last.
fn place(of: &str, index: i64) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    if of.is_ascii() {
        return (index <= of.len()).then_some(index);
    }
    of.char_indices().map(|it| it.0).chain([of.len()]).nth(index)
}

fn char_at<'a>(args: &[Value<'a>]) -> Made<'a> {
    let index = int(args, 1)?;
    let start = place(text(args, 0)?, index).ok_or_else(|| out_of_range(index))?;
    part(&args[0], |it| {
        let length = it[start..].chars().next().map_or(0, char::len_utf8);
        &it[start..start + length]
    })
}

/// Where a text is found in another, in characters; from an offset on, or back from it.
pub fn index_of(args: &[Value]) -> Result<i64, RunError> {
    let (of, sought) = (text(args, 0)?, text(args, 1)?);
    let offset = if args.len() > 2 { int(args, 2)? } else { 0 };
    if offset < 0 {
        return Err(out_of_range(offset));
    }
    let Some(start) = place(of, offset) else {
        return Ok(if sought.is_empty() { characters(of) as i64 } else { -1 });
    };
    Ok(of[start..].find(sought).map_or(-1, |it| offset + characters(&of[start..start + it]) as i64))
}

pub fn last_index_of(args: &[Value]) -> Result<i64, RunError> {
    let (of, sought) = (text(args, 0)?, text(args, 1)?);
    let length = characters(of) as i64;
    let offset = if args.len() > 2 { int(args, 2)? } else { length };
    if offset < 0 {
        return Err(out_of_range(offset));
    }
    if sought.is_empty() {
        return Ok(offset.min(length));
    }
    if args.len() > 2 && offset >= length {
        return Ok(-1);
    }
    let end = place(of, offset).unwrap_or(of.len()).saturating_add(sought.len()).min(of.len());
    let end = (end..=of.len()).find(|it| of.is_char_boundary(*it)).unwrap_or(of.len());
    let found = of[..end].rfind(sought);
    Ok(found.map_or(-1, |it| characters(&of[..it]) as i64))
}

fn replace<'a>(args: &[Value<'a>]) -> Made<'a> {
    let (of, old, new) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let most = match args.get(3) {
        Some(_) => usize::try_from(int(args, 3)?).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let count = of.matches(old).count().min(most);
    if count.saturating_mul(new.len()).saturating_add(of.len()) > LARGEST {
        return Err(RunError::Cost);
    }
    Ok(Value::text(of.replacen(old, new, count)))
}

fn split<'a>(args: &[Value<'a>]) -> Made<'a> {
    let (of, separator) = (text(args, 0)?, text(args, 1)?);
    let most = match args.get(2) {
        Some(_) => int(args, 2)?,
        None => -1,
    };
    let most = match usize::try_from(most) {
        Ok(most) => match NonZeroUsize::new(most) {
            Some(most) => most.get(),
            None => return Ok(Value::list(Vec::new())),
        },
        Err(_) => usize::MAX,
    };
    let parts: Vec<Value> = if separator.is_empty() {
        let mut parts: Vec<Value> = Vec::new();
        let mut rest = of;
        while let Some(first) = rest.chars().next() {
            let length = if parts.len() + 1 == most { rest.len() } else { first.len_utf8() };
            parts.push(Value::text(&rest[..length]));
            rest = &rest[length..];
        }
        parts
    } else {
        of.splitn(most, separator).map(Value::text).collect()
    };
    Ok(Value::list(parts))
}

fn substring<'a>(args: &[Value<'a>]) -> Made<'a> {
    let (of, start) = (text(args, 0)?, int(args, 1)?);
    let end = if args.len() > 2 { Some(int(args, 2)?) } else { None };
    if let Some(end) = end.filter(|end| start > *end) {
        let message = format!("invalid substring range. start: {start}, end: {end}");
        return Err(RunError::of(message));
    }
    let from = place(of, start).ok_or_else(|| out_of_range(start))?;
    let to = match end {
        Some(end) => place(of, end).ok_or_else(|| out_of_range(end))?,
        None => of.len(),
    };
    part(&args[0], |it| &it[from..to])
}

fn join<'a>(args: &[Value<'a>]) -> Made<'a> {
    let Value::List(list) = &args[0] else { return Err(RunError::no_overload()) };
    let separator = if args.len() > 1 { text(args, 1)? } else { "" };
    let (mut made, mut first) = (String::new(), true);
    list.each(|it| {
        let Some(it) = it.as_text() else {
            return Err(RunError::of(format!("join: invalid input: {it:?}")));
        };
        if made.len() + it.len() + separator.len() > LARGEST {
            return Err(RunError::Cost);
        }
        if !std::mem::take(&mut first) {
            made.push_str(separator);
        }
        made.push_str(it);
        Ok(true)
    })?;
    Ok(Value::text(made))
}

fn quoted(of: &str) -> String {
    let mut made = String::from("\"");
    for it in of.chars() {
        match it {
            '\x07' => made.push_str("\\a"),
            '\x08' => made.push_str("\\b"),
            '\x0c' => made.push_str("\\f"),
            '\n' => made.push_str("\\n"),
            '\r' => made.push_str("\\r"),
            '\t' => made.push_str("\\t"),
            '\x0b' => made.push_str("\\v"),
            '\\' => made.push_str("\\\\"),
            '"' => made.push_str("\\\""),
            other => made.push(other),
        }
    }
    made.push('"');
    made
}
