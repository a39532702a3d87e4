//! Paths without a resource: discovery, OpenAPI, health, version, metrics, and the token issuer's documents.

use crate::Server;
use crate::url::Query;
use crate::{discovery, health};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use skiff_api::Status;
use skiff_api::wire::{Answer, Body, Call};
use std::sync::Arc;

/// The minor of Kubernetes that is served.
pub const MINOR: &str = "37";
pub const VERSION: &str = "v1.37.1";

pub async fn answer(
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
            discovery::answer(server, accept, &parts)
        }
        ["openapi", "v3", ref rest @ ..] => crate::openapi::answer(server, rest, query),
        ["version"] => Ok(version(server)),
        ["metrics"] => Ok(Answer::text(StatusCode::OK, crate::metrics::text(server))
            .typed("text/plain; version=0.0.4; charset=utf-8")),
        [check @ ("healthz" | "livez" | "readyz"), ref rest @ ..] => {
            Ok(health::answer(server, check, rest, query))
        }
        [".well-known", "openid-configuration"] => {
            Ok(Answer::json(StatusCode::OK, &server.authenticator.issuer_document()))
        }
        ["openid", "v1", "jwks"] => {
            Ok(Answer::json(StatusCode::OK, &server.authenticator.key_set())
                .typed("application/jwk-set+json"))
        }
        _ => Err(Status::no_such_path()),
    }
}

fn version(server: &Server) -> Answer {
    Answer::json(
        StatusCode::OK,
        &json!({
            "major": "1", "minor": MINOR, "gitVersion": format!("{VERSION}+skiff"),
            "gitCommit": server.build.commit, "gitTreeState": "clean", "buildDate": server.build.date,
            "goVersion": server.build.compiler, "compiler": "rustc",
            "platform": format!("linux/{}", server.build.arch),
        }),
    )
}

/// A document that clients may keep as long as its tag stays the same (RFC 9110, section 8.8.3).
pub fn tagged(call_tag: Option<&HeaderValue>, bytes: Vec<u8>, media_type: &'static str) -> Answer {
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let tag = format!("\"{}\"", skiff_base::id::hex(digest.as_ref()).to_uppercase());
    let same = call_tag.is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut answer = match same {
        true => Answer::new(StatusCode::NOT_MODIFIED, Body::Bytes(Default::default())),
        false => Answer::new(StatusCode::OK, Body::Bytes(bytes.into())).typed(media_type),
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        answer.headers.insert(header::ETAG, value);
        answer.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    }
    answer
}
