//! What a path of the node's API means. It is decided here, once, on the decoded path: whoever is asked whether the
//! caller may, and whoever answers, look at the same value.
//!
//! Never here: who calls.

use super::{Place, decode};
use http::Method;

/// A path of this API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Healthz,
    Metrics,
    Pods,
    Log(Place),
    Exec(Place),
    Attach(Place),
    Forward(Place),
    /// Nothing is served there.
    Nothing,
}

impl Route {
    pub fn of(path: &str) -> Route {
        let path = decode(path);
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        // No name is one of these, and no path is made plain by leaving them out.
        if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Route::Nothing;
        }
        match parts[..] {
            ["healthz"] => Route::Healthz,
            ["metrics"] => Route::Metrics,
            ["pods"] => Route::Pods,
            ["containerLogs", ns, pod, container] => Route::Log(place(ns, pod, container)),
            ["exec", ns, pod, container] => Route::Exec(place(ns, pod, container)),
            ["attach", ns, pod, container] => Route::Attach(place(ns, pod, container)),
            ["portForward", ns, pod] => Route::Forward(place(ns, pod, "")),
            _ => Route::Nothing,
        }
    }

    /// Whether it opens a stream into a pod, which is more than reading.
    pub fn streams(&self) -> bool {
        matches!(self, Route::Exec(_) | Route::Attach(_) | Route::Forward(_))
    }

    pub fn takes(&self, method: &Method) -> bool {
        match method.as_str() {
            "GET" => true,
            "HEAD" => !self.streams(),
            "POST" => self.streams(),
            _ => false,
        }
    }
}

fn place(namespace: &str, pod: &str, container: &str) -> Place {
    Place { namespace: namespace.into(), pod: pod.into(), container: container.into() }
}

#[cfg(test)]
mod tests {
    use super::super::access::asked;
    use super::*;

    #[test]
    fn a_path_that_leads_to_a_stream_is_judged_as_one_however_it_is_written() {
        let exec = Route::Exec(place("a", "b", "c"));
        for path in ["/exec/a/b/c", "/%65xec/a/b/c", "/%65%78%65%63/a/b/c", "/exec%2fa%2Fb/c"] {
            assert_eq!(Route::of(path), exec, "{path}");
        }
        for path in [
            "//exec/a/b/c",
            "/exec//a/b/c",
            "/exec/a/b/c/",
            "/./exec/a/b/c",
            "/pods/../exec/a/b/c",
            "/pods/%2e%2e/exec/a/b/c",
            "/exec;x/a/b/c",
            "/exec/a/b/..",
            "/EXEC/a/b/c",
            "/%2565xec/a/b/c",
            "/exec%00/a/b/c",
            "exec/a/b/c",
            "*",
            "",
        ] {
            assert_eq!(Route::of(path), Route::Nothing, "{path}");
        }
        for path in ["/%65xec/a/b/c", "/attac%68/a/b/c", "/port%46orward/a/b"] {
            let asked = format!("{:?}", asked(&Method::GET, &Route::of(path)));
            assert!(asked.contains("verb: \"create\", subresources: [\"proxy\"]"), "{asked}");
        }
    }

    #[test]
    fn only_streams_take_a_post() {
        let (pods, exec) = (Route::of("/pods"), Route::of("/exec/a/b/c"));
        let taken = |method| (pods.takes(&method), exec.takes(&method));
        assert_eq!(taken(Method::GET), (true, true));
        assert_eq!(taken(Method::POST), (false, true));
        assert_eq!(taken(Method::HEAD), (true, false));
        assert_eq!(taken(Method::DELETE), (false, false));
    }
}
