//! Addresses of Services: each address that a Service has is taken by an IPAddress that names it, and each of those is
//! had by its Service (KEP-1880). The server writes both in one transaction; here what somebody did to one of them
//! since is put right.
//!
//! Caches of two resources may show one transaction at different times: what looks wrong is asked for live before
//! anything is done about it.

use crate::changes::Note;
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::view::{Key, View};
use skiff_api::wire::User;
use skiff_api::{Status, ip};
use skiff_base::{Cidr, Time};
use skiff_kinds::networking::ipaddress::{ALLOCATOR, FAMILY, MANAGED_BY, of_service};
use skiff_kinds::views::{IpAddress, Service, ServiceCidr};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// An address may be there so long before its Service: others take it first and store then.
const GRACE: Duration = Duration::from_secs(60);

/// Key: a Service, or (without a namespace) an address.
pub struct ServiceAddresses;

pub enum Seen {
    Service { service: Arc<Service>, has: Vec<Has>, ranges: Vec<Cidr> },
    Address { address: Arc<IpAddress>, service: Option<Arc<Service>> },
}

/// An address that a Service has.
pub struct Has {
    address: IpAddr,
    taken: Option<Arc<IpAddress>>,
    /// Another Service that the record names, and that has the address too.
    twice: bool,
}

/// What users have heard of.
#[derive(Default)]
pub struct Told(BTreeSet<String>);

impl Loop for ServiceAddresses {
    const NAME: &'static str = "ipallocator-repair-controller";
    const MANAGER: &'static str = "kube-apiserver";
    type Seen = Seen;
    type Memory = Told;

    /// Upstream's API server does this itself.
    fn user() -> User {
        User::system("system:apiserver", &["system:masters"])
    }

