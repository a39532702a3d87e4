//! The zone of the cluster: what a name leads to, as a pure function of Services and their slices.
//!
//! | name below `cluster.local` | leads to |
//! |---|---|
//! | `SVC.NS.svc` | the cluster address; for a headless Service the addresses of all ready endpoints |
//! | `HOST.SVC.NS.svc` | one endpoint of a headless Service, by its hostname, else by its address with dashes |
//! | `_PORT._PROTO.SVC.NS.svc` | SRV: ports and targets |
//! | `A-B-C-D.NS.pod` | the address in the name |
//! | `dns-version` | TXT: the version of the specification |
//!
//! An ExternalName leads to another name. Addresses lead back to names (PTR). All names here are in
//! lower case.
//!
//! Never here: messages, IO, and an order of records that means anything.

use skiff_api::view::Key;
use skiff_kinds::views::{EndpointSlice, Service};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The version of the specification that this follows.
const VERSION: &str = "1.1.0";

/// One record's data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    Address(IpAddr),
    Srv { port: u16, target: String },
    Name(String),
    Text(String),
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Not a name of this zone.
    Elsewhere,
    /// There is no such name.
    Missing,
    /// The name is there, with these records (of any type; perhaps none).
    Records(Vec<Data>),
    /// Ask for this name instead.
    Alias(String),
}

/// The whole zone.
#[derive(Debug, Default)]
pub struct Zone {
    domain: String,
    /// Where this server is reached: what `ns.dns` leads to.
    server: Option<IpAddr>,
    namespaces: BTreeSet<String>,
    services: BTreeMap<String, HashMap<String, Entry>>,
    /// Who claims an address.
    names: HashMap<IpAddr, BTreeSet<String>>,
}

/// One Service in the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Cluster { addresses: Vec<IpAddr>, ports: Vec<Port> },
    Headless(Vec<Endpoint>),
    External(String),
}

/// A named (or nameless) port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    pub number: u16,
}

/// One endpoint of a headless Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub address: IpAddr,
    pub ports: Vec<Port>,
}

/// What a Service and its slices mean.
pub fn entry(service: &Service, slices: &[Arc<EndpointSlice>]) -> Entry {
    let spec = &service.spec;
    if spec.type_ == "ExternalName" {
        let name = spec.external_name.trim_end_matches('.').to_ascii_lowercase();
        return Entry::External(name);
    }
    if service.headless() {
        return Entry::Headless(slices.iter().flat_map(|slice| endpoints(slice)).collect());
    }
    let all = spec.cluster_ips.iter().chain([&spec.cluster_ip]);
    let addresses: BTreeSet<IpAddr> = all.filter_map(|ip| ip.parse().ok()).collect();
    let ports = spec.ports.iter().map(|port| Port {
        name: port.name.to_ascii_lowercase(),
        protocol: protocol(&port.protocol),
        number: port.port,
    });
    Entry::Cluster { addresses: addresses.into_iter().collect(), ports: ports.collect() }
}

fn protocol(text: &str) -> String {
    if text.is_empty() { "tcp".into() } else { text.to_ascii_lowercase() }
}

fn endpoints(slice: &EndpointSlice) -> Vec<Endpoint> {
    let port = |port: &skiff_kinds::views::EndpointPort| {
        Some(Port {
            name: port.name.clone().unwrap_or_default().to_ascii_lowercase(),
            protocol: protocol(port.protocol.as_deref().unwrap_or("")),
            number: port.port?,
        })
    };
    let ports: Vec<Port> = slice.ports.iter().filter_map(port).collect();
    let ready = slice.endpoints.iter().filter(|it| it.conditions.ready.unwrap_or(true));
    ready
        .flat_map(|it| it.addresses.iter().map(move |address| (it, address)))
        .filter_map(|(it, address)| {
            let address: IpAddr = address.parse().ok()?;
            let host = match it.hostname.as_deref() {
                Some(host) if !host.is_empty() => host.to_ascii_lowercase(),
                _ => address.to_string().replace(['.', ':'], "-"),
            };
            Some(Endpoint { host, address, ports: ports.clone() })
        })
        .collect()
}

impl Zone {
    /// An empty zone. `domain` is `cluster.local`, as a rule.
    pub fn new(domain: &str, server: Option<IpAddr>) -> Zone {
        Zone { domain: domain.to_ascii_lowercase(), server, ..Zone::default() }
    }

    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// A namespace is there, or not (any more).
    pub fn set_namespace(&mut self, name: &str, there: Option<()>) {
        match there {
            Some(()) => drop(self.namespaces.insert(name.to_owned())),
            None => drop(self.namespaces.remove(name)),
        }
    }

