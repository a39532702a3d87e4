use super::super::fake::Fake;
use super::*;
use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
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
        tokio::spawn(run(Arc::new(Fake::default()), World::real(), place, ours));
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
