//! A set of fields: the trie that `fieldsV1` of a managedFields entry holds, kept in the very form
//! in which it is stored.
//!
//! A key is a path element: `f:name` a field, `k:{"name":"a"}` an item of a keyed list, `v:"a"` an
//! item of a set, `i:0` a position. An empty value means that the place itself is a member; a value
//! that is not empty holds members below it, and is a member itself only when it contains the key
//! `.`. Because the stored form is the working form, reading and writing ownership costs nothing;
//! this file never looks at an object or a schema. (KEP-555, "FieldsV1")

use std::sync::LazyLock;

use skiff_json::{Map, Value};

use super::element;

/// The trie below one place. The empty map is the empty set at the root, and a bare member below
/// it.
pub type Trie = Map;

/// The key that makes a place with members below it a member itself.
pub const SELF: &str = ".";

/// A set of fields of one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Set(pub(crate) Trie);

impl Set {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn union(&mut self, other: Set) {
        union(&mut self.0, other.0);
    }

    /// Takes out what is a member of `other`; what lies below a member stays.
    pub fn subtract(&mut self, other: &Set) {
        subtract(&mut self.0, &other.0);
    }

    /// Takes out what is a member of `other` and everything below it.
    pub fn subtract_deep(&mut self, other: &Set) {
        subtract_deep(&mut self.0, &other.0);
    }

    pub fn intersection(&self, other: &Set) -> Set {
        Set(intersection(&self.0, &other.0))
    }

    pub fn is_subset(&self, of: &Set) -> bool {
        is_subset(&self.0, &of.0)
    }

    /// Adds one path, given as trie keys.
    pub fn insert(&mut self, path: &[&str]) {
        insert(&mut self.0, path);
    }

    pub fn has(&self, path: &[String]) -> bool {
        let mut at = &self.0;
        for (i, key) in path.iter().enumerate() {
            let Some(below) = at.get(key) else { return false };
            let below = trie(below);
            if i + 1 == path.len() {
                return is_member(below);
            }
            at = below;
        }
        false
    }

    /// Reads `fieldsV1` as a client may have written it. Unknown kinds of elements are dropped, the
    /// others put in the one spelling that comparisons rely on.
    pub fn decode(fields: &Value) -> Result<Set, String> {
        match fields {
            Value::Object(map) => Ok(Set(normalize(map)?)),
            Value::Null => Ok(Set::default()),
            _ => Err("error decoding set: expected an object".to_string()),
        }
    }

    /// The `fieldsV1` value.
    pub fn encode(self) -> Value {
        Value::Object(self.0)
    }

    /// Every member in order: a level's own members first, then what lies below each.
    pub fn paths(&self) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        walk(&self.0, &mut Vec::new(), &mut out);
        out
    }
}

/// A place while its parent is being built: is it a member, and what is below it.
#[derive(Debug, Default)]
pub(super) struct Mark {
    pub member: bool,
    pub below: Trie,
}

impl Mark {
    pub fn member() -> Mark {
        Mark { member: true, below: Trie::new() }
    }

    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    pub fn attach(mut self, parent: &mut Trie, key: impl Into<String>) {
        if self.is_empty() {
            return;
        }
        if self.member && !self.below.is_empty() {
            self.below.insert(SELF.to_string(), Value::Object(Trie::new()));
        }
        parent.insert(key.into(), Value::Object(self.below));
    }
}

pub(super) fn trie(value: &Value) -> &Trie {
    static EMPTY: LazyLock<Trie> = LazyLock::new(Trie::new);
    value.as_object().unwrap_or(&EMPTY)
}

pub(super) fn is_member(at: &Trie) -> bool {
    at.is_empty() || at.contains_key(SELF)
}

