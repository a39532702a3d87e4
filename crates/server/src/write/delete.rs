//! The delete bracket: preconditions, grace, finalizers and propagation (API reference: DeleteOptions).
//!
//! A delete validates no update, so that what became invalid can still be deleted.

use crate::Server;
use crate::read::convert;
use crate::read::select::Selection;
use crate::request::Request;
use crate::request::codec;
use crate::write::admission::{Admit, Operation, Taking};
use futures_util::future::join_all;
use http::StatusCode;
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Kind, Unsaid};
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_api::wire::{Answer, Body, List, Payload, REVISION, Stored};
use skiff_base::Time;
use skiff_json::{Value, json};
use skiff_store::{CommitError, Currency, Record, Revision, Write};
use std::sync::Arc;
use std::time::Duration;

/// How often a delete starts again when somebody else wrote in between.
const TRIES: usize = 8;
/// So many objects of a collection are deleted together: they share the wait for the disk.
const AT_ONCE: usize = 32;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Whether nothing holds a deleted object any more: no finalizer, no grace.
pub fn finished(kind: &Kind, object: &Object) -> bool {
    let held = object.finalizers().next().is_some() || (kind.hooks.held)(object);
    object.deleting()
        && !held
        && object.int("metadata.deletionGracePeriodSeconds").unwrap_or(0) == 0
}

/// The options of a delete, from the body or the query.
#[derive(Debug, Default, Clone)]
struct Options {
    grace_s: Option<i64>,
    propagation: Option<String>,
    uid: Option<String>,
    revision: Option<String>,
    orphan: Option<bool>,
    dry_run: bool,
    /// `ignoreStoreReadErrorWithClusterBreakingPotential`: for what cannot be read, and nothing else.
    unsafely: bool,
    /// As an object of their kind, for whoever admits the delete.
    shown: Value,
}

/// The option for objects that cannot be read, and the verb that it needs beside `delete` (KEP-3926).
const UNSAFELY: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";
const UNSAFELY_VERB: &str = "unsafe-delete-ignore-read-errors";

/// DELETE of one object.
pub async fn delete(server: &Arc<Server>, request: &Request) -> Result<Answer, Status> {
    let options = options(request)?;
    let name = request.resource.name.clone();
    if options.unsafely {
        return delete_unsafely(server, request, &options).await;
    }
    let gone = delete_one(server, request, &request.key(), &name, &options).await?;
    let code = match (&gone.object, options.orphan) {
        (_, Some(false)) if !gone.removed => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    if !gone.removed || request.kind.shows_deleted {
        return Ok(Answer::new(code, Body::Object(gone.object)));
    }
    let mut answer = gone_answer(request, code, json!({"name": name, "uid": gone.uid}));
    answer.headers.insert(REVISION, gone.object.revision.into());
    Ok(answer)
}

fn gone_answer(request: &Request, code: StatusCode, mut details: Value) -> Answer {
    details["kind"] = json!(request.kind.plural);
    if !request.kind.group.is_empty() {
        details["group"] = json!(request.kind.group);
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                        "details": details});
    Answer::json(code, &status)
}

/// The delete of an object that nobody can read: without grace, finalizers and preconditions, for whoever may do
/// that. One that can be read is refused.
async fn delete_unsafely(
    server: &Arc<Server>,
    request: &Request,
    options: &Options,
) -> Result<Answer, Status> {
    let (kind, resource) = (&*request.kind, &request.resource);
    let asked = crate::authorize::Attributes::of(UNSAFELY_VERB, resource, &request.query);
    if let Err(refused) = server.authorizer.check(&request.user, &asked).await {
        let why = format!("not permitted to do {UNSAFELY_VERB:?}, reason: {}", refused.message);
        return Err(Status::forbidden(kind.about(), &resource.name, &why));
    }
    let record = server.reader.record(&request.key(), Currency::Current).await?;
    let record = record.ok_or_else(|| request.not_found())?;
    if convert::one(&server.reader, kind, &record).await.is_ok()
        && convert::tree(&server.reader, kind, &record).await.is_ok()
    {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}, ResourceVersion: 0, \
             AdditionalErrorMsg: unsafe deletion is not allowed because the object is decodable from storage",
            request.key().replacen("//", "/", 1)
        );
        return Err(Status::conflict(kind.about(), &resource.name, &why));
    }
    let known =
        Object::new(json!({"metadata": {"name": resource.name, "namespace": resource.namespace}}));
    let at = Admit {
        old: Some(&known),
        delete_options: Some(&options.shown),
        ..Admit::of(server, request, Operation::Delete)
    };
    server.admission.validate(&at, None).await?;
    if !(options.dry_run || request.dry_run()) {
        let (key, expect) = (record.key.clone(), record.revision);
        let taking = server.admission.release(&at, &known).await?;
        let write = Write::Delete { key, expect, last: None };
        taking.commit(&*server.store, write).await.map_err(|error| match error {
            CommitError::Conflict { .. } => Status::modified(kind.about(), &resource.name),
            other => crate::write::commit_refusal(&other),
        })?;
    }
    Ok(gone_answer(request, StatusCode::OK, json!({"name": resource.name})))
}

