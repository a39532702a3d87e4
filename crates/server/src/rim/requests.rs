//! Requests: how many were answered, and which long-running ones run, by the labels of upstream's metrics.
//!
//! Only what a served kind or a fixed path answers has labels: names that clients make up add none. What is refused
//! before that (401, 403, 429) is not counted here either, as upstream has it.

use crate::request::url::{Query, RequestInfo};
use skiff_api::kind::{Kind, Name, Subresource, Verb};
use skiff_base::Lock;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The counters are split by thread, so that requests on different cores share no cache line.
const SHARDS: usize = 16;
/// Label sets of one shard. Kinds times verbs times codes are some hundreds; definitions that come and go could add
/// more, and what is beyond is counted under no labels.
const SETS_MOST: usize = 4096;

/// The labels, in the order of their names.
const NAMES: [&str; 8] =
    ["component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"];

/// What a request is counted under: a value for each of [`NAMES`].
#[derive(Debug, Clone, Eq, PartialOrd, Ord, Default)]
pub struct Labels([Name; NAMES.len()]);

impl Labels {
    /// Of a request for a served kind; `None` for an entry that the kind has not.
    pub fn of(
        verb: Verb,
        content_type: &str,
        resource: &RequestInfo,
        kind: &Kind,
        query: &Query,
    ) -> Option<Labels> {
        let entry = match &*resource.subresource {
            "" => None,
            given => Some(kind.subresource(given)?),
        };
        let scope = match (&*resource.name, &*resource.namespace) {
            ("", "") if verb != Verb::Create => "cluster",
            ("", _) if verb != Verb::Create => "namespace",
            _ => "resource",
        };
        let mut dry_run = query.all("dryRun");
        let dry_run = match (dry_run.next(), dry_run.all(|it| it == "All")) {
            (None, _) => "",
            (Some("All"), true) => "All",
            _ => "invalid",
        };
        let verb = match verb {
            _ if entry.is_some_and(Subresource::connects) => "CONNECT",
            Verb::Get => "GET",
            Verb::List => "LIST",
            Verb::Watch => "WATCH",
            Verb::Create => "POST",
            Verb::Update => "PUT",
            Verb::Patch if content_type == "application/apply-patch+yaml" => "APPLY",
            Verb::Patch => "PATCH",
            Verb::Delete | Verb::DeleteCollection => "DELETE",
        };
        Some(Labels([
            "apiserver".into(),
            dry_run.into(),
            kind.group.clone(),
            kind.plural.clone(),
            scope.into(),
            entry.map_or_else(Name::default, |entry| entry.name.clone()),
            verb.into(),
            kind.version.clone(),
        ]))
    }

    /// Of a path without a resource, for the few that upstream counts.
    pub fn of_path(path: &str) -> Option<Labels> {
        let (subresource, component) = match path {
            "/healthz" => ("/healthz", ""),
            "/livez" => ("/livez", ""),
            "/readyz" => ("/readyz", ""),
            "/api" => ("api", "apiserver"),
            "/apis" => ("apis", "apiserver"),
            "/openapi/v3" => ("openapi/v3", ""),
            path if path.starts_with("/openapi/v3/") => ("openapi/v3/", ""),
            _ => return None,
        };
        Some(Labels([component, "", "", "", "", subresource, "GET", ""].map(Name::from)))
    }
}

/// Names of built-in kinds are at one place each, and are seldom compared letter by letter.
impl PartialEq for Labels {
    fn eq(&self, other: &Labels) -> bool {
        let mut both = self.0.iter().zip(&other.0);
        both.all(|(a, b)| a.len() == b.len() && (a.as_ptr() == b.as_ptr() || a == b))
    }
}

/// The three that tell most requests apart; equality tells the rest.
impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [_, _, _, resource, _, subresource, verb, _] = &self.0;
        (resource, subresource, verb).hash(state);
    }
}

/// As the text format has them; the alternate form leaves `dry_run` away.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = f.alternate();
        let shown = NAMES.iter().zip(&self.0).filter(|(name, _)| !short || **name != "dry_run");
        for (i, (name, value)) in shown.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{name}=\"{value}\"")?;
        }
        Ok(())
    }
}

/// The counters.
#[derive(Clone, Default)]
pub struct Requests(Arc<Counters>);

#[derive(Default)]
struct Counters {
    answered: [Lock<HashMap<(Labels, u16), u64>>; SHARDS],
    /// Those that run: as many entries as requests at the most.
    long: Lock<BTreeMap<Labels, usize>>,
}

/// A long-running request, while it runs.
pub struct Running(Requests, Labels);

impl Drop for Running {
    fn drop(&mut self) {
        let mut long = self.0.0.long.lock();
        let left = long.get_mut(&self.1).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            long.remove(&self.1);
        }
    }
}

impl Requests {
    /// Counts an answer with this code.
    pub fn count(&self, labels: Labels, code: u16) {
        let shard = &self.0.answered[shard()];
        let mut answered = shard.lock();
        let full = answered.len() >= SETS_MOST;
        let mut key = (labels, code);
        if full && !answered.contains_key(&key) {
            key = (Labels::default(), 0);
        }
        *answered.entry(key).or_default() += 1;
    }

    /// Counts a long-running request until what comes back is dropped.
    pub fn run(&self, labels: Labels) -> Running {
        let mut long = self.0.long.lock();
        *long.entry(labels.clone()).or_default() += 1;
        drop(long);
        Running(self.clone(), labels)
    }

