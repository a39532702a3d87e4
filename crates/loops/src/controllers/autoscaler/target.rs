//! What an autoscaler scales: any kind of its group that has a `scale`, and who else scales the same pods.

use crate::Context;
use skiff_api::object::Object;
use skiff_api::view::{Key, Resource, View};
use skiff_kinds::views::autoscaler::{self, HorizontalPodAutoscaler as Hpa, TargetRef};
use skiff_kinds::views::{Pod, ReplicaSet};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The scale of something.
#[derive(Debug, Clone)]
pub struct Target {
    pub resource: Resource,
    /// `spec.replicas` and `status.replicas`.
    pub wanted: i32,
    pub there: i32,
    /// Of its pods, as text.
    pub selector: String,
}

/// Asks live: an autoscaler that goes by an old number works against itself.
///
/// # Errors
/// Why there is none, in the words that users read.
pub async fn find(cx: &Context, hpa: &Hpa) -> Result<Target, String> {
    let to = &hpa.spec.scale_target_ref;
    let mut first = None;
    for resource in resources(cx, to)? {
        let path = resource.path(&hpa.metadata.namespace, &to.name, "scale");
        match cx.client.get_path(&path).await {
            Ok(scale) => return Ok(target(resource, &Object::new(scale))),
            Err(status) => _ = first.get_or_insert(status.message),
        }
    }
    Err(first.unwrap_or_else(|| "unrecognized resource".into()))
}

fn target(resource: Resource, scale: &Object) -> Target {
    let number = |path| scale.int(path).and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
    Target {
        resource,
        wanted: number("spec.replicas"),
        there: number("status.replicas"),
        selector: scale.text("status.selector").to_owned(),
    }
}

/// The resources of a kind, whatever version a reference names.
fn resources(cx: &Context, to: &TargetRef) -> Result<Vec<Resource>, String> {
    if to.api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {}", to.api_version));
    }
    let kinds = cx.kinds.now();
    let mut seen = BTreeSet::new();
    let of = kinds.kinds().iter().filter(|it| it.kind == to.kind && it.group == to.group());
    let found = of.filter(|it| seen.insert(it.plural.clone())).map(|it| Resource::of_kind(it));
    let found: Vec<Resource> = found.collect();
    match found.is_empty() {
        true => Err(format!("no matches for kind {:?} in group {:?}", to.kind, to.group())),
        false => Ok(found),
    }
}

/// Those that scale what controls these pods, or what controls that; empty when that is one alone.
pub fn rivals(cx: &Context, hpa: &Hpa, pods: &[Arc<Pod>]) -> Vec<Key> {
    let (all, sets) = (cx.caches.of::<Hpa>(), cx.caches.of::<ReplicaSet>());
    let namespace = &hpa.metadata.namespace;
    let mut found = BTreeSet::from([hpa.metadata.key()]);
    let mut asked = BTreeSet::new();
    for owner in pods.iter().filter_map(|pod| pod.metadata.controller()) {
        if !asked.insert(&owner.uid) {
            continue;
        }
        let set =
            sets.get(&Key::new(namespace, &owner.name)).filter(|it| it.metadata.uid == owner.uid);
        let above = set.as_ref().and_then(|set| set.metadata.controller());
        for owner in [Some(owner), above].into_iter().flatten() {
            let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
            let target = autoscaler::target(namespace, group, &owner.kind, &owner.name);
            found.extend(all.find("target", &target).iter().map(|it| it.meta().key()));
        }
    }
    if found.len() > 1 { found.into_iter().collect() } else { Vec::new() }
}
