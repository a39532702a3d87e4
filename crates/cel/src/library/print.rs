//! `format`: `%s %d %f %e %b %x %X %o` over a list of arguments (CEL's string extension).

use super::LARGEST;
use super::convert::{double_text, to_text};
use crate::run::RunError;
use crate::types::Type;
use crate::value::Value;

/// Digits after the point, if the clause does not say.
const PRECISION: usize = 6;
/// The most digits that a clause may ask for.
const MOST_DIGITS: usize = 100;

pub fn format<'a>(args: &[Value<'a>]) -> Result<Value<'a>, RunError> {
    let template = super::text(args, 0)?;
    let Some(Value::List(list)) = args.get(1) else { return Err(RunError::no_overload()) };
    let mut made = String::new();
    let (mut next, mut rest) = (0, template);
    while let Some(at) = rest.find('%') {
        made.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            made.push('%');
            rest = after;
            continue;
        }
        let (precision, after) = precision(rest)?;
        let Some(verb) = after.chars().next() else {
            return Err(RunError::of("unexpected end of string"));
        };
        rest = &after[verb.len_utf8()..];
        let arg =
            list.get(next).ok_or_else(|| RunError::of(format!("index {next} out of range")))??;
        next += 1;
        clause(verb, precision, &arg, &mut made)?;
        if made.len() > LARGEST {
            return Err(RunError::Cost);
        }
    }
    made.push_str(rest);
    Ok(Value::text(made))
}

/// `.3` before a verb.
fn precision(text: &str) -> Result<(Option<usize>, &str), RunError> {
    let Some(after) = text.strip_prefix('.') else { return Ok((None, text)) };
    let end = after.find(|it: char| !it.is_ascii_digit()).unwrap_or(after.len());
    if end == after.len() {
        return Err(RunError::of("could not find end of precision specifier"));
    }
    match after[..end].parse() {
        Ok(found) if found <= MOST_DIGITS => Ok((Some(found), &after[end..])),
        Ok(_) => Err(RunError::of(format!("precision exceeds maximum of {MOST_DIGITS}"))),
        Err(_) => Err(RunError::of("error while converting precision to integer")),
    }
}

fn clause(
    verb: char,
    precision: Option<usize>,
    arg: &Value,
    made: &mut String,
) -> Result<(), RunError> {
    let digits = precision.unwrap_or(PRECISION);
    match (verb, arg) {
        ('s', it) => plain(it, made)?,
        ('d', Value::Int(it)) => made.push_str(&it.to_string()),
        ('d', Value::Uint(it)) => made.push_str(&it.to_string()),
        ('f', it) => made.push_str(&special(number(it, verb)?, |it| format!("{it:.digits$}"))),
        ('e', it) => made.push_str(&special(number(it, verb)?, |it| scientific(it, digits))),
        ('b', Value::Bool(it)) => made.push(if *it { '1' } else { '0' }),
        ('b', Value::Int(it)) => made.push_str(&signed(*it, |it| format!("{it:b}"))),
        ('b', Value::Uint(it)) => made.push_str(&format!("{it:b}")),
        ('o', Value::Int(it)) => made.push_str(&signed(*it, |it| format!("{it:o}"))),
        ('o', Value::Uint(it)) => made.push_str(&format!("{it:o}")),
        ('x', it) => made.push_str(&hex(it)?),
        ('X', it) => made.push_str(&hex(it)?.to_uppercase()),
        ('d' | 'b' | 'o', it) => return Err(wrong(verb, it)),
        (other, _) => return Err(RunError::of(unrecognized(other))),
    }
    Ok(())
}

/// Whether a template can be written with arguments of these types: how many it asks for, or what is
/// wrong and with which.
pub fn check(template: &str, given: &[&Type]) -> Result<usize, (Option<usize>, String)> {
    let (mut next, mut rest) = (0, template);
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return Err((None, "unexpected end of string".to_string()));
        }
        let Some(kind) = given.get(next) else {
            return Err((None, format!("index {next} out of range")));
        };
        let (_, after) = precision(rest).map_err(|error| (None, error.to_string()))?;
        let verb = after.chars().next().unwrap_or_default();
        rest = &after[verb.len_utf8()..];
        if !"sdfebxXo".contains(verb) {
            return Err((None, unrecognized(verb)));
        }
        if !takes(verb, kind) {
            let name = kind.to_string();
            let name = match name.split('(').next().unwrap_or_default() {
                "duration" => "google.protobuf.Duration",
                "timestamp" => "google.protobuf.Timestamp",
                "null" => "null_type",
                other => other,
            };
            let why = format!("error during formatting: {}, was given {name}", demand(verb));
            return Err((Some(next), why));
        }
        next += 1;
    }
    Ok(next)
}

fn takes(verb: char, kind: &Type) -> bool {
    match verb {
        _ if matches!(kind, Type::Dyn) => true,
        's' => !matches!(kind, Type::Object(..) | Type::Opaque(..)),
        'd' | 'o' => matches!(kind, Type::Int | Type::Uint),
        'f' | 'e' => matches!(kind, Type::Double | Type::String),
        'b' => matches!(kind, Type::Int | Type::Uint | Type::Bool),
        _ => matches!(kind, Type::Int | Type::Uint | Type::String | Type::Bytes),
    }
}