    /// A Service is there, or not (any more).
    pub fn set(&mut self, key: &Key, entry: Option<Entry>) {
        let old = match self.services.get_mut(&key.namespace) {
            Some(services) => services.remove(&key.name),
            None => None,
        };
        let given_up = old.map(|old| self.claims(key, &old)).unwrap_or_default();
        for (address, name) in given_up {
            if let Some(names) = self.names.get_mut(&address) {
                names.remove(&name);
                if names.is_empty() {
                    self.names.remove(&address);
                }
            }
        }
        let Some(entry) = entry else {
            self.services.retain(|_, services| !services.is_empty());
            return;
        };
        for (address, name) in self.claims(key, &entry) {
            self.names.entry(address).or_default().insert(name);
        }
        self.services.entry(key.namespace.clone()).or_default().insert(key.name.clone(), entry);
    }

    /// The addresses that a Service claims, and by which names.
    fn claims(&self, key: &Key, entry: &Entry) -> Vec<(IpAddr, String)> {
        let own = self.service_name(&key.namespace, &key.name);
        match entry {
            Entry::Cluster { addresses, .. } => {
                addresses.iter().map(|address| (*address, own.clone())).collect()
            }
            Entry::Headless(endpoints) => {
                endpoints.iter().map(|it| (it.address, format!("{}.{own}", it.host))).collect()
            }
            Entry::External(_) => Vec::new(),
        }
    }

    fn service_name(&self, namespace: &str, name: &str) -> String {
        format!("{name}.{namespace}.svc.{}", self.domain)
    }

    /// What a name (lower case, without the last dot) leads to.
    pub fn find(&self, name: &str) -> Found {
        if let Some(found) = self.reverse(name) {
            return found;
        }
        let Some(below) = name.strip_suffix(&*self.domain) else { return Found::Elsewhere };
        if below.is_empty() {
            return Found::Records(vec![Data::Name(format!("ns.dns.{}", self.domain))]);
        }
        let Some(below) = below.strip_suffix('.') else { return Found::Elsewhere };
        let labels: Vec<&str> = below.split('.').collect();
        match labels[..] {
            ["dns-version"] => Found::Records(vec![Data::Text(VERSION.into())]),
            ["svc" | "pod" | "dns"] => Found::Records(Vec::new()),
            ["ns", "dns"] => Found::Records(self.server.map(Data::Address).into_iter().collect()),
            [namespace, "svc" | "pod"] => self.namespace(namespace),
            [address, namespace, "pod"] => self.pod(address, namespace),
            [ref below @ .., name, namespace, "svc"] => self.service(below, name, namespace),
            _ => Found::Missing,
        }
    }

    /// Names of addresses. Those that nobody claims may have a name elsewhere.
    fn reverse(&self, name: &str) -> Option<Found> {
        let address = reverse_address(name)?;
        let Some(names) = self.names.get(&address) else { return Some(Found::Elsewhere) };
        Some(Found::Records(names.iter().cloned().map(Data::Name).collect()))
    }

    fn namespace(&self, name: &str) -> Found {
        match self.namespaces.contains(name) || self.services.contains_key(name) {
            true => Found::Records(Vec::new()),
            false => Found::Missing,
        }
    }

    fn pod(&self, address: &str, namespace: &str) -> Found {
        if !self.namespaces.contains(namespace) {
            return Found::Missing;
        }
        let v4 = address.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
        let found = v4.or_else(|_| address.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6));
        match found {
            Ok(address) => Found::Records(vec![Data::Address(address)]),
            Err(_) => Found::Missing,
        }
    }

    fn service(&self, below: &[&str], name: &str, namespace: &str) -> Found {
        let entry = self.services.get(namespace).and_then(|services| services.get(name));
        let Some(entry) = entry else { return Found::Missing };
        let own = self.service_name(namespace, name);
        let records = match (entry, below) {
            (Entry::External(to), []) => return Found::Alias(to.clone()),
            (Entry::External(_), _) => return Found::Missing,
            (_, []) => [addresses(entry, None), services(entry, None, &own)].concat(),
            (_, [port, protocol]) => match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                (Some(port), Some(protocol)) => services(entry, Some((port, protocol)), &own),
                _ => Vec::new(),
            },
            // A part of the name of a port: there, but without records of its own.
            (_, [protocol]) if has_protocol(entry, protocol) => return Found::Records(Vec::new()),
            (_, [host]) => addresses(entry, Some(host)),
            _ => Vec::new(),
        };
        // A headless Service without endpoints leads nowhere, as its users expect.
        if records.is_empty() && (!below.is_empty() || matches!(entry, Entry::Headless(_))) {
            return Found::Missing;
        }
        Found::Records(records)
    }
}

