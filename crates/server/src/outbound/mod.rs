//! Outbound: calls to somebody whom an object names (a webhook, an aggregated server), by Service or by URL, and to
//! those whom the machine's owner names.
//!
//! ```text
//! endpoint.rs  a Service -> addresses, from what the server itself knows: without DNS, without the tables of the node
//! address.rs   whom nobody can be sent to: this machine, what reaches no further than a wire, the server itself
//! tls.rs       whom a peer must prove to be
//! pool.rs      connections of one peer, kept for the next call
//! review.rs    one JSON document there, one back
//! ```
//! Whoever may write such an object chooses where the server turns to, and whoever listens there may answer anything.
//! So no credentials go along that the caller did not add, redirects are answers like any other, bytes and time are
//! bounded, and each peer has places of its own: one that is slow holds up nobody but its own callers.

mod address;
mod endpoint;
mod pool;
pub mod review;
mod tls;

pub use crate::identity::keys::tls::Trusted;
pub use address::{Local, Rules, in_known_words, is_forbidden};
pub use pool::Reply;

use crate::identity::keys::Pair;
use bytes::Bytes;
use http::header::HOST;
use http_body_util::Full;
use pool::Pool;
use rustls::ClientConfig;
use skiff_api::wire::Duplex;
use skiff_base::{Lock, World};
use skiff_store::Store;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Peers that are remembered with their connections: more than a cluster has webhooks. The one that was silent longest
/// goes first; who calls it holds it until the call ends.
const PEERS_MOST: usize = 256;
/// Calls of one peer at once: more than there are requests of any sort that could wait for it, so that nobody waits for
/// a place but behind a peer that is flooded.
const CALLS_MOST: usize = 1024;
/// How many addresses of a peer are tried, when one cannot be reached.
const TRIES: usize = 3;
/// TCP and TLS together; whoever calls has less patience mostly.
const CONNECT: Duration = Duration::from_secs(30);

/// Who is called, and how one knows that it is they.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub place: Place,
    pub trusted: Trusted,
    pub speaks: Speaks,
}

/// Where somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    Service {
        namespace: String,
        name: String,
        port: u16,
    },
    /// A name that the resolver of this machine knows, or an address.
    Host {
        host: String,
        port: u16,
    },
}

/// Which protocols are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaks {
    /// HTTP/1.1 for everybody to read.
    Plain,
    /// HTTP/1.1: calls spread over all endpoints, one by one.
    One,
    /// HTTP/2, and HTTP/1.1 with those who have nothing else: many streams at once.
    Two,
}

impl Place {
    /// Where a URL leads, if it says a host; a port that it does not say is that of its scheme.
    pub fn of_url(url: &http::Uri) -> Option<Place> {
        let host = url.host()?.trim_matches(['[', ']']).to_owned();
        let usual = if url.scheme_str() == Some("http") { 80 } else { 443 };
        Some(Place::Host { host, port: url.port_u16().unwrap_or(usual) })
    }

    /// The name that the peer must have a certificate for.
    fn name(&self) -> String {
        match self {
            Place::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
            Place::Host { host, .. } => host.clone(),
        }
    }
}

/// `host:port`, as it stands in a URL.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Place::Service { port, .. } | Place::Host { port, .. }) = self;
        match self.name() {
            name if name.contains(':') => write!(f, "[{name}]:{port}"),
            name => write!(f, "{name}:{port}"),
        }
    }
}

/// Why a call has no answer, in the words that operators know from Go's client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("context deadline exceeded")]
    Late,
    /// The Service leads nowhere.
    #[error("{0}")]
    Nowhere(String),
    #[error("dial tcp: lookup {host}: {why}")]
    Lookup { host: String, why: String },
    #[error("dial tcp {address}: {why}")]
    Dial { address: SocketAddr, why: String },
    #[error("{0}")]
    Tls(String),
    /// The connection ended before the answer did.
    #[error("EOF")]
    Broken,
    #[error("net/http: HTTP/1.x transport connection broken: {0}")]
    Garbage(String),
    #[error("the answer is larger than {most} bytes")]
    TooLarge { most: usize },
}

