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
//! What a path means is decided once ([`route`]), and who holds a connection for how long by [`places`].
//! The API server is the one caller in ordinary life: it checks a request and passes the upgraded
//! connection through as it is, so the protocols of the streams are spoken here and nowhere else.
//! Whoever else calls proves who it is and is authorized by the API server ([`access`]).
//!
//! Never here: a decision about a pod. What the node must be able to do is the trait [`Doors`].

pub mod access;
mod channels;
mod connection;
mod doors;
#[cfg(test)]
mod fake;
mod forward;
mod log;
mod places;
mod remote;
mod reply;
mod route;
mod spdy;
mod spdy_headers;
mod spdy_remote;
mod spdy_upgrade;
mod websocket;

pub use doors::NodeDoors;

use crate::logs::Options;
use access::Access;
use bytes::Bytes;
use connection::Session;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::{Response, StatusCode, header};
use places::Places;
use reply::{Reply, refuse, text};
use skiff_api::wire::User;
use skiff_base::World;
use skiff_kinds::views::Pod;
use skiff_net::NetNs;
use skiff_runtime::client::{Attach, Exec};
use skiff_runtime::spec::{AttachSpec, ExecSpec, TtySize};
use skiff_runtime::status::Exit;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    pub forwards: forward::Forwards,
    /// What other parts of the node count, in the text format of Prometheus.
    pub figures: Box<dyn Fn() -> String + Send + Sync>,
}

/// Counters.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: AtomicU64,
    refused: AtomicU64,
}

impl Api {
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

    fn metrics(&self, places: &Places) -> String {
        let (requests, refused) = (&self.metrics.requests, &self.metrics.refused);
        let (open, unproven) = places.taken();
        let mut page = format!(
            "# HELP kubelet_http_requests_total Requests to the node's API.\n\
             # TYPE kubelet_http_requests_total counter\n\
             kubelet_http_requests_total {}\n\
             # HELP skiff_node_api_refused_total Requests of callers without permission.\n\
             # TYPE skiff_node_api_refused_total counter\n\
             skiff_node_api_refused_total {}\n\
             # HELP skiff_node_api_connections Open connections, by whether the peer proved who it is.\n\
             # TYPE skiff_node_api_connections gauge\n\
             skiff_node_api_connections{{proven=\"true\"}} {}\n\
             skiff_node_api_connections{{proven=\"false\"}} {unproven}\n\
             # HELP skiff_node_api_connections_limit How many may be open; those without proof are among all.\n\
             # TYPE skiff_node_api_connections_limit gauge\n\
             skiff_node_api_connections_limit{{proven=\"any\"}} {}\n\
             skiff_node_api_connections_limit{{proven=\"false\"}} {}\n\
             # HELP skiff_node_api_connections_ended_total Connections that were ended, and why.\n\
             # TYPE skiff_node_api_connections_ended_total counter\n",
            requests.load(Ordering::Relaxed),
            refused.load(Ordering::Relaxed),
            open - unproven,
            places::MOST,
            places::UNPROVEN_MOST,
        );
        for (why, count) in places::ENDS.iter().zip(places.ended()) {
            page +=
                &format!("skiff_node_api_connections_ended_total{{reason=\"{why}\"}} {count}\n");
        }
        page + &(self.figures)()
    }
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
