//! pods/log: the log of a container, fetched from its node.
//!
//! The answer is text as it comes; a client that asks for a WebSocket gets the same bytes as its
//! messages (`binary.k8s.io`, `base64.binary.k8s.io`).

use super::dial::{self, Callee};
use super::log_options;
use super::stream::{self, refusal};
use super::target;
use crate::Server;
use crate::request::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::stream::{BoxStream, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::Full;
use skiff_api::Status;
use skiff_api::wire::{Answer, Body, Call, Duplex, Upgrade};
use std::io;
use std::sync::Arc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

/// The protocols of logs; `""` is that of clients that name none.
const PROTOCOLS: [&str; 3] = ["binary.k8s.io", "base64.binary.k8s.io", ""];

/// A client of a log has nothing to say but its goodbye.
const SAID_MOST: usize = 4096;

/// GET pods/NAME/log
pub async fn log(server: &Arc<Server>, request: &Request, call: Call) -> Result<Answer, Status> {
    let options = log_options::read(request)?;
    let pod = target::pod(server, request).await?;
    let container = target::container(&pod, request.query.get("container"))?;
    // A pod without a node has written nothing yet.
    let Some(node) = target::node_of(server, request, &pod).await? else {
        return Ok(Answer::new(StatusCode::NO_CONTENT, Body::Bytes(Bytes::new())));
    };
    let query = if options.is_empty() { options } else { format!("?{options}") };
    let path = format!("/containerLogs/{}/{}/{container}{query}", pod.namespace(), pod.name());
    let asked = http::Request::get(path).header(header::HOST, &node.name);
    let asked = asked.body(Full::new(Bytes::new())).map_err(Status::internal)?;
    let callee = Callee::Node(node);
    let url = format!("https://{callee}{}", asked.uri());
    let called = dial::call(&server.nodes, &server.world, &callee, asked).await;
    let called = called.map_err(|error| stream::unreached(format!("Get \"{url}\": {error}")))?;
    if !called.head.status.is_success() {
        return Err(refusal(called).await);
    }
    let pieces = called.pieces();
    match call.upgrade {
        Some(upgrade) => over_websocket(&call.headers, upgrade, pieces),
        None => Ok(Answer::new(StatusCode::OK, Body::Stream(pieces)).typed("text/plain")),
    }
}

type Pieces = BoxStream<'static, io::Result<Bytes>>;

fn over_websocket(headers: &HeaderMap, upgrade: Upgrade, pieces: Pieces) -> Result<Answer, Status> {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let Some(key) = text(header::SEC_WEBSOCKET_KEY) else {
        return Err(Status::bad_request("the upgrade is no WebSocket handshake"));
    };
    let offered = text(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or("");
    let mut offers = offered.split(',').map(str::trim);
    let Some(protocol) = offers.find_map(|o| PROTOCOLS.iter().find(|ours| **ours == o)) else {
        return Err(Status::bad_request(format!("none of the protocols {offered} is served")));
    };
    let base64 = protocol.starts_with("base64");
    let run = async move {
        let sent = match upgrade.await {
            Ok(client) => send(client, pieces, base64).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "a log's WebSocket broke off");
        }
    };
    let mut answer = Answer::new(StatusCode::SWITCHING_PROTOCOLS, Body::Upgraded(Box::pin(run)));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let accept = accept.map_err(Status::internal)?;
    answer.headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if !protocol.is_empty() {
        let protocol = HeaderValue::from_static(protocol);
        answer.headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(answer)
}

async fn send(client: Box<dyn Duplex>, mut pieces: Pieces, base64: bool) -> io::Result<()> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(SAID_MOST))
        .max_frame_size(Some(SAID_MOST));
    let socket = WebSocketStream::from_raw_socket(client, Role::Server, Some(config)).await;
    let (mut out, mut back) = socket.split();
    let sending = async {
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            let message = match base64 {
                true => Message::Text(STANDARD.encode(&piece).into()),
                false => Message::Binary(piece),
            };
            out.send(message).await.map_err(io::Error::other)?;
        }
        let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        out.send(Message::Close(Some(normal))).await.map_err(io::Error::other)?;
        // The client's goodbye ends the connection.
        std::future::pending().await
    };
    // The client says nothing but its goodbye (and pings, which reading answers).
    let leaving = async { while let Some(Ok(_)) = back.next().await {} };
    tokio::select! {
        biased;
        sent = sending => sent,
        () = leaving => Ok(()),
    }
}
