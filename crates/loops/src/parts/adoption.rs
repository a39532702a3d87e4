//! Adoption: which objects a controller calls its own (API reference: ObjectMeta.ownerReferences).
//!
//! An object has at most one controller. A controller takes in orphans that its selector matches and lets go of objects
//! that it no longer matches; it must never touch an object that another one controls. Before it takes one in, it has
//! to ask live whether it is itself still there: a cache may show a controller that was deleted and made anew.

use crate::Changes;
use serde_json::{Value, json};
use skiff_api::Status;
use skiff_api::selector::Selector;
use skiff_api::view::{Meta, Resource};
use skiff_client::PatchKind;
use skiff_kinds::views::pod::LabelSelector;

/// What a controller does about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Own,
    Adopt,
    Release,
    Ignore,
}

/// Decides about one object of the controller's namespace.
pub fn claim(owner: &Meta, object: &Meta, selector: &Selector) -> Claim {
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
    Selector::from_object(Some(&selector.0)).map_err(|why| {
        Status::internal(format!("the selector of {} cannot be read: {why}", owner.key()))
    })
}

/// A reference to the controller, as its objects carry it.
pub fn reference(resource: Resource, owner: &Meta) -> Value {
    json!({"apiVersion": resource.api_version(), "kind": resource.kind, "name": owner.name, "uid": owner.uid,
        "controller": true, "blockOwnerDeletion": true})
}

/// Takes an orphan in.
pub fn adopt(
    out: &mut Changes,
    (kind, owner): (Resource, &Meta),
    (resource, object): (Resource, &Meta),
) {
    let body =
        json!({"metadata": {"uid": object.uid, "ownerReferences": [reference(kind, owner)]}});
    out.patch(PatchKind::Strategic, resource, object.key(), "", body);
}

/// Lets an object go.
pub fn release(out: &mut Changes, owner: &Meta, (resource, object): (Resource, &Meta)) {
    let gone = json!([{"$patch": "delete", "uid": owner.uid}]);
    let body = json!({"metadata": {"uid": object.uid, "ownerReferences": gone}});
    out.patch(PatchKind::Strategic, resource, object.key(), "", body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_takes_orphans_and_lets_strangers_be() {
        let meta = |text: &str| -> Meta { serde_json::from_str(text).expect("valid metadata") };
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
