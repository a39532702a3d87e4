//! The table as text for small cases, and against the kernel in namespaces of the tests' own.

use std::time::Instant;

use super::*;
use crate::nft::read;
use crate::testkit::nft;
use expect_test::{Expect, expect};

fn endpoint(text: &str) -> Endpoint {
    let (text, locality) = match text.strip_suffix('*') {
        Some(text) => (text, Locality::ThisNode),
        None => (text, Locality::OtherNode),
    };
    let (address, port) = text.split_once(':').unwrap();
    Endpoint { address: address.parse().unwrap(), port: port.parse().unwrap(), locality }
}

/// `web tcp 10.96.0.1:80 node 30080 out 10.0.0.9 sticky 60 internal external -> 10.1.0.2:8080*`
fn service(text: &str) -> Change {
    let mut words = text.split_whitespace();
    let name: Arc<str> = words.next().unwrap().into();
    if text.ends_with("gone") {
        return (name, None);
    }
    let protocol = match words.next().unwrap() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => Protocol::Sctp,
    };
    let (address, port) = words.next().unwrap().split_once(':').unwrap();
    let mut service = ServicePort {
        since_s: 0,
        protocol,
        cluster_ip: Some(address.parse().unwrap()),
        port: port.parse().unwrap(),
        node_port: None,
        external_ips: Vec::new(),
        affinity: Affinity::None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        endpoints: Vec::new(),
    };
    while let Some(word) = words.next() {
        let mut number = || words.next().unwrap().to_string();
        match word {
            "node" => service.node_port = Some(number().parse().unwrap()),
            "since" => service.since_s = number().parse().unwrap(),
            "out" => service.external_ips.push(number().parse().unwrap()),
            "sticky" => {
                service.affinity = Affinity::ClientIp { timeout_s: number().parse().unwrap() }
            }
            "internal" => service.internal_policy = TrafficPolicy::Local,
            "external" => service.external_policy = TrafficPolicy::Local,
            "->" => service.endpoints.extend(words.by_ref().map(endpoint)),
            _ => panic!("{word}"),
        }
    }
    (name, Some(Arc::new(service)))
}

pub(crate) fn services(text: &str) -> Vec<Change> {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).map(service).collect()
}

/// What the last of some changes sends.
fn check(changes: &[&str], expect: Expect) {
    let mut layout = Layout::default();
    let mut text = String::new();
    for change in changes {
        text = to_batch("t", &layout.change(&services(change))).to_string();
    }
    expect.assert_eq(&text);
}

fn config(namespace: &NetNs) -> ServiceTableConfig {
    ServiceTableConfig {
        namespace: namespace.clone(),
        table: "skiff-services".to_string(),
        cluster: vec!["10.244.0.0/16".parse().unwrap()],
        services: vec!["10.96.0.0/12".parse().unwrap()],
        loopback_node_ports: LoopbackNodePorts::Answer,
    }
}

/// What stands in the kernel, one element a line.
fn dump(table: &mut ServiceTable) -> Vec<String> {
    let mut lines = Vec::new();
    for set in Place::SETS.map(frame::set) {
        let found = read::elements(&mut table.rules, &table.config.table, &set).unwrap();
        lines.extend(found.iter().map(|element| format!("{}: {element}", set.name)));
    }
    lines.sort();
    lines
}

