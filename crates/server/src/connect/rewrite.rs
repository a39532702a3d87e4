//! Names of the proxy's targets, and what of a request and an answer changes on the way. Pure.

/// `[scheme:]name[:port]`, as the name in a proxy's path has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a> {
    pub https: bool,
    pub name: &'a str,
    /// A number or a name; empty if there is none.
    pub port: &'a str,
}

impl<'a> Named<'a> {
    /// `None` when it is no such name.
    pub fn parse(text: &'a str) -> Option<Named<'a>> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return None,
        };
        let https = match scheme {
            "" | "http" => false,
            "https" => true,
            _ => return None,
        };
        (!name.is_empty()).then_some(Named { https, name, port })
    }
}

/// What follows `.../proxy` in a path, as it was sent: empty, or from its slash on.
pub fn tail(path: &str, namespaced: bool) -> &str {
    // /api/v1/nodes/NAME/proxy and /api/v1/namespaces/NS/pods/NAME/proxy
    let slashes = if namespaced { 8 } else { 6 };
    match path.match_indices('/').nth(slashes - 1) {
        Some((at, _)) => &path[at..],
        None => "",
    }
}

/// A link or redirect of the target, as the client must follow it: paths of the target are below `prefix`, and a target
/// that knows this names them so itself.
pub fn location(location: &str, prefix: &str, target: &str) -> String {
    let own = [format!("http://{target}"), format!("https://{target}")];
    let path = own.iter().find_map(|own| location.strip_prefix(own.as_str()));
    match path.unwrap_or(location) {
        path if path.starts_with(prefix) => path.to_owned(),
        path if path.starts_with('/') && !path.starts_with("//") => format!("{prefix}{path}"),
        "" => format!("{prefix}/"),
        _ => location.to_owned(),
    }
}

/// Headers that concern one connection only (RFC 9110, section 7.6.1).
pub const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_scheme_and_a_port_or_not() {
        let named = |https, name, port| Some(Named { https, name, port });
        assert_eq!(Named::parse("web"), named(false, "web", ""));
        assert_eq!(Named::parse("web:80"), named(false, "web", "80"));
        assert_eq!(Named::parse("https:web:"), named(true, "web", ""));
        assert_eq!(Named::parse("http:web:main"), named(false, "web", "main"));
        assert_eq!(Named::parse("ftp:web:1"), None);
        assert_eq!(Named::parse("a:b:c:d"), None);
        assert_eq!(Named::parse(":80"), None);
    }

    #[test]
    fn tails_are_taken_as_sent() {
        let tail_of = |path| tail(path, true);
        assert_eq!(tail_of("/api/v1/namespaces/d/pods/web/proxy"), "");
        assert_eq!(tail_of("/api/v1/namespaces/d/pods/web/proxy/"), "/");
        assert_eq!(tail_of("/api/v1/namespaces/d/pods/web/proxy/a%2Fb/c"), "/a%2Fb/c");
        assert_eq!(tail("/api/v1/nodes/n1/proxy/stats/summary", false), "/stats/summary");
    }

    #[test]
    fn redirects_stay_below_the_proxy() {
        let moved = |to| location(to, "/p", "10.0.0.1:80");
        assert_eq!(moved("/login?x"), "/p/login?x");
        assert_eq!(moved("/p/login"), "/p/login");
        assert_eq!(moved("http://10.0.0.1:80/login"), "/p/login");
        assert_eq!(moved("http://10.0.0.1:80"), "/p/");
        assert_eq!(moved("https://elsewhere/x"), "https://elsewhere/x");
        assert_eq!(moved("//elsewhere/x"), "//elsewhere/x");
        assert_eq!(moved("next"), "next");
    }
}
