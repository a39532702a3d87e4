//! Adoption: which objects a controller calls its own (API reference: ObjectMeta.ownerReferences).
//!
//! An object has at most one controller. A controller takes in orphans that its selector matches and lets go of objects
//! that it no longer matches; it must never touch an object that another one controls. Before it takes one in, it has
//! to ask live whether it is itself still there: a cache may show a controller that was deleted and made anew.

use crate::{Changes, Context};
use skiff_api::Status;
use skiff_api::selector::Selector;
use skiff_api::view::{Meta, Resource, View};
use skiff_client::PatchKind;
use skiff_json::{Value, json};
use skiff_kinds::views::pod::LabelSelector;
use std::sync::Arc;

/// What a controller does about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Own,
    Adopt,
    Release,
    Ignore,
}

/// What a controller calls its own, takes in, and lets go of.
pub struct Claimed<V> {
    own: Vec<Arc<V>>,
    adopted: Vec<Arc<V>>,
    released: Vec<Arc<V>>,
}

/// Looks for the objects that name a controller as their owner, and for the orphans of its namespace that it would take
/// in. `fits`: which of those.
pub async fn claimed<Owner: View, V: View>(
    cx: &Context,
    owner: &Owner,
    selector: &Selector,
    fits: impl Fn(&V) -> bool,
) -> Result<Claimed<V>, Status> {
    let (meta, cache) = (owner.meta(), cx.caches.of::<V>());
    let mut objects = cache.find("owner", &meta.uid);
    // One that names it without being controlled is an orphan like others.
    objects.retain(|it| it.meta().controller().is_some());
    let orphans = cache.select(&meta.namespace, selector).into_iter();
    objects.extend(orphans.filter(|it| it.meta().controller().is_none() && fits(it)));
    let mut claimed = Claimed::of(meta, selector, objects);
    if !claimed.adopted.is_empty() {
        let live: Owner = cx.client.view(&meta.namespace, &meta.name).await?;
        if live.meta().uid != meta.uid || live.meta().deleting() {
            claimed.adopted.clear();
        }
    }
    Ok(claimed)
}

impl<V: View> Claimed<V> {
    /// Sorts objects of the controller's namespace.
    pub fn of(owner: &Meta, selector: &Selector, objects: Vec<Arc<V>>) -> Claimed<V> {
        let (own, adopted, released) = (Vec::new(), Vec::new(), Vec::new());
        let mut claimed = Claimed { own, adopted, released };
        for object in objects {
            match claim(owner, object.meta(), selector) {
                Claim::Own => claimed.own.push(object),
                Claim::Adopt => claimed.adopted.push(object),
                Claim::Release => claimed.released.push(object),
                Claim::Ignore => {}
            }
        }
        claimed
    }

    /// Those that are the controller's from now on.
    pub fn all(&self) -> impl Iterator<Item = &Arc<V>> {
        self.own.iter().chain(&self.adopted)
    }

    /// Takes in and lets go.
    pub fn settle<Owner: View>(&self, owner: &Owner, out: &mut Changes) {
        self.settle_with(owner, &[], out);
    }

    /// The same for a controller that holds what is its own by finalizers.
    pub fn settle_with<Owner: View>(&self, owner: &Owner, finalizers: &[&str], out: &mut Changes) {
        for object in &self.adopted {
            let owners = [reference(Owner::RESOURCE, owner.meta())];
            write(out, (V::RESOURCE, object.meta()), json!(owners), "finalizers", finalizers);
        }
        for object in &self.released {
            let gone = json!([{"$patch": "delete", "uid": owner.meta().uid}]);
            let finalizers_go = "$deleteFromPrimitiveList/finalizers";
            write(out, (V::RESOURCE, object.meta()), gone, finalizers_go, finalizers);
        }
    }

    /// Whether it was an orphan until now.
    pub fn is_adopted(&self, object: &Arc<V>) -> bool {
        self.adopted.iter().any(|it| Arc::ptr_eq(it, object))
    }
}

/// Decides about one object of the controller's namespace.
fn claim(owner: &Meta, object: &Meta, selector: &Selector) -> Claim {
    let matches = selector.matches(|key| object.labels.get(key).map(String::as_str));
    match object.controller() {
        Some(controller) if controller.uid != owner.uid => Claim::Ignore,
        Some(_) if matches => Claim::Own,
        Some(_) if owner.deleting() => Claim::Ignore,
        Some(_) => Claim::Release,
        None if matches && !owner.deleting() && !object.deleting() => Claim::Adopt,
        None => Claim::Ignore,
    }
}

/// Reads the selector of a controller. One that cannot be read selects nothing that may be touched.
pub fn selector(selector: &LabelSelector, owner: &Meta) -> Result<Selector, Status> {
    Selector::of(Some(&selector.0)).map_err(|why| {
        Status::internal(format!("the selector of {} cannot be read: {why}", owner.key()))
    })
}

/// A reference to the controller, as its objects carry it.
pub fn reference(resource: Resource, owner: &Meta) -> Value {
    json!({"apiVersion": resource.api_version(), "kind": resource.kind, "name": owner.name, "uid": owner.uid,
        "controller": true, "blockOwnerDeletion": true})
}

/// Writes who owns an object, and with it finalizers where there are some.
fn write(
    out: &mut Changes,
    (resource, object): (Resource, &Meta),
    owners: Value,
    field: &str,
    finalizers: &[&str],
) {
    let mut metadata = json!({"uid": object.uid, "ownerReferences": owners});
    if !finalizers.is_empty() {
        metadata[field] = json!(finalizers);
    }
    let body = json!({"metadata": metadata});
    out.patch(PatchKind::Strategic, resource, object.key(), "", body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_takes_orphans_and_lets_strangers_be() {
        let meta = |text: &str| -> Meta { skiff_json::from_str(text).expect("valid metadata") };
        let owner = meta(r#"{"uid": "o"}"#);
        let going = meta(r#"{"uid": "o", "deletionTimestamp": "2026-01-01T00:00:00Z"}"#);
        let selector = Selector::from_labels([("app", "a")]);
        let cases = [
            (&owner, r#"{"labels": {"app": "a"}}"#, Claim::Adopt),
            (&going, r#"{"labels": {"app": "a"}}"#, Claim::Ignore),
            (
                &owner,
                r#"{"labels": {"app": "a"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}"#,
                Claim::Ignore,
            ),
            (&owner, r#"{"labels": {"app": "b"}}"#, Claim::Ignore),
            (
                &owner,
                r#"{"labels": {"app": "a"}, "ownerReferences": [{"uid": "x", "controller": true}]}"#,
                Claim::Ignore,
            ),
            (
                &owner,
                r#"{"labels": {"app": "a"}, "ownerReferences": [{"uid": "o", "controller": true}]}"#,
                Claim::Own,
            ),
            (
                &owner,
                r#"{"labels": {}, "ownerReferences": [{"uid": "o", "controller": true}]}"#,
                Claim::Release,
            ),
            (
                &going,
                r#"{"labels": {}, "ownerReferences": [{"uid": "o", "controller": true}]}"#,
                Claim::Ignore,
            ),
        ];
        for (owner, object, expected) in cases {
            assert_eq!(claim(owner, &meta(object), &selector), expected, "{object}");
        }
    }
}
