//! The log, replayed: what there was at each revision, and each body decoded once for all checkers.

use crate::history::{Logged, Record};
use skiff_json::Value;
use std::collections::BTreeMap;

/// All objects at one revision, by key: the revision of each.
pub type Revisions<'a> = BTreeMap<&'a str, u64>;

/// What the log says that there is after its writes up to `revision`.
pub fn at(log: &[Logged], revision: u64) -> Revisions<'_> {
    let mut all = Revisions::new();
    for logged in log.iter().take_while(|logged| logged.revision <= revision) {
        match logged.new {
            Some(_) => all.insert(&logged.key, logged.revision),
            None => all.remove(&*logged.key),
        };
    }
    all
}

/// A record whose bodies are decoded.
pub struct Story<'a> {
    pub record: &'a Record,
    /// What each entry of the log put; null for a delete, and for what is no JSON.
    pub bodies: Vec<Value>,
}

/// Objects by their keys.
pub type Objects<'a> = BTreeMap<&'a str, &'a Value>;

impl<'a> Story<'a> {
    pub fn new(record: &'a Record) -> Story<'a> {
        let body = |logged: &Logged| {
            let new = logged.new.as_deref();
            new.and_then(|body| skiff_json::from_slice(body).ok()).unwrap_or(Value::Null)
        };
        Story { record, bodies: record.log.iter().map(body).collect() }
    }

    /// Tells each write, with all objects of these resources as they were before it; of all, when none is named.
    pub fn replay<'s>(
        &'s self,
        resources: &[&str],
        mut each: impl FnMut(&'s Logged, &'s Value, &Objects<'s>),
    ) -> Objects<'s> {
        let mut all = Objects::new();
        for (logged, body) in self.record.log.iter().zip(&self.bodies) {
            if !resources.is_empty() && !resources.contains(&resource(&logged.key)) {
                continue;
            }
            each(logged, body, &all);
            match body {
                Value::Null => all.remove(&*logged.key),
                body => all.insert(&logged.key, body),
            };
        }
        all
    }

    /// The objects of these resources at the end.
    pub fn last(&self, resources: &[&str]) -> Objects<'_> {
        self.replay(resources, |_, _, _| {})
    }
}

/// The first part of a key.
pub fn resource(key: &str) -> &str {
    key.split_once('/').map_or(key, |(resource, _)| resource)
}

/// The namespace of a key.
pub fn namespace(key: &str) -> &str {
    key.split('/').nth(1).unwrap_or("")
}

/// Text at a pointer; empty where there is none.
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// A number at a pointer; 0 where there is none.
pub fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The items at a pointer.
pub fn items<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// What a condition of the status says; empty where it is not there.
pub fn condition<'v>(value: &'v Value, type_: &str) -> &'v str {
    let mut found = items(value, "/status/conditions").filter(|it| text(it, "/type") == type_);
    found.next().map_or("", |it| text(it, "/status"))
}

/// Whether somebody has asked for its end.
pub fn deleting(value: &Value) -> bool {
    value.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether a pod has ended for good.
pub fn ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Whether a pod serves: it is ready, and nobody has asked for its end.
pub fn healthy(pod: &Value) -> bool {
    condition(pod, "Ready") == "True" && !deleting(pod) && !ended(pod)
}

/// The processor time that a pod asks for, in thousandths.
pub fn cpu(pod_spec: &Value) -> i64 {
    items(pod_spec, "/containers").map(|it| amount(text(it, "/resources/requests/cpu"))).sum()
}

/// An amount of processors in thousandths: `2` or `200m`.
pub fn amount(text: &str) -> i64 {
    match text.strip_suffix('m') {
        Some(thousandths) => thousandths.parse().unwrap_or(0),
        None => text.parse::<i64>().unwrap_or(0) * 1000,
    }
}

/// Whether a selector of labels, of which only equality is asked for, takes this object.
pub fn selects(selector: Option<&Value>, object: &Value) -> bool {
    let Some(wanted) = selector.and_then(|it| it["matchLabels"].as_object()) else { return false };
    wanted.iter().all(|(name, value)| object["metadata"]["labels"].get(name) == Some(value))
}

/// Who controls it: kind and uid.
pub fn controller(object: &Value) -> Option<(&str, &str)> {
    let owner = items(object, "/metadata/ownerReferences").find(|it| it["controller"] == true)?;
    Some((text(owner, "/kind"), text(owner, "/uid")))
}
