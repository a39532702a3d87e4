//! WebSocket (RFC 6455): the handshake over an HTTP/1.1 request, and the messages after it.
//!
//! A message of a client is handed on in pieces, as it comes: it may be as long as it likes and costs one buffer.
//!
//! Never here: what the messages mean.

use super::reply::{Reply, refuse, whole};
use super::{Session, connection};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use skiff_base::Lock;
use skiff_base::World;
use std::future::Future;
use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Read at once, hence the largest piece of a message.
const READ: usize = 32 * 1024;
/// What a control frame may hold (RFC 6455, section 5.5).
const CONTROL_MOST: u64 = 125;
/// How long a client may take to say goodbye; closing under its feet could lose the last output.
const GOODBYE: Duration = Duration::from_secs(10);

const PROTOCOL: header::HeaderName = header::SEC_WEBSOCKET_PROTOCOL;

/// What messages travel on.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Carrier for T {}

/// Messages to the client.
pub struct Sender<S>(Arc<Way<S>>);

/// Messages from the client.
pub struct Receiver<S> {
    from: ReadHalf<S>,
    /// Where pings are answered.
    back: Arc<Way<S>>,
    waiting: BytesMut,
    /// What of the present frame is still to come.
    frame: Option<Frame>,
    /// The last frame began or continued a message that another one continues.
    continues: bool,
    /// The next piece is the first of a message.
    fresh: bool,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub bytes: Bytes,
    pub first: bool,
    pub last: bool,
}

#[derive(Clone, Copy)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    left: u64,
}

/// The way to the client.
struct Way<S> {
    to: tokio::sync::Mutex<WriteHalf<S>>,
    /// The answer to the last ping or goodbye. It waits for a message that is being written, and a
    /// later one replaces it (RFC 6455, section 5.5.3): a client that reads nothing costs one.
    owed: Lock<Option<(Control, Bytes)>>,
}

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
        let why = "unable to upgrade: this path is a WebSocket or speaks SPDY/3.1";
        return refuse(StatusCode::BAD_REQUEST, why);
    };
    let Some(protocol) = choose(headers, ours) else {
        let why = format!("none of the offered protocols is served: {}", ours.join(", "));
        return refuse(StatusCode::BAD_REQUEST, why);
    };
    connection::leave(&mut request, later, move |upgraded| work(protocol, upgraded));
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
pub fn open<S: Carrier>(carrier: S) -> (Sender<S>, Receiver<S>) {
    let (from, to) = tokio::io::split(carrier);
    let way = Arc::new(Way { to: to.into(), owed: Lock::default() });
    let receiver = Receiver {
        from,
        back: way.clone(),
        waiting: BytesMut::new(),
        frame: None,
        continues: false,
        fresh: true,
    };
    (Sender(way), receiver)
}

impl<S: Carrier> Way<S> {
    async fn message(&self, type_: Data, payload: &[u8]) -> io::Result<()> {
        let mut to = self.to.lock().await;
        write(&mut to, OpCode::Data(type_), payload).await?;
        drop(to);
        self.settle().await
    }

    async fn owe(&self, type_: Control, payload: Bytes) -> io::Result<()> {
        *self.owed.lock() = Some((type_, payload));
        self.settle().await
    }

    /// Sends what is owed, unless a message is being written: then its writer does.
    async fn settle(&self) -> io::Result<()> {
        let is_owed = || self.owed.lock().is_some();
        while is_owed() {
            let Ok(mut to) = self.to.try_lock() else { return Ok(()) };
            let owed = self.owed.lock().take();
            if let Some((type_, payload)) = owed {
                write(&mut to, OpCode::Control(type_), &payload).await?;
            }
        }
        Ok(())
    }
}

async fn write<S: Carrier>(
    to: &mut WriteHalf<S>,
    opcode: OpCode,
    payload: &[u8],
) -> io::Result<()> {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let mut frame = Vec::with_capacity(payload.len() + 10);
    header.format(payload.len() as u64, &mut frame).map_err(io::Error::other)?;
    frame.extend_from_slice(payload);
    to.write_all(&frame).await?;
    to.flush().await
}

