//! Indexes of a cache: by the values that objects name, by their labels, and by which of them select an object. An
//! event costs what it touches, not what there is.

use skiff_api::selector::{Operator, Selector};
use skiff_api::view::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Keys = BTreeSet<Arc<Key>>;

/// Values to the objects that name them, each under the name of what it is the value of.
#[derive(Default)]
pub struct Values(BTreeMap<&'static str, BTreeMap<Box<str>, Keys>>);

impl Values {
    pub fn add(&mut self, name: &'static str, value: &str, key: &Arc<Key>) {
        let values = self.0.entry(name).or_default();
        match values.get_mut(value) {
            Some(keys) => drop(keys.insert(key.clone())),
            None => drop(values.insert(value.into(), Keys::from([key.clone()]))),
        }
    }

    pub fn remove(&mut self, name: &'static str, value: &str, key: &Key) {
        let Some(values) = self.0.get_mut(name) else { return };
        let Some(keys) = values.get_mut(value) else { return };
        keys.remove(key);
        if keys.is_empty() {
            values.remove(value);
        }
    }

    pub fn find(&self, name: &str, value: &str) -> impl Iterator<Item = &Arc<Key>> {
        self.0.get(name).and_then(|values| values.get(value)).into_iter().flatten()
    }

    fn count(&self, name: &str, value: &str) -> usize {
        self.0.get(name).and_then(|values| values.get(value)).map_or(0, BTreeSet::len)
    }
}

/// A place of the indexes below: a label of a namespace with its value, or the namespace alone.
fn place(namespace: &str, label: Option<(&str, &str)>) -> String {
    match label {
        Some((name, value)) => format!("{namespace}/{name}={value}"),
        None => format!("{namespace}/"),
    }
}

type LabelMap = BTreeMap<String, String>;

/// Labels to the objects that carry them.
#[derive(Default)]
pub struct Labels(Values);

const LABEL: &str = "label";

impl Labels {
    pub fn add(&mut self, labels: &LabelMap, key: &Arc<Key>) {
        for (name, value) in labels {
            self.0.add(LABEL, &place(&key.namespace, Some((name, value))), key);
        }
    }

    pub fn remove(&mut self, labels: &LabelMap, key: &Key) {
        for (name, value) in labels {
            self.0.remove(LABEL, &place(&key.namespace, Some((name, value))), key);
        }
    }

    /// Those that the selector may match: the fewest that one of its labels leaves. `None`: it asks for no label.
    pub fn may_match(&self, namespace: &str, selector: &Selector) -> Option<Vec<Arc<Key>>> {
        let places = exact(selector).map(|label| place(namespace, Some(label)));
        let least = places.min_by_key(|place| self.0.count(LABEL, place))?;
        Some(self.0.find(LABEL, &least).cloned().collect())
    }
}

/// The labels that must have exactly one value.
fn exact(selector: &Selector) -> impl Iterator<Item = (&str, &str)> {
    let all = match selector {
        Selector::Nothing => &[][..],
        Selector::All(all) => all,
    };
    all.iter().filter_map(|it| match (it.operator, &it.values[..]) {
        (Operator::Equals | Operator::DoubleEquals | Operator::In, [one]) => {
            Some((&*it.key, &**one))
        }
        _ => None,
    })
}

/// Selectors to the objects that have them: who selects an object with these labels? Each stands at the one of its
/// labels that fewest others stand at.
#[derive(Default)]
pub struct Selects {
    by_label: Values,
    selectors: BTreeMap<Arc<Key>, (Selector, String)>,
}

impl Selects {
    pub fn set(&mut self, key: &Arc<Key>, selector: Option<Selector>) {
        if self.selectors.get(key).map(|(known, _)| known) == selector.as_ref() {
            return;
        }
        if let Some((_, place)) = self.selectors.remove(key) {
            self.by_label.remove(LABEL, &place, key);
        }
        // One that selects nothing is nowhere.
        let Some(selector) = selector.filter(|it| *it != Selector::Nothing) else { return };
        let places = exact(&selector).map(|label| place(&key.namespace, Some(label)));
        let least = places.min_by_key(|place| self.by_label.count(LABEL, place));
        let place = least.unwrap_or_else(|| place(&key.namespace, None));
        self.by_label.add(LABEL, &place, key);
        self.selectors.insert(key.clone(), (selector, place));
    }

    /// Those of the namespace that select an object with these labels.
    pub fn selecting(&self, namespace: &str, labels: &LabelMap) -> Vec<Arc<Key>> {
        let places = labels.iter().map(|(name, value)| place(namespace, Some((name, value))));
        let mut found = Vec::new();
        for place in places.chain([place(namespace, None)]) {
            for key in self.by_label.find(LABEL, &place) {
                let (selector, _) = &self.selectors[key];
                if selector.matches(|name| labels.get(name).map(String::as_str)) {
                    found.push(key.clone());
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Arc<Key> {
        Arc::new(Key::new("n", name))
    }

    fn labels(text: &str) -> LabelMap {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn names(keys: &[Arc<Key>]) -> String {
        keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn who_selects_an_object_is_found_by_its_labels() {
        let mut selects = Selects::default();
        let set = |selects: &mut Selects, name: &str, text: &str| {
            selects.set(&key(name), Some(Selector::parse(text).expect("a selector")));
        };
        set(&mut selects, "web", "app=web");
        set(&mut selects, "front", "app=web,tier=front");
        set(&mut selects, "any", "tier in (front,back)");
        set(&mut selects, "all", "");
        selects.set(&key("none"), Some(Selector::Nothing));
        let check = |selects: &Selects, text: &str, expected: &str| {
            assert_eq!(names(&selects.selecting("n", &labels(text))), expected, "{text}");
        };
        check(&selects, "app=web", "web all");
        check(&selects, "app=web,tier=front", "web front all any");
        check(&selects, "app=db,tier=back", "all any");
        assert!(selects.selecting("m", &labels("app=web")).is_empty(), "another namespace");
        set(&mut selects, "web", "app=db");
        selects.set(&key("all"), None);
        check(&selects, "app=web", "");
        check(&selects, "app=db,tier=back", "web any");
    }

    #[test]
    fn a_selector_stands_where_it_is_looked_at_least() {
        let mut selects = Selects::default();
        for number in 0..1000 {
            let text = format!("all=same,name=n{number}");
            selects
                .set(&key(&number.to_string()), Some(Selector::parse(&text).expect("it is one")));
        }
        let at_the_same = selects.by_label.count(LABEL, "n/all=same");
        assert!(at_the_same <= 1, "{at_the_same} would be looked at for every object");
        assert_eq!(names(&selects.selecting("n", &labels("all=same,name=n7"))), "7");
    }

    #[test]
    fn the_rarest_label_says_what_may_match() {
        let mut known = Labels::default();
        for name in ["a", "b", "c"] {
            known.add(&labels(&format!("app=web,name={name}")), &key(name));
        }
        let found = |known: &Labels, text: &str| {
            let selector = Selector::parse(text).expect("a selector");
            known.may_match("n", &selector).map(|keys| names(&keys))
        };
        assert_eq!(found(&known, "app=web"), Some("a b c".into()));
        assert_eq!(found(&known, "app=web,name=b"), Some("b".into()));
        assert_eq!(found(&known, "app=web,name=x"), Some(String::new()));
        assert_eq!(found(&known, "app!=web"), None);
        known.remove(&labels("app=web,name=b"), &key("b"));
        assert_eq!(found(&known, "app=web"), Some("a c".into()));
    }
}
