//! Forward: a request for what an aggregated server serves, after this server knows who sends it and that they may,
//! goes there, and what comes back goes to the caller as it is. Errors are upstream's: plain text.

use super::Registered;
use super::headers::outgoing;
use crate::Server;
use crate::connect::{self, pass_on};
use crate::outbound::{Failure, Peer};
use crate::pipeline::{held, too_late};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, StatusCode};
use http_body_util::Full;
use skiff_api::Status;
use skiff_api::wire::{
    Answer, Body, Call, Payload, Peer as Caller, Sending, Upgrade, User, encode,
};
use skiff_base::World;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who asks, and for how long they wait; without an end for a watch and for what is a connection.
pub struct Asker<'a> {
    pub user: &'a User,
    pub within: Option<Duration>,
}

/// An answer, its body piece by piece.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    pieces: BoxStream<'static, io::Result<Bytes>>,
}

/// Sends a call on.
///
/// # Errors
/// When the caller's name or path cannot be said.
pub async fn forward(
    server: &Arc<Server>,
    to: &Registered,
    asker: Asker<'_>,
    mut call: Call,
) -> Result<Answer, Status> {
    let Some(target) = to.target.as_ref().filter(|_| to.available) else {
        return Ok(told(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
    };
    let places = match asker.within {
        Some(_) => &to.places.calls,
        None => &to.places.streams,
    };
    let Ok(place) = places.clone().try_acquire_owned() else { return Ok(too_many()) };
    let peer = server.aggregator.outbound.peer(target);
    if let Some(why) = peer.unusable() {
        return Ok(told(StatusCode::INTERNAL_SERVER_ERROR, why));
    }
    let payload = std::mem::replace(&mut call.payload, Sending::Here(Payload::None));
    let body = match payload.arrived().await {
        Ok(Payload::None) => Bytes::new(),
        Ok(Payload::Bytes(bytes)) => bytes,
        Ok(Payload::Tree(tree)) => tree.to_string().into(),
        Err(answer) => return Ok(*answer),
    };
    let upgrade = call.upgrade.take();
    let request = request(&call, asker.user, upgrade.is_some(), body)?;
    let world = server.world.clone();
    let until = asker.within.map(|within| world.uptime() + within);
    let exchanged = exchange(&peer, request, upgrade);
    let exchanged = match asker.within {
        Some(within) => match world.within(within, exchanged).await {
            Some(exchanged) => exchanged,
            None => return Ok(too_late()),
        },
        None => exchanged.await,
    };
    Ok(match exchanged {
        Ok(Exchanged::Upgraded(answer)) => held(answer, place),
        Ok(Exchanged::Answered(answered)) => finish(answered, &world, until, place),
        Err(failure) => told(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("error trying to reach service: {failure}"),
        ),
    })
}

enum Exchanged {
    Answered(Answered),
    Upgraded(Answer),
}

/// The request as it goes there. The path is what was authorized, written anew: two who read one path in two ways would
/// be a hole.
fn request(
    call: &Call,
    user: &User,
    upgrades: bool,
    body: Bytes,
) -> Result<http::Request<Full<Bytes>>, Status> {
    let path = crate::request::url::decode(&call.path);
    if path.split('/').any(|part| part == "." || part == "..") {
        return Err(Status::bad_request(
            "a path of an aggregated server holds no \".\" and \"..\"",
        ));
    }
    let path = path.split('/').map(encode).collect::<Vec<_>>().join("/");
    let uri = match &*call.query {
        "" => path.clone(),
        query => format!("{path}?{query}"),
    };
    let mut headers = outgoing(&call.headers, user, upgrades)?;
    let value = |text: &str| HeaderValue::from_str(text).map_err(Status::internal);
    if let Caller::Remote { address, .. } = &call.peer {
        let address = address.ip().to_canonical().to_string();
        let before = headers.get(&FORWARDED_FOR).and_then(|it| it.to_str().ok());
        let all = before.map_or(address.clone(), |before| format!("{before}, {address}"));
        headers.insert(FORWARDED_FOR, value(&all)?);
    }
    if let Some(host) = call.headers.get(http::header::HOST) {
        headers.insert(FORWARDED_HOST, host.clone());
    }
    headers.insert(FORWARDED_URI, value(&path)?);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    let request = http::Request::builder().method(&call.method).uri(uri).body(Full::new(body));
    let mut request = request.map_err(|error| Status::bad_request(error.to_string()))?;
    *request.headers_mut() = headers;
    Ok(request)
}

async fn exchange(
    peer: &Peer,
    request: http::Request<Full<Bytes>>,
    upgrade: Option<Upgrade>,
) -> Result<Exchanged, Failure> {
    // What may be done twice without harm may go over a connection that could be closed at the other end by now (RFC
    // 9110, section 9.2.2); all else gets one that was just made, and is sent once.
    let repeatable = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if upgrade.is_none() && repeatable {
        let reply = peer.send(request).await?;
        let (status, headers) = (reply.head.status, reply.head.headers.clone());
        unasked(status)?;
        return Ok(Exchanged::Answered(Answered { status, headers, pieces: reply.pieces() }));
    }
    let mut request = request;
    peer.name_host(&mut request)?;
    let stream = peer.connect().await?;
    let called = connect::over(stream, request).await;
    let called = called.map_err(|error| Failure::Garbage(error.to_string()))?;
    let (status, headers) = (called.head.status, called.head.headers.clone());
    if let Some(upgrade) = upgrade
        && status == StatusCode::SWITCHING_PROTOCOLS
    {
        return Ok(Exchanged::Upgraded(connect::upgraded(upgrade, called, headers)));
    }
    unasked(status)?;
    Ok(Exchanged::Answered(Answered { status, headers, pieces: called.pieces() }))
}

/// What follows a change of the protocol would be no answer of HTTP.
fn unasked(status: StatusCode) -> Result<(), Failure> {
    match status {
        StatusCode::SWITCHING_PROTOCOLS => {
            Err(Failure::Garbage("it changed the protocol unasked".into()))
        }
        _ => Ok(()),
    }
}

fn finish(
    answered: Answered,
    world: &World,
    until: Option<Duration>,
    place: OwnedSemaphorePermit,
) -> Answer {
    let Answered { status, headers, pieces } = answered;
    if status.is_redirection() && headers.contains_key(LOCATION) {
        let why = "the backend attempted to redirect this request, which is not permitted";
        return Answer::text(StatusCode::BAD_GATEWAY, why);
    }
    let pieces = match until {
        Some(until) => ending(pieces, world.clone(), until),
        None => pieces,
    };
    let mut answer = Answer::new(status, Body::Stream(pieces));
    answer.headers = pass_on(&headers);
    held(answer, place)
}

/// The pieces that come in time; then it breaks off, so that nobody takes a part for the whole.
fn ending(
    pieces: BoxStream<'static, io::Result<Bytes>>,
    world: World,
    until: Duration,
) -> BoxStream<'static, io::Result<Bytes>> {
    stream::unfold(Some((pieces, world)), move |state| async move {
        let (mut pieces, world) = state?;
        let left = until.saturating_sub(world.uptime());
        match world.within(left, pieces.next()).await {
            Some(piece) => Some((piece?, Some((pieces, world)))),
            None => Some((Err(io::Error::other("the answer did not end in its time")), None)),
        }
    })
    .boxed()
}

fn told(status: StatusCode, why: &str) -> Answer {
    let mut answer = Answer::text(status, format!("{why}\n"));
    answer.headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

fn too_many() -> Answer {
    let text = "Too many requests, please try again later.";
    let mut answer = told(StatusCode::TOO_MANY_REQUESTS, text);
    answer.headers.insert(RETRY_AFTER, HeaderValue::from(1));
    answer
}
