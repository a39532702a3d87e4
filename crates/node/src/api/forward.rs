//! Port-forward: connections to ports of a pod, through one connection of SPDY/3.1, be it bare or in a WebSocket
//! (KEP-4006); or in the channels of a WebSocket (`forward/channels.rs`), which are heard as such a connection.
//!
//! For each connection the client opens two streams with the same `requestID`: `error`, on which
//! it says nothing and we say why a connection failed, and `data`. One task owns the
//! sending side; each connection has a task of its own, and the bytes for it wait in a queue.
//!
//! Never here: frames ([`super::spdy`]); a dial from another namespace than the pod's.

use super::reply::{Reply, refuse};
use super::spdy::{DATA_MOST, Decoder, Encoder, Frame, Reset, Side};
use super::spdy_headers::Headers;
use super::spdy_upgrade;
use super::websocket::{self, Carrier, Receiver, Sender};
use super::{Api, Doors, Place, Query, Session};
use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use skiff_base::Lock;
use skiff_base::{Tasks, World};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// All that are spoken in a WebSocket.
const OF_WEBSOCKETS: [&str; 3] = [PROTOCOL, channels::PROTOCOLS[0], channels::PROTOCOLS[1]];
/// The same on a bare connection.
const BARE: &str = "portforward.k8s.io";
/// Read at once from a bare connection.
const READ: usize = 32 * 1024;
/// How long a client of a bare connection may take to end its side.
const GOODBYE: Duration = Duration::from_secs(10);
/// Connections of one session: as many as a browser opens, many times over.
const CONNECTIONS_MOST: usize = 256;
/// Connections of all sessions: each is an open file, and the daemon's are for others too.
const ALL_CONNECTIONS_MOST: usize = 2048;
/// Frames that wait to be sent, of 32 KiB at most; beyond, the pods' ends wait.
const FRAMES_WAITING: usize = 16;
/// Pieces that wait for the pod, those of all connections together; each holds a buffer of 32 KiB at most. As there is
/// no flow control, a pod that does not read holds up its whole session beyond this.
const PIECES_WAITING: usize = 16;
/// What a client may call a connection; upstream's count from 0.
const REQUEST_MOST: usize = 64;
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
    if spdy_upgrade::is_asked(request.headers()) {
        return spdy_upgrade::upgrade(request, &[BARE], later, move |_, carrier| async move {
            let (doors, world, forwards) = (&api.doors, &api.world, &api.forwards);
            let (mut from, to) = tokio::io::split(carrier);
            let Some(mut to) = run(doors, world, forwards, place, &mut from, to).await else {
                return;
            };
            let goodbye = async {
                to.shutdown().await?;
                while from.next().await.is_some() {}
                Ok::<_, io::Error>(())
            };
            if let Some(Err(error)) = world.within(GOODBYE, goodbye).await {
                tracing::debug!(%error, "the client of a port-forward was gone first");
            }
        });
    }
    let headers = request.headers();
    let chosen = websocket::choose(headers, &OF_WEBSOCKETS);
    if headers.contains_key(header::UPGRADE) && chosen != Some(PROTOCOL) {
        return in_channels(api, place, request, later);
    }
    websocket::upgrade(request, &[PROTOCOL], later, move |_, carrier| async move {
        let (doors, world, forwards) = (&api.doors, &api.world, &api.forwards);
        let (sender, mut receiver) = websocket::open(carrier);
        if let Some(sender) = run(doors, world, forwards, place, &mut receiver, sender).await {
            sender.close(receiver, world).await;
        }
    })
}

