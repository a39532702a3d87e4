//! Configurations: what is configured of one sort of webhooks, followed from the store and compiled once for each
//! change. A configuration that cannot be read any more stays as it was.

use super::Sort;
use crate::outbound::Outbound;
use crate::outbound::review::Reviewer;
use crate::read::follow::{Fed, feed, step};
use crate::write::admission::conditions::Conditions;
use crate::write::admission::matching::Criteria;
use skiff_api::follow::{Follower, Health, Input, Start};
use skiff_api::object::{at, text};
use skiff_base::{Lock, RwLock, Tasks, Time, World, fault};
use skiff_json::Value;
use skiff_kinds::admissionregistration::expression;
use skiff_store::{ReadError, Record, Store};
use std::sync::Arc;
use std::time::Duration;

/// The time of a webhook that does not say: as the API reference has it.
const TIMEOUT_S: u64 = 10;

/// One webhook, ready to be asked.
pub struct Hook {
    pub sort: Sort,
    pub configuration: Arc<str>,
    pub name: String,
    /// What tells it from all others of its sort.
    pub uid: String,
    pub criteria: Criteria,
    pub conditions: Conditions,
    /// Or why it cannot be called.
    pub reviewer: Result<Reviewer, String>,
    pub ignores_failure: bool,
    pub timeout: Duration,
    /// Nothing comes of asking it in a dry run.
    pub quiet: bool,
    /// The first that it accepts and is known here.
    pub version: Option<&'static str>,
    pub reinvoked: bool,
}

impl Hook {
    fn of(
        sort: Sort,
        outbound: &Outbound,
        configuration: &Arc<str>,
        hook: &Value,
        index: usize,
    ) -> Result<Hook, String> {
        let name = text(hook, "name").to_owned();
        let versions = at(hook, "admissionReviewVersions").and_then(Value::as_array);
        let mut versions = versions.into_iter().flatten().filter_map(Value::as_str);
        Ok(Hook {
            sort,
            configuration: configuration.clone(),
            uid: format!("{configuration}/{name}/{index}"),
            name,
            criteria: Criteria::of_webhook(hook)?,
            conditions: Conditions::of(hook, expression::condition),
            reviewer: Reviewer::of(outbound, at(hook, "clientConfig").unwrap_or(&Value::Null)),
            ignores_failure: text(hook, "failurePolicy") == "Ignore",
            timeout: Duration::from_secs(
                at(hook, "timeoutSeconds").and_then(Value::as_u64).unwrap_or(TIMEOUT_S),
            ),
            quiet: matches!(text(hook, "sideEffects"), "None" | "NoneOnDryRun"),
            version: versions
                .find_map(|it| ["v1", "v1beta1"].into_iter().find(|known| *known == it)),
            reinvoked: text(hook, "reinvocationPolicy") == "IfNeeded",
        })
    }
}

/// All webhooks, in the order in which they are asked.
pub type Hooks = Arc<[Arc<Hook>]>;

/// What is configured of one sort.
pub struct Configurations {
    sort: Sort,
    prefix: String,
    outbound: Outbound,
    follower: Lock<Follower<Arc<str>, Hooks>>,
    /// Of all configurations, by their names.
    all: RwLock<Hooks>,
}

impl Configurations {
    /// Reads all, and follows them in a task that the group cannot do without.
    pub async fn start(
        sort: Sort,
        store: &Arc<dyn Store>,
        outbound: &Outbound,
        world: &World,
        tasks: &Tasks,
    ) -> Result<Arc<Configurations>, ReadError> {
        let prefix = format!("{}.admissionregistration.k8s.io/", sort.plural());
        let (outbound, all) = (outbound.clone(), RwLock::new(Arc::from([])));
        let made = Configurations { sort, prefix, outbound, follower: Lock::default(), all };
        step(&made, store, world).await?;
        let made = Arc::new(made);
        let (followed, store, world) = (made.clone(), store.clone(), world.clone());
        tasks.vital(async move { match feed(&*followed, &store, &world).await {} });
        Ok(made)
    }

    pub fn sort(&self) -> Sort {
        self.sort
    }

    pub fn health(&self) -> Health {
        self.follower.lock().health()
    }

    pub fn hooks(&self) -> Hooks {
        self.all.read().clone()
    }
}

impl Fed for Configurations {
    type Object = Hooks;

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn read(&self, record: &Record) -> Result<Hooks, String> {
        fault::point("webhooks");
        let value: Value =
            skiff_json::from_slice(&record.body).map_err(|error| error.to_string())?;
        let configuration: Arc<str> = text(&value, "metadata.name").into();
        let hooks = at(&value, "webhooks").and_then(Value::as_array).into_iter().flatten();
        let hooks = hooks.enumerate().map(|(index, hook)| {
            Hook::of(self.sort, &self.outbound, &configuration, hook, index).map(Arc::new)
        });
        hooks.collect()
    }

    fn delay(&self) -> Duration {
        self.follower.lock().delay()
    }

    fn start(&self, now: Time) -> Start {
        self.follower.lock().start(now)
    }

    fn take(&self, input: Input<Arc<str>, Hooks>, now: Time) {
        let mut follower = self.follower.lock();
        let out = follower.take(input, now);
        if out.changes.is_empty() {
            return;
        }
        // The follower is ordered by keys, hence by names.
        let all = follower.iter().flat_map(|(_, hooks)| hooks.iter().cloned()).collect();
        *self.all.write() = all;
    }
}
