//! Names outside the cluster: the machine's own resolvers are asked, and their answer is passed on
//! as it is, but for the id.
//!
//! A query goes to one resolver after the other until one answers. Each has a socket, hence a source
//! port, and an id of its own, so that answers are hard to forge (RFC 5452).
//!
//! Never here: a query without end, more of them at once than [`UNDER_WAY_MOST`], or all of those
//! for one source.

use crate::fair::Places;
use skiff_base::Cidr;
use skiff_base::World;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Resolvers that are used, as resolv.conf(5) has it.
const RESOLVERS_MOST: usize = 3;
/// How long one resolver has: all three take less than the five seconds after which a client asks
/// again.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Each holds a socket; a resolver that is gone must not eat all descriptors.
const UNDER_WAY_MOST: usize = 512;
/// Bytes before the question: id, flags, four counts (RFC 1035, 4.1.1).
const HEADER: usize = 12;
/// The largest answer over UDP that is read.
const DATAGRAM_MOST: usize = 4096;

/// How the client asked, and so how the resolver is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Why there is no answer from outside.
#[derive(Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The machine has no resolver.
    NoResolver,
    /// Too many queries are under way, of all or of this source.
    Busy,
    /// Nobody answered.
    Silence,
}

/// Asks the machine's resolvers.
pub struct Forwarder {
    world: World,
    resolvers: Vec<SocketAddr>,
    places: Arc<Places>,
}

/// The resolvers that a resolver configuration (resolv.conf(5)) names, but for our own addresses:
/// asking those would go round in a circle.
pub fn resolvers(configuration: &str, own: &[IpAddr]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for line in configuration.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A scope (`fe80::1%eth0`) means an interface; such an address is left out.
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        let address = SocketAddr::from((address, 53));
        if !own.contains(&address.ip()) && !found.contains(&address) {
            found.push(address);
        }
    }
    found.truncate(RESOLVERS_MOST);
    found
}

impl Forwarder {
    pub fn new(world: World, resolvers: Vec<SocketAddr>, pods: Arc<[Cidr]>) -> Forwarder {
        Forwarder { world, resolvers, places: Places::new(UNDER_WAY_MOST, pods) }
    }

    /// The answer to a source's query (as bytes, with any id), under the query's id.
    pub async fn ask(
        &self,
        query: &[u8],
        transport: Transport,
        from: IpAddr,
    ) -> Result<Vec<u8>, Unanswered> {
        if self.resolvers.is_empty() {
            return Err(Unanswered::NoResolver);
        }
        let Some(_place) = self.places.take(from) else { return Err(Unanswered::Busy) };
        for resolver in &self.resolvers {
            let asked =
                self.world.within(PATIENCE, self.ask_one(*resolver, query, transport)).await;
            match asked {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(error)) => tracing::debug!(%resolver, %error, "a resolver failed"),
                None => tracing::debug!(%resolver, "a resolver was silent"),
            }
        }
        Err(Unanswered::Silence)
    }

    async fn ask_one(
        &self,
        resolver: SocketAddr,
        query: &[u8],
        transport: Transport,
    ) -> io::Result<Vec<u8>> {
        let Some((id, rest)) = query.split_first_chunk::<2>() else {
            return Err(io::Error::other("the query is too short"));
        };
        let mut own_id = [0; 2];
        self.world.fill(&mut own_id);
        let asked = [&own_id[..], rest].concat();
        let mut answer = match transport {
            Transport::Udp => over_udp(resolver, &asked).await?,
            Transport::Tcp => over_tcp(resolver, &asked).await?,
        };
        answer[..2].copy_from_slice(id);
        Ok(answer)
    }
}

