//! Exec and attach: the streams of a process, over the channels of one WebSocket or the streams of one SPDY connection.
//!
//! A session runs four things at once: what the client says goes into stdin (or resizes the
//! terminal), stdout and stderr go out, and the end of the process is awaited. It ends with the
//! process, or when the client goes; then the last message tells how it was.
//!
//! Never here: which container is meant, and how processes start.

use super::channels::{Channel, Dialect, End, Hearing, Message, PROTOCOLS, Said};
use super::reply::{Reply, refuse};
use super::spdy_remote::{self, Expected};
use super::spdy_upgrade;
use super::websocket::{self, Carrier, Receiver, Sender};
use super::{Api, Doors, Place, Query, Session};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use skiff_base::World;
use skiff_runtime::Error;
use skiff_runtime::spec::{AttachSpec, ExecSpec, TtySize};
use skiff_runtime::stream::{Stream, Terminal};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Output is sent in pieces of at most this size.
const PIECE: usize = 32 * 1024;
/// Pieces that wait for a slow client; beyond, the process waits for it.
const PIECES_WAITING: usize = 8;
/// After the process has ended, its streams are read until they are silent for so long: a child
/// that it left behind may keep them open for ever.
const DRAIN: Duration = Duration::from_secs(1);

/// Which streams a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    /// The kubelet's names. With a terminal there is one output.
    fn of(query: &Query) -> Result<Wanted, &'static str> {
        let tty = query.flag("tty");
        let wanted = Wanted {
            stdin: query.flag("input"),
            stdout: query.flag("output"),
            stderr: query.flag("error") && !tty,
            tty,
        };
        if !(wanted.stdin || wanted.stdout || wanted.stderr) {
            return Err("you must specify at least 1 of stdin, stdout, stderr");
        }
        Ok(wanted)
    }
}

/// GET /exec/NS/POD/CONTAINER?command=...
pub fn exec(
    api: Arc<Api>,
    place: Place,
    request: Request<Incoming>,
    later: &Session,
) -> Response<Reply> {
    let query = Query::parse(request.uri().query());
    let wanted = match Wanted::of(&query) {
        Ok(wanted) => wanted,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let spec = ExecSpec {
        args: query.all("command"),
        terminal: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
        ..ExecSpec::default()
    };
    let begin =
        move |api: Arc<Api>| async move { begin_exec(api.doors.clone(), place, spec).await };
    answer(api, request, wanted, later, begin)
}

/// GET /attach/NS/POD/CONTAINER
pub fn attach(
    api: Arc<Api>,
    place: Place,
    request: Request<Incoming>,
    later: &Session,
) -> Response<Reply> {
    let wanted = match Wanted::of(&Query::parse(request.uri().query())) {
        Ok(wanted) => wanted,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let begin =
        move |api: Arc<Api>| async move { begin_attach(api.doors.clone(), place, wanted).await };
    answer(api, request, wanted, later, begin)
}

/// Goes on in the protocol that the client asks for.
fn answer<W>(
    api: Arc<Api>,
    request: Request<Incoming>,
    wanted: Wanted,
    later: &Session,
    begin: impl FnOnce(Arc<Api>) -> W + Send + 'static,
) -> Response<Reply>
where
    W: Future<Output = Result<Process, End>> + Send + 'static,
{
    if !spdy_upgrade::is_asked(request.headers()) {
        return websocket::upgrade(
            request,
            PROTOCOLS,
            later,
            move |protocol, carrier| async move {
                let process = begin(api.clone()).await;
                run(carrier, Dialect::of(protocol), process, &api.world).await;
            },
        );
    }
    let Wanted { stdin, stdout, stderr, tty: terminal } = wanted;
    let expected = Expected { stdin, stdout, stderr, terminal };
    let protocols = spdy_remote::PROTOCOLS;
    spdy_upgrade::upgrade(request, protocols, later, move |protocol, carrier| async move {
        let opened = spdy_remote::open(carrier, protocol, expected, &api.world).await;
        let Some((mut speaker, mut listener)) = opened else { return };
        let end = match begin(api.clone()).await {
            Ok(process) => session(&mut speaker, &mut listener, process, &api.world).await,
            Err(end) => Ok(Some(end)),
        };
        match end {
            Ok(Some(end)) => speaker.close(&end, listener, &api.world).await,
            Ok(None) => tracing::debug!("a client left its session"),
            Err(error) => tracing::debug!(%error, "a session broke off"),
        }
    })
}

/// The way to a client.
pub trait Say: Send {
    fn say(
        &mut self,
        channel: Channel,
        bytes: &Bytes,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

/// What a client says; `None` when it is gone.
pub trait Hear: Send {
    fn hear(&mut self) -> impl Future<Output = Option<Said>> + Send;
}

/// Both, over a WebSocket.
struct Speaker<'a, S>(&'a mut Sender<S>, Dialect);
struct Listener<'a, S>(&'a mut Receiver<S>, Hearing);

impl<S: Carrier> Say for Speaker<'_, S> {
    async fn say(&mut self, channel: Channel, bytes: &Bytes) -> io::Result<()> {
        send(self.0, self.1.write(channel, bytes)).await
    }
}

impl<S: Carrier> Hear for Listener<'_, S> {
    async fn hear(&mut self) -> Option<Said> {
        let piece = self.0.next().await?;
        Some(self.1.read(piece))
    }
}

