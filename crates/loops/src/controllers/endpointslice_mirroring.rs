//! Mirrored slices: Endpoints that somebody wrote by hand become endpoint slices, so that whoever reads only those
//! serves them too (KEP-752). One slice for each subset and family, and at most `MOST` addresses of a subset.
//!
//! Mirrored is what belongs to a Service without a selector, unless its label or a leader's annotation says otherwise.

use super::endpointslice::{MANAGED_BY, write};
use crate::changes::Note;
use crate::parts::adoption::reference;
use crate::parts::metadata::replaced;
use crate::parts::subsets::repacked;
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::view::{Key, View};
use skiff_api::{Status, ip};
use skiff_base::Time;
use skiff_json::json;
use skiff_kinds::views::{
    Endpoint, EndpointAddress, EndpointConditions, EndpointPort, EndpointSlice, Endpoints,
    SERVICE_NAME, Service, SubsetPort,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Upstream's default.
const MOST: usize = 1000;
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Key: Endpoints, and the Service of their name.
pub struct Mirroring;

pub struct Seen {
    /// `None`: nothing is to be mirrored.
    endpoints: Option<Arc<Endpoints>>,
    /// Those that this loop keeps.
    slices: Vec<Arc<EndpointSlice>>,
}

/// How many addresses were invalid, and how many too many, when users heard of it.
#[derive(Default)]
pub struct Told(usize, usize);

impl Loop for Mirroring {
    const NAME: &'static str = "endpointslicemirroring-controller";
    type Seen = Seen;
    type Memory = Told;

    fn on(on: &mut On) {
        on.own::<Service>();
        on.map::<Endpoints>(|endpoints, _| vec![endpoints.metadata.key()]);
        on.map::<EndpointSlice>(|slice, _| {
            let meta = &slice.metadata;
            let service = meta.labels.get(SERVICE_NAME).filter(|_| is_ours(slice));
            service.map(|name| Key::new(&meta.namespace, name)).into_iter().collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let mut slices = cx.caches.of::<EndpointSlice>().find("service", &key.to_string());
        slices.retain(|slice| is_ours(slice) && !slice.metadata.deleting());
        let service = cx.caches.of::<Service>().get(key);
        let mirrored = service.is_some_and(|service| service.selector().is_none());
        let endpoints = cx.caches.of::<Endpoints>().get(key);
        let endpoints = endpoints.filter(|it| mirrored && is_mirrored(it));
        if endpoints.is_none() && slices.is_empty() {
            return Ok(None);
        }
        Ok(Some(Seen { endpoints, slices }))
    }

    fn plan(seen: &Seen, told: &mut Told, _: Time, out: &mut Changes) -> Next {
        let mut left = seen.slices.clone();
        if let Some(endpoints) = &seen.endpoints {
            let wanted = wanted(endpoints, told, out);
            let mut new = Vec::new();
            for wanted in wanted {
                // A slice of the same family and ports is kept.
                let same = |it: &Arc<EndpointSlice>| {
                    it.address_type == wanted.family && it.ports == wanted.ports
                };
                match left.iter().position(same) {
                    Some(at) => update(endpoints, &left.remove(at), &wanted, out),
                    None => new.push(wanted),
                }
            }
            for wanted in new.into_iter().filter(|_| !endpoints.metadata.deleting()) {
                // One that would go can as well become one that would be made.
                match left.iter().position(|it| it.address_type == wanted.family) {
                    Some(at) => update(endpoints, &left.remove(at), &wanted, out),
                    None => create(endpoints, &wanted, out),
                }
            }
        }
        for slice in left {
            out.delete(EndpointSlice::RESOURCE, slice.metadata.key(), &slice.metadata.uid);
        }
        Next::Wait
    }
}

fn is_ours(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let skipped = meta.labels.get(SKIP).is_some_and(|it| it == "true");
    !skipped && !meta.annotations.contains_key(LEADER)
}

/// A slice as it should be.
struct Wanted {
    family: &'static str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
}

fn wanted(endpoints: &Endpoints, told: &mut Told, out: &mut Changes) -> Vec<Wanted> {
    let mut all = Vec::new();
    let (mut invalid, mut skipped) = (0, 0);
    for subset in repacked(&endpoints.subsets) {
        let ports: Vec<EndpointPort> = subset.ports.iter().map(port).collect();
        let slice = |family| Wanted { family, ports: ports.clone(), endpoints: Vec::new() };
        let (mut four, mut six) = (slice("IPv4"), slice("IPv6"));
        let ready = subset.addresses.iter().map(|it| (it, true));
        let addresses = ready.chain(subset.not_ready_addresses.iter().map(|it| (it, false)));
        for (address, ready) in addresses {
            let full = four.endpoints.len() + six.endpoints.len() >= MOST;
            match ip::parse(&address.ip) {
                _ if full => skipped += 1,
                None => invalid += 1,
                Some(parsed) => {
                    let to = if parsed.is_ipv4() { &mut four } else { &mut six };
                    to.endpoints.push(endpoint(address, parsed.to_string(), ready));
                }
            }
        }
        all.extend([four, six].into_iter().filter(|it| !it.endpoints.is_empty()));
    }
    tell(endpoints, (invalid, skipped), told, out);
    all
}

fn tell(endpoints: &Endpoints, now: (usize, usize), told: &mut Told, out: &mut Changes) {
    let mut note = |reason: &str, message: String| {
        out.event(Note::of(endpoints, "Warning", reason, message));
    };
    let (invalid, skipped) = now;
    if invalid > 0 && told.0 != invalid {
        let message =
            format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
        note("InvalidIPAddress", message);
    }
    if skipped > 0 && told.1 != skipped {
        let skipped = skipped + invalid;
        note(
            "TooManyAddressesToMirror",
            format!(
                "A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} \
                 addresses were skipped"
            ),
        );
    }
    *told = Told(invalid, skipped);
}

fn port(port: &SubsetPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: Some(port.port),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &EndpointAddress, canonical: String, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![canonical],
        conditions: EndpointConditions { ready: Some(ready), ..Default::default() },
        hostname: Some(address.hostname.clone()).filter(|it| !it.is_empty()),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        ..Endpoint::default()
    }
}

/// Labels and annotations of a mirror: those of the Endpoints, and whose it is.
fn metadata(endpoints: &Endpoints) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let meta = &endpoints.metadata;
    let (mut labels, mut annotations) = (meta.labels.clone(), meta.annotations.clone());
    labels.insert(SERVICE_NAME.into(), meta.name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    annotations.retain(|key, _| key != write::TRIGGER && key != APPLIED);
    (labels, annotations)
}

fn create(endpoints: &Endpoints, wanted: &Wanted, out: &mut Changes) {
    let meta = &endpoints.metadata;
    let (labels, annotations) = metadata(endpoints);
    let body = json!({"apiVersion": EndpointSlice::RESOURCE.api_version(), "kind": "EndpointSlice",
        "metadata": {"generateName": format!("{}-", meta.name), "namespace": meta.namespace, "labels": labels,
            "annotations": annotations, "ownerReferences": [reference(Endpoints::RESOURCE, meta)]},
        "addressType": wanted.family, "endpoints": write::endpoints(&wanted.endpoints),
        "ports": write::ports(&wanted.ports)});
    out.create(EndpointSlice::RESOURCE, &meta.namespace, body);
}

fn update(endpoints: &Endpoints, was: &EndpointSlice, wanted: &Wanted, out: &mut Changes) {
    let (labels, annotations) = metadata(endpoints);
    let (meta, owner) = (&was.metadata, &endpoints.metadata);
    let owned = meta.owner_references.iter().any(|it| it.uid == owner.uid);
    let same = was.endpoints == wanted.endpoints
        && was.ports == wanted.ports
        && (&meta.labels, &meta.annotations) == (&labels, &annotations)
        && owned;
    if same {
        return;
    }
    let body = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version,
            "labels": replaced(&meta.labels, &labels),
            "annotations": replaced(&meta.annotations, &annotations),
            "ownerReferences": [reference(Endpoints::RESOURCE, owner)]},
        "endpoints": write::endpoints(&wanted.endpoints), "ports": write::ports(&wanted.ports)});
    out.push(Change::Merge {
        resource: EndpointSlice::RESOURCE,
        key: meta.key(),
        subresource: "",
        body,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::view;
    use expect_test::{Expect, expect};
    use skiff_json::Value;

    fn endpoints(subsets: Value) -> Value {
        json!({"metadata": {"name": "a", "namespace": "n", "uid": "e", "labels": {"x": "y"},
            "annotations": {"note": "n", APPLIED: "..."}}, "subsets": subsets})
    }

    fn slice(endpoints: Value) -> Value {
        json!({"metadata": {"name": "a-1", "namespace": "n", "uid": "s", "resourceVersion": "4",
                "labels": {"x": "y", SERVICE_NAME: "a", MANAGED_BY: MANAGER}, "annotations": {"note": "n"},
                "ownerReferences": [{"uid": "e"}]},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "", "port": 80, "protocol": "TCP"}]})
    }

    fn plan(endpoints: Option<Value>, slices: &[Value]) -> String {
        let slices = slices.iter().cloned().map(view).collect();
        let seen = Seen { endpoints: endpoints.map(view), slices };
        let mut out = Changes::default();
        Mirroring::plan(&seen, &mut Told::default(), Time::UNIX_EPOCH, &mut out);
        out.text()
    }

    fn check(subsets: Value, slices: &[Value], expected: Expect) {
        expected.assert_eq(&plan(Some(endpoints(subsets)), slices));
    }

    fn one() -> Value {
        json!([{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 80, "protocol": "TCP"}]}])
    }

    #[test]
    fn each_family_has_a_slice() {
        check(
            json!([{"addresses": [{"ip": "1.2.3.4", "nodeName": "n"}, {"ip": "2001:DB8::1"}, {"ip": "x"}],
                "ports": [{"port": 80, "protocol": "TCP"}]}]),
            &[],
            expect![[r#"
                event Warning InvalidIPAddress: Skipped 1 invalid IP addresses when mirroring to EndpointSlices
                create endpointslices n {"addressType":"IPv4","apiVersion":"discovery.k8s.io/v1","endpoints":[{"addresses":["1.2.3.4"],"conditions":{"ready":true},"nodeName":"n"}],"kind":"EndpointSlice","metadata":{"annotations":{"note":"n"},"generateName":"a-","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"a","x":"y"},"namespace":"n","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Endpoints","name":"a","uid":"e"}]},"ports":[{"name":"","port":80,"protocol":"TCP"}]}
                create endpointslices n {"addressType":"IPv6","apiVersion":"discovery.k8s.io/v1","endpoints":[{"addresses":["2001:db8::1"],"conditions":{"ready":true}}],"kind":"EndpointSlice","metadata":{"annotations":{"note":"n"},"generateName":"a-","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"a","x":"y"},"namespace":"n","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Endpoints","name":"a","uid":"e"}]},"ports":[{"name":"","port":80,"protocol":"TCP"}]}
            "#]],
        );
    }

    #[test]
    fn what_is_right_is_left_alone_and_the_rest_follows() {
        let right = slice(json!([{"addresses": ["1.2.3.4"], "conditions": {"ready": true}}]));
        check(one(), std::slice::from_ref(&right), expect![[""]]);
        check(
            json!([{"notReadyAddresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 80, "protocol": "TCP"}]}]),
            std::slice::from_ref(&right),
            expect![[r#"
                merge endpointslices n/a-1  {"endpoints":[{"addresses":["1.2.3.4"],"conditions":{"ready":false}}],"metadata":{"annotations":{"note":"n"},"labels":{"endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"a","x":"y"},"ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Endpoints","name":"a","uid":"e"}],"resourceVersion":"4","uid":"s"},"ports":[{"name":"","port":80,"protocol":"TCP"}]}
            "#]],
        );
        // Other ports: the slice becomes theirs.
        let text = plan(
            Some(endpoints(
                json!([{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 81, "protocol": "TCP"}]}]),
            )),
            std::slice::from_ref(&right),
        );
        assert!(
            text.starts_with("merge endpointslices n/a-1") && text.lines().count() == 1,
            "{text}"
        );
        assert_eq!(plan(None, &[right]), "delete endpointslices n/a-1 uid=s\n");
    }

    #[test]
    fn a_thousand_of_a_subset_are_mirrored() {
        let addresses: Vec<Value> =
            (0..1200).map(|it| json!({"ip": format!("10.0.{}.{}", it / 250, it % 250)})).collect();
        let text = plan(Some(endpoints(json!([{"addresses": addresses}]))), &[]);
        assert!(text.contains("event Warning TooManyAddressesToMirror: A max of 1000"), "{text}");
        assert!(text.contains("200 addresses were skipped"));
        assert_eq!(text.matches("\"addresses\":").count(), 1000);
    }

    #[test]
    fn some_are_not_mirrored() {
        let of = |labels: Value, annotations: Value| {
            let meta = json!({"metadata": {"labels": labels, "annotations": annotations}});
            is_mirrored(&skiff_json::from_value(meta).expect("a view"))
        };
        assert!(of(json!({SKIP: "false"}), json!({})));
        assert!(!of(json!({SKIP: "true"}), json!({})));
        assert!(!of(json!({}), json!({LEADER: ""})));
    }
}
