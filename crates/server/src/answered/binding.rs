//! The entry `binding` of a pod: gives it to a node. It writes the pod past the rules of updates, for nobody else may
//! set the node's name; a pod that has one keeps it.

use crate::Server;
use crate::read::reader::Found;
use crate::read::{convert, facets};
use crate::request::Request;
use crate::request::codec;
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::Kind;
use skiff_api::names;
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_api::wire::Answer;
use skiff_json::{Value, json};
use skiff_kinds::core::pod::conditions;
use skiff_store::{CommitError, Currency, Record, Revision, Write};
use std::sync::Arc;

const ABOUT: About = About { group: "", resource: "pods/binding" };
/// How often it starts again when somebody else wrote in between.
const TRIES: usize = 8;

pub async fn bind(
    server: &Arc<Server>,
    request: &Request,
    binding: Object,
) -> Result<Answer, Status> {
    let name = &*request.resource.name;
    if binding.name() != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    validate(&binding)?;
    for _ in 0..TRIES {
        let Found { record, object: mut pod } = pod(server, request).await?;
        check(&pod, &binding).map_err(|why| Status::conflict(ABOUT, name, &why))?;
        assign(&mut pod, &binding, &codec::time(server.world.now()));
        if request.dry_run() {
            return Ok(super::done());
        }
        if commit(server, &request.kind, &record, &pod).await?.is_some() {
            return Ok(super::done());
        }
    }
    Err(Status::modified(request.kind.about(), name))
}

/// The pod that a request names, as it is now.
pub async fn pod(server: &Server, request: &Request) -> Result<Found, Status> {
    let (namespace, name) = (&request.resource.namespace, &request.resource.name);
    let found = server.reader.read(&request.kind, namespace, name, Currency::Current).await?;
    found.ok_or_else(|| request.not_found())
}

/// Writes an object over the record that it was made of; `None` when somebody else wrote in between, and that is seen
/// now.
pub async fn commit(
    server: &Server,
    kind: &Kind,
    record: &Record,
    object: &Object,
) -> Result<Option<Revision>, Status> {
    let write = Write::Put {
        key: record.key.clone(),
        expect: Some(record.revision),
        body: convert::body(&server.reader, kind, object).await?,
        generation: kind.generation,
        facets: facets::of(kind, object),
    };
    match server.store.commit(vec![write]).await {
        Ok(committed) => Ok(committed.first().copied()),
        Err(CommitError::Conflict { at, .. }) => {
            server.reader.reach(Currency::AtLeast(at)).await?;
            Ok(None)
        }
        Err(other) => Err(crate::write::commit_refusal(&other)),
    }
}

fn validate(binding: &Object) -> Result<(), Status> {
    let mut errors = Errors::new();
    let target = Path::new("target");
    let (kind, name) = (binding.text("target.kind"), binding.text("target.name"));
    if !matches!(kind, "" | "Node") {
        errors.not_supported(&target.child("kind"), kind, &["Node", "<empty>"]);
    }
    if name.is_empty() {
        errors.required(&target.child("name"), "");
    } else if matches!(kind, "" | "Node") {
        for why in names::subdomain(name) {
            errors.invalid(&target.child("name"), name, &why);
        }
    }
    // These errors come without the frame of a refused object, as clients of the API know them.
    if errors.is_empty() { Ok(()) } else { Err(Status::new(500, "", errors.text())) }
}

/// Why a pod cannot be bound.
fn check(pod: &Object, binding: &Object) -> Result<(), String> {
    let name = pod.name();
    let failed = |what: &str, wanted: &str, found: &str| {
        format!(
            "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
        )
    };
    if !binding.uid().is_empty() && binding.uid() != pod.uid() {
        return Err(failed("UID", binding.uid(), pod.uid()));
    }
    let revision = binding.resource_version();
    if !revision.is_empty() && revision != pod.resource_version() {
        return Err(failed("ResourceVersion", revision, pod.resource_version()));
    }
    if pod.deleting() {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    match pod.text("spec.nodeName") {
        "" if !pod.list("spec.schedulingGates").is_empty() => {
            Err(format!("pod {name} has non-empty .spec.schedulingGates"))
        }
        "" => Ok(()),
        node => Err(format!("pod {name} is already assigned to node {node:?}")),
    }
}

fn assign(pod: &mut Object, binding: &Object, now: &str) {
    pod.set("spec.nodeName", binding.text("target.name"));
    pod.remove("status.nominatedNodeName");
    for field in ["metadata.annotations", "metadata.labels"] {
        let mut map = pod.map(field).clone();
        map.extend(binding.map(field).clone());
        if !map.is_empty() {
            pod.set(field, Value::Object(map));
        }
    }
    conditions::set(pod, json!({"type": "PodScheduled", "status": "True"}), now);
}
