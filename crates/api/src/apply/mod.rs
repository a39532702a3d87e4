//! Server-side apply and field ownership: who set which field, who may change it, and what an apply
//! makes of an object.
//!
//! Every object carries, in `metadata.managedFields`, one set of fields per manager. A plain write
//! (`update`) gives the fields it changed to its manager and takes them from the others. An apply
//! (`apply`) states all that its manager wants: fields that somebody else owns with another value
//! are conflicts, fields that the manager no longer states are removed. Everything works on trees
//! and is pure; the caller decodes, defaults and validates what comes out. (KEP-555)

mod agent;
mod check;
mod client_side;
mod compare;
mod conflict;
mod contend;
mod element;
mod empty;
mod entries;
mod merge;
mod overlay;
mod owned;
mod place;
mod prune;
mod reconcile;
mod set;

use skiff_json::{Map, Value};

pub use agent::{MAX_MANAGER_BYTES, manager_from_agent};
pub(crate) use check::show;
pub use conflict::{Conflict, Conflicts};
pub use entries::Operation;
pub use overlay::overlay;
pub use set::Set;

use crate::schema::{Ref, Struct};
use compare::{Delta, compare, strip_unowned};
use contend::{Change, Versions, contend};
use entries::Entry;
use place::Place;
pub(crate) use place::find;

/// The object in another version, with that version's schema; `None` when that version does not
/// exist any more.
pub type Convert<'a> = &'a dyn Fn(&Value, &str) -> Option<(Value, Ref<Struct>)>;

/// What a write is, as far as ownership cares.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    pub schema: &'a Struct,
    /// The apiVersion through which the object is written.
    pub version: &'a str,
    /// Empty on the main resource.
    pub subresource: &'a str,
    /// Who writes; empty stands for `unknown`.
    pub manager: &'a str,
    /// RFC 3339 in whole seconds.
    pub now: &'a str,
    /// Fields that this endpoint puts back to what they were, so that nobody gains them by it.
    pub reset: &'a Set,
    /// Without it, entries of other versions stay as they are.
    pub convert: Option<Convert<'a>>,
}

/// Why an apply was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Conflicts(Conflicts),
    /// A 400.
    #[error("{0}")]
    BadRequest(String),
    /// The configuration does not fit the schema; upstream answers 500 with this text.
    #[error("{0}")]
    Unfit(String),
    #[error("{0}")]
    Merge(String),
}

/// The object that an apply makes.
#[derive(Debug)]
pub struct Applied {
    /// Merged and with its managedFields, but neither decoded nor defaulted.
    pub object: Value,
    /// Nothing but ownership can have changed.
    pub same: bool,
}

impl Write<'_> {
    fn root(&self) -> Place<'_> {
        Place::Fields(self.schema)
    }

    fn manager(&self) -> &str {
        if self.manager.is_empty() { "unknown" } else { self.manager }
    }
}

/// Gives the object that is about to be stored its managedFields after a create, an update or a
/// patch other than apply. `old` is `None` on create.
pub fn update(write: &Write, old: Option<&Value>, new: &mut Value) {
    let sent = take_managed(new);
    let stored = old.map_or(&[][..], managed);
    let mut entries = match known(write, sent, stored, old.is_some()) {
        Some(entries) => entries,
        None => return,
    };
    let empty;
    let before = match old {
        Some(old) => old,
        None => {
            empty = empty::empty(write.schema);
            &empty
        }
    };
    match record(write, before, new, &mut entries) {
        Ok(()) => put_managed(new, entries::encode(entries)),
        // The comparison needs an object that fits its schema. One that does not is stored only by
        // older rules; its ownership stays as it was.
        Err(_) => put_managed(new, stored.to_vec()),
    }
}

/// The entries that a plain write starts from. `None`: ownership is not tracked for this object.
fn known(write: &Write, sent: Option<Value>, stored: &[Value], exists: bool) -> Option<Vec<Entry>> {
    let sent = match sent {
        Some(Value::Array(list)) if write.subresource.is_empty() => Some(list),
        _ => None,
    };
    // A list that cannot be read counts as none: ownership must never stand in the way of a write.
    let entries = match sent {
        Some(list) if entries::is_reset(&list) => Vec::new(),
        Some(list) if list == stored => entries::decode(list).unwrap_or_default(),
        Some(list) => match entries::decode_foreign(&list) {
            Ok(entries) if !entries.is_empty() => entries,
            // A client that does not understand managedFields must not delete them by accident.
            _ => entries::decode(stored.to_vec()).unwrap_or_default(),
        },
        None => entries::decode(stored.to_vec()).unwrap_or_default(),
    };
    // Who dropped all ownership of an existing object does not want it back by the next write.
    (!entries.is_empty() || !exists).then_some(entries)
}