fn has_protocol(entry: &Entry, label: &str) -> bool {
    let Some(protocol) = label.strip_prefix('_') else { return false };
    let is = |port: &Port| port.protocol == protocol && !port.name.is_empty();
    match entry {
        Entry::Cluster { ports, .. } => ports.iter().any(is),
        Entry::Headless(endpoints) => endpoints.iter().any(|it| it.ports.iter().any(is)),
        Entry::External(_) => false,
    }
}

/// All addresses, or those of one host.
fn addresses(entry: &Entry, host: Option<&str>) -> Vec<Data> {
    let found: BTreeSet<IpAddr> = match entry {
        Entry::Cluster { addresses, .. } if host.is_none() => addresses.iter().copied().collect(),
        Entry::Headless(endpoints) => {
            let meant = endpoints.iter().filter(|it| host.is_none_or(|host| host == it.host));
            meant.map(|it| it.address).collect()
        }
        _ => BTreeSet::new(),
    };
    found.into_iter().map(Data::Address).collect()
}

/// The SRV records of all ports, or of one.
fn services(entry: &Entry, port: Option<(&str, &str)>, own: &str) -> Vec<Data> {
    let meant = |it: &&Port| match port {
        Some((name, protocol)) => it.name == name && it.protocol == protocol,
        None => true,
    };
    let srv = |port: u16, target: String| Data::Srv { port, target };
    let found: BTreeSet<Data> = match entry {
        Entry::Cluster { ports, .. } => {
            ports.iter().filter(meant).map(|port| srv(port.number, own.to_owned())).collect()
        }
        Entry::Headless(endpoints) => endpoints
            .iter()
            .flat_map(|it| it.ports.iter().filter(meant).map(move |port| (it, port.number)))
            .map(|(it, number)| srv(number, format!("{}.{own}", it.host)))
            .collect(),
        Entry::External(_) => BTreeSet::new(),
    };
    found.into_iter().collect()
}

