//! Custom resources: keeps the registry's custom kinds those of the definitions in the store.
//!
//! Definitions become kinds before anybody can miss them: a request that finds no kind, or one whose definition has
//! changed since, looks at the store first. The task only makes sure that kinds also go, and watches of them with them.

use crate::Server;
use crate::read::follow::{Fed, feed};
use futures_util::FutureExt;
use skiff_api::follow::{Change, Follower, Health, Input, Start};
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_api::registry::Registry;
use skiff_base::Lock;
use skiff_base::{Time, fault};
use skiff_kinds::apiextensions::customresourcedefinition::served;
use skiff_store::{Currency, ListRequest, Record, Scope};
use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io/";

/// What is known of the definitions, and the kinds that they stand for. One that cannot be read any more keeps the
/// kinds that it had.
#[derive(Default)]
pub struct Customs(Lock<Follower<Arc<str>, Definition>>);

/// One definition, as far as its kinds go.
#[derive(Clone)]
pub struct Definition {
    /// Everything of it that its kinds are made of.
    print: String,
    kinds: Vec<Arc<Kind>>,
}

impl Customs {
    /// How the follower of the definitions fares.
    pub fn health(&self) -> Health {
        self.lock().health()
    }

    fn lock(&self) -> MutexGuard<'_, Follower<Arc<str>, Definition>> {
        self.0.lock()
    }
}

/// Follows the definitions until the task is ended.
pub async fn follow(server: Arc<Server>) {
    refresh(&server);
    match feed(&*server, &server.store, &server.world).await {}
}

impl Fed for Server {
    type Object = Definition;

    fn prefix(&self) -> &str {
        DEFINITIONS
    }

    fn read(&self, record: &Record) -> Result<Definition, String> {
        fault::point("custom-resources");
        read(record, self.customs.lock().get(&*record.key))
    }

    fn delay(&self) -> Duration {
        self.customs.lock().delay()
    }

    fn start(&self, now: Time) -> Start {
        self.customs.lock().start(now)
    }

    fn take(&self, input: Input<Arc<str>, Definition>, now: Time) {
        let mut follower = self.customs.lock();
        let out = follower.take(input, now);
        publish(self, &follower, &out.changes);
    }
}

/// The registry with the kind at that path, if there is one: the definition behind it is looked at first.
pub fn find(
    server: &Server,
    group: &str,
    version: &str,
    plural: &str,
) -> (Arc<Registry>, Option<Arc<Kind>>) {
    let registry = server.kinds.now();
    let found = registry.find(group, version, plural).cloned();
    if found.as_ref().is_some_and(|kind| !kind.is_custom()) {
        return (registry, found);
    }
    let key = format!("{DEFINITIONS}/{plural}.{group}");
    if !learn(server, &key.into()) {
        return (registry, found);
    }
    let registry = server.kinds.now();
    let found = registry.find(group, version, plural).cloned();
    (registry, found)
}

/// Makes the registry's custom kinds those of the definitions as they are now. Kinds that did not change stay
/// the very same values, so that watches of them go on.
pub fn refresh(server: &Server) {
    let (scope, currency) = (Scope::prefix(DEFINITIONS), Currency::Seen);
    let asked = ListRequest { scope, currency, ..ListRequest::default() };
    // What is seen is in memory; a store that has stopped has nothing new to say.
    let Some(Ok(listed)) = server.store.list(asked).now_or_never() else { return };
    let mut keys: BTreeSet<Arc<str>> = listed.records.iter().map(|it| it.key.clone()).collect();
    keys.extend(server.customs.lock().iter().map(|(key, _)| key.clone()));
    for key in &keys {
        learn(server, key);
    }
}

/// Looks at one definition in the store, and says whether it was another one than was known.
fn learn(server: &Server, key: &Arc<str>) -> bool {
    let mut follower = server.customs.lock();
    // Under the lock: what was read before it could be older than what the stream has brought since.
    let record = server.store.get(key);
    let revision = record.as_ref().map(|record| record.revision.0);
    if follower.revision_of(key) == revision {
        return false;
    }
    let found = record.map(|record| (record.revision.0, read(&record, follower.get(key))));
    let out = follower.learn(key.clone(), found);
    publish(server, &follower, &out.changes);
    true
}

/// Swaps the registry if a definition stands for other kinds than before.
fn publish(
    server: &Server,
    follower: &Follower<Arc<str>, Definition>,
    changes: &[Change<Arc<str>, Definition>],
) {
    let print = |definition: &Option<Definition>| definition.as_ref().map(|it| it.print.clone());
    if changes.iter().any(|change| print(&change.old) != print(&change.new)) {
        let all = follower.iter().flat_map(|(_, definition)| definition.kinds.iter().cloned());
        server.kinds.set_custom(without_builtin(server, all.collect()));
    }
}

/// A definition cannot take the place of a built-in kind.
fn without_builtin(server: &Server, mut kinds: Vec<Arc<Kind>>) -> Vec<Arc<Kind>> {
    let registry = server.kinds.now();
    let builtin = |kind: &Arc<Kind>| {
        let found = registry.find(&kind.group, &kind.version, &kind.plural);
        found.is_some_and(|found| !found.is_custom())
    };
    kinds.retain(|kind| !builtin(kind));
    kinds.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
    kinds
}

fn read(record: &Record, old: Option<&Definition>) -> Result<Definition, String> {
    let crd = skiff_json::from_slice(&record.body).map_err(|error| error.to_string())?;
    let crd = Object::new(crd);
    let condition = skiff_kinds::apiextensions::customresourcedefinition::condition;
    let print = format!(
        "{} {:?} {} {} {:?}",
        crd.uid(),
        crd.int("metadata.generation"),
        condition(&crd, "Established"),
        condition(&crd, "Terminating"),
        crd.at("status.acceptedNames"),
    );
    if let Some(old) = old.filter(|old| old.print == print) {
        return Ok(old.clone());
    }
    Ok(match served::kinds(&crd) {
        Ok(kinds) => Definition { print, kinds },
        Err(why) => {
            tracing::error!(key = %record.key, why, "a custom resource is not served: fix its definition");
            Definition { print: why, kinds: Vec::new() }
        }
    })
}
