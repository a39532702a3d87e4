//! Custom resource definitions: accepts their names, establishes them, and deletes their objects before they go.
//!
//! Names belong to whoever had them first within a group; the conditions say so in upstream's words.

use crate::parts::conditions::{condition, find, set};
use crate::parts::status::{this_revision, write};
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::view::{Key, Resource, View};
use skiff_api::wire::User;
use skiff_base::Time;
use skiff_client::DeleteOptions;
use skiff_json::json;
use skiff_kinds::apiextensions::customresourcedefinition::FINALIZER;
use skiff_kinds::views::{Condition, CrdNames, CustomResourceDefinition};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How soon objects that somebody holds are looked at again, should nobody tell of their end.
const AGAIN: Duration = Duration::from_secs(5);

/// Key: the name of a definition.
pub struct Definitions;

pub struct Seen {
    crd: Arc<CustomResourceDefinition>,
    /// The other definitions of its group.
    others: Vec<Arc<CustomResourceDefinition>>,
    /// The objects of a definition that is being deleted.
    left: Vec<Object>,
    resource: Option<Resource>,
}

impl Loop for Definitions {
    const NAME: &'static str = "kube-apiserver";
    const PART: &'static str = "crd-controller";
    const WORKERS: usize = 1;
    type Seen = Seen;
    type Memory = ();

    /// Upstream does this inside the API server.
    fn user() -> User {
        User::system("system:apiserver", &["system:masters"])
    }

