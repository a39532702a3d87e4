//! Reviews: one JSON document is sent to whom a `clientConfig` names, and one comes back (API reference:
//! WebhookClientConfig). What fails is told in the words of upstream's client.

use super::{Failure, Outbound, Peer, Place, Speaks, Target, Trusted};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, USER_AGENT};
use http_body_util::Full;
use skiff_api::json;
use skiff_api::object::at;
use skiff_base::World;
use skiff_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// So much of an answer that is no review is shown.
const SHOWN_MOST: usize = 2048;
const SERVICE_PORT: u64 = 443;

/// Somebody who answers reviews.
#[derive(Clone)]
pub struct Reviewer {
    peer: Arc<Peer>,
    /// As errors show it, without the query.
    url: String,
    path: String,
}

/// Why there is no review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// What it is counted under: the code of the answer, or 503 where there is none.
    pub code: u16,
    pub why: String,
}

impl Unanswered {
    fn without_answer(why: String) -> Unanswered {
        Unanswered { code: 503, why }
    }
}

impl Reviewer {
    /// Whom a `clientConfig` names.
    ///
    /// # Errors
    /// When it names nobody: a stored one that was validated does.
    pub fn of(outbound: &Outbound, client: &Value) -> Result<Reviewer, String> {
        let text = |path| at(client, path).and_then(Value::as_str).unwrap_or("");
        let pem = STANDARD.decode(text("caBundle")).map_err(|error| error.to_string())?;
        let trusted = match pem.trim_ascii().is_empty() {
            true => Trusted::system(),
            false => Trusted::Of(String::from_utf8_lossy(&pem).into_owned()),
        };
        let (place, path, url) = match at(client, "service") {
            Some(_) => {
                let port = at(client, "service.port").and_then(Value::as_u64);
                let port = u16::try_from(port.unwrap_or(SERVICE_PORT));
                let place = Place::Service {
                    namespace: text("service.namespace").to_owned(),
                    name: text("service.name").to_owned(),
                    port: port.map_err(|error| error.to_string())?,
                };
                let url = format!("https://{place}");
                (place, text("service.path").to_owned(), url)
            }
            None => {
                let given: http::Uri = text("url").parse().unwrap_or_default();
                let place = Place::of_url(&given).filter(|_| given.scheme_str() == Some("https"));
                let place = place.ok_or("webhook configuration must have either service or URL")?;
                let host = given.authority().map_or("", |it| it.as_str());
                (place, given.path().to_owned(), format!("https://{host}"))
            }
        };
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        // As upstream: streams of one connection would all go to one endpoint.
        let target = Target { place, trusted, speaks: Speaks::One };
        Ok(Reviewer { peer: outbound.peer(&target), url: format!("{url}{path}"), path })
    }

    pub fn world(&self) -> &World {
        self.peer.world()
    }

    /// What is wrong with its certificates, before it is called at all.
    pub fn unusable(&self) -> Option<&str> {
        self.peer.unusable()
    }

    /// Sends a document, and reads the one that comes back: within that time, and no longer than `most` bytes. `told`
    /// is the time as the peer hears of it.
    ///
    /// # Errors
    /// When no JSON object comes back.
    pub async fn ask(
        &self,
        document: Vec<u8>,
        (within, told): (Duration, Option<Duration>),
        most: usize,
    ) -> Result<Value, Unanswered> {
        let query = told.map_or_else(String::new, |told| format!("?timeout={}s", told.as_secs()));
        let request = http::Request::post(format!("{}{query}", self.path))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .header(USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(Bytes::from(document)));
        let request = request.map_err(|error| Unanswered::without_answer(error.to_string()))?;
        let world = self.peer.world();
        let until = world.uptime() + within;
        let sent = world.within(within, self.peer.send(request)).await;
        let reply = sent.unwrap_or(Err(Failure::Late)).map_err(|failure| {
            let why = format!("Post \"{}{query}\": {failure}", self.url);
            Unanswered::without_answer(why)
        })?;
        let (code, headers) = (reply.head.status.as_u16(), reply.head.headers.clone());
        let left = until.saturating_sub(world.uptime());
        let body = world.within(left, reply.bytes(most)).await.unwrap_or(Err(Failure::Late));
        let body = body.map_err(|failure| {
            let failure = match failure {
                Failure::Broken => "unexpected EOF".to_owned(),
                other => other.to_string(),
            };
            Unanswered::without_answer(format!(
                "unexpected error when reading response body. Please retry. Original error: {failure}"
            ))
        })?;
        match code {
            200..=206 => read(code, &headers, &body),
            _ => Err(refused(code, &headers, &body)),
        }
    }
}

fn read(code: u16, headers: &HeaderMap, body: &[u8]) -> Result<Value, Unanswered> {
    let content_type = media_type(headers).unwrap_or("application/json");
    let no_kind = |found: &str| {
        Unanswered::without_answer(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type \
             struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
             \"json:\\\"kind,omitempty\\\"\" }}"
        ))
    };
    if body.is_empty() {
        let why =
            format!("0-length response with status code: {code} and content type: {content_type}");
        return Err(Unanswered::without_answer(why));
    }
    match json::parse(body).map(|parsed| parsed.value) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(other) => Err(no_kind(json::type_name(&other))),
        // What is no JSON is read as YAML by upstream, and then it is a text.
        Err(_) if !body.starts_with(b"{") => Err(no_kind("string")),
        Err(why) => Err(Unanswered::without_answer(format!(
            "couldn't get version/kind; json parse error: {why}"
        ))),
    }
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).filter(|it| !it.is_empty())
}

/// What an answer with another code than success says; a Status says it itself.
fn refused(code: u16, headers: &HeaderMap, body: &[u8]) -> Unanswered {
    let status =
        json::parse(body).ok().and_then(|parsed| skiff_api::Status::from_json(&parsed.value));
    if let Some(status) = status {
        return Unanswered { code, why: status.message };
    }
    let is_text = media_type(headers).is_none_or(|it| it.starts_with("text/"));
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN_MOST)]);
    let text = if is_text { text.trim() } else { "unknown" };
    let why = match code {
        400 => "the server rejected our request for an unknown reason".into(),
        401 => "the server has asked for the client to provide credentials".into(),
        404 => "the server could not find the requested resource".into(),
        405 => "the server does not allow this method on the requested resource".into(),
        406 if text.is_empty() || text == "unknown" => {
            "the server was unable to respond with a content type that the client supports".into()
        }
        403 | 406 | 415 => text.to_owned(),
        409 => "the server reported a conflict".into(),
        422 => "the server rejected our request due to an error in our request".into(),
        429 => {
            "the server has received too many requests and has asked us to try again later".into()
        }
        503 => "the server is currently unable to handle the request".into(),
        504 => "the server was unable to return a response in the time allotted, but may still be \
                processing the request"
            .into(),
        500.. => {
            format!("an error on the server ({text:?}) has prevented the request from succeeding")
        }
        _ => format!(
            "the server responded with the status code {code} but did not return more information"
        ),
    };
    Unanswered { code, why }
}
