//! The entry `eviction` of a pod: deletes it as politely as its owner's budget of disruptions allows
//! (API concepts, "API-initiated Eviction"). Without budgets every eviction is allowed.

use super::binding::{commit, pod};
use crate::Server;
use crate::read::reader::Found;
use crate::request::Request;
use crate::request::codec;
use serde_json::{Value, json};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::wire::Answer;
use skiff_kinds::core::pod::conditions;
use std::sync::Arc;

/// How often it starts again when somebody else wrote in between.
const TRIES: usize = 8;

pub async fn evict(
    server: &Arc<Server>,
    request: &Request,
    eviction: Object,
) -> Result<Answer, Status> {
    let name = &*request.resource.name;
    if eviction.name() != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = eviction.at("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    if request.dry_run() {
        options["dryRun"] = json!(["All"]);
    }
    if options.get("dryRun").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        mark(server, request, &mut options).await?;
    }
    crate::write::delete::delete_with(server, request, &options).await?;
    Ok(super::done())
}

/// Says in the pod why it ends. A revision that the caller based its eviction on moves along.
async fn mark(server: &Arc<Server>, request: &Request, options: &mut Value) -> Result<(), Status> {
    for _ in 0..TRIES {
        let Found { record, object: mut pod } = pod(server, request).await?;
        crate::write::delete::check(&request.kind, &pod, options)?;
        let condition = json!({"type": "DisruptionTarget", "status": "True",
                               "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"});
        conditions::set(&mut pod, condition, &codec::time(server.world.now()));
        if let Some(now) = commit(server, request, &record, &pod).await? {
            if skiff_api::object::at(options, "preconditions.resourceVersion").is_some() {
                options["preconditions"]["resourceVersion"] = now.0.to_string().into();
            }
            return Ok(());
        }
    }
    Err(Status::modified(request.kind.about(), &request.resource.name))
}
