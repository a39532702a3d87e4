//! The wire as data: what a caller hands to the server, and what comes back, whether through a socket or in process.
//!
//! Callers in the process carry trees in and shared bytes out; the HTTP rim reads and writes the same values. Neither
//! `server` nor `client` knows the other: both know this.

use crate::status::Status;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use std::pin::Pin;
use std::sync::Arc;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
}

impl User {
    /// A service account of the cluster, with the groups that it always has.
    pub fn service_account(namespace: &str, name: &str) -> User {
        User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
            ..User::default()
        }
    }

    /// A user of the cluster's own parts, by name and groups.
    pub fn system(name: &str, groups: &[&str]) -> User {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        groups.push("system:authenticated".into());
        User { name: name.into(), groups, ..User::default() }
    }
}

/// How the caller proved who it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Peer {
    /// A part of this process, under the identity it was assembled with.
    Local(Arc<User>),
    /// A connection; its verified client certificate names a user, or a header does.
    Remote { certificate: Option<Arc<User>>, address: std::net::SocketAddr },
}

/// The body of a request.
#[derive(Debug, Clone)]
pub enum Payload {
    None,
    Bytes(Bytes),
    /// From a caller in the process: already a tree.
    Tree(Value),
}

/// Where the body of a request is.
pub enum Sending {
    Here(Payload),
    /// Still with the peer: nobody's bytes are taken in before it is known who sends them, and that they may.
    Coming(Coming),
}

/// Reads a body when it is waited for; the error is what the peer is told when it does not come whole.
pub type Coming = BoxFuture<'static, Result<Payload, Box<Answer>>>;

impl Sending {
    /// The body, read if it was not yet.
    ///
    /// # Errors
    /// The answer for a peer whose body did not come whole.
    pub async fn arrived(self) -> Result<Payload, Box<Answer>> {
        match self {
            Sending::Here(payload) => Ok(payload),
            Sending::Coming(coming) => coming.await,
        }
    }
}

/// One request.
pub struct Call {
    pub method: Method,
    /// The path as sent, still percent-encoded.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    pub headers: HeaderMap,
    pub payload: Sending,
    pub peer: Peer,
    /// Present when the connection can be upgraded (WebSocket).
    pub upgrade: Option<Upgrade>,
}

/// A connection that becomes a plain stream of bytes once the 101 answer is out.
pub type Upgrade =
    Pin<Box<dyn Future<Output = Result<Box<dyn Duplex>, std::io::Error>> + Send + Sync>>;

/// A stream in both directions.
pub trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Duplex for T {}

/// What comes back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

/// The body of an answer. Objects are shared bytes: the rim splices heads and revisions in.
pub enum Body {
    Bytes(Bytes),
    Object(Stored),
    List(List),
    Watch(BoxStream<'static, Frame>),
    /// Pieces of unknown number (logs).
    Stream(BoxStream<'static, Result<Bytes, std::io::Error>>),
    /// 101: this runs once the connection is a stream.
    Upgraded(BoxFuture<'static, ()>),
}

/// An encoded object: `body` begins with `{"metadata":{` and lacks apiVersion, kind and resourceVersion.
#[derive(Debug, Clone)]
pub struct Stored {
    /// `"apiVersion":"v1","kind":"Pod",`
    pub head: Arc<str>,
    /// 0 for what was never stored (a dry run): such an object shows none.
    pub revision: u64,
    pub body: Bytes,
}

/// Every body begins so.
pub const BODY_START: &str = "{\"metadata\":{";

impl Stored {
    /// Appends the whole object.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_with(&self.head, out);
    }

    /// Appends the object as an item of a typed list: without apiVersion and kind.
    pub fn write_item(&self, out: &mut Vec<u8>) {
        self.write_with("", out);
    }

    fn write_with(&self, head: &str, out: &mut Vec<u8>) {
        out.reserve(self.body.len() + head.len() + 64);
        out.push(b'{');
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&BODY_START.as_bytes()[1..]);
        let rest = &self.body[BODY_START.len()..];
        if self.revision > 0 {
            out.extend_from_slice(b"\"resourceVersion\":\"");
            out.extend_from_slice(self.revision.to_string().as_bytes());
            out.extend_from_slice(if rest.first() == Some(&b'}') { b"\"" } else { b"\"," });
        }
        out.extend_from_slice(rest);
    }

    /// The whole object as bytes.
    pub fn bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.write(&mut out);
        out.into()
    }

