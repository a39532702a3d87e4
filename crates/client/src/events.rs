//! Events: what parts of the cluster tell users about objects, merged so that a repeated one is a count, not a flood
//! (API reference: Event v1). Parts that say what they did write the newer form, of `events.k8s.io`.

use crate::{Client, PatchKind};
use skiff_api::view::Resource;
use skiff_base::Lock;
use skiff_base::{Time, World};
use skiff_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const EVENTS: Resource = Resource::core("events", "Event");
const ACTED: Resource = Resource::of("events.k8s.io", "v1", "events", "Event");
/// How many different events are remembered for merging.
const REMEMBERED_MOST: usize = 4096;
/// An event that comes again after this time is a new one.
const MERGE_WITHIN: Duration = Duration::from_secs(600);
/// Events about one object: this many at once, then one every `REFILL`.
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(300);
/// Bytes of a note; a longer one is cut, since `events.k8s.io` refuses it.
const NOTE_MOST: usize = 1024;
const CUT: &str = " ...";

/// Records events of one source.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    world: World,
    component: Arc<str>,
    host: Arc<str>,
    state: Arc<Lock<State>>,
}

#[derive(Default)]
struct State {
    seen: HashMap<String, Seen>,
    order: VecDeque<String>,
    /// Per object: events left, and when that was reckoned.
    budgets: HashMap<String, (f64, Duration)>,
}

#[derive(Clone)]
struct Seen {
    namespace: String,
    name: String,
    count: u64,
    last: Duration,
}

/// One occurrence. Without an action it is written in the form of the core group.
struct Word<'a> {
    action: &'a str,
    type_: &'a str,
    reason: &'a str,
    message: &'a str,
}

/// What to do about one occurrence.
enum Step {
    Create(String),
    Count(Seen),
    Drop,
}

impl Recorder {
    pub fn new(client: Client, world: World, component: &str) -> Recorder {
        Recorder {
            client,
            world,
            component: component.into(),
            host: "".into(),
            state: Arc::default(),
        }
    }

    /// Events of a part that runs on a node carry the node's name.
    pub fn on_host(mut self, host: &str) -> Recorder {
        self.host = host.into();
        self
    }

    /// Records one event. Failures are logged: nothing may depend on events.
    pub async fn record(&self, type_: &str, reason: &str, message: &str, about: Value) {
        self.put(&Word { action: "", type_, reason, message }, about).await;
    }

    /// The same in the newer form: what this part did, or tried to do, about the object.
    pub async fn acted(
        &self,
        action: &str,
        type_: &str,
        reason: &str,
        message: &str,
        about: Value,
    ) {
        self.put(&Word { action, type_, reason, message }, about).await;
    }

    async fn put(&self, word: &Word<'_>, about: Value) {
        let Word { action, type_, reason, message } = word;
        // The same word about the same object is the same event, whatever the object's revision.
        let mut object = about.clone();
        if let Some(object) = object.as_object_mut() {
            object.remove("resourceVersion");
        }
        let key = format!("{action}\u{0}{type_}\u{0}{reason}\u{0}{message}\u{0}{object}");
        let step = self.step(&key, &about);
        let outcome = match step {
            Step::Drop => return,
            Step::Count(seen) if action.is_empty() => self.count(&seen).await,
            Step::Count(seen) => self.lengthen(&seen).await,
            Step::Create(name) => self.create(&name, word, about).await,
        };
        if let Err(status) = outcome {
            if status.code == 404 {
                self.state.lock().seen.remove(&key);
            }
            tracing::debug!(%status, reason, message, "an event was not recorded");
        }
    }

