//! The newest record of every key, in key order, and by facet. Only committed, durable records.
//!
//! A list at an older revision is the newest state with an overlay: what the keys that changed
//! since were then. So no older version is kept here, and a list of any age costs what it returns
//! plus what changed since.

use crate::select::Selection;
use crate::{Event, Key, Record, Revision, facets::FacetIndex, window::Overlay};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

pub(crate) struct Index {
    records: BTreeMap<Key, Arc<Record>>,
    facets: FacetIndex,
    revision: Revision,
    bytes: usize,
    /// Records and bytes by the first part of the key: as many entries as there are resources.
    sizes: HashMap<Box<str>, (usize, usize)>,
}

impl Index {
    pub fn new(revision: Revision) -> Index {
        let (records, facets, sizes) = (BTreeMap::new(), FacetIndex::default(), HashMap::new());
        Index { records, facets, revision, bytes: 0, sizes }
    }

    /// Of the newest event applied.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// After an opening: the newest may have been a delete that is compacted away.
    pub fn raise_revision(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records whose keys have this first part, and their bytes.
    pub fn size(&self, first: &str) -> (usize, usize) {
        self.sizes.get(first).copied().unwrap_or_default()
    }

    fn resize(&mut self, key: &str, before: Option<usize>, after: Option<usize>) {
        self.bytes = self.bytes - before.unwrap_or(0) + after.unwrap_or(0);
        let first = key.split('/').next().unwrap_or(key);
        if !self.sizes.contains_key(first) {
            self.sizes.insert(first.into(), (0, 0));
        }
        if let Some((count, bytes)) = self.sizes.get_mut(first) {
            *count = *count - usize::from(before.is_some()) + usize::from(after.is_some());
            *bytes = *bytes - before.unwrap_or(0) + after.unwrap_or(0);
            if *count == 0 {
                self.sizes.remove(first);
            }
        }
    }

    pub fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.records.get(key)
    }

    /// Returns the record that was there: the stored one, which a delete's event may not have.
    pub fn apply(&mut self, event: &Event) -> Option<Arc<Record>> {
        self.revision = event.revision;
        let before = match &event.new {
            Some(new) => self.records.insert(new.key.clone(), new.clone()),
            None => self.records.remove(&event.key),
        };
        let facets = |record: &Option<Arc<Record>>| record.as_ref().map(|r| r.facets.clone());
        let size = |record: &Option<Arc<Record>>| record.as_ref().map(|r| r.body.len());
        self.resize(&event.key, size(&before), size(&event.new));
        let (old, new) = (facets(&before), facets(&event.new));
        self.facets.change(&event.key, old.as_ref(), new.as_ref());
        before
    }

    /// The records of a selection after a key, as of the overlay's revision; and how many more.
    pub fn page(
        &self,
        selection: &Selection,
        after: Option<&str>,
        limit: usize,
        overlay: &Overlay,
    ) -> (Vec<Arc<Record>>, usize) {
        let begin = selection.scope.begin(after);
        let mut newest =
            self.newest(selection, begin).filter(|r| !overlay.contains_key(&r.key)).peekable();
        let mut past = overlay
            .range::<str, _>((begin, Bound::Unbounded))
            .filter_map(|(_, record)| record.as_ref())
            .filter(|record| selection.takes(record))
            .peekable();
        let mut records = Vec::new();
        while records.len() < limit {
            let from_past = match (newest.peek(), past.peek()) {
                (None, None) => break,
                (Some(newest), Some(past)) => past.key < newest.key,
                (newest, _) => newest.is_none(),
            };
            records.extend(if from_past { past.next() } else { newest.next() }.cloned());
        }
        let remaining = newest.count() + past.count();
        (records, remaining)
    }

    /// The newest records of a selection, from `begin` on, by the cheapest way there is.
    fn newest<'a>(
        &'a self,
        selection: &'a Selection,
        begin: Bound<&'a str>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Record>> + 'a> {
        let inside = move |key: &str| selection.scope.contains(key);
        match &selection.facet {
            None => Box::new(
                self.records
                    .range::<str, _>((begin, Bound::Unbounded))
                    .take_while(move |(key, _)| inside(key))
                    .map(|(_, record)| record),
            ),
            Some(facet) => Box::new(
                self.facets
                    .keys(facet, begin)
                    .take_while(move |key| inside(key))
                    .filter_map(|key| self.records.get(key)),
            ),
        }
    }
}
