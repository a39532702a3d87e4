//! The connection to the supervisor: kept, and made again when it breaks.
//!
//! Requests carry a number; a task reads the answers and hands each to whoever waits for it.
//! Never here: what a request means.

use super::Config;
use crate::status::Event;
use crate::sys::socket;
use crate::wire::{self, Answer, Ask, Request, Say};
use crate::{Error, Result};
use skiff_base::Lock;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, oneshot, watch};

/// Events that a slow reader may lag behind before it has to list: a few for each of 500 pods.
const EVENT_BUFFER: usize = 4096;
/// A supervisor that fails to start is tried again after this pause, so that a full disk or a
/// missing folder does not eat a core.
const RETRY: Duration = Duration::from_millis(200);
/// How long a request waits for a connection before it is an error: many times a start's few
/// milliseconds, and well below anybody's patience.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

type Waiting = HashMap<u64, oneshot::Sender<(Result<Answer>, Vec<OwnedFd>)>>;

/// Keeps one connection open.
#[derive(Debug)]
pub(super) struct Keeper {
    config: Lock<Config>,
    current: watch::Sender<Option<Arc<Connection>>>,
    events: broadcast::Sender<Event>,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Connection {
    socket: UnixStream,
    /// Frames are written whole.
    writing: tokio::sync::Mutex<()>,
    /// None once the connection is broken.
    waiting: Lock<Option<Waiting>>,
    next: AtomicU64,
}

impl Keeper {
    pub(super) async fn open(config: Config) -> Result<Arc<Keeper>> {
        let first = Arc::new(connect_or_start(&config).await?);
        let keeper = Arc::new(Keeper {
            config: Lock::new(config),
            current: watch::channel(Some(first.clone())).0,
            events: broadcast::channel(EVENT_BUFFER).0,
            closed: AtomicBool::new(false),
        });
        tokio::spawn(keep(Arc::downgrade(&keeper), first));
        Ok(keeper)
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(super) fn set_exe(&self, exe: &Path) {
        self.config.lock().exe = exe.to_path_buf();
    }

    /// The next broken connection stays broken.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Sends one request and waits for its answer.
    pub(super) async fn ask(&self, ask: Ask) -> Result<(Answer, Vec<OwnedFd>)> {
        let mut current = self.current.subscribe();
        if self.closed.load(Ordering::SeqCst) && current.borrow().is_none() {
            return Err(Error::Lost);
        }
        let wait = async { current.wait_for(Option::is_some).await.ok()?.clone() };
        let found = tokio::time::timeout(CONNECT_PATIENCE, wait).await;
        let Ok(Some(connection)) = found else { return Err(Error::Lost) };
        let (sender, receiver) = oneshot::channel();
        let seq = connection.next.fetch_add(1, Ordering::Relaxed);
        match connection.waiting.lock().as_mut() {
            Some(waiting) => waiting.insert(seq, sender),
            None => return Err(Error::Lost),
        };
        let frame = wire::encode(&Request { seq, ask }, 0);
        // A frame that is begun is written whole, whoever gives up meanwhile.
        let (writer, caller) = (connection.clone(), Caller { connection, seq, answered: false });
        let written = tokio::spawn(async move { writer.write(&frame).await }).await;
        if !matches!(written, Ok(Ok(()))) {
            return Err(Error::Lost);
        }
        let answer = receiver.await;
        caller.answered();
        let (result, descriptors) = answer.map_err(|_| Error::Lost)?;
        Ok((result?, descriptors))
    }
}

/// Somebody who waits for an answer; who gives up is forgotten on both sides.
struct Caller {
    connection: Arc<Connection>,
    seq: u64,
    answered: bool,
}

impl Caller {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let mut waiting = self.connection.waiting.lock();
        let known = waiting.as_mut().is_some_and(|waiting| waiting.remove(&self.seq).is_some());
        if let (true, Ok(tokio)) = (known, tokio::runtime::Handle::try_current()) {
            let (connection, seq) = (self.connection.clone(), self.seq);
            let frame = wire::encode(&Request { seq: 0, ask: Ask::Forget { seq } }, 0);
            tokio.spawn(async move {
                // An error means that the connection, and with it all who wait, is gone.
                let _ = connection.write(&frame).await;
            });
        }
    }
}

impl Connection {
    fn new(socket: UnixStream) -> Connection {
        Connection {
            socket,
            writing: tokio::sync::Mutex::new(()),
            waiting: Lock::new(Some(HashMap::new())),
            next: AtomicU64::new(1),
        }
    }