/// A process as a session sees it.
struct Process {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Box<dyn Fn(TtySize) -> BoxFuture<'static, ()> + Send + Sync>,
    end: BoxFuture<'static, End>,
}

impl Process {
    /// The first of its outputs.
    fn first(&self) -> Channel {
        match (&self.stdout, &self.stderr) {
            (Some(_), _) => Channel::Stdout,
            (None, Some(_)) => Channel::Stderr,
            (None, None) => Channel::Error,
        }
    }
}

async fn begin_exec(doors: Arc<dyn Doors>, place: Place, spec: ExecSpec) -> Result<Process, End> {
    let exec = doors.exec(&place, &spec).await.map_err(|error| not_begun(&place, error))?;
    let id = exec.id;
    let end = Box::pin(async move {
        match doors.wait_exec(&id).await {
            Ok(exit) if exit.code == 0 => End::Success,
            Ok(exit) => End::Code(exit.code),
            Err(error) => End::Failed(error.to_string()),
        }
    });
    let terminal = exec.terminal.map(Arc::new);
    let resize = Box::new(move |size| -> BoxFuture<'static, ()> {
        let terminal = terminal.clone();
        Box::pin(async move {
            if let Some(terminal) = terminal {
                resized(Terminal::resize(&terminal, size));
            }
        })
    });
    Ok(Process { stdin: exec.stdin, stdout: exec.stdout, stderr: exec.stderr, resize, end })
}

async fn begin_attach(doors: Arc<dyn Doors>, place: Place, wanted: Wanted) -> Result<Process, End> {
    let spec = AttachSpec { stdin: wanted.stdin, stdout: wanted.stdout, stderr: wanted.stderr };
    let attached = doors.attach(&place, spec).await;
    let (id, attached) = attached.map_err(|error| not_begun(&place, error))?;
    let (waiting, own) = (doors.clone(), id.clone());
    // The container's own exit code is in the pod's status; an attach that ran to the end is fine.
    let end = Box::pin(async move {
        match waiting.wait(&own).await {
            Ok(()) | Err(Error::NotFound(_)) => End::Success,
            Err(error) => End::Failed(error.to_string()),
        }
    });
    let resize = Box::new(move |size| -> BoxFuture<'static, ()> {
        let (doors, id) = (doors.clone(), id.clone());
        Box::pin(async move { resized(doors.resize(&id, size).await) })
    });
    let (stdin, stdout, stderr) = (attached.stdin, attached.stdout, attached.stderr);
    Ok(Process { stdin, stdout, stderr, resize, end })
}

/// A terminal that ended a moment ago cannot be resized; nobody needs to know.
fn resized<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a terminal was not resized");
    }
}

fn not_begun(place: &Place, error: Error) -> End {
    End::Failed(match error {
        Error::NotFound(_) => {
            format!("unable to upgrade connection: container not found (\"{}\")", place.container)
        }
        Error::Exec(why) => format!("error executing command in container: {why}"),
        other => other.to_string(),
    })
}

