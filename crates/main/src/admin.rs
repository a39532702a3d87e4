//! The daemon's own API: HTTP/1.1 over a socket that only root can open, for what is not Kubernetes.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | how the cluster is |
//! | `GET /ready?for=api`, `for=node` | when it is so |
//! | `POST /stop` | at once; then the daemon ends its containers and itself |
//! | `GET /images`, `POST /images/{load,remove,pull}` | see [`images`] |
//! | `POST /backup` | the entries of a backup, see [`backup`] |
//! | `GET /encryption`, `POST /encryption/{rotate,rewrite}` | what is encrypted on the disk, and it written anew |
//! | `POST /upgrade` | at once; then the daemon executes the program that was named |
//! | `POST /demo` | steps of the demo, its page at the end |
//!
//! A failure is `{"error": text}` with 400 or above; an answer of lines that has begun ends with such a line.

mod backup;
mod images;
mod status;

use crate::assemble::Machine;
use crate::demo;
use crate::encryption::Encryption;
use anyhow::{Context, Result, bail};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_base::{Parts, Tasks, World, fault};
use skiff_cli::Place;
use skiff_cli::settings::Settings;
use skiff_client::{Caches, Client};
use skiff_image::Images;
use skiff_json::{Value, json};
use skiff_net::PodNetwork;
use skiff_server::paths::ready::Ready;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

pub use status::until;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A request's document; archives are streamed and have limits of their own.
const DOCUMENT_MOST: usize = 64 << 10;
/// Lines of an answer that wait for a slow reader.
const LINES_MOST: usize = 64;

/// Everything that the answers are made of.
pub struct Door {
    pub settings: Arc<Settings>,
    pub world: World,
    pub parts: Parts,
    pub client: Client,
    pub caches: Caches,
    pub images: Images,
    pub network: Arc<PodNetwork>,
    pub ready: Ready,
    /// As the kubeconfig has it.
    pub server: String,
    /// The API server itself, for what only it can say; None for an agent.
    pub api: Option<Arc<skiff_server::Server>>,
    /// What seals for the store; None for an agent.
    pub encryption: Option<Arc<Encryption>>,
    stop: watch::Sender<Told>,
}

/// What the daemon was told to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Told {
    #[default]
    Nothing,
    Stop,
    /// Go on as this program.
    Become(PathBuf),
}

impl Door {
    /// The receiver hears when the daemon is to end.
    pub fn new(
        settings: &Arc<Settings>,
        machine: &Machine,
        world: World,
    ) -> (Door, watch::Receiver<Told>) {
        let (stop, told) = watch::channel(Told::default());
        let api = machine.plane.as_ref().map(|plane| plane.server.clone());
        let door = Door {
            settings: settings.clone(),
            world,
            parts: machine.parts.clone(),
            client: match &machine.plane {
                Some(plane) => plane.client.clone(),
                None => machine.agent.client.clone(),
            },
            caches: machine.caches.clone(),
            images: machine.agent.images.clone(),
            network: machine.agent.network.clone(),
            ready: api.as_ref().map(|api| api.ready.clone()).unwrap_or_default(),
            server: machine.server.clone(),
            api,
            encryption: machine.plane.as_ref().map(|plane| plane.encryption.clone()),
            stop,
        };
        (door, told)
    }
}

