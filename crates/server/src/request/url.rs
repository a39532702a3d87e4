//! The one grammar of the API's paths: a path and a method become names; no list of routes exists anywhere.
//!
//! ```text
//! /api/v1[/namespaces/NS]/RESOURCE[/NAME[/SUBRESOURCE[/REST]]]        the core group
//! /apis/GROUP/VERSION[/namespaces/NS]/RESOURCE[...]                   all other groups
//! /api  /apis  /apis/GROUP  /api/v1  /apis/GROUP/VERSION              discovery
//! ```
//! It yields names only: whether the kind exists is asked after authorization, so that 403 comes before 404.

use skiff_api::kind::Verb;
use std::borrow::Cow;

/// What a path and a method ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    Resource(RequestInfo),
    /// Discovery, health, version, metrics, OpenAPI: a path without a resource.
    Path(String),
}

/// A request for a resource, in names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestInfo {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub plural: String,
    pub name: String,
    pub subresource: String,
    /// What follows a subresource (`proxy/...`), without its first slash.
    pub rest: String,
    /// The old `/watch/` form of a path.
    pub watch: bool,
}

/// The one name that the grammar knows: what follows it is the namespace of the rest or, without a rest, an object
/// that counts as in itself.
const NAMESPACES: &str = "namespaces";

impl RequestInfo {
    /// Whether the path asks for something in a namespace, and not for the namespace.
    pub fn lies_in_a_namespace(&self) -> bool {
        !self.namespace.is_empty() && self.plural != NAMESPACES
    }
}

/// Splits a path. Percent-encoding is undone first, so that an encoded slash splits as a plain one does.
pub fn parse(path: &str) -> Target {
    let path = &*decode(path);
    let plain = || Target::Path(path.to_owned());
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    let (group, version) = match parts.next() {
        Some("api") => ("", parts.next()),
        Some("apis") => (parts.next().unwrap_or(""), parts.next()),
        _ => return plain(),
    };
    let rest: Vec<&str> = parts.collect();
    let Some(version) = version.filter(|v| !v.is_empty()) else { return plain() };
    if rest.is_empty() || rest == [""] {
        return plain();
    }
    let (watch, rest) = match rest.split_first() {
        Some((&"watch", rest)) => (true, rest),
        _ => (false, &rest[..]),
    };
    let mut it = RequestInfo {
        group: group.into(),
        version: version.into(),
        watch,
        ..RequestInfo::default()
    };
    let tail = match rest[..] {
        // `/namespaces/NS/finalize` and `/status` are entries of the namespace itself.
        [NAMESPACES, namespace, sub @ ("finalize" | "status"), ..] => {
            it.plural = NAMESPACES.into();
            it.namespace = namespace.into();
            it.name = namespace.into();
            it.subresource = sub.into();
            return Target::Resource(it);
        }
        [NAMESPACES, namespace, plural, ref tail @ ..] if !plural.is_empty() => {
            it.namespace = namespace.into();
            it.plural = plural.into();
            tail.to_vec()
        }
        [NAMESPACES, namespace, ..] => {
            it.plural = NAMESPACES.into();
            it.namespace = namespace.into();
            vec![namespace]
        }
        [plural, ref tail @ ..] => {
            it.plural = plural.into();
            tail.to_vec()
        }
        [] => return plain(),
    };
    if let [name, sub @ ..] = &tail[..] {
        it.name = (*name).into();
        if let [sub, rest @ ..] = sub {
            it.subresource = (*sub).into();
            it.rest = rest.join("/");
        }
    }
    Target::Resource(it)
}

/// The verb of a method on this resource, as RBAC names it; `None` for methods that no resource has.
pub fn verb(method: &http::Method, resource: &RequestInfo, watching: bool) -> Option<Verb> {
    let named = !resource.name.is_empty();
    Some(match method.as_str() {
        // Of one object, only by the old path.
        "GET" if resource.watch || (watching && !named) => Verb::Watch,
        // What else HTTP has goes to the target of a proxy; nothing else here answers it.
        "HEAD" | "OPTIONS" if resource.subresource == "proxy" => Verb::Get,
        "GET" if named => Verb::Get,
        "GET" => Verb::List,
        "POST" => Verb::Create,
        "PUT" => Verb::Update,
        "PATCH" => Verb::Patch,
        "DELETE" if named => Verb::Delete,
        "DELETE" => Verb::DeleteCollection,
        _ => return None,
    })
}

/// Undoes percent-encoding; what is no valid encoding stays as it is.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let code = (bytes[i] == b'%')
            .then(|| text.get(i + 1..i + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    match String::from_utf8(out) {
        Ok(text) => text.into(),
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned().into(),
    }
}

/// The parameters of a query string, decoded, in order.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Query {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let plain = |text: &str| decode(&text.replace('+', " ")).into_owned();
            (plain(key), plain(value))
        };
        Query(text.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    /// The first value of a parameter; absent and empty are the same.
    pub fn get(&self, key: &str) -> Option<&str> {
        let first = self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
        first.filter(|value| !value.is_empty())
    }

    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A flag as Go's form decoding reads it: anything but an explicit no is a yes.
    pub fn flag(&self, key: &str) -> bool {
        self.all(key).next().is_some_and(|value| !matches!(value, "0" | "false" | "False"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_proxy_takes_every_method_of_http() {
        let found = |method: &str, path: &str| match parse(path) {
            Target::Resource(it) => verb(&method.parse().expect("a method"), &it, false),
            Target::Path(_) => panic!("{path} is a resource"),
        };
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(found(method, "/api/v1/nodes/n1/proxy/x"), Some(Verb::Get), "{method}");
        }
        assert_eq!(found("OPTIONS", "/api/v1/nodes/n1"), None);
        assert_eq!(found("HEAD", "/api/v1/namespaces/d/pods/p/log"), None);
    }

    #[test]
    fn paths_become_names() {
        let mut out = String::new();
        for path in [
            "/api/v1/pods",
            "/api/v1/namespaces/default/pods/web/log",
            "/api/v1/namespaces/default",
            "/api/v1/namespaces/default/status",
            "/apis/apps/v1/namespaces/a/deployments/b%20c/scale",
            "/api/v1/nodes/n1/proxy/stats/summary",
            "/api/v1/watch/namespaces/x/pods",
            "/apis/apps/v1",
            "/healthz/etcd",
        ] {
            let line = match parse(path) {
                Target::Path(path) => format!("path {path}"),
                Target::Resource(r) => format!(
                    "{}/{} ns={} {} name={} sub={} rest={} watch={}",
                    r.group,
                    r.version,
                    r.namespace,
                    r.plural,
                    r.name,
                    r.subresource,
                    r.rest,
                    r.watch
                ),
            };
            out += &format!("{line}\n");
        }
        expect![[r#"
            /v1 ns= pods name= sub= rest= watch=false
            /v1 ns=default pods name=web sub=log rest= watch=false
            /v1 ns=default namespaces name=default sub= rest= watch=false
            /v1 ns=default namespaces name=default sub=status rest= watch=false
            apps/v1 ns=a deployments name=b c sub=scale rest= watch=false
            /v1 ns= nodes name=n1 sub=proxy rest=stats/summary watch=false
            /v1 ns=x pods name= sub= rest= watch=true
            path /apis/apps/v1
            path /healthz/etcd
        "#]]
        .assert_eq(&out);
        assert_eq!(Query::parse("a=1&b=x%20y+z&a=2").get("b"), Some("x y z"));
    }
}
