//! Paths without a resource: discovery, OpenAPI, health, version, metrics, and the token issuer's documents.

pub mod counted;
mod health;
pub mod metrics;
pub mod ready;

use crate::Server;
use crate::fairness::Details;
use crate::registry::discovery;
use crate::render::accept;
use crate::request::url::Query;
use http::{HeaderValue, StatusCode, header};
use skiff_api::Status;
use skiff_api::wire::{Answer, Body, Call};
use skiff_json::{Map, json};
use std::sync::Arc;

/// The minor of Kubernetes that is served.
pub const MINOR: &str = "37";
/// The one before, whose stored objects and clients it knows (KEP-4330).
const MINOR_BEFORE: &str = "36";
pub const VERSION: &str = "v1.37.1";

pub fn answer(
    server: &Arc<Server>,
    call: &Call,
    path: &str,
    query: &Query,
) -> Result<Answer, Status> {
    if !matches!(call.method.as_str(), "GET" | "HEAD") {
        return Err(Status::method_not_allowed());
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let accept = call.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    match parts[..] {
        [""] => Ok(Answer::json(StatusCode::OK, &json!({"paths": discovery::paths(server)}))),
        ["api"] | ["apis"] | ["apis", _] | ["api", _] | ["apis", _, _] => {
            discovery::answer(server, &call.headers, &parts)
        }
        ["openapi", "v3", ref rest @ ..] => {
            crate::registry::openapi::answer(server, rest, query, &call.headers)
        }
        ["openapi", "v2"] => crate::registry::openapi::answer_v2(server, &call.headers),
        ["version"] if accept::is_json(accept) => Ok(version(server)),
        ["version"] => Err(Status::no_representation("application/json")),
        ["debug", "api_priority_and_fairness", table] => {
            let asked = query.get("includeRequestDetails").is_some();
            let details = if asked { Details::Shown } else { Details::Hidden };
            let text = server.fairness.shown(table, details);
            Ok(text.map_or_else(nothing, |text| Answer::text(StatusCode::OK, text)))
        }
        ["metrics"] => Ok(Answer::text(StatusCode::OK, crate::paths::metrics::text(server))
            .typed("text/plain; version=0.0.4; charset=utf-8; escaping=underscores")),
        [check @ ("healthz" | "livez" | "readyz"), ref rest @ ..] => {
            Ok(health::answer(server, check, rest, query))
        }
        [".well-known", "openid-configuration"] => {
            Ok(kept(Answer::json(StatusCode::OK, &server.authenticator.issuer_document())))
        }
        ["openid", "v1", "jwks"] => {
            let keys = Answer::json(StatusCode::OK, &server.authenticator.key_set());
            Ok(kept(keys.typed("application/jwk-set+json")))
        }
        _ => Ok(nothing()),
    }
}

/// Whoever checks tokens may keep this for an hour.
fn kept(mut answer: Answer) -> Answer {
    let value = HeaderValue::from_static("public, max-age=3600");
    answer.headers.insert(header::CACHE_CONTROL, value);
    answer
}

/// No resource, so no Status either.
pub fn nothing() -> Answer {
    Answer::text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn version(server: &Server) -> Answer {
    let order = |_: &Map| -> &'static [&'static str] {
        &[
            "major",
            "minor",
            "emulationMajor",
            "emulationMinor",
            "minCompatibilityMajor",
            "minCompatibilityMinor",
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
        ]
    };
    let text = skiff_api::json::ordered(
        &json!({
            "major": "1", "minor": MINOR, "emulationMajor": "1", "emulationMinor": MINOR,
            "minCompatibilityMajor": "1", "minCompatibilityMinor": MINOR_BEFORE, "gitVersion": format!("{VERSION}+skiff"),
            "gitCommit": server.build.commit, "gitTreeState": "clean", "buildDate": server.build.date,
            "goVersion": server.build.compiler, "compiler": "rustc",
            "platform": format!("linux/{}", server.build.arch),
        }),
        order,
    );
    // People read this one, whatever they read it with.
    let text = crate::render::manner::indent(text.as_bytes());
    Answer::new(StatusCode::OK, Body::Bytes(text.into())).typed("application/json")
}
