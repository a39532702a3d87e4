//! The write bracket: create, update, patch and apply are one path; they differ only in how the new object is made.
//!
//! patch, default, mutate, own fields, prepare, validate, admit, commit. On a revision conflict the bracket runs
//! again, so every step is repeatable: nothing is taken before the commit takes it.

pub mod admission;
pub(crate) mod delete;

use crate::Server;
use crate::request::Request;
use crate::request::codec;
use admission::Attributes;
use http::StatusCode;
use serde_json::json;
use skiff_api::errors::{Errors, Path};
use skiff_api::json::MAX_DEPTH;
use skiff_api::kind::{Does, Kind, Verb};
use skiff_api::object::Object;
use skiff_api::wire::{Answer, Body, Stored};
use skiff_api::{Status, meta};
use skiff_store::{CommitError, Record, Revision, Write};
use std::sync::Arc;

/// How often the bracket runs again when somebody else wrote in between.
const TRIES: usize = 8;
/// How often another name is drawn when a generated one is taken (KEP-4420).
const NAME_TRIES: usize = 8;

/// What a write became.
enum Outcome {
    Created(Stored),
    Updated(Stored),
}

/// A create, update, patch or apply, of an object or of one part of it.
pub async fn write(server: &Arc<Server>, request: &Request) -> Result<Answer, Status> {
    request.check_options()?;
    let body = codec::Incoming::read(request)?;
    let generated = request.verb == Verb::Create && body.wants_a_name();
    let tries = if generated { NAME_TRIES } else { TRIES };
    let mut last = None;
    for _ in 0..tries {
        match attempt(server, request, &body).await {
            Ok(Outcome::Created(stored)) => {
                return respond(request, StatusCode::CREATED, stored);
            }
            Ok(Outcome::Updated(stored)) => return respond(request, StatusCode::OK, stored),
            Err(Failure::Again(status)) => last = Some(status),
            Err(Failure::Taken(status)) if generated => last = Some(status),
            Err(Failure::Taken(status) | Failure::Final(status)) => return Err(status),
        }
    }
    Err(last.expect("the loop runs at least once, and leaves a refusal when it does not return"))
}

fn respond(request: &Request, code: StatusCode, stored: Stored) -> Result<Answer, Status> {
    let entry = request.kind.subresource(&request.resource.subresource);
    if let Some(Does::Scale(paths)) = entry.map(|e| &e.does) {
        let object = Object::new(stored.tree().map_err(Status::internal)?);
        return Ok(Answer::json(code, crate::read::scale::show(&object, paths).value()));
    }
    Ok(Answer::new(code, Body::Object(stored)))
}

enum Failure {
    /// Somebody else wrote in between: the same request may succeed now.
    Again(Status),
    /// The name exists.
    Taken(Status),
    Final(Status),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::Final(status)
    }
}

/// The bracket, once.
async fn attempt(
    server: &Arc<Server>,
    request: &Request,
    body: &codec::Incoming,
) -> Result<Outcome, Failure> {
    let kind = &*request.kind;
    let record = match request.verb {
        Verb::Create => None,
        _ => server.store.get(&request.key()),
    };
    let old = record.as_deref().map(|record| codec::tree(server, kind, record)).transpose()?;
    let mut new = body.object(server, request, old.as_ref())?;
    let creating = old.is_none();
    if creating {
        check_identity(request, &mut new)?;
    } else {
        keep_identity(&mut new, old.as_ref());
    }
    check_preconditions(request, &new, old.as_ref())?;
    let attributes = Attributes::of(request, creating, named(&new));
    keep_other_parts(request, &mut new, old.as_ref());
    codec::default(kind, &mut new);
    // What admission adds is owned by nobody.
    body.own_fields(server, request, &mut new, old.as_ref())?;
    admission::mutate(server, &attributes, &mut new, old.as_ref()).await?;
    if creating {
        complete_identity(server, &mut new);
    }
    codec::default(kind, &mut new);
    codec::settle(kind, &mut new, old.as_ref());
    match (&*request.resource.subresource, old.as_ref()) {
        ("", old) => (kind.hooks.prepare)(&mut new, old),
        (entry, Some(old)) => (kind.hooks.prepare_part)(entry, &mut new, old),
        (_, None) => {}
    }
    // What is said about an object asks nothing new of anybody, whatever it annotates.
    if request.resource.subresource != "status" {
        count_generation(kind, &mut new, old.as_ref());
    }
    validate(request, &new, old.as_ref())?;
    admission::validate(server, &attributes, &new, old.as_ref()).await?;
    for warning in (kind.hooks.warn)(&new, old.as_ref()) {
        request.warn(warning);
    }
    commit(server, request, &attributes, new, old.as_ref(), record.as_deref()).await
}

