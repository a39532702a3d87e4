//! Maps in the order of their names.

use crate::Value;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::ops::{Index, IndexMut};

/// A list of more names than these becomes a search tree: there, a name that comes first moves no others. Schemas,
/// labels and the fields of structs stay below.
const FEW: usize = 128;

/// What a JSON object holds: values by their names.
#[derive(Clone)]
pub struct Map(Held);

#[derive(Clone)]
enum Held {
    /// In the order of their names, each once.
    Few(Vec<(String, Value)>),
    #[expect(clippy::box_collection, reason = "a map stays as small as a list")]
    Many(Box<BTreeMap<String, Value>>),
}

impl Default for Map {
    fn default() -> Map {
        Map::new()
    }
}

impl Map {
    /// None yet; takes no memory.
    pub const fn new() -> Map {
        Map(Held::Few(Vec::new()))
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Held::Few(list) => list.len(),
            Held::Many(tree) => tree.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn clear(&mut self) {
        self.0 = Held::Few(Vec::new());
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        match &self.0 {
            Held::Few(list) => find(list, name).ok().map(|at| &list[at].1),
            Held::Many(tree) => tree.get(name),
        }
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        match &mut self.0 {
            Held::Few(list) => find(list, name).ok().map(|at| &mut list[at].1),
            Held::Many(tree) => tree.get_mut(name),
        }
    }

    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a value; what was there before comes back.
    pub fn insert(&mut self, name: String, value: Value) -> Option<Value> {
        if let Some(there) = self.get_mut(&name) {
            return Some(std::mem::replace(there, value));
        }
        self.made(name, || value);
        None
    }

    /// The value under a name, made where there is none.
    fn made(&mut self, name: String, make: impl FnOnce() -> Value) -> &mut Value {
        if let Held::Few(list) = &mut self.0
            && list.len() == FEW
            && find(list, &name).is_err()
        {
            let tree = std::mem::take(list).into_iter().collect();
            self.0 = Held::Many(Box::new(tree));
        }
        match &mut self.0 {
            Held::Few(list) => {
                let at = find(list, &name).unwrap_or_else(|at| {
                    if list.capacity() == 0 {
                        // Many maps have one name; the next makes room for four.
                        list.reserve_exact(1);
                    }
                    list.insert(at, (name, make()));
                    at
                });
                &mut list[at].1
            }
            Held::Many(tree) => tree.entry(name).or_insert_with(make),
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Value> {
        match &mut self.0 {
            Held::Few(list) => find(list, name).ok().map(|at| list.remove(at).1),
            Held::Many(tree) => tree.remove(name),
        }
    }

    /// The place of a name, whether there is a value or not.
    pub fn entry(&mut self, name: impl Into<String>) -> Entry<'_> {
        Entry { map: self, name: name.into() }
    }

    /// Keeps what `keeps` says to.
    pub fn retain(&mut self, mut keeps: impl FnMut(&String, &mut Value) -> bool) {
        match &mut self.0 {
            Held::Few(list) => list.retain_mut(|(name, value)| keeps(name, value)),
            Held::Many(tree) => tree.retain(keeps),
        }
    }

    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Held::Few(list) => Iter::Few(list.iter()),
            Held::Many(tree) => Iter::Many(tree.iter()),
        }
    }

    pub fn iter_mut(&mut self) -> IterMut<'_> {
        match &mut self.0 {
            Held::Few(list) => IterMut::Few(list.iter_mut()),
            Held::Many(tree) => IterMut::Many(tree.iter_mut()),
        }
    }

    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &String> + ExactSizeIterator + Clone {
        self.iter().map(|(name, _)| name)
    }

    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> + ExactSizeIterator + Clone {
        self.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Value> {
        self.iter_mut().map(|(_, value)| value)
    }
}

/// Where a name stands, or where it would. Most lists are built in their order, so the end is tried first.
fn find(list: &[(String, Value)], name: &str) -> Result<usize, usize> {
    match list.last() {
        Some((last, _)) if last.as_str() < name => Err(list.len()),
        _ => list.binary_search_by(|(at, _)| at.as_str().cmp(name)),
    }
}

