//! What a pod's worker tells the API: the newest status, events in order, and in the end the
//! deletion. A task drains what has gathered, then ends. Nothing on a pod's way up waits for it; on
//! the way down the worker waits for the answer to a status: only then does the API know.

use crate::pod::worker::Mail;
use skiff_api::Status;
use skiff_api::view::View;
use skiff_base::{Backoff, Lock, Tasks, World};
use skiff_client::events::Recorder;
use skiff_client::{Client, DeleteOptions, PatchKind};
use skiff_json::{Value, json};
use skiff_kinds::views::Pod;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Events of one pod that wait to be written; the oldest goes when there are more.
const EVENTS_MOST: usize = 64;
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(10) };

/// What words to the API go through; all reports of a node share it.
pub struct Desk {
    pub world: World,
    pub client: Client,
    pub recorder: Recorder,
    pub tasks: Tasks,
}

/// What a worker has to say.
#[derive(Clone)]
pub struct Report {
    desk: Arc<Desk>,
    worker: UnboundedSender<Mail>,
    state: Arc<Lock<State>>,
}

#[derive(Default)]
struct State {
    status: Option<(Arc<Pod>, Value)>,
    /// The newest that was given to this file, as text, and whether the answer to it has come.
    newest: Box<str>,
    told: bool,
    /// The revision of the last write that was answered.
    wrote: u64,
    /// The worker waits for it.
    awaited: bool,
    events: VecDeque<Note>,
    delete: Option<Arc<Pod>>,
    draining: bool,
}

/// How far a status is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is new, and will be written.
    Asked,
    /// It waits, or is on its way.
    Pending,
    Answered,
}

/// One event.
#[derive(Debug, Clone)]
pub struct Note {
    pub pod: Arc<Pod>,
    /// The container that it is about.
    pub container: Option<String>,
    pub type_: &'static str,
    pub reason: &'static str,
    pub message: String,
}

enum Next {
    Status(Arc<Pod>, Value),
    Event(Note),
    Delete(Arc<Pod>),
}

impl State {
    fn ask(&mut self, pod: &Arc<Pod>, status: &Value) -> Told {
        let newest = text(status);
        if self.newest == newest && !(self.told && self.is_contradicted(pod, status)) {
            return if self.told { Told::Answered } else { Told::Pending };
        }
        (self.newest, self.told) = (newest, false);
        self.status = Some((pod.clone(), status.clone()));
        Told::Asked
    }

    /// Whether somebody has said something else since: of a node that was not heard of for a while its pods are not
    /// ready (concepts: "Nodes", node controller), and it is the node that says that they are again.
    fn is_contradicted(&self, pod: &Pod, status: &Value) -> bool {
        let newer = pod.metadata.resource_version.parse().is_ok_and(|it: u64| it > self.wrote);
        newer && is_contradicted(status, |type_| Some(&pod.status.condition(type_)?.status))
    }

    /// Whether the worker has to hear of it.
    fn answered(&mut self, status: &Value) -> bool {
        self.told = self.newest == text(status);
        self.told && std::mem::take(&mut self.awaited)
    }
}

/// A status is kept for as long as its pod, and its tree takes ten times as much.
/// Whether the API has another status of a condition than this one says; `has` gives it by the condition's type.
pub(crate) fn is_contradicted<'a>(status: &Value, has: impl Fn(&str) -> Option<&'a str>) -> bool {
    let mut said = status["conditions"].as_array().into_iter().flatten();
    said.any(|said| said["type"].as_str().and_then(&has).is_some_and(|has| said["status"] != has))
}

fn text(status: &Value) -> Box<str> {
    status.to_string().into()
}

impl Report {
    /// `worker` hears of answers.
    pub fn new(desk: Arc<Desk>, worker: UnboundedSender<Mail>) -> Report {
        Report { desk, worker, state: Arc::default() }
    }

    /// The newest status; one that was not written yet is forgotten.
    pub fn status(&self, pod: &Arc<Pod>, status: &Value) -> Told {
        self.add(|state| state.ask(pod, status))
    }

    /// The same; the worker hears of the answer, if it has not come.
    pub fn await_status(&self, pod: &Arc<Pod>, status: &Value) -> Told {
        self.add(|state| {
            let told = state.ask(pod, status);
            state.awaited = told != Told::Answered;
            told
        })
    }

    pub fn event(&self, note: Note) {
        self.add(|state| {
            if state.events.len() == EVENTS_MOST {
                state.events.pop_front();
            }
            state.events.push_back(note);
        });
    }

    /// The object may go, once all else is written.
    pub fn delete(&self, pod: Arc<Pod>) {
        self.add(|state| state.delete = Some(pod));
    }

