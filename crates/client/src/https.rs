//! HTTPS: the same door to a server in another process. Calls share a few connections (HTTP/2 over TLS, with the
//! client's certificate or a token); answers become the same values as in process.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::Authority;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use skiff_api::Status;
use skiff_api::wire::{
    self, Answer, BODY_START, Body, Call, Frame, Payload, Sending, Serve, Stored,
};
use skiff_base::{Lock, Tasks, World};
use skiff_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// The largest document that is read whole; lists of everything in a big cluster fit.
const DOCUMENT_MOST: usize = 256 * 1024 * 1024;
/// The largest single message of a watch: an object of the API is below 3 MiB.
const LINE_MOST: usize = 8 * 1024 * 1024;

/// Streams of one connection; whoever comes after goes over a further one. Watches hold theirs for good, and the server
/// takes no more than a few hundred.
const STREAMS_MOST: usize = 64;
/// TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(10);
/// A server that is silent so long is asked for a sign of life, and is gone when none comes in as long again.
const ALIVE: Duration = Duration::from_secs(10);

/// A server at an address.
pub struct Https {
    /// `host:port`.
    address: String,
    name: ServerName<'static>,
    /// As whom; a certificate that it shows may be renewed behind it.
    tls: Arc<rustls::ClientConfig>,
    bearer: Option<HeaderValue>,
    world: World,
    connections: Lock<Vec<Connection>>,
    /// They drive the connections.
    tasks: Tasks,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// One more holder for each of its streams.
    streams: Arc<()>,
}

/// One stream's place; dropped with the answer's body.
type Stream = Arc<()>;

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
    /// `url` is `https://host:port`; a bearer token says who calls where no certificate does.
    ///
    /// # Errors
    /// What is wrong with the URL or the token.
    pub fn new(
        url: &str,
        tls: Arc<rustls::ClientConfig>,
        bearer: Option<&str>,
        world: World,
    ) -> Result<Https, String> {
        let address = url.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
        let address = address.ok_or_else(|| format!("{url} is no URL of https://"))?;
        let authority: Authority =
            address.parse().map_err(|error| format!("{url} is no URL: {error}"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(443);
        let bearer = bearer.map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
        Ok(Https {
            address: format!("{}:{port}", authority.host()),
            name: ServerName::try_from(host).map_err(|error| format!("{url}: {error}"))?,
            tls,
            bearer: bearer.transpose().map_err(|error| format!("the token: {error}"))?,
            world,
            connections: Lock::default(),
            tasks: Tasks::new(),
        })
    }

    /// Later calls go over new connections: who calls is told when a connection begins.
    pub fn begin_anew(&self) {
        self.connections.lock().clear();
    }

    async fn exchange(&self, mut call: Call) -> Result<Answer, Failure> {
        let payload = std::mem::replace(&mut call.payload, Sending::Here(Payload::None));
        let body = match payload.arrived().await {
            Ok(Payload::None) => Bytes::new(),
            Ok(Payload::Bytes(bytes)) => bytes,
            Ok(Payload::Tree(tree)) => tree.to_string().into(),
            Err(answer) => return Ok(*answer),
        };
        let watching = call.query.contains("watch=true");
        let (mut sender, stream) = self.connection().await?;
        sender.ready().await?;
        let response = sender.send_request(self.request(call, body)?).await?;
        let (parts, body) = response.into_parts();
        let pieces = body.into_data_stream().map(move |piece| {
            let _held = &stream;
            piece.map_err(std::io::Error::other)
        });
        let body = Body::Stream(Box::pin(pieces));
        Ok(shaped(Answer { status: parts.status, headers: parts.headers, body }, watching).await?)
    }

    /// One that has room, else a further one.
    async fn connection(&self) -> Result<(SendRequest<Full<Bytes>>, Stream), Failure> {
        let found = {
            let mut all = self.connections.lock();
            all.retain(|it| !it.sender.is_closed());
            let free = |it: &&Connection| Arc::strong_count(&it.streams) <= STREAMS_MOST;
            all.iter().find(free).map(|it| (it.sender.clone(), it.streams.clone()))
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let dialled = self.world.within(CONNECT, self.dial()).await;
        let sender = dialled.unwrap_or_else(|| Err("it does not answer".into()))?;
        let streams = Arc::new(());
        let connection = Connection { sender: sender.clone(), streams: streams.clone() };
        self.connections.lock().push(connection);
        Ok((sender, streams))
    }

    async fn dial(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let tls = tokio_rustls::TlsConnector::from(self.tls.clone());
        let stream = tls.connect(self.name.clone(), stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err("it does not speak HTTP/2".into());
        }
        let mut builder = http2::Builder::new(Driver(self.tasks.clone()));
        builder.timer(TokioTimer::new()).keep_alive_interval(ALIVE);
        builder.keep_alive_timeout(ALIVE).keep_alive_while_idle(true);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the server ended");
            }
        });
        Ok(sender)
    }

    fn request(&self, call: Call, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let uri = match &*call.query {
            "" => format!("https://{}{}", self.address, call.path),
            query => format!("https://{}{}?{query}", self.address, call.path),
        };
        let mut request = Request::builder().method(call.method).uri(uri).body(Full::new(body))?;
        *request.headers_mut() = call.headers;
        if let Some(bearer) = &self.bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        Ok(request)
    }
}

