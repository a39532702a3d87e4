//! Connections of one peer: each is kept for the next call to its address, until it was idle for long or the peer ends
//! it. Those of HTTP/2 are shared by calls, those of HTTP/1.1 belong to one call at a time.

use super::{Dialled, Failure};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use skiff_base::{Lock, Tasks, World};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Connections that are kept of one peer: sixty-four calls at once find one each, the next time.
const IDLE_MOST: usize = 64;
/// As long as Go's client keeps one.
const IDLE: Duration = Duration::from_secs(90);
/// The head of an answer, which is read whole.
const HEAD_MOST: usize = 256 * 1024;

/// What is kept.
#[derive(Clone)]
pub struct Pool(Arc<Kept>);

struct Kept {
    world: World,
    /// The one used last comes last, and goes out first: those behind it grow old.
    idle: Lock<VecDeque<Connection>>,
    /// They drive the connections.
    tasks: Tasks,
}

/// One connection, while nobody or one call uses it.
pub struct Connection {
    address: SocketAddr,
    sender: Sender,
    /// When it was used last, in seconds of the world's uptime.
    used: Arc<AtomicU64>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Pool {
    pub fn new(world: World) -> Pool {
        Pool(Arc::new(Kept { world, idle: Lock::default(), tasks: Tasks::new() }))
    }

    /// A connection to that address which nobody uses.
    pub fn take(&self, address: SocketAddr) -> Option<Connection> {
        let mut idle = self.0.idle.lock();
        idle.retain(|it| !it.is_closed());
        let at = idle.iter().rposition(|it| it.address == address)?;
        match &idle[at].sender {
            Sender::Two(shared) => {
                let (sender, used) = (Sender::Two(shared.clone()), idle[at].used.clone());
                Some(Connection { address, sender, used })
            }
            Sender::One(_) => idle.remove(at),
        }
    }

    fn put(&self, connection: Connection) {
        connection.used.store(self.0.world.uptime().as_secs(), Ordering::Relaxed);
        let mut idle = self.0.idle.lock();
        if connection.is_closed() {
            return;
        }
        if idle.len() >= IDLE_MOST {
            idle.pop_front();
        }
        idle.push_back(connection);
    }

    /// Makes a connection of a stream.
    pub(super) async fn begin(
        &self,
        address: SocketAddr,
        dialled: Dialled,
    ) -> Result<Connection, Failure> {
        let used = Arc::new(AtomicU64::new(self.0.world.uptime().as_secs()));
        let io = TokioIo::new(dialled.stream);
        if dialled.speaks_two {
            let mut builder = http2::Builder::new(Driver(self.0.tasks.clone()));
            builder.timer(TokioTimer::new()).max_header_list_size(HEAD_MOST as u32);
            let (sender, driven) = builder.handshake(io).await.map_err(|error| failure(&error))?;
            self.drive(driven, &used);
            let shared =
                Connection { address, sender: Sender::Two(sender.clone()), used: used.clone() };
            self.put(shared);
            return Ok(Connection { address, sender: Sender::Two(sender), used });
        }
        let mut builder = http1::Builder::new();
        let shaken = builder.max_buf_size(HEAD_MOST).handshake(io).await;
        let (sender, driven) = shaken.map_err(|error| failure(&error))?;
        self.drive(driven, &used);
        Ok(Connection { address, sender: Sender::One(sender), used })
    }

    /// Keeps a connection going until it ends, or nobody has used it for long.
    fn drive(
        &self,
        driven: impl Future<Output = Result<(), hyper::Error>> + Send + 'static,
        used: &Arc<AtomicU64>,
    ) {
        let (world, used) = (self.0.world.clone(), used.clone());
        self.0.tasks.spawn(async move {
            let mut driven = std::pin::pin!(driven);
            let mut until = IDLE;
            loop {
                match world.within(until, &mut driven).await {
                    Some(Ok(())) => return,
                    Some(Err(error)) => {
                        return tracing::debug!(%error, "a connection to a webhook ended");
                    }
                    None => {}
                }
                // One that is in use belongs to a call, and that has an end.
                let idle = world.uptime().as_secs().saturating_sub(used.load(Ordering::Relaxed));
                until = IDLE.saturating_sub(Duration::from_secs(idle));
                if until.is_zero() {
                    return;
                }
            }
        });
    }
}

impl Connection {
    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }

    /// Sends a request, and waits for the head of the answer.
    pub async fn send(
        mut self,
        pool: &Pool,
        mut request: http::Request<Full<Bytes>>,
    ) -> Result<Reply, Failure> {
        // In use until further notice.
        self.used.store(u64::MAX, Ordering::Relaxed);
        let answered = match &mut self.sender {
            Sender::One(sender) => sender.send_request(request).await,
            Sender::Two(sender) => {
                let host = request.headers_mut().remove(http::header::HOST);
                let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
                let host = host.as_ref().and_then(|it| it.to_str().ok()).unwrap_or("");
                let uri = format!("https://{host}{path}").parse();
                *request.uri_mut() = uri.map_err(|_| Failure::Broken)?;
                sender.send_request(request).await
            }
        };
        let (head, body) = answered.map_err(|error| failure(&error))?.into_parts();
        let held = Held { pool: pool.clone(), connection: Some(self), place: None };
        Ok(Reply { head, body, held })
    }
}

/// What went wrong with a connection.
fn failure(error: &hyper::Error) -> Failure {
    match error.is_parse() {
        true => Failure::Garbage(error.to_string()),
        false => Failure::Broken,
    }
}

/// An answer whose body has not been read.
pub struct Reply {
    pub head: http::response::Parts,
    body: Incoming,
    held: Held,
}

/// What an answer holds until it has been read: its connection and its place among the calls.
struct Held {
    pool: Pool,
    connection: Option<Connection>,
    place: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// The answer came to its end: its connection is free.
    fn done(mut self) {
        if let Some(connection) = self.connection.take() {
            match connection.sender {
                Sender::One(_) => self.pool.put(connection),
                // Others share it, and it never left.
                Sender::Two(_) => {
                    let now = self.pool.0.world.uptime().as_secs();
                    connection.used.store(now, Ordering::Relaxed);
                }
            }
        }
        drop(self.place);
    }
}

impl Reply {
    pub(super) fn holding(mut self, place: OwnedSemaphorePermit) -> Reply {
        self.held.place = Some(place);
        self
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it breaks off, or is larger than `most`.
    pub async fn bytes(self, most: usize) -> Result<Bytes, Failure> {
        let Reply { mut body, held, .. } = self;
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| failure(&error))?.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(Failure::TooLarge { most });
            }
            bytes.extend_from_slice(&data);
        }
        held.done();
        Ok(bytes.into())
    }

    /// The body, piece by piece.
    pub fn pieces(self) -> BoxStream<'static, io::Result<Bytes>> {
        let body = self.body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
        stream::unfold((body, Some(self.held)), |(mut body, mut held)| async move {
            match body.next().await {
                Some(piece) => Some((piece, (body, held))),
                None => {
                    if let Some(held) = held.take() {
                        held.done();
                    }
                    None
                }
            }
        })
        .boxed()
    }
}

/// Runs what a connection needs beside itself in the tasks of its peer.
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
