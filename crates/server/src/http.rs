//! The HTTP rim: TLS, HTTP/1.1 and HTTP/2, sizes and times; bytes become a Call, an Answer becomes bytes.
//!
//! It knows no stage of the pipeline. Objects, lists and watches are written here, and only here, from shared bytes.

use crate::render::list_metadata;
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::stream::{self, BoxStream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame as Piece, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::json;
use skiff_api::Status;
use skiff_api::wire::{Answer, Body, Call, Duplex, Frame, List, Payload, Peer, Serve, User};
use skiff_base::{Tasks, World};
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The largest body of a request: upstream's limit.
pub const BODY_MOST: usize = 3 * 1024 * 1024;
/// Connections at once: a thousand nodes and their clients, with room; above it new ones wait in the backlog.
const CONNECTIONS_MOST: usize = 4096;
/// A handshake that takes longer is given up, so that silent peers hold no connection.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Who begins a request (the first one after the handshake, too) sends its head within this time; upstream's limit.
const HEAD: Duration = Duration::from_secs(32);
/// A peer of HTTP/2 that is silent so long is asked for a sign of life, and is gone when none comes.
const ALIVE: Duration = Duration::from_secs(30);
/// Streams of one HTTP/2 connection.
const STREAMS_MOST: u32 = 250;
/// A list is written in pieces of about this size, so that it is never whole in memory a second time.
const LIST_PIECE: usize = 64 * 1024;
/// A piece ends with a whole item, which is usually not larger than the room beyond.
const LIST_PIECE_ROOM: usize = LIST_PIECE + 8 * 1024;

type Sent = UnsyncBoxBody<Bytes, io::Error>;

/// What the rim needs: who answers, how TLS is done, and how a client certificate becomes a user.
#[derive(Clone)]
pub struct Rim {
    pub world: World,
    pub serve: Arc<dyn Serve>,
    pub tls: Arc<rustls::ServerConfig>,
    pub user_of: fn(&[u8]) -> Option<User>,
}

/// Accepts connections until the task group is stopped.
pub async fn run(rim: Rim, listener: TcpListener, tasks: Tasks) {
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MOST));
    let acceptor = TlsAcceptor::from(rim.tls.clone());
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: others must end before one more can begin.
                tracing::warn!(%error, "accepting a connection failed");
                rim.world.sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (rim, acceptor) = (rim.clone(), acceptor.clone());
        tasks.spawn(async move {
            let _place = place;
            connection(rim, acceptor, stream, address).await;
        });
    }
}

async fn connection(rim: Rim, acceptor: TlsAcceptor, stream: TcpStream, address: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %address, "no TCP_NODELAY");
    }
    let stream = match rim.world.within(HANDSHAKE, acceptor.accept(stream)).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => return tracing::debug!(%error, %address, "TLS handshake failed"),
        None => return tracing::debug!(%address, "TLS handshake took too long"),
    };
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = leaf.and_then(|leaf| (rim.user_of)(leaf)).map(Arc::new);
    let peer = Peer::Remote { certificate, address };
    let mut stream = BufReader::new(stream);
    if rim.world.within(HEAD, stream.fill_buf()).await.is_none() {
        return tracing::debug!(%address, "no request came");
    }
    let service = hyper::service::service_fn(move |request| {
        let (serve, peer) = (rim.serve.clone(), peer.clone());
        async move { Ok::<_, Infallible>(exchange(&*serve, peer, request).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(STREAMS_MOST).max_header_list_size(64 * 1024);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(ALIVE).keep_alive_timeout(ALIVE);
    builder.http1().half_close(true).timer(TokioTimer::new()).header_read_timeout(HEAD);
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await
    {
        tracing::debug!(%error, %address, "connection ended");
    }
}

async fn exchange(serve: &dyn Serve, peer: Peer, mut request: Request<Incoming>) -> Response<Sent> {
    let head = request.method() == Method::HEAD;
    let coding = Coding::of(request.headers());
    let upgrade =
        request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let payload = match read(body).await {
        Ok(payload) => payload,
        Err(status) => return write(status.into(), head, coding),
    };
    let call = Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        headers: parts.headers,
        payload,
        peer,
        upgrade: upgrade.map(|on| -> skiff_api::wire::Upgrade {
            Box::pin(async move {
                let upgraded = on.await.map_err(io::Error::other)?;
                Ok(Box::new(TokioIo::new(upgraded)) as Box<dyn Duplex>)
            })
        }),
    };
    write(serve.serve(call).await, head, coding)
}

async fn read(body: Incoming) -> Result<Payload, Status> {
    match Limited::new(body, BODY_MOST).collect().await {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            Ok(if bytes.is_empty() { Payload::None } else { Payload::Bytes(bytes) })
        }
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Status::too_large(BODY_MOST))
        }
        Err(error) => Err(Status::bad_request(format!("the body could not be read: {error}"))),
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
        let size = match body {
            Body::Bytes(bytes) => bytes.len(),
            Body::Object(stored) => stored.body.len(),
            Body::List(list) => list.items.iter().map(|item| item.body.len()).sum(),
            _ => 0,
        };
        if size > GZIP_LEAST { self } else { Coding::Plain }
    }
}