/// Runs what a connection needs beside itself in the tasks of its server.
#[derive(Clone)]
struct Driver(Tasks);

impl<F> hyper::rt::Executor<F> for Driver
where
    F: Future + Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn(async move {
            work.await;
        });
    }
}

type Pieces = stream::BoxStream<'static, Result<Bytes, std::io::Error>>;

/// What comes in pieces becomes what it would be in process, by what it is: a document or a refusal whole, a watch
/// frame by frame. All else stays as it is.
pub(crate) async fn shaped(answer: Answer, watching: bool) -> std::io::Result<Answer> {
    let Answer { status, headers, body } = answer;
    let Body::Stream(mut pieces) = body else { return Ok(Answer { status, headers, body }) };
    let type_ = headers.get(CONTENT_TYPE);
    let json = type_.is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
    let body = if watching && status.is_success() && json {
        Body::Watch(frames(pieces))
    } else if json || !status.is_success() {
        let mut whole = Vec::new();
        while let Some(piece) = pieces.next().await.transpose()? {
            if whole.len() + piece.len() > DOCUMENT_MOST {
                return Err(std::io::Error::other("the answer is too long"));
            }
            whole.extend_from_slice(&piece);
        }
        Body::Bytes(whole.into())
    } else {
        Body::Stream(pieces)
    };
    Ok(Answer { status, headers, body })
}

/// Lines of a watch become frames.
fn frames(pieces: Pieces) -> stream::BoxStream<'static, Frame> {
    stream::unfold((pieces, Vec::new()), |(mut pieces, mut rest)| async move {
        loop {
            if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                return Some((frame(&line), (pieces, rest)));
            }
            if rest.len() > LINE_MOST {
                let status = Status::internal("a message of the watch is too long");
                return Some((Frame::Error(status), (pieces, Vec::new())));
            }
            match pieces.next().await? {
                Ok(piece) => rest.extend_from_slice(&piece),
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
    let mut message: Value = match skiff_json::from_slice(line) {
        Ok(message) => message,
        Err(error) => return unreadable(&error.to_string()),
    };
    let mut object = message.get_mut("object").map(Value::take).unwrap_or(Value::Null);
    let type_ = message.get("type").and_then(Value::as_str).unwrap_or("");
    if type_ == "ERROR" {
        return match Status::from_json(&object) {
            Some(status) => Frame::Error(status),
            None => unreadable("an error in no known form"),
        };
    }
    let Some(stored) = stored(&mut object) else {
        return unreadable("an object without a revision");
    };
    match type_ {
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
