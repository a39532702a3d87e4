//! NamespaceLifecycle: nothing is made in a namespace that is not there or is going; three namespaces never go.

use super::{Admit, Next, Operation, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::status::About;
use skiff_json::json;
use skiff_store::{Currency, Record};

pub struct NamespaceLifecycle;

const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn mutate<'a>(&'a self, at: &'a Admit<'_>, _: &'a mut Object) -> Verdict<'a, Next> {
        // Before anybody looks for something in it.
        if at.operation != Operation::Create {
            return Ok(Next::GoOn).into();
        }
        match create(at) {
            Verdict::Now(verdict) => verdict.map(|()| Next::GoOn).into(),
            Verdict::Later(asking) => Verdict::later(async { asking.await.map(|()| Next::GoOn) }),
        }
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, _: Option<&'a Object>) -> Verdict<'a> {
        match at.operation {
            // It may have begun to go since.
            Operation::Create => create(at),
            Operation::Delete => delete(at).into(),
            Operation::Update | Operation::Connect => Verdict::PASS,
        }
    }
}

fn create<'a>(at: &'a Admit<'_>) -> Verdict<'a> {
    if at.kind.custom.as_ref().is_some_and(|custom| custom.terminating) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(at.forbid(why)).into();
    }
    if !at.kind.namespaced() {
        return Verdict::PASS;
    }
    let key = format!("namespaces//{}", at.namespace);
    if let Some(record) = at.reader.store.get(&key) {
        return inside(at, &record).into();
    }
    // It may have been made a moment ago, by another server.
    Verdict::later(async move {
        match at.reader.record(&key, Currency::Current).await? {
            Some(record) => inside(at, &record),
            None => {
                let namespaces = About { group: "", resource: "namespaces" };
                Err(Status::not_found(namespaces, at.namespace))
            }
        }
    })
}

/// Whether this namespace takes anything new.
fn inside(at: &Admit<'_>, namespace: &Record) -> Result<(), Status> {
    let phase = crate::read::facets::value(namespace, "f:status.phase");
    // Access reviews answer about the namespace, they do not live in it.
    if phase != Some("Terminating") || at.kind.group == "authorization.k8s.io" {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        at.namespace
    );
    let mut refusal = at.forbid(&why);
    if let Some(details) = &mut refusal.details {
        let message = format!("namespace {} is being terminated", at.namespace);
        details["causes"] = json!([
            {"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}
        ]);
    }
    Err(refusal)
}

fn delete(at: &Admit<'_>) -> Result<(), Status> {
    if at.is("", "namespaces") && IMMORTAL.contains(&&*at.name) {
        return Err(at.forbid("this namespace may not be deleted"));
    }
    Ok(())
}
