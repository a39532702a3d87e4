//! Request: what the stages of the pipeline have found out about a call, handed from one to the next.

use crate::accept::Accept;
use crate::url::{Query, Resource};
use skiff_api::Status;
use skiff_api::kind::{Kind, Verb};
use skiff_api::registry::Registry;
use skiff_api::wire::{Payload, User};
use std::sync::{Arc, Mutex};

/// A call for a resource, after authentication, authorization and the look-up of its kind.
pub struct Request {
    pub user: User,
    pub verb: Verb,
    pub resource: Resource,
    pub kind: Arc<Kind>,
    pub registry: Arc<Registry>,
    pub query: Query,
    pub accept: Accept,
    pub content_type: String,
    pub user_agent: String,
    pub payload: Payload,
    /// Warnings for the user, sent as headers (RFC 9111, code 299).
    pub warnings: Mutex<Vec<String>>,
}

/// What `fieldValidation` asks for (KEP-2885). The default is `Warn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    Ignore,
    Warn,
    Strict,
}

/// The longest text of all warnings of one answer, so that no header grows without bound.
const WARNINGS_MOST: usize = 4096;

impl Request {
    pub fn warn(&self, text: impl Into<String>) {
        let mut warnings = self.warnings.lock().expect("no holder of this lock panics");
        let (text, size) = (text.into(), warnings.iter().map(String::len).sum::<usize>());
        if !warnings.contains(&text) && size + text.len() <= WARNINGS_MOST {
            warnings.push(text);
        }
    }

    pub fn dry_run(&self) -> bool {
        self.query.get("dryRun").is_some()
    }

    /// Refuses the values of options that mean nothing, in the words of the API.
    pub fn check_options(&self) -> Result<(), Status> {
        if let Some(value) = self.query.all("dryRun").find(|v| !v.is_empty() && *v != "All") {
            let kind = match self.verb {
                Verb::Create => "CreateOptions",
                Verb::Update => "UpdateOptions",
                Verb::Patch => "PatchOptions",
                _ => "DeleteOptions",
            };
            return Err(invalid_option(kind, "dryRun", value, &["All"]));
        }
        self.strictness().map(|_| ())
    }

    pub fn strictness(&self) -> Result<Strictness, Status> {
        match self.query.get("fieldValidation") {
            None | Some("Warn") => Ok(Strictness::Warn),
            Some("Ignore") => Ok(Strictness::Ignore),
            Some("Strict") => Ok(Strictness::Strict),
            Some(other) => {
                let kind = match self.verb {
                    Verb::Create => "CreateOptions",
                    Verb::Update => "UpdateOptions",
                    _ => "PatchOptions",
                };
                Err(invalid_option(
                    kind,
                    "fieldValidation",
                    other,
                    &["", "Ignore", "Strict", "Warn"],
                ))
            }
        }
    }

    /// Who is named as the owner of the fields that this request sets.
    pub fn manager(&self) -> String {
        match self.query.get("fieldManager") {
            Some(manager) => manager.to_owned(),
            None => skiff_api::apply::manager_from_agent(&self.user_agent),
        }
    }

    /// The refusal for an object that is not there.
    pub fn not_found(&self) -> Status {
        Status::not_found(self.kind.about(), &self.resource.name)
    }

    pub fn key(&self) -> String {
        let namespace = if self.kind.namespaced() { &*self.resource.namespace } else { "" };
        self.kind.key(namespace, &self.resource.name)
    }
}

fn invalid_option(kind: &str, field: &str, value: &str, supported: &[&str]) -> Status {
    let mut errors = skiff_api::errors::Errors::new();
    errors.not_supported(&skiff_api::errors::Path::new(field), value, supported);
    let about = skiff_api::status::About { group: "meta.k8s.io", resource: kind };
    Status::invalid(about, "", &errors)
}
