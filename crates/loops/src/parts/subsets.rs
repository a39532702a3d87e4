//! Subsets: the addresses of Endpoints in the one form that says the same thing (API reference: Endpoints). Addresses
//! with the same ports stand together; nothing stands twice; everything is in order.

use skiff_kinds::views::{EndpointAddress, EndpointSubset, SubsetPort};
use std::collections::BTreeMap;

/// What tells addresses apart: two pods may share the address of their node.
type AddressKey = (String, String);
/// Which addresses have a port, and whether they are ready.
type Ready = BTreeMap<AddressKey, bool>;

/// The same addresses and ports, repacked. An address that is somewhere not ready for a port is not ready for it.
pub fn repacked(subsets: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let mut addresses: BTreeMap<AddressKey, &EndpointAddress> = BTreeMap::new();
    let mut by_port: BTreeMap<Option<&SubsetPort>, Ready> = BTreeMap::new();
    for subset in subsets {
        let ready = subset.addresses.iter().map(|it| (it, true));
        let all = ready.chain(subset.not_ready_addresses.iter().map(|it| (it, false)));
        let all: Vec<(AddressKey, &EndpointAddress, bool)> =
            all.map(|(it, ready)| (key(it), it, ready)).collect();
        // Without ports they stand for themselves.
        let ports: Vec<Option<&SubsetPort>> = match &subset.ports[..] {
            [] => vec![None],
            ports => ports.iter().map(Some).collect(),
        };
        for port in ports {
            let known = by_port.entry(port).or_default();
            for (key, address, ready) in &all {
                addresses.entry(key.clone()).or_insert(address);
                let is = known.entry(key.clone()).or_insert(true);
                *is = *is && *ready;
            }
        }
    }
    let mut by_addresses: BTreeMap<Ready, Vec<SubsetPort>> = BTreeMap::new();
    for (port, ready) in by_port {
        by_addresses.entry(ready).or_default().extend(port.cloned());
    }
    let address = |key: &AddressKey| addresses[key].clone();
    let packed = by_addresses.into_iter().map(|(keys, ports)| {
        let of = |wanted: bool| keys.iter().filter(move |(_, ready)| **ready == wanted);
        EndpointSubset {
            addresses: of(true).map(|(key, _)| address(key)).collect(),
            not_ready_addresses: of(false).map(|(key, _)| address(key)).collect(),
            ports,
        }
    });
    packed.collect()
}

fn key(address: &EndpointAddress) -> AddressKey {
    let uid = address.target_ref.as_ref().map_or("", |target| &target.uid);
    (address.ip.clone(), uid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::{Value, json};

    fn check(subsets: Value, expected: Value) {
        let subsets: Vec<EndpointSubset> = skiff_json::from_value(subsets).expect("subsets");
        assert_eq!(json!(repacked(&subsets)), expected);
        let again = repacked(&repacked(&subsets));
        assert_eq!(json!(again), expected, "once is enough");
    }

    #[test]
    fn addresses_with_the_same_ports_stand_together() {
        let port = |name: &str, port: u16| json!({"name": name, "port": port, "protocol": "TCP"});
        check(
            json!([
                {"addresses": [{"ip": "b"}], "ports": [port("x", 1)]},
                {"addresses": [{"ip": "b"}], "ports": [port("y", 2)]},
                {"notReadyAddresses": [{"ip": "a"}], "ports": [port("y", 2), port("x", 1)]},
            ]),
            json!([{"addresses": [{"ip": "b"}], "notReadyAddresses": [{"ip": "a"}],
                "ports": [port("x", 1), port("y", 2)]}]),
        );
        check(
            json!([{"addresses": [{"ip": "a"}, {"ip": "b"}], "ports": [port("x", 1)]},
                {"addresses": [{"ip": "a"}], "ports": [port("x", 2)]}]),
            json!([{"addresses": [{"ip": "a"}], "ports": [port("x", 2)]},
                {"addresses": [{"ip": "a"}, {"ip": "b"}], "ports": [port("x", 1)]}]),
        );
    }

    #[test]
    fn not_ready_wins_and_ports_may_be_missing() {
        check(
            json!([{"addresses": [{"ip": "a"}]}, {"notReadyAddresses": [{"ip": "a"}]}]),
            json!([{"notReadyAddresses": [{"ip": "a"}]}]),
        );
        check(json!([]), json!([]));
    }
}
