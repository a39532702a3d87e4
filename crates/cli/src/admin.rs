//! The daemon's own API, from the caller's side: HTTP/1.1 over a socket below the data folder that only root can open.
//!
//! It carries what is not Kubernetes: readiness, images, the demo, the end. Long answers are lines of JSON, the last of
//! which holds the result or an `error`.

use crate::run::Run;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use skiff_json::Value;
use std::io;
use tokio::net::UnixStream;

pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// One line of an answer; a refusal of an archive quotes names of its members.
const LINE_MOST: usize = 1 << 20;

/// A process that was killed is gone well before; one that lives and does not answer is another matter.
const DYING: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A connection to a running daemon.
pub struct Admin {
    sender: SendRequest<Body>,
    /// The daemon's process, as this process numbers it.
    pub pid: i32,
}

/// The daemon does not run: what to say.
pub fn none(run: &Run<'_>) -> anyhow::Error {
    let up = run.command("up");
    anyhow::anyhow!("cluster {:?} does not run: start it with `{up}`", run.settings.context())
}

impl Admin {
    /// `None`: no daemon listens there.
    pub async fn connect(run: &Run<'_>) -> Result<Option<Admin>> {
        let path = run.place.admin_socket();
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
                _ => bail!("connecting to {}: {error}", path.display()),
            },
        };
        let pid = stream.peer_cred()?.pid().context("the daemon's process has no number here")?;
        let (sender, connection) = handshake(hyper_util::rt::TokioIo::new(stream)).await?;
        // It ends with the connection; what goes wrong on it, the request reports.
        tokio::spawn(async move { connection.await.ok() });
        Ok(Some(Admin { sender, pid }))
    }

    /// The same, but one that is just dying (its socket still takes connections for a moment after
    /// a kill) is waited for and counts as gone.
    pub async fn connect_living(run: &Run<'_>) -> Result<Option<Admin>> {
        let Some(mut admin) = Admin::connect(run).await? else { return Ok(None) };
        let process =
            Pid::from_raw(admin.pid).context("the daemon's process has no number here")?;
        let process = pidfd_open(process, PidfdFlags::empty());
        match admin.ask(Method::GET, "/status").await {
            Ok(_) => Ok(Some(admin)),
            Err(error) => {
                let Ok(process) = process else { return Ok(None) };
                let mut ends = [PollFd::new(&process, PollFlags::IN)];
                match poll(&mut ends, Some(&DYING))? {
                    0 => Err(error),
                    _ => Ok(None),
                }
            }
        }
    }

    /// The same for commands that need a running daemon.
    pub async fn open(run: &Run<'_>) -> Result<Admin> {
        Admin::connect(run).await?.ok_or_else(|| none(run))
    }

    /// A question with a short answer.
    pub async fn ask(&mut self, method: Method, path: &str) -> Result<Value> {
        self.send(method, path, empty()).await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        let body = Full::new(Bytes::from(body.to_string()));
        self.send(Method::POST, path, body.map_err(|never| match never {}).boxed_unsync()).await
    }

    /// A request whose answer is one document.
    pub async fn send(&mut self, method: Method, path: &str, body: Body) -> Result<Value> {
        let body = self.request(method, path, body).await?.collect().await?.to_bytes();
        skiff_json::from_slice(&body).context("the daemon's answer is no JSON")
    }

    /// A request whose answer is lines; the last one is returned.
    pub async fn lines(
        &mut self,
        path: &str,
        body: &Value,
        mut each: impl FnMut(&Value),
    ) -> Result<Value> {
        let body = Full::new(Bytes::from(body.to_string()));
        let body = body.map_err(|never| match never {}).boxed_unsync();
        let mut answer = self.request(Method::POST, path, body).await?;
        let (mut pending, mut last) = (Vec::new(), Value::Null);
        while let Some(frame) = answer.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            pending.extend_from_slice(&data);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                last = skiff_json::from_slice(&pending[..end])?;
                pending.drain(..=end);
                each(&last);
            }
            if pending.len() > LINE_MOST {
                bail!("the daemon's answer has too long a line");
            }
        }
        match last.get("error").and_then(Value::as_str) {
            Some(error) => bail!("{error}"),
            None if last.is_null() => bail!("the daemon ended while it worked: see `skiff logs`"),
            None => Ok(last),
        }
    }

    /// A request whose answer is bytes that come while they are made.
    pub async fn stream(&mut self, path: &str, body: &Value) -> Result<Pieces> {
        let body = Full::new(Bytes::from(body.to_string()));
        let body = body.map_err(|never| match never {}).boxed_unsync();
        Ok(Pieces(self.request(Method::POST, path, body).await?))
    }

    async fn request(&mut self, method: Method, path: &str, body: Body) -> Result<Incoming> {
        let request = Request::builder().method(method).uri(path).header("host", "skiff");
        let answer = self.sender.send_request(request.body(body)?).await;
        let answer = answer.context("asking the daemon; see `skiff logs`")?;
        if answer.status() == StatusCode::OK {
            return Ok(answer.into_body());
        }
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        match skiff_json::from_slice::<Value>(&text) {
            Ok(value) => bail!("{}", value["error"].as_str().unwrap_or("it failed")),
            Err(_) => bail!("the daemon answered {status}"),
        }
    }
}

/// The bytes of a long answer, piece by piece.
pub struct Pieces(Incoming);

impl Pieces {
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.0.frame().await {
            let frame = frame.context("the daemon ended in the middle of it: see `skiff logs`")?;
            if let Ok(piece) = frame.into_data() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
