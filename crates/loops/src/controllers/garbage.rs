//! The garbage collector: what belongs to something goes when that is gone (Kubernetes concepts page "Garbage
//! Collection"; owners and dependents, foreground, background, orphan).
//!
//! Key: the UID of an object. Invariant: nothing is deleted for a missing owner unless the server itself, asked just
//! before, says that this very owner is not there. What is there and cannot be read is present.
//!
//! An owner is in the namespace of those that it owns, or cluster-wide. So a reference into another namespace names
//! nobody, and one from cluster-wide to a namespace cannot be followed: such an object is never collected.

use crate::changes::Note;
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::kind::Verb;
use skiff_api::registry::Registry;
use skiff_api::view::{Key, Owner, Resource};
use skiff_base::Time;
use skiff_client::{DeleteOptions, Item, Metas, PatchKind, there};
use skiff_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// How soon an end is looked at again while a kind is not known whose objects may depend on it.
const AGAIN: Duration = Duration::from_secs(1);

pub struct GarbageCollector;

/// How an owner is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Present,
    /// It waits for those that it owns.
    WaitsForDependents,
    Absent,
    /// Its kind is not served: nothing can be said.
    Unknown,
    /// It lives in a namespace, and what it is to own does not.
    OutOfReach,
}

pub struct Seen {
    item: Arc<Item>,
    owners: Vec<(Owner, State)>,
    /// References to what is there, in a namespace where it cannot be the owner.
    astray: Vec<Owner>,
    /// Those of the objects that it owns that matter for what is done: see [`dependents`].
    dependents: Vec<Arc<Item>>,
    /// A kind of which nothing is known yet, though some of it may be owned.
    unknown: Option<&'static str>,
}

impl Loop for GarbageCollector {
    const NAME: &'static str = "generic-garbage-collector";
    const WORKERS: usize = 20;
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        on.any(|change, metas| {
            let uids = wakes(change.old.as_deref(), change.new.as_deref(), metas);
            uids.iter().map(|uid| Key::new("", uid)).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(item) = cx.metas.get(&key.name) else { return Ok(None) };
        let (mut owners, mut astray) = (Vec::new(), Vec::new());
        for owner in &item.meta.owner_references {
            owners.push((owner.clone(), find(cx, &item, owner).await?));
            let named = cx.metas.get(&owner.uid);
            astray.extend(named.filter(|named| !reaches(named, &item)).map(|_| owner.clone()));
        }
        let unknown = if ends(&item) { unknown(&cx.metas) } else { None };
        let dependents = dependents(&item, &cx.metas);
        Ok(Some(Seen { item, owners, astray, dependents, unknown }))
    }

    fn plan(seen: &Seen, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let finalizers = &seen.item.meta.finalizers;
        seen.astray.iter().for_each(|owner| tell(&seen.item, owner, out));
        if let Some(unknown) = seen.unknown {
            out.because(format!("nothing is known yet of {unknown}"));
            return Next::At(now + AGAIN);
        }
        if seen.item.meta.deleting() && finalizers.iter().any(|f| f == ORPHAN) {
            orphan(seen, out);
        } else if seen.item.meta.deleting() && finalizers.iter().any(|f| f == FOREGROUND) {
            finish_foreground(seen, out);
        } else if !seen.item.meta.deleting() {
            follow_owners(seen, out);
        }
        Next::Wait
    }
}

/// The UIDs for which a change may make a difference. What an owner says of itself makes none for those that it owns,
/// so that a status of one that owns ten thousand wakes nobody.
fn wakes(old: Option<&Item>, new: Option<&Item>, metas: &Metas) -> BTreeSet<String> {
    let mut uids = BTreeSet::new();
    let Some(item) = new.or(old) else { return uids };
    let (uid, owners) = (&item.meta.uid, &item.meta.owner_references);
    let add = |uids: &mut BTreeSet<String>, items: &[Arc<Item>]| {
        uids.extend(items.iter().map(|item| item.meta.uid.clone()));
    };
    let of = |owners: &[Owner], which: fn(&Item) -> bool| -> Vec<Arc<Item>> {
        let found = owners.iter().filter_map(|owner| metas.get(&owner.uid));
        found.filter(|owner| which(owner)).collect()
    };
    // Those that it owns go with it, or go first.
    let goes = old.is_some_and(waits) != new.is_some_and(waits);
    if new.is_none() {
        // A pass that finds nothing forgets what was known of it.
        uids.insert(uid.clone());
    }
    if new.is_none() || goes {
        add(&mut uids, &metas.owned_by(uid));
    }
    // Its owner may wait for it, or it closes a circle of those that wait.
    if new.is_none() {
        add(&mut uids, &of(owners, ends));
    } else if goes {
        add(&mut uids, &of(owners, |_| true));
    }
    // They may name it where it cannot be meant.
    if old.is_none() {
        let mut astray = metas.owned_by(uid);
        astray.retain(|dependent| !reaches(item, dependent));
        add(&mut uids, &astray);
    }
    if old.is_none_or(|old| old.meta.owner_references != *owners) {
        old.iter().for_each(|old| add(&mut uids, &of(&old.meta.owner_references, ends)));
        let fine = |owner: &Owner| {
            let found = metas.get(&owner.uid);
            found.is_some_and(|found| is_named(&found, owner, item) && !waits(&found))
        };
        if new.is_some() && !owners.iter().all(fine) {
            uids.insert(uid.clone());
        }
    }
    let same = |old: &Item| ends(old) && old.meta.finalizers == item.meta.finalizers;
    if new.is_some_and(ends) && !old.is_some_and(same) {
        uids.insert(uid.clone());
    }
    uids
}

/// Whether its end is this loop's to bring about.
fn ends(item: &Item) -> bool {
    item.meta.deleting() && item.meta.finalizers.iter().any(|f| f == FOREGROUND || f == ORPHAN)
}

/// A kind of which not everything is known that could be owned: it could be lost, or left behind.
fn unknown(metas: &Metas) -> Option<&'static str> {
    match metas.unknown() {
        Some(unknown) => unknown.first().map(|resource| resource.plural),
        None => Some("any kind"),
    }
}

