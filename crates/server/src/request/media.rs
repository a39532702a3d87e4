//! In what a body says that it is written, and whether that is read here (RFC 9110 section 8.3).

use super::Request;
use skiff_api::Status;
use skiff_api::kind::Verb;
use skiff_api::wire::Payload;

pub const JSON: &str = "application/json";

/// The media type of the body, if it is one of those.
///
/// # Errors
/// 415, in the words of the stage that finds it out upstream.
pub fn of(request: &Request, accepted: &[&'static str]) -> Result<&'static str, Status> {
    if let (Payload::Tree(_), "") = (&request.payload, &*request.content_type) {
        return Ok(JSON);
    }
    let header = &*request.content_type;
    let is_patch = request.verb == Verb::Patch;
    let given = match is_patch {
        // Only what stands before the first parameter counts.
        true => header.split(';').next().map(|it| it.trim().to_owned()),
        false if header.trim().is_empty() => Some(JSON.to_owned()),
        false => parse(header),
    };
    let known = |text: &str| accepted.iter().find(|type_| **type_ == text).copied();
    if let Some(found) = given.as_deref().and_then(known) {
        return Ok(found);
    }
    let is_among = header.split(',').any(|it| known(it.trim()).is_some());
    Err(match is_patch && request.kind.manner.strategic_patch && !is_among {
        true => Status::unsupported_patch(),
        false => Status::unsupported_media(&accepted.join(", ")),
    })
}

/// The type of a header, in small letters; None when it or one of its parameters is malformed.
fn parse(header: &str) -> Option<String> {
    let (type_, mut rest) = header.split_at(header.find(';').unwrap_or(header.len()));
    while let Some(parameter) = rest.trim_start().strip_prefix(';') {
        let parameter = parameter.trim_start();
        if parameter.is_empty() {
            break;
        }
        let (name, value) = parameter.split_once('=')?;
        if !is_token(name) {
            return None;
        }
        rest = match value.strip_prefix('"') {
            Some(quoted) => after_quoted(quoted)?,
            None => {
                let (value, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
                is_token(value.trim_end()).then_some(rest)?
            }
        };
    }
    let type_ = type_.trim();
    let sound = rest.trim().trim_matches(';').is_empty() && type_.split('/').all(is_token);
    sound.then(|| type_.to_ascii_lowercase())
}

/// What stands behind a quoted text.
fn after_quoted(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return Some(&text[at + 1..]),
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    let special = |it: u8| b"()<>@,;:\\\"/[]?=".contains(&it);
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_graphic() && !special(it))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn types_and_their_parameters() {
        for (header, want) in [
            ("application/json", Some("application/json")),
            ("APPLICATION/Json", Some("application/json")),
            ("application/json; charset=utf-8", Some("application/json")),
            ("application/json;x=\"a;\\\"b\"; y=z", Some("application/json")),
            ("application/json;", Some("application/json")),
            ("application/json;x", None),
            ("application/json;charset=", None),
            ("application/json;=x", None),
            ("application/json;x=\"a", None),
            ("application/json, text/plain", None),
            ("/", None),
        ] {
            assert_eq!(parse(header).as_deref(), want, "{header}");
        }
    }
}
