//! What the store promises, whatever its journal: each test runs in memory, on disk, and following one that decides
//! elsewhere.

mod elsewhere;

use elsewhere::{Lost, Numbers};
use skiff_store::{
    CommitError, Currency, ListRequest, Listed, OpenError, Options, ReadError, Revision, Scope,
    Store, Watch, WatchError, WatchItem, WatchRequest, WatchStart, Write, facets, memory, open,
};
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("skiff-store-{}-{number}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A clock that the test moves.
#[derive(Clone, Default)]
struct Hand(Arc<Mutex<Duration>>);

impl Hand {
    fn options(&self) -> Options {
        let time = self.0.clone();
        Options::new(Arc::new(move || *time.lock().unwrap()))
    }

    fn advance(&self, seconds: u64) {
        *self.0.lock().unwrap() += Duration::from_secs(seconds);
    }
}

/// On disk, in memory: journals that decide here.
fn both(change: impl Fn(&mut Options)) -> Vec<(Arc<dyn Store>, Hand, Folder)> {
    let make = |on_disk: bool| {
        let (hand, folder) = (Hand::default(), Folder::new());
        let mut options = hand.options();
        change(&mut options);
        let store = if on_disk { open(&folder.0, options).unwrap() } else { memory(options) };
        (store, hand, folder)
    };
    vec![make(false), make(true)]
}

/// The same, and following one that decides elsewhere.
fn all(change: impl Fn(&mut Options)) -> Vec<(Arc<dyn Store>, Hand, Folder)> {
    let mut stores = both(&change);
    for seed in 0..3 {
        let (hand, folder) = (Hand::default(), Folder::new());
        let mut options = hand.options();
        change(&mut options);
        stores.push((elsewhere::store(&options, Numbers::Write, seed).0, hand, folder));
    }
    stores
}

fn put(key: &str, expect: u64, body: &str, labels: &str) -> Write {
    let pair = |part: &str| part.split_once('=').map(|(n, v)| (n.into(), v.into()));
    Write::Put {
        key: key.into(),
        expect: (expect > 0).then_some(Revision(expect)),
        body: body.to_owned().into(),
        generation: 1,
        facets: facets(labels.split_whitespace().filter_map(pair).collect()),
    }
}

fn delete(key: &str, expect: u64, last: Option<&str>) -> Write {
    let last = last.map(|body| body.to_owned().into());
    Write::Delete { key: key.into(), expect: Revision(expect), last }
}

async fn commit(store: &Arc<dyn Store>, writes: Vec<Write>) -> Vec<u64> {
    store.commit(writes).await.unwrap().iter().map(|revision| revision.0).collect()
}

fn text(record: &skiff_store::Record) -> String {
    format!("{}={}@{}", record.key, String::from_utf8_lossy(&record.body), record.revision.0)
}

fn page(listed: &Listed) -> String {
    let records: Vec<String> = listed.records.iter().map(|record| text(record)).collect();
    format!("{} | {} +{}", records.join(" "), listed.revision.0, listed.remaining)
}

async fn list(store: &Arc<dyn Store>, scope: &str, change: impl Fn(&mut ListRequest)) -> String {
    let mut request = ListRequest { scope: Scope::prefix(scope), ..ListRequest::default() };
    change(&mut request);
    page(&store.list(request).await.unwrap())
}

fn watch(store: &Arc<dyn Store>, scope: &str, facet: Option<&str>, start: WatchStart) -> Watch {
    let facet = facet.map(|facet| facet.split_once('=').unwrap());
    let facet = facet.map(|(name, value)| (name.into(), value.into()));
    store.watch(WatchRequest { scope: Scope::prefix(scope), facet, start }).unwrap()
}

fn item(item: Option<Result<WatchItem, WatchError>>) -> String {
    let side = |record: &Option<Arc<skiff_store::Record>>| {
        record.as_ref().map_or("-".to_owned(), |r| String::from_utf8_lossy(&r.body).into_owned())
    };
    match item {
        None => "end".to_owned(),
        Some(Err(error)) => format!("{error:?}"),
        Some(Ok(WatchItem::Initial(record))) => format!("init {}", text(&record)),
        Some(Ok(WatchItem::InitialEnd(revision))) => format!("synced {}", revision.0),
        Some(Ok(WatchItem::Progress(revision))) => format!("progress {}", revision.0),
        Some(Ok(WatchItem::Event(event))) => {
            format!("{} {} {}>{}", event.revision.0, event.key, side(&event.old), side(&event.new))
        }
    }
}

/// Everything up to and including a progress that covers the current revision.
async fn drain(watch: &mut Watch) -> Vec<String> {
    watch.request_progress();
    let mut items = Vec::new();
    loop {
        let next = item(watch.next().await);
        let last = !next.starts_with(|c: char| c.is_ascii_digit() || c == 'i' || c == 's');
        items.push(next);
        if last {
            return items;
        }
    }
}

#[tokio::test]
async fn revisions_and_conflicts() {
    for (store, _, _folder) in all(|_| ()) {
        assert_eq!(store.current(), Revision(1));
        let batch = vec![put("p/d/a", 0, "1", ""), put("p/d/b", 0, "1", "")];
        assert_eq!(commit(&store, batch).await, [2, 3]);
        assert_eq!(commit(&store, vec![put("p/d/a", 2, "2", "")]).await, [4]);
        let conflict = |key: &str, expected: Option<u64>, actual: Option<u64>| {
            let (expected, actual) = (expected.map(Revision), actual.map(Revision));
            Err(CommitError::Conflict { key: key.into(), expected, actual, at: Revision(4) })
        };
        let cases = [
            (vec![put("p/d/a", 2, "3", "")], conflict("p/d/a", Some(2), Some(4))),
            (vec![put("p/d/a", 0, "3", "")], conflict("p/d/a", None, Some(4))),
            (vec![put("p/d/x", 9, "3", "")], conflict("p/d/x", Some(9), None)),
            (vec![delete("p/d/x", 9, None)], conflict("p/d/x", Some(9), None)),
            // Nothing of a batch is written when one of it conflicts.
            (
                vec![put("p/d/new", 0, "3", ""), put("p/d/b", 7, "3", "")],
                conflict("p/d/b", Some(7), Some(3)),
            ),
            (
                vec![put("p/d/b", 3, "3", ""), delete("p/d/b", 3, None)],
                Err(CommitError::Twice { key: "p/d/b".into() }),
            ),
        ];
        for (writes, expected) in cases {
            assert_eq!(store.commit(writes).await.map(|_| ()), expected);
        }
        assert_eq!(store.current(), Revision(4));
        assert!(store.get("p/d/new").is_none());
        assert_eq!(commit(&store, vec![delete("p/d/a", 4, Some("last"))]).await, [5]);
        assert_eq!(commit(&store, Vec::new()).await, [0; 0]);
        assert_eq!(list(&store, "", |_| ()).await, "p/d/b=1@3 | 5 +0");
    }
}

#[tokio::test]
async fn lists_by_scope_facet_page_and_revision() {
    // A window of three events, so that older revisions come from the log.
    for (store, _, _folder) in all(|options| options.window_events = 3) {
        for (key, labels) in
            [("p/d/a", "l=1"), ("p/d/b", "l=2"), ("p/e/c", "l=1"), ("pp//d", "l=1")]
        {
            commit(&store, vec![put(key, 0, "1", labels)]).await;
        }
        commit(&store, vec![put("p/d/a", 2, "2", "l=2")]).await;
        commit(&store, vec![delete("p/d/b", 3, None)]).await;
        commit(&store, vec![put("p/d/b", 0, "3", "l=1")]).await;
        commit(&store, vec![delete("p/e/c", 4, None)]).await;
        assert_eq!(list(&store, "p", |_| ()).await, "p/d/a=2@6 p/d/b=3@8 | 9 +0");
        let one = |request: &mut ListRequest| request.facet = Some(("l".into(), "1".into()));
        assert_eq!(list(&store, "", one).await, "p/d/b=3@8 pp//d=1@5 | 9 +0");
        let at = |revision| {
            move |request: &mut ListRequest| {
                request.at = Some(Revision(revision));
                request.facet = Some(("l".into(), "1".into()));
            }
        };
        assert_eq!(list(&store, "", at(5)).await, "p/d/a=1@2 p/e/c=1@4 pp//d=1@5 | 5 +0");
        assert_eq!(list(&store, "p/d", at(5)).await, "p/d/a=1@2 | 5 +0");
        assert_eq!(list(&store, "", at(8)).await, "p/d/b=3@8 p/e/c=1@4 pp//d=1@5 | 8 +0");
        assert_eq!(list(&store, "", at(1)).await, " | 1 +0");
        let paged = |after: &'static str| {
            move |request: &mut ListRequest| {
                request.at = Some(Revision(7));
                request.limit = Some(1);
                request.after = (!after.is_empty()).then(|| after.into());
            }
        };
        assert_eq!(list(&store, "p", paged("")).await, "p/d/a=2@6 | 7 +1");
        assert_eq!(list(&store, "p", paged("p/d/a")).await, "p/e/c=1@4 | 7 +0");
        let key = ListRequest { scope: Scope::key("p/d/a"), ..ListRequest::default() };
        assert_eq!(page(&store.list(key).await.unwrap()), "p/d/a=2@6 | 9 +0");
        let future = ListRequest { at: Some(Revision(10)), ..ListRequest::default() };
        let (asked, current) = (Revision(10), Revision(9));
        assert_eq!(store.list(future).await.unwrap_err(), ReadError::Future { asked, current });
    }
}

