//! Endpoints: the pods behind each Service that selects some, in one object of the Service's name (API reference:
//! Endpoints). For those who do not read endpoint slices yet; at most `MOST` addresses are told.
//!
//! Endpoints that somebody makes for a Service without a selector, or for none, are left alone; those of a Service
//! that is gone go.

#[cfg(test)]
mod tests;

use super::endpointslice::{HEADLESS, endpoint, trigger, write};
use crate::changes::Tell;
use crate::parts::metadata::replaced;
use crate::parts::subsets::repacked;
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, Meta, View};
use skiff_base::Time;
use skiff_client::{events, there};
use skiff_json::json;
use skiff_kinds::core::endpoints::{CONTROLLER, MANAGED_BY};
use skiff_kinds::views::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service, SubsetPort,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// As many as upstream tells.
const MOST: usize = 1000;
const OVER: &str = "endpoints.kubernetes.io/over-capacity";

/// Key: a Service.
pub struct EndpointsLoop;

pub struct Seen {
    /// `None`: it is gone, and was asked for.
    service: Option<Arc<Service>>,
    pods: Vec<Arc<Pod>>,
    endpoints: Option<Arc<Endpoints>>,
    /// The pods of the namespace that are there and cannot be read.
    hidden: BTreeSet<Key>,
}

impl Loop for EndpointsLoop {
    const NAME: &'static str = "endpoint-controller";
    type Seen = Seen;
    type Memory = trigger::Memory;

    fn on(on: &mut On) {
        on.own::<Service>();
        on.selected_by::<Service, Pod>();
        // Whose Service never was is nobody's affair.
        on.map::<Endpoints>(|endpoints, caches| {
            let key = endpoints.metadata.key();
            let known = is_ours(endpoints) || caches.of::<Service>().get(&key).is_some();
            known.then_some(key).into_iter().collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let service = cx.caches.of::<Service>().get(key);
        let endpoints = cx.caches.of::<Endpoints>().get(key);
        let selector = match &service {
            Some(service) if service.spec.type_ == "ExternalName" => return Ok(None),
            Some(service) => match service.selector() {
                Some(selector) => selector,
                None => return Ok(None),
            },
            None if endpoints.is_none() => return Ok(None),
            None => {
                // What goes does not come back by itself: the Service may only be late here.
                let found = cx.client.get(Service::RESOURCE, &key.namespace, &key.name).await;
                let (pods, hidden) = (Vec::new(), BTreeSet::new());
                let gone = there(found)?.is_none();
                return Ok(gone.then_some(Seen { service: None, pods, endpoints, hidden }));
            }
        };
        let pods = cx.caches.of::<Pod>();
        let hidden = pods.hidden_in(&key.namespace);
        let pods = pods.select(&key.namespace, &selector);
        Ok(Some(Seen { service, pods, endpoints, hidden }))
    }

    fn plan(seen: &Seen, memory: &mut trigger::Memory, _: Time, out: &mut Changes) -> Next {
        let Some(service) = &seen.service else {
            if let Some(left) = &seen.endpoints {
                let meta = &left.metadata;
                out.delete(Endpoints::RESOURCE, meta.key(), &meta.uid);
            }
            return Next::Wait;
        };
        let trigger = memory.trigger(service, &seen.pods).map(write::rfc3339);
        let mut subsets = repacked(&subsets(service, seen));
        let over = truncate(&mut subsets);
        let labels = labels(service);
        match &seen.endpoints {
            None => create(service, (subsets, labels), trigger, over, out),
            Some(was) => update(was, (subsets, labels), trigger, over, out),
        }
        Next::Wait
    }
}

fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.metadata.labels.get(MANAGED_BY).is_some_and(|it| it == CONTROLLER)
}

/// One subset for each pod and port.
fn subsets(service: &Service, seen: &Seen) -> Vec<EndpointSubset> {
    let mut all = Vec::new();
    // What cannot be read is there: its addresses stay as they were.
    let is_hidden = |address: &EndpointAddress| {
        let target = address.target_ref.as_ref();
        target.is_some_and(|it| seen.hidden.contains(&Key::new(&it.namespace, &it.name)))
    };
    if let Some(was) = seen.endpoints.iter().find(|_| !seen.hidden.is_empty()) {
        all.extend(was.subsets.iter().cloned().map(|mut subset| {
            subset.addresses.retain(is_hidden);
            subset.not_ready_addresses.retain(is_hidden);
            subset
        }));
        all.retain(|it| !it.addresses.is_empty() || !it.not_ready_addresses.is_empty());
    }
    let published = service.spec.publish_not_ready_addresses;
    let family = endpoint::families(service).first().copied().unwrap_or("IPv4");
    let behind = |pod: &&Arc<Pod>| {
        let hidden = seen.hidden.contains(&pod.metadata.key());
        !pod.ended() && !hidden && (published || !pod.metadata.deleting())
    };
    for pod in seen.pods.iter().filter(behind) {
        let Some(address) = address(service, pod, family) else { continue };
        let ports = match endpoint::ports(service, pod) {
            // Only one that is headless goes without.
            none if none.is_empty() && !(service.headless() && service.spec.ports.is_empty()) => {
                continue;
            }
            ports => ports.into_iter().map(port).collect(),
        };
        let (mut subset, one) = (EndpointSubset { ports, ..Default::default() }, vec![address]);
        match published || pod.ready() {
            true => subset.addresses = one,
            false => subset.not_ready_addresses = one,
        }
        all.push(subset);
    }
    all
}

fn address(service: &Service, pod: &Pod, family: &str) -> Option<EndpointAddress> {
    Some(EndpointAddress {
        ip: endpoint::addresses(pod, family).into_iter().next()?,
        hostname: endpoint::hostname(service, pod).unwrap_or_default(),
        node_name: Some(pod.spec.node_name.clone()),
        target_ref: Some(endpoint::reference(&pod.metadata)),
    })
}

fn port(port: EndpointPort) -> SubsetPort {
    SubsetPort {
        name: port.name.unwrap_or_default(),
        port: port.port.unwrap_or_default(),
        protocol: port.protocol.unwrap_or_default(),
        app_protocol: port.app_protocol,
    }
}

/// Leaves so many addresses as may be told, ready ones first and from each subset its share; says whether there were
/// more.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let ready: usize = subsets.iter().map(|it| it.addresses.len()).sum();
    let others: usize = subsets.iter().map(|it| it.not_ready_addresses.len()).sum();
    if ready + others <= MOST {
        return false;
    }
    let cuts_ready = ready > MOST;
    let (most, total) = if cuts_ready { (MOST, ready) } else { (MOST - ready, others) };
    let mut left = most;
    for subset in subsets {
        let list = match cuts_ready {
            true => {
                subset.not_ready_addresses.clear();
                &mut subset.addresses
            }
            false => &mut subset.not_ready_addresses,
        };
        list.truncate((list.len() * most).div_ceil(total).min(left));
        left -= list.len();
    }
    true
}

