//! ResourceQuota: what is used of each is counted anew when something freed it, every few minutes, and when its limits
//! change; the limits that are in force follow those that are wanted (concepts: "Resource Quotas").
//!
//! Admission charges what comes, before it is there. So a count waits until what was charged is there or was given
//! back, and is written only over the very quota that it began with: what is counted and what is charged stay the same.

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::quantity::Quantity;
use skiff_api::registry::Registry;
use skiff_api::view::{Key, Resource, View};
use skiff_base::Time;
use skiff_client::Cache;
use skiff_json::{Map, Value, json};
use skiff_kinds::quota::{Counted, Use, charged_until, is_charged, named_by};
use skiff_kinds::views::pod::Quantities;
use skiff_kinds::views::{Pod, ResourceQuota, Service};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// So often each is counted without a cause: what a crash left is found then.
const RESYNC: Duration = Duration::from_secs(5 * 60);
/// Resources whose objects use more than themselves.
const MEASURED: [(&str, &str); 3] =
    [("", "services"), ("", "persistentvolumeclaims"), ("resource.k8s.io", "resourceclaims")];

/// Key: a ResourceQuota.
pub struct QuotaUse;

pub struct Seen {
    quota: Arc<ResourceQuota>,
    /// Looked for only where pods count.
    pods: Option<Vec<Arc<Pod>>>,
    /// The objects of the other resources that are limited.
    measured: Vec<(Counted, Vec<Object>)>,
    /// How many there are, by the name that counts them.
    counted: BTreeMap<String, usize>,
}

impl Loop for QuotaUse {
    const NAME: &'static str = "resourcequota-controller";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.changes::<ResourceQuota>(|old, new, _| {
            let Some(new) = new else { return Vec::new() };
            let same = old.is_some_and(|old| old.spec.hard == new.spec.hard);
            if same { Vec::new() } else { vec![new.metadata.key()] }
        });
        on.changes::<Pod>(|old, new, caches| match old.or(new) {
            Some(pod) if frees(old, new) => {
                limiting(&caches.of::<ResourceQuota>(), &pod.metadata.namespace, &Counted::Pods)
            }
            _ => Vec::new(),
        });
        on.changes::<Service>(|old, new, caches| match (old, new) {
            (Some(old), Some(new)) if old.spec.type_ != new.spec.type_ => {
                limiting(&caches.of::<ResourceQuota>(), &new.metadata.namespace, &Counted::Services)
            }
            _ => Vec::new(),
        });
        let quotas = on.reads::<ResourceQuota>();
        on.any(move |change, _| {
            let Some(item) = change.old.as_ref().or(change.new.as_ref()) else { return Vec::new() };
            match Counted::of(item.resource.group, item.resource.plural) {
                None | Some(Counted::Pods) => Vec::new(),
                Some(type_) if change.new.is_none() || type_ == Counted::Claims => {
                    limiting(&quotas, &item.meta.namespace, &type_)
                }
                Some(_) => Vec::new(),
            }
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(quota) = cx.caches.of::<ResourceQuota>().get(key) else { return Ok(None) };
        let newest = (cx.settings.settled)(&key.namespace).await;
        let mut pods = None;
        if counts(&quota, &Counted::Pods) {
            let cache = cx.caches.of::<Pod>();
            cache.caught_up(newest).await;
            pods = Some(cache.list(&key.namespace));
        }
        let registry = cx.kinds.now();
        let mut measured = Vec::new();
        for (group, plural) in MEASURED {
            let type_ = Counted::of(group, plural).filter(|type_| counts(&quota, type_));
            let (Some(type_), Some(resource)) = (type_, served(&registry, group, plural)) else {
                continue;
            };
            measured.push((type_, cx.client.list(resource, &key.namespace, "").await?));
        }
        let mut counted = BTreeMap::new();
        for (name, _) in quota.spec.hard.iter() {
            let measured = |of: &(&str, &str)| MEASURED.contains(of) || *of == ("", "pods");
            let Some((group, plural)) = named_by(name).filter(|of| !measured(of)) else { continue };
            let Some(resource) = served(&registry, group, plural) else { continue };
            if Counted::of(group, plural).is_some() {
                counted.insert(name.to_owned(), cx.client.count(resource, &key.namespace).await?);
            }
        }
        Ok(Some(Seen { quota, pods, measured, counted }))
    }

    fn plan(seen: &Seen, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let quota = &*seen.quota;
        let (hard, status) = (&quota.spec.hard, &quota.status);
        let mut used = seen.used(now);
        // What nobody can count stays as it was.
        for (name, amount) in status.used.iter().flat_map(Quantities::iter) {
            if hard.get(name).is_some() {
                used.0.entry(name.to_owned()).or_insert_with(|| amount.clone());
            }
        }
        let same = |before: &Option<Quantities>, after: &Quantities| {
            before.as_ref().is_some_and(|before| before.same(after))
        };
        if !same(&status.hard, hard) || !same(&status.used, &used) {
            let body = json!({
                "metadata": crate::parts::status::this_revision(&quota.metadata),
                "status": {"hard": patch(&status.hard, hard), "used": patch(&status.used, &used)}});
            out.status(ResourceQuota::RESOURCE, quota.metadata.key(), body);
        }
        let pods = seen.pods.iter().flatten().filter(|pod| is_charged(pod, now));
        let ends = pods.filter_map(|pod| charged_until(pod)).min();
        // What ends at a moment counts until that has passed.
        let ends = ends.map(|at| at + Duration::from_secs(1));
        Next::At(ends.into_iter().fold(now + RESYNC, Time::min))
    }
}

