//! How many pods there should be: the sum over those that control the pods of a budget, each once. Kinds that are not
//! known here say it through their `scale`.

use crate::Context;
use skiff_api::kind::{Does, Kind};
use skiff_api::object::Object;
use skiff_api::view::{Key, Owner, Resource, View};
use skiff_client::there;
use skiff_kinds::views::budget::BudgetSpec;
use skiff_kinds::views::workloads::Amount;
use skiff_kinds::views::{Deployment, Pod, ReplicaSet, ReplicationController};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What is known of the pods that should be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    pub count: i32,
    /// Nobody controls some of the pods.
    pub unmanaged: bool,
}

/// A controller by its uid, with the pods that it wants.
type Scale = (String, i32);

/// # Errors
/// Why nobody can say it, in the words that users read.
pub async fn expected(
    cx: &Context,
    spec: &BudgetSpec,
    pods: &[Arc<Pod>],
) -> Result<Expected, String> {
    let (mut wanted, mut known, mut unmanaged) = (HashMap::new(), HashSet::new(), false);
    match (&spec.max_unavailable, &spec.min_available) {
        (None, None) => return Ok(Expected { count: 0, unmanaged }),
        (None, Some(Amount::Number(_))) => {
            let count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
            return Ok(Expected { count, unmanaged });
        }
        _ => {}
    }
    for pod in pods {
        let Some(owner) = pod.metadata.controller() else {
            unmanaged = true;
            continue;
        };
        if known.insert(&owner.uid) {
            let found = controller(cx, owner, &pod.metadata.namespace).await?;
            let none = || format!("found no controllers for pod {:?}", pod.metadata.name);
            let (uid, replicas) = found.ok_or_else(none)?;
            wanted.insert(uid, replicas);
        }
    }
    Ok(Expected { count: wanted.values().fold(0, |sum, it| sum.saturating_add(*it)), unmanaged })
}

async fn controller(cx: &Context, owner: &Owner, namespace: &str) -> Result<Option<Scale>, String> {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let key = Key::new(namespace, &owner.name);
    let known = match (&*owner.kind, group) {
        ("ReplicationController", "") => {
            let found = of::<ReplicationController>(cx, &key, &owner.uid);
            found.map(|it| (owner.uid.clone(), it.0.spec.replicas))
        }
        ("ReplicaSet", "apps" | "extensions") => of_set(cx, &key, &owner.uid),
        _ => None,
    };
    match known {
        Some(known) => Ok(Some(known)),
        None => by_scale(cx, owner, group, namespace).await,
    }
}

fn of<V: View>(cx: &Context, key: &Key, uid: &str) -> Option<Arc<V>> {
    cx.caches.of::<V>().get(key).filter(|it| it.meta().uid == uid)
}

/// A set's own number, or that of the Deployment whose sets come and go.
fn of_set(cx: &Context, key: &Key, uid: &str) -> Option<Scale> {
    let set = of::<ReplicaSet>(cx, key, uid)?;
    match set.metadata.controller().filter(|owner| owner.kind == Deployment::RESOURCE.kind) {
        None => Some((uid.to_owned(), set.spec.replicas)),
        Some(owner) => {
            let key = Key::new(&key.namespace, &owner.name);
            let found = of::<Deployment>(cx, &key, &owner.uid)?;
            Some((owner.uid.clone(), found.spec.replicas))
        }
    }
}

async fn by_scale(
    cx: &Context,
    owner: &Owner,
    group: &str,
    namespace: &str,
) -> Result<Option<Scale>, String> {
    let kinds = cx.kinds.now();
    let version = owner.api_version.rsplit('/').next().unwrap_or("");
    let Some(kind) = kinds.find_kind(group, version, &owner.kind) else {
        let (kind, version) = (&owner.kind, &owner.api_version);
        return Err(format!("no matches for kind {kind:?} in version {version:?}"));
    };
    if !scales(kind) {
        let name = kind.about().qualified();
        return Err(format!("{name} does not implement the scale subresource"));
    }
    let path = Resource::of_kind(kind).path(namespace, &owner.name, "scale");
    let scale = there(cx.client.get_path(&path).await).map_err(|status| status.message)?;
    let scale = scale.map(Object::new).filter(|scale| scale.uid() == owner.uid);
    Ok(scale.map(|scale| {
        let replicas = scale.int("spec.replicas").and_then(|n| i32::try_from(n).ok());
        (owner.uid.clone(), replicas.unwrap_or(0))
    }))
}

fn scales(kind: &Kind) -> bool {
    kind.subresources.iter().any(|entry| matches!(entry.does, Does::Scale(_)))
}
