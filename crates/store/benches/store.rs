//! Figures of the store alone: `cargo bench -p skiff-store [-- FOLDER]`; FOLDER decides the disk.
//!
//! Writers are closed loops: each waits for its commit before the next one.

use skiff_store::{
    Key, ListRequest, Options, Revision, Scope, Store, Watch, WatchItem, WatchRequest, WatchStart,
    Write, facets, open,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RUN: Duration = Duration::from_secs(5);

fn options(keep_s: u64) -> Options {
    let began = Instant::now();
    let keep = Duration::from_secs(keep_s);
    Options { keep, ..Options::new(Arc::new(move || began.elapsed())) }
}

fn put(key: &Key, expect: Option<Revision>, size: usize, node: u64) -> Write {
    Write::Put {
        key: key.clone(),
        expect,
        body: vec![b'x'; size].into(),
        generation: 1,
        facets: facets(vec![
            ("f:spec.nodeName".into(), format!("node-{node}").into()),
            ("l:app".into(), "web".into()),
            ("l:pod-template-hash".into(), "5d69f7c6b9".into()),
            ("o".into(), format!("0b6a7a3e-93b3-4f6c-8c3f-{:012}", node / 3).into()),
        ]),
    }
}

fn pod(number: u64) -> Key {
    format!("pods/ns-{}/web-5d69f7c6b9-{number:06}", number % 10).into()
}

fn rss_mb() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096.0 / 1e6
}

/// Seconds of processor that this process has used.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let behind_name = stat.rsplit(')').next().expect("a name in brackets");
    let ticks = |field: usize| -> f64 {
        behind_name.split_whitespace().nth(field).and_then(|n| n.parse().ok()).expect("a number")
    };
    (ticks(11) + ticks(12)) / 100.0
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1000].as_micros();
    format!("p50 {} p99 {} p99.9 {} max {} us", at(500), at(990), at(999), at(1000))
}