/// What it owns, as far as it matters: all of it where all have to forget it; else one that holds it up.
fn dependents(item: &Item, metas: &Metas) -> Vec<Arc<Item>> {
    let uid = &item.meta.uid;
    let finalizers = &item.meta.finalizers;
    if item.meta.deleting() && finalizers.iter().any(|f| f == ORPHAN) {
        let mut all = metas.owned_by(uid);
        all.retain(|dependent| reaches(item, dependent));
        return all;
    }
    let foreground = ends(item);
    let holds = |dependent: &Item| {
        reaches(item, dependent)
            && if foreground { blocks(dependent, uid) } else { waits(dependent) }
    };
    metas.find_owned(uid, holds).into_iter().collect()
}

/// Whether the end of its owner has to wait for it.
fn blocks(dependent: &Item, uid: &str) -> bool {
    let references = &dependent.meta.owner_references;
    references.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion)
}

/// Whether it is gone as soon as those that it owns are.
fn waits(item: &Item) -> bool {
    item.meta.deleting() && item.meta.finalizers.iter().any(|f| f == FOREGROUND)
}

/// Whether this is what a reference says that the owner is.
fn is_named(found: &Item, owner: &Owner, item: &Item) -> bool {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    found.resource.kind == owner.kind
        && found.resource.group == group
        && found.meta.name == owner.name
        && reaches(found, item)
}

/// Whether an owner can own it, by where both are.
fn reaches(owner: &Item, item: &Item) -> bool {
    !owner.resource.namespaced || owner.meta.namespace == item.meta.namespace
}

/// Looks for an owner, by all that the reference says of it: in memory, and where it is not, live.
async fn find(cx: &Context, item: &Item, owner: &Owner) -> Result<State, Status> {
    let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
    if let Some(found) = cx.metas.get(&owner.uid).filter(|found| is_named(found, owner, item)) {
        return Ok(if waits(&found) { State::WaitsForDependents } else { State::Present });
    }
    let registry = cx.kinds.now();
    let (resource, elsewhere) = match registry.find_kind(group, version, &owner.kind) {
        Some(kind) => (Resource::of_kind(kind), false),
        None => match elsewhere(&registry, (group, version), &owner.kind) {
            Some(resource) => (resource, true),
            None => return Ok(State::Unknown),
        },
    };
    if resource.namespaced && !item.resource.namespaced {
        return Ok(State::OutOfReach);
    }
    let namespace = if resource.namespaced { &*item.meta.namespace } else { "" };
    let found = cx.client.get(resource, namespace, &owner.name).await;
    match found {
        // That another server does not know the path says nothing of the object.
        Err(status) if elsewhere && status.code == 404 && status.reason != "NotFound" => {
            Ok(State::Unknown)
        }
        found => match there(found)? {
            Some(found) if found.uid() == owner.uid => Ok(State::Present),
            _ => Ok(State::Absent),
        },
    }
}

/// The resource of a kind that another server has, as far as it is known.
fn elsewhere(registry: &Registry, (group, version): (&str, &str), kind: &str) -> Option<Resource> {
    let of = registry.remote().iter().find(|it| it.group == group && it.version == version)?;
    let mut resources = of.resources.as_ref().ok()?.iter();
    let found = resources.find(|it| it.kind == kind && it.verbs.contains(&Verb::Delete))?;
    Some(Resource::of_remote(of, found))
}

