//! The API server: one pipeline for every request, whoever sends it. The only crate that touches the store.
//!
//! `Server` is a plain value over the store, the kinds and the World; `http` is its rim. It never decides what a kind
//! means (that is `api`), and never reacts to objects (those are the loops, which come in through the pipeline).

pub mod answered;
pub mod authorize;
pub mod connect;
pub mod identity;
pub mod paths;
mod pipeline;
mod read;
pub mod registry;
mod render;
pub mod request;
pub mod rim;
mod write;

pub use read::unreadable;
pub use registry::custom;
pub use write::admission;

use futures_util::future::BoxFuture;
use skiff_api::registry::Kinds;
use skiff_api::wire::{Answer, Call, Serve};
use skiff_base::World;
use skiff_store::Store;
use std::sync::Arc;

/// The server. Everything in it is shared; `Arc<Server>` is how it travels.
pub struct Server {
    pub world: World,
    pub store: Arc<dyn Store>,
    pub kinds: Kinds,
    /// What is known of custom resource definitions.
    pub customs: custom::Customs,
    /// What is stored and cannot be read.
    pub unreadable: unreadable::Unreadable,
    pub authenticator: identity::authenticate::Authenticator,
    pub authorizer: authorize::Authorizer,
    pub limits: rim::limit::Limits,
    /// What was asked, for metrics.
    pub requests: rim::requests::Requests,
    /// What other parts of the process count, for metrics.
    pub figures: paths::metrics::Figures,
    pub ready: paths::ready::Ready,
    /// How nodes and pods are called.
    pub nodes: connect::Nodes,
    /// Where addresses and ports of Services come from.
    pub services: admission::service::Ranges,
    /// What namespaces whose labels say nothing allow their pods.
    pub pod_security: admission::pod_security::Rules,
    /// `host:port`, as discovery tells it to clients.
    pub address: String,
    pub build: Build,
}

/// Which build this is, for `/version`.
#[derive(Debug, Clone)]
pub struct Build {
    pub commit: &'static str,
    pub date: &'static str,
    pub compiler: &'static str,
    pub arch: &'static str,
}

/// The server as callers see it.
pub struct Entry(pub Arc<Server>);

impl Serve for Entry {
    fn serve(&self, call: Call) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let manner = render::Manner::of(&call);
            let mut answer = match pipeline::run(&self.0, call).await {
                Ok(answer) => manner.pretty(answer),
                Err(status) => manner.refuse(status),
            };
            // Each answer can be named in a report; nothing is recorded under this name yet.
            let id = skiff_base::id::uuid(&self.0.world);
            if let Ok(id) = ::http::HeaderValue::from_str(&id) {
                answer.headers.insert("audit-id", id);
            }
            answer
        })
    }
}