/// Moves what changed between two objects to the writing manager.
fn record(write: &Write, old: &Value, new: &Value, entries: &mut Vec<Entry>) -> Result<(), String> {
    reconcile(write, entries);
    let delta = compare(old, new, write.root())?.without(write.reset);
    let versions = Versions { write, old, new };
    for entry in entries.iter_mut() {
        if entry.version == write.version {
            take(entry, &delta);
            continue;
        }
        match versions.change(&entry.version)? {
            Change::Seen(delta) => take(entry, &delta),
            Change::Unseen => {}
            Change::Gone => entry.set = Set::default(),
        }
    }
    entries.retain(|entry| !entry.set.is_empty());
    let gained = delta.set_anew();
    if !gained.is_empty() {
        let (manager, time) = (write.manager(), Some(write.now.to_string()));
        match entries
            .iter_mut()
            .find(|e| e.is(Operation::Update, manager, write.version, write.subresource))
        {
            Some(entry) => {
                entry.set.union(gained);
                entry.time = time;
            }
            None => entries.push(Entry {
                manager: manager.to_string(),
                operation: Operation::Update,
                version: write.version.to_string(),
                subresource: write.subresource.to_string(),
                time,
                set: gained,
            }),
        }
    }
    entries::bound(entries);
    Ok(())
}

fn take(entry: &mut Entry, delta: &Delta) {
    for set in [&delta.modified, &delta.added, &delta.removed] {
        if !set.is_empty() {
            entry.set.subtract(set);
        }
    }
}

/// Fields whose topology changed with a new schema are owned as the new schema says. Built-in kinds
/// never do that.
fn reconcile(write: &Write, entries: &mut [Entry]) {
    if !write.schema.name.is_empty() {
        return;
    }
    for entry in entries.iter_mut().filter(|entry| entry.version == write.version) {
        reconcile::reconcile(&mut entry.set, write.root());
    }
}

/// Merges an applied configuration into the live object, or into nothing. `live` is `None` when
/// there is none.
pub fn apply(
    write: &Write,
    live: Option<&Value>,
    config: &Value,
    force: Force,
) -> Result<Applied, Error> {
    if config.get("metadata").and_then(|m| m.get("managedFields")).is_some_and(|m| !m.is_null()) {
        return Err(Error::BadRequest("metadata.managedFields must be nil".to_string()));
    }
    let errors = check::check(config, write.schema);
    if !errors.is_empty() {
        let message = check::message(&errors);
        let what = describe(config);
        return Err(Error::Unfit(format!(
            "failed to create typed patch object ({what}): {message}"
        )));
    }
    let empty;
    let live_object = match live {
        Some(live) => live,
        None => {
            empty = empty::empty(write.schema);
            &empty
        }
    };
    let mut entries = entries::decode(managed(live_object).to_vec())
        .map_err(|e| Error::Merge(format!("failed to decode managed fields: {e}")))?;
    if let (true, Some(live)) = (entries.is_empty(), live) {
        let before = Write { manager: "before-first-apply", ..*write };
        record(&before, &empty::empty(write.schema), live, &mut entries).map_err(Error::Merge)?;
    }
    let mut object = merge_owned(write, live_object, config, &mut entries, force)?;
    if write.manager() == client_side::KUBECTL {
        client_side::refresh(&mut object, config);
    }
    let same = live.is_some_and(|live| same_but_managed(live, &object));
    if !same {
        let (manager, subresource) = (write.manager(), write.subresource);
        if let Some(entry) =
            entries.iter_mut().find(|e| e.is(Operation::Apply, manager, write.version, subresource))
        {
            entry.time = Some(write.now.to_string());
        }
    }
    take_managed(&mut object);
    put_managed(&mut object, entries::encode(entries));
    Ok(Applied { object, same })
}

/// May an apply take fields from their owners?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    No,
    Yes,
}