/// DELETE of all objects, or of the page, that a list with these options has; each as if it were deleted alone.
pub async fn delete_collection(server: &Arc<Server>, request: &Request) -> Result<Answer, Status> {
    let options = options(request)?;
    let selection = Selection::of(request)?;
    let page = crate::read::page(server, request, &selection).await?;
    let (mut items, mut unreadable) = (Vec::new(), Vec::new());
    for some in page.records.chunks(AT_ONCE) {
        let deletes = some.iter().map(|record| {
            let name = record.key.rsplit('/').next().unwrap_or("");
            delete_one(server, request, &record.key, name, &options)
        });
        for (record, outcome) in some.iter().zip(join_all(deletes).await) {
            match outcome {
                Ok(gone) => items.push(gone.object),
                Err(status) if status.code == 404 => {}
                // What nobody can read stays, and is named: it stops the deletion of no other.
                Err(status) if status.is_storage_read() => {
                    unreadable.push(crate::read::unreadable::place(&record.key).to_owned());
                    request.warn(status.message);
                }
                Err(status) => return Err(status),
            }
        }
    }
    Ok(Answer::new(
        StatusCode::OK,
        Body::List(List {
            head: crate::read::list_head(&request.kind),
            revision: server.store.current().0,
            items: Box::new(items),
            next: String::new(),
            remaining: None,
            headed_items: request.kind.manner.headed_items,
            unreadable,
        }),
    ))
}

struct Gone {
    object: Stored,
    uid: String,
    /// It is gone, and not merely being deleted.
    removed: bool,
}

async fn delete_one(
    server: &Arc<Server>,
    request: &Request,
    key: &str,
    name: &str,
    options: &Options,
) -> Result<Gone, Status> {
    let kind = &*request.kind;
    let not_found = || Status::not_found(kind.about(), name);
    for _ in 0..TRIES {
        let record = server.reader.record(key, Currency::Current).await?.ok_or_else(not_found)?;
        let old = convert::tree(&server.reader, kind, &record).await?;
        check_preconditions(kind.about_kind(), &old, options)?;
        let at = Admit {
            namespace: old.namespace(),
            name: name.into(),
            old: Some(&old),
            delete_options: Some(&options.shown),
            dry_run: options.dry_run || request.dry_run(),
            ..Admit::of(server, request, Operation::Delete)
        };
        // An eviction was admitted as what it is.
        if request.resource.subresource.is_empty() {
            server.admission.validate(&at, None).await?;
        }
        let mut new = old.clone();
        plan(server, kind, &mut new, options);
        let fate = match finished(kind, &new) {
            true if kind.hooks.grace_s.is_none() && !old.deleting() => Fate::Goes,
            true => Fate::Ends,
            false => Fate::Stays,
        };
        let removed = fate != Fate::Stays;
        if let Some(object) = commit(server, &at, &record, (&old, &new), fate).await? {
            return Ok(Gone { object, uid: old.uid().to_owned(), removed });
        }
    }
    Err(Status::modified(kind.about(), name))
}

/// What a delete does to an object.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// It goes as it is: nobody sees it being deleted.
    Goes,
    /// It goes as one that was being deleted.
    Ends,
    /// Something holds it still.
    Stays,
}

/// Writes what becomes of an object that was, and would be, so; `None` when somebody else wrote in between, and that is
/// seen now.
async fn commit(
    server: &Server,
    at: &Admit<'_>,
    record: &Record,
    (old, new): (&Object, &Object),
    fate: Fate,
) -> Result<Option<Stored>, Status> {
    let kind = at.kind;
    let current = convert::is_stored(kind, record);
    let body = match fate {
        Fate::Goes if current => record.body.clone(),
        Fate::Goes => convert::body(&server.reader, kind, old).await?,
        Fate::Ends | Fate::Stays => convert::body(&server.reader, kind, new).await?,
    };
    let shown = convert::as_face(kind, if fate == Fate::Goes { old } else { new }, &body);
    let stored = |at: Revision| {
        let head = crate::read::head(kind);
        Stored { head, revision: at.0, body: shown }
    };
    if at.dry_run || fate == Fate::Stays && record.body == body {
        return Ok(Some(stored(record.revision)));
    }
    let (key, expect) = (record.key.clone(), record.revision);
    let (write, taking) = match fate {
        Fate::Goes | Fate::Ends => {
            let last = (record.body != body).then(|| body.clone());
            let write = Write::Delete { key, expect, last };
            (write, server.admission.release(at, old).await?)
        }
        Fate::Stays => {
            let facets = crate::read::facets::of_versions(&server.reader, kind, new).await;
            let (generation, body) = (kind.generation, body.clone());
            let write = Write::Put { key, expect: Some(expect), body, generation, facets };
            (write, Taking::default())
        }
    };
    match taking.commit(&*server.store, write).await {
        Ok(committed) => Ok(committed.first().copied().map(stored)),
        Err(CommitError::Conflict { at, .. }) => {
            server.reader.reach(Currency::AtLeast(at)).await?;
            Ok(None)
        }
        Err(other) => Err(crate::write::commit_refusal(&other)),
    }
}

