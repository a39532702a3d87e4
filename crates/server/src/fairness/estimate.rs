//! Estimate: how many seats a request takes (KEP-1040, "Width of the request"): a list by the bytes that it reads, a
//! write by those who watch what it changes.

use super::level::Work;
use crate::authorize::Attributes;
use crate::request::url::Query;
use skiff_api::selector::FieldRequirement;
use skiff_base::Lock;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

const BYTES_PER_SEAT: u64 = 100_000;
/// A list that is answered as it was kept is in memory once, piece by piece.
const STREAMED_BYTES_MOST: u64 = 1_000_000;
const LIST_SEATS_MOST: u32 = 100;
const WRITE_SEATS_MOST: u32 = 10;
/// So many watchers are a seat's work for [`EVENT`]; fewer cost nothing.
const WATCHES_PER_SEAT: usize = 10;
const EVENT: Duration = Duration::from_millis(5);

/// How many objects a resource has, and their bytes.
pub type Size = (usize, usize);

/// What a request will cost, and how many hear of what it writes; `widest` is the most that its level allows (0: no
/// bound of its own).
pub fn estimate(
    asked: &Attributes,
    query: &Query,
    watches: &Watches,
    widest: u32,
    size: impl FnOnce() -> Size,
) -> (Work, Option<usize>) {
    let most = |own: u32| if widest == 0 { own } else { own.min(widest) };
    let reads = match &*asked.verb {
        _ if asked.path.is_some() => false,
        "watch" => begins_with_state(query),
        verb => verb == "list",
    };
    // A token is no event.
    let token = asked.resource == "serviceaccounts" && asked.subresource == "token";
    let writes = matches!(&*asked.verb, "create" | "update" | "patch" | "delete");
    if reads {
        (Work::of(list(asked, query, size()).clamp(1, most(LIST_SEATS_MOST))), None)
    } else if writes && asked.path.is_none() && !token {
        let interested = watches.interested(asked);
        (write(interested, most(WRITE_SEATS_MOST)), Some(interested))
    } else {
        (Work::ONE, None)
    }
}

/// Whether the events of a watch begin with what is there.
fn begins_with_state(query: &Query) -> bool {
    let revision = query.get("resourceVersion").unwrap_or("0");
    let asked = query.get("sendInitialEvents").is_some_and(|it| !matches!(it, "false" | "0"));
    asked || revision == "0"
}

fn list(asked: &Attributes, query: &Query, (count, bytes): Size) -> u32 {
    let (count, bytes) = (count as u64, bytes as u64);
    let limit = query.get("limit").and_then(|it| it.parse().ok()).filter(|it| *it > 0);
    let limited = limit.map_or(count, |limit: u64| limit.min(count));
    let kept = asked.verb == "watch" || is_kept(query);
    let selects = ["fieldSelector", "labelSelector"].iter().any(|it| query.get(it).is_some());
    let read = match () {
        // It is read as one object is.
        () if !asked.name.is_empty() => 1,
        () if selects && !kept => limited.max(count / 2),
        () => limited,
    };
    let bytes = read.saturating_mul(bytes / count.max(1));
    let bytes = if kept { bytes.min(STREAMED_BYTES_MOST) } else { bytes };
    u32::try_from(bytes.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX)
}

/// Whether a list is of the newest state, of which all is at hand, and not of an older one.
fn is_kept(query: &Query) -> bool {
    let revision = query.get("resourceVersion");
    match query.get("resourceVersionMatch") {
        Some("NotOlderThan") => true,
        Some(_) => false,
        None if query.get("continue").is_some() => false,
        None => query.get("limit").is_none() || revision.is_none_or(|it| it == "0"),
    }
}

fn write(watches: usize, most: u32) -> Work {
    if watches < WATCHES_PER_SEAT {
        return Work::ONE;
    }
    let wanted = u32::try_from(watches.div_ceil(WATCHES_PER_SEAT)).unwrap_or(u32::MAX);
    let seats = wanted.min(most);
    // The same work, in another shape: the wider a request is, the more seats wait for each other.
    Work { first: 1, last: seats, after: EVENT * wanted / seats }
}

/// The watches that run, by what they watch. Hashes stand for names: one that meets another is counted with it, which
/// an estimate bears.
#[derive(Default)]
pub struct Watches(Lock<HashMap<u64, usize>>);

/// A watch, while it runs.
pub struct Watching(Arc<Watches>, u64);

impl Watches {
    /// Counts a watch; None for one that hears of few objects: pods of one node are found by an index.
    pub fn begin(self: &Arc<Self>, asked: &Attributes) -> Option<Watching> {
        let of_a_node = |it: &FieldRequirement| {
            it.field == "spec.nodeName" && !it.negated && !it.value.is_empty()
        };
        if asked.resource == "pods" && asked.fields.iter().any(of_a_node) {
            return None;
        }
        let key = key(asked, &asked.namespace, &asked.name);
        *self.0.lock().entry(key).or_default() += 1;
        Some(Watching(self.clone(), key))
    }

