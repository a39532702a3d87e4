//! The HTTP rim: TLS, HTTP/1.1 and HTTP/2, sizes and times; bytes become a Call, an Answer becomes bytes.
//!
//! It knows no stage of the pipeline; what objects, lists and watches look like is told by `render`.

pub mod gzip;
mod usage;

use crate::render::json;
use crate::rim::limit::{Limits, Refused, Room};
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use gzip::Gzip;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as HttpBody, Frame as Piece, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use skiff_api::Status;
use skiff_api::json::MAX_BODY_BYTES;
use skiff_api::pieces::Pieces;
use skiff_api::wire::{self, Answer, Body, Call, Duplex, Payload, Peer, Serve, User};
use skiff_base::Lock;
use skiff_base::{
    Tasks, World,
    accept::{self, ALIVE},
    fault,
};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use usage::{Usage, Use};

/// A handshake that takes longer is given up, so that silent peers hold no connection.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A body arrives within this time, whatever its size: upstream's limit of a whole request.
const BODY: Duration = Duration::from_secs(60);
/// So much of a body that is too large is read away before the refusal, for clients that do not read while they write.
const BODY_REST_MOST: usize = 64 << 20;
/// Streams of one HTTP/2 connection.
const STREAMS_MOST: u32 = 250;
/// The head of a request, and what a connection reads ahead of it: many of them are there before anybody is known.
const HEAD_MOST: usize = 64 * 1024;
/// What a peer of HTTP/2 may send that nobody has taken in: on each stream, and on all together.
const WINDOW: u32 = 256 * 1024;
/// More is not made for a stream of HTTP/2 while so much waits until its peer takes it: a watch has its queue in the
/// store, and a piece of a list may be larger.
const UNSENT: usize = 16 * 1024;
/// Streams that a peer opened and gave up again, or that were ended for a fault of its own: more end the connection
/// (CVE-2023-44487).
const RESETS_MOST: usize = 100;
/// So much of a body that nobody is to read is read away before the answer, so that its sender reads that; and so long
/// its sender is waited for.
const UNREAD_MOST: usize = 256 * 1024;
const UNREAD: Duration = Duration::from_secs(2);
type Sent = UnsyncBoxBody<Pieces, io::Error>;

/// What the rim needs: who answers, what is limited, who compresses, and how a client certificate becomes a user.
#[derive(Clone)]
pub struct HttpServer {
    pub world: World,
    pub serve: Arc<dyn Serve>,
    pub limits: Limits,
    pub gzip: Gzip,
    pub user_of: fn(&[u8]) -> Option<User>,
}

/// Accepts connections until the task group is stopped.
pub async fn run(
    rim: HttpServer,
    tls: Arc<rustls::ServerConfig>,
    listener: TcpListener,
    tasks: Tasks,
) {
    let places = rim.limits.connections();
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, address) = accept::accept(&listener, &rim.world).await;
        fault::point("api");
        let (rim, acceptor) = (rim.clone(), acceptor.clone());
        tasks.spawn(async move {
            let guest = rim.limits.guest(address.ip(), &rim.world).await;
            let Some(guest) = guest else { return };
            let Some((stream, peer)) = handshake(&rim, acceptor, stream, address).await else {
                return;
            };
            let is_known = matches!(&peer, Peer::Remote { certificate: Some(_), .. });
            let guest = (!is_known).then_some(guest);
            let usage = Usage::new(rim.world.clone(), place, guest);
            connection(rim, stream, peer, usage).await;
        });
    }
}

/// TLS, and who the other side is.
async fn handshake(
    rim: &HttpServer,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<(TlsStream<TcpStream>, Peer)> {
    accept::set_options(&stream, address);
    let stream = match rim.world.within(HANDSHAKE, acceptor.accept(stream)).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            tracing::debug!(%error, %address, "TLS handshake failed");
            return None;
        }
        None => {
            rim.limits.refuse(Refused::HandshakeTime);
            tracing::debug!(%address, "TLS handshake took too long");
            return None;
        }
    };
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = leaf.and_then(|leaf| (rim.user_of)(leaf)).map(Arc::new);
    Some((stream, Peer::Remote { certificate, address }))
}

