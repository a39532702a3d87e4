//! Cuts an expression into tokens (CEL language definition, lexis), in time linear in its length.
//!
//! What is no token is a fault and is passed over, as upstream's scanner does.

use crate::fault::Fault;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Operators, punctuation and the words `in`, `true`, `false`, `null`.
    Sign(&'static str),
    Ident,
    /// In backquotes.
    Escaped,
    Int,
    Uint,
    Float,
    String,
    Bytes,
    End,
}

#[derive(Clone, Copy, Debug)]
pub struct Spot<'t> {
    pub token: Token,
    pub at: usize,
    pub text: &'t str,
}

const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!",
    "?", ":", "+", "*", "/", "%",
];
const WORDS: &[&str] = &["in", "true", "false", "null"];

pub fn tokens<'t>(text: &'t str, faults: &mut Vec<Fault>) -> Vec<Spot<'t>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|it| !it.is_empty()) {
        let (token, length) = next(rest);
        match token {
            Some(token) => found.push(Spot { token, at, text: &rest[..length] }),
            None if blank(rest) > 0 => {}
            None => {
                let message =
                    format!("Syntax error: token recognition error at: '{}'", &rest[..length]);
                faults.push(Fault { at: Some(at), message });
            }
        }
        at += length;
    }
    found.push(Spot { token: Token::End, at: text.len(), text: "<EOF>" });
    found
}

/// The first token of a text, or none for blanks and what is no token; and its length.
fn next(rest: &str) -> (Option<Token>, usize) {
    let bytes = rest.as_bytes();
    if blank(rest) > 0 {
        return (None, blank(rest));
    }
    if let Some(found) = quoted(rest) {
        return match found {
            Ok((token, length)) => (Some(token), length),
            Err(length) => (None, length),
        };
    }
    let first = bytes[0];
    if first.is_ascii_digit() || first == b'.' && bytes.get(1).is_some_and(u8::is_ascii_digit) {
        let (token, length) = number(bytes);
        return (Some(token), length);
    }
    if first.is_ascii_alphabetic() || first == b'_' {
        let length = run(bytes, |it| it.is_ascii_alphanumeric() || it == b'_');
        let word = WORDS.iter().find(|it| **it == &rest[..length]);
        return (Some(word.map_or(Token::Ident, |it| Token::Sign(it))), length);
    }
    if first == b'`' {
        let inner = run(&bytes[1..], |it| it.is_ascii_alphanumeric() || b"_.-/ ".contains(&it));
        if inner > 0 && bytes.get(inner + 1) == Some(&b'`') {
            return (Some(Token::Escaped), inner + 2);
        }
        return (None, wrong(rest, inner + 1));
    }
    match SIGNS.iter().find(|it| rest.starts_with(**it)) {
        Some(sign) => (Some(Token::Sign(sign)), sign.len()),
        None => (None, wrong(rest, 0)),
    }
}

/// What is no token reaches to the character that no token could go on with.
fn wrong(rest: &str, good: usize) -> usize {
    rest[good..].chars().next().map_or(good, |it| good + it.len_utf8())
}

fn run(bytes: &[u8], of: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|it| of(**it)).count()
}

fn blank(rest: &str) -> usize {
    match rest.starts_with("//") {
        true => rest.find('\n').unwrap_or(rest.len()),
        false => run(rest.as_bytes(), |it| b"\t \r\n\x0c".contains(&it)),
    }
}

fn number(bytes: &[u8]) -> (Token, usize) {
    let unsigned = |at: usize| matches!(bytes.get(at), Some(b'u' | b'U'));
    if bytes.starts_with(b"0x") && bytes.get(2).is_some_and(u8::is_ascii_hexdigit) {
        let end = 2 + run(&bytes[2..], |it| it.is_ascii_hexdigit());
        return if unsigned(end) { (Token::Uint, end + 1) } else { (Token::Int, end) };
    }
    let digits = |at: usize| bytes.get(at..).map_or(0, |it| run(it, |it| it.is_ascii_digit()));
    let whole = digits(0);
    let mut end = whole;
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digits(end + 1 + sign) > 0 {
            end += 1 + sign + digits(end + 1 + sign);
        }
    }
    match end == whole {
        false => (Token::Float, end),
        true if unsigned(end) => (Token::Uint, end + 1),
        true => (Token::Int, end),
    }
}