fn union(into: &mut Trie, from: Trie) {
    if into.is_empty() {
        *into = from;
        return;
    }
    for (key, value) in from {
        let Value::Object(mut theirs) = value else { continue };
        match into.get_mut(&key) {
            Some(Value::Object(ours)) if ours.is_empty() => {
                if !theirs.is_empty() {
                    theirs.insert(SELF.to_string(), Value::Object(Trie::new()));
                    *ours = theirs;
                }
            }
            Some(Value::Object(ours)) if theirs.is_empty() => {
                ours.insert(SELF.to_string(), Value::Object(theirs));
            }
            Some(Value::Object(ours)) => union(ours, theirs),
            _ => {
                into.insert(key, Value::Object(theirs));
            }
        }
    }
}

fn subtract(from: &mut Trie, what: &Trie) {
    for (key, value) in what.iter().filter(|(key, _)| *key != SELF) {
        let Some(Value::Object(ours)) = from.get_mut(key) else { continue };
        let theirs = trie(value);
        let stays = is_member(ours) && !is_member(theirs);
        ours.remove(SELF);
        subtract(ours, theirs);
        match (ours.is_empty(), stays) {
            (true, false) => {
                from.remove(key);
            }
            (false, true) => {
                ours.insert(SELF.to_string(), Value::Object(Trie::new()));
            }
            _ => {}
        }
    }
}

fn subtract_deep(from: &mut Trie, what: &Trie) {
    for (key, value) in what.iter().filter(|(key, _)| *key != SELF) {
        let theirs = trie(value);
        if is_member(theirs) {
            from.remove(key);
            continue;
        }
        let Some(Value::Object(ours)) = from.get_mut(key) else { continue };
        if ours.is_empty() {
            continue;
        }
        subtract_deep(ours, theirs);
        if ours.len() == 1 && ours.contains_key(SELF) {
            ours.clear();
        } else if ours.is_empty() {
            from.remove(key);
        }
    }
}

fn intersection(a: &Trie, b: &Trie) -> Trie {
    let mut out = Trie::new();
    for (key, ours) in a.iter().filter(|(key, _)| *key != SELF) {
        let Some(theirs) = b.get(key) else { continue };
        let (ours, theirs) = (trie(ours), trie(theirs));
        let member = is_member(ours) && is_member(theirs);
        Mark { member, below: intersection(ours, theirs) }.attach(&mut out, key.as_str());
    }
    out
}

fn is_subset(a: &Trie, of: &Trie) -> bool {
    a.iter().filter(|(key, _)| *key != SELF).all(|(key, ours)| {
        let Some(theirs) = of.get(key) else { return false };
        let (ours, theirs) = (trie(ours), trie(theirs));
        (!is_member(ours) || is_member(theirs)) && is_subset(ours, theirs)
    })
}

fn insert(at: &mut Trie, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return };
    let fresh = !at.contains_key(first);
    let slot = at.entry(*first).or_insert_with(|| Value::Object(Trie::new()));
    let Value::Object(below) = slot else { return };
    if rest.is_empty() {
        if !fresh && !below.is_empty() {
            below.insert(SELF.to_string(), Value::Object(Trie::new()));
        }
        return;
    }
    if !fresh && below.is_empty() {
        below.insert(SELF.to_string(), Value::Object(Trie::new()));
    }
    insert(below, rest);
}

/// How deep a trie may be: far deeper than any schema, and shallow enough for the stack.
const MAX_DEPTH: usize = 100;

fn normalize(map: &Map) -> Result<Trie, String> {
    fn level(map: &Map, depth: usize) -> Result<Mark, String> {
        if depth > MAX_DEPTH {
            return Err("error decoding set: nested too deeply".to_string());
        }
        let mut mark = Mark::default();
        for (key, value) in map {
            if key == SELF {
                mark.member = true;
                continue;
            }
            let Some(key) = element::normalize(key)? else { continue };
            let below = match value {
                Value::Object(below) => level(below, depth + 1)?,
                Value::Null => Mark::default(),
                _ => return Err("error decoding set: expected an object".to_string()),
            };
            let member = below.member || below.below.is_empty();
            Mark { member, below: below.below }.attach(&mut mark.below, key);
        }
        Ok(mark)
    }
    Ok(level(map, 0)?.below)
}

