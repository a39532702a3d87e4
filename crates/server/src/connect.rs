//! Connect: requests that lead through the server to where a pod runs.
//!
//! ```text
//! pods/log                             log.rs      checks options, asks the node for the text
//! pods/exec  attach  portforward       stream.rs   checks, then the connection as it is, both ways
//! pods/proxy  services/proxy  nodes/proxy  proxy.rs   any HTTP request, by name instead of address
//! ```
//! [`target`] finds who is meant; [`dial`] speaks to it. The protocols inside an upgraded connection
//! are spoken by the node: nothing here reads what goes through.

mod dial;
mod links;
mod log;
mod log_options;
mod proxy;
mod rewrite;
mod stream;
mod target;

use crate::Server;
use crate::request::Request;
use skiff_api::Status;
use skiff_api::wire::{Answer, Call};
use std::sync::Arc;

pub use dial::Nodes;

/// The bracket of the connect verbs.
pub async fn connect(
    server: &Arc<Server>,
    request: &Request,
    call: Call,
) -> Result<Answer, Status> {
    match (&*request.kind.plural, &*request.resource.subresource) {
        ("pods", "log") => log::log(server, request, call).await,
        ("pods", "exec" | "attach") => stream::remote(server, request, call).await,
        ("pods", "portforward") => stream::forward(server, request, call).await,
        ("pods" | "services" | "nodes", "proxy") => proxy::proxy(server, request, call).await,
        (_, other) => Err(Status::unavailable(format!("{other} leads nowhere"))),
    }
}
