//! Service tables of this node: from Services and EndpointSlices to the kernel's tables.
//!
//! A change of either names a Service; that Service is planned anew ([`plan`], pure), and what
//! differs from the last time is sent as one change. Its cost does not depend on how many other
//! services there are. Nothing is sent before both caches know the whole state, so that a restart
//! never shows an empty table.
//!
//! Which endpoints count (KEP-1669, KEP-1672): the ready ones; if there are none, those that are
//! terminating but still serve. For a policy `Local` the same among those of this node.
//!
//! A cluster address belongs to the oldest Service that names it, with all its ports ([`Owners`]).
//!
//! Never here: the ports of pods on the node (`hostPort`), which belong to the pod network.

use skiff_api::view::Key;
use skiff_base::{Blocking, World, fault};
use skiff_client::{Cache, Caches, Subscription};
use skiff_kinds::views::{Endpoint as Listed, EndpointPort, SERVICE_NAME, ServicePort as Declared};
use skiff_kinds::views::{EndpointSlice, Service};
use skiff_net::{
    Affinity, Change, Endpoint, Locality, Protocol, ServicePort, ServiceStats, ServiceTable,
    TrafficPolicy,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long a client sticks to an endpoint if the Service does not say.
const AFFINITY_S: u32 = 10_800;
/// Changes that come together are sent together: a rollout changes a service many times a second,
/// and one transaction costs the same for one element as for hundreds.
const TOGETHER: Duration = Duration::from_millis(5);
/// After the kernel has refused a change, the whole table is tried again after this pause.
const RETRY: Duration = Duration::from_secs(1);
/// Services with this label are somebody else's to serve.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Services with this label have no cluster address to serve.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The ports of one service, by the names they have in the table.
type Ports = BTreeMap<Arc<str>, Arc<ServicePort>>;

/// The loop. Cheap to share.
pub struct Services {
    node: String,
    services: Arc<Cache<Service>>,
    slices: Arc<Cache<EndpointSlice>>,
    lost: Lost,
    stats: watch::Sender<ServiceStats>,
    world: World,
}

/// Who has a cluster address: the oldest of those that name it, else the first by name. The API gives
/// each address once; this is for records that it did not make so.
#[derive(Default)]
struct Owners {
    claims: BTreeMap<IpAddr, BTreeSet<(i64, Key)>>,
    claimed: BTreeMap<Key, (IpAddr, i64)>,
}

impl Owners {
    /// Takes a Service in as it is now (`None`: gone, or without an address). Returns whether the
    /// address is its own, and the others for whom that may have changed.
    fn claim(&mut self, key: &Key, claim: Option<(IpAddr, i64)>) -> (bool, BTreeSet<Key>) {
        let before = match claim {
            Some(claim) => self.claimed.insert(key.clone(), claim),
            None => self.claimed.remove(key),
        };
        let mut others = BTreeSet::new();
        if before != claim {
            if let Some((address, since_s)) = before {
                let claims = self.claims.entry(address).or_default();
                claims.remove(&(since_s, key.clone()));
                others.extend(claims.iter().map(|(_, key)| key.clone()));
                if claims.is_empty() {
                    self.claims.remove(&address);
                }
            }
            if let Some((address, since_s)) = claim {
                let claims = self.claims.entry(address).or_default();
                others.extend(claims.iter().map(|(_, key)| key.clone()));
                claims.insert((since_s, key.clone()));
            }
        }
        let first = claim.and_then(|(address, _)| self.claims.get(&address)?.first());
        (first.is_some_and(|(_, owner)| owner == key), others)
    }
}

/// Whether somebody took the table away.
#[derive(Default)]
struct Lost {
    is: AtomicBool,
    wake: Notify,
}

/// What changed and is not planned yet.
struct Changed {
    services: Subscription<Service>,
    slices: Subscription<EndpointSlice>,
    keys: BTreeSet<Key>,
}

impl Changed {
    /// Waits for the first that changes.
    async fn any(&mut self) {
        let keys = tokio::select! {
            biased;
            change = self.services.next() => BTreeSet::from([Key::clone(&change.key)]),
            change = self.slices.next() => services_of(&change),
        };
        self.keys.extend(keys);
    }

    /// All services that changed.
    fn take(&mut self) -> BTreeSet<Key> {
        while let Some(change) = self.services.take() {
            self.keys.insert(Key::clone(&change.key));
        }
        while let Some(change) = self.slices.take() {
            self.keys.extend(services_of(&change));
        }
        std::mem::take(&mut self.keys)
    }
}

/// The services whose endpoints a changed slice has, or had.
fn services_of(change: &skiff_client::Change<EndpointSlice>) -> BTreeSet<Key> {
    let key = |slice: &Arc<EndpointSlice>| {
        let name = slice.metadata.labels.get(SERVICE_NAME)?;
        Some(Key::new(&slice.metadata.namespace, name))
    };
    change.old.iter().chain(&change.new).filter_map(key).collect()
}

impl Services {
    /// `node` is the name of this machine's node.
    pub fn new(node: &str, caches: &Caches, world: World) -> Services {
        let (services, slices) = (caches.of::<Service>(), caches.of::<EndpointSlice>());
        let stats = watch::channel(ServiceStats::default()).0;
        let lost = Lost::default();
        Services { node: node.into(), services, slices, lost, stats, world }
    }

    /// Figures of the last commit, and of every one after it.
    pub fn stats(&self) -> watch::Receiver<ServiceStats> {
        self.stats.subscribe()
    }

    /// Somebody took the table away, or something of it: it is written anew.
    pub fn restore(&self) {
        self.lost.is.store(true, Ordering::Release);
        self.lost.wake.notify_one();
    }

    /// Keeps `table` as the API says until the task is ended; the kernel is asked on these threads.
    pub async fn run(self: Arc<Self>, mut table: ServiceTable, tables: Blocking) {
        self.services.caught_up(0).await;
        self.slices.caught_up(0).await;
        let mut known: BTreeMap<Key, Ports> = BTreeMap::new();
        let mut owners = Owners::default();
        let (services, slices) = (self.services.subscribe(), self.slices.subscribe());
        let mut changed = Changed { services, slices, keys: BTreeSet::new() };
        loop {
            fault::point("services");
            let lost = self.lost.is.swap(false, Ordering::AcqRel);
            let changes = self.changes(changed.take(), &mut known, &mut owners);
            // The first commit goes out even if it is empty: it replaces what was left behind.
            let result;
            (table, result) = commit(&tables, table, changes, lost).await;
            self.stats.send_replace(table.stats());
            match result {
                Ok(()) => {
                    // A lone change goes out at once, and those that follow it closely go together.
                    self.world.sleep(TOGETHER).await;
                    tokio::select! {
                        () = self.lost.wake.notified() => {}
                        () = changed.any() => {}
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the service tables could not be written");
                    self.world.sleep(RETRY).await;
                }
            }
        }
    }

    /// Plans the services that changed, and remembers what is planned now.
    fn changes(
        &self,
        mut keys: BTreeSet<Key>,
        known: &mut BTreeMap<Key, Ports>,
        owners: &mut Owners,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(key) = keys.pop_first() {
            let slices = self.slices.find("service", &key.to_string());
            let service = self.services.get(&key);
            let claim =
                service.as_ref().and_then(|service| Some((cluster_ip(service)?, since_s(service))));
            let (owned, others) = owners.claim(&key, claim);
            keys.extend(others);
            let mut planned = match service {
                Some(service) => plan(&service, &slices, &self.node),
                None => Ports::new(),
            };
            if !owned {
                planned.values_mut().for_each(|port| Arc::make_mut(port).cluster_ip = None);
            }
            let before = known.remove(&key).unwrap_or_default();
            changes.extend(difference(&before, &planned));
            if !planned.is_empty() {
                known.insert(key, planned);
            }
        }
        changes
    }
}

/// The kernel is asked on a thread that may wait.
async fn commit(
    tables: &Blocking,
    mut table: ServiceTable,
    changes: Vec<Change>,
    lost: bool,
) -> (ServiceTable, skiff_net::Result<()>) {
    let work = tables.run(move || {
        let mut result = table.change(&changes);
        if lost && result.is_ok() {
            result = table.restore();
        }
        (table, result)
    });
    work.await.expect("a change of the table does not panic")
}

fn difference(before: &Ports, after: &Ports) -> Vec<Change> {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let new = after.iter().filter(|(name, port)| before.get(*name) != Some(*port));
    let gone = gone.map(|name| (name.clone(), None));
    gone.chain(new.map(|(name, port)| (name.clone(), Some(port.clone())))).collect()
}

/// What the tables hold for one service.
pub fn plan(service: &Service, slices: &[Arc<EndpointSlice>], node: &str) -> Ports {
    let (meta, spec) = (&service.metadata, &service.spec);
    let foreign = [PROXY_NAME, HEADLESS].iter().any(|label| meta.labels.contains_key(*label));
    if foreign || service.headless() || spec.type_ == "ExternalName" {
        return Ports::new();
    }
    let (cluster_ip, since_s) = (cluster_ip(service), since_s(service));
    let mut ports = Ports::new();
    for port in &spec.ports {
        let protocol = match &*port.protocol {
            "TCP" | "" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => continue,
        };
        let (internal_policy, external_policy) = policies(service);
        let local_matters = [internal_policy, external_policy].contains(&TrafficPolicy::Local);
        let name = format!("{}/{}:{}", meta.namespace, meta.name, port.name);
        ports.insert(
            name.into(),
            Arc::new(ServicePort {
                since_s,
                protocol,
                cluster_ip,
                port: port.port,
                node_port: node_port(service, port),
                external_ips: external_ips(service),
                affinity: affinity(service),
                internal_policy,
                external_policy,
                endpoints: endpoints(port, slices, node, local_matters),
            }),
        );
    }
    ports
}

fn cluster_ip(service: &Service) -> Option<IpAddr> {
    let addresses = service.spec.cluster_ips.iter().chain([&service.spec.cluster_ip]);
    addresses.filter_map(|ip| ip.parse().ok()).next()
}

/// When it was made.
fn since_s(service: &Service) -> i64 {
    service.metadata.creation_timestamp.map_or(i64::MAX, |time| time.as_second())
}

fn node_port(service: &Service, port: &Declared) -> Option<u16> {
    let has = matches!(&*service.spec.type_, "NodePort" | "LoadBalancer");
    (has && port.node_port != 0).then_some(port.node_port)
}

/// External addresses, and those of load balancers that leave the address as it is.
fn external_ips(service: &Service) -> Vec<IpAddr> {
    let ingress = service.status.load_balancer.ingress.iter();
    let ingress = ingress.filter(|it| it.ip_mode.as_deref() != Some("Proxy")).map(|it| &it.ip);
    let all: BTreeSet<IpAddr> =
        service.spec.external_ips.iter().chain(ingress).filter_map(|ip| ip.parse().ok()).collect();
    all.into_iter().collect()
}

fn affinity(service: &Service) -> Affinity {
    if service.spec.session_affinity != "ClientIP" {
        return Affinity::None;
    }
    let timeout_s = service.spec.session_affinity_config.client_ip.timeout_seconds;
    Affinity::ClientIp { timeout_s: timeout_s.unwrap_or(AFFINITY_S) }
}

fn policies(service: &Service) -> (TrafficPolicy, TrafficPolicy) {
    let policy = |text: &str| match text {
        "Local" => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    };
    let spec = &service.spec;
    (policy(&spec.internal_traffic_policy), policy(&spec.external_traffic_policy))
}

/// One address behind a service, as its slice tells of it.
struct Candidate {
    at: Endpoint,
    ready: bool,
    fallback: bool,
}

/// The endpoints that shall get connections now.
fn endpoints(
    port: &Declared,
    slices: &[Arc<EndpointSlice>],
    node: &str,
    local_matters: bool,
) -> Vec<Endpoint> {
    let mut all = Vec::new();
    for slice in slices.iter().filter(|s| s.address_type == "IPv4" && !s.metadata.deleting()) {
        for number in slice.ports.iter().filter(|p| is(p, port)).filter_map(|p| p.port) {
            all.extend(slice.endpoints.iter().filter_map(|it| candidate(it, number, node)));
        }
    }
    let mut chosen: BTreeSet<Endpoint> = all.iter().filter(|c| c.ready).map(|c| c.at).collect();
    if chosen.is_empty() {
        chosen.extend(all.iter().filter(|c| c.fallback).map(|c| c.at));
    }
    let here = |at: &Endpoint| at.locality == Locality::ThisNode;
    if local_matters && !chosen.iter().any(here) {
        chosen.extend(all.iter().filter(|c| c.fallback && here(&c.at)).map(|c| c.at));
    }
    chosen.into_iter().collect()
}

fn is(listed: &EndpointPort, declared: &Declared) -> bool {
    let protocol = |text: &str| if text.is_empty() { "TCP" } else { text }.to_owned();
    listed.name.as_deref().unwrap_or("") == declared.name
        && protocol(listed.protocol.as_deref().unwrap_or("")) == protocol(&declared.protocol)
}

fn candidate(listed: &Listed, port: u16, node: &str) -> Option<Candidate> {
    let address = listed.addresses.first()?.parse().ok()?;
    let conditions = &listed.conditions;
    let locality = match listed.node_name.as_deref() == Some(node) {
        true => Locality::ThisNode,
        false => Locality::OtherNode,
    };
    Some(Candidate {
        at: Endpoint { address, port, locality },
        ready: conditions.ready.unwrap_or(true),
        fallback: conditions.serving.unwrap_or(true) && conditions.terminating.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::{Value, json};

    fn slice(endpoints: Value) -> Arc<EndpointSlice> {
        let slice = json!({"addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]});
        Arc::new(skiff_json::from_value(slice).unwrap())
    }

    fn check(spec: Value, endpoints: Value, expected: Expect) {
        let mut service = json!({"metadata": {"namespace": "d", "name": "web"}, "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}});
        for (key, value) in spec.as_object().unwrap() {
            service["spec"][key] = value.clone();
        }
        let service = skiff_json::from_value(service).unwrap();
        let mut out = String::new();
        for (name, port) in plan(&service, &[slice(endpoints)], "n1") {
            let at = |e: &Endpoint| format!("{}:{}/{:?}", e.address, e.port, e.locality);
            let endpoints: Vec<String> = port.endpoints.iter().map(at).collect();
            out += &format!(
                "{name} {:?} {:?}:{} node={:?} external={:?} {:?} in={:?} ex={:?}\n  {}\n",
                port.protocol,
                port.cluster_ip,
                port.port,
                port.node_port,
                port.external_ips,
                port.affinity,
                port.internal_policy,
                port.external_policy,
                endpoints.join(" ")
            );
        }
        expected.assert_eq(&out);
    }

    fn pods() -> Value {
        json!([
            {"addresses": ["10.0.0.2"], "nodeName": "n1", "conditions": {"ready": true}},
            {"addresses": ["10.0.1.2"], "nodeName": "n2"},
            {"addresses": ["10.0.0.3"], "nodeName": "n1",
                "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"addresses": ["10.0.0.4"], "nodeName": "n1",
                "conditions": {"ready": false, "serving": false, "terminating": true}},
        ])
    }

    #[test]
    fn ready_endpoints_are_served_with_their_locality() {
        check(
            json!({}),
            pods(),
            expect![[r#"
            d/web:http Tcp Some(10.96.0.7):80 node=None external=[] None in=Cluster ex=Cluster
              10.0.0.2:8080/ThisNode 10.0.1.2:8080/OtherNode
        "#]],
        );
    }

    #[test]
    fn terminating_endpoints_that_serve_are_the_fallback() {
        let mut only_terminating = pods();
        let list = only_terminating.as_array_mut().unwrap();
        list.drain(..2);
        check(
            json!({}),
            only_terminating,
            expect![[r#"
            d/web:http Tcp Some(10.96.0.7):80 node=None external=[] None in=Cluster ex=Cluster
              10.0.0.3:8080/ThisNode
        "#]],
        );
        let mut none_here = pods();
        none_here.as_array_mut().unwrap().remove(0);
        let local = json!({"type": "NodePort", "externalTrafficPolicy": "Local"});
        check(
            local,
            none_here,
            expect![[r#"
            d/web:http Tcp Some(10.96.0.7):80 node=None external=[] None in=Cluster ex=Local
              10.0.0.3:8080/ThisNode 10.0.1.2:8080/OtherNode
        "#]],
        );
    }

    #[test]
    fn everything_that_a_service_asks_for_is_passed_on() {
        let spec = json!({"type": "LoadBalancer", "externalIPs": ["192.0.2.1"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}],
            "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Local",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}});
        check(
            spec,
            json!([]),
            expect![[r#"
            d/web:http Tcp Some(10.96.0.7):80 node=Some(30080) external=[192.0.2.1] ClientIp { timeout_s: 60 } in=Local ex=Cluster
              
        "#]],
        );
    }

    #[test]
    fn a_cluster_address_belongs_to_the_oldest_service() {
        let mut owners = Owners::default();
        let address = |last| IpAddr::from([10, 96, 0, last]);
        let mut claim = |name: &str, claim: Option<(IpAddr, i64)>| {
            let (owned, others) = owners.claim(&Key::new("d", name), claim);
            let others: Vec<String> = others.iter().map(|key| key.name.to_string()).collect();
            format!("{owned} {}", others.join(" "))
        };
        assert_eq!(claim("b", Some((address(1), 5))), "true ");
        assert_eq!(claim("a", Some((address(1), 9))), "false b", "younger, whatever its name");
        assert_eq!(claim("b", Some((address(1), 5))), "true ", "nothing new");
        assert_eq!(claim("c", Some((address(1), 1))), "true a b");
        assert_eq!(claim("c", Some((address(2), 1))), "true a b", "they are planned anew");
        assert_eq!(claim("b", Some((address(1), 5))), "true ");
        assert_eq!(claim("b", None), "false a");
        assert_eq!(claim("a", Some((address(1), 9))), "true ");
    }

    #[test]
    fn services_without_a_cluster_address_have_no_entries() {
        check(json!({"clusterIP": "None"}), pods(), expect![[""]]);
        check(json!({"type": "ExternalName"}), pods(), expect![[""]]);
    }

    #[test]
    fn only_what_differs_is_sent() {
        let ports = |numbers: &[u16]| -> Ports {
            let service = |n: &u16| {
                json!({"metadata": {"namespace": "d", "name": "web"}, "spec": {"type": "ClusterIP",
                    "clusterIP": "10.96.0.7", "ports": [{"name": n.to_string(), "port": n}]}})
            };
            let plan = |n: &u16| plan(&skiff_json::from_value(service(n)).unwrap(), &[], "n1");
            numbers.iter().flat_map(plan).collect()
        };
        let changes = difference(&ports(&[1, 2]), &ports(&[2, 3]));
        let names: Vec<_> = changes.iter().map(|(n, p)| format!("{n} {}", p.is_some())).collect();
        assert_eq!(names, ["d/web:1 false", "d/web:3 true"]);
    }
}
