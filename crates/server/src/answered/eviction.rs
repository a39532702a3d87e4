//! The entry `eviction` of a pod: deletes it as politely as its budget of disruptions allows (API concepts,
//! "API-initiated Eviction").
//!
//! Invariant: the budget has counted a pod, on disk, before the pod goes.

use super::binding::{commit, pod};
use crate::Server;
use crate::read::reader::Found;
use crate::request::Request;
use crate::request::codec;
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::{Object, at};
use skiff_api::selector::Selector;
use skiff_api::status::About;
use skiff_api::wire::Answer;
use skiff_json::{Value, json};
use skiff_kinds::core::pod::conditions;
use skiff_kinds::policy::eviction::{count, goes_freely, not_reckoned, unready_goes};
use skiff_kinds::policy::poddisruptionbudget::RESOURCE;
use skiff_store::{Currency, ListRequest, Scope};
use std::sync::Arc;

/// How often it starts again when somebody else wrote in between.
const TRIES: usize = 20;
const REVISION: &str = "preconditions.resourceVersion";
const UNSAFELY: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

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
    check_options(name, &options)?;
    if request.dry_run() {
        options["dryRun"] = json!(["All"]);
    }
    for _ in 0..TRIES {
        let Found { object: pod, .. } = pod(server, request).await?;
        let ending = match goes_freely(&pod) {
            // One that did not run yet is held to that: it may have become one that counts.
            true if pod.text("status.phase") == "Pending" && !pod.deleting() => {
                Ending::Unchanged(None)
            }
            true => Ending::Free,
            false => budgeted(server, &pod, dry(&options)).await?,
        };
        if let Some(answer) = end(server, request, &pod, &options, ending).await? {
            return Ok(answer);
        }
    }
    Err(Status::modified(request.kind.about(), name))
}

fn check_options(name: &str, options: &Value) -> Result<(), Status> {
    if options.get(UNSAFELY) != Some(&Value::Bool(true)) {
        return Ok(());
    }
    let (mut errors, path) = (Errors::new(), Path::new("deleteOptions"));
    let why = "can not be set for pod eviction, try after removing the option";
    errors.invalid(&path.child(UNSAFELY), true, why);
    Err(Status::invalid(About { group: RESOURCE.group, resource: "Eviction" }, name, &errors))
}

fn dry(options: &Value) -> bool {
    options.get("dryRun").and_then(Value::as_array).is_some_and(|it| !it.is_empty())
}

/// How a pod may end.
enum Ending {
    Free,
    /// Only as it was seen; with the budget that this was asked of.
    Unchanged(Option<String>),
}

/// Asks the budgets of a pod, and has its budget count it.
async fn budgeted(server: &Arc<Server>, pod: &Object, dry: bool) -> Result<Ending, Status> {
    let kind = server.reader.kind(RESOURCE.group, RESOURCE.plural)?;
    let asked = ListRequest {
        scope: Scope::prefix(&kind.prefix(pod.namespace())),
        currency: Currency::Current,
        ..ListRequest::default()
    };
    let mut budgets = server.reader.list(&kind, asked).await?;
    budgets.retain(|budget| {
        Selector::from_object(budget.at("spec.selector"))
            .is_ok_and(|it| it.matches_object(pod.value()))
    });
    let name = match &budgets[..] {
        [] => return Ok(Ending::Free),
        [budget] if unready_goes(pod, budget) => {
            return Ok(Ending::Unchanged(Some(budget.name().to_owned())));
        }
        [budget] => budget.name().to_owned(),
        _ => {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
                       support.";
            return Err(Status::new(500, "", why));
        }
    };
    for _ in 0..TRIES {
        let found = server.reader.read(&kind, pod.namespace(), &name, Currency::Current).await?;
        let Some(Found { record, object: mut budget }) = found else {
            return Err(Status::not_found(kind.about(), &name));
        };
        count(&mut budget, pod.name(), &codec::time(server.world.now()))?;
        if dry || commit(server, &kind, &record, &budget).await?.is_some() {
            return Ok(Ending::Free);
        }
    }
    let why = format!("Timeout: couldn't update PodDisruptionBudget {name:?} due to conflicts");
    Err(Status { details: Some(json!({"retryAfterSeconds": 10})), ..Status::timeout(why) })
}

/// Ends the pod; `None`: it is not what it was when its budget was asked.
async fn end(
    server: &Arc<Server>,
    request: &Request,
    pod: &Object,
    options: &Value,
    ending: Ending,
) -> Result<Option<Answer>, Status> {
    let (mut options, given) = (options.clone(), at(options, REVISION).is_some());
    let held = matches!(ending, Ending::Unchanged(_)) && !given;
    if held {
        let revision = pod.resource_version().to_owned();
        skiff_api::object::set(&mut options, REVISION, revision.into());
    }
    let ended = async {
        if !dry(&options) {
            mark(server, request, &mut options).await?;
        }
        crate::write::delete::delete_with(server, request, &options).await
    };
    match (ended.await, ending) {
        (Ok(()), _) => Ok(Some(super::done())),
        (Err(status), Ending::Unchanged(None)) if status.code == 409 && held => Ok(None),
        (Err(status), Ending::Unchanged(Some(budget))) if status.code == 409 && held => {
            Err(not_reckoned(&budget))
        }
        (Err(status), _) => Err(status),
    }
}

/// Says in the pod why it ends. A revision that the caller based its eviction on moves along.
async fn mark(server: &Arc<Server>, request: &Request, options: &mut Value) -> Result<(), Status> {
    for _ in 0..TRIES {
        let Found { record, object: mut pod } = pod(server, request).await?;
        crate::write::delete::check(&request.kind, &pod, options)?;
        let condition = json!({"type": "DisruptionTarget", "status": "True",
                               "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"});
        conditions::set(&mut pod, condition, &codec::time(server.world.now()));
        if let Some(now) = commit(server, &request.kind, &record, &pod).await? {
            if at(options, REVISION).is_some() {
                options["preconditions"]["resourceVersion"] = now.0.to_string().into();
            }
            return Ok(());
        }
    }
    Err(Status::modified(request.kind.about(), &request.resource.name))
}
