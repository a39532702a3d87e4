//! What upstream's server offers in discovery, as facts to check our own kinds against.
//!
//! Skiff's discovery is read off its kinds; this table says what upstream lists for the same
//! names (verbs, short names, categories, hashes of storage versions), so that a kind can take
//! what it does not decide itself and a test can compare the rest.

/// An API group and its versions, the preferred one first.
#[derive(Debug)]
pub struct Group {
    pub name: &'static str,
    pub versions: &'static [&'static str],
}

/// One line of an `APIResourceList`; a subresource has a name with a slash.
#[derive(Debug)]
pub struct ApiResource {
    pub group: &'static str,
    pub version: &'static str,
    pub name: &'static str,
    pub kind: &'static str,
    /// Group and version of the kind: another than the list's for `scale` and `eviction`.
    pub kind_group: &'static str,
    pub kind_version: &'static str,
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub singular: &'static str,
    pub short: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub storage: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/discovery.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_discovery_has_a_schema() {
        for it in RESOURCES {
            if it.kind.ends_with("ProxyOptions") || it.kind.starts_with("Pod") && it.name != "pods"
            {
                continue;
            }
            let found = super::super::gvk(it.kind_group, it.kind_version, it.kind);
            assert!(found.is_some(), "{it:?}");
        }
    }
}
