//! URLs as Go reads them (Kubernetes' `url`): absolute, or a path from the root.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Function, text};
use crate::run::RunError;
use crate::value::{Key, Map, Value};

pub struct Url {
    pub text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub fn find(name: &str) -> Option<Function> {
    Some(match name {
        "url" => |args| {
            let found = parse(text(args, 0)?).map_err(|error| {
                RunError::of(format!("URL parse error during conversion from string: {error}"))
            })?;
            Ok(Value::Url(Arc::new(found)))
        },
        "isURL" => |args| Ok(Value::Bool(parse(text(args, 0)?).is_ok())),
        "getScheme" => |args| Ok(Value::text(url(args)?.scheme.as_str())),
        "getHost" => |args| Ok(Value::text(url(args)?.host.as_str())),
        "getHostname" => |args| Ok(Value::text(split_port(&url(args)?.host).0)),
        "getPort" => |args| Ok(Value::text(split_port(&url(args)?.host).1)),
        "getEscapedPath" => |args| Ok(Value::text(escaped(&url(args)?.path))),
        "getQuery" => |args| Ok(query(&url(args)?.query)),
        _ => return None,
    })
}

fn url<'v>(args: &'v [Value]) -> Result<&'v Url, RunError> {
    match args.first() {
        Some(Value::Url(it)) => Ok(it),
        _ => Err(RunError::no_overload()),
    }
}

/// Go's error of a text that is no URL of a request.
pub fn parse(raw: &str) -> Result<Url, String> {
    let failed = |why: &str| format!("parse {raw:?}: {why}");
    if raw.bytes().any(|it| it < b' ' || it == 0x7f) {
        return Err(failed("net/url: invalid control character in URL"));
    }
    if raw.is_empty() {
        return Err(failed("empty url"));
    }
    let (scheme, rest) = scheme(raw).map_err(|why| failed(&why))?;
    let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        let relative = scheme.is_empty() || !rest.contains('/') && rest.is_empty();
        return match relative || scheme.is_empty() {
            true => Err(failed("invalid URI for request")),
            false => Ok(made(raw, scheme, "", "", query)),
        };
    }
    let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
        None => ("", rest),
    };
    if let Some(why) = bad_escape(path).or_else(|| bad_escape(host)) {
        return Err(failed(&format!("invalid URL escape {why:?}")));
    }
    let host = host.rsplit_once('@').map_or(host, |it| it.1);
    check_host(host).map_err(|why| failed(&why))?;
    Ok(made(raw, scheme, host, path, query))
}

fn made(raw: &str, scheme: &str, host: &str, path: &str, query: &str) -> Url {
    Url {
        text: raw.to_string(),
        scheme: scheme.to_lowercase(),
        host: host.to_string(),
        path: path.to_string(),
        query: query.to_string(),
    }
}

fn scheme(raw: &str) -> Result<(&str, &str), String> {
    for (at, it) in raw.char_indices() {
        match it {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_string()),
            ':' => return Ok((&raw[..at], &raw[at + 1..])),
            _ => break,
        }
    }
    let first = raw.split(['/', '?', '#']).next().unwrap_or_default();
    match first.contains(':') && !raw.starts_with('/') {
        true => Err("first path segment in URL cannot contain colon".to_string()),
        false => Ok(("", raw)),
    }
}

fn bad_escape(path: &str) -> Option<&str> {
    path.match_indices('%').find_map(|(at, _)| {
        let bytes = path.as_bytes();
        let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        let end = (at + 3).min(path.len());
        let end = (end..=path.len()).find(|it| path.is_char_boundary(*it)).unwrap_or(path.len());
        (!hex(at + 1) || !hex(at + 2)).then(|| &path[at..end])
    })
}

fn check_host(host: &str) -> Result<(), String> {
    if let Some(after) = host.strip_prefix('[') {
        let Some((_, port)) = after.rsplit_once(']') else {
            return Err("missing ']' in host".to_string());
        };
        return check_port(port);
    }
    if let Some(it) = host.chars().find(|it| " <>\"\\^`{}|".contains(*it)) {
        return Err(format!("invalid character {:?} in host name", it.to_string()));
    }
    match host.rfind(':') {
        Some(at) => check_port(&host[at..]),
        None => Ok(()),
    }
}

fn check_port(port: &str) -> Result<(), String> {
    let digits = port.strip_prefix(':').is_some_and(|it| it.bytes().all(|it| it.is_ascii_digit()));
    match port.is_empty() || digits {
        true => Ok(()),
        false => Err(format!("invalid port {port:?} after host")),
    }
}

fn split_port(host: &str) -> (&str, &str) {
    let (name, port) = match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => (&host[..at], &host[at + 1..]),
        _ => (host, ""),
    };
    let name = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name);
    (name, port)
}

/// The path as it is written in a request.
fn escaped(path: &str) -> String {
    let mut made = String::new();
    for it in path.bytes() {
        match it {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => made.push(it as char),
            _ if b"-_.~$&+,/:;=@!'()*%[]".contains(&it) => made.push(it as char),
            _ => made.push_str(&format!("%{it:02X}")),
        }
    }
    made
}

fn query<'a>(query: &str) -> Value<'a> {
    let mut found: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
    for pair in query.split('&').filter(|it| !it.is_empty() && !it.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (decoded(key), decoded(value)) {
            found.entry(Key::Text(Cow::Owned(key))).or_default().push(Value::text(value));
        }
    }
    let found = found.into_iter().map(|(key, all)| (key, Value::list(all))).collect();
    Value::Map(Map::Owned(Arc::new(found)))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex = std::str::from_utf8(after.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(hex, 16).ok()?);
                rest = &after[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}
