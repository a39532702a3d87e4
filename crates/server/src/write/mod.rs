//! The write bracket: create, update, patch and apply are one path; they differ only in how the new object is made.
//!
//! ```text
//! make       the body, or the patch over what is there; its identity and the parts that stay; defaults
//! own        who set which field
//! mutate     plugins; then a new object gets its name, uid and time
//! draw       plugins choose addresses and ports: nobody asks for changes any more
//! finish     defaults and form of what was added, prepare, generation
//! validate   the kind, then plugins
//! reserve    plugins take what was drawn
//! commit     all of it in one transaction
//! ```
//! When somebody else wrote the object in between, all of it runs again; when somebody took what was drawn, it goes on
//! from there. So every step is repeatable: nothing is taken before `reserve`, and a dry run ends before that.

pub mod admission;
pub(crate) mod delete;
pub(crate) mod identity;

use crate::Server;
use crate::read::convert;
use crate::request::Request;
use crate::request::codec;
use admission::{Admit, Operation};
use http::StatusCode;
use skiff_api::errors::{Errors, Path};
use skiff_api::json::MAX_DEPTH;
use skiff_api::kind::{Does, Kind, Verb};
use skiff_api::object::Object;
use skiff_api::wire::{Answer, Body, Stored};
use skiff_api::{Status, meta};
use skiff_store::{CommitError, Currency, Record, Revision, Write};
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
    let mut body = codec::Incoming::read(request)?;
    let generated = request.verb == Verb::Create && body.wants_a_name();
    let tries = if generated { NAME_TRIES } else { TRIES };
    let mut last = None;
    for _ in 0..tries {
        match attempt(server, request, &mut body).await {
            Ok(Outcome::Created(stored)) => {
                return respond(request, StatusCode::CREATED, stored);
            }
            Ok(Outcome::Updated(stored)) => return respond(request, StatusCode::OK, stored),
            Err(Failure::Again(status, at)) => {
                // What beat this try is seen by the next.
                server.reader.reach(Currency::AtLeast(at)).await?;
                last = Some(status);
            }
            Err(Failure::Taken(status)) if generated => last = Some(status),
            Err(Failure::Taken(status) | Failure::Beaten(status, _) | Failure::Final(status)) => {
                return Err(status);
            }
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
    /// Somebody else wrote in between: the same request may succeed once that revision is seen.
    Again(Status, Revision),
    /// Somebody else took what this write was about to take; by then, what is free is seen.
    Beaten(Status, Revision),
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
    body: &mut codec::Incoming,
) -> Result<Outcome, Failure> {
    let kind = &*request.kind;
    let record = match request.verb {
        Verb::Create => None,
        _ => server.reader.record(&request.key(), Currency::Current).await?,
    };
    let old = match &record {
        Some(record) => Some(convert::tree(&server.reader, kind, record).await?),
        None => None,
    };
    let mut new = body.object(server, request, old.as_ref()).await?;
    let mut at = Admit::of(server, request, Operation::Update);
    match &old {
        None => {
            identity::check(request, &mut new)?;
            may_create(server, request).await?;
            at.operation = Operation::Create;
            at.name = identity::named(&new).to_owned().into();
        }
        Some(old) => {
            identity::keep(&mut new, old);
            identity::check_preconditions(request, &new, old)?;
            at.old = Some(old);
        }
    }
    keep_other_parts(request, &mut new, old.as_ref());
    convert::default(kind, &mut new);
    // What admission adds is owned by nobody.
    body.own_fields(server, request, &mut new, old.as_ref()).await?;
    server.admission.mutate(&mut at, &mut new).await?;
    match &old {
        // What a webhook made of it is held to the same rules as what was sent.
        None => {
            identity::check(request, &mut new)?;
            identity::complete(server, &mut new);
            at.name = identity::named(&new).to_owned().into();
        }
        Some(old) => {
            identity::check_namespace(request, &mut new)?;
            identity::keep(&mut new, old);
        }
    }
    Bracket { server, request, at, record: record.as_deref() }.store(new).await
}

/// Who makes an object by a patch or an update needs the right to create it as well.
async fn may_create(server: &Server, request: &Request) -> Result<(), Status> {
    if request.verb == Verb::Create {
        return Ok(());
    }
    let create = Verb::Create.name();
    let asked = crate::authorize::Attributes::of(create, &request.resource, &request.query);
    server.authorizer.check(&request.user, &asked).await
}

/// The second half of the bracket: nobody asks for changes any more.
struct Bracket<'a> {
    server: &'a Arc<Server>,
    request: &'a Request,
    at: Admit<'a>,
    /// What is there.
    record: Option<&'a Record>,
}