#[test]
fn a_service_is_a_handful_of_elements() {
    check(
        &["web tcp 10.96.0.10:80 node 30080 -> 10.244.0.2:8080* 10.244.1.2:8080"],
        expect![[r#"
            add chain pick-2
            add rule pick-2: r0 = priority, r0 = r0 & [00, 00, ff, ff] ^ [00, 00, 00, 00], r1 = random 2, r2 = slots[r0], dnat r2:r3
            add element frontends: 0.0.0.0 . tcp . 30080 -> 1:1
            add element frontends: 10.96.0.10 . tcp . 80 -> 1:1
            add element picks: 0:1 -> goto pick-2
            add element slots: 1:0 . 0 -> 10.244.0.2 . 8080
            add element slots: 1:0 . 1 -> 10.244.1.2 . 8080
            add element masquerade: 0.0.0.0 . tcp . 30080
            add element addresses: 10.96.0.10
            add element hairpin: 10.244.0.2 . 10.244.0.2
        "#]],
    );
}

#[test]
fn one_endpoint_less_is_one_swap() {
    check(
        &[
            "web tcp 10.96.0.10:80 -> 10.244.0.2:80 10.244.0.3:80 10.244.0.4:80",
            "web tcp 10.96.0.10:80 -> 10.244.0.3:80 10.244.0.4:80",
        ],
        expect![[r#"
            add chain pick-2
            add rule pick-2: r0 = priority, r0 = r0 & [00, 00, ff, ff] ^ [00, 00, 00, 00], r1 = random 2, r2 = slots[r0], dnat r2:r3
            delete element frontends: 10.96.0.10 . tcp . 80 -> 1:1
            delete element picks: 0:1 -> goto pick-3
            delete element slots: 1:0 . 0 -> 10.244.0.2 . 80
            delete element slots: 1:0 . 2 -> 10.244.0.4 . 80
            add element frontends: 10.96.0.10 . tcp . 80 -> 1:2
            add element picks: 0:2 -> goto pick-2
            add element slots: 1:0 . 0 -> 10.244.0.4 . 80
            flush chain pick-3
            delete chain pick-3
        "#]],
    );
}

#[test]
fn one_endpoint_for_another_is_one_element() {
    check(
        &[
            "web tcp 10.96.0.10:80 -> 10.244.0.2:80 10.244.0.3:80",
            "web tcp 10.96.0.10:80 -> 10.244.0.9:80 10.244.0.3:80",
        ],
        expect![[r#"
            delete element slots: 1:0 . 0 -> 10.244.0.2 . 80
            add element slots: 1:0 . 0 -> 10.244.0.9 . 80
        "#]],
    );
}

#[test]
fn no_endpoint_is_a_refusal() {
    check(
        &["web tcp 10.96.0.10:80 node 30080 -> 10.244.0.2:80", "web tcp 10.96.0.10:80 node 30080"],
        expect![[r#"
            delete element frontends: 0.0.0.0 . tcp . 30080 -> 1:1
            delete element frontends: 10.96.0.10 . tcp . 80 -> 1:1
            delete element picks: 0:1 -> goto pick-1
            delete element slots: 1:0 . 0 -> 10.244.0.2 . 80
            delete element masquerade: 0.0.0.0 . tcp . 30080
            add element refuse-frontends: 0.0.0.0 . tcp . 30080 -> goto refuse
            add element refuse-frontends: 10.96.0.10 . tcp . 80 -> goto refuse
            flush chain pick-1
            delete chain pick-1
        "#]],
    );
}

#[test]
fn local_policies_have_pools_of_their_own() {
    check(
        &["web tcp 10.96.0.10:80 node 30080 internal external -> 10.244.0.2:80 10.244.1.2:80*"],
        expect![[r#"
            add chain pick-1
            add rule pick-1: r0 = priority, r0 = r0 & [00, 00, ff, ff] ^ [00, 00, 00, 00], r1 = random 1, r2 = slots[r0], dnat r2:r3
            add chain pick-2
            add rule pick-2: r0 = priority, r0 = r0 & [00, 00, ff, ff] ^ [00, 00, 00, 00], r1 = random 2, r2 = slots[r0], dnat r2:r3
            add element frontends: 0.0.0.0 . tcp . 30080 -> 1:1
            add element frontends: 10.96.0.10 . tcp . 80 -> 2:2
            add element outside: 0.0.0.0 . tcp . 30080 -> 3:2
            add element picks: 0:2 -> goto pick-1
            add element picks: 0:1 -> goto pick-2
            add element slots: 1:0 . 0 -> 10.244.0.2 . 80
            add element slots: 1:0 . 1 -> 10.244.1.2 . 80
            add element slots: 2:0 . 0 -> 10.244.1.2 . 80
            add element slots: 3:0 . 0 -> 10.244.1.2 . 80
            add element masquerade-own: 0.0.0.0 . tcp . 30080
            add element addresses: 10.96.0.10
            add element hairpin: 10.244.1.2 . 10.244.1.2
        "#]],
    );
    check(
        &["web tcp 10.96.0.10:80 out 10.0.0.9 internal external -> 10.244.0.2:80"],
        expect![[r#"
            add chain pick-0
            add rule pick-0: drop
            add chain pick-1
            add rule pick-1: r0 = priority, r0 = r0 & [00, 00, ff, ff] ^ [00, 00, 00, 00], r1 = random 1, r2 = slots[r0], dnat r2:r3
            add element frontends: 10.0.0.9 . tcp . 80 -> 1:1
            add element outside: 10.0.0.9 . tcp . 80 -> 2:2
            add element picks: 0:2 -> goto pick-0
            add element picks: 0:1 -> goto pick-1
            add element slots: 1:0 . 0 -> 10.244.0.2 . 80
            add element masquerade-own: 10.0.0.9 . tcp . 80
            add element refuse-frontends: 10.96.0.10 . tcp . 80 -> drop
            add element addresses: 10.96.0.10
        "#]],
    );
}

#[test]
fn of_one_age_the_first_by_name_holds_an_address_that_two_want() {
    check(
        &["b tcp 10.96.0.2:80 out 10.0.0.9 -> 10.244.0.2:80", "a tcp 10.96.0.1:80 out 10.0.0.9"],
        expect![[r#"
            delete element frontends: 10.0.0.9 . tcp . 80 -> 1:1
            delete element masquerade: 10.0.0.9 . tcp . 80
            add element refuse-frontends: 10.0.0.9 . tcp . 80 -> goto refuse
            add element refuse-frontends: 10.96.0.1 . tcp . 80 -> goto refuse
            add element addresses: 10.96.0.1
        "#]],
    );
    check(
        &[
            "b tcp 10.96.0.2:80 out 10.0.0.9 -> 10.244.0.2:80",
            "a tcp 10.96.0.1:80 out 10.0.0.9",
            "a gone",
        ],
        expect![[r#"
            delete element refuse-frontends: 10.0.0.9 . tcp . 80 -> goto refuse
            delete element refuse-frontends: 10.96.0.1 . tcp . 80 -> goto refuse
            delete element addresses: 10.96.0.1
            add element frontends: 10.0.0.9 . tcp . 80 -> 1:1
            add element masquerade: 10.0.0.9 . tcp . 80
        "#]],
    );
}

#[test]
fn stickiness_brings_chain_and_memory_and_takes_them_away() {
    check(
        &["web tcp 10.96.0.10:80 sticky 60 -> 10.244.0.2:80 10.244.0.3:80"],
        expect![[r#"
            add map clients-60s: address . pair -> pair, timeout 60000ms, limit 262144
            add chain pick-2-60s
            add rule pick-2-60s: r0 = saddr, r1 = priority, r1 = r1 & [00, 00, ff, ff] ^ [00, 00, 00, 00], r2 = clients-60s[r0], priority = r2, r2 = priority, clients-60s[r0] = r2 for 60000ms, r3 = endpoints[r2], dnat r3:r4
            add rule pick-2-60s: r0 = saddr, r1 = priority, r1 = r1 & [00, 00, ff, ff] ^ [00, 00, 00, 00], r2 = random 2, r3 = sticky-slots[r1], priority = r3, r3 = priority, forget clients-60s[r0], clients-60s[r0] = r3 for 60000ms, r4 = endpoints[r3], dnat r4:r5
            add rule pick-2-60s: r0 = priority, r1 = endpoints[r0], dnat r1:r2
            add element frontends: 10.96.0.10 . tcp . 80 -> 1:1
            add element picks: 0:1 -> goto pick-2-60s
            add element sticky-slots: 1:0 . 0 -> 1:0
            add element sticky-slots: 1:0 . 1 -> 1:1
            add element endpoints: 1:0 -> 10.244.0.2 . 80
            add element endpoints: 1:1 -> 10.244.0.3 . 80
            add element addresses: 10.96.0.10
        "#]],
    );
    check(
        &["web tcp 10.96.0.10:80 sticky 60 -> 10.244.0.2:80 10.244.0.3:80", "web gone"],
        expect![[r#"
            delete element frontends: 10.96.0.10 . tcp . 80 -> 1:1
            delete element picks: 0:1 -> goto pick-2-60s
            delete element sticky-slots: 1:0 . 0 -> 1:0
            delete element sticky-slots: 1:0 . 1 -> 1:1
            delete element endpoints: 1:0 -> 10.244.0.2 . 80
            delete element endpoints: 1:1 -> 10.244.0.3 . 80
            delete element addresses: 10.96.0.10
            flush chain pick-2-60s
            delete chain pick-2-60s
            delete set clients-60s
        "#]],
    );
}

#[test]
fn an_endpoint_keeps_its_number_and_a_pools_is_given_again() {
    check(
        &[
            "web tcp 10.96.0.10:80 sticky 60 -> 10.244.0.2:80 10.244.0.3:80 10.244.0.4:80",
            "web tcp 10.96.0.10:80 sticky 60 -> 10.244.0.3:80 10.244.0.4:80",
            "web gone
             api tcp 10.96.0.11:80 sticky 60 -> 10.244.0.2:80 10.244.0.4:80",
        ],
        expect![[r#"
            delete element frontends: 10.96.0.10 . tcp . 80 -> 1:2
            delete element sticky-slots: 1:0 . 0 -> 1:2
            delete element endpoints: 1:1 -> 10.244.0.3 . 80
            delete element endpoints: 1:2 -> 10.244.0.4 . 80
            delete element addresses: 10.96.0.10
            add element frontends: 10.96.0.11 . tcp . 80 -> 1:2
            add element sticky-slots: 1:0 . 0 -> 1:0
            add element endpoints: 1:0 -> 10.244.0.2 . 80
            add element endpoints: 1:1 -> 10.244.0.4 . 80
            add element addresses: 10.96.0.11
        "#]],
    );
}

/// The older has all of it, also what it does not use: the way in from outside. When it goes, and
/// when one of its name comes back younger, the other has it.
#[test]
fn of_two_that_want_a_frontend_the_older_has_it() {
    let old = "zzz tcp 10.96.0.10:80 since 1 out 192.0.2.9 -> 10.244.0.2:80";
    let young = "aaa tcp 10.96.0.11:80 since 2 out 192.0.2.9 external -> 10.244.0.3:80*";
    let mut layout = Layout::default();
    let mut held = |changes: &str| -> Vec<String> {
        layout.change(&services(changes));
        let key = vec![IpAddr::from([192, 0, 2, 9]).into(), Protocol::Tcp.into(), 80u16.into()];
        let at = |place: Place| layout.holder(&(place, key.clone())).map(|_| place.name());
        [Place::Frontends, Place::Outside, Place::Masquerade, Place::MasqueradeOwn, Place::Refuse]
            .iter()
            .filter_map(|place| at(*place).map(str::to_string))
            .collect()
    };
    let (of_old, of_young) =
        (["frontends", "masquerade"], ["frontends", "outside", "masquerade-own"]);
    assert_eq!(held(young), of_young);
    assert_eq!(held(old), of_old);
    assert_eq!(held("zzz tcp 10.96.0.10:80 since 1 out 192.0.2.9"), ["refuse-frontends"]);
    assert_eq!(held(old), of_old);
    assert_eq!(held(&old.replace("since 1", "since 3")), of_young);
    assert_eq!(held(old), of_old);
    assert_eq!(held("aaa gone"), of_old);
    assert_eq!(held(young), of_old);
    assert_eq!(held("zzz gone"), of_young);
    assert!(held("aaa gone").is_empty());
    let nothing = layout.change(&services("")).len();
    assert_eq!(nothing, 0);
}

#[test]
fn the_kernel_takes_the_table_and_gives_it_back() {
    let ns = NetNs::create().unwrap();
    let mut table = ServiceTable::open(config(&ns)).unwrap();
    let all = services(
        "web tcp 10.96.0.10:80 node 30080 sticky 60 -> 10.244.0.2:80 10.244.0.3:80*
         dns udp 10.96.0.10:53 out 10.0.0.9 internal external -> 10.244.0.2:53
         gone sctp 10.96.0.11:53",
    );
    table.change(&all).unwrap();
    let first = dump(&mut table);
    expect![[r#"
        addresses: 10.96.0.10
        addresses: 10.96.0.11
        endpoints: 3:0 -> 10.244.0.2 . 80
        endpoints: 3:1 -> 10.244.0.3 . 80
        frontends: 0.0.0.0 . tcp . 30080 -> 3:3
        frontends: 10.0.0.9 . udp . 53 -> 1:1
        frontends: 10.96.0.10 . tcp . 80 -> 3:3
        hairpin: 10.244.0.3 . 10.244.0.3
        masquerade-own: 10.0.0.9 . udp . 53
        masquerade: 0.0.0.0 . tcp . 30080
        outside: 10.0.0.9 . udp . 53 -> 2:2
        picks: 0:1 -> goto pick-1
        picks: 0:2 -> goto pick-0
        picks: 0:3 -> goto pick-2-60s
        refuse-frontends: 10.96.0.10 . udp . 53 -> drop
        refuse-frontends: 10.96.0.11 . sctp . 53 -> goto refuse
        slots: 1:0 . 0 -> 10.244.0.2 . 53
        sticky-slots: 3:0 . 0 -> 3:0
        sticky-slots: 3:0 . 1 -> 3:1"#]]
    .assert_eq(&first.join("\n"));
    let desired: Desired =
        all.iter().map(|(name, port)| (name.clone(), port.clone().unwrap())).collect();
    let mut again = ServiceTable::open(config(&ns)).unwrap();
    again.apply(&desired).unwrap();
    assert_eq!(dump(&mut again), first);
    let before = again.stats().commits;
    again.apply(&desired).unwrap();
    assert_eq!(again.stats().commits, before, "nothing changed, nothing is sent");
    again.apply(&Desired::new()).unwrap();
    assert_eq!(dump(&mut again), Vec::<String>::new());
    let chains = nft(&ns, "chains");
    assert!(chains.contains("refuse") && !chains.contains("pick"), "{chains}");
    again.teardown().unwrap();
    assert_eq!(nft(&ns, "ruleset"), "");
}

#[test]
fn a_flushed_table_is_written_anew() {
    let ns = NetNs::create().unwrap();
    let mut table = ServiceTable::open(config(&ns)).unwrap();
    table.change(&services("web tcp 10.96.0.10:80 -> 10.244.0.2:80")).unwrap();
    let first = dump(&mut table);
    let mut socket = Socket::open(&ns, Family::Netfilter).unwrap();
    let mut flush = Batch::new("skiff-services");
    flush.steps.push(Step::DeleteTable);
    flush.commit(&mut socket).unwrap();
    table.change(&services("dns udp 10.96.0.10:53 -> 10.244.0.3:53\ndns gone")).unwrap();
    table.change(&services("dns udp 10.96.0.11:53 -> 10.244.0.3:53")).unwrap();
    table.change(&services("dns gone")).unwrap();
    assert_eq!(dump(&mut table).len(), first.len());
    assert_eq!(table.stats().rebuilds, 2);
}

#[test]
fn ten_thousand_services_and_one_change() {
    let ns = NetNs::create().unwrap();
    let mut table = ServiceTable::open(config(&ns)).unwrap();
    let mut desired = Desired::new();
    for i in 0..10_000u32 {
        let address = IpAddr::from((0x0a60_0001 + i).to_be_bytes());
        let endpoints: Vec<_> = (0..3 + i % 3)
            .map(|e| Endpoint {
                address: IpAddr::from((0x0af4_0000 + 3 * i + e).to_be_bytes()),
                port: 8080,
                locality: if e == 0 { Locality::ThisNode } else { Locality::OtherNode },
            })
            .collect();
        let (name, port) = service("x tcp 1.1.1.1:80");
        let port = ServicePort { cluster_ip: Some(address), endpoints, ..(*port.unwrap()).clone() };
        desired.insert(format!("{name}{i}").into(), Arc::new(port));
    }
    let begin = Instant::now();
    table.apply(&desired).unwrap();
    println!("10,000 services: {:?}, commit {:?}", begin.elapsed(), table.stats().last_commit);
    let (mut whole, mut kernel) = (Vec::new(), Vec::new());
    for round in 0..200u16 {
        let change = service(&format!("x77 tcp 10.96.0.78:80 -> 10.244.9.9:{}", round + 1));
        let begin = Instant::now();
        table.change(&[change]).unwrap();
        whole.push(begin.elapsed());
        kernel.push(table.stats().last_commit);
    }
    whole.sort();
    kernel.sort();
    println!("one change: p50 {:?} p99 {:?}, commit p50 {:?}", whole[100], whole[198], kernel[100]);
    assert_eq!(table.stats().rebuilds, 1);
    let begin = Instant::now();
    table.apply(&desired).unwrap();
    println!("whole desired state with one difference: {:?}", begin.elapsed());
    assert!(whole[100] < Duration::from_millis(5), "one change costs {:?}", whole[100]);
}
