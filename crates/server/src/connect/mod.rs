//! Connect: requests that lead through the server to where a pod runs.
//!
//! ```text
//! pods/log                             log.rs      checks options, asks the node for the text
//! pods/exec  attach  portforward       stream.rs   checks, then the connection as it is, both ways
//! pods/proxy  services/proxy  nodes/proxy  proxy.rs   any HTTP request, by name instead of address
//! ```
//! [`target`] finds who is meant; [`dial`] speaks to it. The protocols inside an upgraded connection
//! are spoken by the node: nothing here reads what goes through.

pub(crate) mod dial;
mod links;
mod log;
mod log_options;
mod options;
mod proxy;
mod rewrite;
mod stream;
mod target;

use crate::Server;
use crate::authorize::Attributes;
use crate::request::Request;
use crate::write::admission::{Admit, Operation};
use skiff_api::Status;
use skiff_api::kind::{Connect, Verb};
use skiff_api::wire::{Answer, Call};
use std::sync::Arc;

pub use dial::Nodes;
pub(crate) use dial::over;
pub(crate) use proxy::pass_on;
pub(crate) use stream::upgraded;

/// The bracket of the connect verbs.
pub async fn connect(
    server: &Arc<Server>,
    request: &Request,
    to: Connect,
    mut call: Call,
) -> Result<Answer, Status> {
    // From here on the request may leave this server, and the proof of who sent it must not.
    crate::identity::authenticate::forget(&mut call.headers);
    if matches!(to, Connect::Remote | Connect::PortForward) {
        may_create(server, request).await?;
    }
    // A log is read; all else is a connection, and has its options admitted like an object.
    if to != Connect::Log {
        let at = Admit::of(server, request, Operation::Connect);
        let options = options::of(&at, &call.path);
        server.admission.connect(&at, &options).await?;
    }
    match to {
        Connect::Log => log::log(server, request, call).await,
        Connect::Remote => stream::remote(server, request, call).await,
        Connect::PortForward => stream::forward(server, request, call).await,
        Connect::Proxy(what) => proxy::proxy(server, request, what, call).await,
    }
}

/// A WebSocket begins with GET, but who opens a stream into a pod does more than read: the right to
/// create is asked for, whatever the method (KEP-4006, "synthetic RBAC create authorization check").
async fn may_create(server: &Server, request: &Request) -> Result<(), Status> {
    if request.verb == Verb::Create {
        return Ok(());
    }
    let asked = Attributes::of(Verb::Create.name(), &request.resource, &request.query);
    let decision = server.authorizer.decide(&request.user, &asked).await;
    if decision.allowed() {
        return Ok(());
    }
    // Upstream's refusal names the reason alone, which may be empty.
    Err(Status::forbidden(request.kind.about(), &request.resource.name, &decision.reason))
}
