//! Endpoint slices: which pods stand behind each Service that selects pods (KEP-752).
//!
//! Pods whose named ports resolve differently go into different slices; a slice holds at most `MOST` endpoints. Slices
//! that are right are left alone, and as few as possible are written: every write goes to every node.

pub mod endpoint;
mod packing;
#[cfg(test)]
mod tests;
pub mod trigger;
pub mod write;

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_kinds::views::{EndpointSlice, Node, Pod, SERVICE_NAME, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Upstream's default.
const MOST: usize = 100;
/// A pod whose node is not there yet is looked at again after this.
const NODE_WAIT: Duration = Duration::from_secs(1);
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The value of that label: slices of others are not touched.
const MANAGER: &str = "endpointslice-controller.k8s.io";
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// Key: a Service.
pub struct EndpointSliceLoop;

pub struct Seen {
    service: Arc<Service>,
    pods: Vec<Arc<Pod>>,
    /// The nodes of these pods, by name.
    nodes: BTreeMap<String, Arc<Node>>,
    /// Those that this loop keeps.
    slices: Vec<Arc<EndpointSlice>>,
    /// The pods of the namespace, and the nodes, that are there and cannot be read.
    hidden: BTreeSet<Key>,
}

impl Loop for EndpointSliceLoop {
    const NAME: &'static str = "endpointslice-controller";
    type Seen = Seen;
    type Memory = trigger::Memory;

    fn on(on: &mut On) {
        on.own::<Service>();
        on.selected_by::<Service, Pod>();
        on.map::<EndpointSlice>(|slice, _| {
            let meta = &slice.metadata;
            let ours = meta.labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
            let service = meta.labels.get(SERVICE_NAME).filter(|_| ours);
            service.map(|name| Key::new(&meta.namespace, name)).into_iter().collect()
        });
        on.reads::<Node>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        // The slices of a service that is gone are garbage, which another loop collects.
        let Some(service) = cx.caches.of::<Service>().get(key) else { return Ok(None) };
        let selector = service.selector().filter(|_| service.spec.type_ != "ExternalName");
        let Some(selector) = selector else { return Ok(None) };
        let pods = cx.caches.of::<Pod>().select(&key.namespace, &selector);
        let cache = cx.caches.of::<Node>();
        let names = pods.iter().map(|pod| &pod.spec.node_name);
        let nodes = names
            .filter_map(|name| Some((name.clone(), cache.get(&Key::new("", name))?)))
            .collect();
        let mut slices = cx.caches.of::<EndpointSlice>().find("service", &key.to_string());
        slices.retain(|slice| {
            let manager = slice.metadata.labels.get(MANAGED_BY);
            manager.is_some_and(|manager| manager == MANAGER) && !slice.metadata.deleting()
        });
        let mut hidden = cache.hidden_in("");
        hidden.extend(cx.caches.of::<Pod>().hidden_in(&key.namespace));
        Ok(Some(Seen { service, pods, nodes, slices, hidden }))
    }

    fn plan(seen: &Seen, memory: &mut trigger::Memory, now: Time, out: &mut Changes) -> Next {
        let service = &*seen.service;
        let mut next = Next::Wait;
        let mut writes = Vec::new();
        let families = endpoint::families(service);
        let strays = seen.slices.iter().filter(|slice| !families.contains(&&*slice.address_type));
        let mut gone: Vec<_> = strays.cloned().collect();
        for family in families {
            let existing = seen.slices.iter().filter(|slice| slice.address_type == family);
            let (owned, foreign): (Vec<_>, Vec<_>) =
                existing.cloned().partition(|slice| write::owned_by(slice, service));
            let groups = endpoint::groups(seen, family);
            if groups.waits_for_node {
                next = Next::At(now + NODE_WAIT);
                out.because("the node of a pod is not there yet");
            }
            let packed = packing::pack(groups.by_ports, owned, MOST);
            writes.extend(packed.slices.into_iter().map(|slice| (family, slice)));
            gone.extend(packed.gone);
            gone.extend(foreign);
        }
        let trigger = memory.trigger(service, &seen.pods);
        write::write(service, writes, gone, trigger, out);
        next
    }
}