/// The same for clients that know channels alone.
fn in_channels(
    api: Arc<Api>,
    place: Place,
    request: Request<Incoming>,
    later: &Session,
) -> Response<Reply> {
    let ports = match channels::ports(&Query::parse(request.uri().query())) {
        Ok(ports) => ports,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    websocket::upgrade(request, &OF_WEBSOCKETS, later, move |_, carrier| async move {
        let (doors, world, forwards) = (&api.doors, &api.world, &api.forwards);
        let (sender, mut from) = websocket::open(carrier);
        let end = channels::run(doors, world, forwards, place, &ports, &mut from, sender).await;
        if let Some(sender) = end {
            sender.close(from, world).await;
        }
    })
}

/// Bytes of frames from the client; `None` when it is gone.
trait FromClient: Send {
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// The way of frames to the client.
trait ToClient: Send {
    fn bytes(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;
}

impl<S: Carrier> FromClient for Receiver<S> {
    async fn next(&mut self) -> Option<Bytes> {
        Receiver::next(self).await.map(|piece| piece.bytes)
    }
}

impl<S: Carrier> ToClient for Sender<S> {
    async fn bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        self.binary(bytes).await
    }
}

impl<S: Carrier> FromClient for ReadHalf<S> {
    async fn next(&mut self) -> Option<Bytes> {
        let mut bytes = BytesMut::with_capacity(READ);
        match self.read_buf(&mut bytes).await {
            Ok(0) => None,
            Ok(_) => Some(bytes.freeze()),
            Err(error) => {
                tracing::debug!(%error, "a port-forward broke off");
                None
            }
        }
    }
}

impl<S: Carrier> ToClient for WriteHalf<S> {
    async fn bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        self.write_all(&bytes).await?;
        self.flush().await
    }
}

/// Places of connections, for all sessions of a node together.
#[derive(Clone)]
pub struct Forwards(Arc<Semaphore>);

impl Default for Forwards {
    fn default() -> Forwards {
        Forwards(Arc::new(Semaphore::new(ALL_CONNECTIONS_MOST)))
    }
}

/// What a stream of the client is.
enum Stream {
    /// Announced; its data stream has not come yet. Holds the request's id.
    Error(String),
    /// A connection to the pod, until both of its sides have ended.
    Data {
        /// Bytes for the pod; dropped when the client ends its side.
        pieces: Option<mpsc::UnboundedSender<Waiting>>,
        /// The connection ends when this is dropped.
        _wanted: oneshot::Sender<Infallible>,
    },
}

/// The streams of a session: the session adds them, and each connection takes its own away.
type Streams = Arc<Lock<HashMap<u32, Stream>>>;

/// A piece that waits for the pod, and its share of what may wait.
type Waiting = (Bytes, OwnedSemaphorePermit);

/// One session.
struct Forward {
    doors: Arc<dyn Doors>,
    world: World,
    place: Place,
    streams: Streams,
    /// Shares of what may wait for the pod.
    room: Arc<Semaphore>,
    forwards: Forwards,
    out: mpsc::Sender<Frame>,
    connections: Tasks,
}

/// Runs a session; the way to the client, if that is still there.
async fn run<T: ToClient>(
    doors: &Arc<dyn Doors>,
    world: &World,
    forwards: &Forwards,
    place: Place,
    from: &mut impl FromClient,
    to: T,
) -> Option<T> {
    let (out, frames) = mpsc::channel(FRAMES_WAITING);
    let forward = Forward::new(doors, world, forwards, place, out);
    let taking = async {
        let forward = forward;
        let mut decoder = Decoder::new();
        while let Some(bytes) = from.next().await {
            decoder.feed(&bytes);
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
    tokio::select! {
        biased;
        to = send(to, frames) => to,
        () = taking => None,
    }
}

/// Sends frames until nobody has any more, or the client is gone (`None`).
async fn send<T: ToClient>(mut to: T, mut frames: mpsc::Receiver<Frame>) -> Option<T> {
    let mut encoder = Encoder::new();
    while let Some(frame) = frames.recv().await {
        if let Err(error) = to.bytes(encoder.write(&frame)).await {
            tracing::debug!(%error, "the client of a port-forward is gone");
            return None;
        }
    }
    Some(to)
}

impl Forward {
    fn new(
        doors: &Arc<dyn Doors>,
        world: &World,
        forwards: &Forwards,
        place: Place,
        out: mpsc::Sender<Frame>,
    ) -> Forward {
        let (doors, world, forwards) = (doors.clone(), world.clone(), forwards.clone());
        let room = Arc::new(Semaphore::new(PIECES_WAITING));
        let (streams, connections) = Default::default();
        Forward { doors, world, forwards, place, streams, room, out, connections }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u32, Stream>> {
        self.streams.lock()
    }

    /// Takes one frame; false ends the session.
    async fn take(&self, frame: Frame) -> bool {
        match frame {
            Frame::Open { stream, headers, side } => self.open(stream, &headers, side).await,
            Frame::Data { stream, bytes, side } => self.data(stream, bytes, side).await,
            Frame::Reset { stream, .. } => {
                self.streams().remove(&stream);
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

    async fn open(&self, stream: u32, headers: &Headers, side: Side) -> bool {
        let header = |name: &str| {
            let found = headers.iter().find(|(key, _)| key == name);
            found.map_or("", |(_, value)| &**value)
        };
        let request = header("requestid").to_owned();
        let is_taken = {
            let streams = self.streams();
            streams.len() > CONNECTIONS_MOST || streams.contains_key(&stream)
        };
        if is_taken || request.len() > REQUEST_MOST {
            return self.refuse(stream, Reset::Refused).await;
        }
        match header("streamtype") {
            "error" => {
                self.streams().insert(stream, Stream::Error(request));
                self.say(Frame::Accept { stream }).await
            }
            "data" => {
                let port = header("port").parse().ok().filter(|port: &u16| *port > 0);
                let (Some(port), Some(error)) = (port, self.error_of(&request)) else {
                    return self.refuse(stream, Reset::Protocol).await;
                };
                let Ok(held) = self.forwards.0.clone().try_acquire_owned() else {
                    return self.refuse(stream, Reset::Refused).await;
                };
                let (pieces, waiting) = mpsc::unbounded_channel();
                let (wanted, unwanted) = oneshot::channel();
                let pieces = (side == Side::Open).then_some(pieces);
                self.streams().insert(stream, Stream::Data { pieces, _wanted: wanted });
                if !self.say(Frame::Accept { stream }).await {
                    return false;
                }
                let ends = Ends { data: stream, error, _held: held };
                self.connect(ends, port, waiting, unwanted);
                true
            }
            _ => self.refuse(stream, Reset::Protocol).await,
        }
    }

    /// Takes the error stream of a request out of those that wait.
    fn error_of(&self, request: &str) -> Option<u32> {
        let is = |stream: &Stream| matches!(stream, Stream::Error(id) if id == request);
        let mut streams = self.streams();
        let found = streams.iter().find(|(_, stream)| is(stream)).map(|(id, _)| *id)?;
        streams.remove(&found);
        Some(found)
    }

    async fn data(&self, stream: u32, bytes: Bytes, side: Side) -> bool {
        // Any other is a stream that has ended, or says nothing.
        let queue = match self.streams().get_mut(&stream) {
            Some(Stream::Data { pieces, .. }) if side == Side::Ends => pieces.take(),
            Some(Stream::Data { pieces, .. }) => pieces.clone(),
            _ => None,
        };
        let Some(queue) = queue.filter(|_| !bytes.is_empty()) else { return true };
        let Ok(share) = self.room.clone().acquire_owned().await else { return false };
        // A connection that has just ended drops what comes.
        let _ = queue.send((bytes, share));
        true
    }

    fn connect(
        &self,
        ends: Ends,
        port: u16,
        waiting: mpsc::UnboundedReceiver<Waiting>,
        unwanted: oneshot::Receiver<Infallible>,
    ) {
        let (doors, world, place) = (self.doors.clone(), self.world.clone(), self.place.clone());
        let (streams, out) = (self.streams.clone(), self.out.clone());
        self.connections.spawn(async move {
            let work = async {
                let stream = dial(&*doors, &world, &place, port).await?;
                carry(stream, ends.data, waiting, &out).await
            };
            let result = tokio::select! {
                biased;
                // The client has no more use for it, and asked for no answer.
                _ = unwanted => return,
                result = work => result,
            };
            if let Err(error) = result {
                let why =
                    format!("error forwarding port {port} to pod {}, uid : {error}", place.pod);
                ends.say(&out, why).await;
            }
            ends.end(&out).await;
            streams.lock().remove(&ends.data);
        });
    }
}

/// The two streams of one connection, and its place.
struct Ends {
    data: u32,
    error: u32,
    _held: OwnedSemaphorePermit,
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

/// Connects to a port on the pod's own loopback. A socket stays in the namespace that it was made
/// in, so only that is done inside: a pod that takes no connection holds up no thread.
async fn dial(doors: &dyn Doors, world: &World, place: &Place, port: u16) -> io::Result<TcpStream> {
    let network = doors.network(&place.namespace, &place.pod).await;
    let network = network.map_err(io::Error::other)?;
    let made = tokio::task::spawn_blocking(move || {
        network.run(|| Ok::<_, io::Error>((TcpSocket::new_v4()?, TcpSocket::new_v6())))
    });
    let (v4, v6) = made.await.map_err(io::Error::other)?.map_err(io::Error::other)??;
    let connect = async |socket: TcpSocket, address: IpAddr| {
        let connected = world.within(DIAL, socket.connect((address, port).into())).await;
        connected.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    };
    let stream = match (connect(v4, Ipv4Addr::LOCALHOST.into()).await, v6) {
        (Ok(stream), _) => Ok(stream),
        // A server that listens on IPv6 alone; the error of IPv4 is the one to tell.
        (Err(error), Ok(v6)) => connect(v6, Ipv6Addr::LOCALHOST.into()).await.map_err(|_| error),
        (Err(error), Err(_)) => Err(error),
    };
    let stream = stream.map_err(|error| {
        io::Error::other(format!("failed to connect to localhost:{port} inside the pod: {error}"))
    })?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Copies both ways. The pod's end of its side ends the connection.
async fn carry(
    stream: TcpStream,
    data: u32,
    waiting: mpsc::UnboundedReceiver<Waiting>,
    out: &mpsc::Sender<Frame>,
) -> io::Result<()> {
    let (from_pod, to_pod) = stream.into_split();
    tokio::select! {
        biased;
        result = outward(from_pod, data, out) => result,
        result = inward(to_pod, waiting) => result,
    }
}

/// A place among the frames comes before the read: what a client does not take stays with the pod.
async fn outward(
    from_pod: OwnedReadHalf,
    stream: u32,
    out: &mpsc::Sender<Frame>,
) -> io::Result<()> {
    loop {
        from_pod.readable().await?;
        let Ok(free) = out.reserve().await else { return Ok(()) };
        let mut bytes = Vec::with_capacity(DATA_MOST);
        match from_pod.try_read_buf(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(_) => free.send(Frame::Data { stream, bytes: bytes.into(), side: Side::Open }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Ends only with an error: the client's end of its side leaves the other side open.
async fn inward(
    mut to_pod: OwnedWriteHalf,
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
) -> io::Result<()> {
    while let Some((bytes, _share)) = waiting.recv().await {
        to_pod.write_all(&bytes).await?;
    }
    to_pod.shutdown().await?;
    std::future::pending().await
}

mod channels;
#[cfg(test)]
mod tests;
