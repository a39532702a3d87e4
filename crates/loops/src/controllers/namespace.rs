//! The end of a namespace: everything in it is deleted, pods first, then the namespace itself (KEP-5080 for the order).
//!
//! Invariant: the finalizer goes only when the server, asked live, has nothing left of any kind.

use crate::parts::conditions::{condition, set};
use crate::parts::status::{this_revision, write};
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::kind::Verb;
use skiff_api::object::Object;
use skiff_api::view::{Key, Meta, Resource, View};
use skiff_base::Time;
use skiff_client::{DeleteOptions, Item};
use skiff_json::json;
use skiff_kinds::views::Namespace;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The finalizer of `spec.finalizers` that this loop holds.
const FINALIZER: &str = "kubernetes";

/// Of each kind so many are asked for at once.
const PAGE: &str = "limit=500";
/// How soon what was found by asking is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// How soon a server is asked again that did not tell what it has.
const AGAIN_ELSEWHERE: Duration = Duration::from_secs(5);

/// Key: the name of a namespace.
pub struct NamespaceEnd;

pub struct Seen {
    namespace: Arc<Namespace>,
    left: Vec<Arc<Item>>,
    known: Known,
    /// Groups and versions of other servers that do not tell what they have, and why.
    silent: Vec<String>,
}

/// How it is known what is left.
enum Known {
    /// Whatever changes of it wakes the loop.
    Followed,
    /// By asking, once nothing is left of what is followed: nothing need tell of its end.
    Asked,
}

impl Loop for NamespaceEnd {
    const NAME: &'static str = "namespace-controller";
    const WORKERS: usize = 10;
    type Seen = Seen;
    type Memory = Failed;