impl Bracket<'_> {
    /// Draws, finishes and commits. When somebody else takes first what was drawn, that alone starts again.
    async fn store(&self, made: Object) -> Result<Outcome, Failure> {
        let admission = &self.server.admission;
        let (mut new, made) = match admission.draw(&self.at, &made).await? {
            Some(drawn) => (drawn, Some(made)),
            None => (made, None),
        };
        self.finish(&mut new).await?;
        let mut tries = 1;
        loop {
            match self.commit(&new).await {
                Err(Failure::Beaten(_, at)) if tries < TRIES => {
                    self.server.reader.reach(Currency::AtLeast(at)).await?;
                    tries += 1;
                }
                outcome => return outcome,
            }
            if let Some(made) = &made {
                new = admission.draw(&self.at, made).await?.unwrap_or_else(|| made.clone());
                self.finish(&mut new).await?;
            }
        }
    }

    /// Gives the object its last form, and has it judged in that form.
    async fn finish(&self, new: &mut Object) -> Result<(), Failure> {
        let (request, old) = (self.request, self.at.old);
        let kind = &*request.kind;
        // Once more, for what was added, and for what was sent as empty and went with `own`.
        convert::default(kind, new);
        codec::settle(kind, new, old);
        match (&*request.resource.subresource, old) {
            ("", old) => (kind.hooks.prepare)(new, old),
            (entry, Some(old)) => (kind.hooks.prepare_part)(entry, new, old),
            (_, None) => {}
        }
        // What is said about an object asks nothing new of anybody, whatever it annotates.
        if request.resource.subresource != "status" {
            count_generation(kind, new, old);
        }
        validate(request, new, old)?;
        self.server.admission.validate(&self.at, Some(new)).await?;
        for warning in (kind.hooks.warn)(new, old) {
            request.warn(warning);
        }
        Ok(())
    }

    /// Writes the object, or finds that nothing changed, or that this write ends a deletion.
    async fn commit(&self, new: &Object) -> Result<Outcome, Failure> {
        let Bracket { server, request, at, record } = self;
        let kind = &*request.kind;
        let key: Arc<str> = kind.key(new.namespace(), new.name()).into();
        let body = convert::body(&server.reader, kind, new).await?;
        server.limits.spent(body.len());
        let shown = convert::as_face(kind, new, &body);
        let expect = record.map(|record| record.revision);
        let outcome = |revision| {
            let stored = Stored { head: crate::read::head(kind), revision, body: shown };
            if at.old.is_none() { Outcome::Created(stored) } else { Outcome::Updated(stored) }
        };
        if let Some(record) = record
            && record.body == body
            && record.generation == kind.generation
        {
            return Ok(outcome(record.revision.0));
        }
        if at.dry_run {
            if at.old.is_none() && server.store.get(&key).is_some() {
                return Err(Failure::Final(Status::already_exists(kind.about(), new.name())));
            }
            return Ok(outcome(expect.map_or(0, |r| r.0)));
        }
        let (write, taking) = match expect {
            Some(expect) if delete::finished(kind, new) => {
                let write = Write::Delete { key, expect, last: Some(body.clone()) };
                (write, server.admission.release(at, at.old.unwrap_or(new)).await?)
            }
            _ => {
                let facets = crate::read::facets::of_versions(&server.reader, kind, new).await;
                let body = body.clone();
                let write = Write::Put { key, expect, body, generation: kind.generation, facets };
                (write, server.admission.reserve(at, new).await?)
            }
        };
        match taking.commit(&*server.store, write).await {
            Ok(committed) => {
                let revision = committed.first().copied().unwrap_or_default().0;
                Ok(outcome(revision))
            }
            Err(error) => Err(commit_failure(request, new, at.old.is_none(), error)),
        }
    }
}

/// A write through the object keeps its status; a write through a part keeps all other parts.
fn keep_other_parts(request: &Request, new: &mut Object, old: Option<&Object>) {
    let kind = &request.kind;
    let entry = kind.subresource(&request.resource.subresource);
    match (entry.map(|e| &e.does), old) {
        (Some(Does::Part { part, keeps }), Some(old)) => {
            let mut kept = old.clone();
            let take = |path: &&str| match new.remove(path) {
                Some(value) if !value.is_null() => kept.set(path, value),
                _ => drop(kept.remove(path)),
            };
            part.iter().for_each(take);
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
        None => kind.first_generation,
        Some(old) => old.int("metadata.generation").unwrap_or(0) + i64::from(changed(new, old)),
    };
    match generation {
        0 => drop(new.remove("metadata.generation")),
        counted => new.set("metadata.generation", counted),
    }
}

fn validate(request: &Request, new: &Object, old: Option<&Object>) -> Result<(), Status> {
    let (kind, mut errors) = (&*request.kind, Errors::new());
    // Whatever it came in by, what is stored must be read again; nothing else is said of what is too deep for that.
    if let Some(path) = skiff_api::json::too_deep(new.value()) {
        let why = format!("must not be nested more than {MAX_DEPTH} levels deep");
        errors.forbidden(&Path::new(&path), &why);
        return Err(Status::invalid(kind.about_kind(), identity::named(new), &errors));
    }
    match old {
        None => meta::validate_create(kind, new, &mut errors),
        Some(old) => meta::validate_update(new, old, &mut errors),
    }
    let part = &request.resource.subresource;
    for warning in codec::validate(kind, part, new, old, &mut errors) {
        request.warn(warning);
    }
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
    Err(Status::invalid(kind.about_kind(), identity::named(new), &errors))
}

fn commit_failure(request: &Request, new: &Object, created: bool, error: CommitError) -> Failure {
    let about = request.kind.about();
    let own = request.kind.key(new.namespace(), new.name());
    match error {
        CommitError::Conflict { key, at, .. } if *key != own => {
            Failure::Beaten(Status::modified(about, new.name()), at)
        }
        CommitError::Conflict { actual: Some(_), at, .. } if created => {
            let taken = Status::already_exists(about, new.name());
            // An apply that meets its own creation by somebody else merges with that.
            match request.verb {
                Verb::Create => Failure::Taken(taken),
                _ => Failure::Again(taken, at),
            }
        }
        CommitError::Conflict { at, .. } => Failure::Again(Status::modified(about, new.name()), at),
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
