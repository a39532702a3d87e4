//! The door to the API for everything in Skiff that is not the server: loops, scheduler, node, DNS, command line.
//!
//! One `Client` over one `Serve`: in process it is the server itself (no sockets, no TLS, but every stage of the
//! pipeline); over HTTPS it is a connection to one. It never touches the store.

mod cache;
mod caches;
pub mod events;
mod feed;
pub mod https;
mod index;
mod metas;

pub use cache::{Cache, Change, Subscription};
pub use caches::Caches;
pub use feed::{Fed, feed, named};
pub use metas::{Item, MetaChange, Metas};

use http::{HeaderMap, HeaderValue, Method, header};
use skiff_api::Status;
use skiff_api::follow;
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_api::view::{Resource, View};
use skiff_api::wire::{Answer, Body, Call, Payload, Peer, REVISION, Sending, Serve, Stored, User};
use skiff_json::{Value, json};
use std::sync::Arc;

/// What was asked for, if it is there.
///
/// # Errors
/// Whatever else the answer was.
pub fn there<T>(answer: Result<T, Status>) -> Result<Option<T>, Status> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(status) if status.code == 404 => Ok(None),
        Err(status) => Err(status),
    }
}

/// How all followers of caches and metadata fare, in the Prometheus text format.
pub fn figures(caches: &Caches, metas: &Metas) -> String {
    let name = |resource: Resource| match resource.group {
        "" => resource.plural.to_owned(),
        group => format!("{}.{group}", resource.plural),
    };
    let caches = caches.health().into_iter().map(|(it, health)| ("caches", name(it), health));
    let metas = metas.health().into_iter().map(|(it, health)| ("metadata", name(it), health));
    follow::figures(&caches.chain(metas).collect::<Vec<_>>())
}

/// Calls the API under one identity.
#[derive(Clone)]
pub struct Client {
    serve: Arc<dyn Serve>,
    user: Arc<User>,
    agent: HeaderValue,
}

/// How a patch is written (RFC 6902, RFC 7386, and Kubernetes' own).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    /// Server-side apply; the manager is the client's agent.
    Apply,
}

impl PatchKind {
    fn media_type(self) -> &'static str {
        match self {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
            PatchKind::Apply => "application/apply-patch+yaml",
        }
    }
}

/// What a delete asks for besides the name.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    pub uid: Option<String>,
    pub revision: Option<String>,
    pub grace_s: Option<i64>,
    /// `Background`, `Foreground` or `Orphan`.
    pub propagation: Option<&'static str>,
}

impl Client {
    /// `agent` names the caller as the field manager of its writes, and in the server's logs.
    pub fn new(serve: Arc<dyn Serve>, user: User, agent: &str) -> Client {
        let agent = HeaderValue::from_str(agent).expect("agents are plain names of our own parts");
        Client { serve, user: Arc::new(user), agent }
    }