/// Marks an object as deleted: when, with how much grace, and what must happen first.
fn plan(server: &Server, kind: &Kind, object: &mut Object, options: &Options) {
    let mut finalizers: Vec<String> = object.finalizers().map(str::to_owned).collect();
    let wanted = match (options.propagation.as_deref(), options.orphan) {
        (Some("Orphan"), _) | (None, Some(true)) => Some(ORPHAN),
        (Some("Foreground"), _) => Some(FOREGROUND),
        (Some("Background"), _) | (None, Some(false)) => None,
        // Nothing was said: finalizers that are there already stay, and then the kind is asked.
        _ => {
            let there =
                finalizers.iter().find_map(|f| [ORPHAN, FOREGROUND].into_iter().find(|k| k == f));
            there.or((kind.unsaid != Unsaid::Background).then_some(ORPHAN))
        }
    };
    finalizers.retain(|f| f != ORPHAN && f != FOREGROUND);
    finalizers.extend(wanted.map(str::to_owned));
    match finalizers.is_empty() {
        true => drop(object.remove("metadata.finalizers")),
        false => object.set("metadata.finalizers", finalizers),
    }
    let grace_s = kind.hooks.grace_s.map_or(0, |grace_s| grace_s(object, options.grace_s));
    let now = server.world.now();
    if object.deleting() {
        let before = object.int("metadata.deletionGracePeriodSeconds").unwrap_or(0);
        if grace_s < before {
            let began = object.text("metadata.deletionTimestamp").parse().unwrap_or(now);
            let began = began.checked_sub(seconds(before)).unwrap_or(now);
            let until = later(began, grace_s).max(now);
            object.set("metadata.deletionTimestamp", codec::time(until));
            object.set("metadata.deletionGracePeriodSeconds", grace_s);
        }
        return;
    }
    let until = later(now, grace_s);
    object.set("metadata.deletionTimestamp", codec::time(until));
    object.set("metadata.deletionGracePeriodSeconds", grace_s);
    if let Some(generation) = object.int("metadata.generation") {
        object.set("metadata.generation", generation + 1);
    }
    (kind.hooks.deleting)(object);
}

fn seconds(span_s: i64) -> Duration {
    Duration::from_secs(span_s.max(0).unsigned_abs())
}

/// A grace may be longer than time can be told, and ends with it.
fn later(from: Time, span_s: i64) -> Time {
    from.checked_add(seconds(span_s)).unwrap_or(Time::MAX)
}

fn check_preconditions(about: About, old: &Object, options: &Options) -> Result<(), Status> {
    let conflict = |what: &str, wanted: &str, found: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The \
                 object might have been deleted and then recreated"
        );
        Err(Status::conflict(about, old.name(), &why))
    };
    match (&options.uid, &options.revision) {
        (Some(uid), _) if uid != old.uid() => conflict("UID", uid, old.uid()),
        (_, Some(revision)) if revision != old.resource_version() => {
            let found = old.resource_version();
            let why = format!(
                "the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record \
                 ({found}). The object might have been modified"
            );
            Err(Status::conflict(about, old.name(), &why))
        }
        _ => Ok(()),
    }
}

/// Deletes the object of a request as if by a DELETE with these options (evictions).
pub async fn delete_with(
    server: &Arc<Server>,
    request: &Request,
    options: &Value,
) -> Result<(), Status> {
    let options = options_of(request, options)?;
    let name = &*request.resource.name;
    delete_one(server, request, &request.key(), name, &options).await.map(|_| ())
}

/// Checks the preconditions of a delete with these options.
pub fn check(kind: &Kind, old: &Object, options: &Value) -> Result<(), Status> {
    let text =
        |path| skiff_api::object::at(options, path).and_then(Value::as_str).map(str::to_owned);
    let wanted = Options {
        uid: text("preconditions.uid"),
        revision: text("preconditions.resourceVersion"),
        ..Options::default()
    };
    // An eviction names the kind.
    check_preconditions(kind.about_kind(), old, &wanted)
}

