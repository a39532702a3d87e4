use super::super::fake::Fake;
use super::super::{Doors, Place};
use super::*;
use crate::api::remote;
use expect_test::expect;
use skiff_runtime::spec::ExecSpec;
use tokio::io::DuplexStream;

/// A client of one session.
struct Client {
    socket: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
}

impl Client {
    /// A client of a session that says it back in capitals and ends with a code.
    fn start(protocol: &'static str, args: &[&str], stdin: bool) -> Client {
        let (ours, socket) = tokio::io::duplex(1 << 16);
        let spec = ExecSpec {
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            stdin,
            stdout: true,
            ..ExecSpec::default()
        };
        let place = Place { namespace: "n".into(), pod: "p".into(), container: "c".into() };
        tokio::spawn(async move {
            let doors: Arc<dyn Doors> = Arc::new(Fake::default());
            let expected = Expected { stdin, stdout: true, stderr: false, terminal: false };
            let world = World::real();
            if let Some((speaker, listener)) = open(ours, protocol, expected, &world).await {
                remote::tests::over_spdy(doors, place, spec, speaker, listener, &world).await;
            }
        });
        Client { socket, encoder: Encoder::new(), decoder: Decoder::new() }
    }

    async fn say(&mut self, frame: Frame) {
        let bytes = self.encoder.write(&frame);
        self.socket.write_all(&bytes).await.unwrap();
    }

    async fn open(&mut self, stream: u32, type_: &str) {
        let headers = vec![("streamType".to_owned(), type_.to_owned())];
        self.say(Frame::Open { stream, headers, side: Side::Open }).await;
    }

    async fn data(&mut self, stream: u32, text: &'static str, side: Side) {
        let bytes = Bytes::from_static(text.as_bytes());
        self.say(Frame::Data { stream, bytes, side }).await;
    }

    /// All that is heard until the connection ends, what belongs to one stream together.
    async fn hear(&mut self) -> String {
        let (mut out, mut buffer) = (String::new(), [0; 4096]);
        let mut texts: std::collections::BTreeMap<u32, String> = Default::default();
        loop {
            while let Some(frame) = self.decoder.next().unwrap() {
                match frame {
                    Frame::Data { stream, bytes, side } => {
                        let text = texts.entry(stream).or_default();
                        *text += &String::from_utf8_lossy(&bytes);
                        *text += if side == Side::Ends { "$" } else { "" };
                    }
                    Frame::GoAway => self.say(Frame::GoAway).await,
                    other => out += &format!("{other:?}\n"),
                }
            }
            match self.socket.read(&mut buffer).await.unwrap() {
                0 => break,
                count => self.decoder.feed(&buffer[..count]),
            }
        }
        texts.iter().for_each(|(stream, text)| out += &format!("{stream}: {text}\n"));
        out
    }
}

#[tokio::test]
async fn a_session_carries_streams_and_tells_the_end() {
    let mut client = Client::start("v4.channel.k8s.io", &["hello\n", "3"], true);
    client.open(1, "error").await;
    client.open(3, "stdin").await;
    client.data(3, "more\n", Side::Open).await;
    client.open(5, "stdout").await;
    client.say(Frame::Ping(1)).await;
    client.data(3, "", Side::Ends).await;
    expect![[r#"
        Accept { stream: 1 }
        Accept { stream: 3 }
        Accept { stream: 5 }
        Ping(1)
        1: {"details":{"causes":[{"message":"3","reason":"ExitCode"}]},"message":"command terminated with non-zero exit code: command terminated with exit code 3","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}$
        3: $
        5: hello
        MORE
        $
    "#]].assert_eq(&client.hear().await);
}

#[tokio::test]
async fn older_clients_are_told_by_a_text() {
    for (protocol, code, wanted) in [
        ("v3.channel.k8s.io", "3", "command terminated with exit code 3$"),
        ("channel.k8s.io", "0", "$"),
    ] {
        let mut client = Client::start(protocol, &["hello", code], false);
        client.open(1, "error").await;
        client.open(3, "stdout").await;
        let heard = client.hear().await;
        assert!(heard.contains(&format!("1: {wanted}\n3: hello$\n")), "{heard}");
    }
}

#[tokio::test]
async fn streams_that_are_none_are_refused() {
    let mut client = Client::start("v4.channel.k8s.io", &["hello", "0"], false);
    client.open(1, "error").await;
    client.open(3, "gossip").await;
    client.open(5, "error").await;
    client.open(1, "stdout").await;
    for stream in 0..40 {
        client.open(101 + 2 * stream, "stdin").await;
    }
    client.open(7, "stdout").await;
    let heard = client.hear().await;
    for refused in [3, 5, 1] {
        let line = format!("Reset {{ stream: {refused}, code: 3 }}\n");
        assert!(heard.contains(&line), "{heard}");
    }
    assert!(heard.ends_with("7: hello$\n101: $\n"), "{heard}");
}
