//! Port-forward in the channels of a WebSocket, as the clients in Python, JavaScript and Rust speak it: for the n-th
//! port that the query names, channel 2n carries its bytes and 2n+1 the reason why it failed; each begins with the
//! port's number, little-endian. Each port has one connection, made at once, and the last that ends closes the
//! WebSocket: these channels have no ends of their own.
//!
//! A session is the one of SPDY, told what to open and heard by channel: the streams of a port are its channels'
//! numbers, so that places and bounds are counted once.
//!
//! Never here: a dial.

use super::super::Query;
use super::{FRAMES_WAITING, Forwards, Place};
use super::{Forward, Frame, Headers, Receiver, Sender, Side, websocket::Carrier};
use crate::api::Doors;
use bytes::{Buf, Bytes};
use skiff_base::World;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The protocols; `""` is what a client speaks that names none.
pub const PROTOCOLS: [&str; 2] = ["v4.channel.k8s.io", ""];
/// A channel is told by one byte, and a port has two.
const PORTS_MOST: usize = 128;

/// The ports that the query names, in the kubelet's words; never none.
pub fn ports(query: &Query) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for named in query.all("port") {
        if named.is_empty() {
            return Err("query parameter \"port\" cannot be empty".into());
        }
        for port in named.split(',') {
            match port.parse() {
                Ok(0) => return Err(format!("port {named:?} must be > 0")),
                Ok(port) => ports.push(port),
                Err(error) => return Err(format!("unable to parse {named:?} as a port: {error}")),
            }
        }
    }
    match ports.len() {
        0 => Err("query parameter \"port\" is required".into()),
        1..=PORTS_MOST => Ok(ports),
        many => Err(format!("{many} ports are named, and {PORTS_MOST} at most have channels")),
    }
}

/// Runs a session; the way to the client, if that is still there.
pub async fn run<S: Carrier>(
    doors: &Arc<dyn Doors>,
    world: &World,
    forwards: &Forwards,
    place: Place,
    ports: &[u16],
    from: &mut Receiver<S>,
    to: Sender<S>,
) -> Option<Sender<S>> {
    let (out, frames) = mpsc::channel(FRAMES_WAITING);
    let forward = Forward::new(doors, world, forwards, place, out);
    let taking = async {
        for (first, port) in (0..).step_by(2).zip(ports) {
            for (stream, kind) in [(first + 1, "error"), (first, "data")] {
                let open =
                    Frame::Open { stream, headers: headers(first, *port, kind), side: Side::Open };
                if !forward.take(open).await {
                    return;
                }
            }
        }
        let mut channel = None;
        while let Some(mut piece) = from.next().await {
            if piece.first {
                channel = None;
            }
            if channel.is_none() && piece.bytes.has_remaining() {
                channel = Some(u32::from(piece.bytes.get_u8()));
            }
            let Some(stream) = channel else { continue };
            let data = Frame::Data { stream, bytes: piece.bytes, side: Side::Open };
            if !forward.take(data).await {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        to = send(ports, to, frames) => to,
        () = taking => None,
    }
}

fn headers(first: u32, port: u16, kind: &str) -> Headers {
    [("streamtype", kind), ("port", &port.to_string()), ("requestid", &first.to_string())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Sends what comes for each channel until every port has ended, or the client is gone (`None`).
async fn send<S: Carrier>(
    ports: &[u16],
    mut to: Sender<S>,
    mut frames: mpsc::Receiver<Frame>,
) -> Option<Sender<S>> {
    let mut left = ports.len();
    let messages = (0..).zip(ports.iter().flat_map(|port| [port, port]));
    for (channel, port) in messages {
        say(&mut to, channel, &port.to_le_bytes()).await?;
    }
    while left > 0 {
        match frames.recv().await? {
            // The error stream ends just before it.
            Frame::Data { stream, side: Side::Ends, .. } if stream % 2 == 0 => left -= 1,
            Frame::Data { stream, bytes, side: Side::Open } => say(&mut to, stream, &bytes).await?,
            Frame::Reset { stream, .. } => {
                let why = "error forwarding port: too many connections are open";
                say(&mut to, stream | 1, why.as_bytes()).await?;
                left -= 1;
            }
            _ => {}
        }
    }
    Some(to)
}

async fn say<S: Carrier>(to: &mut Sender<S>, channel: u32, bytes: &[u8]) -> Option<()> {
    let channel = u8::try_from(channel).expect("there are ports for so many channels at most");
    let message: Bytes = [&[channel], bytes].concat().into();
    match to.binary(message).await {
        Ok(()) => Some(()),
        Err(error) => {
            tracing::debug!(%error, "the client of a port-forward is gone");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fake::Fake;
    use super::super::websocket;
    use super::*;
    use expect_test::expect;
    use futures_util::{SinkExt, StreamExt};
    use std::collections::BTreeMap;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[test]
    fn ports_are_named_as_the_kubelet_wants_them() {
        let mut out = String::new();
        let many = vec!["port=1"; 129].join("&");
        for query in [
            "port=80&port=81,82",
            "",
            "port=",
            "port=0",
            "port=65536",
            "port=80,x",
            "port=-1",
            &many,
        ] {
            out += &format!("{:.20}: {:?}\n", query, ports(&Query::parse(Some(query))));
        }
        expect![[r#"
            port=80&port=81,82: Ok([80, 81, 82])
            : Err("query parameter \"port\" is required")
            port=: Err("query parameter \"port\" cannot be empty")
            port=0: Err("port \"0\" must be > 0")
            port=65536: Err("unable to parse \"65536\" as a port: number too large to fit in target type")
            port=80,x: Err("unable to parse \"80,x\" as a port: invalid digit found in string")
            port=-1: Err("unable to parse \"-1\" as a port: invalid digit found in string")
            port=1&port=1&port=1: Err("129 ports are named, and 128 at most have channels")
        "#]].assert_eq(&out);
    }

    #[tokio::test]
    async fn each_port_has_two_channels_and_the_last_to_end_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 3];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(&asked.to_ascii_uppercase()).await.unwrap();
        });
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let doors: Arc<dyn Doors> = Arc::new(Fake::default());
            let (world, forwards) = (World::real(), Forwards::default());
            let place = Place { namespace: "n".into(), pod: "p".into(), container: String::new() };
            let (sender, mut from) = websocket::open(ours);
            let ports = [port, 1];
            let end = run(&doors, &world, &forwards, place, &ports, &mut from, sender).await;
            end.unwrap().close(from, &world).await;
        });
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        for message in [&b"\x01no way in"[..], b"\x09nowhere", b"", b"\x00ab", b"\x00", b"\x00c"] {
            client.send(Message::Binary(Bytes::copy_from_slice(message))).await.unwrap();
        }
        let mut heard: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        loop {
            match client.next().await.unwrap().unwrap() {
                Message::Binary(mut bytes) => {
                    let channel = bytes.get_u8();
                    heard.entry(channel).or_default().extend_from_slice(&bytes);
                }
                Message::Close(code) => break assert_eq!(code.unwrap().code, 1000.into()),
                other => panic!("{other:?}"),
            }
        }
        let [low, high] = port.to_le_bytes();
        assert_eq!(heard[&0], [low, high, b'A', b'B', b'C']);
        assert_eq!(heard[&1], [low, high]);
        assert_eq!(heard[&2], [1, 0]);
        let why = String::from_utf8(heard[&3][2..].to_vec()).unwrap();
        assert!(
            why.starts_with("error forwarding port 1 to pod p, uid : failed to connect"),
            "{why}"
        );
    }
}
