//! Status: every refusal of the API as one value, with code, reason and message as users and client libraries know them
//! (API reference: `Status` of meta/v1). The code of an error is decided here and nowhere else.

use crate::errors::Errors;
use skiff_json::{Map, Value, json};
use std::borrow::Cow;

/// A refusal. The wire form is `to_json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub code: u16,
    pub reason: Cow<'static, str>,
    pub message: String,
    pub details: Option<Value>,
    /// With which a list whose snapshot is gone can go on, in the metadata; mostly empty.
    pub next: String,
}

/// The resource (or kind) that a refusal is about: group and plural (or kind) name.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub group: &'a str,
    pub resource: &'a str,
}

impl About<'_> {
    /// `pods`, `deployments.apps`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    fn details(&self, name: &str) -> Value {
        let mut details = json!({});
        for (key, value) in [("name", name), ("group", self.group), ("kind", self.resource)] {
            if !value.is_empty() {
                details[key] = value.into();
            }
        }
        details
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    pub fn new(
        code: u16,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Status {
        let reason = reason.into();
        Status { code, reason, message: message.into(), details: None, next: String::new() }
    }

    pub fn not_found(about: About, name: &str) -> Status {
        let message = format!("{} \"{name}\" not found", about.qualified());
        Status { details: Some(about.details(name)), ..Status::new(404, "NotFound", message) }
    }

    /// The path leads nowhere.
    pub fn no_such_path() -> Status {
        let message = "the server could not find the requested resource";
        Status { details: Some(json!({})), ..Status::new(404, "NotFound", message) }
    }

    pub fn already_exists(about: About, name: &str) -> Status {
        let message = format!("{} \"{name}\" already exists", about.qualified());
        Status { details: Some(about.details(name)), ..Status::new(409, "AlreadyExists", message) }
    }

    pub fn conflict(about: About, name: &str, why: &str) -> Status {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", about.qualified());
        Status { details: Some(about.details(name)), ..Status::new(409, "Conflict", message) }
    }

    /// The write was based on a revision that is no longer the newest.
    pub fn modified(about: About, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest version and \
                   try again";
        Status::conflict(about, name, why)
    }

    pub fn forbidden(about: About, name: &str, why: &str) -> Status {
        let message = match (about.resource, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{} is forbidden: {why}", about.qualified()),
            _ => format!("{} \"{name}\" is forbidden: {why}", about.qualified()),
        };
        Status { details: Some(about.details(name)), ..Status::new(403, "Forbidden", message) }
    }

    pub fn unauthorized() -> Status {
        Status::new(401, "Unauthorized", "Unauthorized")
    }

    /// Validation failed. `about.resource` is the kind here, as upstream has it.
    pub fn invalid(about: About, name: &str, errors: &Errors) -> Status {
        let message = format!("{} \"{name}\" is invalid: {}", about.qualified(), errors.text());
        let mut details = about.details(name);
        details["causes"] = errors
            .iter()
            .map(|e| json!({"reason": e.type_.reason(), "message": e.body, "field": e.field}))
            .collect();
        Status { details: Some(details), ..Status::new(422, "Invalid", message) }
    }

    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        Status { details: Some(json!({})), ..Status::new(405, "MethodNotAllowed", message) }
    }

    /// A verb that this resource has not: a watch of what can be listed only.
    pub fn no_verb(verb: &str, about: About) -> Status {
        let resource = about.qualified();
        let message = format!("{verb} is not supported on resources of kind {resource:?}");
        let mut details = json!({"kind": about.resource});
        if !about.group.is_empty() {
            details["group"] = about.group.into();
        }
        let details = Some(details);
        Status { details, ..Status::new(405, "MethodNotAllowed", message) }
    }

    /// The view of the object that was asked for does not exist.
    pub fn not_acceptable() -> Status {
        let accepted = "only the following media types are accepted: application/json, \
                        application/yaml, application/vnd.kubernetes.protobuf";
        Status::new(406, "NotAcceptable", accepted)
    }

    /// A watch is written in none of what was asked for.
    pub fn no_stream(accepted: &str) -> Status {
        let message = format!("only the following media types are accepted: {accepted}");
        Status::new(406, "NotAcceptable", message)
    }

    /// No media type that was asked for is among these.
    pub fn no_representation(available: &str) -> Status {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {available}");
        Status { details: Some(json!({})), ..Status::new(406, "NotAcceptable", message) }
    }

    /// No patch of this type is known.
    pub fn unsupported_patch() -> Status {
        let message = "415: Unsupported Media Type";
        Status { details: Some(json!({})), ..Status::new(415, "UnsupportedMediaType", message) }
    }

    pub fn unsupported_media(accepted: &str) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Status::new(415, "UnsupportedMediaType", message)
    }

    pub fn too_large(most: usize) -> Status {
        let message = format!("Request entity too large: limit is {most}");
        Status::new(413, "RequestEntityTooLarge", message)
    }

    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_s: u32) -> Status {
        Status {
            details: Some(json!({"retryAfterSeconds": retry_after_s})),
            ..Status::new(429, "TooManyRequests", message)
        }
    }

    pub fn internal(why: impl std::fmt::Display) -> Status {
        let message = format!("Internal error occurred: {why}");
        let details = json!({"causes": [{"message": why.to_string()}]});
        Status { details: Some(details), ..Status::new(500, "InternalError", message) }
    }

    /// What is stored cannot be read (KEP-3926); the message says which step is left.
    pub fn storage_read(about: About, name: &str, why: &str) -> Status {
        let message = format!(
            "Internal error occurred: StorageError: corrupt object, {why}; restore a backup, or delete {} {name:?} \
             with ignoreStoreReadErrorWithClusterBreakingPotential",
            about.qualified()
        );
        let mut details = about.details(name);
        details["causes"] = json!([{"reason": "UnexpectedServerResponse", "message": why}]);
        Status { details: Some(details), ..Status::new(500, STORAGE_READ, message) }
    }

    /// Whether the object is there, and only cannot be read.
    pub fn is_storage_read(&self) -> bool {
        self.reason == STORAGE_READ
    }

    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::new(503, "ServiceUnavailable", message)
    }

    pub fn timeout(message: impl Into<String>) -> Status {
        Status::new(504, "Timeout", message)
    }

    /// The `Status` object.
    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.next.is_empty() {
            status["metadata"]["continue"] = (&*self.next).into();
        }
        if !self.reason.is_empty() {
            status["reason"] = (*self.reason).into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }

    /// The same as text, its fields in the order of the API reference, as people read it.
    pub fn text(&self) -> String {
        crate::json::ordered(&self.to_json(), order)
    }

    /// Reads the wire form back (the HTTPS client).
    pub fn from_json(value: &Value) -> Option<Status> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        if text("kind") != Some("Status") {
            return None;
        }
        Some(Status {
            code: u16::try_from(value.get("code")?.as_u64()?).ok()?,
            reason: text("reason").unwrap_or("").to_owned().into(),
            message: text("message").unwrap_or("").to_owned(),
            details: value.get("details").cloned(),
            next: crate::object::text(value, "metadata.continue").to_owned(),
        })
    }
}

/// The fields of a Status, its details and its causes, in the order of the API reference.
const STATUS_ORDER: &[&str] =
    &["kind", "apiVersion", "metadata", "status", "message", "reason", "details", "code"];
const DETAILS_ORDER: &[&str] = &["name", "group", "kind", "uid", "causes", "retryAfterSeconds"];
const CAUSE_ORDER: &[&str] = &["reason", "message", "field"];

fn order(map: &Map) -> &'static [&'static str] {
    match (map.contains_key("code"), map.contains_key("message")) {
        (true, _) => STATUS_ORDER,
        (_, true) => CAUSE_ORDER,
        _ => DETAILS_ORDER,
    }
}

/// The reason of reads that the store is in the way of.
const STORAGE_READ: &str = "StorageReadError";
