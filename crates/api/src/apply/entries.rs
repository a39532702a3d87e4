//! `metadata.managedFields`: reading, writing, ordering and bounding its entries.
//!
//! One entry says which manager owns which fields by which operation, in which version, through
//! which subresource. This file knows the entries; who gains or loses fields is decided in
//! `mod.rs`.

use skiff_json::{Map, Value};

use super::set::Set;

/// Entries of updates beyond this number are merged, oldest first, so that an object that many
/// programs touch once does not grow for ever. (KEP-555, "Pruning managedFields")
const MAX_UPDATE_ENTRIES: usize = 10;

/// The manager that merged entries of old updates stand under.
const ANCIENT: &str = "ancient-changes";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn text(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// One entry of managedFields.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub version: String,
    pub subresource: String,
    /// RFC 3339 in whole seconds, as stored.
    pub time: Option<String>,
    pub set: Set,
}

impl Entry {
    /// Do two entries stand for the same manager? Applies are one manager in all versions.
    pub fn is(
        &self,
        operation: Operation,
        manager: &str,
        version: &str,
        subresource: &str,
    ) -> bool {
        self.operation == operation
            && self.manager == manager
            && self.subresource == subresource
            && (operation == Operation::Apply || self.version == version)
    }

    /// As a conflict names it: `"kubectl" using apps/v1`.
    pub fn shown(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.version));
        }
        out
    }
}

/// Reads the entries of a list that this program stored; their sets are in the stored form already.
pub(super) fn decode(list: Vec<Value>) -> Result<Vec<Entry>, String> {
    list.into_iter().enumerate().map(|(i, entry)| decode_one(i, entry)).collect()
}

/// Reads entries that a client wrote, and puts their sets in the stored form.
pub(super) fn decode_foreign(list: &[Value]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::with_capacity(list.len());
    for (i, value) in list.iter().enumerate() {
        let mut entry = decode_one(i, value.clone())?;
        entry.set = Set::decode(&entry.set.encode())?;
        match entries.iter_mut().find(|other: &&mut Entry| {
            other.is(entry.operation, &entry.manager, &entry.version, &entry.subresource)
        }) {
            Some(twin) => *twin = entry,
            None => entries.push(entry),
        }
    }
    Ok(entries)
}

fn decode_one(i: usize, entry: Value) -> Result<Entry, String> {
    let Value::Object(mut entry) = entry else {
        return Err(format!("managed fields entry {i} is not an object"));
    };
    let mut text = |key: &str| match entry.remove(key) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".to_string()),
    };
    let version = text("apiVersion");
    if version.is_empty() {
        return Err("apiVersion must not be empty".to_string());
    }
    match text("fieldsType").as_str() {
        "FieldsV1" => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
        other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {i}")),
    }
    let (manager, subresource, time) = (text("manager"), text("subresource"), text("time"));
    let set = match entry.remove("fieldsV1") {
        Some(Value::Object(set)) => Set(set),
        None | Some(Value::Null) => Set::default(),
        Some(_) => return Err("error decoding set: expected an object".to_string()),
    };
    let time = (!time.is_empty()).then_some(time);
    Ok(Entry { manager, operation, version, subresource, time, set })
}

/// The list as it is stored: applies first, then by time, manager, version and subresource.
pub(super) fn encode(mut entries: Vec<Entry>) -> Vec<Value> {
    entries.sort_by(|a, b| {
        (a.operation, &a.time, &a.manager, &a.version, &a.subresource).cmp(&(
            b.operation,
            &b.time,
            &b.manager,
            &b.version,
            &b.subresource,
        ))
    });
    entries.into_iter().map(encode_one).collect()
}

fn encode_one(entry: Entry) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_string(), value);
    };
    put("apiVersion", entry.version.into());
    put("fieldsType", "FieldsV1".into());
    put("fieldsV1", entry.set.encode());
    if !entry.manager.is_empty() {
        put("manager", entry.manager.into());
    }
    put("operation", entry.operation.text().into());
    if !entry.subresource.is_empty() {
        put("subresource", entry.subresource.into());
    }
    if let Some(time) = entry.time {
        put("time", time.into());
    }
    Value::Object(out)
}

/// Merges the oldest updates of one version into one entry until there are few enough.
pub(super) fn bound(entries: &mut Vec<Entry>) {
    let mut updates = entries.iter().filter(|e| e.operation == Operation::Update).count();
    if updates <= MAX_UPDATE_ENTRIES {
        return;
    }
    let mut oldest: Vec<Entry> = Vec::with_capacity(updates);
    let mut rest = Vec::with_capacity(entries.len());
    for entry in entries.drain(..) {
        if entry.operation == Operation::Update { &mut oldest } else { &mut rest }.push(entry);
    }
    oldest.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
    let mut kept: Vec<Entry> = Vec::with_capacity(oldest.len());
    for entry in oldest {
        let bucket = kept.iter_mut().find(|other| other.version == entry.version);
        match bucket {
            Some(bucket) if updates > MAX_UPDATE_ENTRIES => {
                if bucket.manager != ANCIENT || !bucket.subresource.is_empty() {
                    bucket.manager = ANCIENT.to_string();
                    bucket.subresource.clear();
                }
                bucket.set.union(entry.set);
                bucket.time = entry.time;
                updates -= 1;
            }
            _ => kept.push(entry),
        }
    }
    rest.extend(kept);
    *entries = rest;
}

/// Does a request ask to forget all ownership, by an empty list or a list of one empty entry?
pub(super) fn is_reset(list: &[Value]) -> bool {
    match list {
        [] => true,
        [Value::Object(entry)] => entry.values().all(|value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            _ => false,
        }),
        _ => false,
    }
}

/// Are two lists the same but for the times of their entries?
pub(super) fn same_but_times(a: &[Value], b: &[Value]) -> bool {
    fn fields(entry: &Value) -> impl Iterator<Item = (&String, &Value)> {
        entry.as_object().into_iter().flatten().filter(|(key, _)| *key != "time")
    }
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| fields(a).eq(fields(b)))
}