/// The name of an object, or what its name will begin with.
fn named(new: &Object) -> &str {
    if new.name().is_empty() { new.text("metadata.generateName") } else { new.name() }
}

/// What a new object may say about itself.
fn check_identity(request: &Request, new: &mut Object) -> Result<(), Status> {
    if !request.resource.subresource.is_empty() {
        return Err(request.not_found());
    }
    let resource = &request.resource;
    if request.kind.namespaced() {
        match new.namespace() {
            "" => new.set("metadata.namespace", &*resource.namespace),
            given if given != resource.namespace => {
                let why = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(Status::bad_request(why));
            }
            _ => {}
        }
    }
    if !new.resource_version().is_empty() && request.verb == Verb::Create {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(Status::new(500, "", why));
    }
    let own = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "resourceVersion",
    ];
    for path in own {
        new.remove(&format!("metadata.{path}"));
    }
    Ok(())
}

/// What every new object gets from the server, once admission has had its say.
fn complete_identity(server: &Server, new: &mut Object) {
    let prefix = new.text("metadata.generateName").to_owned();
    if new.name().is_empty() && !prefix.is_empty() {
        // 63 characters leave room for five random ones.
        let stem: String = prefix.chars().take(58).collect();
        new.set("metadata.name", stem + &skiff_base::id::suffix(&server.world, 5));
    }
    new.set("metadata.uid", skiff_base::id::uuid(&server.world));
    new.set("metadata.creationTimestamp", codec::time(server.world.now()));
}

/// What no write changes: it is taken from the old object when the new one does not name it.
fn keep_identity(new: &mut Object, old: Option<&Object>) {
    let Some(old) = old else { return };
    for path in ["metadata.uid", "metadata.namespace", "metadata.generateName"] {
        // Protobuf sends empty texts where JSON leaves them out.
        if new.text(path).is_empty() {
            new.copy_from(old, path);
        }
    }
    let fixed = [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "selfLink",
    ];
    for path in fixed {
        new.copy_from(old, &format!("metadata.{path}"));
    }
}

/// The revision and UID that the client based its write on.
fn check_preconditions(
    request: &Request,
    new: &Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    let Some(old) = old else { return Ok(()) };
    let (about, name) = (request.kind.about(), &*request.resource.name);
    if request.verb == Verb::Update && new.uid() != old.uid() {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: UID in precondition: {}, UID in object meta: {}",
            request.key().trim_start_matches('/'),
            new.uid(),
            old.uid()
        );
        return Err(Status::conflict(about, name, &why));
    }
    match new.resource_version() {
        "" | "0" if request.verb == Verb::Update && request.kind.conditional => {
            let mut errors = Errors::new();
            let why = "must be specified for an update";
            errors.invalid(&Path::new("metadata.resourceVersion"), json!(0), why);
            Err(Status::invalid(request.kind.about_kind(), name, &errors))
        }
        "" | "0" => Ok(()),
        given if given == old.resource_version() => Ok(()),
        given if given.parse::<u64>().is_err() => Err(Status::new(
            500,
            "",
            format!("strconv.ParseUint: parsing {given:?}: invalid syntax"),
        )),
        _ => Err(Status::modified(about, name)),
    }
}

/// A write through the object keeps its status; a write through a part keeps all other parts.
fn keep_other_parts(request: &Request, new: &mut Object, old: Option<&Object>) {
    let kind = &request.kind;
    let entry = kind.subresource(&request.resource.subresource);
    match (entry.map(|e| &e.does), old) {
        (Some(Does::Part { part, keeps }), Some(old)) => {
            let mut kept = old.clone();
            for path in *part {
                kept.copy_from(new, path);
            }
            for path in *keeps {
                kept.copy_from(old, path);
            }
            *new = kept;
        }
        (None, Some(old)) if kind.has_status() => new.copy_from(old, "status"),
        (None, None) if kind.has_status() && !kind.status_on_create => {
            new.remove("status");
        }
        _ => {}
    }
}

fn count_generation(kind: &Kind, new: &mut Object, old: Option<&Object>) {
    let Some(changed) = kind.hooks.generation else { return };
    let generation = match old {
        None => 1,
        Some(old) => old.int("metadata.generation").unwrap_or(0) + i64::from(changed(new, old)),
    };
    new.set("metadata.generation", generation);
}

