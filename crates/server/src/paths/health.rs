//! Health: `/livez`, `/readyz`, `/healthz`, whole or check by check (API reference: Kubernetes API health endpoints).

use crate::Server;
use crate::request::url::Query;
use http::StatusCode;
use skiff_api::wire::Answer;

/// One check: its name, and what is wrong.
type Check = (&'static str, Option<String>);

fn checks(server: &Server, endpoint: &str) -> Vec<Check> {
    let mut checks: Vec<Check> = vec![("ping", None), ("log", None)];
    let stopped = futures_util::FutureExt::now_or_never(server.store.stopped());
    let stopped = stopped.map(|why| why.to_string());
    checks.push(("etcd", stopped.clone()));
    if endpoint == "readyz" {
        // Who is shutting down answers no more, so this one is always well.
        checks.extend([("etcd-readiness", stopped), ("shutdown", None)]);
    }
    for (name, state) in server.ready.states() {
        checks.push((name, state.err()));
    }
    checks
}

pub fn answer(server: &Server, endpoint: &str, rest: &[&str], query: &Query) -> Answer {
    let excluded: Vec<&str> = query.all("exclude").collect();
    let all = checks(server, endpoint);
    if let [name] = rest {
        return match all.iter().find(|(check, _)| check == name) {
            Some((_, None)) => Answer::text(StatusCode::OK, "ok"),
            Some((_, Some(why))) => failed(format!("internal server error: {why}\n")),
            None => Answer::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
    }
    let mut text = String::new();
    for (name, wrong) in &all {
        match wrong {
            _ if excluded.contains(name) => text += &format!("[+]{name} excluded: ok\n"),
            None => text += &format!("[+]{name} ok\n"),
            Some(_) => text += &format!("[-]{name} failed: reason withheld\n"),
        }
    }
    let well = |(name, wrong): &Check| wrong.is_none() || excluded.contains(name);
    let healthy = all.iter().all(well);
    match (healthy, query.all("verbose").next().is_some()) {
        (true, false) => Answer::text(StatusCode::OK, "ok"),
        (true, true) => Answer::text(StatusCode::OK, format!("{text}{endpoint} check passed\n")),
        (false, _) => failed(format!("{text}{endpoint} check failed\n")),
    }
}

fn failed(text: String) -> Answer {
    Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
}