/// What a caller is to all its peers.
#[derive(Default)]
pub struct AsWhom {
    /// A certificate that is shown to who asks for one.
    pub pair: Option<Pair>,
    /// Who each of them has to be, where that is not who the place says.
    pub name: Option<String>,
}

/// All peers. Cheap to clone.
#[derive(Clone)]
pub struct Outbound(Arc<Inner>);

struct Inner {
    world: World,
    /// Where Services are looked up; without it there are none.
    store: Option<Arc<dyn Store>>,
    rules: Rules,
    as_whom: AsWhom,
    /// The authorities that this machine trusts, with their file; read when first needed.
    system: Lock<Option<(PathBuf, Arc<rustls::RootCertStore>)>>,
    /// With the time of the last call.
    peers: Lock<HashMap<Target, (Arc<Peer>, Duration)>>,
}

/// Somebody who can be called.
pub struct Peer {
    outbound: Outbound,
    target: Target,
    /// Or why there can be no connection.
    tls: Result<Arc<ClientConfig>, String>,
    calls: Arc<Semaphore>,
    pool: Pool,
}

impl Outbound {
    /// Those whom an object names: they hear nothing of the caller but what it says.
    pub fn new(world: World, store: Arc<dyn Store>, rules: Rules) -> Outbound {
        Outbound::made(world, Some(store), rules, AsWhom::default())
    }

    /// Those whom the machine's owner names: wherever they are, and no Services.
    pub fn trusted(world: World, as_whom: AsWhom) -> Outbound {
        let rules = Rules { local: Local::Allowed, ..Rules::default() };
        Outbound::made(world, None, rules, as_whom)
    }

    /// Those whom an object names, who are shown who calls.
    pub fn showing(world: World, store: Arc<dyn Store>, rules: Rules, as_whom: AsWhom) -> Outbound {
        Outbound::made(world, Some(store), rules, as_whom)
    }

    fn made(
        world: World,
        store: Option<Arc<dyn Store>>,
        rules: Rules,
        as_whom: AsWhom,
    ) -> Outbound {
        let (system, peers) = (Lock::default(), Lock::default());
        Outbound(Arc::new(Inner { world, store, rules, as_whom, system, peers }))
    }

    /// Why nobody can be called who is trusted so.
    pub fn check(&self, trusted: &Trusted) -> Result<(), String> {
        tls::config(&self.0, trusted, Speaks::One).map(|_| ())
    }

    /// The peer of this target, with the connections that it has by now.
    pub fn peer(&self, target: &Target) -> Arc<Peer> {
        let now = self.0.world.uptime();
        let mut peers = self.0.peers.lock();
        if let Some((peer, used)) = peers.get_mut(target) {
            *used = now;
            return peer.clone();
        }
        if peers.len() >= PEERS_MOST
            && let Some(oldest) = peers.iter().min_by_key(|(_, (_, used))| *used)
        {
            let oldest = oldest.0.clone();
            peers.remove(&oldest);
        }
        let peer = Arc::new(Peer {
            tls: tls::config(&self.0, &target.trusted, target.speaks),
            outbound: self.clone(),
            target: target.clone(),
            calls: Arc::new(Semaphore::new(CALLS_MOST)),
            pool: Pool::new(self.0.world.clone()),
        });
        peers.insert(target.clone(), (peer.clone(), now));
        peer
    }
}

impl Peer {
    pub fn place(&self) -> &Place {
        &self.target.place
    }

    pub fn world(&self) -> &World {
        &self.outbound.0.world
    }

    /// What is wrong with the certificates that it shall be known by.
    pub fn unusable(&self) -> Option<&str> {
        self.tls.as_ref().err().map(|why| &**why)
    }