fn unrecognized(verb: char) -> String {
    format!("could not parse formatting clause: unrecognized formatting clause \"{verb}\"")
}

/// What a verb asks of its argument.
fn demand(verb: char) -> &'static str {
    match verb {
        'd' => "decimal clause can only be used on integers",
        'b' => "only integers and bools can be formatted as binary",
        'o' => "octal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'x' | 'X' => "only integers, byte buffers, and strings can be formatted as hex",
        _ => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, \
             types, durations, and timestamps"
        }
    }
}

fn wrong(verb: char, it: &Value) -> RunError {
    let was = it.type_name();
    RunError::of(format!("error during formatting: {}, was given {was}", demand(verb)))
}

fn signed(it: i64, write: impl Fn(u64) -> String) -> String {
    let sign = if it < 0 { "-" } else { "" };
    format!("{sign}{}", write(it.unsigned_abs()))
}

fn number(it: &Value, verb: char) -> Result<f64, RunError> {
    match it {
        Value::Double(it) => Ok(*it),
        Value::Text(text) if text.as_str() == "NaN" => Ok(f64::NAN),
        Value::Text(text) if text.as_str() == "Infinity" => Ok(f64::INFINITY),
        Value::Text(text) if text.as_str() == "-Infinity" => Ok(f64::NEG_INFINITY),
        other => Err(wrong(verb, other)),
    }
}

fn special(it: f64, write: impl Fn(f64) -> String) -> String {
    match it {
        _ if it.is_nan() => "NaN".to_string(),
        _ if it.is_infinite() => if it > 0.0 { "\u{221e}" } else { "-\u{221e}" }.to_string(),
        _ => write(it),
    }
}

fn scientific(it: f64, digits: usize) -> String {
    let text = format!("{it:.digits$e}");
    let (number, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(it) => ('-', it),
        None => ('+', exponent),
    };
    format!("{number}\u{d7}10{}", superscript(sign, exponent))
}

/// The exponent as the language's printer sets it.
fn superscript(sign: char, digits: &str) -> String {
    let mut made = String::new();
    if sign == '-' {
        made.push('\u{207b}');
    }
    let digits = format!("{digits:0>2}");
    for it in digits.chars() {
        made.push(match it {
            '1' => '\u{b9}',
            '2' => '\u{b2}',
            '3' => '\u{b3}',
            other => char::from_u32(0x2070 + other.to_digit(10).unwrap_or(0)).unwrap_or(other),
        });
    }
    made
}

fn hex(it: &Value) -> Result<String, RunError> {
    let bytes = |it: &[u8]| it.iter().map(|it| format!("{it:02x}")).collect();
    Ok(match it {
        Value::Int(it) => signed(*it, |it| format!("{it:x}")),
        Value::Uint(it) => format!("{it:x}"),
        Value::Text(it) => bytes(it.as_str().as_bytes()),
        Value::Bytes(it) => bytes(it),
        other => return Err(wrong('x', other)),
    })
}

/// What `%s` writes.
fn plain(it: &Value, made: &mut String) -> Result<(), RunError> {
    match it {
        Value::Null => made.push_str("null"),
        Value::List(_) | Value::Map(_) => literal(it, made)?,
        Value::Double(it) => made.push_str(&double_text(*it)),
        Value::Text(it) => made.push_str(it.as_str()),
        Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Bytes(_)
        | Value::Duration(_)
        | Value::Time(_)
        | Value::Type(_) => made.push_str(&to_text(it)?),
        other => return Err(wrong('s', other)),
    }
    Ok(())
}

/// A value within a list or a map: as the language would write it.
fn literal(it: &Value, made: &mut String) -> Result<(), RunError> {
    if made.len() > LARGEST {
        return Err(RunError::Cost);
    }
    match it {
        Value::List(list) => {
            made.push('[');
            let mut first = true;
            list.each(|it| {
                if !std::mem::take(&mut first) {
                    made.push_str(", ");
                }
                literal(&it, made).map(|()| true)
            })?;
            made.push(']');
        }
        Value::Map(map) => {
            let mut pairs = Vec::new();
            for (key, value) in map.entries()? {
                let (mut name, mut text) = (String::new(), String::new());
                literal(&key.into_value(), &mut name)?;
                literal(&value?, &mut text)?;
                pairs.push((name, text));
            }
            pairs.sort();
            let pairs: Vec<String> = pairs.into_iter().map(|(k, v)| format!("{k}:{v}")).collect();
            made.push_str(&format!("{{{}}}", pairs.join(", ")));
        }
        Value::Text(it) => made.push_str(&format!("{:?}", it.as_str())),
        Value::Bytes(it) => made.push_str(&format!("b{:?}", String::from_utf8_lossy(it))),
        Value::Duration(_) => made.push_str(&format!("duration({:?})", to_text(it)?)),
        Value::Time(_) => made.push_str(&format!("timestamp({:?})", to_text(it)?)),
        Value::Double(it) if it.is_nan() => made.push_str("\"NaN\""),
        Value::Double(it) if it.is_infinite() => {
            made.push_str(if *it > 0.0 { "\"+Inf\"" } else { "\"-Inf\"" });
        }
        Value::Double(it) => made.push_str(&format!("{it:.PRECISION$}")),
        other => plain(other, made)?,
    }
    Ok(())
}