#[tokio::test]
async fn watches_replay_then_follow() {
    for (store, _, _folder) in all(|options| options.window_events = 2) {
        commit(&store, vec![put("p/d/a", 0, "1", "n=x"), put("q/d/a", 0, "1", "n=x")]).await;
        commit(&store, vec![put("p/d/a", 2, "2", "n=y")]).await;
        commit(&store, vec![delete("p/d/a", 4, Some("end"))]).await;
        let mut all = watch(&store, "p", None, WatchStart::After(Revision(1)));
        let mut x = watch(&store, "", Some("n=x"), WatchStart::After(Revision(2)));
        let mut now = watch(&store, "p", None, WatchStart::Now);
        let mut initial = watch(&store, "", None, WatchStart::Initial);
        let expected = ["2 p/d/a ->1", "4 p/d/a 1>2", "5 p/d/a end>-", "progress 5"];
        assert_eq!(drain(&mut all).await, expected);
        assert_eq!(drain(&mut x).await, ["3 q/d/a ->1", "4 p/d/a 1>2", "progress 5"]);
        assert_eq!(drain(&mut now).await, ["progress 5"]);
        assert_eq!(initial.progress(), Revision(0));
        assert_eq!(drain(&mut initial).await, ["init q/d/a=1@3", "synced 5", "progress 5"]);
        commit(&store, vec![put("p/d/b", 0, "3", "n=x")]).await;
        assert_eq!(drain(&mut all).await, ["6 p/d/b ->3", "progress 6"]);
        assert_eq!(drain(&mut x).await, ["6 p/d/b ->3", "progress 6"]);
        assert_eq!(now.progress(), Revision(5));
        assert_eq!(item(now.next().await), "6 p/d/b ->3");
        assert_eq!(drain(&mut initial).await, ["6 p/d/b ->3", "progress 6"]);
        let (asked, current) = (Revision(7), Revision(6));
        let start = WatchStart::After(asked);
        let request = WatchRequest { scope: Scope::prefix(""), facet: None, start };
        assert_eq!(store.watch(request).err(), Some(ReadError::Future { asked, current }));
        assert_eq!(store.stats().watches, 4);
        drop((all, x, now));
        assert_eq!(store.stats().watches, 1);
        store.close().await;
        assert_eq!(item(initial.next().await), "end");
        assert_eq!(item(initial.next().await), "end");
        let late = store.commit(vec![put("p/d/z", 0, "", "")]).await;
        assert_eq!(late.unwrap_err(), CommitError::Stopped("it was closed".into()));
        assert!(store.get("p/d/b").is_some());
    }
}

