//! Ranges of Services: each ServiceCIDR says that it can be used, and does not go while addresses lie in no other range
//! (KEP-1880). The one that the settings make is among what has to be there (`lasting`).

use crate::parts::{conditions, status};
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::{Cidr, Time};
use skiff_json::json;
use skiff_kinds::networking::ipaddress::{ALLOCATOR, MANAGED_BY};
use skiff_kinds::networking::servicecidr::FINALIZER;
use skiff_kinds::views::{IpAddress, ServiceCidr};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A Service that drew an address before the range began to go is stored within this. The time of a deletion has whole
/// seconds.
const GRACE: Duration = Duration::from_secs(2);
const READY: &str = "Kubernetes Service CIDR is ready";
const IN_USE: &str = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new \
                      ServiceCIDR";

/// Key: a ServiceCIDR.
pub struct ServiceRanges;

pub struct Seen {
    ranges: Arc<ServiceCidr>,
    /// One that goes: whether addresses would lie in no range without it.
    orphans: bool,
}

impl Loop for ServiceRanges {
    const NAME: &'static str = "service-cidrs-controller";
    type Seen = Seen;
    type Memory = ();

    fn on(on: &mut On) {
        // Whether one may go depends on what lies in it, and on the others.
        on.map::<ServiceCidr>(|ranges, caches| {
            let all = caches.of::<ServiceCidr>().list("");
            let going = all.iter().filter(|it| it.metadata.deleting());
            let going = going.map(|it| it.metadata.key());
            going.chain([ranges.metadata.key()]).collect()
        });
        on.map::<IpAddress>(|_, caches| {
            let all = caches.of::<ServiceCidr>().list("");
            all.iter().filter(|it| it.metadata.deleting()).map(|it| it.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let cache = cx.caches.of::<ServiceCidr>();
        let Some(ranges) = cache.get(key) else { return Ok(None) };
        let mut orphans = false;
        if ranges.metadata.deleting() {
            let others = cache.list("").into_iter().filter(|it| it.metadata.key() != *key);
            let others: Vec<Cidr> = others.flat_map(|it| it.cidrs().collect::<Vec<_>>()).collect();
            let own: Vec<Cidr> = ranges.cidrs().collect();
            let addresses = cx.caches.of::<IpAddress>().list("");
            let mut taken = addresses.iter().filter(|it| is_of_services(it));
            orphans = taken.any(|it| it.address().is_some_and(|it| is_orphan(it, &own, &others)));
        }
        Ok(Some(Seen { ranges, orphans }))
    }

    fn plan(seen: &Seen, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let (ranges, meta) = (&*seen.ranges, &seen.ranges.metadata);
        let held = meta.finalizers.iter().any(|it| it == FINALIZER);
        match meta.deletion_timestamp {
            Some(_) if seen.orphans => {
                out.because("addresses lie in no other range");
                say(ranges, "False", ("Terminating", IN_USE), now, out);
            }
            Some(_) if !held => {}
            Some(since) if now < since + GRACE => return Next::At(since + GRACE),
            Some(_) => {
                let mut left = meta.finalizers.clone();
                left.retain(|it| it != FINALIZER);
                let metadata = json!({"uid": meta.uid, "resourceVersion": meta.resource_version,
                    "finalizers": left});
                out.merge(ServiceCidr::RESOURCE, meta.key(), json!({"metadata": metadata}));
            }
            None => {
                if !held {
                    let mut all = meta.finalizers.clone();
                    all.push(FINALIZER.into());
                    let metadata = json!({"uid": meta.uid, "resourceVersion": meta.resource_version,
                        "finalizers": all});
                    out.merge(ServiceCidr::RESOURCE, meta.key(), json!({"metadata": metadata}));
                }
                say(ranges, "True", ("", READY), now, out);
            }
        }
        Next::Wait
    }
}

fn say(
    ranges: &ServiceCidr,
    status: &str,
    (reason, message): (&str, &str),
    now: Time,
    out: &mut Changes,
) {
    let mut after = ranges.status.clone();
    let new = conditions::condition("Ready", status, reason, message, now);
    conditions::set(&mut after.conditions, new);
    let this = status::this(&ranges.metadata);
    status::write(ranges, this, (&ranges.status, &after), out);
}

fn is_of_services(address: &IpAddress) -> bool {
    address.metadata.labels.get(MANAGED_BY).is_some_and(|it| it == ALLOCATOR)
}

fn is_orphan(address: IpAddr, own: &[Cidr], others: &[Cidr]) -> bool {
    let lies_in = |all: &[Cidr]| all.iter().any(|range| range.contains(address));
    lies_in(own) && !lies_in(others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::Value;

    fn check(metadata: Value, status: Value, orphans: bool, expected: Expect) {
        let mut ranges = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "4"},
            "spec": {"cidrs": ["10.0.0.0/24"]}, "status": status});
        for (field, value) in metadata.as_object().expect("fields") {
            ranges["metadata"][field] = value.clone();
        }
        let ranges = Arc::new(skiff_json::from_value(ranges).expect("a view"));
        let mut out = Changes::default();
        let now = "2026-01-01T00:00:10Z".parse().expect("a time");
        let next = ServiceRanges::plan(&Seen { ranges, orphans }, &mut (), now, &mut out);
        expected.assert_eq(&format!("{}{next:?}", out.text()));
    }

    fn ready() -> Value {
        json!({"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": READY,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    }

    #[test]
    fn a_range_is_held_and_ready() {
        check(
            json!({}),
            json!({}),
            false,
            expect![[r#"
                merge servicecidrs a  {"metadata":{"finalizers":["networking.k8s.io/service-cidr-finalizer"],"resourceVersion":"4","uid":"u"}}
                merge servicecidrs a status {"metadata":{"uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:10Z","message":"Kubernetes Service CIDR is ready","reason":"","status":"True","type":"Ready"}]}}
                Wait"#]],
        );
        check(json!({"finalizers": [FINALIZER]}), ready(), false, expect!["Wait"]);
    }

    #[test]
    fn a_range_goes_when_nothing_is_lost() {
        let going = |at: &str| json!({"finalizers": [FINALIZER, "x"], "deletionTimestamp": at});
        check(
            going("2026-01-01T00:00:01Z"),
            ready(),
            true,
            expect![[r#"
                merge servicecidrs a status {"metadata":{"uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:10Z","message":"There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR","reason":"Terminating","status":"False","type":"Ready"}]}}
                because addresses lie in no other range
                Wait"#]],
        );
        check(going("2026-01-01T00:00:09Z"), ready(), false, expect!["At(2026-01-01T00:00:11Z)"]);
        check(
            going("2026-01-01T00:00:01Z"),
            ready(),
            false,
            expect![[r#"
                merge servicecidrs a  {"metadata":{"finalizers":["x"],"resourceVersion":"4","uid":"u"}}
                Wait"#]],
        );
    }

    #[test]
    fn an_address_is_lost_with_its_only_range() {
        let range = |text: &str| text.parse::<Cidr>().expect("a range");
        let (own, address) = ([range("10.0.0.0/24")], "10.0.0.5".parse().expect("an address"));
        assert!(is_orphan(address, &own, &[range("10.1.0.0/24")]));
        assert!(!is_orphan(address, &own, &[range("10.0.0.0/8")]));
        assert!(!is_orphan("10.2.0.1".parse().expect("an address"), &own, &[]));
    }
}
