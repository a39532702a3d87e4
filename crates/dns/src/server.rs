//! The server: UDP and TCP (RFC 1035, 7766), sizes, limits and counters.
//!
//! Names of the cluster are answered at once; a query for any other name is a task of its own, so
//! that a slow resolver holds up nobody. Connections, queries that wait and queries that are passed on
//! each have places, which are shared fairly ([`Places`]): no pod keeps another from its answers.

use crate::Error;
use crate::answer::{self, Outcome, answer, reply_to};
use crate::fair::{Place, Places};
use crate::follow::Shared;
use crate::forward::{Forwarder, Transport, Unanswered};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::Name;
use skiff_base::{Cidr, Tasks, World, accept, fault};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// The largest query over UDP: more than any client sends.
const DATAGRAM_MOST: usize = 4096;
/// Connections at once; most clients use UDP.
const CONNECTIONS_MOST: usize = 256;
/// Queries over UDP that wait: at some ten microseconds each, the last waits as many milliseconds.
const WAITING_MOST: usize = 1024;
/// A connection without a whole query, or that takes no answer, is closed after this (RFC 7766 wants
/// some seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Ports that the kernel may choose for TCP of which none is free for UDP.
const PORT_TRIES: usize = 16;

/// The sockets of a server. Cheap to clone.
#[derive(Clone)]
pub struct Listener {
    udp: Arc<UdpSocket>,
    tcp: Arc<TcpListener>,
}

/// Cluster DNS.
pub struct Dns {
    pub world: World,
    pub zone: Shared,
    pub forwarder: Forwarder,
    /// The ranges of pods: who is a source of its own.
    pub pods: Arc<[Cidr]>,
    pub metrics: Metrics,
}

/// A query over UDP that waits.
type Waiting = (Vec<u8>, SocketAddr, Place);

/// Counters.
#[derive(Debug, Default)]
pub struct Metrics {
    pub queries: AtomicU64,
    pub forwarded: AtomicU64,
    pub missing: AtomicU64,
    pub failed: AtomicU64,
    pub malformed: AtomicU64,
    pub unfair: AtomicU64,
}

impl Metrics {
    /// In the text format of Prometheus.
    pub fn text(&self) -> String {
        let rows = [
            ("queries", "Queries that came in.", &self.queries),
            ("forwarded", "Queries that went to the machine's resolvers.", &self.forwarded),
            ("missing", "Queries for names of the cluster that are not there.", &self.missing),
            ("failed", "Queries without an answer.", &self.failed),
            ("malformed", "Messages that are no queries.", &self.malformed),
            ("unfair", "Queries and connections above a source's share.", &self.unfair),
        ];
        let mut out = String::new();
        for (name, help, value) in rows {
            let value = value.load(Ordering::Relaxed);
            out += &format!(
                "# HELP skiff_dns_{name}_total {help}\n# TYPE skiff_dns_{name}_total counter\n\
                 skiff_dns_{name}_total {value}\n"
            );
        }
        out
    }
}

