//! How slices are written: only those that differ from what is stored.

use super::packing::Packed;
use super::{HEADLESS, MANAGED_BY, MANAGER};
use crate::changes::Tell;
use crate::parts::adoption::reference;
use crate::parts::metadata::replaced;
use crate::{Change, Changes};
use skiff_api::time::{Precision, format};
use skiff_api::view::View;
use skiff_base::Time;
use skiff_client::{DeleteOptions, events};
use skiff_json::{Map, Value, json};
use skiff_kinds::views::{Endpoint, EndpointPort, EndpointSlice, SERVICE_NAME, Service};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

pub fn owned_by(slice: &EndpointSlice, service: &Service) -> bool {
    let is_it = |owner: &skiff_api::view::Owner| {
        owner.uid == service.metadata.uid && owner.kind == "Service" && owner.api_version == "v1"
    };
    slice.metadata.owner_references.iter().any(is_it)
}

pub fn write(
    service: &Service,
    slices: Vec<(&'static str, Packed)>,
    gone: Vec<Arc<EndpointSlice>>,
    trigger: Option<Time>,
    out: &mut Changes,
) {
    let meta = &service.metadata;
    let message = format!(
        "Error updating Endpoint Slices for Service {}/{}: {{error}}",
        meta.namespace, meta.name
    );
    let tell = Tell {
        about: events::reference(Service::RESOURCE, meta),
        failed: ("FailedToUpdateEndpointSlices", message),
        ..Tell::default()
    };
    let trigger = trigger.map(rfc3339);
    let told = |change: Change| Change::Told(Box::new(change), tell.clone());
    for (family, slice) in slices {
        let change = match &slice.was {
            None if meta.deleting() => None,
            None => Some(create(service, family, &slice, trigger.as_deref())),
            Some(was) => update(service, was, &slice, trigger.as_deref()),
        };
        change.into_iter().for_each(|change| out.push(told(change)));
    }
    for slice in gone {
        let uid = Some(slice.metadata.uid.clone());
        let options = DeleteOptions { uid, ..DeleteOptions::default() };
        let key = slice.metadata.key();
        out.push(told(Change::Delete { resource: EndpointSlice::RESOURCE, key, options }));
    }
}

fn create(service: &Service, family: &str, slice: &Packed, trigger: Option<&str>) -> Change {
    let meta = &service.metadata;
    let mut body = json!({"apiVersion": EndpointSlice::RESOURCE.api_version(), "kind": "EndpointSlice",
        "metadata": {"generateName": format!("{}-", meta.name), "namespace": meta.namespace,
            "labels": labels(service), "ownerReferences": [reference(Service::RESOURCE, meta)]},
        "addressType": family, "endpoints": endpoints(&slice.endpoints), "ports": ports(&slice.ports)});
    if let Some(trigger) = trigger {
        body["metadata"]["annotations"] = json!({TRIGGER: trigger});
    }
    Change::Create { resource: EndpointSlice::RESOURCE, namespace: meta.namespace.clone(), body }
}

fn update(
    service: &Service,
    was: &EndpointSlice,
    slice: &Packed,
    trigger: Option<&str>,
) -> Option<Change> {
    let meta = &was.metadata;
    let labels = labels(service);
    let mut known = was.ports.clone();
    super::endpoint::order(&mut known);
    let same = was.endpoints == slice.endpoints && known == slice.ports && meta.labels == labels;
    if same {
        return None;
    }
    let mut body = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version,
        "annotations": {TRIGGER: trigger}}});
    if meta.labels != labels {
        body["metadata"]["labels"] = replaced(&meta.labels, &labels);
    }
    if was.endpoints != slice.endpoints {
        body["endpoints"] = endpoints(&slice.endpoints);
    }
    if known != slice.ports {
        body["ports"] = ports(&slice.ports);
    }
    Some(Change::Merge {
        resource: EndpointSlice::RESOURCE,
        key: meta.key(),
        subresource: "",
        body,
    })
}

/// The labels of the service, and those that say whose the slice is.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let meta = &service.metadata;
    let mut labels = meta.labels.clone();
    labels.remove(HEADLESS);
    if service.headless() || service.spec.cluster_ip.is_empty() {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), meta.name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

pub fn endpoints(endpoints: &[Endpoint]) -> Value {
    endpoints.iter().map(endpoint).collect::<Vec<_>>().into()
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let said = &endpoint.conditions;
    let conditions =
        [("ready", said.ready), ("serving", said.serving), ("terminating", said.terminating)];
    let conditions =
        conditions.into_iter().filter_map(|(name, it)| Some((name.to_owned(), it?.into())));
    let conditions: Map = conditions.collect();
    let mut value = json!({"addresses": endpoint.addresses, "conditions": conditions});
    if let Some(target) = &endpoint.target_ref {
        value["targetRef"] = json!(target);
    }
    let texts = [
        ("hostname", &endpoint.hostname),
        ("nodeName", &endpoint.node_name),
        ("zone", &endpoint.zone),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            value[field] = json!(text);
        }
    }
    if let Some(hints) = &endpoint.hints {
        for (field, names) in [("forZones", &hints.for_zones), ("forNodes", &hints.for_nodes)] {
            if !names.is_empty() {
                value["hints"][field] = names.iter().map(|it| json!({"name": it.name})).collect();
            }
        }
    }
    value
}

pub fn ports(ports: &[EndpointPort]) -> Value {
    let one = |port: &EndpointPort| {
        let mut value = json!({"name": port.name, "protocol": port.protocol, "port": port.port});
        if let Some(protocol) = &port.app_protocol {
            value["appProtocol"] = json!(protocol);
        }
        value
    };
    ports.iter().map(one).collect::<Vec<_>>().into()
}

pub fn rfc3339(time: Time) -> String {
    format(time, Precision::Seconds)
}