    /// The whole object as a tree.
    ///
    /// # Errors
    /// When the stored body is no JSON: the store is corrupt.
    pub fn tree(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.bytes())
    }
}

/// A list of objects at one revision.
#[derive(Debug)]
pub struct List {
    /// `"apiVersion":"v1","kind":"PodList",`
    pub head: Arc<str>,
    pub revision: u64,
    pub items: Vec<Stored>,
    /// Where the next page begins; empty at the end.
    pub next: String,
    /// How many are left behind this page, when that is known.
    pub remaining: Option<u64>,
    /// Items carry apiVersion and kind (custom resources).
    pub headed_items: bool,
    /// What is there and cannot be read, by `namespace/name` or name: it is not among the items.
    pub unreadable: Vec<String>,
}

/// One message of a watch.
#[derive(Debug, Clone)]
pub enum Frame {
    Added(Stored),
    Modified(Stored),
    Deleted(Stored),
    /// Everything up to this revision was sent. `initial_end` closes the initial events of a WatchList, and names what
    /// is there and was not among them, for it cannot be read.
    Bookmark {
        head: Arc<str>,
        revision: u64,
        initial_end: Option<Vec<String>>,
    },
    /// The watch ends with a refusal (410).
    Error(Status),
    /// A rendition: the type (`ADDED`, ...) and the encoded object.
    Other(&'static str, Bytes),
}

/// The header that tells the revision of a deletion, whose answer is no object: whoever deleted can wait for it to show.
pub const REVISION: &str = "skiff-revision";

/// The annotation of a bookmark that closes the initial events (KEP-3157).
const INITIAL_END: &str = "k8s.io/initial-events-end";
/// The annotation of such a bookmark with the names of what cannot be read.
const UNREADABLE: &str = "skiff/unreadable";

/// What a bookmark carries, as metadata.
pub fn bookmark_metadata(revision: u64, initial_end: Option<&[String]>) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(unreadable) = initial_end {
        metadata["annotations"] = json!({INITIAL_END: "true"});
        if !unreadable.is_empty() {
            metadata["annotations"][UNREADABLE] = unreadable.join(",").into();
        }
    }
    metadata
}

/// Whether these annotations close the initial events, and without which objects.
pub fn initial_end(annotations: &Value) -> Option<Vec<String>> {
    annotations.get(INITIAL_END)?;
    let names = annotations.get(UNREADABLE).and_then(Value::as_str);
    Some(names.map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default())
}

impl Answer {
    pub fn new(status: StatusCode, body: Body) -> Answer {
        Answer { status, headers: HeaderMap::new(), body }
    }

    /// A JSON document.
    pub fn json(status: StatusCode, value: &Value) -> Answer {
        Answer::new(status, Body::Bytes(value.to_string().into())).typed("application/json")
    }

    /// Plain text.
    pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
        Answer::new(status, Body::Bytes(text.into())).typed("text/plain; charset=utf-8")
    }

    /// Sets the content type.
    pub fn typed(mut self, media_type: &'static str) -> Answer {
        self.headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
        self
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Answer {
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer =
            Answer::new(code, Body::Bytes(status.text().into())).typed("application/json");
        if let Some(after) = status.details.as_ref().and_then(|d| d.get("retryAfterSeconds"))
            && let Ok(value) = after.to_string().parse()
        {
            answer.headers.insert(http::header::RETRY_AFTER, value);
        }
        answer
    }
}

/// The server as everybody else sees it: one call in, one answer out. `main` hands it to the in-process transport.
pub trait Serve: Send + Sync {
    fn serve(&self, call: Call) -> BoxFuture<'_, Answer>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_revisions_are_spliced_in() {
        let stored = Stored {
            head: "\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",".into(),
            revision: 7,
            body: Bytes::from_static(b"{\"metadata\":{\"name\":\"a\"},\"data\":{}}"),
        };
        let text = String::from_utf8(stored.bytes().to_vec()).expect("it is text");
        assert_eq!(
            text,
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"resourceVersion\":\"7\",\
             \"name\":\"a\"},\"data\":{}}"
        );
        assert_eq!(stored.tree().expect("it is JSON")["metadata"]["resourceVersion"], "7");
    }
}