async fn over_udp(resolver: SocketAddr, asked: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(asked).await?;
    let mut buffer = vec![0; DATAGRAM_MOST];
    loop {
        let count = socket.recv(&mut buffer).await?;
        // Anything else is late or forged; the true one may still come.
        if answers(&buffer[..count], asked) {
            buffer.truncate(count);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(resolver: SocketAddr, asked: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(asked.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], asked].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match answers(&answer, asked) {
        true => Ok(answer),
        false => Err(io::Error::other("the answer is to another question")),
    }
}

/// Whether this answers that (RFC 5452, 9.1): a response, with the same id, to the same question. The
/// bytes are compared, so that it holds for records too that only the client can read.
fn answers(answer: &[u8], asked: &[u8]) -> bool {
    let Some((name, type_)) = question(asked) else { return false };
    let head = answer.first_chunk::<HEADER>();
    let is_response = head.is_some_and(|head| head[..2] == asked[..2] && head[2] & 0x80 != 0);
    is_response
        && match question(answer) {
            Some((other, of)) => other.eq_ignore_ascii_case(name) && of == type_,
            // A resolver that cannot read the question may refuse without it, but has no records.
            None => answer[3] & 0x0f != 0 && answer[4..HEADER].iter().all(|count| *count == 0),
        }
}

/// The only question of a message: its name, and its type and class.
fn question(message: &[u8]) -> Option<(&[u8], &[u8])> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut end = HEADER;
    // The first name of a message has nothing that it could point back to.
    while let length @ 1..=63 = *message.get(end)? {
        end += usize::from(length) + 1;
    }
    (message[end] == 0).then_some(())?;
    Some((&message[HEADER..=end], message.get(end + 1..end + 5)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};

    #[test]
    fn resolvers_are_read_from_the_configuration() {
        let text = "# x\nsearch a b\nnameserver 10.0.0.1\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n\
                    nameserver 127.0.0.53\n  nameserver ::1\noptions ndots:5\n";
        let found = resolvers(text, &["127.0.0.53".parse().unwrap()]);
        assert_eq!(found, ["10.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    }

    const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 2));

    fn pods() -> Arc<[Cidr]> {
        Arc::new(["10.244.0.0/16".parse().unwrap()])
    }

    fn query(id: u16, name: &str) -> Message {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message
    }

    #[tokio::test]
    async fn the_second_resolver_is_asked_when_the_first_refuses_the_connection() {
        let world = World::real();
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let gone = {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.local_addr().unwrap()
        };
        let forwarder = Forwarder::new(world, vec![gone, server.local_addr().unwrap()], pods());
        let answering = async {
            let mut buffer = [0; 512];
            let (count, from) = server.recv_from(&mut buffer).await.unwrap();
            let asked = Message::from_vec(&buffer[..count]).unwrap();
            // Forged answers first, all with the right id: to another question, the question itself
            // come back, records without a question, and what nobody can read.
            let mut other = query(asked.metadata.id, "b.");
            other.metadata.message_type = MessageType::Response;
            let other = other.to_vec().unwrap();
            let echo = buffer[..count].to_vec();
            let mut none = [&other[..HEADER], &[0; 40]].concat();
            none[4..8].copy_from_slice(&[0, 0, 0, 1]);
            let garbage = [&other[..HEADER], &[0xff; 40]].concat();
            for forged in [other, echo, none, garbage] {
                server.send_to(&forged, from).await.unwrap();
            }
            let answer = asked.into_response();
            server.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        };
        let asked = query(7, "ExAmple.com.").to_vec().unwrap();
        let (answer, ()) = tokio::join!(forwarder.ask(&asked, Transport::Udp, POD), answering);
        let answer = Message::from_vec(&answer.unwrap()).unwrap();
        assert_eq!(answer.metadata.id, 7);
        assert_eq!(answer.queries[0].name().to_ascii(), "ExAmple.com.");
    }

    #[tokio::test]
    async fn without_a_resolver_there_is_no_answer() {
        let forwarder = Forwarder::new(World::real(), Vec::new(), pods());
        let asked = query(7, "a.").to_vec().unwrap();
        let answer = forwarder.ask(&asked, Transport::Udp, POD).await;
        assert_eq!(answer, Err(Unanswered::NoResolver));
    }

    /// A resolver that is silent is what a pod names that wants to hold all places.
    #[tokio::test]
    async fn one_source_cannot_hold_all_queries() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolvers = vec![silent.local_addr().unwrap()];
        let forwarder = Forwarder::new(World::real(), resolvers, pods());
        let asked = query(7, "a.").to_vec().unwrap();
        let many = (0..2 * UNDER_WAY_MOST).map(|_| forwarder.ask(&asked, Transport::Udp, POD));
        let other: IpAddr = [10, 244, 0, 3].into();
        let all = futures_util::future::join_all(many);
        let later = forwarder.ask(&asked, Transport::Udp, other);
        let (all, later) = tokio::join!(all, later);
        let held = all.iter().filter(|answer| **answer == Err(Unanswered::Silence)).count();
        assert!(held > 0 && held < UNDER_WAY_MOST / 2, "{held}");
        assert_eq!(later, Err(Unanswered::Silence), "it was asked");
    }
}