/// The address in a name below `in-addr.arpa` or `ip6.arpa`.
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(below) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<&str> = below.rsplit('.').collect();
        return parts.join(".").parse().ok().map(IpAddr::V4);
    }
    let below = name.strip_suffix(".ip6.arpa")?;
    let digits: Vec<&str> = below.rsplit('.').collect();
    if digits.len() != 32 || digits.iter().any(|digit| digit.len() != 1) {
        return None;
    }
    let groups: Vec<String> = digits.chunks(4).map(|four| four.concat()).collect();
    groups.join(":").parse().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use skiff_json::json;

    fn zone() -> Zone {
        let mut zone = Zone::new("cluster.local", "10.96.0.10".parse().ok());
        zone.set_namespace("default", Some(()));
        let mut add = |name: &str, spec: skiff_json::Value, slices: &[skiff_json::Value]| {
            let service = json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
            let service = skiff_json::from_value(service).unwrap();
            let slices: Vec<_> = slices
                .iter()
                .map(|slice| Arc::new(skiff_json::from_value(slice.clone()).unwrap()))
                .collect();
            zone.set(&Key::new("default", name), Some(entry(&service, &slices)));
        };
        add(
            "kubernetes",
            json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
                "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]}),
            &[],
        );
        let slice = json!({"addressType": "IPv4", "ports": [{"name": "db", "port": 5432}],
            "endpoints": [{"addresses": ["10.0.0.2"], "hostname": "db-0"},
                {"addresses": ["10.0.0.3"]},
                {"addresses": ["10.0.0.4"], "conditions": {"ready": false}}]});
        add("db", json!({"type": "ClusterIP", "clusterIP": "None"}), &[slice]);
        add("empty", json!({"type": "ClusterIP", "clusterIP": "None"}), &[]);
        add("out", json!({"type": "ExternalName", "externalName": "example.com."}), &[]);
        zone
    }

    #[test]
    fn names_lead_where_the_specification_says() {
        let zone = zone();
        let mut out = String::new();
        for name in [
            "kubernetes.default.svc.cluster.local",
            "_https._tcp.kubernetes.default.svc.cluster.local",
            "_tcp.kubernetes.default.svc.cluster.local",
            "_http._tcp.kubernetes.default.svc.cluster.local",
            "x.kubernetes.default.svc.cluster.local",
            "1.0.96.10.in-addr.arpa",
            "db.default.svc.cluster.local",
            "db-0.db.default.svc.cluster.local",
            "10-0-0-3.db.default.svc.cluster.local",
            "10-0-0-4.db.default.svc.cluster.local",
            "_db._tcp.db.default.svc.cluster.local",
            "2.0.0.10.in-addr.arpa",
            "9.0.0.10.in-addr.arpa",
            "empty.default.svc.cluster.local",
            "out.default.svc.cluster.local",
            "10-1-2-3.default.pod.cluster.local",
            "10-1-2-3.other.pod.cluster.local",
            "default.svc.cluster.local",
            "other.svc.cluster.local",
            "cluster.local",
            "ns.dns.cluster.local",
            "dns-version.cluster.local",
            "nothing.cluster.local",
            "mycluster.local",
            "example.com",
        ] {
            out += &format!("{name}: {:?}\n", zone.find(name));
        }
        expect![[r#"
            kubernetes.default.svc.cluster.local: Records([Address(10.96.0.1), Srv { port: 443, target: "kubernetes.default.svc.cluster.local" }])
            _https._tcp.kubernetes.default.svc.cluster.local: Records([Srv { port: 443, target: "kubernetes.default.svc.cluster.local" }])
            _tcp.kubernetes.default.svc.cluster.local: Records([])
            _http._tcp.kubernetes.default.svc.cluster.local: Missing
            x.kubernetes.default.svc.cluster.local: Missing
            1.0.96.10.in-addr.arpa: Records([Name("kubernetes.default.svc.cluster.local")])
            db.default.svc.cluster.local: Records([Address(10.0.0.2), Address(10.0.0.3), Srv { port: 5432, target: "10-0-0-3.db.default.svc.cluster.local" }, Srv { port: 5432, target: "db-0.db.default.svc.cluster.local" }])
            db-0.db.default.svc.cluster.local: Records([Address(10.0.0.2)])
            10-0-0-3.db.default.svc.cluster.local: Records([Address(10.0.0.3)])
            10-0-0-4.db.default.svc.cluster.local: Missing
            _db._tcp.db.default.svc.cluster.local: Records([Srv { port: 5432, target: "10-0-0-3.db.default.svc.cluster.local" }, Srv { port: 5432, target: "db-0.db.default.svc.cluster.local" }])
            2.0.0.10.in-addr.arpa: Records([Name("db-0.db.default.svc.cluster.local")])
            9.0.0.10.in-addr.arpa: Elsewhere
            empty.default.svc.cluster.local: Missing
            out.default.svc.cluster.local: Alias("example.com")
            10-1-2-3.default.pod.cluster.local: Records([Address(10.1.2.3)])
            10-1-2-3.other.pod.cluster.local: Missing
            default.svc.cluster.local: Records([])
            other.svc.cluster.local: Missing
            cluster.local: Records([Name("ns.dns.cluster.local")])
            ns.dns.cluster.local: Records([Address(10.96.0.10)])
            dns-version.cluster.local: Records([Text("1.1.0")])
            nothing.cluster.local: Missing
            mycluster.local: Elsewhere
            example.com: Elsewhere
        "#]]
        .assert_eq(&out);
    }

    #[test]
    fn what_is_gone_leaves_no_name_behind() {
        let mut zone = zone();
        for name in ["kubernetes", "db", "empty", "out"] {
            zone.set(&Key::new("default", name), None);
        }
        zone.set_namespace("default", None);
        assert_eq!(zone.find("1.0.96.10.in-addr.arpa"), Found::Elsewhere);
        assert_eq!(zone.find("default.svc.cluster.local"), Found::Missing);
        assert!(zone.names.is_empty() && zone.services.is_empty());
    }

    #[test]
    fn reverse_names_of_ipv6_are_read() {
        let name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(reverse_address(name), "fd00::1".parse().ok());
        assert_eq!(reverse_address("1.0.ip6.arpa"), None);
        assert_eq!(reverse_address("x.in-addr.arpa"), None);
    }
}