    fn on(on: &mut On) {
        on.own::<Namespace>();
        let namespaces = on.reads::<Namespace>();
        on.any(move |change, _| {
            let Some(item) = change.new.as_ref().or(change.old.as_ref()) else { return Vec::new() };
            let key = Key::new("", &item.meta.namespace);
            let going = namespaces.get(&key).is_some_and(|namespace| namespace.metadata.deleting());
            if going { vec![key] } else { Vec::new() }
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let namespace = cx.caches.of::<Namespace>().get(key);
        let Some(namespace) = namespace.filter(|namespace| namespace.metadata.deleting()) else {
            return Ok(None);
        };
        let (mut left, mut live) = (cx.metas.within(&key.name), false);
        if left.is_empty() {
            let registry = cx.kinds.now();
            for kind in
                registry.storages().filter(|k| k.namespaced() && k.verbs.contains(&Verb::List))
            {
                let resource = Resource::of_kind(kind);
                let found = cx.client.list(resource, &key.name, PAGE).await?;
                live |= !found.is_empty();
                left.extend(found.into_iter().map(|object| item(resource, object)));
            }
        }
        let (found, silent) = elsewhere(cx, &key.name, left.is_empty()).await;
        live |= !found.is_empty();
        left.extend(found);
        let known = if live { Known::Asked } else { Known::Followed };
        Ok(Some(Seen { namespace, left, known, silent }))
    }

    fn failed(memory: &mut Self::Memory, change: &Change, why: &Status) {
        if let Change::Delete { resource, key, .. } = change {
            memory.insert((resource.plural, key.clone()), why.message.clone());
        }
    }

    fn plan(seen: &Seen, memory: &mut Self::Memory, now: Time, out: &mut Changes) -> Next {
        let going = &seen.namespace;
        if !seen.left.is_empty() {
            let deletes = delete_content(seen, memory, out);
            if deletes.is_empty() || !memory.is_empty() {
                say_what_holds_it(seen, memory, now, out);
            }
            memory.clear();
            out.together(deletes);
            return match seen.known {
                Known::Followed => Next::Wait,
                Known::Asked => Next::At(now + AGAIN),
            };
        }
        if !seen.silent.is_empty() {
            say_what_holds_it(seen, memory, now, out);
            out.because("another server does not tell what it has");
            return Next::At(now + AGAIN_ELSEWHERE);
        }
        if !going.spec.finalizers.iter().any(|f| f == FINALIZER) {
            out.because("another finalizer holds it");
            return Next::Wait;
        }
        let rest: Vec<&String> = going.spec.finalizers.iter().filter(|f| *f != FINALIZER).collect();
        let body =
            json!({"metadata": this_revision(&going.metadata), "spec": {"finalizers": rest}});
        let (resource, key) = (Namespace::RESOURCE, going.metadata.key());
        out.push(Change::Merge { resource, key, subresource: "finalize", body });
        Next::Wait
    }
}

/// What other servers have in a namespace, if they are to be `asked` at all, and which do not tell: one that is down
/// keeps nobody else's objects.
async fn elsewhere(cx: &Context, namespace: &str, asked: bool) -> (Vec<Arc<Item>>, Vec<String>) {
    let registry = cx.kinds.now();
    let (mut left, mut silent) = (Vec::new(), Vec::new());
    let mut seen: Vec<Resource> = Vec::new();
    for of in registry.remote().iter().filter(|it| !registry.serves(&it.group, &it.version)) {
        let group_version = format!("{}/{}", of.group, of.version);
        let Ok(resources) = &of.resources else {
            silent.push(format!("{group_version}: stale GroupVersion discovery: {group_version}"));
            continue;
        };
        let needed = [Verb::List, Verb::Delete];
        for it in resources.iter().filter(|it| asked && it.namespaced) {
            let same = |other: &Resource| other.group == of.group && other.plural == it.plural;
            if seen.iter().any(same) || !needed.iter().all(|verb| it.verbs.contains(verb)) {
                continue;
            }
            let resource = Resource::of_remote(of, it);
            seen.push(resource);
            match cx.client.list(resource, namespace, PAGE).await {
                Ok(found) => left.extend(found.into_iter().map(|object| item(resource, object))),
                Err(status) => silent.push(format!("{group_version}: {}", status.message)),
            }
        }
    }
    (left, silent)
}

/// What was found by asking, like what is followed.
fn item(resource: Resource, object: Object) -> Arc<Item> {
    let meta = Meta {
        name: object.name().to_owned(),
        namespace: object.namespace().to_owned(),
        uid: object.uid().to_owned(),
        finalizers: object.finalizers().map(str::to_owned).collect(),
        deletion_timestamp: object.text("metadata.deletionTimestamp").parse().ok(),
        ..Meta::default()
    };
    Arc::new(Item { resource, meta })
}

/// Pods first; what they may need while they end goes after them. What could not be deleted stops no other.
fn delete_content(seen: &Seen, failed: &Failed, out: &mut Changes) -> Vec<Change> {
    let mut deletes = Vec::new();
    let pods = seen.left.iter().any(|item| is_pod(item));
    for item in seen.left.iter().filter(|item| !pods || is_pod(item)) {
        if item.meta.deleting() {
            out.because(format!("{} {} is going", item.resource.kind, item.meta.name));
            continue;
        }
        let (resource, key) = (item.resource, item.meta.key());
        let options = DeleteOptions {
            uid: Some(item.meta.uid.clone()),
            propagation: Some("Background"),
            ..DeleteOptions::default()
        };
        let last = failed.contains_key(&(resource.plural, key.clone()));
        deletes.push((last, Change::Delete { resource, key, options }));
    }
    deletes.sort_by_key(|(last, _)| *last);
    deletes.into_iter().map(|(_, delete)| delete).collect()
}

fn is_pod(item: &Item) -> bool {
    item.resource.group.is_empty() && item.resource.plural == "pods"
}

/// What could not be deleted, and why.
type Failed = BTreeMap<(&'static str, Key), String>;
/// Status, reason and message of a condition.
type Said = (&'static str, &'static str, String);

/// All is being deleted, and something is not gone: conditions tell users what, and which finalizers keep it
/// (API reference: NamespaceCondition).
fn say_what_holds_it(seen: &Seen, failed: &Failed, now: Time, out: &mut Changes) {
    let (remaining, held) = what_is_left(seen);
    let fine = |reason, message: &str| ("False", reason, message.to_owned());
    let discovered = match &seen.silent[..] {
        [] => fine("ResourcesDiscovered", "All resources successfully discovered"),
        silent => {
            let why = format!(
                "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
                silent.len(),
                silent.join(", ")
            );
            ("True", "DiscoveryFailed", why)
        }
    };
    let conditions = [
        ("DeletionDiscoveryFailure", discovered),
        (
            "DeletionGroupVersionParsingFailure",
            fine("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        ("DeletionContentFailure", what_failed(failed)),
        ("ContentRemaining", remaining),
        ("FinalizersRemaining", held),
    ];
    let namespace = &*seen.namespace;
    let mut after = namespace.status.clone();
    for (type_, (status, reason, message)) in conditions {
        let type_ = format!("Namespace{type_}");
        set(&mut after.conditions, condition(&type_, status, reason, message, now));
    }
    write(namespace, this_revision(&namespace.metadata), (&namespace.status, &after), out);
}

fn what_failed(failed: &Failed) -> Said {
    if failed.is_empty() {
        let fine = "All content successfully deleted, may be waiting on finalization";
        return ("False", "ContentDeleted", fine.to_owned());
    }
    let (many, mut why) = (failed.len(), failed.values().cloned().collect::<Vec<_>>());
    why.sort();
    let why = why.join(", ");
    let message = format!("Failed to delete all resource types, {many} remaining: {why}");
    ("True", "ContentDeletionFailed", message)
}

/// What is left, and the finalizers that keep it. While pods are ending nothing is counted yet.
fn what_is_left(seen: &Seen) -> (Said, Said) {
    let (mut kinds, mut finalizers) = (BTreeMap::new(), BTreeMap::new());
    let pods = seen.left.iter().any(|item| is_pod(item));
    for item in seen.left.iter().filter(|_| !pods) {
        let kind = format!("{}.{}", item.resource.plural, item.resource.group);
        *kinds.entry(kind).or_insert(0) += 1;
        for finalizer in &item.meta.finalizers {
            *finalizers.entry(finalizer.clone()).or_insert(0) += 1;
        }
    }
    let count = |counted: BTreeMap<String, u32>, verb: &str| {
        let each = |(name, n): (String, u32)| format!("{name} {verb} {n} resource instances");
        counted.into_iter().map(each).collect::<Vec<_>>().join(", ")
    };
    let remaining = match kinds.is_empty() {
        true => ("False", "ContentRemoved", "All content successfully removed".to_owned()),
        false => {
            let which = count(kinds, "has");
            ("True", "SomeResourcesRemain", format!("Some resources are remaining: {which}"))
        }
    };
    let held = match finalizers.is_empty() {
        true => {
            ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished".into())
        }
        false => {
            let which = count(finalizers, "in");
            let why = format!("Some content in the namespace has finalizers remaining: {which}");
            ("True", "SomeFinalizersRemain", why)
        }
    };
    (remaining, held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(left: &[(&'static str, &str)], finalizers: &[&str], expected: Expect) {
        let item = |(plural, meta): &(&'static str, &str)| {
            let meta = skiff_json::from_str(meta).expect("the case is valid metadata");
            Arc::new(Item { resource: Resource::core(plural, "X"), meta })
        };
        let namespace = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "7",
            "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"finalizers": finalizers}});
        let seen = Seen {
            namespace: Arc::new(
                skiff_json::from_value(namespace).expect("the case is a valid view"),
            ),
            left: left.iter().map(item).collect(),
            known: Known::Followed,
            silent: Vec::new(),
        };
        let mut out = Changes::default();
        NamespaceEnd::plan(&seen, &mut BTreeMap::new(), Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn pods_go_first_and_the_namespace_last() {
        let pod = ("pods", r#"{"name": "p", "namespace": "a", "uid": "1"}"#);
        let map = ("configmaps", r#"{"name": "m", "namespace": "a", "uid": "2"}"#);
        check(
            &[map, pod],
            &["kubernetes"],
            expect![[r#"
                together
                  delete pods a/p uid=1
            "#]],
        );
        check(
            &[map],
            &["kubernetes"],
            expect![[r#"
                together
                  delete configmaps a/m uid=2
            "#]],
        );
        check(
            &[],
            &["kubernetes", "x/y"],
            expect![[r#"
            merge namespaces a finalize {"metadata":{"resourceVersion":"7","uid":"u"},"spec":{"finalizers":["x/y"]}}
        "#]],
        );
        let held = r#"{"name": "m", "namespace": "a", "finalizers": ["x/y"],
                       "deletionTimestamp": "2026-01-01T00:00:00Z"}"#;
        check(
            &[("configmaps", held)],
            &["kubernetes"],
            expect![[r#"
                merge namespaces a status {"metadata":{"resourceVersion":"7","uid":"u"},"status":{"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"All resources successfully discovered","reason":"ResourcesDiscovered","status":"False","type":"NamespaceDeletionDiscoveryFailure"},{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"All legacy kube types successfully parsed","reason":"ParsedGroupVersions","status":"False","type":"NamespaceDeletionGroupVersionParsingFailure"},{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"All content successfully deleted, may be waiting on finalization","reason":"ContentDeleted","status":"False","type":"NamespaceDeletionContentFailure"},{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"Some resources are remaining: configmaps. has 1 resource instances","reason":"SomeResourcesRemain","status":"True","type":"NamespaceContentRemaining"},{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"Some content in the namespace has finalizers remaining: x/y in 1 resource instances","reason":"SomeFinalizersRemain","status":"True","type":"NamespaceFinalizersRemaining"}],"phase":""}}
                because X m is going
            "#]],
        );
        check(
            &[],
            &["x/y"],
            expect![[r#"
            because another finalizer holds it
        "#]],
        );
    }
}