impl Listener {
    /// Listens by both protocols on one port. Port 0: on one that is free for both.
    pub async fn bind(address: SocketAddr) -> Result<Listener, Error> {
        let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            match Listener::bind_both(address).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
                bound => return bound.map_err(|source| Error::Listen { address, source }),
            }
        }
    }

    async fn bind_both(address: SocketAddr) -> io::Result<Listener> {
        let tcp = TcpListener::bind(address).await?;
        // The kernel chose a port that is free for TCP; UDP's may be somebody's.
        let udp = UdpSocket::bind(tcp.local_addr()?).await?;
        Ok(Listener { udp: Arc::new(udp), tcp: Arc::new(tcp) })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl Dns {
    /// Serves until the task group is stopped, which cannot do without any of these.
    pub fn start(self: Arc<Self>, listener: Listener, tasks: &Tasks) {
        let (send, waiting) = mpsc::channel(2 * WAITING_MOST);
        tasks.vital(self.clone().receive_udp(listener.udp.clone(), send));
        tasks.vital(self.clone().serve_udp(listener.udp, waiting, tasks.clone()));
        tasks.vital(self.serve_tcp(listener.tcp, tasks.clone()));
    }

    /// Empties the socket faster than anybody fills it, and drops what is above a source's share.
    async fn receive_udp(self: Arc<Self>, socket: Arc<UdpSocket>, waiting: mpsc::Sender<Waiting>) {
        let places = Places::new(WAITING_MOST, self.pods.clone());
        let mut buffer = vec![0; DATAGRAM_MOST];
        loop {
            let (count, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // An answer that could not be delivered shows up here, too.
                    tracing::debug!(%error, "receiving a query failed");
                    self.world.sleep(Duration::from_millis(1)).await;
                    continue;
                }
            };
            fault::point("dns");
            let Some(place) = places.take(from.ip()) else {
                self.metrics.unfair.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if waiting.send((buffer[..count].to_vec(), from, place)).await.is_err() {
                return;
            }
        }
    }

    async fn serve_udp(
        self: Arc<Self>,
        socket: Arc<UdpSocket>,
        mut waiting: mpsc::Receiver<Waiting>,
        tasks: Tasks,
    ) {
        while let Some((bytes, from, place)) = waiting.recv().await {
            drop(place);
            match self.local(&bytes, Transport::Udp) {
                Local::Done(Some(reply)) => deliver(&socket, &reply, from).await,
                Local::Done(None) => {}
                Local::Outside(outside) => {
                    let (dns, socket) = (self.clone(), socket.clone());
                    tasks.spawn(async move {
                        let reply = dns.outside(*outside, &bytes, Transport::Udp, from.ip()).await;
                        deliver(&socket, &reply, from).await;
                    });
                }
            }
        }
    }

    async fn serve_tcp(self: Arc<Self>, listener: Arc<TcpListener>, tasks: Tasks) {
        let places = Places::new(CONNECTIONS_MOST, self.pods.clone());
        loop {
            let (stream, from) = accept::accept(&listener, &self.world).await;
            let Some(place) = places.take(from.ip()) else {
                self.metrics.unfair.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let dns = self.clone();
            tasks.spawn(async move {
                let _place = place;
                if let Err(error) = dns.connection(stream, from.ip()).await {
                    tracing::debug!(%error, "a DNS connection broke off");
                }
            });
        }
    }

    async fn connection(&self, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
        loop {
            let reading = async {
                let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
                stream.read_exact(&mut bytes).await?;
                Ok::<_, io::Error>(bytes)
            };
            let bytes = match self.world.within(IDLE, reading).await {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            };
            let reply = match self.local(&bytes, Transport::Tcp) {
                Local::Done(Some(reply)) => reply,
                Local::Done(None) => return Ok(()),
                Local::Outside(outside) => {
                    self.outside(*outside, &bytes, Transport::Tcp, from).await
                }
            };
            let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
            let reply = [&length.to_be_bytes()[..], &reply].concat();
            match self.world.within(IDLE, stream.write_all(&reply)).await {
                Some(written) => written?,
                None => return Ok(()),
            }
        }
    }

    /// What can be said without asking anybody.
    fn local(&self, bytes: &[u8], transport: Transport) -> Local {
        self.metrics.queries.fetch_add(1, Ordering::Relaxed);
        let query = match Message::from_vec(bytes) {
            Ok(query) if query.metadata.message_type == MessageType::Query => query,
            // To answer an answer could go on for ever.
            Ok(_) => return self.malformed(None),
            Err(_) => return self.malformed(bytes.first_chunk::<2>()),
        };
        let outcome = answer(&query, self.zone.read().as_ref());
        match outcome {
            Outcome::Answer(reply) => {
                match reply.metadata.response_code {
                    ResponseCode::NXDomain => self.metrics.missing.fetch_add(1, Ordering::Relaxed),
                    ResponseCode::ServFail => self.metrics.failed.fetch_add(1, Ordering::Relaxed),
                    _ => 0,
                };
                Local::Done(Some(self.write(reply, &query, transport)))
            }
            Outcome::Forward => Local::Outside(Box::new(Outside { query, alias: None })),
            Outcome::Chase(reply, name) => {
                Local::Outside(Box::new(Outside { query, alias: Some((reply, name)) }))
            }
        }
    }

    fn malformed(&self, id: Option<&[u8; 2]>) -> Local {
        self.metrics.malformed.fetch_add(1, Ordering::Relaxed);
        Local::Done(id.and_then(|id| {
            let id = u16::from_be_bytes(*id);
            Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok()
        }))
    }

    /// Asks the machine's resolvers.
    async fn outside(
        &self,
        outside: Outside,
        bytes: &[u8],
        transport: Transport,
        from: IpAddr,
    ) -> Vec<u8> {
        self.metrics.forwarded.fetch_add(1, Ordering::Relaxed);
        let Outside { query, alias } = outside;
        let asked = match &alias {
            None => self.forwarder.ask(bytes, transport, from).await,
            // The records of the alias's target are read, so they must all be there.
            Some((_, name)) => match target(&query, name) {
                Some(bytes) => self.forwarder.ask(&bytes, Transport::Tcp, from).await,
                None => Err(Unanswered::Silence),
            },
        };
        let (mut reply, records) = match (asked, alias) {
            (Ok(answer), None) => return answer,
            (Ok(answer), Some((reply, _))) => (reply, Message::from_vec(&answer).ok()),
            // The alias itself is known, and worth something to those who can follow it.
            (Err(_), Some((reply, _))) => (reply, None),
            (Err(why), None) => {
                let mut reply = reply_to(&query);
                reply.metadata.response_code = match why {
                    Unanswered::NoResolver => ResponseCode::Refused,
                    Unanswered::Busy | Unanswered::Silence => ResponseCode::ServFail,
                };
                self.metrics.failed.fetch_add(1, Ordering::Relaxed);
                (reply, None)
            }
        };
        if let Some(records) = records {
            reply.metadata.response_code = records.metadata.response_code;
            reply.answers.extend(records.answers);
        }
        self.write(reply, &query, transport)
    }

    /// The bytes of an answer, its addresses in random order, so that clients that take the first
    /// spread; truncated where it does not fit.
    fn write(&self, mut reply: Message, query: &Message, transport: Transport) -> Vec<u8> {
        let answers = &mut reply.answers;
        for last in (1..answers.len()).rev() {
            let other = self.world.below(last as u64 + 1) as usize;
            // An alias stays before what it leads to.
            if answers[last].record_type() == answers[other].record_type() {
                answers.swap(last, other);
            }
        }
        let most = match transport {
            Transport::Udp => answer::room(query),
            Transport::Tcp => usize::from(u16::MAX),
        };
        match reply.to_vec() {
            Ok(bytes) if bytes.len() <= most => bytes,
            _ => reply.truncate().to_vec().unwrap_or_else(|error| {
                tracing::error!(%error, "an answer cannot be written");
                Vec::new()
            }),
        }
    }
}

/// What is known without asking anybody.
enum Local {
    /// Bytes to send, or nothing at all.
    Done(Option<Vec<u8>>),
    Outside(Box<Outside>),
}

/// A query that leads out of the cluster.
struct Outside {
    query: Message,
    /// An answer so far, and the name that it leads to.
    alias: Option<(Message, Name)>,
}

/// The query for what an alias leads to.
fn target(query: &Message, name: &Name) -> Option<Vec<u8>> {
    let mut asked = Message::new(query.metadata.id, MessageType::Query, OpCode::Query);
    asked.metadata.recursion_desired = true;
    asked.add_query(Query::query(name.clone(), query.queries.first()?.query_type()));
    asked.to_vec().ok()
}

async fn deliver(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(reply, to).await {
        tracing::debug!(%error, %to, "an answer was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::Zone;

    async fn start() -> (Arc<Dns>, SocketAddr, Tasks) {
        let dns = dns();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap();
        let tasks = Tasks::new();
        dns.clone().start(listener, &tasks);
        (dns, address, tasks)
    }

    fn dns() -> Arc<Dns> {
        let mut zone = Zone::new("cluster.local", None);
        let spec = skiff_json::json!({"spec": {"type": "ClusterIP", "clusterIP": "None"}});
        let endpoints: Vec<_> =
            (1..=100).map(|n| skiff_json::json!({"addresses": [format!("10.0.0.{n}")]})).collect();
        let slice = skiff_json::json!({"endpoints": endpoints});
        let slices = [Arc::new(skiff_json::from_value(slice).unwrap())];
        let entry = crate::zone::entry(&skiff_json::from_value(spec).unwrap(), &slices);
        zone.set(&skiff_api::view::Key::new("d", "many"), Some(entry));
        let world = World::real();
        // Every address of loopback is a pod of its own.
        let pods: Arc<[Cidr]> = Arc::new(["127.0.0.0/8".parse().unwrap()]);
        let forwarder = Forwarder::new(world.clone(), Vec::new(), pods.clone());
        let zone = Arc::new(skiff_base::RwLock::new(Some(zone)));
        Arc::new(Dns { world, zone, forwarder, pods, metrics: Metrics::default() })
    }

    fn query(name: &str) -> Vec<u8> {
        use hickory_proto::rr::RecordType;
        let mut message = Message::new(9, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    async fn over_udp(address: SocketAddr, bytes: &[u8]) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(bytes, address).await.unwrap();
        let mut buffer = [0; 4096];
        let count = socket.recv(&mut buffer).await.unwrap();
        Message::from_vec(&buffer[..count]).unwrap()
    }

    #[tokio::test]
    async fn what_does_not_fit_a_datagram_comes_whole_over_tcp() {
        let (_, address, tasks) = start().await;
        let bytes = query("many.d.svc.cluster.local.");
        let short = over_udp(address, &bytes).await;
        assert!(short.metadata.truncation && short.answers.is_empty());
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            let length = u16::try_from(bytes.len()).unwrap();
            stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await.unwrap();
            let mut whole = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut whole).await.unwrap();
            let whole = Message::from_vec(&whole).unwrap();
            assert!(!whole.metadata.truncation);
            assert_eq!(whole.answers.len(), 100);
        }
        tasks.stop().await;
    }

    async fn connect(from: &str, to: SocketAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        socket.connect(to).await.unwrap()
    }

    async fn over_tcp(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Message> {
        let length = u16::try_from(bytes.len()).unwrap();
        stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await?;
        let mut whole = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut whole).await?;
        Ok(Message::from_vec(&whole).unwrap())
    }

    /// Connections that ask nothing, and those that read no answer.
    #[tokio::test]
    async fn one_pod_cannot_take_all_connections() {
        let (dns, address, tasks) = start().await;
        let bytes = query("many.d.svc.cluster.local.");
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MOST + 8 {
            held.push(connect("127.0.0.2:0", address).await);
        }
        let answers = over_tcp(&mut connect("127.0.0.3:0", address).await, &bytes).await;
        assert_eq!(answers.unwrap().answers.len(), 100);
        // The accepting of all that came before has been done by now.
        let unfair = dns.metrics.unfair.load(Ordering::Relaxed);
        assert!(unfair > CONNECTIONS_MOST as u64 / 2, "{unfair}");
        assert!(over_tcp(&mut held[0], &bytes).await.is_ok(), "within its share it is served");
        assert!(over_tcp(&mut held[CONNECTIONS_MOST], &bytes).await.is_err(), "above it is not");
        tasks.stop().await;
    }

    /// Nobody answers here: what waits is what was let in.
    #[tokio::test]
    async fn one_pod_cannot_fill_the_queue() {
        let dns = dns();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, tasks) = (listener.address().unwrap(), Tasks::new());
        let (send, mut waiting) = mpsc::channel(2 * WAITING_MOST);
        tasks.spawn(dns.clone().receive_udp(listener.udp.clone(), send));
        let flood = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        while dns.metrics.unfair.load(Ordering::Relaxed) == 0 {
            flood.send_to(b"?", address).await.unwrap();
            tokio::task::yield_now().await;
        }
        let other = UdpSocket::bind("127.0.0.3:0").await.unwrap();
        other.send_to(b"?", address).await.unwrap();
        let mut floods = 0;
        let mut held = Vec::new();
        loop {
            let (_, from, place) = waiting.recv().await.unwrap();
            held.push(place);
            if from == other.local_addr().unwrap() {
                break;
            }
            floods += 1;
        }
        assert!(floods < WAITING_MOST / 2, "{floods}");
        tasks.stop().await;
    }

    #[tokio::test]
    async fn bad_messages_and_names_without_a_resolver_are_refused() {
        let (dns, address, tasks) = start().await;
        let bad = over_udp(address, b"\0\x09 this is no query").await;
        assert_eq!((bad.metadata.id, bad.metadata.response_code), (9, ResponseCode::FormErr));
        let elsewhere = over_udp(address, &query("example.com.")).await;
        assert_eq!(elsewhere.metadata.response_code, ResponseCode::Refused);
        let text = dns.metrics.text();
        assert!(text.contains("skiff_dns_queries_total 2\n"), "{text}");
        assert!(text.contains("skiff_dns_malformed_total 1\n"), "{text}");
        tasks.stop().await;
    }
}
