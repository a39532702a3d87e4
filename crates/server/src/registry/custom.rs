//! Custom resources: keeps the registry's custom kinds those of the definitions in the store.
//!
//! Definitions become kinds before anybody can miss them: a request that finds no kind, or one whose definition has
//! changed since, looks at the store first. The task only makes sure that kinds also go, and watches of them with them.

use crate::Server;
use futures_util::FutureExt;
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_api::registry::Registry;
use skiff_kinds::apiextensions::customresourcedefinition::served;
use skiff_store::{Currency, ListRequest, Record, Revision, Scope, WatchRequest, WatchStart};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io/";

/// What is known of the definitions: the revision that each was read at, and the kinds that it stands for.
#[derive(Default)]
pub struct Customs(Mutex<BTreeMap<Arc<str>, Definition>>);

#[derive(Clone)]
struct Definition {
    revision: Revision,
    /// Everything of it that its kinds are made of.
    print: String,
    kinds: Vec<Arc<Kind>>,
}

/// Follows the definitions until its task is ended, or the store is.
pub async fn follow(server: Arc<Server>) {
    refresh(&server);
    while server.store.stopped().now_or_never().is_none() {
        let asked = WatchRequest {
            scope: Scope::prefix(DEFINITIONS),
            facet: None,
            start: WatchStart::Initial,
        };
        // The store ends only with the server.
        let Ok(mut events) = server.store.watch(asked) else { return };
        while let Some(Ok(_)) = events.next().await {
            refresh(&server);
        }
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
    let stored = server.store.get(&key).map(|record| record.revision);
    let known = server.customs.0.lock().expect("no holder of this lock panics");
    let current = known.get(&*key).map(|definition| definition.revision);
    drop(known);
    if stored == current {
        return (registry, found);
    }
    refresh(server);
    let registry = server.kinds.now();
    let found = registry.find(group, version, plural).cloned();
    (registry, found)
}

/// Makes the registry's custom kinds those of the definitions as they are now. Kinds that did not change stay
/// the very same values, so that watches of them go on.
pub fn refresh(server: &Server) {
    let mut known = server.customs.0.lock().expect("no holder of this lock panics");
    let (scope, currency) = (Scope::prefix(DEFINITIONS), Currency::Seen);
    let asked = ListRequest { scope, currency, ..ListRequest::default() };
    // What is seen is in memory; a store that has stopped has nothing new to say.
    let Some(Ok(listed)) = server.store.list(asked).now_or_never() else { return };
    let same = listed.records.len() == known.len()
        && listed.records.iter().all(|it| {
            known.get(&it.key).is_some_and(|definition| definition.revision == it.revision)
        });
    if same {
        return;
    }
    let mut after = BTreeMap::new();
    let mut changed = false;
    for record in &listed.records {
        let old = known.get(&record.key);
        let definition = match old.filter(|old| old.revision == record.revision) {
            Some(old) => old.clone(),
            None => read(record, old),
        };
        changed |= old.map(|old| &old.print) != Some(&definition.print);
        after.insert(record.key.clone(), definition);
    }
    changed |= known.keys().any(|key| !after.contains_key(key));
    *known = after;
    if changed {
        let all = known.values().flat_map(|definition| definition.kinds.iter().cloned());
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

fn read(record: &Record, old: Option<&Definition>) -> Definition {
    let unreadable = |why: String| {
        tracing::error!(key = %record.key, why, "a custom resource is not served: fix its definition");
        Definition { revision: record.revision, print: why, kinds: Vec::new() }
    };
    let crd = match serde_json::from_slice(&record.body) {
        Ok(value) => Object::new(value),
        Err(error) => return unreadable(error.to_string()),
    };
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
        return Definition { revision: record.revision, ..old.clone() };
    }
    match served::kinds(&crd) {
        Ok(kinds) => Definition { revision: record.revision, print, kinds },
        Err(why) => unreadable(why),
    }
}
