//! The built-in kinds: upstream's definitions as statics, found by name or by group-version-kind.
//!
//! The statics are written by the build script out of `data/v1.37.schema`; nothing here allocates,
//! and nothing is parsed when Skiff starts.

use std::borrow::Cow;

use super::{Emit, Field, Inline, Node, Ref, Shape, Strategy, Struct, Topology};

/// A group, version and kind, as a definition lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gvk {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
}

/// The definition of that name, `io.k8s.api.apps.v1.Deployment`.
pub fn builtin(name: &str) -> Option<&'static Struct> {
    let at = DEFINITIONS.binary_search_by(|it| it.name.as_ref().cmp(name)).ok()?;
    Some(DEFINITIONS[at])
}

/// The definition of a kind; `group` is empty for the core group.
pub fn gvk(group: &str, version: &str, kind: &str) -> Option<&'static Struct> {
    let wanted = (group, version, kind);
    let at = KINDS.binary_search_by(|(it, _)| (it.group, it.version, it.kind).cmp(&wanted)).ok()?;
    Some(KINDS[at].1)
}

/// The kinds that a definition stands for: one, or none for a part of an object.
pub fn kinds_of(name: &str) -> impl Iterator<Item = Gvk> {
    KINDS.iter().filter(move |(_, it)| it.name == name).map(|(gvk, _)| *gvk)
}

include!(concat!(env!("OUT_DIR"), "/schema.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_find_what_upstream_lists() {
        let deployment = builtin("io.k8s.api.apps.v1.Deployment").expect("it is built in");
        assert!(std::ptr::eq(deployment, gvk("apps", "v1", "Deployment").expect("a kind")));
        assert_eq!(gvk("", "v1", "Pod").expect("a kind").go, "Pod");
        assert_eq!(gvk("policy", "v1", "Eviction").expect("a kind").go, "Eviction");
        assert!(builtin("io.k8s.api.apps.v1.Nothing").is_none());
        assert!(gvk("apps", "v1", "Pod").is_none());
        assert!(DEFINITIONS.len() > 850 && KINDS.len() > 190);
    }

    #[test]
    fn tables_are_sorted_and_keys_exist() {
        assert!(DEFINITIONS.is_sorted_by(|a, b| a.name < b.name));
        assert!(KINDS.is_sorted_by(|a, b| a.0 < b.0));
        for definition in DEFINITIONS {
            assert!(definition.fields.is_sorted_by(|a, b| a.name < b.name), "{}", definition.name);
            for field in definition.fields.iter() {
                let place = format!("{}.{}", definition.name, field.name);
                if let Topology::Keyed(keys) = &field.topology {
                    let Shape::List(element) = &field.node.shape else { panic!("{place}") };
                    let Shape::Struct(element) = &element.shape else { panic!("{place}") };
                    for key in keys.iter() {
                        assert!(element.fields.iter().any(|it| it.name == *key), "{place} {key}");
                    }
                }
                assert_eq!(field.topology, field.node.topology, "{place}");
            }
        }
    }

    #[test]
    fn protobuf_numbers_are_unique_within_a_message() {
        for definition in DEFINITIONS {
            let mut seen = std::collections::BTreeSet::new();
            for field in definition.fields.iter().filter(|it| it.tag > 0) {
                let path: Vec<u32> = field.inline.iter().map(|it| it.tag).collect();
                let place = format!("{}.{}", definition.name, field.name);
                assert!(seen.insert((path, field.tag)), "{place}");
            }
        }
    }
}
