//! Changes: what a plan wants done, as data. The writer performs them in order and stops at the first failure.

use skiff_api::view::{Key, Resource, View};
use skiff_client::{DeleteOptions, PatchKind, events};
use skiff_json::Value;

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Change {
    Create {
        resource: Resource,
        namespace: String,
        body: Value,
    },
    /// A patch of the object, or of its `status` when `subresource` says so. With `uid`, only of that very object.
    Patch {
        kind: PatchKind,
        resource: Resource,
        key: Key,
        subresource: &'static str,
        body: Value,
    },
    /// Sets fields of an object (or of its part): it is read, the fields are put in (RFC 7386), and it is updated,
    /// since upstream's policy lets most controllers update and not patch. With `uid` and `resourceVersion` in
    /// the body, only
    /// of that very object at that revision.
    Merge {
        resource: Resource,
        key: Key,
        subresource: &'static str,
        body: Value,
    },
    Delete {
        resource: Resource,
        key: Key,
        options: DeleteOptions,
    },
    /// An Event about an object, for users to read.
    Event(Note),
    /// A change whose outcome users hear of in an Event.
    Told(Box<Change>, Tell),
    /// Changes that do not depend on each other. They begin with one and double with every success, so that what is
    /// refused is refused once and not a hundred times; the first failure ends them.
    Together(Vec<Change>),
}

/// The Events that follow a change. `{name}` stands for the name of the object that was written, `{error}` for the
/// refusal; an empty reason is no Event.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tell {
    pub about: Value,
    /// Reason and message of a `Normal` Event.
    pub done: (&'static str, String),
    /// Reason and message of a `Warning` Event.
    pub failed: (&'static str, String),
}

/// What an Event says.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// `Normal` or `Warning`.
    pub type_: &'static str,
    pub reason: String,
    pub message: String,
    /// The object that it is about: an ObjectReference.
    pub about: Value,
}

impl Note {
    /// An Event about an object as it was seen.
    pub fn of<V: View>(
        object: &V,
        type_: &'static str,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Note {
        Note { type_, reason: reason.into(), message: message.into(), about: about(object) }
    }
}

/// An object as Events name it.
pub fn about<V: View>(object: &V) -> Value {
    events::reference(V::RESOURCE, object.meta())
}

/// The changes of one plan, in order, with the reasons for what was not done.
#[derive(Debug, Default)]
pub struct Changes {
    list: Vec<Change>,
    /// Why nothing more happens yet, for those who ask (`skiff why`).
    reasons: Vec<String>,
}

impl Changes {
    /// Changes of which none has to wait for another.
    pub fn together(&mut self, changes: impl IntoIterator<Item = Change>) {
        let changes: Vec<Change> = changes.into_iter().collect();
        if !changes.is_empty() {
            self.list.push(Change::Together(changes));
        }
    }

    pub fn create(&mut self, resource: Resource, namespace: &str, body: Value) {
        self.list.push(Change::Create { resource, namespace: namespace.into(), body });
    }

    pub fn merge(&mut self, resource: Resource, key: Key, body: Value) {
        self.list.push(Change::Merge { resource, key, subresource: "", body });
    }

    /// Sets fields through `status`.
    pub fn status(&mut self, resource: Resource, key: Key, body: Value) {
        self.list.push(Change::Merge { resource, key, subresource: "status", body });
    }

    pub fn patch(
        &mut self,
        kind: PatchKind,
        resource: Resource,
        key: Key,
        subresource: &'static str,
        body: Value,
    ) {
        self.list.push(Change::Patch { kind, resource, key, subresource, body });
    }

    /// Deletes exactly this object: another one of the same name stays.
    pub fn delete(&mut self, resource: Resource, key: Key, uid: &str) {
        let options = DeleteOptions { uid: Some(uid.into()), ..DeleteOptions::default() };
        self.list.push(Change::Delete { resource, key, options });
    }

    pub fn delete_with(&mut self, resource: Resource, key: Key, options: DeleteOptions) {
        self.list.push(Change::Delete { resource, key, options });
    }

    pub fn push(&mut self, change: Change) {
        self.list.push(change);
    }

    pub fn event(&mut self, note: Note) {
        self.list.push(Change::Event(note));
    }

    /// Notes why nothing (more) is done yet.
    pub fn because(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn into_list(self) -> Vec<Change> {
        self.list
    }

    /// The changes as text, one each: what the case files of loops compare.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for change in &self.list {
            change.describe("", &mut out);
        }
        for reason in &self.reasons {
            out += &format!("because {reason}\n");
        }
        out
    }
}

impl Change {
    fn describe(&self, indent: &str, out: &mut String) {
        let line = match self {
            Change::Create { resource, namespace, body } => {
                format!("create {} {namespace} {body}", resource.plural)
            }
            Change::Patch { kind, resource, key, subresource, body } => {
                format!("patch {kind:?} {} {key} {subresource} {body}", resource.plural)
            }
            Change::Merge { resource, key, subresource, body } => {
                format!("merge {} {key} {subresource} {body}", resource.plural)
            }
            Change::Delete { resource, key, options } => {
                let uid = options.uid.as_deref().unwrap_or("");
                format!("delete {} {key} uid={uid}", resource.plural)
            }
            Change::Event(note) => {
                format!("event {} {}: {}", note.type_, note.reason, note.message)
            }
            Change::Told(change, tell) => {
                change.describe(indent, out);
                let said = [("done", &tell.done), ("failed", &tell.failed)];
                for (when, (reason, message)) in
                    said.into_iter().filter(|(_, say)| !say.0.is_empty())
                {
                    out.push_str(&format!("{indent}  {when} {reason}: {message}\n"));
                }
                return;
            }
            Change::Together(list) => {
                out.push_str(&format!("{indent}together\n"));
                list.iter().for_each(|change| change.describe("  ", out));
                return;
            }
        };
        out.push_str(indent);
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
