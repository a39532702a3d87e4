//! Connect: requests that lead through the server to a node (exec, attach, log, port-forward, proxy).

use crate::Server;
use crate::request::Request;
use skiff_api::Status;
use skiff_api::wire::{Answer, Call};
use std::sync::Arc;

/// Refuses: no node can be reached yet.
pub async fn connect(_: &Arc<Server>, request: &Request, _: Call) -> Result<Answer, Status> {
    Err(Status::unavailable(format!("{} is not served yet", request.resource.subresource)))
}