impl<S: Carrier> Sender<S> {
    pub async fn binary(&mut self, message: Bytes) -> io::Result<()> {
        self.0.message(Data::Binary, &message).await
    }

    pub async fn text(&mut self, message: String) -> io::Result<()> {
        self.0.message(Data::Text, message.as_bytes()).await
    }

    /// Says goodbye, waits for the client's, and lets go of the connection.
    pub async fn close(self, mut receiver: Receiver<S>, world: &World) {
        let goodbye = async {
            // Clients take an end without a code for an error.
            let normal = u16::from(CloseCode::Normal).to_be_bytes();
            let mut to = self.0.to.lock().await;
            write(&mut to, OpCode::Control(Control::Close), &normal).await?;
            drop(to);
            while receiver.next().await.is_some() {}
            Ok::<_, io::Error>(())
        };
        match world.within(GOODBYE, goodbye).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, "a client was gone before its stream"),
            None => tracing::debug!("a client did not end its connection"),
        }
    }
}

impl<S: Carrier> Receiver<S> {
    /// The next piece of a message; `None` when the client is gone, with or without a goodbye.
    pub async fn next(&mut self) -> Option<Piece> {
        match self.piece().await {
            Ok(piece) => piece,
            Err(error) => {
                tracing::debug!(%error, "a WebSocket broke off");
                None
            }
        }
    }