/// One session, from the handshake to the goodbye.
async fn run<S: Carrier>(
    carrier: S,
    dialect: Dialect,
    process: Result<Process, End>,
    world: &World,
) {
    let (mut sender, mut receiver) = websocket::open(carrier);
    let end = match process {
        Ok(process) => {
            let greeted = greet(&mut sender, dialect, process.first()).await;
            let mut listener = Listener(&mut receiver, dialect.hearing());
            let mut speaker = Speaker(&mut sender, dialect);
            match greeted {
                Ok(()) => session(&mut speaker, &mut listener, process, world).await,
                Err(error) => Err(error),
            }
        }
        Err(end) => Ok(Some(end)),
    };
    match end {
        Ok(Some(end)) => {
            if let Some(last) = dialect.end(&end)
                && let Err(error) = send(&mut sender, last).await
            {
                return tracing::debug!(%error, "a client was gone before the end");
            }
            sender.close(receiver, world).await;
        }
        Ok(None) => tracing::debug!("a client left its session"),
        Err(error) => tracing::debug!(%error, "a session broke off"),
    }
}

/// Older clients of a WebSocket wait for a first, empty message.
async fn greet<S: Carrier>(
    sender: &mut Sender<S>,
    dialect: Dialect,
    first: Channel,
) -> io::Result<()> {
    if !dialect.greets() {
        return Ok(());
    }
    send(sender, dialect.write(first, b"")).await
}

/// Runs until the process has ended and its output is out; `None` when the client left before.
async fn session(
    speaker: &mut impl Say,
    listener: &mut impl Hear,
    process: Process,
    world: &World,
) -> io::Result<Option<End>> {
    let Process { stdin, stdout, stderr, resize, end } = process;
    let (pieces, mut output) = mpsc::channel(PIECES_WAITING);
    let listen = listen(listener, stdin, &*resize);
    let speak = async {
        while let Some((channel, piece)) = output.recv().await {
            let piece: Bytes = piece;
            speaker.say(channel, &piece).await?;
        }
        Ok::<_, io::Error>(())
    };
    let work = async {
        let (over, seen) = tokio::sync::watch::channel(false);
        let outputs = async {
            let one = pump(stdout, Channel::Stdout, pieces.clone(), seen.clone(), world);
            let two = pump(stderr, Channel::Stderr, pieces, seen, world);
            tokio::join!(one, two);
        };
        let end = async {
            let end = end.await;
            over.send_replace(true);
            end
        };
        tokio::join!(outputs, end).1
    };
    let done = async {
        let (spoken, end) = tokio::join!(speak, work);
        spoken.map(|()| end)
    };
    tokio::select! {
        biased;
        end = done => end.map(Some),
        () = listen => Ok(None),
    }
}

/// Takes what the client says until it is gone.
async fn listen(
    listener: &mut impl Hear,
    mut stdin: Option<Stream>,
    resize: &(dyn Fn(TtySize) -> BoxFuture<'static, ()> + Send + Sync),
) {
    while let Some(said) = listener.hear().await {
        match said {
            Said::Stdin(bytes) => {
                if let Some(pipe) = &mut stdin
                    && let Err(error) = pipe.write_all(&bytes).await
                {
                    // The process reads no more; the rest has nowhere to go.
                    tracing::debug!(%error, "a stdin ended");
                    stdin = None;
                }
            }
            Said::StdinEnds => stdin = None,
            Said::Resize(size) => resize(size).await,
            Said::Nothing => {}
        }
    }
}

/// Carries one output until its end; once the process has ended, until it is silent.
async fn pump(
    stream: Option<Stream>,
    channel: Channel,
    pieces: mpsc::Sender<(Channel, Bytes)>,
    mut ended: tokio::sync::watch::Receiver<bool>,
    world: &World,
) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; PIECE];
    loop {
        let over = *ended.borrow();
        let read = if over {
            world.within(DRAIN, stream.read(&mut buffer)).await
        } else {
            tokio::select! {
                biased;
                read = stream.read(&mut buffer) => Some(read),
                _ = ended.changed() => continue,
            }
        };
        match read {
            Some(Ok(count)) if count > 0 => {
                let piece = Bytes::copy_from_slice(&buffer[..count]);
                if pieces.send((channel, piece)).await.is_err() {
                    return;
                }
            }
            Some(Err(error)) => return tracing::debug!(%error, "an output broke off"),
            Some(Ok(_)) | None => return,
        }
    }
}

async fn send<S: Carrier>(sender: &mut Sender<S>, message: Message) -> io::Result<()> {
    match message {
        Message::Binary(bytes) => sender.binary(bytes).await,
        Message::Text(text) => sender.text(text).await,
    }
}

#[cfg(test)]
pub mod tests;
