//! The writer: performs the changes of a plan through the client, under the loop's own identity. What it does is the
//! same for every loop, and so is there once.

use crate::changes::{Change, Changes, Tell};
use crate::on::Reads;
use crate::queue::Queue;
use futures_util::future::join_all;
use skiff_api::Status;
use skiff_api::status::About;
use skiff_api::view::{Key, Resource};
use skiff_client::events::Recorder;
use skiff_client::{Client, Written};
use skiff_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// This many of the changes that stand together are under way at once; the server works on no more of one loop.
const TOGETHER_MOST: usize = 64;

/// What a change wrote, and the revision that its write has.
pub type Wrote = Option<(Resource, u64)>;

/// One pass over a key.
pub struct Pass<'k> {
    pub key: &'k Key,
    /// Something was held back until all can be read.
    pub withheld: AtomicBool,
}

impl<'k> Pass<'k> {
    pub fn new(key: &'k Key) -> Pass<'k> {
        Pass { key, withheld: AtomicBool::new(false) }
    }
}

/// Writes what a loop plans.
pub struct Writer {
    pub client: Client,
    /// Sees what the caches see; it never writes.
    pub reader: Client,
    pub recorder: Recorder,
    pub reads: Reads,
    pub queue: Arc<Queue>,
}

impl Writer {
    /// Performs changes in their order, those that stand together at once, and says what became of each; nothing after
    /// one that failed is tried.
    pub async fn act(
        &self,
        pass: &Pass<'_>,
        changes: Changes,
    ) -> Vec<(Change, Result<Wrote, Status>)> {
        let mut done: Vec<(Change, Result<Wrote, Status>)> = Vec::new();
        for change in changes.into_list() {
            let mut rest = match change {
                Change::Together(list) => list,
                change => vec![change],
            }
            .into_iter();
            let mut size = 1;
            while rest.len() > 0 {
                let batch: Vec<Change> = rest.by_ref().take(size).collect();
                let outcomes = join_all(batch.iter().map(|change| self.one(pass, change))).await;
                let failed = outcomes.iter().any(Result::is_err);
                done.extend(batch.into_iter().zip(outcomes));
                if failed {
                    return done;
                }
                size = (size * 2).min(TOGETHER_MOST);
            }
        }
        done
    }

    /// Performs one change. What is refused because its namespace ends counts as done: whatever is made there is
    /// refused from now on, the end takes along what it was for, and what else the loop has to do there may be what the
    /// end waits for.
    async fn one(&self, pass: &Pass<'_>, change: &Change) -> Result<Wrote, Status> {
        match self.perform(pass, change).await {
            Err(status) if namespace_ends(&status) => Ok(None),
            outcome => outcome,
        }
    }

    /// Performs one change and says what it wrote; `None` when nothing is to be waited for.
    async fn perform(&self, pass: &Pass<'_>, change: &Change) -> Result<Wrote, Status> {
        let client = &self.client;
        let (resource, written) = match change {
            Change::Told(change, tell) => return self.tell(pass, change, tell).await,
            Change::Together(_) => {
                return Err(Status::internal("changes that stand together cannot be nested"));
            }
            Change::Create { resource, namespace, body } => {
                (resource, self.create(pass, *resource, namespace, body).await?)
            }
            Change::Patch { kind, resource, key, subresource, body } => {
                let (namespace, body) = (&key.namespace, body.clone());
                let written =
                    client.patch(*kind, *resource, namespace, &key.name, subresource, body).await?;
                (resource, written)
            }
            Change::Merge { resource, key, subresource, body } => {
                (resource, self.merge(*resource, key, subresource, body.clone()).await?)
            }
            Change::Delete { resource, key, options } => {
                self.whole(pass, &key.namespace)?;
                match client.delete(*resource, &key.namespace, &key.name, options).await {
                    Err(status) if status.code == 404 => return Ok(None),
                    other => (resource, other?),
                }
            }
            Change::Event(note) => {
                let about = note.about.clone();
                self.recorder.record(note.type_, &note.reason, &note.message, about).await;
                return Ok(None);
            }
        };
        Ok(Some((*resource, written.revision)))
    }