    fn add<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let said = change(&mut state);
        let some = state.status.is_some() || !state.events.is_empty() || state.delete.is_some();
        if some && !std::mem::replace(&mut state.draining, true) {
            drop(state);
            self.desk.tasks.sound(self.clone().drain());
        }
        said
    }

    fn next(&self) -> Option<Next> {
        let mut state = self.state.lock();
        if let Some((pod, status)) = state.status.take() {
            return Some(Next::Status(pod, status));
        }
        if let Some(note) = state.events.pop_front() {
            return Some(Next::Event(note));
        }
        let next = state.delete.take().map(Next::Delete);
        state.draining = next.is_some();
        next
    }

    async fn drain(self) {
        let mut failures = 0;
        while let Some(next) = self.next() {
            let again = match next {
                Next::Event(note) => {
                    self.desk
                        .recorder
                        .record(note.type_, note.reason, &note.message, about(&note))
                        .await;
                    None
                }
                Next::Status(pod, status) => match self.write(&pod, &status).await {
                    Err(error) if transient(&error) => Some((pod, Some(status))),
                    written => {
                        let wrote = written.unwrap_or_default();
                        self.state.lock().wrote = wrote;
                        self.answered(&status);
                        None
                    }
                },
                Next::Delete(pod) => match self.remove(&pod).await {
                    Err(error) if transient(&error) => Some((pod, None)),
                    _ => None,
                },
            };
            let Some((pod, status)) = again else {
                failures = 0;
                continue;
            };
            failures += 1;
            self.desk.world.sleep(RETRY.delay(failures)).await;
            let mut state = self.state.lock();
            match status {
                Some(status) => drop(state.status.get_or_insert((pod, status))),
                None => state.delete = Some(pod),
            }
        }
    }

    /// One that is refused for good is answered too: it is not asked for again as it is, and the
    /// pod can end.
    fn answered(&self, status: &Value) {
        if self.state.lock().answered(status) {
            // The worker may have ended; then nobody needs this.
            let _ = self.worker.send(Mail::Told);
        }
    }

    /// The revision of the write.
    async fn write(&self, pod: &Pod, status: &Value) -> Result<u64, Status> {
        let meta = &pod.metadata;
        let body = json!({"metadata": {"uid": meta.uid}, "status": whole(status)});
        let (kind, resource) = (PatchKind::Strategic, Pod::RESOURCE);
        let client = &self.desk.client;
        let written = client.patch(kind, resource, &meta.namespace, &meta.name, "status", body);
        let written = written.await.map(|written| written.revision);
        if let Err(status) = &written {
            tracing::warn!(pod = %meta.key(), %status, "a status was refused");
        }
        written
    }

    async fn remove(&self, pod: &Pod) -> Result<(), Status> {
        let meta = &pod.metadata;
        let uid = Some(meta.uid.clone());
        let options = DeleteOptions { uid, grace_s: Some(0), ..DeleteOptions::default() };
        let client = &self.desk.client;
        let deleted = client.delete(Pod::RESOURCE, &meta.namespace, &meta.name, &options);
        let deleted = deleted.await.map(|_| ());
        if let Err(status) = &deleted {
            tracing::debug!(pod = %meta.key(), %status, "a pod was not deleted by its node");
        }
        deleted
    }
}

/// Addresses are merged by themselves: a pod with a new one would keep the old one beside it.
fn whole(status: &Value) -> Value {
    let mut status = status.clone();
    for list in ["podIPs", "hostIPs"] {
        if let Some(addresses) = status[list].as_array_mut() {
            addresses.insert(0, json!({"$patch": "replace"}));
        }
    }
    status
}

/// A pod that is gone or another one needs no word any more; all else is tried again.
fn transient(error: &Status) -> bool {
    !matches!(error.code, 404 | 409 | 422)
}

fn about(note: &Note) -> Value {
    let meta = &note.pod.metadata;
    let mut about = json!({
        "kind": "Pod", "apiVersion": "v1", "namespace": meta.namespace, "name": meta.name,
        "uid": meta.uid, "resourceVersion": meta.resource_version,
    });
    if let Some(name) = &note.container {
        let spec = &note.pod.spec;
        let field = if spec.containers.iter().any(|c| c.name == *name) {
            "containers"
        } else if spec.init_containers.iter().any(|c| c.name == *name) {
            "initContainers"
        } else {
            "ephemeralContainers"
        };
        about["fieldPath"] = json!(format!("spec.{field}{{{name}}}"));
    }
    about
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_when_the_answer_to_the_newest_has_come() {
        let mut state = State::default();
        let pod = Arc::new(Pod::default());
        let (first, second) = (json!("first"), json!("second"));
        assert_eq!(state.ask(&pod, &first), Told::Asked);
        assert_eq!(state.ask(&pod, &first), Told::Pending);
        // While it is on its way the facts change, and change back.
        assert!(state.status.take().is_some());
        assert_eq!(state.ask(&pod, &second), Told::Asked);
        state.awaited = true;
        assert!(!state.answered(&first), "that was not what is waited for");
        assert_eq!(state.ask(&pod, &second), Told::Pending);
        assert!(state.status.take().is_some());
        assert_eq!(state.ask(&pod, &first), Told::Asked);
        assert!(!state.answered(&second));
        assert!(state.answered(&first), "the worker hears of it");
        assert_eq!(state.ask(&pod, &first), Told::Answered);
        assert!(!state.answered(&first), "once");
    }

    #[test]
    fn what_somebody_else_said_of_a_condition_is_said_anew() {
        let pod = |revision: &str, ready: &str| -> Arc<Pod> {
            let pod = json!({"metadata": {"name": "a", "resourceVersion": revision},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            Arc::new(skiff_json::from_value(pod).expect("it is a pod"))
        };
        let mut state = State::default();
        let status = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(state.ask(&pod("3", "False"), &status), Told::Asked);
        assert_eq!(state.ask(&pod("4", "False"), &status), Told::Pending);
        state.wrote = 5;
        state.answered(&status);
        // Those are from before.
        assert_eq!(state.ask(&pod("4", "False"), &status), Told::Answered);
        assert_eq!(state.ask(&pod("5", "True"), &status), Told::Answered);
        assert_eq!(state.ask(&pod("9", "False"), &status), Told::Asked);
        assert_eq!(state.ask(&pod("9", "False"), &status), Told::Pending);
        state.wrote = 10;
        state.answered(&status);
        assert_eq!(state.ask(&pod("10", "True"), &status), Told::Answered);
    }
}
