//! WebSocket (RFC 6455): the handshake over an HTTP/1.1 request, and the messages after it.
//!
//! Never here: what the messages mean.

use super::Session;
use super::reply::{Reply, refuse, whole};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use skiff_base::World;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The largest message from a client: what the WebSocket library of upstream's server takes.
const MESSAGE_MOST: usize = 32 * 1024 * 1024;
/// How long a client may take to say goodbye; closing under its feet could lose the last output.
const GOODBYE: Duration = Duration::from_secs(10);

const PROTOCOL: header::HeaderName = header::SEC_WEBSOCKET_PROTOCOL;

/// What messages travel on.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Carrier for T {}

/// Messages to the client.
pub struct Sender<S>(SplitSink<WebSocketStream<S>, Message>);
/// Messages from the client.
pub struct Receiver<S>(SplitStream<WebSocketStream<S>>);

/// The first of our protocols that the client offers too, in the order of the client. `""` is the
/// one of clients that name none, where we have such a protocol.
pub fn choose<'a>(headers: &HeaderMap, ours: &[&'a str]) -> Option<&'a str> {
    let offers = headers.get_all(PROTOCOL);
    let mut offered = offers.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    if headers.get(PROTOCOL).is_none() {
        return ours.iter().find(|own| own.is_empty()).copied();
    }
    offered.find_map(|offer| ours.iter().find(|own| **own == offer.trim()).copied())
}

/// Answers 101 and leaves `work` to run on the connection; a refusal if this is no handshake, or
/// if no protocol is common.
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
    let headers = request.headers();
    let has = |name, word: &str| {
        let value = headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or("");
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY).cloned();
    let (true, true, Some(key)) =
        (has(header::UPGRADE, "websocket"), has(header::CONNECTION, "upgrade"), key)
    else {
        let why = "unable to upgrade: this path is a WebSocket (SPDY upgrades are not served)";
        return refuse(StatusCode::BAD_REQUEST, why);
    };
    let Some(protocol) = choose(headers, ours) else {
        let why = format!("none of the offered protocols is served: {}", ours.join(", "));
        return refuse(StatusCode::BAD_REQUEST, why);
    };
    let on = hyper::upgrade::on(&mut request);
    let session = async move {
        match on.await {
            Ok(upgraded) => work(protocol, TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "an upgrade did not come about"),
        }
    };
    *later.lock().expect("no holder of this lock panics") = Some(Box::pin(session));
    switched(&key, protocol)
}

fn switched(key: &HeaderValue, protocol: &'static str) -> Response<Reply> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if !protocol.is_empty() {
        headers.insert(PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}

/// The server's side of a connection after its handshake.
pub async fn open<S: Carrier>(carrier: S) -> (Sender<S>, Receiver<S>) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MOST))
        .max_frame_size(Some(MESSAGE_MOST));
    let socket = WebSocketStream::from_raw_socket(carrier, Role::Server, Some(config)).await;
    let (sender, receiver) = socket.split();
    (Sender(sender), Receiver(receiver))
}

impl<S: Carrier> Sender<S> {
    pub async fn binary(&mut self, message: Bytes) -> io::Result<()> {
        self.0.send(Message::Binary(message)).await.map_err(io::Error::other)
    }

    pub async fn text(&mut self, message: String) -> io::Result<()> {
        self.0.send(Message::Text(message.into())).await.map_err(io::Error::other)
    }

    /// Says goodbye, waits for the client's, and lets go of the connection.
    pub async fn close(mut self, receiver: Receiver<S>, world: &World) {
        let goodbye = async {
            // Clients take an end without a code for an error.
            let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            self.0.send(Message::Close(Some(normal))).await?;
            let mut rest = receiver.0;
            while let Some(Ok(_)) = rest.next().await {}
            Ok::<_, Error>(())
        };
        match world.within(GOODBYE, goodbye).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, "a client was gone before its stream"),
            None => tracing::debug!("a client did not end its connection"),
        }
    }
}

impl<S: Carrier> Receiver<S> {
    /// The next message's bytes; `None` when the client is gone, with or without a goodbye.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.0.next().await? {
                Ok(Message::Binary(bytes)) => return Some(bytes),
                Ok(Message::Text(text)) => return Some(text.into()),
                // A ping is answered by the library, with the next read.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Ok(Message::Close(_)) => return None,
                Err(error) => {
                    tracing::debug!(%error, "a WebSocket broke off");
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_favourite_of_our_protocols_is_chosen() {
        let ours = ["v5.channel.k8s.io", "v4.channel.k8s.io", ""];
        let chosen = |offers: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for offer in offers {
                headers.append(PROTOCOL, HeaderValue::from_static(offer));
            }
            choose(&headers, &ours)
        };
        assert_eq!(chosen(&["x, v4.channel.k8s.io, v5.channel.k8s.io"]), Some("v4.channel.k8s.io"));
        assert_eq!(chosen(&["x", "v5.channel.k8s.io"]), Some("v5.channel.k8s.io"));
        assert_eq!(chosen(&["x"]), None);
        assert_eq!(chosen(&[]), Some(""));
    }
}
