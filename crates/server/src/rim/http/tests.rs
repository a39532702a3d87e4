//! Connections as slow peers make them, in virtual time: both ends are here, and what is between them is a pipe.

use super::*;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Answers `ok`, or with what never ends.
struct Fixed;

impl Serve for Fixed {
    fn serve(&self, call: Call) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            if call.path == "/stranger" {
                return Status::unauthorized().into();
            }
            if let Err(answer) = call.payload.arrived().await {
                return *answer;
            }
            match (&*call.path, call.upgrade) {
                ("/stream", _) => {
                    Answer::new(StatusCode::OK, Body::Stream(stream::pending().boxed()))
                }
                (_, Some(upgrade)) => {
                    let run = async move {
                        let mut peer = upgrade.await.expect("the connection is upgraded");
                        peer.read_to_end(&mut Vec::new()).await.expect("the peer leaves");
                    };
                    let mut answer =
                        Answer::new(StatusCode::SWITCHING_PROTOCOLS, Body::Upgraded(Box::pin(run)));
                    answer.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                    answer.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                    answer
                }
                _ => Answer::text(StatusCode::OK, "ok"),
            }
        })
    }
}

struct Server {
    rim: HttpServer,
    tasks: Tasks,
}

impl Server {
    fn new() -> Server {
        let world = World::seeded(1);
        let limits = Limits::default();
        let serve = Arc::new(Fixed);
        let rim = HttpServer { world, serve, limits, gzip: Gzip::default(), user_of: |_| None };
        Server { rim, tasks: Tasks::new() }
    }

    fn connect(&self) -> DuplexStream {
        let (client, stream) = tokio::io::duplex(64 * 1024);
        let places = self.rim.limits.connections();
        let place = places.try_acquire_owned().expect("there is room");
        let usage = Usage::new(self.rim.world.clone(), place, None);
        let peer = Peer::Remote { certificate: None, address: ([127, 0, 0, 1], 1).into() };
        self.tasks.spawn(connection(self.rim.clone(), stream, peer, usage));
        client
    }

    fn refused(&self, what: Refused) -> u64 {
        self.rim.limits.refused()[what as usize]
    }

    /// Sends `start`, then a byte of `more` every 10 s; what the server said to its end, and after how many seconds.
    async fn trickle(&self, start: &str, more: &str) -> (String, u64) {
        let begin = self.rim.world.uptime();
        let (mut read, mut write) = tokio::io::split(self.connect());
        let sending = async {
            write.write_all(start.as_bytes()).await.expect("the server reads");
            for byte in more.bytes() {
                self.rim.world.sleep(Duration::from_secs(10)).await;
                write.write_all(&[byte]).await.expect("the server reads");
            }
            std::future::pending::<()>().await
        };
        let mut said = String::new();
        tokio::select! {
            () = sending => {}
            read = read.read_to_string(&mut said) => drop(read.expect("the pipe holds")),
        }
        (said, (self.rim.world.uptime() - begin).as_secs())
    }
}

async fn ask(client: &mut DuplexStream, request: &str) -> String {
    client.write_all(request.as_bytes()).await.expect("the server reads");
    said(client).await
}