    /// All answers so far, in the order of their labels.
    pub fn answered(&self) -> BTreeMap<(Labels, u16), u64> {
        let mut all = BTreeMap::new();
        for shard in &self.0.answered {
            let shard = shard.lock();
            for (key, count) in &*shard {
                *all.entry(key.clone()).or_default() += count;
            }
        }
        all
    }

    /// The long-running requests that run now.
    pub fn running(&self) -> BTreeMap<Labels, usize> {
        self.0.long.lock().clone()
    }
}

/// The shard of this thread.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    MINE.with(|mine| *mine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::url::{self, Target};
    use expect_test::expect;
    use skiff_api::registry::Kinds;

    fn labels(line: &str) -> Option<Labels> {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or("");
        let (method, target, content_type) = (word(), word(), word());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = Query::parse(query);
        match url::parse(path) {
            Target::Path(path) => Labels::of_path(&path),
            Target::Resource(it) => {
                let kinds = Kinds::builtin(skiff_kinds::KINDS).now();
                let kind = kinds.find(&it.group, &it.version, &it.plural)?;
                let method = method.parse().expect("a method");
                let verb = url::verb(&method, &it, query.flag("watch"))?;
                Labels::of(verb, content_type, &it, kind, &query)
            }
        }
    }

    #[test]
    fn requests_are_counted_under_upstreams_labels() {
        let mut out = String::new();
        for line in [
            "GET /api/v1/namespaces/a/pods/web",
            "HEAD /readyz",
            "GET /api/v1/pods",
            "GET /api/v1/namespaces/a/pods?watch=1",
            "GET /api/v1/namespaces/a/pods/web/log?follow=true",
            "POST /api/v1/namespaces/a/pods/web/exec",
            "POST /api/v1/namespaces/a/pods?dryRun=All",
            "PATCH /apis/apps/v1/namespaces/a/deployments/d?dryRun=x application/apply-patch+yaml",
            "PATCH /apis/apps/v1/namespaces/a/deployments/d/scale application/merge-patch+json",
            "DELETE /api/v1/namespaces/a/pods",
            "PUT /api/v1/namespaces/a/finalize",
            "GET /openapi/v3/apis/whatever/it/is",
            "GET /made/up",
            "GET /api/v1/madeup",
            "GET /api/v1/namespaces/a/pods/web/madeup",
        ] {
            match labels(line) {
                Some(labels) => out += &format!("{line}\n  {labels}\n"),
                None => out += &format!("{line}\n  uncounted\n"),
            }
        }
        expect![[r#"
            GET /api/v1/namespaces/a/pods/web
              component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="GET",version="v1"
            HEAD /readyz
              component="",dry_run="",group="",resource="",scope="",subresource="/readyz",verb="GET",version=""
            GET /api/v1/pods
              component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"
            GET /api/v1/namespaces/a/pods?watch=1
              component="apiserver",dry_run="",group="",resource="pods",scope="namespace",subresource="",verb="WATCH",version="v1"
            GET /api/v1/namespaces/a/pods/web/log?follow=true
              component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="log",verb="CONNECT",version="v1"
            POST /api/v1/namespaces/a/pods/web/exec
              component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="exec",verb="CONNECT",version="v1"
            POST /api/v1/namespaces/a/pods?dryRun=All
              component="apiserver",dry_run="All",group="",resource="pods",scope="resource",subresource="",verb="POST",version="v1"
            PATCH /apis/apps/v1/namespaces/a/deployments/d?dryRun=x application/apply-patch+yaml
              component="apiserver",dry_run="invalid",group="apps",resource="deployments",scope="resource",subresource="",verb="APPLY",version="v1"
            PATCH /apis/apps/v1/namespaces/a/deployments/d/scale application/merge-patch+json
              component="apiserver",dry_run="",group="apps",resource="deployments",scope="resource",subresource="scale",verb="PATCH",version="v1"
            DELETE /api/v1/namespaces/a/pods
              component="apiserver",dry_run="",group="",resource="pods",scope="namespace",subresource="",verb="DELETE",version="v1"
            PUT /api/v1/namespaces/a/finalize
              component="apiserver",dry_run="",group="",resource="namespaces",scope="resource",subresource="finalize",verb="PUT",version="v1"
            GET /openapi/v3/apis/whatever/it/is
              component="",dry_run="",group="",resource="",scope="",subresource="openapi/v3/",verb="GET",version=""
            GET /made/up
              uncounted
            GET /api/v1/madeup
              uncounted
            GET /api/v1/namespaces/a/pods/web/madeup
              uncounted
        "#]].assert_eq(&out);
    }

    #[test]
    fn label_sets_are_bounded_and_no_count_is_lost() {
        let requests = Requests::default();
        let named = |i: usize| {
            let mut labels = Labels::default();
            labels.0[3] = format!("r{i}").into();
            labels
        };
        for i in 0..SETS_MOST + 10 {
            requests.count(named(i), 200);
        }
        requests.count(named(0), 200);
        let answered = requests.answered();
        assert_eq!(answered.len(), SETS_MOST + 1);
        assert_eq!(answered[&(Labels::default(), 0)], 10);
        assert_eq!(answered[&(named(0), 200)], 2);
    }

    #[test]
    fn what_runs_is_counted_until_it_ends() {
        let requests = Requests::default();
        let first = requests.run(Labels::default());
        let second = requests.run(Labels::default());
        assert_eq!(requests.running()[&Labels::default()], 2);
        drop(first);
        assert_eq!(requests.running()[&Labels::default()], 1);
        drop(second);
        assert!(requests.running().is_empty());
    }
}