#[tokio::test]
async fn a_waiting_watch_is_woken() {
    for (store, _, _folder) in all(|_| ()) {
        let mut waiting = watch(&store, "", None, WatchStart::Now);
        let first = poll_fn(|cx| Poll::Ready(waiting.poll_next(cx).is_pending())).await;
        assert!(first);
        let waiting = tokio::spawn(async move { item(waiting.next().await) });
        let reached = store.reach(Currency::AtLeast(Revision(2)));
        commit(&store, vec![put("a/b/c", 0, "1", "")]).await;
        assert_eq!(waiting.await.unwrap(), "2 a/b/c ->1");
        reached.await.unwrap();
    }
}

#[test]
fn only_the_owner_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = open(&folder.0, Hand::default().options()).unwrap();
    for name in ["", "store.db", "store.db-wal"] {
        let mode = std::fs::metadata(folder.0.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    drop(store);
}

#[tokio::test]
async fn a_slow_watch_loses_nothing_until_compaction() {
    for (store, _, _folder) in all(|options| options.window_events = 100) {
        let mut slow = watch(&store, "", None, WatchStart::Now);
        assert_eq!(drain(&mut slow).await, ["progress 1"]);
        let mut lost = watch(&store, "", None, WatchStart::Now);
        assert_eq!(drain(&mut lost).await, ["progress 1"]);
        // More than a queue and a window hold together.
        for revision in 1..=900 {
            let expect = if revision == 1 { 0 } else { revision };
            commit(&store, vec![put("a/b/c", expect, &revision.to_string(), "")]).await;
        }
        assert!(store.stats().watch_behind >= 2 && store.stats().watch_queued <= 600);
        let items = drain(&mut slow).await;
        assert_eq!((items.len(), items[899].as_str()), (901, "901 a/b/c 899>900"));
        store.compact(Revision(880)).await.unwrap();
        let items = drain(&mut lost).await;
        // What was queued before it fell behind still comes, in order; then it is told.
        assert!(items.len() > 1 && items[0] == "2 a/b/c ->1");
        assert!(items.last().unwrap().starts_with("TooSlow"), "{:?}", items.last());
        assert_eq!(store.oldest_retained(), Revision(880));
        let mut edge = watch(&store, "", None, WatchStart::After(Revision(880)));
        assert_eq!(drain(&mut edge).await.len(), 22);
    }
}

#[tokio::test]
async fn compaction_by_age_and_by_hand() {
    for (store, hand, _folder) in both(|options| options.keep = Duration::from_secs(300)) {
        commit(&store, vec![put("a/b/c", 0, "1", "")]).await;
        hand.advance(200);
        commit(&store, vec![put("a/b/c", 2, "2", "")]).await;
        commit(&store, vec![put("a/b/d", 0, "1", "")]).await;
        hand.advance(299);
        commit(&store, vec![delete("a/b/d", 4, None)]).await;
        assert_eq!(store.oldest_retained(), Revision(1));
        hand.advance(1);
        // Now at 500 s: what was current 300 s ago is the oldest, and stays.
        commit(&store, vec![put("a/b/d", 0, "2", "")]).await;
        assert_eq!(store.oldest_retained(), Revision(2));
        assert_eq!(list(&store, "", |r| r.at = Some(Revision(2))).await, "a/b/c=1@2 | 2 +0");
        store.compact(Revision(100)).await.unwrap();
        assert_eq!(store.oldest_retained(), Revision(6));
        let old = ListRequest { at: Some(Revision(5)), ..ListRequest::default() };
        let (asked, oldest) = (Revision(5), Revision(6));
        let compacted = ReadError::Compacted { asked, oldest };
        assert_eq!(store.list(old).await.unwrap_err(), compacted);
        let start = WatchStart::After(asked);
        let request = WatchRequest { scope: Scope::prefix(""), facet: None, start };
        assert_eq!(store.watch(request).err(), Some(compacted));
        assert_eq!(list(&store, "", |_| ()).await, "a/b/c=2@3 a/b/d=2@6 | 6 +0");
        assert_eq!(commit(&store, vec![put("a/b/d", 6, "2", "")]).await, [7]);
    }
}

#[tokio::test]
async fn opening_again() {
    let folder = Folder::new();
    let options = Hand::default().options();
    let store = open(&folder.0, options.clone()).unwrap();
    assert!(matches!(open(&folder.0, options.clone()), Err(OpenError::Locked { .. })));
    commit(&store, vec![put("a/b/c", 0, "1", "l=1"), put("a/b/d", 0, "1", "")]).await;
    commit(&store, vec![delete("a/b/d", 3, Some("end"))]).await;
    store.close().await;
    let store = open(&folder.0, options.clone()).unwrap();
    assert_eq!(list(&store, "", |_| ()).await, "a/b/c=1@2 | 4 +0");
    let mut all = watch(&store, "", None, WatchStart::After(Revision(1)));
    let expected = ["2 a/b/c ->1", "3 a/b/d ->1", "4 a/b/d end>-", "progress 4"];
    assert_eq!(drain(&mut all).await, expected);
    // The newest revision is a delete, which compaction takes away: it is never given out again.
    store.compact(Revision(4)).await.unwrap();
    store.close().await;
    let store = open(&folder.0, options.clone()).unwrap();
    assert_eq!((store.current(), store.oldest_retained()), (Revision(4), Revision(4)));
    assert_eq!(commit(&store, vec![put("a/b/e", 0, "1", "")]).await, [5]);
    store.close().await;
    // A restore raises the origin; who watched the lost history must list anew.
    let raised = Options { origin: Revision(100), ..options.clone() };
    let store = open(&folder.0, raised).unwrap();
    assert_eq!((store.current(), store.oldest_retained()), (Revision(100), Revision(100)));
    assert_eq!(commit(&store, vec![put("a/b/f", 0, "1", "")]).await, [101]);
    store.close().await;
    let store = open(&folder.0, options).unwrap();
    assert_eq!(list(&store, "", |_| ()).await, "a/b/c=1@2 a/b/e=1@5 a/b/f=1@101 | 101 +0");
    let mut all = watch(&store, "", None, WatchStart::After(Revision(100)));
    assert_eq!(drain(&mut all).await, ["101 a/b/f ->1", "progress 101"]);
    store.close().await;
}

/// What was done to the file, and what opening it says.
#[tokio::test]
async fn what_cannot_be_trusted_is_not_opened() {
    let cases = [
        ("UPDATE log SET body = CAST('x' AS BLOB) WHERE revision = 3", "revision 3 fails its sum"),
        ("UPDATE log SET prev = 2 WHERE revision = 4", "revision 4 fails its sum"),
        ("DELETE FROM log WHERE revision = 3", "revision 3 is missing"),
        ("PRAGMA user_version = 99", "newer Skiff (format 99, this one knows 1)"),
        ("PRAGMA application_id = 99", "is not a database of Skiff"),
    ];
    for (damage, expected) in cases {
        let folder = Folder::new();
        let store = open(&folder.0, Hand::default().options()).unwrap();
        for key in ["a/b/c", "a/b/d", "a/b/e"] {
            commit(&store, vec![put(key, 0, "1", "")]).await;
        }
        store.close().await;
        let db = rusqlite::Connection::open(folder.0.join("store.db")).unwrap();
        db.execute_batch(damage).unwrap();
        drop(db);
        let error = open(&folder.0, Hand::default().options()).err().unwrap().to_string();
        assert!(error.contains(expected), "{damage}: {error}");
    }
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    std::fs::write(folder.0.join("store.db"), [7; 9000]).unwrap();
    let error = open(&folder.0, Hand::default().options()).err().unwrap().to_string();
    assert!(error.contains("is not a database of Skiff"), "{error}");
}

/// One transaction is one revision: nothing of it is told twice, or cut, wherever a watch begins.
#[tokio::test]
async fn a_transaction_may_be_one_revision() {
    for (seed, window) in [(1, 0), (2, 3), (3, 1000)] {
        let options = Options { window_events: window, ..Hand::default().options() };
        let (store, _) = elsewhere::store(&options, Numbers::Transaction, seed);
        let mut live = watch(&store, "", None, WatchStart::Now);
        assert_eq!(drain(&mut live).await, ["progress 1"]);
        let mut expected = Vec::new();
        for revision in 2..60 {
            let keys = ["a/b/c", "d/e/f", "g//h"];
            let expect = if revision == 2 { 0 } else { revision - 1 };
            let body = revision.to_string();
            let batch = keys.map(|key| put(key, expect, &body, "")).to_vec();
            assert_eq!(commit(&store, batch).await, [revision; 3]);
            let old = if expect == 0 { String::new() } else { expect.to_string() };
            expected.extend(keys.map(|key| format!("{revision} {key} {old}>{body}")));
        }
        let expected: Vec<String> = expected.iter().map(|line| line.replace(" >", " ->")).collect();
        let with = |after: u64, progress: &str| {
            let later = expected.iter().skip(3 * (after as usize - 1)).cloned();
            later.chain([progress.to_owned()]).collect::<Vec<_>>()
        };
        assert_eq!(drain(&mut live).await, with(1, "progress 59"));
        for after in [1, 7, 40, 58] {
            let mut late = watch(&store, "", None, WatchStart::After(Revision(after)));
            assert_eq!(drain(&mut late).await, with(after, "progress 59"), "after {after}");
        }
        let at = |revision| move |request: &mut ListRequest| request.at = Some(Revision(revision));
        assert_eq!(list(&store, "", at(9)).await, "a/b/c=9@9 d/e/f=9@9 g//h=9@9 | 9 +0");
    }
}

/// What another server wrote is seen by reads that must be current, however late it is told here.
#[tokio::test]
async fn what_must_be_current_waits() {
    let options = Hand::default().options();
    let (store, journal) = elsewhere::store(&options, Numbers::Transaction, 1);
    commit(&store, vec![put("a/b/c", 0, "1", "")]).await;
    journal.hold();
    journal.write(&[put("a/b/c", 2, "2", "")]).unwrap();
    let seen = |request: &mut ListRequest| request.currency = Currency::Seen;
    assert_eq!(list(&store, "", seen).await, "a/b/c=1@2 | 2 +0");
    assert_eq!(store.get("a/b/c").unwrap().revision, Revision(2));
    // A conflict comes before the event of what beat it; it says what to wait for.
    let beaten = store.commit(vec![put("a/b/c", 2, "x", "")]).await.unwrap_err();
    let CommitError::Conflict { at, .. } = beaten else { panic!("{beaten:?}") };
    assert_eq!(at, Revision(3));
    let reads = async {
        store.reach(Currency::AtLeast(at)).await.unwrap();
        (list(&store, "", |_| ()).await, store.reach(Currency::Current).await)
    };
    let mut reads = std::pin::pin!(reads);
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(poll_fn(|cx| Poll::Ready(reads.as_mut().poll(cx).is_pending())).await);
    }
    journal.let_go();
    assert_eq!(reads.await, ("a/b/c=2@3 | 3 +0".to_owned(), Ok(())));
}