/// What comes next, as far as it comes at once.
async fn said(client: &mut DuplexStream) -> String {
    let mut out = vec![0; 4096];
    let read = client.read(&mut out).await.expect("the pipe holds");
    String::from_utf8_lossy(&out[..read]).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn heads_and_prefaces_that_trickle_end_after_upstreams_time() {
    let server = Server::new();
    for (start, more) in [("", ""), ("GET / HTTP/1.1\r\nHost: ", "abc"), ("PRI * HT", "TP/")] {
        let before = server.refused(Refused::IdleTime);
        let (_, seconds) = server.trickle(start, more).await;
        assert!((32..=42).contains(&seconds), "{start:?}: {seconds} s");
        assert_eq!(server.refused(Refused::IdleTime), before + 1, "{start:?}");
    }
    server.tasks.stop().await;
    assert_eq!(server.rim.limits.connected(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_gets_its_answer_and_others_are_served() {
    let server = Server::new();
    let mut other = server.connect();
    let start = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{";
    let slow = server.trickle(start, "aaaaa");
    let others = async {
        for _ in 0..12 {
            server.rim.world.sleep(Duration::from_secs(5)).await;
            assert!(ask(&mut other, GET).await.starts_with("HTTP/1.1 200 OK"));
        }
    };
    let ((said, seconds), ()) = futures_util::future::join(slow, others).await;
    assert!(said.starts_with("HTTP/1.1 504 Gateway Timeout"), "{said}");
    assert!(said.contains("request did not complete within the allotted timeout"), "{said}");
    assert_eq!(seconds, 60);
    assert_eq!(server.refused(Refused::BodyTime), 1);
}

#[tokio::test(start_paused = true)]
async fn connections_rest_as_long_as_clients_keep_them() {
    let server = Server::new();
    let mut client = server.connect();
    for _ in 0..3 {
        assert!(ask(&mut client, GET).await.starts_with("HTTP/1.1 200 OK"));
        server.rim.world.sleep(Duration::from_secs(95)).await;
    }
    assert_eq!(said(&mut client).await, "");
    assert_eq!(server.rim.world.uptime().as_secs(), 2 * 95 + 122);
}

#[tokio::test(start_paused = true)]
async fn streams_and_upgrades_live_and_hold_their_place() {
    let server = Server::new();
    let mut watch = server.connect();
    let asked = "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(ask(&mut watch, asked).await.starts_with("HTTP/1.1 200 OK"));
    let mut exec = server.connect();
    let asked =
        "GET /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert!(ask(&mut exec, asked).await.starts_with("HTTP/1.1 101"));
    let day = Duration::from_secs(24 * 3600);
    for open in [&mut watch, &mut exec] {
        assert_eq!(server.rim.world.within(day, said(open)).await, None);
    }
    assert_eq!(server.rim.limits.connected(), 2);
    drop((watch, exec));
    server.rim.world.sleep(Duration::from_secs(1)).await;
    assert_eq!(server.rim.limits.connected(), 0);
    assert_eq!(server.refused(Refused::IdleTime), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_large_body_is_read_away() {
    let server = Server::new();
    let mut client = server.connect();
    let size = MAX_BODY_BYTES + (1 << 20);
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("the server reads");
    client.write_all(&vec![b'x'; size]).await.expect("the server reads all of it");
    let refusal = said(&mut client).await;
    assert!(refusal.starts_with("HTTP/1.1 413 Payload Too Large"), "{refusal}");
    assert!(refusal.contains("Request entity too large: limit is 3145728"), "{refusal}");
    assert!(ask(&mut client, GET).await.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(server.refused(Refused::BodySize), 1);
}

/// Nobody's bytes are taken in before it is known who sends them.
#[tokio::test(start_paused = true)]
async fn a_stranger_who_stalls_is_refused_and_costs_no_room() {
    let server = Server::new();
    let start = "POST /stranger HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n";
    let mut client = server.connect();
    client.write_all(start.as_bytes()).await.expect("the server reads");
    client.write_all(&[b'x'; 60_000]).await.expect("the server reads");
    let refusal = said(&mut client).await;
    assert!(refusal.starts_with("HTTP/1.1 401 Unauthorized"), "{refusal}");
    assert_eq!(server.rim.world.uptime(), UNREAD);
    assert_eq!(server.rim.limits.bodies().0, 0);
    // A small body is read away at once, and the connection goes on.
    let mut client = server.connect();
    let small = "POST /stranger HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd";
    assert!(ask(&mut client, small).await.starts_with("HTTP/1.1 401"));
    assert!(ask(&mut client, GET).await.starts_with("HTTP/1.1 200 OK"));
    // Who waits to be asked for the body is not asked.
    let mut client = server.connect();
    let polite = start.replace("Host: a", "Host: a\r\nExpect: 100-continue");
    assert!(ask(&mut client, &polite).await.starts_with("HTTP/1.1 401"));
    assert_eq!(server.rim.world.uptime(), UNREAD);
}

/// What is held of a body counts, from its first byte to the end of its request.
#[tokio::test(start_paused = true)]
async fn a_body_on_its_way_takes_the_room_of_what_came() {
    let server = Server::new();
    let mut client = server.connect();
    let start = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n12345";
    client.write_all(start.as_bytes()).await.expect("the server reads");
    server.rim.world.sleep(Duration::from_secs(1)).await;
    assert_eq!(server.rim.limits.bodies().0, 5);
    drop(client);
    server.rim.world.sleep(Duration::from_secs(1)).await;
    assert_eq!(server.rim.limits.bodies().0, 0);
}

/// A head is as long as it may be, over either HTTP, and no longer.
#[tokio::test(start_paused = true)]
async fn a_head_without_end_is_refused() {
    let server = Server::new();
    let mut client = server.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await.expect("the server reads");
    let sent = async { while client.write_all(&[b'x'; 16 * 1024]).await.is_ok() {} };
    let limit = server.rim.world.within(Duration::from_secs(5), sent);
    assert!(limit.await.is_some(), "it went on reading");
}
