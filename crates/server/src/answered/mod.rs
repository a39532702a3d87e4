//! Answered: kinds and entries whose create is answered at once and stored nowhere. A question
//! comes in as an object, the same object with its status filled goes out. Decoding and defaults
//! are those of every create. Questions ask no admission plugin, for nothing is admitted; actions do.

mod binding;
mod eviction;
mod reviews;
mod token;
pub mod told;

use crate::Server;
use crate::read::convert;
use crate::request::Request;
use crate::request::codec::Incoming;
use crate::write::admission::{Admit, Operation};
use crate::write::identity;
use http::StatusCode;
use skiff_api::Status;
use skiff_api::errors::Errors;
use skiff_api::kind::{Act, Review};
use skiff_api::object::Object;
use skiff_api::schema::emit;
use skiff_api::status::About;
use skiff_api::wire::Answer;
use skiff_json::json;
use skiff_kinds::authentication::tokenrequest;
use std::sync::Arc;

/// A create of a kind that is answered.
pub async fn create(
    server: &Arc<Server>,
    request: &Request,
    review: Review,
) -> Result<Answer, Status> {
    let (incoming, mut body) = read(request)?;
    let kind = &request.kind;
    identity::check_namespace(request, &mut body)?;
    convert::default(kind, &mut body);
    incoming.own_fields(server, request, &mut body, None).await?;
    let mut errors = Errors::new();
    (kind.hooks.validate)(&body, None, &mut errors);
    if !errors.is_empty() {
        // The kind is not named in the refusal of a question; its group is.
        return Err(Status::invalid(About { group: &kind.group, resource: "" }, "", &errors));
    }
    let mut answer = reviews::answer(server, request, review, body).await?;
    emit::emit(answer.value_mut(), &kind.schema);
    Ok(Answer::json(StatusCode::CREATED, answer.value()))
}

/// A create of an entry below an object that does one thing: admit, then act.
pub async fn act(server: &Arc<Server>, request: &Request, act: Act) -> Result<Answer, Status> {
    let (incoming, mut body) = read(request)?;
    identity::check_namespace(request, &mut body)?;
    let mut at = Admit::of(server, request, Operation::Create);
    server.admission.mutate(&mut at, &mut body).await?;
    server.admission.validate(&at, Some(&body)).await?;
    match act {
        Act::IssueToken => {
            tokenrequest::default(&mut body);
            incoming.own_fields(server, request, &mut body, None).await?;
            let answer = token::issue(server, request, body).await?;
            Ok(Answer::json(StatusCode::CREATED, answer.value()))
        }
        Act::Bind => binding::bind(server, request, body).await,
        Act::Evict => eviction::evict(server, request, body).await,
    }
}

/// What an action that shows no object answers with.
fn done() -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                        "code": 201});
    Answer::json(StatusCode::CREATED, &status)
}

fn read(request: &Request) -> Result<(Incoming, Object), Status> {
    request.check_options()?;
    let incoming = Incoming::read(request)?;
    match &incoming {
        Incoming::Object(object) => {
            let object = object.clone();
            Ok((incoming, object))
        }
        // The verb is create, and only a patch is read as one.
        Incoming::Patch { .. } | Incoming::Apply { .. } => Err(Status::method_not_allowed()),
    }
}
