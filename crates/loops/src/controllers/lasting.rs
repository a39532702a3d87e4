//! What every cluster holds stays: the namespaces and Services of the system and their endpoints come back as they
//! were made when somebody takes or bends them. A tenant's `kubectl delete all --all` must not end the cluster.
//!
//! What has to be there is data (`Wanted`), held by whoever makes it first. Users may add to it (labels, annotations,
//! fields that are not named); what it says itself stands.

use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::view::{Key, Meta, Resource, View};
use skiff_api::wire::User;
use skiff_base::Lock;
use skiff_base::Time;
use skiff_client::there;
use skiff_json::Value;
use skiff_kinds::views::{ConfigMap, EndpointSlice, Endpoints, Namespace, Service, ServiceCidr};

/// What has to be there.
#[derive(Default)]
pub struct Wanted(Lock<Vec<Object>>);

impl Wanted {
    /// From now on this object is to be there, as it is here; it replaces what was held under its name.
    pub fn hold(&self, body: Value) {
        let new = Object::new(body);
        let mut list = self.0.lock();
        list.retain(|it| key_of(it) != key_of(&new));
        list.push(new);
    }

    fn find(&self, key: &Key) -> Option<Object> {
        let list = self.0.lock();
        list.iter().find(|it| key_of(it) == *key).cloned()
    }
}

fn key_of(object: &Object) -> Key {
    key(object.kind(), object.namespace(), object.name())
}

fn key(kind: &str, namespace: &str, name: &str) -> Key {
    Key::new(namespace, &format!("{kind}/{name}"))
}

/// Key: kind and name, in the namespace.
pub struct Lasting;

pub struct Seen {
    resource: Resource,
    wanted: Object,
    found: Option<Object>,
}

/// The last change was refused for what it would make of the object.
#[derive(Default)]
pub struct Refused(bool);

impl Loop for Lasting {
    const NAME: &'static str = "lasting-objects-controller";
    type Seen = Seen;
    type Memory = Refused;

    /// No controller's role lets it make these.
    fn user() -> User {
        User::system("system:apiserver", &["system:masters"])
    }

    fn on(on: &mut On) {
        fn own<V: View>(on: &mut On) {
            let key = |meta: &Meta| key(V::RESOURCE.kind, &meta.namespace, &meta.name);
            on.map::<V>(move |object, _| vec![key(object.meta())]);
        }
        own::<Namespace>(on);
        own::<Service>(on);
        own::<ConfigMap>(on);
        own::<Endpoints>(on);
        own::<EndpointSlice>(on);
        own::<ServiceCidr>(on);
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(wanted) = cx.settings.wanted.find(key) else { return Ok(None) };
        let (group, version) =
            wanted.api_version().split_once('/').unwrap_or(("", wanted.api_version()));
        let registry = cx.kinds.now();
        let kind = registry.find_kind(group, version, wanted.kind());
        let resource = Resource::of_kind(kind.ok_or_else(Status::no_such_path)?);
        let found = there(cx.client.get(resource, wanted.namespace(), wanted.name()).await)?;
        Ok(Some(Seen { resource, wanted, found }))
    }

    fn failed(refused: &mut Refused, change: &Change, why: &Status) {
        refused.0 = matches!(change, Change::Merge { .. }) && why.code == 422;
    }

    fn plan(seen: &Seen, refused: &mut Refused, _: Time, out: &mut Changes) -> Next {
        let Seen { resource, wanted, found } = seen;
        let body = wanted.value().clone();
        let key = Key::new(wanted.namespace(), wanted.name());
        match found {
            None => out.create(*resource, wanted.namespace(), body),
            Some(found) if found.deleting() => out.because("it is going, and comes back then"),
            Some(found) if covers(found.value(), wanted.value()) => refused.0 = false,
            // What cannot be changed back is made anew.
            Some(found) if refused.0 => out.delete(*resource, key, found.uid()),
            Some(_) => out.merge(*resource, key, body),
        }
        Next::Wait
    }
}

/// Whether everything that is wanted is there; lists say all that is to be in them.
fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, want)| found.get(key).is_some_and(|it| covers(it, want)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| covers(a, b))
        }
        (found, wanted) => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::json;

    fn check(found: Option<Value>, refused: Refused, expected: Expect) {
        let wanted = Object::new(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "s", "namespace": "n", "labels": {"a": "b"}},
            "spec": {"type": "ClusterIP", "ports": [{"port": 443}]}}));
        let found = found.map(|change| {
            let mut found = wanted.clone();
            found.set("metadata.uid", "u");
            for (path, value) in change.as_object().expect("a case is paths and values") {
                found.set(path, value.clone());
            }
            found
        });
        let seen = Seen { resource: Service::RESOURCE, wanted, found };
        let (mut refused, mut out) = (refused, Changes::default());
        Lasting::plan(&seen, &mut refused, Time::UNIX_EPOCH, &mut out);
        expected.assert_eq(&out.text());
    }

    #[test]
    fn what_was_taken_comes_back() {
        check(
            None,
            Refused(false),
            expect![[r#"
            create services n {"apiVersion":"v1","kind":"Service","metadata":{"labels":{"a":"b"},"name":"s","namespace":"n"},"spec":{"ports":[{"port":443}],"type":"ClusterIP"}}
        "#]],
        );
        let going = json!({"metadata.deletionTimestamp": "2026-01-01T00:00:00Z"});
        check(
            Some(going),
            Refused(false),
            expect![[r#"
            because it is going, and comes back then
        "#]],
        );
    }

    #[test]
    fn what_was_bent_is_put_right() {
        let more = json!({"metadata.labels": {"a": "b", "c": "d"}, "spec.sessionAffinity": "None"});
        check(Some(more), Refused(false), expect![[""]]);
        let ports = || Some(json!({"spec.ports": [{"port": 443}, {"port": 80}]}));
        check(
            ports(),
            Refused(false),
            expect![[r#"
            merge services n/s  {"apiVersion":"v1","kind":"Service","metadata":{"labels":{"a":"b"},"name":"s","namespace":"n"},"spec":{"ports":[{"port":443}],"type":"ClusterIP"}}
        "#]],
        );
        check(
            ports(),
            Refused(true),
            expect![[r#"
            delete services n/s uid=u
        "#]],
        );
        check(
            Some(json!({"metadata.labels": {}})),
            Refused(false),
            expect![[r#"
            merge services n/s  {"apiVersion":"v1","kind":"Service","metadata":{"labels":{"a":"b"},"name":"s","namespace":"n"},"spec":{"ports":[{"port":443}],"type":"ClusterIP"}}
        "#]],
        );
    }
}
