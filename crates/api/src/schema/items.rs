//! Items of lists by what they are known by: the values of some keys of theirs, or all that they are. They are found by
//! their hash, for a list may have some hundred thousand.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use skiff_json::Value;

/// What tells an item from the others of its list: the values of these keys, of which some may be missing.
pub fn identity<'v>(item: &'v Value, keys: &[impl AsRef<str>]) -> Vec<Option<&'v Value>> {
    keys.iter().map(|key| item.get(key.as_ref())).collect()
}

/// Items of a list by their identities; of several that share one, the first.
#[derive(Default)]
pub struct ByIdentity<'v>(HashMap<Vec<Option<&'v Value>>, &'v Value>);

impl<'v> ByIdentity<'v> {
    pub fn of(items: &'v [Value], keys: &[impl AsRef<str>]) -> ByIdentity<'v> {
        let mut found = ByIdentity::default();
        for item in items {
            found.add(identity(item, keys), item);
        }
        found
    }

    /// Whether the item is the first of this identity.
    pub fn add(&mut self, identity: Vec<Option<&'v Value>>, item: &'v Value) -> bool {
        match self.0.entry(identity) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(item);
                true
            }
        }
    }

    /// The item that is known by what this one is known by.
    pub fn like(&self, item: &Value, keys: &[impl AsRef<str>]) -> Option<&'v Value> {
        self.0.get(&identity(item, keys)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn the_first_of_an_identity_is_found() {
        let items = [
            json!({"a": 1, "b": "x", "c": 1}),
            json!({"a": 1, "b": "x", "c": 2}),
            json!({"a": 1}),
            json!(7),
        ];
        let keys = ["a", "b"];
        let all = ByIdentity::of(&items, &keys);
        assert_eq!(all.like(&json!({"b": "x", "a": 1}), &keys), Some(&items[0]));
        assert_eq!(all.like(&json!({"a": 1, "c": 9}), &keys), Some(&items[2]));
        assert_eq!(all.like(&json!({"a": 1, "b": null}), &keys), None);
        // What is no object has none of the keys, as an empty one.
        assert_eq!(all.like(&json!({}), &keys), Some(&items[3]));
        // A number is known by what it is, and not by how it is written.
        let numbers = [json!(0.0), json!(-0.0), json!(0)];
        let mut seen = ByIdentity::default();
        let firsts: Vec<bool> = numbers.iter().map(|it| seen.add(vec![Some(it)], it)).collect();
        assert_eq!(firsts, [true, false, true]);
    }
}
