//! Budgets are never broken by us: each eviction that the API allows takes one of what the budget had left, and the
//! pods that serve are still as many as it wants, unless others went by themselves a moment before.

use super::state::{self, Objects, Story, namespace, number, text};
use crate::history::Logged;
use skiff_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// So long it may take until all know that a pod went.
const KNOWN: Duration = Duration::from_secs(30);

pub fn check(story: &Story) -> Vec<String> {
    let mut found = Vec::new();
    // When a pod of a namespace last ceased to serve without an eviction.
    let mut went: BTreeMap<&str, Duration> = BTreeMap::new();
    story.replay(&["pods", "poddisruptionbudgets.policy"], |logged, new, all| {
        let Some(old) = all.get(&*logged.key) else { return };
        if logged.key.starts_with("pods/") {
            if state::healthy(old) && (new.is_null() || !state::healthy(new)) {
                went.insert(namespace(&logged.key), logged.at);
            }
            return;
        }
        for pod in evicted(old, new) {
            let (had, has) = (
                number(old, "/status/disruptionsAllowed"),
                number(new, "/status/disruptionsAllowed"),
            );
            let budget = &logged.key;
            if had < 1 || has != had - 1 {
                found.push(format!("{budget} let {pod} go, and allowed {had}, then {has}"));
            }
            let lately = went.get(namespace(budget)).is_some_and(|at| logged.at < *at + KNOWN);
            if let Some(short) = short(logged, old, new, all).filter(|_| !lately) {
                found.push(short);
            }
        }
    });
    found
}

/// Pods whose eviction this write allowed.
fn evicted<'v>(old: &'v Value, new: &'v Value) -> Vec<&'v str> {
    let names = |it: &'v Value| it.pointer("/status/disruptedPods").and_then(Value::as_object);
    let had = names(old);
    let new = names(new).into_iter().flatten().map(|(name, _)| &**name);
    new.filter(|name| had.is_none_or(|had| !had.contains_key(name))).collect()
}

/// Why too few are left, if they are.
fn short(logged: &Logged, old: &Value, new: &Value, all: &Objects) -> Option<String> {
    let prefix = format!("pods/{}/", namespace(&logged.key));
    let gone = new.pointer("/status/disruptedPods").and_then(Value::as_object)?;
    let covered = all.iter().filter(|(key, pod)| {
        key.starts_with(&prefix) && state::selects(old.pointer("/spec/selector"), pod)
    });
    let serve = covered
        .filter(|(_, pod)| state::healthy(pod) && !gone.contains_key(text(pod, "/metadata/name")));
    let (left, wanted) = (serve.count() as i64, number(old, "/status/desiredHealthy"));
    let (budget, at) = (&logged.key, logged.revision);
    (left < wanted).then(|| format!("{budget} wants {wanted}, an eviction at {at} leaves {left}"))
}