    async fn piece(&mut self) -> io::Result<Option<Piece>> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.head()? {
                    Some(frame) => frame,
                    None if self.fill().await? => continue,
                    None => return Ok(None),
                },
            };
            // A control frame is taken whole, others as far as they have come.
            let wanted = match frame.opcode {
                OpCode::Control(_) => frame.left,
                OpCode::Data(_) => frame.left.min(1),
            };
            if (self.waiting.len() as u64) < wanted {
                self.frame = Some(frame);
                if self.fill().await? {
                    continue;
                }
                return Ok(None);
            }
            let here = self.waiting.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
            let mut bytes = self.waiting.split_to(here);
            unmask(&mut bytes, frame.mask);
            match frame.opcode {
                OpCode::Control(Control::Ping) => {
                    self.back.owe(Control::Pong, bytes.freeze()).await?;
                }
                OpCode::Control(Control::Close) => {
                    self.back.owe(Control::Close, bytes.freeze()).await?;
                    return Ok(None);
                }
                OpCode::Control(_) => {}
                OpCode::Data(_) => {
                    if let Some(piece) = self.cut(frame, bytes.freeze()) {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// The next frame's head, if it is there.
    fn head(&mut self) -> io::Result<Option<Frame>> {
        let mut cursor = Cursor::new(&self.waiting[..]);
        let Some((head, left)) = FrameHeader::parse(&mut cursor).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let length = usize::try_from(cursor.position()).expect("a head is short");
        let FrameHeader { is_final, opcode, mask, .. } = head;
        let fits = match opcode {
            OpCode::Control(_) => is_final && left <= CONTROL_MOST,
            OpCode::Data(type_) => (type_ == Data::Continue) == self.continues,
        };
        let (true, false, Some(mask)) = (fits, head.rsv1 || head.rsv2 || head.rsv3, mask) else {
            return Err(io::Error::other("a frame that no client may send"));
        };
        if let OpCode::Data(_) = opcode {
            self.continues = !is_final;
        }
        drop(self.waiting.split_to(length));
        Ok(Some(Frame { opcode, is_final, mask, left }))
    }

    /// A piece of a frame; `None` when it would be empty and say nothing.
    fn cut(&mut self, mut frame: Frame, bytes: Bytes) -> Option<Piece> {
        frame.left -= bytes.len() as u64;
        let last = frame.left == 0 && frame.is_final;
        if frame.left > 0 {
            frame.mask.rotate_left(bytes.len() % 4);
            self.frame = Some(frame);
        }
        if bytes.is_empty() && !last {
            return None;
        }
        Some(Piece { bytes, first: std::mem::replace(&mut self.fresh, last), last })
    }

    /// Reads more; false at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        self.waiting.reserve(READ);
        let mut room = (&mut self.from).take(READ as u64);
        Ok(room.read_buf(&mut self.waiting).await? > 0)
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in bytes.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

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

    /// What a receiver makes of these bytes, and then nothing more.
    async fn heard(bytes: &[u8]) -> Vec<Piece> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let (_sender, mut receiver) = open(ours);
        let mut pieces = Vec::new();
        while let Some(piece) = receiver.next().await {
            pieces.push(piece);
        }
        pieces
    }

    fn piece(text: &'static [u8], first: bool, last: bool) -> Piece {
        Piece { bytes: Bytes::from_static(text), first, last }
    }

    #[tokio::test]
    async fn messages_come_in_pieces_and_masks_go_on_over_them() {
        // "abcdef" in two frames with a ping between them, and an empty message.
        let first = [0x02, 0x83, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3];
        let ping = [0x89, 0x80, 0, 0, 0, 0];
        let rest = [0x80, 0x83, 0, 0, 0, 0, b'd', b'e', b'f'];
        let empty = [0x82, 0x80, 0, 0, 0, 0];
        let all = [&first[..], &ping, &rest, &empty].concat();
        let wanted =
            [piece(b"abc", true, false), piece(b"def", false, true), piece(b"", true, true)];
        assert_eq!(heard(&all).await, wanted);
        let text = Bytes::from((0..=255).cycle().take(100_000).collect::<Vec<u8>>());
        let (ours, theirs) = tokio::io::duplex(77_777);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let (_sender, mut receiver) = open(ours);
        let sent = text.clone();
        let sending = async move { client.send(Message::Binary(sent)).await.map(|()| client) };
        let receiving = async {
            let mut got = Vec::new();
            loop {
                let piece = receiver.next().await.unwrap();
                assert!(piece.bytes.len() <= READ);
                assert_eq!(piece.first, got.is_empty());
                got.extend_from_slice(&piece.bytes);
                if piece.last {
                    return got;
                }
            }
        };
        let (_client, got) = tokio::join!(sending, receiving);
        assert!(got == text);
    }

    #[tokio::test]
    async fn frames_that_no_client_may_send_end_the_connection() {
        for bad in [
            &[0x82, 0x01, b'x'][..],                                 // not masked
            &[0x80, 0x81, 0, 0, 0, 0, b'x'],                         // continues nothing
            &[0xc2, 0x81, 0, 0, 0, 0, b'x'],                         // an extension
            &[0x83, 0x81, 0, 0, 0, 0, b'x'],                         // an unknown sort
            &[0x09, 0x80, 0, 0, 0, 0],                               // a ping in parts
            &[0x89, 0xfe, 0, 126, 0, 0, 0, 0],                       // a ping that is too long
            &[0x02, 0x80, 0, 0, 0, 0, 0x82, 0x81, 0, 0, 0, 0, b'x'], // a message inside another
        ] {
            assert_eq!(heard(bad).await, [], "{bad:x?}");
        }
    }

    #[tokio::test]
    async fn a_flood_of_pings_that_nobody_reads_costs_one_answer() {
        // The way back is full after a few bytes.
        let (ours, theirs) = tokio::io::duplex(8);
        let (mut read, mut write) = tokio::io::split(theirs);
        let (mut sender, mut receiver) = open(ours);
        let answer = tokio::spawn(async move { sender.binary(Bytes::from(vec![7; 100])).await });
        let listening = tokio::spawn(async move { receiver.next().await });
        for number in 0..1000_u16 {
            let [high, low] = number.to_be_bytes();
            write.write_all(&[0x89, 0x82, 0, 0, 0, 0, high, low]).await.unwrap();
        }
        write.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'x']).await.unwrap();
        assert_eq!(listening.await.unwrap(), Some(piece(b"x", true, true)));
        let mut back = vec![0; 102 + 4];
        read.read_exact(&mut back).await.unwrap();
        answer.await.unwrap().unwrap();
        assert_eq!(back[102..], [0x8a, 2, 0x03, 0xe7]);
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_answered() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (_sender, mut receiver) = open(ours);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        client.close(None).await.unwrap();
        assert_eq!(receiver.next().await, None);
        assert!(matches!(client.next().await, Some(Ok(Message::Close(None)))));
    }
}
