//! Port-forward: connections to ports of a pod, through one WebSocket that carries SPDY/3.1
//! (KEP-4006).
//!
//! For each connection the client opens two streams with the same `requestID`: `error`, on which
//! it says nothing and we say why a connection failed, and `data`. One task owns the WebSocket's
//! sending side; each connection has a task of its own, and the bytes for it wait in a queue.
//!
//! Never here: frames ([`super::spdy`]); a dial from another namespace than the pod's.

use super::reply::Reply;
use super::spdy::{DATA_MOST, Decoder, Encoder, Frame, Reset, Side};
use super::spdy_headers::Headers;
use super::websocket::{self, Carrier, Sender};
use super::{Api, Doors, Place, Session};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use skiff_base::{Tasks, World};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as Dialled};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// Connections of one session: as many as a browser opens, many times over.
const CONNECTIONS_MOST: usize = 256;
/// Frames that wait to be sent; beyond, the pods' ends wait.
const FRAMES_WAITING: usize = 64;
/// Pieces that wait for one connection's pod. As there is no flow control, a pod that does not
/// read holds up its whole session beyond this.
const PIECES_WAITING: usize = 64;
/// Inside the pod's own namespace an answer takes microseconds; a listener with a full backlog
/// takes longer.
const DIAL: Duration = Duration::from_secs(10);

/// GET /portForward/NS/POD
pub fn answer(
    api: Arc<Api>,
    place: Place,
    request: Request<Incoming>,
    later: &Session,
) -> Response<Reply> {
    websocket::upgrade(request, &[PROTOCOL], later, move |_, carrier| async move {
        run(api.doors.clone(), api.world.clone(), place, carrier).await;
    })
}

/// What a stream of the client is.
enum Stream {
    /// Announced; its data stream has not come yet. Holds the request's id.
    Error(String),
    /// Bytes for the pod; the sender is dropped when the client ends its side.
    Data(Option<mpsc::Sender<Bytes>>),
}

/// One session.
struct Forward {
    doors: Arc<dyn Doors>,
    place: Place,
    streams: HashMap<u32, Stream>,
    out: mpsc::Sender<Frame>,
    connections: Tasks,
}

async fn run<S: Carrier>(doors: Arc<dyn Doors>, world: World, place: Place, carrier: S) {
    let (sender, mut receiver) = websocket::open(carrier).await;
    let (out, frames) = mpsc::channel(FRAMES_WAITING);
    let connections = Tasks::new();
    let forward = Forward { doors, place, streams: HashMap::new(), out, connections };
    let taking = async {
        let mut forward = forward;
        let mut decoder = Decoder::new();
        while let Some(message) = receiver.next().await {
            decoder.feed(&message);
            loop {
                let frame = match decoder.next() {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(error) => return tracing::debug!(%error, "a port-forward broke off"),
                };
                if !forward.take(frame).await {
                    return;
                }
            }
        }
    };
    let sender = tokio::select! {
        biased;
        sender = send(sender, frames) => sender,
        () = taking => None,
    };
    if let Some(sender) = sender {
        sender.close(receiver, &world).await;
    }
}

/// Sends frames until nobody has any more, or the client is gone (`None`).
async fn send<S: Carrier>(
    mut sender: Sender<S>,
    mut frames: mpsc::Receiver<Frame>,
) -> Option<Sender<S>> {
    let mut encoder = Encoder::new();
    while let Some(frame) = frames.recv().await {
        if let Err(error) = sender.binary(encoder.write(&frame)).await {
            tracing::debug!(%error, "the client of a port-forward is gone");
            return None;
        }
    }
    Some(sender)
}

impl Forward {
    /// Takes one frame; false ends the session.
    async fn take(&mut self, frame: Frame) -> bool {
        match frame {
            Frame::Open { stream, headers, side } => self.open(stream, &headers, side).await,
            Frame::Data { stream, bytes, side } => self.data(stream, bytes, side).await,
            Frame::Reset { stream, .. } => {
                self.streams.remove(&stream);
                true
            }
            Frame::Ping(id) => self.say(Frame::Ping(id)).await,
            Frame::GoAway => false,
            Frame::Accept { .. } => true,
        }
    }

    async fn say(&self, frame: Frame) -> bool {
        self.out.send(frame).await.is_ok()
    }

    async fn refuse(&self, stream: u32, why: Reset) -> bool {
        self.say(Frame::Reset { stream, code: why as u32 }).await
    }