fn validate(request: &Request, new: &Object, old: Option<&Object>) -> Result<(), Status> {
    let (kind, mut errors) = (&*request.kind, Errors::new());
    // Whatever it came in by, what is stored must be read again; nothing else is said of what is too deep for that.
    if let Some(path) = skiff_api::json::too_deep(new.value()) {
        let why = format!("must not be nested more than {MAX_DEPTH} levels deep");
        errors.forbidden(&Path::new(&path), &why);
        return Err(Status::invalid(kind.about_kind(), named(new), &errors));
    }
    match old {
        None => meta::validate_create(kind, new, &mut errors),
        Some(old) => meta::validate_update(new, old, &mut errors),
    }
    codec::validate(kind, &request.resource.subresource, new, old, &mut errors);
    let entry = kind.subresource(&request.resource.subresource);
    match (entry.map(|entry| (&entry.does, &entry.name)), old) {
        (Some((Does::Part { .. }, part)), Some(old)) => {
            (kind.hooks.validate_part)(part, new, old, &mut errors);
        }
        _ => (kind.hooks.validate)(new, old, &mut errors),
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind.about_kind(), named(new), &errors))
}

/// Writes the object, or finds that nothing changed, or that this write ends a deletion.
async fn commit(
    server: &Arc<Server>,
    request: &Request,
    attributes: &Attributes<'_>,
    new: Object,
    old: Option<&Object>,
    record: Option<&Record>,
) -> Result<Outcome, Failure> {
    let kind = &*request.kind;
    let key: Arc<str> = kind.key(new.namespace(), new.name()).into();
    let body = codec::body(kind, &new);
    let head = crate::read::head(kind);
    let expect = record.map(|record| record.revision);
    if let (Some(record), Some(_)) = (record, old)
        && record.body == body
        && record.generation == kind.generation
    {
        return Ok(Outcome::Updated(Stored { head, revision: record.revision.0, body }));
    }
    let created = old.is_none();
    if request.dry_run() {
        if created && server.store.get(&key).is_some() {
            return Err(Failure::Final(Status::already_exists(kind.about(), new.name())));
        }
        let revision = expect.map_or(0, |r| r.0);
        let stored = Stored { head, revision, body };
        return Ok(if created { Outcome::Created(stored) } else { Outcome::Updated(stored) });
    }
    let write = match expect {
        Some(expect) if crate::write::delete::finished(kind, &new) => {
            Write::Delete { key, expect, last: Some(body.clone()) }
        }
        _ => Write::Put {
            key,
            expect,
            body: body.clone(),
            generation: kind.generation,
            facets: crate::read::facets::of(kind, &new),
        },
    };
    let ends = matches!(write, Write::Delete { .. });
    let mut writes = vec![write];
    match ends {
        true => admission::release(server, kind, &new, &mut writes),
        false => admission::reserve(server, attributes, &new, old, &mut writes)?,
    }
    match server.store.commit(writes).await {
        Ok(committed) => {
            let revision = committed.first().map_or(Revision(0), |c| c.revision).0;
            let stored = Stored { head, revision, body };
            Ok(if created { Outcome::Created(stored) } else { Outcome::Updated(stored) })
        }
        Err(error) => Err(commit_failure(request, &new, created, error)),
    }
}

fn commit_failure(request: &Request, new: &Object, created: bool, error: CommitError) -> Failure {
    let about = request.kind.about();
    let own = request.kind.key(new.namespace(), new.name());
    match error {
        // Somebody else took what this write was about to take.
        CommitError::Conflict { key, .. } if *key != own => {
            Failure::Again(Status::modified(about, new.name()))
        }
        CommitError::Conflict { actual: Some(_), .. } if created => {
            let taken = Status::already_exists(about, new.name());
            // An apply that meets its own creation by somebody else merges with that.
            if request.verb == Verb::Create { Failure::Taken(taken) } else { Failure::Again(taken) }
        }
        CommitError::Conflict { .. } => Failure::Again(Status::modified(about, new.name())),
        other => Failure::Final(commit_refusal(&other)),
    }
}

/// What a client is told when the store did not take a write.
pub fn commit_refusal(error: &CommitError) -> Status {
    match error {
        CommitError::Full => Status::new(507, "InternalError", error.to_string()),
        _ => Status::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_identity_is_none() {
        let old = Object::new(
            json!({"metadata": {"uid": "u", "creationTimestamp": "t", "namespace": "n"}}),
        );
        let sent = json!({"metadata": {"uid": "", "creationTimestamp": null, "namespace": "m"}});
        let mut new = Object::new(sent);
        keep_identity(&mut new, Some(&old));
        let expected =
            json!({"metadata": {"uid": "u", "creationTimestamp": "t", "namespace": "m"}});
        assert_eq!(new.value(), &expected);
    }
}