/// The store goes on after a write of which it does not know what became, and the next current read tells.
#[tokio::test]
async fn an_unknown_outcome_is_known_to_the_next_read() {
    let options = Hand::default().options();
    let (store, journal) = elsewhere::store(&options, Numbers::Transaction, 1);
    for (lost, key, expected) in
        [(Lost::Written, "a/b/c", "a/b/c=1@2 | 2 +0"), (Lost::Unwritten, "a/b/d", " | 2 +0")]
    {
        journal.lose(lost);
        let error = store.commit(vec![put(key, 0, "1", "")]).await.unwrap_err();
        assert!(matches!(error, CommitError::Unknown(_)), "{error}");
        let one = |request: &mut ListRequest| request.scope = Scope::key(key);
        assert_eq!(list(&store, "", one).await, expected);
    }
    let many = (0..9).map(|n| put(&format!("m/n/{n}"), 0, "", "")).collect();
    assert_eq!(store.commit(many).await, Err(CommitError::TooMany { most: 8 }));
}

/// After a stop it goes on from what is durable; who watched begins from what it saw last, and misses nothing.
#[tokio::test]
async fn opening_again_goes_on() {
    let (store, journal) = elsewhere::store(&Hand::default().options(), Numbers::Write, 1);
    commit(&store, vec![put("a/b/c", 0, "1", "")]).await;
    let mut all = watch(&store, "", None, WatchStart::After(Revision(1)));
    assert_eq!(drain(&mut all).await, ["2 a/b/c ->1", "progress 2"]);
    journal.hold();
    journal.write(&[put("a/b/c", 2, "2", "")]).unwrap();
    journal.break_off();
    assert!(item(all.next().await).starts_with("Stopped"));
    let stopped = store.commit(vec![put("a/b/d", 0, "1", "")]).await.unwrap_err();
    assert_eq!(stopped, CommitError::Stopped("the connection broke".into()));
    assert_eq!(store.stopped().await, "the connection broke".into());
    journal.let_go();
    let opened = tokio::spawn(store.opened());
    store.reopen().await.unwrap();
    opened.await.unwrap();
    assert_eq!(list(&store, "", |_| ()).await, "a/b/c=2@3 | 3 +0");
    let mut all = watch(&store, "", None, WatchStart::After(Revision(2)));
    assert_eq!(commit(&store, vec![put("a/b/d", 0, "1", "")]).await, [4]);
    let expected = ["3 a/b/c 1>2", "4 a/b/d ->1", "progress 4"];
    assert_eq!(drain(&mut all).await, expected);
}