    fn on(on: &mut On) {
        on.own::<Service>();
        on.reads::<ServiceCidr>();
        on.map::<IpAddress>(|address, _| {
            let (own, parent) = (Key::new("", &address.metadata.name), &address.spec.parent_ref);
            let service = parent.is_service().then(|| Key::new(&parent.namespace, &parent.name));
            [own].into_iter().chain(service).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        if key.namespace.is_empty() { of_address(cx, key).await } else { of_named(cx, key).await }
    }

    fn plan(seen: &Seen, told: &mut Told, now: Time, out: &mut Changes) -> Next {
        match seen {
            Seen::Service { service, has, ranges } => {
                for has in has {
                    repair(service, has, ranges, told, out);
                }
                Next::Wait
            }
            Seen::Address { address, service } => clean(address, service.as_deref(), now, out),
        }
    }
}

fn addresses(service: &Service) -> Vec<IpAddr> {
    let spec = &service.spec;
    let one = std::slice::from_ref(&spec.cluster_ip);
    let all = if spec.cluster_ips.is_empty() { one } else { &spec.cluster_ips };
    let taken = spec.type_ != "ExternalName" && !service.headless();
    all.iter().filter(|_| taken).filter_map(|text| ip::parse(text)).collect()
}

async fn of_named(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
    let Some(service) = cx.caches.of::<Service>().get(key) else { return Ok(None) };
    let cache = cx.caches.of::<IpAddress>();
    let fits = |has: &Has| has.taken.as_ref().is_some_and(|it| is_right(it, &service));
    let mut has = Vec::new();
    for address in addresses(&service) {
        let of = Key::new("", &address.to_string());
        let mut one = Has { address, taken: cache.get(&of), twice: false };
        if !fits(&one) {
            one.taken = cx.live::<IpAddress>(&of).await?;
        }
        if let Some(taken) = one.taken.as_ref().filter(|it| !is_right(it, &service)) {
            let parent = &taken.spec.parent_ref;
            let other = Key::new(&parent.namespace, &parent.name);
            if parent.is_service() && other != *key {
                let other = cx.live::<Service>(&other).await?;
                one.twice = other.is_some_and(|it| addresses(&it).contains(&address));
            }
        }
        has.push(one);
    }
    if has.iter().any(|it| !fits(it)) {
        // One that changed meanwhile is looked at again when that is seen.
        let now = cx.live::<Service>(key).await?;
        if now.is_none_or(|now| addresses(&now) != addresses(&service)) {
            return Ok(None);
        }
    }
    let ranges = cx.caches.of::<ServiceCidr>().list("");
    let ranges = ranges.iter().flat_map(|it| it.cidrs().collect::<Vec<_>>()).collect();
    Ok(Some(Seen::Service { service, has, ranges }))
}

async fn of_address(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
    let Some(address) = cx.caches.of::<IpAddress>().get(key) else { return Ok(None) };
    if address.metadata.labels.get(MANAGED_BY).is_none_or(|it| it != ALLOCATOR) {
        return Ok(None);
    }
    let parent = &address.spec.parent_ref;
    let of = Key::new(&parent.namespace, &parent.name);
    let service = cx.caches.of::<Service>().get(&of).filter(|_| parent.is_service());
    if service.as_ref().is_some_and(|it| has(it, &address)) {
        return Ok(None);
    }
    let Some(address) = cx.live::<IpAddress>(key).await? else { return Ok(None) };
    let service = if parent.is_service() { cx.live::<Service>(&of).await? } else { None };
    Ok(Some(Seen::Address { address, service }))
}

fn has(service: &Service, address: &IpAddress) -> bool {
    address.address().is_some_and(|it| addresses(service).contains(&it))
}

fn is_right(taken: &IpAddress, service: &Service) -> bool {
    let (parent, meta) = (&taken.spec.parent_ref, &service.metadata);
    let named =
        parent.is_service() && (&parent.namespace, &parent.name) == (&meta.namespace, &meta.name);
    named && is_labelled(taken)
}

fn is_labelled(taken: &IpAddress) -> bool {
    let is = |key: &str, value: &str| taken.metadata.labels.get(key).is_some_and(|it| it == value);
    is(MANAGED_BY, ALLOCATOR) && taken.address().is_some_and(|it| is(FAMILY, ip::family(it)))
}

fn repair(service: &Service, has: &Has, ranges: &[Cidr], told: &mut Told, out: &mut Changes) {
    let (meta, address) = (&service.metadata, has.address);
    let (family, whose) = (ip::family(address), format!("{}/{}", meta.namespace, meta.name));
    let mut warn = |reason: &str, message: String, out: &mut Changes| {
        if told.0.insert(message.clone()) {
            out.event(Note::of(service, "Warning", reason, message));
        }
    };
    if !ranges.iter().any(|range| range.contains(address)) {
        let message = format!(
            "Cluster IP [{family}]: {address} is not within any configured Service CIDR; please recreate service"
        );
        return warn("ClusterIPOutOfRange", message, out);
    }
    match &has.taken {
        None => {
            let message = format!("Cluster IP [{family}]: {address} is not allocated; repairing");
            warn("ClusterIPNotAllocated", message, out);
        }
        Some(taken) if is_right(taken, service) => return told.0.clear(),
        Some(_) if has.twice => {
            let message = format!(
                "Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service"
            );
            return warn("ClusterIPAlreadyAllocated", message, out);
        }
        Some(taken) => {
            let parent = &taken.spec.parent_ref;
            let named = (&parent.namespace, &parent.name) == (&meta.namespace, &meta.name);
            if !(parent.is_service() && named) {
                let message = format!(
                    "the ClusterIP [{family}]: {address} for Service {whose} has a wrong reference; repairing"
                );
                warn("ClusterIPNotAllocated", message, out);
            }
            if taken.metadata.deleting() {
                return out.because("the record of an address is going");
            }
            out.delete(IpAddress::RESOURCE, taken.metadata.key(), &taken.metadata.uid);
        }
    }
    out.create(IpAddress::RESOURCE, "", of_service(address, &meta.namespace, &meta.name));
}

/// Takes away an address that nobody has.
fn clean(address: &IpAddress, service: Option<&Service>, now: Time, out: &mut Changes) -> Next {
    let (meta, parent) = (&address.metadata, &address.spec.parent_ref);
    let (name, whose) = (&meta.name, format!("{}/{}", parent.namespace, parent.name));
    let until = meta.creation_timestamp.unwrap_or(Time::UNIX_EPOCH) + GRACE;
    let (reason, message) = match service {
        _ if meta.deleting() => return Next::Wait,
        _ if !parent.is_service() => (
            "IPAddressNotAllocated",
            format!(
                "IPAddress {name} appears to have been modified, not referencing a Service {parent}: cleaning up"
            ),
        ),
        Some(service) if has(service, address) => return Next::Wait,
        None if now < until => return Next::At(until),
        None => (
            "IPAddressNotAllocated",
            format!("IPAddress: {name} for Service {whose} appears to have leaked: cleaning up"),
        ),
        Some(service) if service.spec.type_ == "ExternalName" && now < until => {
            return Next::At(until);
        }
        Some(_) => (
            "IPAddressWrongReference",
            format!("IPAddress: {name} for Service {whose} has a wrong reference; cleaning up"),
        ),
    };
    out.event(Note::of(address, "Warning", reason, message));
    out.delete(IpAddress::RESOURCE, meta.key(), &meta.uid);
    Next::Wait
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::view;
    use expect_test::{Expect, expect};
    use skiff_json::{Value, json};

    fn service(address: &str) -> Arc<Service> {
        view(json!({"metadata": {"name": "s", "namespace": "n", "uid": "s"},
            "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address]}}))
    }

    fn address(parent: Value) -> Arc<IpAddress> {
        let mut address = of_service("10.96.0.5".parse().expect("an address"), "n", "s");
        address["metadata"]["uid"] = "a".into();
        address["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        for (field, value) in parent.as_object().expect("fields") {
            address["spec"]["parentRef"][field] = value.clone();
        }
        view(address)
    }

    fn check(seen: &Seen, expected: Expect) {
        let (mut told, mut out) = (Told::default(), Changes::default());
        let now = "2026-01-01T00:00:30Z".parse().expect("a time");
        let next = ServiceAddresses::plan(seen, &mut told, now, &mut out);
        expected.assert_eq(&format!("{}{next:?}", out.text()));
    }

    fn of(taken: Option<Arc<IpAddress>>, twice: bool, range: &str) -> Seen {
        let has = vec![Has { address: "10.96.0.5".parse().expect("an address"), taken, twice }];
        Seen::Service {
            service: service("10.96.0.5"),
            has,
            ranges: vec![range.parse().expect("a range")],
        }
    }

    #[test]
    fn what_a_service_has_is_taken() {
        check(&of(Some(address(json!({}))), false, "10.96.0.0/16"), expect!["Wait"]);
        check(
            &of(None, false, "10.96.0.0/16"),
            expect![[r#"
                event Warning ClusterIPNotAllocated: Cluster IP [IPv4]: 10.96.0.5 is not allocated; repairing
                create ipaddresses  {"apiVersion":"networking.k8s.io/v1","kind":"IPAddress","metadata":{"labels":{"ipaddress.kubernetes.io/ip-family":"IPv4","ipaddress.kubernetes.io/managed-by":"ipallocator.k8s.io"},"name":"10.96.0.5"},"spec":{"parentRef":{"name":"s","namespace":"n","resource":"services"}}}
                Wait"#]],
        );
        check(
            &of(None, false, "10.97.0.0/16"),
            expect![[r#"
                event Warning ClusterIPOutOfRange: Cluster IP [IPv4]: 10.96.0.5 is not within any configured Service CIDR; please recreate service
                Wait"#]],
        );
    }

    #[test]
    fn a_wrong_record_is_made_anew_unless_two_have_the_address() {
        let other = || Some(address(json!({"name": "other"})));
        check(
            &of(other(), false, "10.96.0.0/16"),
            expect![[r#"
                event Warning ClusterIPNotAllocated: the ClusterIP [IPv4]: 10.96.0.5 for Service n/s has a wrong reference; repairing
                delete ipaddresses 10.96.0.5 uid=a
                create ipaddresses  {"apiVersion":"networking.k8s.io/v1","kind":"IPAddress","metadata":{"labels":{"ipaddress.kubernetes.io/ip-family":"IPv4","ipaddress.kubernetes.io/managed-by":"ipallocator.k8s.io"},"name":"10.96.0.5"},"spec":{"parentRef":{"name":"s","namespace":"n","resource":"services"}}}
                Wait"#]],
        );
        check(
            &of(other(), true, "10.96.0.0/16"),
            expect![[r#"
                event Warning ClusterIPAlreadyAllocated: Cluster IP [IPv4]:10.96.0.5 was assigned to multiple services; please recreate service
                Wait"#]],
        );
    }

    #[test]
    fn what_nobody_has_goes() {
        let left = |parent, service| Seen::Address { address: address(parent), service };
        check(&left(json!({}), None), expect!["At(2026-01-01T00:01:00Z)"]);
        check(&left(json!({}), Some(service("10.96.0.5"))), expect!["Wait"]);
        check(
            &left(json!({}), Some(service("10.96.0.6"))),
            expect![[r#"
                event Warning IPAddressWrongReference: IPAddress: 10.96.0.5 for Service n/s has a wrong reference; cleaning up
                delete ipaddresses 10.96.0.5 uid=a
                Wait"#]],
        );
        check(
            &left(json!({"group": "apps"}), None),
            expect![[r#"
                event Warning IPAddressNotAllocated: IPAddress 10.96.0.5 appears to have been modified, not referencing a Service &ParentReference{Group:apps,Resource:services,Namespace:n,Name:s,}: cleaning up
                delete ipaddresses 10.96.0.5 uid=a
                Wait"#]],
        );
    }
}