/// Tells that a reference cannot be meant.
fn tell(item: &Item, owner: &Owner, out: &mut Changes) {
    let meta = &item.meta;
    let message = format!(
        "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace {:?}",
        owner.api_version, owner.kind, meta.namespace, owner.name, owner.uid, meta.namespace
    );
    out.event(Note {
        type_: "Warning",
        reason: "OwnerRefInvalidNamespace".into(),
        message,
        about: skiff_client::events::reference(item.resource, meta),
    });
}

/// Lets go of an object without its owners: all gone, it goes; some gone, their references go.
fn follow_owners(seen: &Seen, out: &mut Changes) {
    let is = |state| move |(_, found): &&(Owner, State)| *found == state;
    let absent = seen.owners.iter().filter(is(State::Absent)).count();
    let waiting = seen.owners.iter().filter(is(State::WaitsForDependents)).count();
    let present = seen.owners.len() - absent - waiting;
    let key = seen.item.meta.key();
    if seen.owners.iter().any(|(_, state)| *state == State::Unknown) {
        out.because("the kind of an owner is not served");
    }
    if seen.owners.iter().any(|(_, state)| *state == State::OutOfReach) {
        out.because("an owner is in a namespace, and what it is to own is not");
        return;
    }
    if absent + waiting == 0 {
        return;
    }
    if present > 0 {
        let left: Vec<&str> = seen
            .owners
            .iter()
            .filter(|(_, state)| matches!(state, State::Present | State::Unknown))
            .map(|(owner, _)| owner.uid.as_str())
            .collect();
        keep_references(&seen.item, &left, out);
        return;
    }
    if waiting > 0 && seen.dependents.iter().any(|dependent| waits(dependent)) {
        // A circle: each would wait for the next one for ever.
        rewrite_references(&seen.item, |_| true, |_| false, out);
    }
    // Those who wait for this one want what it owns gone first, too.
    let finalizers = &seen.item.meta.finalizers;
    let policy = if finalizers.iter().any(|f| f == ORPHAN) {
        "Orphan"
    } else if waiting > 0 || finalizers.iter().any(|f| f == FOREGROUND) {
        "Foreground"
    } else {
        "Background"
    };
    out.delete_with(
        seen.item.resource,
        key,
        DeleteOptions {
            uid: Some(seen.item.meta.uid.clone()),
            propagation: Some(policy),
            ..DeleteOptions::default()
        },
    );
}

/// The last step of a foreground deletion: the owner goes when nothing that blocks it is left.
fn finish_foreground(seen: &Seen, out: &mut Changes) {
    match seen.dependents.iter().find(|it| blocks(it, &seen.item.meta.uid)) {
        Some(dependent) => {
            out.because(format!(
                "{} {} is still there",
                dependent.resource.kind,
                dependent.meta.key()
            ));
        }
        None => remove_finalizer(&seen.item, FOREGROUND, out),
    }
}

/// Dependents forget their owner before it goes.
fn orphan(seen: &Seen, out: &mut Changes) {
    for dependent in &seen.dependents {
        let left: Vec<&str> = dependent
            .meta
            .owner_references
            .iter()
            .map(|owner| owner.uid.as_str())
            .filter(|uid| *uid != seen.item.meta.uid)
            .collect();
        keep_references(dependent, &left, out);
    }
    remove_finalizer(&seen.item, ORPHAN, out);
}

/// Leaves the references whose UIDs are named.
fn keep_references(item: &Item, left: &[&str], out: &mut Changes) {
    let keeps = |owner: &Owner| left.contains(&owner.uid.as_str());
    rewrite_references(item, keeps, |owner| owner.block_owner_deletion, out);
}

/// Rewrites the references of an object to those that are kept, at the revision that was seen.
fn rewrite_references(
    item: &Item,
    keeps: impl Fn(&Owner) -> bool,
    blocks: impl Fn(&Owner) -> bool,
    out: &mut Changes,
) {
    let references: Vec<Value> = item
        .meta
        .owner_references
        .iter()
        .filter(|owner| keeps(owner))
        .map(|owner| {
            json!({"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
                   "controller": owner.controller, "blockOwnerDeletion": blocks(owner)})
        })
        .collect();
    let body = json!({"metadata": {"resourceVersion": item.meta.resource_version, "uid": item.meta.uid,
                                   "ownerReferences": references}});
    out.patch(PatchKind::Merge, item.resource, item.meta.key(), "", body);
}