/// A store on disk that stopped is opened again in place: the same folder, the same watches begun anew.
#[tokio::test]
async fn a_closed_store_stays_closed() {
    let folder = Folder::new();
    let store = open(&folder.0, Hand::default().options()).unwrap();
    commit(&store, vec![put("a/b/c", 0, "1", "")]).await;
    // Nothing stopped: nothing happens.
    store.reopen().await.unwrap();
    assert_eq!(commit(&store, vec![put("a/b/d", 0, "1", "")]).await, [3]);
    store.close().await;
    assert!(matches!(store.reopen().await, Err(OpenError::Closed)));
}

/// Whoever gives memory back hears of it once for a large deletion, and not of churn.
#[tokio::test]
async fn shrinking_is_told() {
    for (store, _, _folder) in all(|options| options.window_bytes = 0) {
        let shrunk = store.shrunk();
        let large = "x".repeat(1 << 20);
        for turn in 0..3 {
            for key in ["a/b/c", "a/b/d", "a/b/e"] {
                let expect = store.get(key).map_or(0, |record| record.revision.0);
                commit(&store, vec![put(key, expect, &format!("{large}{turn}"), "")]).await;
            }
        }
        assert_eq!(*shrunk.borrow(), 0);
        for key in ["a/b/c", "a/b/d", "a/b/e"] {
            let expect = store.get(key).unwrap().revision.0;
            commit(&store, vec![delete(key, expect, None)]).await;
        }
        assert_eq!(*shrunk.borrow(), 1);
    }
}