/// A string or bytes, if one begins here; an error with its length if it does not end.
fn quoted(rest: &str) -> Option<Result<(Token, usize), usize>> {
    let bytes = rest.as_bytes();
    let is_bytes = matches!(bytes[0], b'b' | b'B');
    let mut at = usize::from(is_bytes);
    let raw = matches!(bytes.get(at), Some(b'r' | b'R'));
    at += usize::from(raw);
    let quote = *bytes.get(at).filter(|it| matches!(it, b'"' | b'\''))?;
    let token = if is_bytes { Token::Bytes } else { Token::String };
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let close: &[u8] = if triple { &[quote; 3] } else { &[quote] };
    let empty = at + 2;
    at += close.len();
    loop {
        match bytes.get(at) {
            _ if bytes[at.min(bytes.len())..].starts_with(close) => {
                return Some(Ok((token, at + close.len())));
            }
            None if triple => return Some(Ok((token, empty))),
            None => return Some(Err(at)),
            Some(b'\n' | b'\r') if !triple => return Some(Err(at + 1)),
            Some(b'\\') if !raw => match escape(&bytes[at..]) {
                Ok(length) => at += length,
                Err(_) if triple => return Some(Ok((token, empty))),
                Err(length) => return Some(Err(wrong(rest, (at + length).min(rest.len())))),
            },
            Some(_) => at += 1,
        }
    }
}

/// The length of an escape sequence, or how much of one there is.
fn escape(bytes: &[u8]) -> Result<usize, usize> {
    let hex =
        |count: usize| match bytes.get(2..).map_or(0, |it| run(it, |it| it.is_ascii_hexdigit())) {
            found if found >= count => Ok(2 + count),
            found => Err(2 + found),
        };
    match bytes.get(1) {
        Some(
            b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`',
        ) => Ok(2),
        Some(b'x' | b'X') => hex(2),
        Some(b'u') => hex(4),
        Some(b'U') => hex(8),
        Some(b'0'..=b'3') => {
            let found = run(&bytes[2..bytes.len().min(4)], |it| (b'0'..=b'7').contains(&it));
            if found == 2 { Ok(4) } else { Err(2 + found) }
        }
        _ => Err(1),
    }
}

/// What a string or bytes literal stands for; none where it names no character.
pub fn unquote(literal: &str) -> Option<Vec<u8>> {
    let rest = literal.trim_start_matches(['b', 'B']);
    let is_bytes = rest.len() < literal.len();
    let body = rest.trim_start_matches(['r', 'R']);
    let raw = body.len() < rest.len();
    let quote = body.chars().next()?;
    let triple = body.len() >= 6 && body.starts_with(&String::from_iter([quote; 3]));
    let width = if triple { 3 } else { 1 };
    let body = body.get(width..body.len() - width)?.replace("\r\n", "\n").replace('\r', "\n");
    if raw {
        return Some(body.into_bytes());
    }
    let mut made = Vec::with_capacity(body.len());
    let mut rest = body.as_str();
    while let Some(at) = rest.find('\\') {
        made.extend_from_slice(&rest.as_bytes()[..at]);
        let length = escape(&rest.as_bytes()[at..]).ok()?;
        unescape(&rest[at + 1..at + length], is_bytes, &mut made)?;
        rest = &rest[at + length..];
    }
    made.extend_from_slice(rest.as_bytes());
    Some(made)
}

fn unescape(sequence: &str, is_bytes: bool, made: &mut Vec<u8>) -> Option<()> {
    let digits = &sequence[1..];
    let code = match sequence.as_bytes()[0] {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => 10,
        b'r' => 13,
        b't' => 9,
        b'v' => 11,
        b'x' | b'X' => u32::from_str_radix(digits, 16).ok()?,
        b'u' | b'U' if is_bytes => return None,
        b'u' | b'U' => u32::from_str_radix(digits, 16).ok()?,
        b'0'..=b'3' => u32::from_str_radix(sequence, 8).ok()?,
        other => u32::from(other),
    };
    match is_bytes {
        true => made.push(code as u8),
        false => {
            let mut room = [0; 4];
            made.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut room).as_bytes());
        }
    }
    Some(())
}