    /// Sends a request, whose URI is a path, and waits for the head of the answer; the caller bounds the time. It may
    /// be sent a second time, if a connection that was kept breaks before any answer. Where it names no host, that of
    /// the place is named.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, mut request: http::Request<Full<Bytes>>) -> Result<Reply, Failure> {
        // They are never closed.
        let place = self.calls.clone().acquire_owned().await.map_err(|_| Failure::Late)?;
        self.name_host(&mut request)?;
        let addresses = self.addresses().await?;
        let mut last = None;
        for address in addresses.into_iter().take(TRIES) {
            if let Some(kept) = self.pool.take(address) {
                match kept.send(&self.pool, request.clone()).await {
                    Ok(reply) => return Ok(reply.holding(place)),
                    // It was closed meanwhile: a new one tells whether there is somebody.
                    Err(Failure::Broken) => {}
                    Err(other) => return Err(other),
                }
            }
            match self.dial(address).await {
                Ok(dialled) => {
                    let connection = self.pool.begin(address, dialled).await?;
                    let reply = connection.send(&self.pool, request).await?;
                    return Ok(reply.holding(place));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Failure::Nowhere("no endpoints available".into())))
    }

    /// Names the host of the place in a request that names none.
    ///
    /// # Errors
    /// When the place has no name that a header can hold.
    pub fn name_host(&self, request: &mut http::Request<Full<Bytes>>) -> Result<(), Failure> {
        if !request.headers().contains_key(HOST) {
            let place = self.target.place.to_string();
            let host = http::HeaderValue::try_from(place)
                .map_err(|error| Failure::Nowhere(error.to_string()))?;
            request.headers_mut().insert(HOST, host);
        }
        Ok(())
    }

    /// A connection of its own, for what is no single request (an upgrade).
    ///
    /// # Errors
    /// When nobody is there.
    pub async fn connect(&self) -> Result<Box<dyn Duplex>, Failure> {
        let mut last = Failure::Nowhere("no endpoints available".into());
        for address in self.addresses().await?.into_iter().take(TRIES) {
            match self.dial(address).await {
                Ok(dialled) => return Ok(dialled.stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Where it is now, in an order that spreads calls.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let Inner { world, store, .. } = &*self.outbound.0;
        let mut found = match &self.target.place {
            Place::Service { namespace, name, port } => match store {
                Some(store) => endpoint::of_service(&**store, namespace, name, *port).await?,
                None => Vec::new(),
            },
            Place::Host { host, port } => endpoint::of_host(host, *port).await?,
        };
        if found.len() > 1 && matches!(self.target.place, Place::Service { .. }) {
            let first = world.below(found.len() as u64) as usize;
            found.rotate_left(first);
        }
        Ok(found)
    }

    async fn dial(&self, address: SocketAddr) -> Result<Dialled, Failure> {
        let Inner { world, rules, as_whom, .. } = &*self.outbound.0;
        if let Some(why) = rules.refuse(address) {
            return Err(Failure::Dial { address, why });
        }
        let dialled = world.within(CONNECT, async {
            let stream = tokio::net::TcpStream::connect(address).await;
            let stream =
                stream.map_err(|error| Failure::Dial { address, why: in_known_words(&error) })?;
            // The questions are small and wait for nothing.
            stream.set_nodelay(true)?;
            if self.target.speaks == Speaks::Plain {
                return Ok(Dialled { stream: Box::new(stream), speaks_two: false });
            }
            let config = self.tls.clone().map_err(Failure::Tls)?;
            let name = as_whom.name.clone().unwrap_or_else(|| self.target.place.name());
            let stream = tls::connect(stream, &name, config).await?;
            let speaks_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(Dialled { stream: Box::new(stream), speaks_two })
        });
        let late = || Err(Failure::Dial { address, why: "i/o timeout".into() });
        dialled.await.unwrap_or_else(late)
    }
}

/// A connection, and the protocol that was agreed on.
struct Dialled {
    stream: Box<dyn Duplex>,
    speaks_two: bool,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Broken
    }
}

#[cfg(test)]
mod tests;