/// Reads the options, and refuses what contradicts itself.
fn options(request: &Request) -> Result<Options, Status> {
    let body = match &request.payload {
        Payload::Bytes(bytes) if !bytes.is_empty() => codec::read_any(request)?,
        Payload::Tree(tree) => tree.clone(),
        _ => Value::Null,
    };
    let options = options_of(request, &body)?;
    if !body.is_null() {
        request.notes.sent_as(|| told(body));
    }
    Ok(options)
}

/// The options as upstream tells the audit log of them: in the form that it has for itself.
fn told(mut options: Value) -> Value {
    options["kind"] = "DeleteOptions".into();
    options["apiVersion"] = "meta.k8s.io/__internal".into();
    options
}

fn options_of(request: &Request, body: &Value) -> Result<Options, Status> {
    let text = |path| skiff_api::object::at(body, path).and_then(Value::as_str).map(str::to_owned);
    if let Some(kind) = text("kind").filter(|kind| kind != "DeleteOptions") {
        let version = text("apiVersion").unwrap_or_default();
        return Err(Status::bad_request(codec::no_kind(&kind, &version)));
    }
    let query = |key: &str| request.query.get(key).map(str::to_owned);
    let grace = match query("gracePeriodSeconds") {
        Some(text) => Some(text.parse().map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })?),
        None => None,
    };
    let options = Options {
        grace_s: body.get("gracePeriodSeconds").and_then(Value::as_i64).or(grace),
        propagation: text("propagationPolicy").or_else(|| query("propagationPolicy")),
        uid: text("preconditions.uid"),
        revision: text("preconditions.resourceVersion"),
        orphan: body
            .get("orphanDependents")
            .and_then(Value::as_bool)
            .or_else(|| query("orphanDependents").map(|t| t == "true")),
        dry_run: body.get("dryRun").and_then(Value::as_array).is_some_and(|list| !list.is_empty()),
        unsafely: match query(UNSAFELY) {
            Some(text) => matches!(&*text, "true" | "1"),
            None => body.get(UNSAFELY).and_then(Value::as_bool).unwrap_or(false),
        },
        shown: Value::Null,
    };
    let options = Options { shown: shown(&options, body), ..options };
    let dry_run = body.get("dryRun").unwrap_or(&Value::Null);
    check_options(&options, dry_run, request.resource.name.is_empty())?;
    request.check_options()?;
    if let (Unsaid::OrphanAndWarn(warning), None, None) =
        (request.kind.unsaid, &options.propagation, options.orphan)
    {
        request.warn(warning.to_owned());
    }
    Ok(options)
}

/// The options as they are understood, whether the body or the query said them.
fn shown(options: &Options, body: &Value) -> Value {
    let mut shown = if body.is_object() { body.clone() } else { json!({}) };
    if let Some(grace_s) = options.grace_s {
        shown["gracePeriodSeconds"] = grace_s.into();
    }
    if let Some(policy) = &options.propagation {
        shown["propagationPolicy"] = (**policy).into();
    }
    if let Some(orphan) = options.orphan {
        shown["orphanDependents"] = orphan.into();
    }
    shown
}

fn check_options(options: &Options, dry_run: &Value, of_many: bool) -> Result<(), Status> {
    let mut errors = Errors::new();
    if options.unsafely && of_many {
        let why = "is not allowed with DELETECOLLECTION, try again after removing the option";
        errors.invalid(&Path::new(UNSAFELY), true, why);
    } else if options.unsafely {
        // All of these would have to be read from the object.
        for (field, given) in [
            ("propagationPolicy", options.propagation.is_some()),
            ("orphanDependents", options.orphan.is_some()),
            ("gracePeriodSeconds", options.grace_s.is_some()),
            ("preconditions", options.uid.is_some() || options.revision.is_some()),
        ] {
            if given {
                let why = format!("cannot be set together with .{field}");
                errors.invalid(&Path::new(UNSAFELY), true, &why);
            }
        }
    }
    let path = Path::new("propagationPolicy");
    if options.propagation.is_some() && options.orphan.is_some() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.invalid(&path, json!(options.propagation), why);
    }
    if let Some(policy) = &options.propagation
        && !["Foreground", "Background", "Orphan"].contains(&&**policy)
    {
        errors.not_supported(&path, &**policy, &["Foreground", "Background", "Orphan", "nil"]);
    }
    if dry_run.as_array().into_iter().flatten().any(|it| it != "All") {
        errors.not_supported(&Path::new("dryRun"), dry_run.clone(), &["All"]);
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(About { group: "meta.k8s.io", resource: "DeleteOptions" }, "", &errors))
}
