//! The node's own API (port 10250): logs, exec, attach and port-forward of the containers that run
//! here, and a few things to read.
//!
//! ```text
//! GET /containerLogs/NS/POD/CONTAINER   log.rs      the log as text, followed if asked
//! GET /exec/NS/POD/CONTAINER            remote.rs   WebSocket: a process in the container
//! GET /attach/NS/POD/CONTAINER          remote.rs   WebSocket: the streams of its own process
//! GET /portForward/NS/POD               forward.rs  WebSocket: a tunnel to ports of the pod
//! GET /pods  /healthz  /metrics
//! ```
//! The API server is the one caller in ordinary life: it checks a request and passes the upgraded
//! connection through as it is, so the protocols of the streams are spoken here and nowhere else.
//! Whoever else calls proves who it is and is authorized by the API server ([`access`]).
//!
//! Never here: a decision about a pod. What the node must be able to do is the trait [`Doors`].

pub mod access;
mod channels;
mod doors;
#[cfg(test)]
mod fake;
mod forward;
mod log;
mod remote;
mod reply;
mod spdy;
mod spdy_headers;
mod websocket;

pub use doors::NodeDoors;

use crate::logs::Options;
use access::Access;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reply::{Reply, refuse, text};
use skiff_api::views::Pod;
use skiff_api::wire::User;
use skiff_base::{Tasks, World};
use skiff_net::NetNs;
use skiff_runtime::client::{Attach, Exec};
use skiff_runtime::spec::{AttachSpec, ExecSpec, TtySize};
use skiff_runtime::status::Exit;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Connections at once: each attached client is one, and a node has some hundred pods.
const CONNECTIONS_MOST: usize = 1024;
/// A handshake that takes longer is given up, so that silent peers hold no connection.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A container by the names that the API has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub namespace: String,
    pub pod: String,
    pub container: String,
}

/// Which run of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The newest.
    Newest,
    /// The one before it.
    Previous,
}

/// A text, piece by piece.
pub type Text = BoxStream<'static, std::io::Result<Bytes>>;

type Runtime<T> = BoxFuture<'static, skiff_runtime::Result<T>>;

/// What the node does for its API.
pub trait Doors: Send + Sync + 'static {
    /// A pod of this node, as the API has it.
    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>>;
    /// All pods of this node as a `PodList`.
    fn pods(&self) -> BoxFuture<'static, Result<Bytes, String>>;
    /// Starts a process in the running container.
    fn exec(&self, place: &Place, spec: &ExecSpec) -> Runtime<Exec>;
    /// The end of such a process.
    fn wait_exec(&self, exec: &str) -> Runtime<Exit>;
    /// Joins the running container's streams; the text is its id.
    fn attach(&self, place: &Place, spec: AttachSpec) -> Runtime<(String, Attach)>;
    /// Resizes the terminal of a container.
    fn resize(&self, id: &str, size: TtySize) -> Runtime<()>;
    /// Done when the container of this id has ended.
    fn wait(&self, id: &str) -> Runtime<()>;
    /// The log of a run as users see it; `None` if there was no such run.
    fn log(&self, place: &Place, uid: &str, run: Run, options: Options) -> Runtime<Option<Text>>;
    /// The network namespace of a running pod (the machine's own for `hostNetwork`).
    fn network(&self, namespace: &str, pod: &str) -> Runtime<NetNs>;
}

/// The API of one node.
pub struct Api {
    pub world: World,
    pub doors: Arc<dyn Doors>,
    pub access: Access,
    /// Shows the node's certificate, asks for a client's.
    pub tls: Arc<rustls::ServerConfig>,
    /// The user that a verified client certificate names.
    pub user_of: fn(&[u8]) -> Option<User>,
    pub metrics: Metrics,
}

/// What goes on over a connection once it is upgraded: left by the handler, run by the connection's
/// own task after the answer is out.
type Session = Arc<Mutex<Option<BoxFuture<'static, ()>>>>;

/// Counters.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: AtomicU64,
    refused: AtomicU64,
}

