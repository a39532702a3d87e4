//! Random histories over every journal, compared with a model so naive that it must be right: a list
//! of everything that ever happened.

mod elsewhere;

use elsewhere::{Elsewhere, Lost, Numbers};
use skiff_store::{
    CommitError, Currency, Facet, Key, ListRequest, Options, Revision, Scope, Store, Watch,
    WatchError, WatchItem, WatchRequest, WatchStart, Write, facets, memory, open,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % limit
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

/// A value of a key: revision, body, label.
type Value = (u64, String, String);

/// One change: revision, key, what was, what is. A delete's old value has the last body.
type Change = (u64, String, Option<Value>, Option<Value>);

#[derive(Default)]
struct Model {
    changes: Vec<Change>,
    revision: u64,
    compacted: u64,
}

impl Model {
    fn current(&self) -> u64 {
        self.revision
    }

    fn at(&self, revision: u64) -> BTreeMap<String, Value> {
        let mut state = BTreeMap::new();
        for (_, key, _, new) in self.changes.iter().filter(|change| change.0 <= revision) {
            match new {
                Some(new) => state.insert(key.clone(), new.clone()),
                None => state.remove(key),
            };
        }
        state
    }
}

/// What is selected: a scope and perhaps a label.
#[derive(Clone, Debug)]
struct Selection(Scope, Option<String>);

impl Selection {
    fn random(random: &mut Random) -> Selection {
        let scope = random.one(&["", "a", "a/x", "a/y/", "b", "ab", "none", "key"]);
        let scope = match scope {
            "key" => Scope::key(key(random)),
            prefix => Scope::prefix(prefix),
        };
        Selection(scope, random.one(&[None, None, Some("0".to_owned()), Some("1".to_owned())]))
    }

    fn takes(&self, key: &str, value: &Value) -> bool {
        self.0.contains(key) && self.1.as_ref().is_none_or(|label| *label == value.2)
    }

    fn facet(&self) -> Option<Facet> {
        self.1.as_ref().map(|label| ("l:v".into(), label.as_str().into()))
    }
}

fn key(random: &mut Random) -> String {
    let resource = random.one(&["a", "ab", "b"]);
    format!("{resource}/{}/{}", random.one(&["x", "y", ""]), random.below(5))
}

struct Watching {
    watch: Watch,
    selection: Selection,
    /// What it has told so far, from where.
    from: u64,
    told: Vec<Change>,
}

struct Run {
    store: Arc<dyn Store>,
    /// The journal, where it decides elsewhere; one revision for each write, else for each transaction.
    journal: Option<Elsewhere>,
    numbers: Numbers,
    model: Model,
    random: Random,
    watches: Vec<Watching>,
}

impl Run {
    async fn commit(&mut self) {
        let mut state = self.model.at(self.model.current());
        let (mut writes, mut changes, mut good) = (Vec::new(), Vec::new(), true);
        let mut used = Vec::new();
        for _ in 0..=self.random.below(4) {
            let key = key(&mut self.random);
            if used.contains(&key) {
                continue;
            }
            used.push(key.clone());
            let old = state.get(&key).cloned();
            let right = old.as_ref().map(|old| old.0);
            let expect = if self.random.below(12) == 0 { Some(3) } else { right };
            good &= expect == right;
            let further = if self.numbers == Numbers::Write { changes.len() as u64 } else { 0 };
            let revision = self.model.current() + 1 + further;
            let body = format!("body {revision}");
            match expect {
                Some(expect) if self.random.below(3) == 0 => {
                    let last = self.random.one(&[None, Some(body)]);
                    let ended = old.map(|old| (old.0, last.clone().unwrap_or(old.1), old.2));
                    changes.push((revision, key.clone(), ended, None));
                    let (key, expect) = (key.into(), Revision(expect));
                    writes.push(Write::Delete { key, expect, last: last.map(Into::into) });
                }
                expect => {
                    let label = self.random.below(3).to_string();
                    let new = (revision, body.clone(), label.clone());
                    state.insert(key.clone(), new.clone());
                    changes.push((revision, key.clone(), old, Some(new)));
                    writes.push(Write::Put {
                        key: key.into(),
                        expect: expect.map(Revision),
                        body: body.into(),
                        generation: 1,
                        facets: facets(vec![("l:v".into(), label.into())]),
                    });
                }
            }
        }
        let revisions = |done: Vec<Revision>| done.iter().map(|one| one.0).collect();
        let expected: Vec<u64> = changes.iter().map(|change: &Change| change.0).collect();
        let newest = expected.last().copied().unwrap_or(self.model.current());
        let luck = self.random.below(10);
        let done: Result<Vec<u64>, _> = match &self.journal {
            // Another server writes; here it shows when it is told.
            Some(journal) if luck < 3 => journal.write(&writes).map(revisions),
            Some(journal) if luck == 3 => {
                journal.lose(self.random.one(&[Lost::Written, Lost::Unwritten]));
                let lost = self.store.commit(writes).await.unwrap_err();
                self.store.reach(Currency::Current).await.unwrap();
                let written = !expected.is_empty() && self.store.current().0 == newest;
                if written { Ok(expected.clone()) } else { Err(lost) }
            }
            _ => {
                let done = self.store.commit(writes).await.map(revisions);
                assert!(done.is_err() || self.store.current().0 == newest);
                done
            }
        };
        match done {
            Ok(done) => {
                assert!(good);
                assert_eq!(done, expected);
                self.model.changes.extend(changes);
                self.model.revision = newest;
            }
            Err(CommitError::Conflict { at, .. }) => {
                assert!(!good);
                assert_eq!(at.0, self.model.current());
                self.store.reach(Currency::AtLeast(at)).await.unwrap();
            }
            Err(CommitError::Unknown(_)) => assert!(self.journal.is_some()),
            Err(other) => panic!("{other}"),
        }
    }

    async fn list(&mut self) {
        let selection = Selection::random(&mut self.random);
        let (oldest, current) = (self.model.compacted.max(1), self.model.current());
        let at = oldest + self.random.below(current - oldest + 1);
        let after = key(&mut self.random);
        let after = self.random.one(&[None, Some(after)]);
        let limit = self.random.one(&[None, Some(1), Some(4)]);
        let newest = self.random.below(3) == 0;
        let request = ListRequest {
            scope: selection.0.clone(),
            facet: selection.facet(),
            after: after.as_deref().map(Key::from),
            limit,
            at: (!newest).then_some(Revision(at)),
            currency: Currency::Current,
        };
        if !newest {
            self.store.reach(Currency::AtLeast(Revision(at))).await.unwrap();
        }
        let at = if newest { current } else { at };
        let mut expected: Vec<(String, Value)> = self.model.at(at).into_iter().collect();
        expected.retain(|(key, value)| {
            selection.takes(key, value) && after.as_ref().is_none_or(|after| key > after)
        });
        let listed = self.store.list(request.clone()).await.unwrap();
        assert_eq!(listed.revision.0, at);
        let found: Vec<(String, Value)> =
            listed.records.iter().map(|record| (record.key.to_string(), value(record))).collect();
        let cut = limit.unwrap_or(usize::MAX).min(expected.len());
        assert_eq!(found, expected[..cut], "{request:?}");
        assert_eq!(listed.remaining, expected.len() - cut);
    }

    async fn watch(&mut self) {
        let selection = Selection::random(&mut self.random);
        let (oldest, current) = (self.model.compacted.max(1), self.model.current());
        let from = oldest + self.random.below(current - oldest + 1);
        let start = match self.random.below(4) {
            0 => WatchStart::Initial,
            1 => WatchStart::Now,
            _ => WatchStart::After(Revision(from)),
        };
        let from = if matches!(start, WatchStart::After(_)) { from } else { current };
        let (scope, facet) = (selection.0.clone(), selection.facet());
        self.store.reach(Currency::Current).await.unwrap();
        let mut watch = self.store.watch(WatchRequest { scope, facet, start }).unwrap();
        if start == WatchStart::Initial {
            let mut found = Vec::new();
            loop {
                match watch.next().await.unwrap().unwrap() {
                    WatchItem::Initial(record) => {
                        found.push((record.key.to_string(), value(&record)));
                    }
                    WatchItem::InitialEnd(revision) => break assert_eq!(revision.0, current),
                    other => panic!("{other:?}"),
                }
            }
            let mut expected: Vec<(String, Value)> = self.model.at(current).into_iter().collect();
            expected.retain(|(key, value)| selection.takes(key, value));
            assert_eq!(found, expected);
        }
        self.watches.push(Watching { watch, selection, from, told: Vec::new() });
    }

    /// Reads a watch to its end for now, and compares all that it ever told.
    async fn drain(&mut self) {
        if self.watches.is_empty() {
            return;
        }
        self.store.reach(Currency::Current).await.unwrap();
        let at = self.random.below(self.watches.len() as u64) as usize;
        let watching = &mut self.watches[at];
        watching.watch.request_progress();
        loop {
            match watching.watch.next().await.unwrap() {
                Ok(WatchItem::Event(event)) => {
                    let side = |record: &Option<Arc<_>>| record.as_deref().map(value);
                    let (revision, key) = (event.revision.0, event.key.to_string());
                    watching.told.push((revision, key, side(&event.old), side(&event.new)));
                }
                Ok(WatchItem::Progress(revision)) => {
                    assert_eq!(revision.0, self.model.current());
                    break;
                }
                Err(WatchError::TooSlow { at }) => {
                    assert!(at.0 < self.model.compacted);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        let wanted = |change: &&Change| {
            let takes = |side: &Option<Value>| {
                side.as_ref().is_some_and(|value| watching.selection.takes(&change.1, value))
            };
            change.0 > watching.from && (takes(&change.2) || takes(&change.3))
        };
        let mut expected: Vec<Change> = self.model.changes.iter().filter(wanted).cloned().collect();
        let ended = watching.watch.progress().0 < self.model.current();
        if ended {
            // Too slow: what it told is the beginning of the truth.
            expected.truncate(watching.told.len());
        }
        assert_eq!(watching.told, expected, "{:?}", watching.selection);
        if ended || self.random.below(3) == 0 {
            self.watches.swap_remove(at);
        }
    }

    async fn compact(&mut self) {
        let oldest = 1 + self.random.below(self.model.current());
        self.store.reach(Currency::Current).await.unwrap();
        self.store.compact(Revision(oldest)).await.unwrap();
        self.model.compacted = self.model.compacted.max(oldest);
        assert_eq!(self.store.oldest_retained().0, self.model.compacted);
    }
}

fn value(record: &skiff_store::Record) -> Value {
    let body = String::from_utf8(record.body.to_vec()).unwrap();
    (record.revision.0, body, record.facets[0].1.to_string())
}

fn options(window_events: usize) -> Options {
    Options { window_events, ..Options::new(Arc::new(|| Duration::ZERO)) }
}

/// Over which journal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Memory,
    Disk,
    Elsewhere(Numbers),
}

async fn run(seed: u64, steps: u64, over: Over) {
    let folder = std::env::temp_dir().join(format!("skiff-model-{}-{seed}", std::process::id()));
    // From a window that holds nothing to one that holds all.
    let window = [0, 3, 40, 10_000][(seed % 4) as usize];
    let make = || match over {
        Over::Disk => (open(&folder, options(window)).unwrap(), None),
        Over::Memory => (memory(options(window)), None),
        Over::Elsewhere(numbers) => {
            let (store, journal) = elsewhere::store(&options(window), numbers, seed);
            (store, Some(journal))
        }
    };
    let model = Model { revision: 1, compacted: 1, ..Model::default() };
    let numbers = if let Over::Elsewhere(numbers) = over { numbers } else { Numbers::Write };
    let (store, journal) = make();
    let random = Random(seed);
    let mut run = Run { store, journal, numbers, model, random, watches: Vec::new() };
    for _ in 0..steps {
        match run.random.below(100) {
            0..60 => run.commit().await,
            60..75 => run.list().await,
            75..83 => run.watch().await,
            83..97 => run.drain().await,
            97 | 98 => run.compact().await,
            _ if over == Over::Disk => {
                run.watches.clear();
                run.store.close().await;
                run.store = make().0;
                assert_eq!(run.store.current().0, run.model.current());
                assert_eq!(run.store.oldest_retained().0, run.model.compacted);
            }
            _ => {
                let Some(journal) = &run.journal else { continue };
                run.watches.clear();
                // What was not told by then comes with the opening.
                journal.hold();
                journal.break_off();
                journal.let_go();
                run.store.reopen().await.unwrap();
                assert_eq!(run.store.current().0, run.model.current());
                assert_eq!(run.store.oldest_retained().0, run.model.compacted);
            }
        }
    }
    while !run.watches.is_empty() {
        run.drain().await;
    }
    run.store.close().await;
    if over == Over::Disk {
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[tokio::test]
async fn memory_engine() {
    for seed in 0..20 {
        run(seed, 600, Over::Memory).await;
    }
}

#[tokio::test]
async fn embedded_engine() {
    for seed in 100..106 {
        run(seed, 600, Over::Disk).await;
    }
}

#[tokio::test]
async fn decided_elsewhere_by_write() {
    for seed in 200..212 {
        run(seed, 600, Over::Elsewhere(Numbers::Write)).await;
    }
}

#[tokio::test]
async fn decided_elsewhere_by_transaction() {
    for seed in 300..320 {
        run(seed, 600, Over::Elsewhere(Numbers::Transaction)).await;
    }
}
