//! Who wants to know about a key: from an event to the watches it concerns, without asking all.
//!
//! Watches hang at their prefix (or key), below it at their facet. A thousand watches on as many
//! values of spec.nodeName cost one lookup per event.

use crate::facets::{facet_is, values};
use crate::select::{Inner, Selection};
use crate::watch::Watcher;
use crate::{Event, Facets};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Watches by their number, which makes the order of delivery the same in every run.
type Watchers = BTreeMap<u64, Arc<Watcher>>;

#[derive(Default)]
pub(crate) struct Interests {
    scopes: BTreeMap<Box<str>, Place>,
    keys: BTreeMap<Box<str>, Place>,
    count: usize,
}

#[derive(Default)]
struct Place {
    any: Watchers,
    facets: BTreeMap<Box<str>, BTreeMap<Box<str>, Watchers>>,
}

impl Interests {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn insert(&mut self, watcher: Arc<Watcher>) {
        let (places, name) = self.side(&watcher.selection);
        places
            .entry(name.into())
            .or_default()
            .bucket(&watcher.selection)
            .insert(watcher.number, watcher.clone());
        self.count += 1;
    }

    pub fn remove(&mut self, watcher: &Watcher) {
        let (places, name) = self.side(&watcher.selection);
        let Some(place) = places.get_mut(name) else { return };
        let removed = place.bucket(&watcher.selection).remove(&watcher.number);
        place.tidy(&watcher.selection);
        if place.any.is_empty() && place.facets.is_empty() {
            places.remove(name);
        }
        self.count -= usize::from(removed.is_some());
    }

    fn side<'s>(&mut self, selection: &'s Selection) -> (&mut BTreeMap<Box<str>, Place>, &'s str) {
        match selection.scope.inner() {
            Inner::Prefix(prefix) => (&mut self.scopes, prefix),
            Inner::Key(key) => (&mut self.keys, key),
        }
    }

    /// Calls `tell` once for each watch that the event concerns.
    pub fn concerned(&self, event: &Event, mut tell: impl FnMut(&Arc<Watcher>)) {
        let key = &*event.key;
        let slashes = key.match_indices('/').map(|(at, _)| at + 1);
        for end in std::iter::once(0).chain(slashes) {
            if let Some(place) = self.scopes.get(&key[..end]) {
                place.concerned(event, &mut tell);
            }
        }
        if let Some(place) = self.keys.get(key) {
            place.concerned(event, &mut tell);
        }
    }

    pub fn each(&self, mut tell: impl FnMut(&Arc<Watcher>)) {
        for place in self.scopes.values().chain(self.keys.values()) {
            let faceted = place.facets.values().flat_map(|values| values.values());
            std::iter::once(&place.any).chain(faceted).flat_map(|w| w.values()).for_each(&mut tell);
        }
    }
}

impl Place {
    fn bucket(&mut self, selection: &Selection) -> &mut Watchers {
        match &selection.facet {
            None => &mut self.any,
            Some((name, value)) => {
                self.facets.entry(name.clone()).or_default().entry(value.clone()).or_default()
            }
        }
    }

    /// Drops the bucket of a selection if nobody is left in it.
    fn tidy(&mut self, selection: &Selection) {
        let Some((name, value)) = &selection.facet else { return };
        let Some(values) = self.facets.get_mut(name) else { return };
        if values.get(value).is_some_and(Watchers::is_empty) {
            values.remove(value);
        }
        if values.is_empty() {
            self.facets.remove(name);
        }
    }

    fn concerned(&self, event: &Event, tell: &mut impl FnMut(&Arc<Watcher>)) {
        self.any.values().for_each(&mut *tell);
        let old = event.old.as_ref().map(|record| &record.facets);
        let new = event.new.as_ref().map(|record| &record.facets);
        for (name, by_value) in &self.facets {
            let mut at = |value: &str| {
                by_value.get(value).into_iter().flat_map(|w| w.values()).for_each(&mut *tell);
            };
            new.into_iter().flat_map(|facets| values(facets, name)).for_each(&mut at);
            let told = |value: &&str| new.is_none_or(|new: &Facets| !facet_is(new, name, value));
            old.into_iter().flat_map(|facets| values(facets, name)).filter(told).for_each(&mut at);
        }
    }
}
