//! Answers of the node's API: plain texts, or a stream of bytes. Never here: what they say.

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use std::io;

/// The body of an answer.
pub type Reply = UnsyncBoxBody<Bytes, io::Error>;

/// A text.
pub fn text(code: StatusCode, body: impl Into<Bytes>) -> Response<Reply> {
    let mut response = Response::new(whole(body.into()));
    *response.status_mut() = code;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// A refusal: one line that says why.
pub fn refuse(code: StatusCode, why: impl std::fmt::Display) -> Response<Reply> {
    text(code, format!("{why}\n"))
}

/// Pieces, as they come.
pub fn stream(pieces: BoxStream<'static, Result<Bytes, io::Error>>) -> Response<Reply> {
    let pieces = pieces.map(|piece| piece.map(hyper::body::Frame::data));
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// A body that is there at once.
pub fn whole(bytes: Bytes) -> Reply {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
