//! The wire as data: what a caller hands to the server, and what comes back, whether through a socket or in process.
//!
//! Callers in the process carry trees in and shared bytes out; the HTTP rim reads and writes the same values. Neither
//! `server` nor `client` knows the other: both know this.

use crate::pieces::Pieces;
use crate::status::Status;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};
use skiff_json::{Value, json};
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;

/// Percent-encodes everything but the unreserved characters of RFC 3986.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

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
    /// Another view of any of these three, written already.
    Rendered(Rendered),
    /// Pieces of unknown number (logs).
    Stream(BoxStream<'static, Result<Bytes, std::io::Error>>),
    /// 101: this runs once the connection is a stream.
    Upgraded(BoxFuture<'static, ()>),
}

/// An answer as it goes over the wire.
pub struct Rendered {
    /// About how large it is, in bytes; `None` is a watch, which has no end.
    pub size: Option<usize>,
    pub pieces: BoxStream<'static, Result<Pieces, std::io::Error>>,
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
        self.write_with(&self.head, &self.body, out);
    }

    /// Appends the object as an item of a typed list: without apiVersion and kind.
    pub fn write_item(&self, out: &mut Vec<u8>) {
        self.write_with("", &self.body, out);
    }

    /// Appends its metadata as a PartialObjectMetadata (API reference: meta/v1).
    pub fn write_metadata(&self, out: &mut Vec<u8>) {
        let end = object_end(&self.body, BODY_START.len());
        self.write_with(METADATA_ONLY, &self.body[..end], out);
        out.push(b'}');
    }

    /// The whole object; its body is shared.
    pub fn pieces(&self) -> Pieces {
        let mut start = Vec::with_capacity(self.head.len() + 64);
        self.begin(&self.head, &mut start);
        let mut pieces = Pieces::from(Bytes::from(start));
        pieces.push(self.body.slice(BODY_START.len()..));
        pieces
    }

    fn write_with(&self, head: &str, body: &[u8], out: &mut Vec<u8>) {
        out.reserve(body.len() + head.len() + 64);
        self.begin(head, out);
        out.extend_from_slice(&body[BODY_START.len()..]);
    }

    /// What stands before the rest of the body.
    fn begin(&self, head: &str, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&BODY_START.as_bytes()[1..]);
        if self.revision > 0 {
            let comma = if self.body.get(BODY_START.len()) == Some(&b'}') { "" } else { "," };
            write!(out, "\"resourceVersion\":\"{}\"{comma}", self.revision)
                .expect("memory takes all that is written");
        }
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
    pub fn tree(&self) -> Result<Value, skiff_json::Error> {
        skiff_json::from_slice(&self.bytes())
    }
}

/// The head of an object of which the metadata is all that is sent.
const METADATA_ONLY: &str = "\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",";

/// Where the object ends in whose inside `at` is; the end of `json` when it is cut off.
fn object_end(json: &[u8], mut at: usize) -> usize {
    let mut depth = 1;
    while depth > 0 {
        match json.get(at) {
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => depth -= 1,
            Some(b'"') => at = text_end(json, at + 1),
            Some(_) => {}
            None => return json.len(),
        }
        at += 1;
    }
    at
}

/// Where the quote is that ends the text from `at` on.
fn text_end(json: &[u8], mut at: usize) -> usize {
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// What a list shows. Nothing is made of an item before it is its turn, for a list may be long and its reader slow.
pub trait Items: Send + Sync {
    fn count(&self) -> usize;

    /// The item at this place, which is below the count.
    fn get(&self, at: usize) -> Stored;
}

impl Items for Vec<Stored> {
    fn count(&self) -> usize {
        self.len()
    }

    fn get(&self, at: usize) -> Stored {
        self[at].clone()
    }
}

impl List {
    /// Its items in their order.
    pub fn each(&self) -> impl Iterator<Item = Stored> {
        (0..self.items.count()).map(|at| self.items.get(at))
    }

    /// How many bytes the bodies of its items have.
    pub fn size(&self) -> usize {
        self.each().map(|item| item.body.len()).sum()
    }
}

/// A list of objects at one revision.
pub struct List {
    /// `"apiVersion":"v1","kind":"PodList",`
    pub head: Arc<str>,
    pub revision: u64,
    pub items: Box<dyn Items>,
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
}

/// The header that tells the revision of a deletion, whose answer is no object: whoever deleted can wait for it to
/// show.
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

    #[test]
    fn metadata_is_cut_out_of_a_body() {
        let written = |body: &'static str, revision| {
            let stored =
                Stored { head: "".into(), revision, body: Bytes::from_static(body.as_bytes()) };
            let mut out = Vec::new();
            stored.write_metadata(&mut out);
            let whole: Value = skiff_json::from_slice(&stored.bytes()).expect("JSON");
            let only: Value = skiff_json::from_slice(&out).expect("JSON");
            assert_eq!(only["metadata"], whole["metadata"]);
            assert_eq!(only["kind"], "PartialObjectMetadata");
            let text = String::from_utf8(out).expect("text");
            text.split_once("\"metadata\":").expect("metadata").1.to_owned()
        };
        let odd =
            r#"{"metadata":{"name":"a","annotations":{"x":"}\"{\\","y":"]"},"f":[{}]},"spec":{}}"#;
        assert_eq!(
            written(odd, 7),
            r#"{"resourceVersion":"7","name":"a","annotations":{"x":"}\"{\\","y":"]"},"f":[{}]}}"#
        );
        assert_eq!(written(r#"{"metadata":{}}"#, 0), "{}}");
        assert_eq!(written(r#"{"metadata":{}}"#, 3), r#"{"resourceVersion":"3"}}"#);
    }
}
