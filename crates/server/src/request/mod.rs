//! Request: what the stages of the pipeline have found out about a call, handed from one to the next.

pub(crate) mod codec;
mod media;
pub mod url;

use crate::audit::Notes;
use crate::fairness::Held;
use crate::render::accept::Accept;
use crate::request::url::{Query, RequestInfo};
use http::header::{HeaderMap, HeaderValue, WARNING};
use skiff_api::Status;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Kind, Verb};
use skiff_api::registry::Registry;
use skiff_api::status::About;
use skiff_api::wire::{Payload, User};
use skiff_base::Lock;
use std::sync::Arc;

/// A call for a resource, after authentication, authorization and the look-up of its kind.
pub struct Request {
    pub user: Arc<User>,
    pub verb: Verb,
    pub resource: RequestInfo,
    pub kind: Arc<Kind>,
    pub registry: Arc<Registry>,
    pub query: Query,
    pub accept: Accept,
    pub content_type: String,
    pub user_agent: String,
    pub payload: Payload,
    pub warnings: Warnings,
    /// What the audit log is told.
    pub notes: Notes,
    /// What it holds while it runs.
    pub seat: Held,
}

/// Warnings for the user, sent as headers whatever the answer (RFC 9111, code 299).
#[derive(Debug, Default)]
pub struct Warnings(Lock<Vec<String>>);

/// What `fieldValidation` asks for (KEP-2885). The default is `Warn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    Ignore,
    Warn,
    Strict,
}

/// The longest text of all warnings of one answer, so that no header grows without bound.
const WARNINGS_MOST: usize = 4096;

impl Warnings {
    pub fn add(&self, text: String) {
        let mut warnings = self.0.lock();
        let size = warnings.iter().map(String::len).sum::<usize>();
        if !warnings.contains(&text) && size + text.len() <= WARNINGS_MOST {
            warnings.push(text);
        }
    }

    /// The agent that warns is not named (`-`), as API clients expect it.
    pub fn write(&self, headers: &mut HeaderMap) {
        for text in self.0.lock().iter() {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
                headers.append(WARNING, value);
            }
        }
    }
}

impl Request {
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.add(text.into());
    }

    pub fn dry_run(&self) -> bool {
        self.query.get("dryRun").is_some()
    }

    /// Refuses the values of options that mean nothing, in the words of the API.
    pub fn check_options(&self) -> Result<(), Status> {
        let kind = match self.verb {
            Verb::Create => "CreateOptions",
            Verb::Update => "UpdateOptions",
            Verb::Patch => "PatchOptions",
            _ => "DeleteOptions",
        };
        let mut errors = Errors::new();
        let given: Vec<&str> = self.query.all("dryRun").collect();
        if given.iter().any(|value| *value != "All") {
            errors.not_supported(&Path::new("dryRun"), given, &["All"]);
        }
        if let Some(manager) = self.query.get("fieldManager") {
            check_manager(manager, &mut errors);
        }
        if !errors.is_empty() {
            let about = About { group: "meta.k8s.io", resource: kind };
            return Err(Status::invalid(about, "", &errors));
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

/// The longest name of a field manager.
const MANAGER_MOST: usize = 128;

fn check_manager(manager: &str, errors: &mut Errors) {
    let path = Path::new("fieldManager");
    if manager.len() > MANAGER_MOST {
        errors.too_long(&path, MANAGER_MOST);
    }
    // Go's IsPrint: letters, marks, numbers, punctuation, symbols, and the plain blank.
    let unprintable = |c: &char| c.is_control() || (c.is_whitespace() && *c != ' ');
    for (at, c) in manager.char_indices().filter(|(_, c)| unprintable(c)) {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        errors.invalid(&path, manager, &why);
    }
}

fn invalid_option(kind: &str, field: &str, value: &str, supported: &[&str]) -> Status {
    let mut errors = Errors::new();
    errors.not_supported(&Path::new(field), value, supported);
    let about = About { group: "meta.k8s.io", resource: kind };
    Status::invalid(about, "", &errors)
}