    fn on(on: &mut On) {
        // A name that somebody gives back is free for the others of the group.
        on.map::<CustomResourceDefinition>(|crd, caches| {
            let group = caches.of::<CustomResourceDefinition>().find("group", &crd.spec.group);
            let mut keys: Vec<Key> = group.iter().map(|it| it.metadata.key()).collect();
            keys.push(crd.metadata.key());
            keys
        });
        let definitions = on.reads::<CustomResourceDefinition>();
        on.any(move |change, _| {
            let Some(item) = change.new.as_ref().or(change.old.as_ref()) else { return Vec::new() };
            let key = Key::new("", &format!("{}.{}", item.resource.plural, item.resource.group));
            let going = definitions.get(&key).is_some_and(|crd| crd.metadata.deleting());
            if going { vec![key] } else { Vec::new() }
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let cache = cx.caches.of::<CustomResourceDefinition>();
        let Some(crd) = cache.get(key) else { return Ok(None) };
        let mut others = cache.find("group", &crd.spec.group);
        others.retain(|other| other.metadata.name != key.name);
        let (mut left, mut resource) = (Vec::new(), None);
        if crd.metadata.deleting() && crd.is("Established") {
            let registry = cx.kinds.now();
            let kind = registry.find_in_group(&crd.spec.group, &crd.spec.names.plural);
            if let Some(kind) = kind.filter(|kind| kind.is_custom()) {
                let found = Resource::of_kind(kind);
                left = cx.client.list(found, "", "").await?;
                resource = Some(found);
            }
        }
        Ok(Some(Seen { crd, others, left, resource }))
    }

    fn plan(seen: &Seen, _: &mut (), now: Time, out: &mut Changes) -> Next {
        if seen.crd.metadata.deleting() {
            return end(seen, now, out);
        }
        let crd = &*seen.crd;
        let mut after = crd.status.clone();
        let (names, accepted) = names(crd, &seen.others, now);
        after.accepted_names = names;
        set(&mut after.conditions, accepted);
        if !crd.is("Established") {
            let established = established(&after.conditions, now);
            set(&mut after.conditions, established);
        }
        write(crd, this_revision(&crd.metadata), (&crd.status, &after), out);
        Next::Wait
    }
}

fn established(conditions: &[Condition], now: Time) -> Condition {
    let accepted = find(conditions, "NamesAccepted").is_some_and(|it| it.status == "True");
    let (status, reason, message) = match accepted {
        true => ("True", "InitialNamesAccepted", "the initial names have been accepted"),
        false => ("False", "NotAccepted", "not all names are accepted"),
    };
    condition("Established", status, reason, message, now)
}

/// The names that it may have, and what the condition says of those that it wants.
fn names(
    crd: &CustomResourceDefinition,
    others: &[Arc<CustomResourceDefinition>],
    now: Time,
) -> (CrdNames, Condition) {
    let (mut resources, mut kinds) = (HashSet::new(), HashSet::new());
    for taken in others.iter().map(|it| &it.status.accepted_names) {
        resources.extend([&*taken.plural, &*taken.singular]);
        resources.extend(taken.short_names.iter().map(String::as_str));
        kinds.extend([&*taken.kind, &*taken.list_kind]);
    }
    let (wanted, mut names) = (&crd.spec.names, crd.status.accepted_names.clone());
    let mut verdict = condition("NamesAccepted", "True", "NoConflicts", "no conflicts found", now);
    let mut refuse = |reason: &str, message: &str| {
        verdict = condition("NamesAccepted", "False", reason, message, now);
    };
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (name, place, used, reason) in [
        (&wanted.plural, &mut names.plural, &resources, "PluralConflict"),
        (&wanted.singular, &mut names.singular, &resources, "SingularConflict"),
    ] {
        match name != place && used.contains(&**name) {
            true => refuse(reason, &in_use(name)),
            false => place.clone_from(name),
        }
    }
    let own = |name: &String| names.short_names.contains(name);
    let clash = wanted.short_names.iter().filter(|it| !own(it) && resources.contains(&***it));
    let clash: Vec<String> = clash.map(|it| in_use(it)).collect();
    match &clash[..] {
        [] => names.short_names.clone_from(&wanted.short_names),
        [one] => refuse("ShortNamesConflict", one),
        many => refuse("ShortNamesConflict", &format!("[{}]", many.join(", "))),
    }
    for (name, place, reason) in [
        (&wanted.kind, &mut names.kind, "KindConflict"),
        (&wanted.list_kind, &mut names.list_kind, "ListKindConflict"),
    ] {
        match name != place && kinds.contains(&**name) {
            true => refuse(reason, &in_use(name)),
            false => place.clone_from(name),
        }
    }
    names.categories.clone_from(&wanted.categories);
    (names, verdict)
}

/// Deletes the objects, then lets the definition go.
fn end(seen: &Seen, now: Time, out: &mut Changes) -> Next {
    let (crd, meta) = (&seen.crd, &seen.crd.metadata);
    if !meta.finalizers.iter().any(|it| it == FINALIZER) {
        out.because("another finalizer holds it");
        return Next::Wait;
    }
    if let (Some(resource), false) = (seen.resource, seen.left.is_empty()) {
        let mut after = crd.status.clone();
        let message = "CustomResource deletion is in progress";
        let reason = "InstanceDeletionInProgress";
        set(&mut after.conditions, condition("Terminating", "True", reason, message, now));
        write(&**crd, this_revision(meta), (&crd.status, &after), out);
        for object in &seen.left {
            let key = Key::new(object.namespace(), object.name());
            if object.deleting() {
                out.because(format!("{} {key} is held by its finalizers", resource.plural));
                continue;
            }
            let uid = Some(object.uid().to_owned());
            out.delete_with(resource, key, DeleteOptions { uid, ..DeleteOptions::default() });
        }
        // Those that nothing holds are gone with this pass.
        let held = seen.left.iter().all(Object::deleting);
        return Next::At(if held { now + AGAIN } else { now });
    }
    let rest: Vec<&String> = meta.finalizers.iter().filter(|it| *it != FINALIZER).collect();
    let mut metadata = this_revision(meta);
    metadata["finalizers"] = json!(rest);
    let body = json!({"metadata": metadata});
    out.merge(CustomResourceDefinition::RESOURCE, meta.key(), body);
    Next::Wait
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::Value;

    fn view(crd: Value) -> Arc<CustomResourceDefinition> {
        Arc::new(skiff_json::from_value(crd).expect("the case is a valid view"))
    }

    fn check(crd: Value, others: Vec<Value>, left: Vec<Value>, expected: Expect) {
        let resource = Some(Resource::of("x.com", "v1", "foos", "Foo"));
        let seen = Seen {
            crd: view(crd),
            others: others.into_iter().map(view).collect(),
            left: left.into_iter().map(Object::new).collect(),
            resource,
        };
        let mut out = Changes::default();
        Definitions::plan(&seen, &mut (), Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    fn foos() -> Value {
        json!({"metadata": {"name": "foos.x.com", "uid": "u", "resourceVersion": "3"}, "spec": {"group": "x.com",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"}}})
    }

    #[test]
    fn free_names_are_accepted_and_taken_ones_are_told() {
        check(
            foos(),
            vec![],
            vec![],
            expect![[r#"
                merge customresourcedefinitions foos.x.com status {"metadata":{"resourceVersion":"3","uid":"u"},"status":{"acceptedNames":{"categories":[],"kind":"Foo","listKind":"FooList","plural":"foos","shortNames":[],"singular":"foo"},"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"no conflicts found","reason":"NoConflicts","status":"True","type":"NamesAccepted"},{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"the initial names have been accepted","reason":"InitialNamesAccepted","status":"True","type":"Established"}]}}
            "#]],
        );
        let other = json!({"metadata": {"name": "foo2s.x.com"}, "status": {"acceptedNames": {"kind": "Foo"}}});
        check(
            foos(),
            vec![other],
            vec![],
            expect![[r#"
                merge customresourcedefinitions foos.x.com status {"metadata":{"resourceVersion":"3","uid":"u"},"status":{"acceptedNames":{"categories":[],"kind":"","listKind":"FooList","plural":"foos","shortNames":[],"singular":"foo"},"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"\"Foo\" is already in use","reason":"KindConflict","status":"False","type":"NamesAccepted"},{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"not all names are accepted","reason":"NotAccepted","status":"False","type":"Established"}]}}
            "#]],
        );
    }

    #[test]
    fn objects_go_before_their_definition() {
        let mut going = foos();
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        going["metadata"]["finalizers"] = json!([FINALIZER]);
        let object = json!({"metadata": {"name": "a", "namespace": "n", "uid": "1"}});
        check(
            going.clone(),
            vec![],
            vec![object],
            expect![[r#"
                merge customresourcedefinitions foos.x.com status {"metadata":{"resourceVersion":"3","uid":"u"},"status":{"acceptedNames":{"categories":[],"kind":"","listKind":"","plural":"","shortNames":[],"singular":""},"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"CustomResource deletion is in progress","reason":"InstanceDeletionInProgress","status":"True","type":"Terminating"}]}}
                delete foos n/a uid=1
            "#]],
        );
        check(
            going,
            vec![],
            vec![],
            expect![[r#"
            merge customresourcedefinitions foos.x.com  {"metadata":{"finalizers":[],"resourceVersion":"3","uid":"u"}}
        "#]],
        );
    }
}
