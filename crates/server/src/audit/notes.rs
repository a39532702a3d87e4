//! Notes: what the stages of the pipeline, admission and who else has something to say add to the event of a request.
//! Without a policy, or for a request that it leaves out, nothing is written down, and nothing is made for it.

use super::Audit;
use super::event::{Event, Outcome, TRUNCATED};
use super::policy::{Level, Managed, Verdict};
use crate::authorize::Decision;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::wire::{Answer, Body, Rendered, User};
use skiff_base::Lock;
use skiff_json::Value;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Larger answers are not told of: their events would be larger than what a queue takes.
const ANSWER_MOST: usize = 8 << 20;
/// A Status that a success answers with is never larger.
const STATUS_MOST: usize = 4096;

/// What is known of one request; shared by all who have something to add.
#[derive(Clone, Default)]
pub struct Notes(pub(super) Option<Arc<Known>>);

/// What is known, and how far its telling is.
pub struct Known {
    pub(super) audit: Arc<Audit>,
    /// When the request came, for how long it takes.
    pub(super) since: Duration,
    pub(super) opened: OnceLock<(Verdict, Length)>,
    pub(super) event: Lock<Event>,
}

/// How long a request may take, by which its stages differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Short,
    Long,
    /// As long as it likes: nobody counts its time.
    Watch,
    /// Refused at the door: there is one event.
    Refused,
}

impl Notes {
    /// Whether anybody reads them.
    pub fn are_taken(&self) -> bool {
        self.level() > Level::None
    }

    pub(super) fn level(&self) -> Level {
        let opened = self.0.as_ref().and_then(|known| known.opened.get());
        opened.map_or(Level::None, |(verdict, _)| verdict.level)
    }

    /// Changes the event, if there is to be one of this level or more.
    pub(super) fn change(&self, level: Level, change: impl FnOnce(&mut Event)) {
        if let (Some(known), true) = (&self.0, self.level() >= level) {
            change(&mut known.event.lock());
        }
    }

    /// Adds an annotation; what was said first stays.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        self.change(Level::Metadata, |event| {
            event.annotations.entry(key.to_owned()).or_insert_with(|| value.into());
        });
    }

    /// Adds an annotation that shows bodies, where these are kept.
    pub fn annotate_body(&self, key: impl FnOnce() -> String, value: impl FnOnce() -> String) {
        self.change(Level::Request, |event| {
            event.annotations.entry(key()).or_insert_with(value);
        });
    }

    /// Whom the caller acts as, and by which constrained right.
    pub fn acts_as(&self, user: &User, constraint: &'static str) {
        self.change(Level::Metadata, |event| {
            (event.impersonated, event.constraint) = (Some(user.clone()), constraint);
        });
    }

    /// What the authorizers said.
    pub fn decided(&self, decision: &Decision) {
        if !decision.allowed() && !decision.error.is_empty() {
            return self.annotate("authorization.k8s.io/reason", "internal error");
        }
        let word = if decision.allowed() { "allow" } else { "forbid" };
        self.annotate("authorization.k8s.io/decision", word);
        self.annotate("authorization.k8s.io/reason", &*decision.reason);
    }

    /// The object that was sent. `show` makes it what it is told as, when it is to be told.
    pub fn sent(&self, object: &Object, show: impl FnOnce() -> Value) {
        self.change(Level::Metadata, |event| {
            let about = event.object.get_or_insert_default();
            for (known, told) in [
                (&mut about.namespace, object.namespace()),
                (&mut about.name, object.name()),
                (&mut about.uid, object.uid()),
                (&mut about.resource_version, object.text("metadata.resourceVersion")),
            ] {
                if known.is_empty() {
                    told.clone_into(known);
                }
            }
        });
        self.sent_as(show);
    }

    /// A body that is no object.
    pub fn sent_as(&self, show: impl FnOnce() -> Value) {
        if self.level() >= Level::Request {
            let body = self.shown(show());
            self.change(Level::Request, |event| event.request = Some(body));
        }
    }

    /// JSON on one line, without owners where those are left out.
    fn shown(&self, mut body: Value) -> Bytes {
        let opened = self.0.as_ref().and_then(|known| known.opened.get());
        if opened.is_some_and(|(verdict, _)| verdict.managed == Managed::Omitted) {
            disown(&mut body);
            for (list, object) in [("items", ""), ("rows", "/object")] {
                let within = body.get_mut(list).and_then(Value::as_array_mut);
                for one in within.into_iter().flatten() {
                    one.pointer_mut(object).into_iter().for_each(disown);
                }
            }
        }
        body.to_string().into()
    }

    /// What is answered, before it becomes what the client reads.
    ///
    /// # Errors
    /// When the answer cannot be written.
    pub async fn answers(&self, answer: Answer) -> Result<Answer, Status> {
        let level = self.level();
        let (size, whole) = match &answer.body {
            Body::Object(stored) => (stored.body.len(), level == Level::RequestResponse),
            Body::List(list) => (list.size(), level == Level::RequestResponse),
            Body::Rendered(Rendered { size: Some(size), .. }) => {
                (*size, level == Level::RequestResponse)
            }
            // A Status, perhaps. What is no document is not told.
            Body::Bytes(bytes) if is_json(&answer.headers) => {
                let status = level >= Level::Metadata && bytes.len() <= STATUS_MOST;
                (bytes.len(), status || level == Level::RequestResponse)
            }
            _ => return Ok(answer),
        };
        if whole && size > ANSWER_MOST {
            self.annotate(TRUNCATED.0, TRUNCATED.1);
        }
        if !whole || size > ANSWER_MOST {
            return Ok(answer);
        }
        let (answer, bytes) = crate::render::shown(answer).await?;
        let Ok(told) = skiff_json::from_slice::<Value>(&bytes) else { return Ok(answer) };
        if told["kind"] == "Status" {
            let outcome = Outcome::of_status(&told, answer.status.as_u16());
            self.change(Level::Metadata, |event| event.outcome = Some(outcome));
        }
        if level == Level::RequestResponse {
            let shown = self.shown(told);
            self.change(level, |event| event.response = Some(shown));
        }
        Ok(answer)
    }

    /// What the request is refused with. What cannot be said in a form that the client reads is told by its code alone.
    pub fn refused(&self, status: &Status) {
        if status.reason == "NotAcceptable" {
            return;
        }
        self.change(Level::Metadata, |event| event.outcome = Some(status.into()));
        self.change(Level::RequestResponse, |event| event.response = Some(status.text().into()));
    }
}

fn disown(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let type_ = headers.get(CONTENT_TYPE);
    type_.is_none_or(|type_| type_.as_bytes().starts_with(b"application/json"))
}