    /// Sends one call. A refusal is an `Err`, whatever it is about.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: &str,
        media_type: &'static str,
        payload: Payload,
    ) -> Result<Answer, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, self.agent.clone());
        if !media_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        let call = Call {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            payload: Sending::Here(payload),
            peer: Peer::Local(self.user.clone()),
            upgrade: None,
        };
        let watching = query.contains("watch=true");
        let answer = https::shaped(self.serve.serve(call).await, watching).await;
        let answer = answer.map_err(|error| {
            Status::unavailable(format!("the answer to {path} broke off: {error}"))
        })?;
        if answer.status.as_u16() < 400 {
            return Ok(answer);
        }
        Err(refusal(&answer))
    }

    /// GET of a path, as a tree.
    pub async fn get_path(&self, path: &str) -> Result<Value, Status> {
        self.query(path, "").await
    }

    /// The same with a query.
    pub async fn query(&self, path: &str, query: &str) -> Result<Value, Status> {
        tree(&self.send(Method::GET, path, query, "", Payload::None).await?)
    }

    /// The newest state of one object.
    pub async fn get(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Object, Status> {
        self.get_path(&resource.path(namespace, name, "")).await.map(Object::new)
    }

    /// The newest state of one object, as a view.
    pub async fn view<V: View>(&self, namespace: &str, name: &str) -> Result<V, Status> {
        let path = V::RESOURCE.path(namespace, name, "");
        let answer = self.send(Method::GET, &path, "", "", Payload::None).await?;
        match &answer.body {
            Body::Object(stored) => decode(stored),
            Body::Bytes(bytes) => skiff_json::from_slice(bytes).map_err(unreadable),
            _ => Err(no_document()),
        }
    }

    /// All objects of a kind, as views.
    pub async fn views<V: View>(&self) -> Result<Vec<V>, Status> {
        #[derive(serde::Deserialize)]
        struct Listed<V> {
            items: Vec<V>,
        }
        let path = V::RESOURCE.path("", "", "");
        let answer = self.send(Method::GET, &path, "", "", Payload::None).await?;
        match &answer.body {
            Body::List(list) => list.each().map(|item| decode(&item)).collect(),
            Body::Bytes(bytes) => {
                skiff_json::from_slice(bytes).map(|it: Listed<V>| it.items).map_err(unreadable)
            }
            _ => Err(no_document()),
        }
    }

    /// All objects, or those of one namespace; `query` may hold selectors. When one of them cannot be read, this is an
    /// error: who acts on what is absent must not take it for absent.
    pub async fn list(
        &self,
        resource: Resource,
        namespace: &str,
        query: &str,
    ) -> Result<Vec<Object>, Status> {
        let (objects, unreadable) = self.readable(resource, namespace, query).await?;
        match &unreadable[..] {
            [] => Ok(objects),
            names => {
                let about = About { group: resource.group, resource: resource.plural };
                Err(Status::storage_read(about, &names.join(", "), "left out of a list"))
            }
        }
    }

    /// How many objects of a kind a namespace has, readable or not. None of them is decoded.
    pub async fn count(&self, resource: Resource, namespace: &str) -> Result<usize, Status> {
        let path = resource.path(namespace, "", "");
        let answer = self.send(Method::GET, &path, "limit=1", "", Payload::None).await?;
        let (first, more) = match &answer.body {
            Body::List(list) => (list.items.count() + list.unreadable.len(), list.remaining),
            _ => {
                let list = tree(&answer)?;
                let items = list["items"].as_array().map_or(0, Vec::len);
                (items, list["metadata"]["remainingItemCount"].as_u64())
            }
        };
        Ok(first + usize::try_from(more.unwrap_or(0)).unwrap_or(usize::MAX))
    }

    /// All objects that can be read, and the names of those that cannot.
    pub async fn readable(
        &self,
        resource: Resource,
        namespace: &str,
        query: &str,
    ) -> Result<(Vec<Object>, Vec<String>), Status> {
        let path = resource.path(namespace, "", "");
        let answer = self.send(Method::GET, &path, query, "", Payload::None).await?;
        match answer.body {
            Body::List(list) => {
                let trees = list.each().map(|item| item.tree().map(Object::new));
                let objects = trees.collect::<Result<_, _>>().map_err(unreadable)?;
                Ok((objects, list.unreadable))
            }
            _ => match tree(&answer)?.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => {
                    Ok((items.into_iter().map(Object::new).collect(), Vec::new()))
                }
                _ => Err(Status::internal(format!("the answer to {path} is no list"))),
            },
        }
    }

    pub async fn create(
        &self,
        resource: Resource,
        namespace: &str,
        body: Value,
    ) -> Result<Written, Status> {
        self.write(Method::POST, &resource.path(namespace, "", ""), "", "application/json", body)
            .await
    }

    /// Creates through an entry of an object (`binding`, `eviction`, `token`).
    pub async fn create_below(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: Value,
    ) -> Result<Written, Status> {
        let path = resource.path(namespace, name, subresource);
        self.write(Method::POST, &path, "", "application/json", body).await
    }

    pub async fn update(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: Value,
    ) -> Result<Written, Status> {
        let path = resource.path(namespace, name, subresource);
        self.write(Method::PUT, &path, "", "application/json", body).await
    }

    /// Patches an object (`subresource` empty) or a part of it. An apply takes fields by force.
    pub async fn patch(
        &self,
        kind: PatchKind,
        resource: Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: Value,
    ) -> Result<Written, Status> {
        let path = resource.path(namespace, name, subresource);
        let agent = self.agent.to_str().unwrap_or("skiff");
        let query = match kind {
            PatchKind::Apply => format!("fieldManager={agent}&force=true"),
            _ => String::new(),
        };
        self.write(Method::PATCH, &path, &query, kind.media_type(), body).await
    }

    pub async fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Written, Status> {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        for (key, value) in [("uid", &options.uid), ("resourceVersion", &options.revision)] {
            if let Some(value) = value {
                body["preconditions"][key] = json!(value);
            }
        }
        if let Some(grace_s) = options.grace_s {
            body["gracePeriodSeconds"] = json!(grace_s);
        }
        if let Some(policy) = options.propagation {
            body["propagationPolicy"] = json!(policy);
        }
        self.write(
            Method::DELETE,
            &resource.path(namespace, name, ""),
            "",
            "application/json",
            body,
        )
        .await
    }

    async fn write(
        &self,
        method: Method,
        path: &str,
        query: &str,
        media_type: &'static str,
        body: Value,
    ) -> Result<Written, Status> {
        let answer = self.send(method, path, query, media_type, Payload::Tree(body)).await?;
        Ok(match answer.body {
            Body::Object(stored) => {
                Written { revision: stored.revision, body: WrittenBody::Stored(stored) }
            }
            _ => {
                let object = Object::new(tree(&answer)?);
                let told = answer.headers.get(REVISION).and_then(|told| told.to_str().ok());
                let revision = told.unwrap_or(object.resource_version()).parse().unwrap_or(0);
                Written { revision, body: WrittenBody::Tree(object) }
            }
        })
    }
}

