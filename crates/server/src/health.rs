//! Health: `/livez`, `/readyz`, `/healthz`, whole or check by check (API reference: Kubernetes API health endpoints).

use crate::Server;
use crate::url::Query;
use http::StatusCode;
use skiff_api::wire::Answer;

/// One check: its name, and what is wrong.
type Check = (&'static str, Option<String>);

fn checks(server: &Server) -> Vec<Check> {
    let mut checks: Vec<Check> = vec![("ping", None), ("log", None)];
    let stopped = futures_util::FutureExt::now_or_never(server.store.stopped());
    checks.push(("etcd", stopped.map(|why| why.to_string())));
    for (name, state) in server.ready.states() {
        checks.push((name, state.err()));
    }
    checks
}

pub fn answer(server: &Server, endpoint: &str, rest: &[&str], query: &Query) -> Answer {
    let excluded: Vec<&str> = query.all("exclude").collect();
    let checks: Vec<Check> =
        checks(server).into_iter().filter(|(name, _)| !excluded.contains(name)).collect();
    if let [name] = rest {
        return match checks.iter().find(|(check, _)| check == name) {
            Some((_, None)) => Answer::text(StatusCode::OK, "ok"),
            Some((_, Some(why))) => failed(format!("internal server error: {why}\n")),
            None => Answer::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
    }
    let mut text = String::new();
    for (name, wrong) in &checks {
        match wrong {
            None => text += &format!("[+]{name} ok\n"),
            Some(_) => text += &format!("[-]{name} failed: reason withheld\n"),
        }
    }
    let healthy = checks.iter().all(|(_, wrong)| wrong.is_none());
    match (healthy, query.all("verbose").next().is_some()) {
        (true, false) => Answer::text(StatusCode::OK, "ok"),
        (true, true) => Answer::text(StatusCode::OK, format!("{text}{endpoint} check passed\n")),
        (false, _) => failed(format!("{text}{endpoint} check failed\n")),
    }
}

fn failed(text: String) -> Answer {
    Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
}
