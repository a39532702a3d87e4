//! Facets: what a record can be selected by, and the index from a facet to the keys that have it.
//!
//! The index answers "pods on this node" or "objects owned by this UID" without touching any other
//! record. Its cost is one small entry per facet of each record; a facet that only one record has
//! (a UID, a name) costs no set of its own.

use crate::{Facet, Facets, Key};
use std::collections::{BTreeMap, BTreeSet};

/// Sorts and dedups, which is what [`Facets`] promises.
pub fn facets(mut pairs: Vec<Facet>) -> Facets {
    pairs.sort_unstable();
    pairs.dedup();
    pairs.into()
}

/// Whether the facet is among them.
pub fn facet_is(facets: &Facets, name: &str, value: &str) -> bool {
    facets.binary_search_by(|(n, v)| (&**n, &**v).cmp(&(name, value))).is_ok()
}

/// All values that a name has in `facets`.
pub(crate) fn values<'a>(facets: &'a Facets, name: &'a str) -> impl Iterator<Item = &'a str> {
    let from = facets.partition_point(|(n, _)| &**n < name);
    facets[from..].iter().take_while(move |(n, _)| &**n == name).map(|(_, v)| &**v)
}

/// Facet to keys, in key order.
#[derive(Default)]
pub(crate) struct FacetIndex {
    names: BTreeMap<Box<str>, BTreeMap<Box<str>, Keys>>,
}

enum Keys {
    One(Key),
    Many(BTreeSet<Key>),
}

impl FacetIndex {
    /// Moves a key from its old facets to its new ones; what stays the same is not touched.
    pub fn change(&mut self, key: &Key, old: Option<&Facets>, new: Option<&Facets>) {
        let none: &[Facet] = &[];
        let old = old.map_or(none, |facets| facets);
        let new = new.map_or(none, |facets| facets);
        for facet in old.iter().filter(|facet| new.binary_search(facet).is_err()) {
            self.remove(key, facet);
        }
        for facet in new.iter().filter(|facet| old.binary_search(facet).is_err()) {
            self.insert(key, facet);
        }
    }

    fn insert(&mut self, key: &Key, (name, value): &Facet) {
        if !self.names.contains_key(name) {
            self.names.insert(name.clone(), BTreeMap::new());
        }
        let values = self.names.get_mut(name).expect("inserted above");
        match values.get_mut(value) {
            None => {
                values.insert(value.clone(), Keys::One(key.clone()));
            }
            Some(Keys::Many(keys)) => {
                keys.insert(key.clone());
            }
            Some(keys @ Keys::One(_)) => {
                let Keys::One(first) = &*keys else { unreachable!("matched above") };
                *keys = Keys::Many([first.clone(), key.clone()].into());
            }
        }
    }

    fn remove(&mut self, key: &Key, (name, value): &Facet) {
        let Some(values) = self.names.get_mut(name) else { return };
        let empty = match values.get_mut(value) {
            None => false,
            Some(Keys::One(own)) => own == key,
            Some(Keys::Many(keys)) => {
                keys.remove(key);
                keys.is_empty()
            }
        };
        if empty {
            values.remove(value);
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// The keys that have this facet, from `begin` on, in key order.
    pub fn keys<'a>(
        &'a self,
        (name, value): &Facet,
        begin: std::ops::Bound<&'a str>,
    ) -> Box<dyn Iterator<Item = &'a Key> + 'a> {
        let end = std::ops::Bound::Unbounded;
        match self.names.get(name).and_then(|values| values.get(value)) {
            None => Box::new(std::iter::empty()),
            Some(Keys::One(key)) => {
                let inside = std::ops::RangeBounds::<str>::contains(&(begin, end), &**key);
                Box::new(inside.then_some(key).into_iter())
            }
            Some(Keys::Many(keys)) => Box::new(keys.range::<str, _>((begin, end))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Bound;

    fn of(text: &str) -> Facets {
        let pair = |part: &str| part.split_once('=').map(|(n, v)| (n.into(), v.into()));
        facets(text.split_whitespace().filter_map(pair).collect())
    }

    #[test]
    fn sorted_and_without_repetition() {
        let set = of("b=2 a=1 b=1 a=1");
        assert_eq!(set.len(), 3);
        assert!(facet_is(&set, "b", "1") && !facet_is(&set, "b", "3"));
        assert_eq!(values(&set, "b").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(values(&set, "c").count(), 0);
    }

    #[test]
    fn index_follows_changes() {
        let mut index = FacetIndex::default();
        let (x, y): (Key, Key) = ("p/d/x".into(), "p/d/y".into());
        index.change(&x, None, Some(&of("a=1 b=1")));
        index.change(&y, None, Some(&of("a=1")));
        let find = |index: &FacetIndex, name: &str, begin| -> Vec<String> {
            index.keys(&(name.into(), "1".into()), begin).map(|k| k.to_string()).collect()
        };
        assert_eq!(find(&index, "a", Bound::Unbounded), ["p/d/x", "p/d/y"]);
        assert_eq!(find(&index, "a", Bound::Excluded("p/d/x")), ["p/d/y"]);
        assert_eq!(find(&index, "b", Bound::Excluded("p/d/x")), Vec::<String>::new());
        index.change(&x, Some(&of("a=1 b=1")), Some(&of("b=1")));
        assert_eq!(find(&index, "a", Bound::Unbounded), ["p/d/y"]);
        assert_eq!(find(&index, "b", Bound::Unbounded), ["p/d/x"]);
        index.change(&x, Some(&of("b=1")), None);
        index.change(&y, Some(&of("a=1")), None);
        assert!(index.names.is_empty());
    }
}