    async fn create(
        &self,
        pass: &Pass<'_>,
        resource: Resource,
        namespace: &str,
        body: &Value,
    ) -> Result<Written, Status> {
        self.whole(pass, namespace)?;
        self.client.create(resource, namespace, body.clone()).await
    }

    /// Nothing is made or deleted where something is that cannot be read: the plan took it for absent. The pass is gone
    /// over again as soon as that changes.
    fn whole(&self, pass: &Pass<'_>, namespace: &str) -> Result<(), Status> {
        if self.reads.hidden_in(namespace).is_some() {
            self.queue.withhold(pass.key.clone());
        }
        // Asked again: what became readable before the key was noted woke nobody.
        let Some((resource, key)) = self.reads.hidden_in(namespace) else { return Ok(()) };
        pass.withheld.store(true, Ordering::Relaxed);
        let about = About { group: resource.group, resource: resource.plural };
        Err(Status::storage_read(about, &key.name, &format!("{key} is there and cannot be read")))
    }

    async fn merge(
        &self,
        resource: Resource,
        key: &Key,
        subresource: &str,
        body: Value,
    ) -> Result<Written, Status> {
        // A scale is an object of its own; the other entries write a part of the whole.
        let entry = if subresource == "scale" { subresource } else { "" };
        let path = resource.path(&key.namespace, &key.name, entry);
        let mut object = self.reader.get_path(&path).await?;
        let wanted = body.get("metadata").and_then(|metadata| metadata.get("uid"));
        if wanted.is_some_and(|uid| *uid != object["metadata"]["uid"]) {
            let about = About { group: resource.group, resource: resource.plural };
            return Err(Status::conflict(about, &key.name, "it was deleted and made anew"));
        }
        put(&mut object, body);
        self.client.update(resource, &key.namespace, &key.name, subresource, object).await
    }

    /// Performs a change and tells users how it went.
    async fn tell(&self, pass: &Pass<'_>, change: &Change, tell: &Tell) -> Result<Wrote, Status> {
        let (outcome, name) = match change {
            // Only the answer to a create knows a generated name.
            Change::Create { resource, namespace, body } => {
                match self.create(pass, *resource, namespace, body).await {
                    Ok(written) => {
                        let revision = written.revision;
                        let name = written.object()?.name().to_owned();
                        (Ok(Some((*resource, revision))), name)
                    }
                    Err(status) => (Err(status), String::new()),
                }
            }
            Change::Patch { key, .. } | Change::Merge { key, .. } | Change::Delete { key, .. } => {
                (Box::pin(self.perform(pass, change)).await, key.name.clone())
            }
            other => (Box::pin(self.perform(pass, other)).await, String::new()),
        };
        let (type_, (reason, message), error) = match &outcome {
            Ok(_) => ("Normal", &tell.done, ""),
            Err(status) if namespace_ends(status) || name_taken(status) => return outcome,
            Err(status) => ("Warning", &tell.failed, &*status.message),
        };
        if !reason.is_empty() {
            let message = message.replace("{name}", &name).replace("{error}", error);
            self.recorder.record(type_, reason, &message, tell.about.clone()).await;
        }
        outcome
    }
}

/// Puts the fields of a merge patch into an object (RFC 7386).
fn put(into: &mut Value, from: Value) {
    let Value::Object(from) = from else {
        *into = from;
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Value::Object(fields) = into else { return };
    for (key, value) in from {
        match value {
            Value::Null => drop(fields.remove(&key)),
            value => put(fields.entry(key).or_insert(Value::Null), value),
        }
    }
}

/// A refusal because the name is somebody else's: who wanted it looks again, and says so if it matters.
fn name_taken(status: &Status) -> bool {
    status.code == 409 && status.reason == "AlreadyExists"
}

/// A refusal because the namespace is going.
fn namespace_ends(status: &Status) -> bool {
    let causes = status.details.as_ref().and_then(|details| details.get("causes")?.as_array());
    causes
        .is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == "NamespaceTerminating"))
}