impl Api {
    /// Accepts connections until the task group is stopped.
    pub async fn run(self: Arc<Self>, listener: TcpListener, tasks: Tasks) {
        let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MOST));
        let acceptor = TlsAcceptor::from(self.tls.clone());
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: others must end before one more can begin.
                    tracing::warn!(%error, "accepting a connection to the node failed");
                    self.world.sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (api, acceptor) = (self.clone(), acceptor.clone());
            tasks.spawn(async move {
                let _place = place;
                api.connection(acceptor, stream, address).await;
            });
        }
    }

    async fn connection(
        self: Arc<Self>,
        acceptor: TlsAcceptor,
        stream: TcpStream,
        address: SocketAddr,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %address, "no TCP_NODELAY");
        }
        let stream = match self.world.within(HANDSHAKE, acceptor.accept(stream)).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => return tracing::debug!(%error, %address, "TLS handshake failed"),
            None => return tracing::debug!(%address, "TLS handshake took too long"),
        };
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let user = leaf.and_then(|leaf| (self.user_of)(leaf)).map(Arc::new);
        let session = Session::default();
        let later = session.clone();
        let service = hyper::service::service_fn(move |request| {
            let (api, user, later) = (self.clone(), user.clone(), later.clone());
            async move { Ok::<_, Infallible>(api.answer(user, request, &later).await) }
        });
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        if let Err(error) = served {
            tracing::debug!(%error, %address, "a connection to the node ended");
        }
        let work = session.lock().expect("no holder of this lock panics").take();
        if let Some(work) = work {
            work.await;
        }
    }

    async fn answer(
        self: Arc<Self>,
        certificate: Option<Arc<User>>,
        request: Request<Incoming>,
        later: &Session,
    ) -> Response<Reply> {
        self.metrics.requests.fetch_add(1, Ordering::Relaxed);
        let path = request.uri().path().to_owned();
        let asked = access::asked(request.method(), &path);
        let bearer = request.headers().get(header::AUTHORIZATION);
        if let Err((code, why)) = self.access.check(certificate, bearer, &asked).await {
            self.metrics.refused.fetch_add(1, Ordering::Relaxed);
            return text(code, why);
        }
        let parts: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts[..] {
            ["healthz"] => text(StatusCode::OK, "ok"),
            ["metrics"] => text(StatusCode::OK, self.metrics()),
            ["pods"] => self.pods().await,
            ["containerLogs", namespace, pod, container] => {
                let place = place(namespace, pod, container);
                log::answer(&self, place, &Query::parse(request.uri().query())).await
            }
            ["exec", namespace, pod, container] => {
                remote::exec(self, place(namespace, pod, container), request, later)
            }
            ["attach", namespace, pod, container] => {
                remote::attach(self, place(namespace, pod, container), request, later)
            }
            ["portForward", namespace, pod] => {
                forward::answer(self, place(namespace, pod, ""), request, later)
            }
            _ => refuse(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    async fn pods(&self) -> Response<Reply> {
        match self.doors.pods().await {
            Ok(list) => {
                let mut response = text(StatusCode::OK, list);
                let json = http::HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                response
            }
            Err(why) => refuse(StatusCode::INTERNAL_SERVER_ERROR, why),
        }
    }

    fn metrics(&self) -> String {
        let (requests, refused) = (&self.metrics.requests, &self.metrics.refused);
        format!(
            "# HELP kubelet_http_requests_total Requests to the node's API.\n\
             # TYPE kubelet_http_requests_total counter\n\
             kubelet_http_requests_total {}\n\
             # HELP skiff_node_api_refused_total Requests of callers without permission.\n\
             # TYPE skiff_node_api_refused_total counter\n\
             skiff_node_api_refused_total {}\n",
            requests.load(Ordering::Relaxed),
            refused.load(Ordering::Relaxed),
        )
    }
}

fn place(namespace: &str, pod: &str, container: &str) -> Place {
    Place { namespace: namespace.into(), pod: pod.into(), container: container.into() }
}

/// The parameters of a query.
#[derive(Debug, Default)]
struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    fn parse(query: Option<&str>) -> Query {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(&value.replace('+', " "));
            found.entry(decode(&key.replace('+', " "))).or_default().push(value);
        }
        Query(found)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.first().map(String::as_str).filter(|value| !value.is_empty())
    }

    fn all(&self, key: &str) -> Vec<String> {
        self.0.get(key).cloned().unwrap_or_default()
    }

    fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some("1" | "true"))
    }
}

/// Undoes percent-encoding; what is no valid encoding stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_and_keep_the_order_of_repeated_keys() {
        let query = Query::parse(Some("command=sh&command=-c&command=echo+a%26b&tty=1&x"));
        assert_eq!(query.all("command"), ["sh", "-c", "echo a&b"]);
        assert!(query.flag("tty"));
        assert!(!query.flag("x"));
        assert_eq!(query.get("none"), None);
        assert_eq!(decode("%zz%4"), "%zz%4");
    }
}