impl Seen {
    /// What is used, under each of the quota's names that can be counted.
    fn used(&self, now: Time) -> Quantities {
        let (hard, mut sum) = (&self.quota.spec.hard, Quantities::default());
        let mut known = Quantities::default();
        let mut name_all = |type_: &Counted| {
            for name in type_.counted(hard.iter().map(|(name, _)| name)) {
                known.0.insert(name.to_owned(), Quantity::zero());
            }
        };
        let within = |used: &Use| self.quota.scopes().all(|scope| used.is_in(&scope));
        if let Some(pods) = &self.pods {
            name_all(&Counted::Pods);
            let used = pods.iter().map(|pod| Use::of_pod(pod, now)).filter(within);
            used.for_each(|used| sum.add(&used.amounts));
        }
        for (type_, objects) in &self.measured {
            name_all(type_);
            let used = objects.iter().map(|object| Use::of(type_.clone(), object, now));
            used.filter(within).for_each(|used| sum.add(&used.amounts));
        }
        let scoped = self.quota.scopes().next().is_some();
        for (name, count) in &self.counted {
            // In no scope is anything that is merely counted.
            let count = if scoped { 0 } else { i64::try_from(*count).unwrap_or(i64::MAX) };
            let count = Quantity::new(count, skiff_api::quantity::Format::Decimal);
            known.0.insert(name.clone(), count);
        }
        for (name, amount) in sum.iter().filter(|(name, _)| hard.get(name).is_some()) {
            known.0.insert(name.to_owned(), amount.clone());
        }
        known
    }
}

/// What makes one map out of another: what is gone is null (RFC 7386).
fn patch(before: &Option<Quantities>, after: &Quantities) -> Value {
    let gone =
        before.iter().flat_map(Quantities::iter).filter(|(name, _)| after.get(name).is_none());
    let gone = gone.map(|(name, _)| (name.to_owned(), Value::Null));
    let there = after.iter().map(|(name, amount)| (name.to_owned(), amount.to_string().into()));
    Value::Object(gone.chain(there).collect::<Map>())
}

/// Whether a pod counts for less than it did, or will in a while.
fn frees(old: Option<&Pod>, new: Option<&Pod>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return new.is_none() };
    let resources = |pod: &Pod| {
        let all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        all.map(|status| status.resources.clone()).collect::<Vec<_>>()
    };
    new.ended() && !old.ended()
        || new.metadata.deleting() && !old.metadata.deleting()
        || new.spec.active_deadline_seconds.is_some() != old.spec.active_deadline_seconds.is_some()
        || resources(new) != resources(old)
}

/// Whether objects of this sort count in a quota.
fn counts(quota: &ResourceQuota, type_: &Counted) -> bool {
    quota.spec.hard.iter().any(|(name, _)| type_.counts(name))
}

/// The quotas of a namespace in which objects of this sort count.
fn limiting(quotas: &Cache<ResourceQuota>, namespace: &str, type_: &Counted) -> Vec<Key> {
    let quotas = quotas.list(namespace);
    quotas.iter().filter(|quota| counts(quota, type_)).map(|quota| quota.metadata.key()).collect()
}

/// A resource of namespaces, if it is served and can be listed.
fn served(registry: &Registry, group: &str, plural: &str) -> Option<Resource> {
    let kind = registry.find_in_group(group, plural)?;
    let listed = kind.namespaced() && kind.verbs.contains(&skiff_api::kind::Verb::List);
    listed.then(|| Resource::of_kind(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(quota: Value, pods: &[Value], counted: &[(&str, usize)], expected: Expect) {
        let pods = pods.iter().cloned().map(|pod| skiff_json::from_value(pod).expect("a view"));
        let seen = Seen {
            quota: Arc::new(skiff_json::from_value(quota).expect("a view")),
            pods: Some(pods.map(Arc::new).collect()),
            measured: Vec::new(),
            counted: counted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        };
        let mut out = Changes::default();
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        let next = QuotaUse::plan(&seen, &mut (), now, &mut out);
        expected.assert_eq(&format!("{}{next:?}", out.text()));
    }

    #[test]
    fn what_is_there_is_used() {
        let meta = json!({"name": "q", "namespace": "n", "uid": "u", "resourceVersion": "7"});
        let hard = json!({"pods": "3", "requests.cpu": "1", "secrets": "9"});
        let pod = |phase: &str| {
            json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "100m"}}}]},
                "status": {"phase": phase}})
        };
        let status =
            json!({"hard": {"pods": "2", "gone": "1"}, "used": {"pods": "1", "gone": "1"}});
        check(
            json!({"metadata": meta, "spec": {"hard": hard}, "status": status}),
            &[pod("Running"), pod("Pending"), pod("Failed")],
            &[("secrets", 4)],
            expect![[r#"
                merge resourcequotas n/q status {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"hard":{"gone":null,"pods":"3","requests.cpu":"1","secrets":"9"},"used":{"gone":null,"pods":"2","requests.cpu":"200m","secrets":"4"}}}
                At(2026-01-01T01:05:00Z)"#]],
        );
        let used = json!({"pods": "0", "requests.cpu": "0", "secrets": "4"});
        check(
            json!({"metadata": meta, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}),
            &[],
            &[("secrets", 4)],
            expect!["At(2026-01-01T01:05:00Z)"],
        );
    }

    #[test]
    fn a_pod_that_is_stuck_counts_until_its_grace_is_over() {
        let hard = json!({"pods": "3"});
        let stuck = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:59:50Z", "deletionGracePeriodSeconds": 30}});
        check(
            json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": {"pods": "1"}}}),
            &[stuck],
            &[],
            expect!["At(2026-01-01T01:00:21Z)"],
        );
    }
}
