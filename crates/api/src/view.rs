//! View: what a small struct with the fields that loops read has to say of itself, and the names that every object has.
//!
//! They are for READING. A write is an apply or a patch, never "decode, change, put back": a view would lose the
//! fields that it does not know. A view whose body does not decode is an error, never an empty value.

use crate::kind::Kind;
use crate::registry::{Remote, RemoteResource};
use crate::selector::Selector;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use skiff_base::Lock;
use std::collections::{BTreeMap, BTreeSet};

/// A resource by its names: what a client needs to build a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resource {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
}

impl Resource {
    pub const fn core(plural: &'static str, kind: &'static str) -> Resource {
        Resource { group: "", version: "v1", plural, kind, namespaced: true }
    }

    pub const fn of(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Resource {
        Resource { group, version, plural, kind, namespaced: true }
    }

    pub const fn cluster(self) -> Resource {
        Resource { namespaced: false, ..self }
    }

    /// The names of any kind, built in or custom.
    pub fn of_kind(kind: &Kind) -> Resource {
        Resource {
            group: intern(&kind.group),
            version: intern(&kind.version),
            plural: intern(&kind.plural),
            kind: intern(&kind.kind),
            namespaced: kind.namespaced(),
        }
    }

    /// The names of what another server serves.
    pub fn of_remote(of: &Remote, it: &RemoteResource) -> Resource {
        Resource {
            group: intern(&of.group),
            version: intern(&of.version),
            plural: intern(&it.plural),
            kind: intern(&it.kind),
            namespaced: it.namespaced,
        }
    }

    pub fn api_version(&self) -> String {
        crate::kind::api_version(self.group, self.version)
    }

    /// The path of the collection, of an object in it (`name` not empty), or of a part of that.
    pub fn path(&self, namespace: &str, name: &str, subresource: &str) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            path += &format!("/namespaces/{namespace}");
        }
        path += &format!("/{}", self.plural);
        for part in [name, subresource].iter().filter(|part| !part.is_empty()) {
            path += &format!("/{}", part.replace('%', "%25").replace('/', "%2F"));
        }
        path
    }
}

/// Keeps a name for good, once. Only names of kinds come here: a cluster has hundreds of them, not millions.
fn intern(name: &str) -> &'static str {
    static NAMES: Lock<BTreeSet<&'static str>> = Lock::new(BTreeSet::new());
    let mut names = NAMES.lock();
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.into());
    names.insert(kept);
    kept
}

/// Something that loops read.
pub trait View: DeserializeOwned + Send + Sync + 'static {
    const RESOURCE: Resource;
    /// Which objects a cache of all holds, as the end of a query (`&fieldSelector=...`); empty is every one.
    const QUERY: &'static str = "";
    fn meta(&self) -> &Meta;
    /// Names the values under which a cache finds this object besides its key (`node`, `owner`, ...).
    fn index(&self, _put: &mut dyn FnMut(&'static str, &str)) {}
    /// Which objects it selects by their labels, if it is of those that do. One that cannot be read selects nothing.
    fn selector(&self) -> Option<Selector> {
        None
    }
}

/// The metadata that loops read.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub owner_references: Vec<Owner>,
    pub finalizers: Vec<String>,
    pub creation_timestamp: Option<jiff::Timestamp>,
    pub deletion_timestamp: Option<jiff::Timestamp>,
    pub deletion_grace_period_seconds: Option<i64>,
}

/// A reference to the object that this one belongs to.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

impl Meta {
    /// `namespace/name`, or the name alone.
    pub fn key(&self) -> Key {
        Key { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The owner that controls the object.
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether the owner that controls it has this uid.
    pub fn controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|owner| owner.uid == uid)
    }

    pub fn deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// The name of an object within its resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}