/// The place of a name in a map.
pub struct Entry<'a> {
    map: &'a mut Map,
    name: String,
}

impl<'a> Entry<'a> {
    pub fn or_insert(self, value: Value) -> &'a mut Value {
        self.or_insert_with(|| value)
    }

    pub fn or_insert_with(self, make: impl FnOnce() -> Value) -> &'a mut Value {
        self.map.made(self.name, make)
    }

    pub fn and_modify(self, change: impl FnOnce(&mut Value)) -> Entry<'a> {
        if let Some(value) = self.map.get_mut(&self.name) {
            change(value);
        }
        self
    }
}

/// What a map holds, in the order of the names.
#[derive(Clone)]
pub enum Iter<'a> {
    Few(std::slice::Iter<'a, (String, Value)>),
    Many(btree_map::Iter<'a, String, Value>),
}

/// The same, to be changed.
pub enum IterMut<'a> {
    Few(std::slice::IterMut<'a, (String, Value)>),
    Many(btree_map::IterMut<'a, String, Value>),
}

/// The same, taken out.
pub enum IntoIter {
    Few(std::vec::IntoIter<(String, Value)>),
    Many(btree_map::IntoIter<String, Value>),
}

macro_rules! iterators {
    ($($name:ident $(<$life:lifetime>)?: $item:ty, $pair:expr;)*) => {$(
        impl $(<$life>)? Iterator for $name $(<$life>)? {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                match self {
                    $name::Few(list) => list.next().map($pair),
                    $name::Many(tree) => tree.next(),
                }
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                match self {
                    $name::Few(list) => list.size_hint(),
                    $name::Many(tree) => tree.size_hint(),
                }
            }
        }

        impl $(<$life>)? DoubleEndedIterator for $name $(<$life>)? {
            fn next_back(&mut self) -> Option<$item> {
                match self {
                    $name::Few(list) => list.next_back().map($pair),
                    $name::Many(tree) => tree.next_back(),
                }
            }
        }

        impl $(<$life>)? ExactSizeIterator for $name $(<$life>)? {}
    )*};
}

iterators! {
    Iter<'a>: (&'a String, &'a Value), |(name, value)| (name, value);
    IterMut<'a>: (&'a String, &'a mut Value), |(name, value)| (&*name, value);
    IntoIter: (String, Value), |pair| pair;
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a String, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Map {
    type Item = (&'a String, &'a mut Value);
    type IntoIter = IterMut<'a>;

    fn into_iter(self) -> IterMut<'a> {
        self.iter_mut()
    }
}

impl IntoIterator for Map {
    type Item = (String, Value);
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        match self.0 {
            Held::Few(list) => IntoIter::Few(list.into_iter()),
            Held::Many(tree) => IntoIter::Many(tree.into_iter()),
        }
    }
}

impl FromIterator<(String, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(all: I) -> Map {
        let mut map = Map::new();
        map.extend(all);
        map
    }
}

impl Extend<(String, Value)> for Map {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, all: I) {
        let all = all.into_iter();
        if let (Held::Few(list), (least @ 1..=FEW, _)) = (&mut self.0, all.size_hint()) {
            list.reserve_exact(least);
        }
        for (name, value) in all {
            self.insert(name, value);
        }
    }
}

/// # Panics
/// When there is no such name.
impl Index<&str> for Map {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        self.get(name).expect("the map has that name")
    }
}

/// # Panics
/// When there is no such name.
impl IndexMut<&str> for Map {
    fn index_mut(&mut self, name: &str) -> &mut Value {
        self.get_mut(name).expect("the map has that name")
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Map {}

impl std::hash::Hash for Map {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_usize(self.len());
        self.iter().for_each(|pair| pair.hash(state));
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.len()))?;
        for (name, value) in self {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Map {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Map, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Map;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_unit<E>(self) -> Result<Map, E> {
                Ok(Map::new())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Map, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = all.next_entry()? {
                    map.insert(name, value);
                }
                Ok(map)
            }
        }

        from.deserialize_map(Names)
    }
}

#[cfg(test)]
mod tests;