fn walk(at: &Trie, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    let mut level: Vec<(&String, &Trie)> =
        at.iter().filter(|(key, _)| *key != SELF).map(|(key, value)| (key, trie(value))).collect();
    if level.iter().any(|(key, _)| !key.starts_with("f:")) {
        level.sort_by(|a, b| element::order(a.0, b.0));
    }
    for (key, below) in &level {
        if is_member(below) {
            path.push((*key).clone());
            out.push(path.clone());
            path.pop();
        }
    }
    for (key, below) in level {
        if !below.is_empty() {
            path.push(key.clone());
            walk(below, path, out);
            path.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Set {
        Set::decode(&skiff_json::from_str(text).expect("test JSON")).expect("a set")
    }

    fn text(set: &Set) -> String {
        Value::Object(set.0.clone()).to_string()
    }

    const A: &str = r#"{"f:m":{"f:a":{},"f:b":{}},"f:l":{".":{},"k:{\"n\":1}":{".":{},"f:n":{}}}}"#;

    #[test]
    fn operations() {
        let cases = [
            (A, A, "{}", A),
            (
                A,
                r#"{"f:m":{"f:a":{}}}"#,
                r#"{"f:l":{".":{},"k:{\"n\":1}":{".":{},"f:n":{}}},"f:m":{"f:b":{}}}"#,
                A,
            ),
            (
                r#"{"f:x":{}}"#,
                r#"{"f:x":{"f:y":{}}}"#,
                r#"{"f:x":{}}"#,
                r#"{"f:x":{".":{},"f:y":{}}}"#,
            ),
            (
                r#"{"f:x":{"f:y":{}}}"#,
                r#"{"f:x":{}}"#,
                r#"{"f:x":{"f:y":{}}}"#,
                r#"{"f:x":{".":{},"f:y":{}}}"#,
            ),
            (
                r#"{"f:x":{".":{},"f:y":{}}}"#,
                r#"{"f:x":{}}"#,
                r#"{"f:x":{"f:y":{}}}"#,
                r#"{"f:x":{".":{},"f:y":{}}}"#,
            ),
            (
                r#"{"f:x":{".":{},"f:y":{}}}"#,
                r#"{"f:x":{"f:y":{}}}"#,
                r#"{"f:x":{}}"#,
                r#"{"f:x":{".":{},"f:y":{}}}"#,
            ),
        ];
        for (a, b, minus, plus) in cases {
            let (a, b) = (set(a), set(b));
            let mut got = a.clone();
            got.subtract(&b);
            assert_eq!(text(&got), text(&set(minus)), "{a:?} - {b:?}");
            let mut got = a.clone();
            got.union(b);
            assert_eq!(text(&got), text(&set(plus)));
        }
    }

    #[test]
    fn deep_subtraction_takes_the_children_too() {
        let mut a = set(r#"{"f:status":{".":{},"f:a":{}},"f:spec":{"f:b":{}}}"#);
        a.subtract_deep(&set(r#"{"f:status":{}}"#));
        assert_eq!(text(&a), r#"{"f:spec":{"f:b":{}}}"#);
    }

    #[test]
    fn intersection_and_subset() {
        let (a, b) = (set(A), set(r#"{"f:l":{"k:{\"n\":1}":{}},"f:m":{"f:b":{}},"f:z":{}}"#));
        let both = a.intersection(&b);
        assert_eq!(text(&both), r#"{"f:l":{"k:{\"n\":1}":{}},"f:m":{"f:b":{}}}"#);
        assert!(both.is_subset(&a) && both.is_subset(&b) && !b.is_subset(&a));
    }

    #[test]
    fn decoding_normalizes() {
        let got = set(r#"{"k:{\"b\": 1, \"a\":\"x\"}":{"z:?":{}},"f:a":{"f:b":null}}"#);
        assert_eq!(text(&got), r#"{"f:a":{"f:b":{}},"k:{\"a\":\"x\",\"b\":1}":{}}"#);
        assert!(Set::decode(&skiff_json::json!({"nonsense": {}})).is_err());
    }
}