    /// How many hear of a change that is asked for.
    pub fn interested(&self, asked: &Attributes) -> usize {
        let (namespace, name) = (&*asked.namespace, &*asked.name);
        let watches = self.0.lock();
        let of = |wanted: bool, namespace, name| {
            let found = wanted.then(|| watches.get(&key(asked, namespace, name)));
            found.flatten().copied().unwrap_or(0)
        };
        of(true, "", "")
            + of(!namespace.is_empty(), namespace, "")
            + of(!name.is_empty(), namespace, name)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watches = self.0.0.lock();
        if let Some(count) = watches.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                watches.remove(&self.1);
            }
        }
    }
}

fn key(asked: &Attributes, namespace: &str, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&*asked.group, &*asked.resource, namespace, name).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::url::{Target, parse, verb};
    use expect_test::expect;

    fn asked(line: &str) -> (Attributes, Query) {
        let (method, target) = line.split_once(' ').expect("a method");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = Query::parse(query);
        let Target::Resource(it) = parse(path) else {
            return (Attributes::of_path(method, path), query);
        };
        let method = method.parse().expect("a method");
        let verb = verb(&method, &it, query.flag("watch")).expect("a verb");
        (Attributes::of(verb.name(), &it, &query), query)
    }

    #[test]
    fn a_list_is_as_wide_as_what_it_reads() {
        let watches = Watches::default();
        let mut out = String::new();
        for line in [
            "GET /api/v1/pods/",
            "GET /api/v1/pods?limit=500",
            "GET /api/v1/pods?limit=500&resourceVersion=7",
            "GET /api/v1/pods?limit=500&continue=x",
            "GET /api/v1/pods?labelSelector=a&continue=x",
            "GET /api/v1/pods?resourceVersion=7&resourceVersionMatch=Exact",
            "GET /api/v1/pods?fieldSelector=metadata.name%3Dx",
            "GET /api/v1/namespaces/n/pods/x",
            "GET /api/v1/pods?watch=1",
            "GET /api/v1/pods?watch=1&resourceVersion=7",
            "GET /api/v1/pods?watch=1&resourceVersion=7&sendInitialEvents=true",
            "DELETE /api/v1/namespaces/n/pods",
            "GET /version",
        ] {
            let (asked, query) = asked(line);
            let (work, _) = estimate(&asked, &query, &watches, 37, || (10_000, 20_000_000));
            out += &format!("{} {line}\n", work.seats());
        }
        expect![[r#"
            10 GET /api/v1/pods/
            10 GET /api/v1/pods?limit=500
            10 GET /api/v1/pods?limit=500&resourceVersion=7
            10 GET /api/v1/pods?limit=500&continue=x
            37 GET /api/v1/pods?labelSelector=a&continue=x
            37 GET /api/v1/pods?resourceVersion=7&resourceVersionMatch=Exact
            1 GET /api/v1/pods?fieldSelector=metadata.name%3Dx
            1 GET /api/v1/namespaces/n/pods/x
            10 GET /api/v1/pods?watch=1
            1 GET /api/v1/pods?watch=1&resourceVersion=7
            10 GET /api/v1/pods?watch=1&resourceVersion=7&sendInitialEvents=true
            1 DELETE /api/v1/namespaces/n/pods
            1 GET /version
        "#]]
        .assert_eq(&out);
        let (asked, query) = asked("GET /api/v1/pods");
        assert_eq!(estimate(&asked, &query, &watches, 0, || (0, 0)).0, Work::ONE);
        assert_eq!(estimate(&asked, &query, &watches, 8, || (9, 9_000_000)).0.seats(), 8);
    }

    #[test]
    fn a_write_pays_for_those_who_watch() {
        let watches = Arc::new(Watches::default());
        let begin = |line: &str, count: usize| -> Vec<_> {
            (0..count).map(|_| watches.begin(&asked(line).0)).collect()
        };
        let held = [
            begin("GET /api/v1/pods?watch=1", 5),
            begin("GET /api/v1/namespaces/n/pods?watch=1", 400),
            begin("GET /api/v1/namespaces/n/pods?watch=1&fieldSelector=metadata.name%3Dp", 20),
            begin("GET /api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1", 1000),
            begin("GET /api/v1/nodes?watch=1", 12),
        ];
        let mut out = String::new();
        for line in [
            "POST /api/v1/namespaces/n/pods",
            "PUT /api/v1/namespaces/n/pods/p",
            "PATCH /api/v1/namespaces/o/pods/p",
            "DELETE /api/v1/nodes/n",
            "POST /api/v1/namespaces/n/serviceaccounts/a/token",
        ] {
            let (asked, query) = asked(line);
            let (work, heard) = estimate(&asked, &query, &watches, 0, || (0, 0));
            out += &format!("{line}: {heard:?} {work:?}\n");
        }
        expect![[r#"
            POST /api/v1/namespaces/n/pods: Some(405) Work { first: 1, last: 10, after: 20.5ms }
            PUT /api/v1/namespaces/n/pods/p: Some(425) Work { first: 1, last: 10, after: 21.5ms }
            PATCH /api/v1/namespaces/o/pods/p: Some(5) Work { first: 1, last: 0, after: 0ns }
            DELETE /api/v1/nodes/n: Some(12) Work { first: 1, last: 2, after: 5ms }
            POST /api/v1/namespaces/n/serviceaccounts/a/token: None Work { first: 1, last: 0, after: 0ns }
        "#]].assert_eq(&out);
        drop(held);
        assert!(watches.0.lock().is_empty());
    }
}
