//! What a list or a watch selects: a scope of keys, and perhaps one facet.
//!
//! Scopes cover whole segments of a key (`pods/`, `pods/default/`, or one key), which lets the
//! watches find everybody interested in a key with one lookup per segment.

use crate::{Facets, Key, Record, facets::facet_is};
use std::ops::Bound;

/// A name and a value; see [`Facets`].
pub type Facet = (Box<str>, Box<str>);

/// Which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(Inner);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inner {
    /// Empty, or ends in a slash.
    Prefix(Box<str>),
    Key(Key),
}

impl Default for Scope {
    fn default() -> Scope {
        Scope::prefix("")
    }
}

impl Scope {
    /// All keys below whole segments: `pods` and `pods/` mean the same; `""` is everything.
    pub fn prefix(prefix: &str) -> Scope {
        let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
        Scope(Inner::Prefix(format!("{prefix}{slash}").into()))
    }

    /// One key.
    pub fn key(key: impl Into<Key>) -> Scope {
        Scope(Inner::Key(key.into()))
    }

    pub fn contains(&self, key: &str) -> bool {
        match &self.0 {
            Inner::Prefix(prefix) => key.starts_with(&**prefix),
            Inner::Key(own) => **own == *key,
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Where an ordered walk over the scope begins; it ends with the first key outside.
    pub(crate) fn begin<'a>(&'a self, after: Option<&'a str>) -> Bound<&'a str> {
        let first = match &self.0 {
            Inner::Prefix(prefix) => &**prefix,
            Inner::Key(key) => &**key,
        };
        match after {
            Some(after) if after >= first => Bound::Excluded(after),
            _ => Bound::Included(first),
        }
    }
}

/// A scope and perhaps a facet, as lists and watches share it.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub scope: Scope,
    pub facet: Option<Facet>,
}

impl Selection {
    pub fn takes(&self, record: &Record) -> bool {
        self.scope.contains(&record.key) && self.takes_facets(&record.facets)
    }

    pub fn takes_facets(&self, facets: &Facets) -> bool {
        match &self.facet {
            None => true,
            Some((name, value)) => facet_is(facets, name, value),
        }
    }
}