async fn writers(store: &Arc<dyn Store>, count: u64) {
    let before = store.stats();
    let stop = Arc::new(AtomicBool::new(false));
    let cpu = cpu_s();
    let began = Instant::now();
    let tasks: Vec<_> = (0..count)
        .map(|writer| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                for turn in 0_u64.. {
                    let key: Key = format!("configmaps/bench/w{writer}-{}", turn % 100).into();
                    let expect = store.get(&key).map(|record| record.revision);
                    let began = Instant::now();
                    store.commit(vec![put(&key, expect, 1024, 1)]).await.expect("commits");
                    times.push(began.elapsed());
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(RUN).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a writer"));
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    let after = store.stats();
    let groups = after.group_writes.count - before.group_writes.count;
    println!(
        "{count:4} writers: {rate:7.0}/s  {}  {:.0} us of cpu a write, {:.1} writes a group, \
         disk {} MB, rss {:.0} MB",
        percentiles(times.clone()),
        (cpu_s() - cpu) * 1e6 / times.len() as f64,
        times.len() as f64 / groups as f64,
        after.disk_bytes >> 20,
        rss_mb()
    );
}

async fn fill(store: &Arc<dyn Store>, from: u64, to: u64, size: usize) {
    for start in (from..to).step_by(500) {
        let put = |number| put(&pod(number), None, size, number % 100);
        store.commit((start..to.min(start + 500)).map(put).collect()).await.expect("commits");
    }
}

async fn lists(store: &Arc<dyn Store>) {
    let node = Some(("f:spec.nodeName".into(), "node-7".into()));
    let scope = Scope::prefix("pods");
    let whole = ListRequest { scope: scope.clone(), ..ListRequest::default() };
    let cases = [
        ("list 10,000", whole.clone()),
        ("list 10,000, page of 500", ListRequest { limit: Some(500), ..whole.clone() }),
        ("list by facet, 100 of 10,000", ListRequest { facet: node, ..whole.clone() }),
        (
            "list 10,000 at an old revision",
            ListRequest { at: Some(Revision(store.current().0 - 5_000)), ..whole },
        ),
    ];
    for (name, request) in cases {
        let mut times = Vec::new();
        let mut count = 0;
        for _ in 0..200 {
            let began = Instant::now();
            count = store.list(request.clone()).await.expect("lists").records.len();
            times.push(began.elapsed());
        }
        println!("{name}: {count} records, {}", percentiles(times));
    }
}

/// From before the commit to each of the watchers.
async fn fan_out(store: &Arc<dyn Store>, name: &str, facet: impl Fn(u64) -> Option<u64>) {
    const WATCHERS: u64 = 1000;
    const WRITES: u64 = 300;
    let began = Instant::now();
    let watch = |number| {
        let node = |node| ("f:spec.nodeName".into(), format!("node-{node}").into());
        let request = WatchRequest {
            scope: Scope::prefix("pods"),
            facet: facet(number).map(node),
            start: WatchStart::Now,
        };
        store.watch(request).expect("watches")
    };
    let spawn = |number| tokio::spawn(follow(watch(number), began));
    let tasks: Vec<_> = (0..WATCHERS).map(spawn).collect();
    let mut times = Vec::new();
    let mut commits = Vec::new();
    for number in 0..WRITES {
        let key: Key = format!("pods/fan/{name}-{number}").into();
        let sent = began.elapsed();
        let done = store.commit(vec![put(&key, None, 1024, number)]).await.expect("commits");
        commits.push(began.elapsed() - sent);
        times.push((done[0], sent));
        tokio::time::sleep(Duration::from_micros(16_600)).await;
    }
    // The last event that all of them know: its key ends the watches.
    let end: Key = format!("pods/fan/end-{name}").into();
    for number in 0..WATCHERS {
        let expect = store.get(&end).map(|record| record.revision);
        store.commit(vec![put(&end, expect, 0, number)]).await.expect("commits");
    }
    let mut latencies = Vec::new();
    for task in tasks {
        for (revision, seen) in task.await.expect("a watcher") {
            let at = times.binary_search_by_key(&revision, |time| time.0).expect("ours");
            latencies.push(seen - times[at].1);
        }
    }
    println!(
        "1,000 watchers, {name}: {} deliveries, {} (the commit alone: {})",
        latencies.len(),
        percentiles(latencies.clone()),
        percentiles(commits)
    );
}

async fn follow(mut watch: Watch, began: Instant) -> Vec<(Revision, Duration)> {
    let mut seen = Vec::new();
    while let Some(Ok(WatchItem::Event(event))) = watch.next().await {
        if event.key.starts_with("pods/fan/end") {
            break;
        }
        seen.push((event.revision, began.elapsed()));
    }
    seen
}

async fn run(folder: &Path) {
    println!("rss at start {:.1} MB", rss_mb());
    // Kept so shortly, sweeping is part of what is measured.
    let store = open(&folder.join("commits"), options(2)).expect("opens");
    println!("rss with an empty store {:.1} MB", rss_mb());
    for count in [1, 16, 128] {
        writers(&store, count).await;
    }
    store.close().await;

    let objects = folder.join("objects");
    let store = open(&objects, options(300)).expect("opens");
    fill(&store, 0, 10_000, 1024).await;
    store.close().await;
    let began = Instant::now();
    let store = open(&objects, options(300)).expect("opens");
    println!("open with 10,000 objects of 1 KiB: {} ms", began.elapsed().as_millis());
    for number in 0..5_000 {
        let expect = store.get(&pod(number)).map(|record| record.revision);
        store.commit(vec![put(&pod(number), expect, 1024, number % 100)]).await.expect("commits");
    }
    lists(&store).await;
    fan_out(&store, "all-of-pods", |_| None).await;
    fan_out(&store, "one-node-each", Some).await;
    let before = rss_mb();
    fill(&store, 10_000, 110_000, 2048).await;
    println!(
        "100,000 more pods of 2 KiB: {:.0} MB, that is {:.0} bytes each; disk {} MB",
        rss_mb() - before,
        (rss_mb() - before) * 10.0,
        store.stats().disk_bytes >> 20
    );
    store.close().await;
    let began = Instant::now();
    let store = open(&objects, options(300)).expect("opens");
    println!("open with 110,000 objects: {} ms", began.elapsed().as_millis());
    store.close().await;
}

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = folder.map_or_else(std::env::temp_dir, Into::into);
    let folder = folder.join(format!("skiff-bench-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(run(&folder));
    std::fs::remove_dir_all(&folder).expect("ours");
}