    fn step(&self, key: &str, about: &Value) -> Step {
        let now = self.world.uptime();
        let text = |field: &str| about.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
        let mut state = self.state.lock();
        let budget =
            state.budgets.entry(text("uid") + &text("name")).or_insert((f64::from(BURST), now));
        let earned = (now.saturating_sub(budget.1)).as_secs_f64() / REFILL.as_secs_f64();
        *budget = ((budget.0 + earned).min(f64::from(BURST)), now);
        if budget.0 < 1.0 {
            return Step::Drop;
        }
        budget.0 -= 1.0;
        if let Some(seen) =
            state.seen.get_mut(key).filter(|s| now.saturating_sub(s.last) < MERGE_WITHIN)
        {
            seen.count += 1;
            seen.last = now;
            return Step::Count(seen.clone());
        }
        let stamp = self.world.now().as_nanosecond() as u64;
        let name = format!("{}.{stamp:x}", text("name"));
        let namespace = match text("namespace") {
            empty if empty.is_empty() => "default".to_owned(),
            namespace => namespace,
        };
        let seen = Seen { namespace, name: name.clone(), count: 1, last: now };
        if state.seen.insert(key.to_owned(), seen).is_none() {
            state.order.push_back(key.to_owned());
        }
        if state.order.len() > REMEMBERED_MOST
            && let Some(oldest) = state.order.pop_front()
        {
            state.seen.remove(&oldest);
        }
        if state.budgets.len() > REMEMBERED_MOST {
            state.budgets.retain(|_, (left, _)| *left < f64::from(BURST) - 1.0);
        }
        Step::Create(name)
    }

    async fn count(&self, seen: &Seen) -> Result<(), skiff_api::Status> {
        let body = json!({"count": seen.count, "lastTimestamp": seconds(self.world.now())});
        self.client
            .patch(PatchKind::Merge, EVENTS, &seen.namespace, &seen.name, "", body)
            .await
            .map(|_| ())
    }

    async fn lengthen(&self, seen: &Seen) -> Result<(), skiff_api::Status> {
        let series = json!({"count": seen.count, "lastObservedTime": micros(self.world.now())});
        let (kind, body) = (PatchKind::Strategic, json!({"series": series}));
        self.client.patch(kind, ACTED, &seen.namespace, &seen.name, "", body).await.map(|_| ())
    }

    async fn create(
        &self,
        name: &str,
        word: &Word<'_>,
        about: Value,
    ) -> Result<(), skiff_api::Status> {
        let namespace = match about.get("namespace").and_then(Value::as_str) {
            None | Some("") => "default",
            Some(namespace) => namespace,
        };
        let (resource, mut body) = match word.action {
            "" => (EVENTS, self.core_form(word, &about)),
            _ => (ACTED, self.acted_form(word, &about)),
        };
        body["apiVersion"] = json!(resource.api_version());
        body["kind"] = json!(resource.kind);
        body["metadata"] = json!({"name": name, "namespace": namespace});
        self.client.create(resource, namespace, body).await.map(|_| ())
    }

    fn core_form(&self, word: &Word<'_>, about: &Value) -> Value {
        let now = seconds(self.world.now());
        let mut source = json!({"component": &*self.component});
        if !self.host.is_empty() {
            source["host"] = json!(&*self.host);
        }
        json!({
            "involvedObject": about, "reason": word.reason, "message": word.message,
            "type": word.type_, "source": source, "firstTimestamp": now, "lastTimestamp": now,
            "count": 1, "reportingComponent": &*self.component, "reportingInstance": &*self.host,
        })
    }

    fn acted_form(&self, word: &Word<'_>, about: &Value) -> Value {
        json!({
            "regarding": about, "reason": word.reason, "note": cut(word.message),
            "type": word.type_, "action": word.action, "eventTime": micros(self.world.now()),
            "reportingController": &*self.component,
            "reportingInstance": format!("{}-{}", self.component, self.host),
        })
    }
}

fn cut(note: &str) -> String {
    if note.len() <= NOTE_MOST {
        return note.to_owned();
    }
    note[..note.floor_char_boundary(NOTE_MOST - CUT.len())].to_owned() + CUT
}

fn micros(time: Time) -> String {
    skiff_api::time::format(time, skiff_api::time::Precision::Micros)
}

/// RFC 3339 in whole seconds.
fn seconds(time: Time) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An ObjectReference to an object, as events carry it.
pub fn reference(resource: Resource, meta: &skiff_api::view::Meta) -> Value {
    let mut about = json!({
        "kind": resource.kind, "apiVersion": resource.api_version(), "name": meta.name, "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    });
    if resource.namespaced {
        about["namespace"] = json!(meta.namespace);
    }
    about
}
