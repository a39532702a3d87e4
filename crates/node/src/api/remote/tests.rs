use super::super::fake::Fake;
use super::*;
use expect_test::expect;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A session whose streams a client of SPDY has opened.
pub async fn over_spdy<S: Carrier>(
    doors: Arc<dyn Doors>,
    place: Place,
    spec: ExecSpec,
    mut speaker: spdy_remote::Speaker<S>,
    mut listener: spdy_remote::Listener<S>,
    world: &World,
) {
    let process = begin_exec(doors, place, spec).await.unwrap_or_else(|_| panic!("it begins"));
    let end = session(&mut speaker, &mut listener, process, world).await;
    if let Ok(Some(end)) = end {
        speaker.close(&end, listener, world).await;
    }
}

/// What a client gets for what it says.
async fn talk(protocol: &'static str, args: &[&str], says: &[&'static [u8]]) -> String {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let doors: Arc<dyn Doors> = Arc::new(Fake::default());
    let spec = ExecSpec {
        args: args.iter().map(|a| (*a).to_owned()).collect(),
        stdin: !says.is_empty(),
        stdout: true,
        ..ExecSpec::default()
    };
    let place = Place { namespace: "n".into(), pod: "p".into(), container: "c".into() };
    let server = tokio::spawn(async move {
        let process = begin_exec(doors, place, spec).await;
        run(ours, Dialect::of(protocol), process, &World::real()).await;
    });
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    for message in says {
        client.send(Frame::Binary(Bytes::from_static(message))).await.unwrap();
    }
    let (mut out, mut channel) = (String::new(), None);
    while let Some(Ok(message)) = client.next().await {
        match message {
            // A pipe cuts its text where it likes.
            Frame::Binary(bytes) if bytes.len() > 1 && channel == Some(bytes[0]) => {
                out.pop();
                out += &format!("{}\n", bytes[1..].escape_ascii());
            }
            Frame::Binary(bytes) if bytes.len() > 1 => {
                channel = Some(bytes[0]);
                out += &format!("{}\n", bytes.escape_ascii());
            }
            Frame::Binary(bytes) => out += &format!("{}\n", bytes.escape_ascii()),
            Frame::Text(text) => out += &format!("text {text}\n"),
            Frame::Close(_) => out += "close\n",
            other => out += &format!("{other:?}\n"),
        }
    }
    server.await.unwrap();
    out
}

#[tokio::test]
async fn a_session_carries_streams_and_ends_with_the_exit_code() {
    let out = talk("v5.channel.k8s.io", &["hello\n", "3"], &[b"\0more\n", b"\xff\0"]).await;
    expect![[r#"
        \x01hello\nMORE\n
        \x03{\"details\":{\"causes\":[{\"message\":\"3\",\"reason\":\"ExitCode\"}]},\"message\":\"command terminated with non-zero exit code: command terminated with exit code 3\",\"metadata\":{},\"reason\":\"NonZeroExitCode\",\"status\":\"Failure\"}
        close
    "#]]
    .assert_eq(&out);
}

#[tokio::test]
async fn older_clients_are_greeted_and_told_of_success() {
    let out = talk("v4.channel.k8s.io", &["hello", "0"], &[]).await;
    expect![[r#"
        \x01
        \x01hello
        \x03{\"metadata\":{},\"status\":\"Success\"}
        close
    "#]]
    .assert_eq(&out);
    let out = talk("base64.channel.k8s.io", &["hello", "0"], &[]).await;
    expect![[r#"
        text 1
        text 1aGVsbG8=
        close
    "#]]
    .assert_eq(&out);
}

#[tokio::test]
async fn a_container_that_is_not_there_is_told_at_the_end() {
    let out = talk("v5.channel.k8s.io", &[], &[]).await;
    expect![[r#"
        \x03{\"code\":500,\"details\":{\"causes\":[{\"message\":\"unable to upgrade connection: container not found (\\\"c\\\")\"}]},\"message\":\"Internal error occurred: unable to upgrade connection: container not found (\\\"c\\\")\",\"metadata\":{},\"reason\":\"InternalError\",\"status\":\"Failure\"}
        close
    "#]]
    .assert_eq(&out);
}
