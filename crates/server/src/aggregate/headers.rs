//! Headers: what a request to an aggregated server says of who sent it (Kubernetes task page "Configure the Aggregation
//! Layer"). Pure.
//!
//! Whatever a caller says of itself in these words is taken out first: they are this server's to say, and the
//! certificate that it shows is what makes them believed.

use crate::connect::pass_on;
use crate::identity::authenticate::forget;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use skiff_api::Status;
use skiff_api::wire::User;
use std::fmt::Write;

/// As whom the server asks for itself, when it looks whether somebody is there.
pub fn own() -> User {
    User {
        name: "system:kube-aggregator".into(),
        groups: vec!["system:masters".into()],
        ..User::default()
    }
}

/// The headers of a request as they go on: those of the caller, and who it is.
///
/// # Errors
/// When a name cannot be said in a header.
pub fn outgoing(headers: &HeaderMap, user: &User, upgrades: bool) -> Result<HeaderMap, Status> {
    let mut out = pass_on(headers);
    forget(&mut out);
    out.remove(HOST);
    if upgrades {
        for name in [CONNECTION, UPGRADE] {
            if let Some(value) = headers.get(&name) {
                out.insert(name, value.clone());
            }
        }
    }
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).map_err(Status::internal);
    out.insert("x-remote-user", value(&user.name)?);
    if !user.uid.is_empty() {
        out.insert("x-remote-uid", value(&user.uid)?);
    }
    for group in &user.groups {
        out.append("x-remote-group", value(group)?);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(Status::internal)?;
        for it in values {
            out.append(&name, value(it)?);
        }
    }
    Ok(out)
}

/// A key as a part of a header's name: what no token may hold (RFC 9110, section 5.6.2), and the percent sign itself,
/// is percent-encoded.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'!' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
            | b'|' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("a String takes all that is written"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn who_calls_is_said_by_this_server_alone() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer t"),
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-x", "1"),
            ("impersonate-user", "b"),
            ("connection", "upgrade, x-secret"),
            ("x-secret", "1"),
            ("upgrade", "websocket"),
            ("host", "here"),
            ("accept", "application/json"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let user = User {
            name: "jané".into(),
            uid: "u".into(),
            groups: vec!["a".into(), "b".into()],
            extra: vec![("example.com/x%y".into(), vec!["1".into(), "2".into()])],
        };
        let mut out = String::new();
        for upgrades in [false, true] {
            let made = outgoing(&headers, &user, upgrades).expect("names that can be said");
            let mut lines: Vec<_> = made.iter().map(|(n, v)| format!("{n}: {v:?}")).collect();
            lines.sort();
            writeln!(out, "{}\n", lines.join("\n")).expect("a String");
        }
        expect![[r#"
            accept: "application/json"
            x-remote-extra-example.com%2fx%25y: "1"
            x-remote-extra-example.com%2fx%25y: "2"
            x-remote-group: "a"
            x-remote-group: "b"
            x-remote-uid: "u"
            x-remote-user: "jan\xc3\xa9"

            accept: "application/json"
            connection: "upgrade, x-secret"
            upgrade: "websocket"
            x-remote-extra-example.com%2fx%25y: "1"
            x-remote-extra-example.com%2fx%25y: "2"
            x-remote-group: "a"
            x-remote-group: "b"
            x-remote-uid: "u"
            x-remote-user: "jan\xc3\xa9"

        "#]]
        .assert_eq(&out);
        let liar = User { name: "a\r\nx-remote-user: root".into(), ..User::default() };
        assert!(outgoing(&headers, &liar, false).is_err());
    }
}
