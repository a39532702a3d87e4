//! The handshake of clients that speak SPDY/3.1 on the bare connection (kubectl before 1.31, and later ones where
//! WebSockets are off): an upgrade of HTTP/1.1, with the protocol inside of it in headers of its own.
//!
//! Never here: frames, and what streams are for.

use super::reply::{Reply, refuse, whole};
use super::{Session, connection};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::future::Future;

const SPDY: &str = "SPDY/3.1";
const VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// Whether a request wants to go on in SPDY.
pub fn is_asked(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::UPGRADE).iter();
    values.any(|value| value.to_str().is_ok_and(|text| text.eq_ignore_ascii_case(SPDY)))
}

/// Answers 101 and leaves `work` to run on the connection; a refusal if no protocol is common.
pub fn upgrade<F, W>(
    mut request: Request<Incoming>,
    ours: &[&'static str],
    later: &Session,
    work: F,
) -> Response<Reply>
where
    F: FnOnce(&'static str, TokioIo<hyper::upgrade::Upgraded>) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let offered = offers(request.headers());
    if offered.is_empty() {
        let count = request.headers().len();
        let why = format!(
            "unable to upgrade: header X-Stream-Protocol-Version does not exist in request with {count} headers"
        );
        return refuse(StatusCode::BAD_REQUEST, why);
    }
    let chosen = offered.iter().find_map(|offer| ours.iter().find(|own| *own == offer).copied());
    let Some(protocol) = chosen else {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offered.join(" "),
            ours.join(" ")
        );
        let mut response = refuse(StatusCode::FORBIDDEN, why);
        for own in ours {
            response.headers_mut().append(ACCEPTED, HeaderValue::from_static(own));
        }
        return response;
    };
    connection::leave(&mut request, later, move |upgraded| work(protocol, upgraded));
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(VERSION, HeaderValue::from_static(protocol));
    response
}

/// The protocols that a client offers, in its order.
fn offers(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(VERSION).iter().filter_map(|value| value.to_str().ok());
    let words = values.flat_map(|value| value.split(','));
    words.map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}