fn remove_finalizer(item: &Item, finalizer: &str, out: &mut Changes) {
    let left: Vec<&String> = item.meta.finalizers.iter().filter(|f| *f != finalizer).collect();
    let body = json!({"metadata": {"resourceVersion": item.meta.resource_version, "uid": item.meta.uid,
                                   "finalizers": left}});
    out.patch(PatchKind::Merge, item.resource, item.meta.key(), "", body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn item(text: Value) -> Arc<Item> {
        let meta = skiff_json::from_value(text).expect("the case is valid metadata");
        Arc::new(Item { resource: Resource::core("pods", "Pod"), meta })
    }

    fn owned(uid: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid, "uid": uid, "controller": true,
               "blockOwnerDeletion": true})
    }

    fn check(item_of: Value, states: &[State], dependents: &[Value], expected: Expect) {
        let item = item(item_of);
        let owners =
            item.meta.owner_references.iter().cloned().zip(states.iter().copied()).collect();
        let dependents = dependents.iter().cloned().map(self::item).collect();
        let mut out = Changes::default();
        GarbageCollector::plan(
            &Seen { item, owners, astray: Vec::new(), dependents, unknown: None },
            &mut (),
            Time::UNIX_EPOCH,
            &mut out,
        );
        expected.assert_eq(&out.text());
    }

    #[test]
    fn a_dependent_goes_with_its_last_owner() {
        let pod = json!({"name": "p", "namespace": "n", "uid": "u", "ownerReferences": [owned("a"), owned("b")]});
        check(
            pod.clone(),
            &[State::Absent, State::Absent],
            &[],
            expect![[r#"
            delete pods n/p uid=u
        "#]],
        );
        check(
            pod.clone(),
            &[State::Present, State::Unknown],
            &[],
            expect![[r#"
            because the kind of an owner is not served
        "#]],
        );
        check(
            pod,
            &[State::Absent, State::Present],
            &[],
            expect![[r#"
            patch Merge pods n/p  {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"b","uid":"b"}],"resourceVersion":"","uid":"u"}}
        "#]],
        );
    }

    #[test]
    fn what_no_namespace_holds_has_no_owner_in_one() {
        let role = json!({"name": "r", "uid": "u", "ownerReferences": [owned("a"), owned("b")]});
        check(
            role,
            &[State::OutOfReach, State::Absent],
            &[],
            expect![[r#"
            because an owner is in a namespace, and what it is to own is not
        "#]],
        );
    }

    #[test]
    fn a_reference_astray_is_told() {
        let meta =
            json!({"name": "p", "namespace": "n", "uid": "u", "ownerReferences": [owned("a")]});
        let item = item(meta);
        let owner = item.meta.owner_references[0].clone();
        let (owners, astray) = (vec![(owner.clone(), State::Absent)], vec![owner]);
        let seen = Seen { item, owners, astray, dependents: Vec::new(), unknown: None };
        let mut out = Changes::default();
        GarbageCollector::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        expect![[r#"
            event Warning OwnerRefInvalidNamespace: ownerRef [apps/v1/ReplicaSet, namespace: n, name: a, uid: a] does not exist in namespace "n"
            delete pods n/p uid=u
        "#]].assert_eq(&out.text());
    }

    #[test]
    fn a_circle_of_owners_is_cut_where_it_closes() {
        let pod =
            json!({"name": "c", "namespace": "n", "uid": "c", "ownerReferences": [owned("b")]});
        let first = json!({"name": "a", "namespace": "n", "uid": "a", "finalizers": ["foregroundDeletion"],
                           "deletionTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [owned("c")]});
        check(
            pod,
            &[State::WaitsForDependents],
            &[first],
            expect![[r#"
            patch Merge pods n/c  {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":false,"controller":true,"kind":"ReplicaSet","name":"b","uid":"b"}],"resourceVersion":"","uid":"c"}}
            delete pods n/c uid=c
        "#]],
        );
    }

    #[test]
    fn a_foreground_deletion_waits_for_those_that_block_it() {
        let going = json!({"name": "o", "namespace": "n", "uid": "o", "finalizers": ["foregroundDeletion", "x/y"],
                           "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let pod =
            json!({"name": "p", "namespace": "n", "uid": "u", "ownerReferences": [owned("o")]});
        check(
            going.clone(),
            &[],
            &[pod],
            expect![[r#"
            because Pod n/p is still there
        "#]],
        );
        check(
            going,
            &[],
            &[],
            expect![[r#"
            patch Merge pods n/o  {"metadata":{"finalizers":["x/y"],"resourceVersion":"","uid":"o"}}
        "#]],
        );
    }

    #[test]
    fn an_end_waits_until_all_is_known_that_could_depend_on_it() {
        let going = json!({"name": "o", "namespace": "n", "uid": "o", "finalizers": ["orphan"],
                           "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let (item, unknown) = (item(going), Some("foos"));
        let (owners, astray, dependents) = Default::default();
        let seen = Seen { item, owners, astray, dependents, unknown };
        let mut out = Changes::default();
        let next = GarbageCollector::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        assert_eq!(next, Next::At(Time::UNIX_EPOCH + AGAIN));
        assert_eq!(out.text(), "because nothing is known yet of foos\n");
    }
}
