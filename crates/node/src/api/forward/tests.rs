use super::super::fake::Fake;
use super::*;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A client of one session.
struct Client {
    socket: WebSocketStream<DuplexStream>,
    encoder: Encoder,
    decoder: Decoder,
}

impl Client {
    async fn start() -> Client {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let place = Place { namespace: "n".into(), pod: "p".into(), container: String::new() };
        tokio::spawn(async move {
            let doors: Arc<dyn Doors> = Arc::new(Fake::default());
            let (world, forwards) = (World::real(), Forwards::default());
            let (sender, mut receiver) = websocket::open(ours);
            let end = run(&doors, &world, &forwards, place, &mut receiver, sender).await;
            if let Some(sender) = end {
                sender.close(receiver, &world).await;
            }
        });
        let socket = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        Client { socket, encoder: Encoder::new(), decoder: Decoder::new() }
    }

    async fn say(&mut self, frame: Frame) {
        let bytes = self.encoder.write(&frame);
        self.socket.send(Message::Binary(bytes)).await.unwrap();
    }

    async fn connect(&mut self, first: u32, port: u16) {
        for (stream, kind) in [(first, "error"), (first + 2, "data")] {
            let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let headers = vec![
                header("streamType", kind),
                header("port", &port.to_string()),
                header("requestID", &first.to_string()),
            ];
            self.say(Frame::Open { stream, headers, side: Side::Open }).await;
            assert_eq!(self.hear().await, Frame::Accept { stream });
        }
    }

    async fn hear(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return frame;
            }
            match self.socket.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => self.decoder.feed(&bytes),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn data(stream: u32, text: &'static str, side: Side) -> Frame {
    Frame::Data { stream, bytes: Bytes::from_static(text.as_bytes()), side }
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_side_ends_on_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        stream.write_all(text.to_uppercase().as_bytes()).await.unwrap();
    });
    let mut client = Client::start().await;
    client.connect(1, port).await;
    client.say(Frame::Ping(1)).await;
    assert_eq!(client.hear().await, Frame::Ping(1));
    client.say(data(3, "hello", Side::Open)).await;
    client.say(data(3, "", Side::Ends)).await;
    assert_eq!(client.hear().await, data(3, "HELLO", Side::Open));
    assert_eq!(client.hear().await, data(1, "", Side::Ends));
    assert_eq!(client.hear().await, data(3, "", Side::Ends));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_on_the_error_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut client = Client::start().await;
    client.connect(1, port).await;
    let Frame::Data { stream: 1, bytes, .. } = client.hear().await else { panic!("no error") };
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        format!(
            "error forwarding port {port} to pod p, uid : failed to connect to localhost:{port} \
             inside the pod: Connection refused (os error 111)"
        )
    );
    assert_eq!(client.hear().await, data(1, "", Side::Ends));
}

#[tokio::test]
async fn a_data_stream_without_an_error_stream_is_refused() {
    let mut client = Client::start().await;
    let headers = vec![("streamtype".to_owned(), "data".to_owned())];
    client.say(Frame::Open { stream: 1, headers, side: Side::Open }).await;
    assert_eq!(client.hear().await, Frame::Reset { stream: 1, code: Reset::Protocol as u32 });
}

/// A session without a client: the frames it sends are the receiver's.
fn session(frames_most: usize) -> (Forward, mpsc::Receiver<Frame>) {
    session_of(&Forwards::default(), frames_most)
}

fn session_of(forwards: &Forwards, frames_most: usize) -> (Forward, mpsc::Receiver<Frame>) {
    let (out, frames) = mpsc::channel(frames_most);
    let place = Place { namespace: "n".into(), pod: "p".into(), container: String::new() };
    let doors: Arc<dyn Doors> = Arc::new(Fake::default());
    (Forward::new(&doors, &World::real(), forwards, place, out), frames)
}

/// Opens a connection to a port of the pod, whose streams are this one and the next but one.
async fn open(forward: &Forward, first: u32, port: u16) {
    for (stream, kind) in [(first, "error"), (first + 2, "data")] {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![
            header("streamtype", kind),
            header("port", &port.to_string()),
            header("requestid", &first.to_string()),
        ];
        assert!(forward.open(stream, &headers, Side::Open).await);
    }
}