    async fn write(&self, mut frame: &[u8]) -> io::Result<()> {
        let _turn = self.writing.lock().await;
        while !frame.is_empty() {
            self.socket.writable().await?;
            match self.socket.try_write(frame) {
                Ok(n) => frame = &frame[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads until the connection breaks.
    async fn read(&self, events: &broadcast::Sender<Event>) -> Result<()> {
        let broken = |e: io::Error| Error::System(format!("read from the supervisor: {e}"));
        let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
        loop {
            self.socket.readable().await.map_err(broken)?;
            let got = self.socket.try_io(Interest::READABLE, || {
                socket::receive(self.socket.as_raw_fd(), &mut bytes, &mut descriptors)
            });
            match got {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(broken(e)),
            }
            let mut taken = 0;
            while let Some((length, body, count)) = wire::split(&bytes[taken..])? {
                let say = serde_json::from_slice(body)
                    .map_err(|e| Error::System(format!("the supervisor's answer: {e}")))?;
                let with = descriptors.drain(..count.min(descriptors.len())).collect();
                self.deliver(say, with, events);
                taken += length;
            }
            bytes.drain(..taken);
        }
    }

    fn deliver(&self, say: Say, descriptors: Vec<OwnedFd>, events: &broadcast::Sender<Event>) {
        match say {
            Say::Event(event) => {
                // An error means that nobody listens at the moment.
                let _ = events.send(event);
            }
            Say::Answer { seq, result } => {
                let mut waiting = self.waiting.lock();
                if let Some(sender) = waiting.as_mut().and_then(|waiting| waiting.remove(&seq)) {
                    // An error means that the caller gave up; its descriptors close here.
                    let _ = sender.send((result.map_err(Error::from), descriptors));
                }
            }
        }
    }
}

/// Reads from the connection, and replaces it when it breaks, for as long as anybody has the
/// keeper.
async fn keep(keeper: std::sync::Weak<Keeper>, first: Arc<Connection>) {
    let mut connection = first;
    loop {
        let Some(events) = keeper.upgrade().map(|keeper| keeper.events.clone()) else { return };
        let gone = watch_owner(keeper.clone());
        tokio::select! {
            result = connection.read(&events) => if let Err(e) = result {
                tracing::warn!(error = %e, "connection to the supervisor broke");
            },
            () = gone => return,
        }
        // Dropping the senders tells every waiting caller.
        drop(connection.waiting.lock().take());
        let config = {
            let Some(keeper) = keeper.upgrade() else { return };
            keeper.current.send_replace(None);
            if keeper.closed.load(Ordering::SeqCst) {
                return;
            }
            keeper.config.lock().clone()
        };
        connection = loop {
            match connect_or_start(&config).await {
                Ok(connection) => break Arc::new(connection),
                Err(e) => tracing::error!(error = %e, "cannot start a supervisor, trying again"),
            }
            tokio::time::sleep(RETRY).await;
            if keeper.strong_count() == 0 {
                return;
            }
        };
        let Some(keeper) = keeper.upgrade() else { return };
        keeper.current.send_replace(Some(connection.clone()));
        // An error means that nobody listens at the moment.
        let _ = keeper.events.send(Event::Resync);
    }
}

/// Ends when the last owner of the keeper is gone (its event channel closes with it).
async fn watch_owner(keeper: std::sync::Weak<Keeper>) {
    let Some(mut current) = keeper.upgrade().map(|keeper| keeper.current.subscribe()) else {
        return;
    };
    while current.changed().await.is_ok() {}
}

async fn connect_or_start(config: &Config) -> Result<Connection> {
    let reach = |source| Error::Reach {
        path: config.root.join(crate::supervisor::SOCKET).display().to_string(),
        source,
    };
    if let Ok(socket) = connect(&config.root) {
        return Ok(Connection::new(socket));
    }
    start(config).await.map_err(reach)?;
    Ok(Connection::new(connect(&config.root).map_err(reach)?))
}

fn connect(root: &Path) -> io::Result<UnixStream> {
    let socket = socket::connect_below(root, crate::supervisor::SOCKET, libc::SOCK_STREAM)?;
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

/// Runs `exe supervisor ...`, which leaves a process behind and returns when that one listens.
async fn start(config: &Config) -> io::Result<()> {
    let config = config.clone();
    let run = move || -> io::Result<()> {
        std::fs::create_dir_all(&config.root)?;
        let log: PathBuf = config.root.join("supervisor.log");
        let mut options = std::fs::OpenOptions::new();
        let log = options.create(true).append(true).mode(0o600).open(log)?;
        let output = std::process::Command::new(&config.exe)
            .arg(crate::SUPERVISOR_WORD)
            .arg("--root")
            .arg(&config.root)
            .arg("--cgroup-root")
            .arg(&config.cgroup_root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .status()?;
        if output.success() {
            return Ok(());
        }
        let log = config.root.join("supervisor.log");
        Err(io::Error::other(format!("it ended at once ({output}); see {}", log.display())))
    };
    tokio::task::spawn_blocking(run).await.map_err(io::Error::other)?
}