/// Compresses piece by piece, at the speed that upstream chose.
fn gzip(
    pieces: BoxStream<'static, Result<Bytes, io::Error>>,
) -> BoxStream<'static, Result<Bytes, io::Error>> {
    let encoder = GzEncoder::new(Vec::with_capacity(LIST_PIECE), Compression::new(1));
    stream::unfold((pieces, Some(encoder)), |(mut pieces, encoder)| async move {
        let mut encoder = encoder?;
        while let Some(piece) = pieces.next().await {
            let written = piece.and_then(|piece| encoder.write_all(&piece));
            if let Err(error) = written {
                return Some((Err(error), (pieces, None)));
            }
            if encoder.get_ref().len() >= LIST_PIECE / 2 {
                let full = std::mem::replace(encoder.get_mut(), Vec::with_capacity(LIST_PIECE));
                return Some((Ok(full.into()), (pieces, Some(encoder))));
            }
        }
        Some((encoder.finish().map(Bytes::from), (pieces, None)))
    })
    .boxed()
}

fn write(answer: Answer, head: bool, coding: Coding) -> Response<Sent> {
    let Answer { status, mut headers, body } = answer;
    let is_plain = head || headers.contains_key(header::CONTENT_ENCODING);
    let coding = if is_plain { Coding::Plain } else { coding.for_body(&body) };
    let sent = |bytes: Bytes| match coding {
        Coding::Plain => full(bytes),
        Coding::Gzip => stream_of(gzip(stream::iter([Ok(bytes)]).boxed())),
    };
    if coding == Coding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    // What is empty is of no type.
    let untyped = matches!(&body, Body::Bytes(bytes) if bytes.is_empty());
    let mut response = Response::new(match body {
        _ if head => full(Bytes::new()),
        Body::Bytes(bytes) => sent(ended(&headers, bytes)),
        Body::Object(stored) => {
            let mut out = Vec::with_capacity(stored.body.len() + 128);
            stored.write(&mut out);
            out.push(b'\n');
            sent(out.into())
        }
        Body::List(list) if coding == Coding::Gzip => stream_of(gzip(pieces(list))),
        Body::List(list) => stream_of(pieces(list)),
        Body::Watch(frames) => stream_of(frames.map(|frame| Ok(line(frame))).boxed()),
        Body::Stream(pieces) => stream_of(pieces),
        Body::Upgraded(run) => {
            // The connection becomes a stream once this answer is out; its task lives with the connection's.
            tokio::task::spawn(run);
            full(Bytes::new())
        }
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
    let sort = headers.get(header::CONTENT_TYPE);
    let is_json = sort.is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
    if !is_json || bytes.is_empty() || bytes.starts_with(b"{\n") || bytes.ends_with(b"\n") {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len() + 1);
    out.extend_from_slice(&bytes);
    out.push(b'\n');
    out.into()
}

fn full(bytes: Bytes) -> Sent {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn stream_of(pieces: BoxStream<'static, Result<Bytes, io::Error>>) -> Sent {
    StreamBody::new(pieces.map(|piece| piece.map(Piece::data))).boxed_unsync()
}

/// A list, piece by piece.
fn pieces(list: List) -> BoxStream<'static, Result<Bytes, io::Error>> {
    let mut start = Vec::with_capacity(LIST_PIECE_ROOM);
    start.push(b'{');
    start.extend_from_slice(list.head.as_bytes());
    start
        .extend_from_slice(format!("\"metadata\":{},\"items\":[", list_metadata(&list)).as_bytes());
    let headed = list.headed_items;
    let mut items = list.items.into_iter();
    let state = (start, true, false);
    stream::unfold(state, move |(mut out, mut first, ended)| {
        if !ended {
            for item in items.by_ref() {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                if headed {
                    item.write(&mut out)
                } else {
                    item.write_item(&mut out)
                }
                if out.len() >= LIST_PIECE {
                    let room = Vec::with_capacity(LIST_PIECE_ROOM);
                    return std::future::ready(Some((Ok(out.into()), (room, first, false))));
                }
            }
            out.extend_from_slice(b"]}\n");
        }
        let next = (!out.is_empty()).then(|| (Ok(out.into()), (Vec::new(), first, true)));
        std::future::ready(next)
    })
    .boxed()
}

/// One message of a watch.
fn line(frame: Frame) -> Bytes {
    let (sort, stored) = match &frame {
        Frame::Added(stored) => ("ADDED", stored),
        Frame::Modified(stored) => ("MODIFIED", stored),
        Frame::Deleted(stored) => ("DELETED", stored),
        Frame::Bookmark { head, revision, initial_end } => {
            return bookmark(head, *revision, *initial_end);
        }
        Frame::Error(status) => {
            return format!("{}\n", json!({"type": "ERROR", "object": status.to_json()})).into();
        }
        Frame::Other(sort, bytes) => {
            let mut out = format!("{{\"type\":\"{sort}\",\"object\":").into_bytes();
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"}\n");
            return out.into();
        }
    };
    let mut out = format!("{{\"type\":\"{sort}\",\"object\":").into_bytes();
    stored.write(&mut out);
    out.extend_from_slice(b"}\n");
    out.into()
}

fn bookmark(head: &str, revision: u64, initial_end: bool) -> Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    format!("{{\"type\":\"BOOKMARK\",\"object\":{{{head}\"metadata\":{metadata}}}}}\n").into()
}