/// The answer to a write.
#[derive(Debug)]
pub struct Written {
    /// The revision of the write; 0 where the answer does not tell.
    pub revision: u64,
    body: WrittenBody,
}

#[derive(Debug)]
enum WrittenBody {
    Stored(Stored),
    Tree(Object),
}

impl Written {
    /// The object (or Status) that the server answered with.
    pub fn object(self) -> Result<Object, Status> {
        match self.body {
            WrittenBody::Stored(stored) => stored.tree().map(Object::new).map_err(unreadable),
            WrittenBody::Tree(object) => Ok(object),
        }
    }
}

/// A stored object as a view, straight from its bytes.
pub fn decode<V: View>(stored: &Stored) -> Result<V, Status> {
    skiff_json::from_slice(&stored.bytes()).map_err(unreadable)
}

fn unreadable(error: skiff_json::Error) -> Status {
    Status::internal(format!("an object of the API cannot be read: {error}"))
}

/// The body of an answer as a tree.
pub fn tree(answer: &Answer) -> Result<Value, Status> {
    match &answer.body {
        Body::Bytes(bytes) => skiff_json::from_slice(bytes).map_err(unreadable),
        Body::Object(stored) => stored.tree().map_err(unreadable),
        _ => Err(no_document()),
    }
}

fn no_document() -> Status {
    Status::internal("the answer is a stream, not a document")
}

fn refusal(answer: &Answer) -> Status {
    match tree(answer).ok().and_then(|value| Status::from_json(&value)) {
        Some(status) => status,
        None => Status::new(
            answer.status.as_u16(),
            "",
            format!("the server answered {}", answer.status),
        ),
    }
}