fn merge_owned(
    write: &Write,
    live: &Value,
    config: &Value,
    entries: &mut Vec<Entry>,
    force: Force,
) -> Result<Value, Error> {
    let root = write.root();
    reconcile(write, entries);
    let mut merged = merge::merge(live, config, root)
        .map_err(|e| Error::Merge(format!("failed to merge config: {e}")))?;
    let mut stated = owned::owned(config, root);
    stated.subtract_deep(write.reset);
    let (manager, subresource) = (write.manager(), write.subresource);
    let mine =
        entries.iter().position(|e| e.is(Operation::Apply, manager, write.version, subresource));
    let last = mine.map(|at| entries.remove(at));
    if let Some(last) = last.as_ref().filter(|last| !last.set.is_empty()) {
        merged = prune_last(write, merged, config, last, &stated, entries);
    }
    let delta = compare(live, &merged, root).map_err(Error::Merge)?.without(write.reset);
    contend(&Versions { write, old: live, new: &merged }, entries, delta, force)?;
    strip_unowned(&mut stated);
    if !stated.is_empty() {
        entries.push(Entry {
            manager: manager.to_string(),
            operation: Operation::Apply,
            version: write.version.to_string(),
            subresource: subresource.to_string(),
            time: last.and_then(|last| last.time),
            set: stated,
        });
    }
    Ok(merged)
}

/// Removes what the manager applied last and does not state any more. What it applied in another
/// version is looked for in that version; if nobody can convert, or that version is gone, it stays.
fn prune_last(
    write: &Write,
    merged: Value,
    config: &Value,
    last: &Entry,
    stated: &Set,
    entries: &[Entry],
) -> Value {
    if last.version == write.version && last.set.is_subset(stated) {
        return merged;
    }
    let mut managed = Set::default();
    for entry in entries {
        managed.union(entry.set.clone());
    }
    if last.version == write.version {
        managed.union(stated.clone());
        return prune::prune(merged, &last.set, &managed, write.root());
    }
    let Some(convert) = write.convert else { return merged };
    let (Some((there, schema)), Some((config, _))) =
        (convert(&merged, &last.version), convert(config, &last.version))
    else {
        return merged;
    };
    let root = Place::Fields(&schema);
    managed.union(owned::owned(&config, root));
    let pruned = prune::prune(there, &last.set, &managed, root);
    convert(&pruned, write.version).map_or(merged, |(pruned, _)| pruned)
}

/// Puts the stored times back where a write changed nothing but times, so that it need not be
/// stored.
pub fn keep_times(old: &Value, new: &mut Value) {
    let same = same_but_managed(old, new)
        && !managed(new).is_empty()
        && entries::same_but_times(managed(old), managed(new));
    if same {
        put_managed(new, managed(old).to_vec());
    }
}

fn managed(object: &Value) -> &[Value] {
    let list =
        object.get("metadata").and_then(|m| m.get("managedFields")).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

fn take_managed(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

fn put_managed(object: &mut Value, list: Vec<Value>) {
    let Some(object) = object.as_object_mut() else { return };
    if list.is_empty() {
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.remove("managedFields");
        }
        return;
    }
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("managedFields".to_string(), Value::Array(list));
    }
}

/// Are two objects the same but for their managedFields?
fn same_but_managed(a: &Value, b: &Value) -> bool {
    fn others<'v>(
        map: &'v Value,
        skip: &'static str,
    ) -> impl Iterator<Item = (&'v String, &'v Value)> {
        map.as_object().into_iter().flatten().filter(move |(key, _)| *key != skip)
    }
    let metadata = |object| Value::get(object, "metadata").unwrap_or(&Value::Null);
    let pairs = |a: &Value, b: &Value, skip| {
        let (mut x, mut y) = (others(a, skip), others(b, skip));
        loop {
            match (x.next(), y.next()) {
                (None, None) => return true,
                (Some((ka, va)), Some((kb, vb))) if ka == kb && place::same(va, vb) => {}
                _ => return false,
            }
        }
    };
    pairs(a, b, "metadata") && pairs(metadata(a), metadata(b), "managedFields")
}

/// `namespace/name; apps/v1, Kind=Deployment`, as messages name an object.
fn describe(object: &Value) -> String {
    let text = |at: Option<&Value>| at.and_then(Value::as_str).unwrap_or_default().to_string();
    let metadata = object.get("metadata");
    let version = text(object.get("apiVersion"));
    let core = if version.contains('/') { "" } else { "/" };
    format!(
        "{}/{}; {core}{version}, Kind={}",
        text(metadata.and_then(|m| m.get("namespace"))),
        text(metadata.and_then(|m| m.get("name"))),
        text(object.get("kind")),
    )
}

#[cfg(test)]
mod tests;