/// The labels of the service, and those that say whose the object is.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone();
    labels.remove(HEADLESS);
    if service.headless() || service.spec.cluster_ip.is_empty() {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    labels
}

/// Subsets and labels as they should be.
type Wanted = (Vec<EndpointSubset>, BTreeMap<String, String>);

fn create(
    service: &Service,
    (subsets, labels): Wanted,
    trigger: Option<String>,
    over: bool,
    out: &mut Changes,
) {
    let meta = &service.metadata;
    if meta.deleting() {
        return;
    }
    let mut body = json!({"apiVersion": "v1", "kind": "Endpoints", "subsets": subsets,
        "metadata": {"name": meta.name, "namespace": meta.namespace, "labels": labels}});
    let said = [(write::TRIGGER, trigger), (OVER, over.then(|| "truncated".to_owned()))];
    for (key, value) in said.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        body["metadata"]["annotations"][key] = value.into();
    }
    let change =
        Change::Create { resource: Endpoints::RESOURCE, namespace: meta.namespace.clone(), body };
    let (reason, what) = ("FailedToCreateEndpoint", "create endpoint for service");
    let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
    let about = Meta { namespace, name, ..Meta::default() };
    out.push(told(&about, change, reason, what));
}

fn update(
    was: &Endpoints,
    (subsets, labels): Wanted,
    trigger: Option<String>,
    over: bool,
    out: &mut Changes,
) {
    let meta = &was.metadata;
    let same = repacked(&was.subsets) == subsets
        && meta.labels == labels
        && meta.annotations.contains_key(OVER) == over;
    if same || meta.deleting() {
        return;
    }
    let body = json!({"subsets": subsets, "metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version, "labels": replaced(&meta.labels, &labels),
        "annotations": {write::TRIGGER: trigger, OVER: over.then_some("truncated")}}});
    let change =
        Change::Merge { resource: Endpoints::RESOURCE, key: meta.key(), subresource: "", body };
    out.push(told(meta, change, "FailedToUpdateEndpoint", "update endpoint"));
}

/// A change, and what users hear of when it is refused.
fn told(about: &Meta, change: Change, reason: &'static str, what: &str) -> Change {
    let message = format!("Failed to {what} {}/{}: {{error}}", about.namespace, about.name);
    let about = events::reference(Endpoints::RESOURCE, about);
    let tell = Tell { about, failed: (reason, message), ..Tell::default() };
    Change::Told(Box::new(change), tell)
}