#[tokio::test]
async fn a_connection_that_the_client_resets_ends_at_the_pod_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (forward, _frames) = session(1000);
    for first in [1, 5, 9] {
        open(&forward, first, port).await;
        let (mut pod, _) = listener.accept().await.unwrap();
        forward.take(Frame::Reset { stream: first + 2, code: 5 }).await;
        // Neither side has ended its own: only the reset can be why.
        assert_eq!(pod.read(&mut [0; 9]).await.unwrap_or(0), 0);
        assert!(forward.streams().is_empty());
    }
}

#[tokio::test]
async fn a_connection_counts_until_the_pod_has_ended_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (forward, mut frames) = session(10_000);
    let mut pods = Vec::new();
    for at in 0..=CONNECTIONS_MOST as u32 {
        let first = at * 4 + 1;
        open(&forward, first, port).await;
        if at < CONNECTIONS_MOST as u32 {
            pods.push(listener.accept().await.unwrap().0);
        }
        // The client has said all; the pod has not.
        forward.take(data(first + 2, "", Side::Ends)).await;
    }
    let mut refused = 0;
    while let Ok(frame) = frames.try_recv() {
        refused += u32::from(matches!(frame, Frame::Reset { .. }));
    }
    assert_eq!(refused, 1);
    assert!(forward.streams().len() <= CONNECTIONS_MOST + 1);
    drop(pods);
    // Each connection says that its streams end, and is forgotten.
    let mut ended = 0;
    while ended < 2 * CONNECTIONS_MOST {
        ended += usize::from(matches!(frames.recv().await, Some(Frame::Data { .. })));
    }
    while forward.streams().values().any(|it| matches!(it, Stream::Data { .. })) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_for_pods_that_do_not_read_is_bounded_for_all_of_them_together() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (forward, _frames) = session(1000);
    let mut pods = Vec::new();
    for at in 0..20 {
        open(&forward, at * 4 + 1, port).await;
        pods.push(listener.accept().await.unwrap());
    }
    let piece = Bytes::from(vec![0; 32 * 1024]);
    let flood = async {
        for _ in 0..100_000 {
            for at in 0..20 {
                let bytes = piece.clone();
                forward.take(Frame::Data { stream: at * 4 + 3, bytes, side: Side::Open }).await;
            }
        }
    };
    let world = World::real();
    assert_eq!(world.within(Duration::from_secs(1), flood).await, None, "somebody keeps it all");
    assert_eq!(forward.room.available_permits(), 0);
    // A pod that reads goes on: nothing is lost.
    let mut first = vec![0; 1 << 20];
    pods[0].0.read_exact(&mut first).await.unwrap();
}

#[tokio::test]
async fn long_names_of_requests_are_refused() {
    let (forward, mut frames) = session(9);
    let request = "r".repeat(REQUEST_MOST + 1);
    let headers = vec![("streamtype".into(), "error".into()), ("requestid".into(), request)];
    assert!(forward.open(1, &headers, Side::Open).await);
    assert_eq!(frames.recv().await, Some(Frame::Reset { stream: 1, code: Reset::Refused as u32 }));
    assert!(forward.streams().is_empty());
}

#[tokio::test]
async fn sessions_share_what_may_be_open_and_give_it_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let forwards = Forwards(Arc::new(Semaphore::new(1)));
    let (first, _frames) = session_of(&forwards, 9);
    let (second, mut frames) = session_of(&forwards, 9);
    open(&first, 1, port).await;
    let (mut pod, _) = listener.accept().await.unwrap();
    open(&second, 1, port).await;
    assert_eq!(frames.recv().await, Some(Frame::Accept { stream: 1 }));
    let refused = Frame::Reset { stream: 3, code: Reset::Refused as u32 };
    assert_eq!(frames.recv().await, Some(refused));
    // The whole session of the other goes.
    drop(first);
    assert_eq!(pod.read(&mut [0; 9]).await.unwrap_or(0), 0);
    open(&second, 5, port).await;
    listener.accept().await.unwrap();
}
