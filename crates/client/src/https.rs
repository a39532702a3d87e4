//! HTTPS: the same door to a server in another process. One connection per call, HTTP/1.1 over TLS with the client's
//! certificate; answers become the same values as in process.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use skiff_api::Status;
use skiff_api::wire::{
    self, Answer, BODY_START, Body, Call, Frame, Payload, Sending, Serve, Stored,
};
use std::sync::Arc;
use tokio::net::TcpStream;

/// The largest document that is read whole; lists of everything in a big cluster fit.
const DOCUMENT_MOST: usize = 256 * 1024 * 1024;
/// The largest single message of a watch: an object of the API is below 3 MiB.
const LINE_MOST: usize = 8 * 1024 * 1024;

/// A server at an address.
pub struct Https {
    /// `host:port`.
    pub address: String,
    pub name: ServerName<'static>,
    pub tls: Arc<rustls::ClientConfig>,
}

impl Serve for Https {
    fn serve(&self, call: Call) -> futures_util::future::BoxFuture<'_, Answer> {
        Box::pin(async move {
            match self.exchange(call).await {
                Ok(answer) => answer,
                Err(error) => Status::unavailable(format!(
                    "the server at {} could not be reached: {error}",
                    self.address
                ))
                .into(),
            }
        })
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Https {
    async fn exchange(&self, mut call: Call) -> Result<Answer, Failure> {
        let payload = std::mem::replace(&mut call.payload, Sending::Here(Payload::None));
        let body = match payload.arrived().await {
            Ok(Payload::None) => Bytes::new(),
            Ok(Payload::Bytes(bytes)) => bytes,
            Ok(Payload::Tree(tree)) => tree.to_string().into(),
            Err(answer) => return Ok(*answer),
        };
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let tls = tokio_rustls::TlsConnector::from(self.tls.clone());
        let stream = tls.connect(self.name.clone(), stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The connection's task ends with the answer's body, or with the sender.
        tokio::task::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to the server ended");
            }
        });
        let watching = call.query.contains("watch=true");
        let response = sender.send_request(self.request(call, body)?).await?;
        let (parts, body) = response.into_parts();
        let json = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
        let body = if watching && parts.status.is_success() && json {
            Body::Watch(frames(body))
        } else if json || !parts.status.is_success() {
            Body::Bytes(Limited::new(body, DOCUMENT_MOST).collect().await?.to_bytes())
        } else {
            let pieces = body.into_data_stream().map(|piece| piece.map_err(std::io::Error::other));
            Body::Stream(Box::pin(pieces))
        };
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    fn request(&self, call: Call, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let uri = match &*call.query {
            "" => call.path,
            query => format!("{}?{query}", call.path),
        };
        let mut request = Request::builder().method(call.method).uri(uri).body(Full::new(body))?;
        *request.headers_mut() = call.headers;
        request.headers_mut().insert(HOST, HeaderValue::from_str(&self.address)?);
        Ok(request)
    }
}

/// Lines of a watch become frames.
fn frames(body: Incoming) -> stream::BoxStream<'static, Frame> {
    stream::unfold((body, Vec::new()), |(mut body, mut rest)| async move {
        loop {
            if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                return Some((frame(&line), (body, rest)));
            }
            if rest.len() > LINE_MOST {
                let status = Status::internal("a message of the watch is too long");
                return Some((Frame::Error(status), (body, Vec::new())));
            }
            match body.frame().await? {
                Ok(piece) => rest.extend_from_slice(&piece.into_data().unwrap_or_default()),
                Err(error) => {
                    tracing::debug!(%error, "a watch broke off");
                    return None;
                }
            }
        }
    })
    .boxed()
}

fn frame(line: &[u8]) -> Frame {
    let unreadable = |why: &str| {
        Frame::Error(Status::internal(format!("a watch sent what cannot be read: {why}")))
    };
    let mut message: Value = match serde_json::from_slice(line) {
        Ok(message) => message,
        Err(error) => return unreadable(&error.to_string()),
    };
    let mut object = message.get_mut("object").map(Value::take).unwrap_or(Value::Null);
    let sort = message.get("type").and_then(Value::as_str).unwrap_or("");
    if sort == "ERROR" {
        return match Status::from_json(&object) {
            Some(status) => Frame::Error(status),
            None => unreadable("an error in no known form"),
        };
    }
    let Some(stored) = stored(&mut object) else {
        return unreadable("an object without a revision");
    };
    match sort {
        "ADDED" => Frame::Added(stored),
        "MODIFIED" => Frame::Modified(stored),
        "DELETED" => Frame::Deleted(stored),
        "BOOKMARK" => {
            let annotations = object.pointer("/metadata/annotations");
            let initial_end = annotations.and_then(wire::initial_end);
            Frame::Bookmark { head: stored.head, revision: stored.revision, initial_end }
        }
        other => unreadable(other),
    }
}

/// An object as it came becomes a body with its head and revision apart.
fn stored(object: &mut Value) -> Option<Stored> {
    let map = object.as_object_mut()?;
    let text = |value: Option<Value>| value.and_then(|v| v.as_str().map(str::to_owned));
    let api_version = text(map.remove("apiVersion"))?;
    let kind = text(map.remove("kind"))?;
    let mut metadata = map.remove("metadata")?;
    let revision = text(metadata.as_object_mut()?.remove("resourceVersion"))?.parse().ok()?;
    let rest = Value::Object(map.clone()).to_string();
    let mut body = format!("{}{}", BODY_START, &metadata.to_string()[1..]);
    body += if rest == "{}" { "}" } else { "," };
    body += &rest[if rest == "{}" { 2 } else { 1 }..];
    map.insert("metadata".into(), metadata);
    let head = format!("\"apiVersion\":\"{api_version}\",\"kind\":\"{kind}\",").into();
    Some(Stored { head, revision, body: body.into() })
}