/// Opens the socket; callers may connect from now on and are answered once [`run`] runs.
pub fn listen(place: &Place) -> Result<UnixListener> {
    let path = place.admin_socket();
    match std::os::unix::net::UnixStream::connect(&path) {
        Ok(_) => bail!("another daemon runs with the data of {}", place.folder().display()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // Left by one that was killed.
        Err(_) => {
            std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?
        }
    }
    let listener =
        UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until its task ends.
pub async fn run(door: Arc<Door>, listener: Arc<UnixListener>, tasks: Tasks) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_root(&stream) => {
                fault::point("admin");
                tasks.spawn(connection(door.clone(), stream, tasks.clone()));
            }
            Ok(_) => tracing::warn!("somebody other than root called the admin socket"),
            Err(error) => {
                tracing::error!(%error, "the admin socket failed");
                door.world.sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

fn is_root(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0)
}

async fn connection(door: Arc<Door>, stream: UnixStream, tasks: Tasks) {
    let service = service_fn(|request| {
        let (door, tasks) = (door.clone(), tasks.clone());
        async move { Ok::<_, Infallible>(answer(door, request, &tasks).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the admin socket broke off");
    }
}

async fn answer(door: Arc<Door>, request: Request<Incoming>, tasks: &Tasks) -> Response<Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answered = match (method, path.as_str()) {
        (Method::GET, "/status") => status::status(&door).await,
        (Method::GET, "/ready") => {
            let query = request.uri().query().unwrap_or("").to_owned();
            status::ready(&door, &query).await
        }
        (Method::POST, "/stop") => {
            door.stop.send_replace(Told::Stop);
            Ok(json!({}))
        }
        (Method::POST, "/upgrade") => document(request).await.and_then(|it| upgrade(&door, &it)),
        (Method::POST, "/backup") => match document(request).await {
            Ok(document) => return backup::answer(&door, &document, tasks),
            Err(error) => Err(error),
        },
        (method, path) if path.starts_with("/encryption") => encryption(&door, &method, path).await,
        (Method::GET, "/images") => Ok(images::list(&door.images)),
        (Method::POST, "/images/load") => images::load(&door.images, request.into_body()).await,
        (Method::POST, "/images/remove") => match document(request).await {
            Ok(document) => images::remove(&door, &document).await,
            Err(error) => Err(error),
        },
        (Method::POST, "/images/pull") => match document(request).await {
            Ok(document) => {
                return lines(tasks, async move |out| images::pull(&door, &document, &out).await);
            }
            Err(error) => Err(error),
        },
        (Method::POST, "/demo") => match document(request).await {
            Ok(document) => {
                return lines(tasks, async move |out| demo::run(&door, &document, &out).await);
            }
            Err(error) => Err(error),
        },
        (method, path) => Err(anyhow::anyhow!("there is no {method} {path}")),
    };
    match answered {
        Ok(value) => respond(StatusCode::OK, &value),
        Err(error) => respond(StatusCode::BAD_REQUEST, &failure(&error)),
    }
}

/// The next program begins when this one has stopped all its parts.
fn upgrade(door: &Door, document: &Value) -> Result<Value> {
    let program = document["program"].as_str().context("the request names no program")?;
    let program = PathBuf::from(program);
    if !program.is_file() {
        bail!("there is no file {}", program.display());
    }
    door.stop.send_replace(Told::Become(program));
    Ok(json!({}))
}

async fn encryption(door: &Door, method: &Method, path: &str) -> Result<Value> {
    let (Some(encryption), Some(api)) = (&door.encryption, &door.api) else {
        bail!("a node keeps no secrets: ask its server");
    };
    match (method, path) {
        (&Method::GET, "/encryption") => encryption.status(&api.store).await,
        (&Method::POST, "/encryption/rotate") => encryption.rotate(&*api.store).await,
        (&Method::POST, "/encryption/rewrite") => encryption.rewrite(&*api.store).await,
        (method, path) => bail!("there is no {method} {path}"),
    }
}

fn failure(error: &anyhow::Error) -> Value {
    json!({"error": skiff_cli::explain(error)})
}

fn respond(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *response.status_mut() = status;
    response
}

async fn document(request: Request<Incoming>) -> Result<Value> {
    let body = Limited::new(request.into_body(), DOCUMENT_MOST).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("reading the request: {error}"))?;
    skiff_json::from_slice(&body.to_bytes()).context("the request is no JSON")
}

/// Where an answer of lines is written to.
pub type Lines = mpsc::Sender<Value>;

/// An answer whose lines come while the work goes on; its result is the last one.
fn lines<F>(tasks: &Tasks, work: impl FnOnce(Lines) -> F) -> Response<Body>
where
    F: Future<Output = Result<Value>> + Send + 'static,
{
    let (out, lines) = mpsc::channel(LINES_MOST);
    let work = work(out.clone());
    tasks.spawn(async move {
        let last = work.await.unwrap_or_else(|error| failure(&error));
        // Whoever asked has gone: then nobody waits for the result.
        let _ = out.send(last).await;
    });
    let frames = futures_util::stream::unfold(lines, async |mut lines| {
        let line = lines.recv().await?;
        Some((Ok(Frame::data(Bytes::from(format!("{line}\n")))), lines))
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
}