/// Serves requests until the peer leaves, or asks nothing for too long.
async fn connection<S>(rim: HttpServer, stream: S, peer: Peer, usage: Arc<Usage>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(STREAMS_MOST).max_header_list_size(HEAD_MOST as u32);
    builder.http2().initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    builder.http2().max_send_buf_size(UNSENT);
    builder.http2().max_pending_accept_reset_streams(RESETS_MOST);
    builder.http2().max_local_error_reset_streams(Some(RESETS_MOST));
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(ALIVE).keep_alive_timeout(ALIVE);
    // hyper's own limit would end connections that only rest between two requests.
    builder.http1().header_read_timeout(None).max_buf_size(HEAD_MOST);
    let (world, limits) = (rim.world.clone(), rim.limits.clone());
    let (rim, using) = (Arc::new(rim), usage.clone());
    let service = hyper::service::service_fn(move |request| {
        let (rim, peer, used) = (rim.clone(), peer.clone(), Use::of(&using));
        // On its own, for its room is free again while a watch goes on.
        Box::pin(async move { Ok::<_, Infallible>(exchange(&rim, peer, request, used).await) })
    });
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        biased;
        ended = &mut served => ended,
        () = usage.idle() => {
            limits.refuse(Refused::IdleTime);
            served.as_mut().graceful_shutdown();
            // What the peer does not take now is dropped.
            world.within(HANDSHAKE, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

async fn exchange(
    rim: &HttpServer,
    peer: Peer,
    mut request: Request<Incoming>,
    used: Use,
) -> Response<Sent> {
    let head = request.method() == Method::HEAD;
    let coding = Coding::of(request.headers());
    let upgrade =
        request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let expects = parts.headers.contains_key(header::EXPECT);
    let shows = parts.headers.contains_key(header::AUTHORIZATION);
    // Most requests have none, and those cost nothing of what follows for one.
    let body = (!body.is_end_stream()).then(|| Coming::new(Lock::new(Some(body))));
    let call = Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        headers: parts.headers,
        payload: match body.clone() {
            None => wire::Sending::Here(Payload::None),
            Some(body) => wire::Sending::Coming(Box::pin(read(rim.clone(), body))),
        },
        peer,
        upgrade: upgrade.map(|on| -> wire::Upgrade {
            Box::pin(async move {
                let upgraded = on.await.map_err(io::Error::other)?;
                Ok(Box::new(TokioIo::new(upgraded)) as Box<dyn Duplex>)
            })
        }),
    };
    let answer = rim.serve.serve(call).await;
    if shows && answer.status != StatusCode::UNAUTHORIZED {
        used.know();
    }
    // A sender that waits to be asked for the body was not asked.
    if let (Some(unread), false) = (body.as_ref().and_then(take), expects) {
        // Who sends more, or takes longer, may miss the answer.
        let _ = rim.world.within(UNREAD, read_away(unread, UNREAD_MOST)).await;
    }
    write(rim, answer, (head, coding), used)
}

/// A body on its way, until somebody takes it.
type Coming = Arc<Lock<Option<Incoming>>>;

fn take(body: &Coming) -> Option<Incoming> {
    body.lock().take()
}

/// The whole body, within limits of size, room and time.
async fn read(rim: HttpServer, body: Coming) -> Result<Payload, Box<Answer>> {
    let Some(mut body) = take(&body) else { return Ok(Payload::None) };
    let mut room = rim.limits.room();
    let refusal = match rim.world.within(BODY, gather(&rim, &mut body, &mut room)).await {
        Some(Ok(bytes)) if bytes.is_empty() => return Ok(Payload::None),
        Some(Ok(bytes)) => {
            return Ok(Payload::Bytes(Bytes::from_owner(Held { bytes, _room: room })));
        }
        Some(Err(refusal)) => refusal,
        None => {
            rim.limits.refuse(Refused::BodyTime);
            return Err(Box::new(crate::pipeline::too_late()));
        }
    };
    // Who sends more, or takes longer, may miss the refusal.
    let _ = rim.world.within(BODY, read_away(body, BODY_REST_MOST)).await;
    Err(Box::new(refusal.into()))
}

/// A body in memory keeps its room.
struct Held {
    bytes: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn gather(rim: &HttpServer, body: &mut Incoming, room: &mut Room) -> Result<Vec<u8>, Status> {
    let announced = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    // What is not written to costs nothing yet.
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(MAX_BODY_BYTES));
    while let Some(piece) = body.frame().await {
        let piece = piece
            .map_err(|error| Status::bad_request(format!("the body could not be read: {error}")))?;
        let Ok(data) = piece.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BODY_BYTES {
            rim.limits.refuse(Refused::BodySize);
            return Err(Status::too_large(MAX_BODY_BYTES));
        }
        room.take(data.len(), &rim.world).await?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// curl takes an answer that ends the stream of its upload for a broken one, and a connection that is closed with
/// bytes unread may lose the answer.
async fn read_away(mut body: Incoming, most: usize) {
    let mut left = most;
    while let Some(Ok(piece)) = body.frame().await {
        match left.checked_sub(piece.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Large answers of known extent are compressed for those who read that; watches never are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
}

/// Smaller answers are faster sent than compressed; upstream draws the line here too.
const GZIP_LEAST: usize = 128 * 1024;

impl Coding {
    fn of(headers: &HeaderMap) -> Coding {
        let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|it| it.to_str().ok());
        let mut words = accepted.unwrap_or("").split(',').map(str::trim);
        if words.any(|it| it == "gzip") { Coding::Gzip } else { Coding::Plain }
    }

    /// What this body is sent in.
    fn for_body(self, body: &Body) -> Coding {
        if self == Coding::Plain {
            return self;
        }
        let size = match body {
            Body::Bytes(bytes) => bytes.len(),
            Body::Object(stored) => stored.body.len(),
            Body::List(list) => list.size(),
            Body::Rendered(rendered) => rendered.size.unwrap_or(0),
            _ => 0,
        };
        if size > GZIP_LEAST { self } else { Coding::Plain }
    }
}

/// An answer's body, before it is compressed or not.
enum Sending {
    Whole(Bytes),
    Pieces(BoxStream<'static, io::Result<Pieces>>),
}

fn write(
    rim: &HttpServer,
    answer: Answer,
    (head, coding): (bool, Coding),
    used: Use,
) -> Response<Sent> {
    let Answer { status, mut headers, body } = answer;
    let is_plain = head || headers.contains_key(header::CONTENT_ENCODING);
    let coding = if is_plain { Coding::Plain } else { coding.for_body(&body) };
    if coding == Coding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    // What is empty is of no type.
    let untyped = matches!(&body, Body::Bytes(bytes) if bytes.is_empty());
    let sending = match body {
        _ if head => Sending::Whole(Bytes::new()),
        Body::Bytes(bytes) => Sending::Whole(ended(&headers, bytes)),
        Body::Object(stored) => Sending::Whole(json::object(&stored)),
        Body::List(list) => Sending::Pieces(json::list(list)),
        Body::Watch(frames) => Sending::Pieces(frames.map(|it| Ok(json::frame(it))).boxed()),
        Body::Rendered(rendered) => Sending::Pieces(rendered.pieces),
        Body::Stream(pieces) => Sending::Pieces(pieces.map_ok(Pieces::from).boxed()),
        Body::Upgraded(run) => {
            // The connection becomes a stream once this answer is out, and keeps its place.
            let used = used.clone();
            tokio::task::spawn(async move {
                run.await;
                drop(used);
            });
            Sending::Whole(Bytes::new())
        }
    };
    let mut response = Response::new(match (sending, coding) {
        (Sending::Whole(bytes), Coding::Plain) => full(bytes),
        (Sending::Whole(bytes), Coding::Gzip) => {
            let pieces = stream::iter([Ok(bytes.into())]).boxed();
            stream_of(rim.gzip.pieces(pieces), used)
        }
        (Sending::Pieces(pieces), Coding::Plain) => stream_of(pieces, used),
        (Sending::Pieces(pieces), Coding::Gzip) => stream_of(rim.gzip.pieces(pieces), used),
    });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let json = HeaderValue::from_static("application/json");
    if status != StatusCode::SWITCHING_PROTOCOLS {
        if !untyped {
            response.headers_mut().entry(header::CONTENT_TYPE).or_insert(json);
        }
        let private = HeaderValue::from_static("no-cache, private");
        response.headers_mut().entry(header::CACHE_CONTROL).or_insert(private);
    }
    response
}

/// JSON documents end with a line feed, unless people read them (those have lines enough).
fn ended(headers: &HeaderMap, bytes: Bytes) -> Bytes {
    let type_ = headers.get(header::CONTENT_TYPE);
    let is_json = type_.is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
    if !is_json || bytes.is_empty() || bytes.starts_with(b"{\n") || bytes.ends_with(b"\n") {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len() + 1);
    out.extend_from_slice(&bytes);
    out.push(b'\n');
    out.into()
}

fn full(bytes: Bytes) -> Sent {
    Full::new(Pieces::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}

/// The connection is in use until the last piece is taken.
fn stream_of(pieces: BoxStream<'static, io::Result<Pieces>>, used: Use) -> Sent {
    let framed = pieces.map(move |piece| {
        let _ = &used;
        piece.map(Piece::data)
    });
    StreamBody::new(framed).boxed_unsync()
}

#[cfg(test)]
mod tests;
