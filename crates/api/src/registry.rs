//! The registry: which kinds are served right now. Built-ins and custom resources in one snapshot, swapped as a whole.

use crate::kind::{Kind, Name, Verb};
use crate::schema::generation;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The kinds at one moment.
#[derive(Debug, Default)]
pub struct Registry {
    kinds: Vec<Arc<Kind>>,
    by_path: HashMap<String, usize>,
    by_kind: HashMap<String, usize>,
    /// What other servers serve under this one's roof.
    remote: Arc<[Remote]>,
    /// Counts swaps, so that derived documents (discovery, OpenAPI) know when they are stale.
    pub generation: u64,
}

impl Registry {
    /// `kinds` in discovery's order: built-ins in the order of KINDS, then custom ones by group.
    pub fn new(kinds: Vec<Arc<Kind>>, generation: u64) -> Registry {
        let mut registry = Registry { generation, ..Registry::default() };
        for (index, kind) in kinds.iter().enumerate() {
            registry.by_path.insert(path_key(&kind.group, &kind.version, &kind.plural), index);
            registry.by_kind.insert(path_key(&kind.group, &kind.version, &kind.kind), index);
        }
        registry.kinds = kinds;
        registry
    }

    pub fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// What other servers serve.
    pub fn remote(&self) -> &[Remote] {
        &self.remote
    }

    /// Whether anything of this version of a group is served here.
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.kinds.iter().any(|kind| kind.group == group && kind.version == version)
    }

    /// By group, version and plural.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_path.get(&path_key(group, version, plural)).map(|i| &self.kinds[*i])
    }

    /// By group, version and kind.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.by_kind.get(&path_key(group, version, kind)).map(|i| &self.kinds[*i])
    }

    /// The first face of a resource in this group, whatever its version.
    pub fn find_in_group(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.group == group && k.plural == plural)
    }

    /// One face for each stored resource, for those who walk all objects (garbage collector, namespaces).
    pub fn storages(&self) -> impl Iterator<Item = &Arc<Kind>> {
        let mut seen = std::collections::HashSet::new();
        self.kinds
            .iter()
            .filter(|k| k.backend == crate::kind::Backend::Stored)
            .filter(move |k| seen.insert(k.storage.clone()))
    }
}

fn path_key(group: &str, version: &str, name: &str) -> String {
    format!("{group}/{version}/{name}")
}

/// A version of a group that another server serves (API aggregation).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub group: Name,
    pub version: Name,
    /// What there is, as that server said last; or why nobody knows at the moment.
    pub resources: Result<Vec<RemoteResource>, String>,
}

/// A resource of another server, as its discovery names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteResource {
    pub plural: Name,
    pub kind: Name,
    pub namespaced: bool,
    pub verbs: Vec<Verb>,
}

/// The current registry, shared by everybody who serves or reads kinds.
#[derive(Clone)]
pub struct Kinds(Arc<watch::Sender<Arc<Registry>>>);

impl Kinds {
    /// The built-in kinds alone: these.
    pub fn builtin(kinds: &[&[fn() -> Kind]]) -> Kinds {
        let mut kinds: Vec<Kind> = kinds.concat().iter().map(|kind| kind()).collect();
        for kind in &mut kinds {
            kind.generation = generation::of(kind);
        }
        // What another face converts is written, and read, as the stored one.
        let stored = |kind: &&Kind| kind.convert.is_none();
        let of: HashMap<_, _> =
            kinds.iter().filter(stored).map(|it| (it.storage.clone(), it.generation)).collect();
        for kind in kinds.iter_mut().filter(|kind| kind.convert.is_some()) {
            kind.generation = of.get(&kind.storage).copied().unwrap_or(kind.generation);
        }
        let kinds = kinds.into_iter().map(Arc::new).collect();
        Kinds(Arc::new(watch::Sender::new(Arc::new(Registry::new(kinds, 1)))))
    }

    /// The snapshot of now.
    pub fn now(&self) -> Arc<Registry> {
        self.0.borrow().clone()
    }

    /// Tells of every swap from now on; the current snapshot counts as seen.
    pub fn changes(&self) -> watch::Receiver<Arc<Registry>> {
        self.0.subscribe()
    }

    /// Replaces all custom kinds by these.
    pub fn set_custom(&self, custom: Vec<Arc<Kind>>) {
        self.0.send_modify(|current| {
            let built_in = current.kinds.iter().filter(|kind| !kind.is_custom());
            let kinds = built_in.cloned().chain(custom).collect();
            let remote = current.remote.clone();
            let registry = Registry::new(kinds, current.generation + 1);
            *current = Arc::new(Registry { remote, ..registry });
        });
    }

    /// Replaces what is known of other servers by this; nobody is told where that is the same.
    pub fn set_remote(&self, remote: Vec<Remote>) {
        self.0.send_if_modified(|current| {
            if *current.remote == *remote {
                return false;
            }
            let registry = Registry::new(current.kinds.clone(), current.generation + 1);
            *current = Arc::new(Registry { remote: remote.into(), ..registry });
            true
        });
    }
}