    async fn open(&mut self, stream: u32, headers: &Headers, side: Side) -> bool {
        let header = |name: &str| {
            let found = headers.iter().find(|(key, _)| key == name);
            found.map_or("", |(_, value)| &**value)
        };
        let request = header("requestid").to_owned();
        if self.streams.len() >= 2 * CONNECTIONS_MOST || self.streams.contains_key(&stream) {
            return self.refuse(stream, Reset::Refused).await;
        }
        match header("streamtype") {
            "error" => {
                self.streams.insert(stream, Stream::Error(request));
                self.say(Frame::Accept { stream }).await
            }
            "data" => {
                let port = header("port").parse().ok().filter(|port: &u16| *port > 0);
                let (Some(port), Some(error)) = (port, self.error_of(&request)) else {
                    return self.refuse(stream, Reset::Protocol).await;
                };
                let (pieces, waiting) = mpsc::channel(PIECES_WAITING);
                let pieces = (side == Side::Open).then_some(pieces);
                self.streams.insert(stream, Stream::Data(pieces));
                if !self.say(Frame::Accept { stream }).await {
                    return false;
                }
                self.connect(Ends { data: stream, error }, port, waiting);
                true
            }
            _ => self.refuse(stream, Reset::Protocol).await,
        }
    }

    /// Takes the error stream of a request out of those that wait.
    fn error_of(&mut self, request: &str) -> Option<u32> {
        let is = |stream: &Stream| matches!(stream, Stream::Error(id) if id == request);
        let found = self.streams.iter().find(|(_, stream)| is(stream)).map(|(id, _)| *id)?;
        self.streams.remove(&found);
        Some(found)
    }

    async fn data(&mut self, stream: u32, bytes: Bytes, side: Side) -> bool {
        // Anything else is a stream that has ended on our side, or says nothing.
        if let Some(Stream::Data(pieces)) = self.streams.get_mut(&stream) {
            if let Some(queue) = pieces
                && !bytes.is_empty()
                && queue.send(bytes).await.is_err()
            {
                *pieces = None;
            }
            if side == Side::Ends {
                self.streams.remove(&stream);
            }
        }
        true
    }

    fn connect(&self, ends: Ends, port: u16, waiting: mpsc::Receiver<Bytes>) {
        let (doors, place, out) = (self.doors.clone(), self.place.clone(), self.out.clone());
        self.connections.spawn(async move {
            let result = match dial(&*doors, &place, port).await {
                Ok(stream) => carry(stream, ends.data, waiting, &out).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                let why =
                    format!("error forwarding port {port} to pod {}, uid : {error}", place.pod);
                ends.say(&out, why).await;
            }
            ends.end(&out).await;
        });
    }
}

/// The two streams of one connection.
struct Ends {
    data: u32,
    error: u32,
}

impl Ends {
    async fn say(&self, out: &mpsc::Sender<Frame>, why: String) {
        let frame = Frame::Data { stream: self.error, bytes: why.into(), side: Side::Open };
        if out.send(frame).await.is_err() {
            tracing::debug!("nobody is left to hear of a failed connection");
        }
    }

    /// Ends our side of both. If nobody listens any more, they have ended already.
    async fn end(&self, out: &mpsc::Sender<Frame>) {
        for stream in [self.error, self.data] {
            let frame = Frame::Data { stream, bytes: Bytes::new(), side: Side::Ends };
            if out.send(frame).await.is_err() {
                return;
            }
        }
    }
}

/// Connects to a port on the pod's own loopback.
async fn dial(doors: &dyn Doors, place: &Place, port: u16) -> io::Result<TcpStream> {
    let network = doors.network(&place.namespace, &place.pod).await;
    let network = network.map_err(io::Error::other)?;
    let dialled = tokio::task::spawn_blocking(move || {
        network.run(|| {
            let connect = |address| Dialled::connect_timeout(&address, DIAL);
            let first = connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            // A server that listens on IPv6 alone; the error of IPv4 is the one to tell.
            first.or_else(|error| {
                connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).map_err(|_| error)
            })
        })
    });
    let stream = dialled.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let stream = stream.map_err(|error| {
        io::Error::other(format!("failed to connect to localhost:{port} inside the pod: {error}"))
    })?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

/// Copies both ways. The pod's end of its side ends the connection.
async fn carry(
    stream: TcpStream,
    data: u32,
    waiting: mpsc::Receiver<Bytes>,
    out: &mpsc::Sender<Frame>,
) -> io::Result<()> {
    let (from_pod, to_pod) = stream.into_split();
    tokio::select! {
        biased;
        result = outward(from_pod, data, out) => result,
        result = inward(to_pod, waiting) => result,
    }
}

async fn outward(
    mut from_pod: OwnedReadHalf,
    stream: u32,
    out: &mpsc::Sender<Frame>,
) -> io::Result<()> {
    let mut buffer = vec![0; DATA_MOST];
    loop {
        let count = from_pod.read(&mut buffer).await?;
        let bytes = Bytes::copy_from_slice(&buffer[..count]);
        if count == 0 || out.send(Frame::Data { stream, bytes, side: Side::Open }).await.is_err() {
            return Ok(());
        }
    }
}

/// Ends only with an error: the client's end of its side leaves the other side open.
async fn inward(mut to_pod: OwnedWriteHalf, mut waiting: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(bytes) = waiting.recv().await {
        to_pod.write_all(&bytes).await?;
    }
    to_pod.shutdown().await?;
    std::future::pending().await
}

#[cfg(test)]
mod tests;
