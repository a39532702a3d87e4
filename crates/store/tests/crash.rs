//! kill -9 at random moments: what was acknowledged is there, and no revision comes twice.
//!
//! The child is this very program, started again with the folder in its environment. It writes one
//! line per acknowledged write to its standard output; after its death that is compared with what
//! a new opening reads.

use skiff_store::{
    Key, ListRequest, Options, Revision, Scope, Store, WatchItem, WatchRequest, WatchStart, Write,
    facets, open,
};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FOLDER: &str = "SKIFF_STORE_CRASH_FOLDER";
const ROUNDS: u64 = 25;
const WRITERS: u64 = 8;

fn options() -> Options {
    let began = Instant::now();
    // Short, so that compaction and sweeping are interrupted as well.
    let keep = Duration::from_millis(20);
    Options { keep, ..Options::new(Arc::new(move || began.elapsed())) }
}

/// Each writer works on keys of its own: creates, updates and deletes in turn, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = open(Path::new(&folder), options()).unwrap();
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write_on(store.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn write_on(store: Arc<dyn Store>, writer: u64) {
    for turn in 0.. {
        let key: Key = format!("things/w{writer}/k{}", turn % 7).into();
        let newest = store.get(&key);
        let write = match &newest {
            Some(record) if turn % 3 == 0 => {
                Write::Delete { key: key.clone(), expect: record.revision, last: None }
            }
            _ => Write::Put {
                key: key.clone(),
                expect: newest.as_ref().map(|record| record.revision),
                body: format!("{writer}/{turn}/{}", "x".repeat(turn as usize % 5000)).into(),
                generation: 1,
                facets: facets(vec![("l:writer".into(), writer.to_string().into())]),
            },
        };
        let deletes = matches!(write, Write::Delete { .. });
        let revision = store.commit(vec![write]).await.unwrap()[0].0;
        let length = if deletes { 0 } else { store.get(&key).unwrap().body.len() };
        // One write call per line, so that a line is there whole or not at all.
        let line = format!("ack {revision} {key} {length}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

/// What a child acknowledged: revision, key and length (0: deleted).
fn run_child(folder: &Path, life: Duration) -> Vec<(u64, String, usize)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut acks = Vec::new();
        for line in output.lines() {
            let line = line.unwrap();
            let Some(at) = line.find("ack ") else { continue };
            let mut words = line[at + 4..].split(' ');
            let revision = words.next().unwrap().parse().unwrap();
            let key = words.next().unwrap().to_owned();
            acks.push((revision, key, words.next().unwrap().parse().unwrap()));
        }
        acks
    });
    // The moment of death is what this test is about.
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[tokio::test]
async fn no_acknowledged_write_is_lost() {
    let folder: PathBuf =
        std::env::temp_dir().join(format!("skiff-store-crash-{}", std::process::id()));
    let mut newest: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    let (mut random, mut high, mut total) = (0x9e37_79b9_7f4a_7c15_u64, 1, 0);
    for round in 0..ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let acks = run_child(&folder, Duration::from_millis(30 + (random >> 33) % 300));
        total += acks.len();
        let before = high;
        let mut revisions: Vec<u64> = acks.iter().map(|ack| ack.0).collect();
        revisions.sort_unstable();
        let count = revisions.len();
        revisions.dedup();
        assert_eq!(revisions.len(), count, "a revision was given out twice");
        assert!(revisions.first().is_none_or(|first| *first > before), "a revision was reused");
        for (revision, key, length) in acks {
            let entry = newest.entry(key).or_default();
            if revision > entry.0 {
                *entry = (revision, length);
            }
        }

        let store = open(&folder, options()).unwrap();
        high = store.current().0;
        assert!(revisions.last().is_none_or(|last| *last <= high), "round {round}");
        // Of each writer, one write beyond the acknowledged ones may be there: the one that was
        // durable and not yet answered when it died.
        let mut ahead: BTreeMap<String, u32> = BTreeMap::new();
        for (key, (revision, length)) in &mut newest {
            let found = store.get(key).map(|record| (record.revision.0, record.body.len()));
            let expected = (*length > 0).then_some((*revision, *length));
            if found != expected {
                let writer = key.split('/').nth(1).unwrap().to_owned();
                *ahead.entry(writer).or_default() += 1;
                let newer = found.is_none_or(|(found, _)| found > before.max(*revision));
                assert!(newer, "round {round}: {key}: expected {expected:?}, found {found:?}");
            }
            (*revision, *length) = found.unwrap_or((*revision, 0));
        }
        assert!(ahead.values().all(|count| *count == 1), "round {round}: lost {ahead:?}");
        check_replay(&store).await;
        store.close().await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(total > 1000, "only {total} writes were acknowledged");
}

/// The oldest retained snapshot and the events since give the newest state, without a gap.
async fn check_replay(store: &Arc<dyn Store>) {
    let oldest = store.oldest_retained();
    let scope = Scope::prefix("");
    let at = |at| ListRequest { scope: scope.clone(), at, ..ListRequest::default() };
    let listed = store.list(at(Some(oldest))).await.unwrap();
    let mut state: BTreeMap<Key, Revision> =
        listed.records.iter().map(|record| (record.key.clone(), record.revision)).collect();
    let start = WatchStart::After(oldest);
    let request = WatchRequest { scope: scope.clone(), facet: None, start };
    let mut watch = store.watch(request).unwrap();
    watch.request_progress();
    let mut last = oldest;
    while let Some(WatchItem::Event(event)) = watch.next().await.map(Result::unwrap) {
        assert_eq!(event.revision.0, last.0 + 1);
        last = event.revision;
        let old = event.old.as_ref().map(|record| record.revision);
        assert_eq!(state.get(&event.key).copied(), old);
        match &event.new {
            Some(new) => state.insert(event.key.clone(), new.revision),
            None => state.remove(&event.key),
        };
    }
    assert_eq!(last, store.current());
    let listed = store.list(at(None)).await.unwrap();
    let newest = listed.records.iter().map(|record| (record.key.clone(), record.revision));
    assert_eq!(state, newest.collect());
}
