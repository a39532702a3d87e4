//! Service tables with true packets: a node, pods, a client outside.

use std::collections::BTreeSet;

use super::tests::services;
use super::*;
use crate::testkit::*;

const WEB: &str = "web tcp 10.96.0.10:80 node 30080 -> 10.244.0.2:80* 10.244.0.3:80*";

fn world(table: &str) -> (World, Pod, Pod) {
    let mut world = World::new();
    let (a, b) = (world.pod("a"), world.pod("b"));
    for (pod, name) in [(&a, "a"), (&b, "b")] {
        tcp_server(&pod.ns, name, 80);
        udp_server(&pod.ns, name, 53);
    }
    world.table.change(&services(table)).unwrap();
    (world, a, b)
}

/// The distinct answers of many connections.
fn many(ns: &NetNs, to: &str) -> Vec<String> {
    let mut answers = BTreeSet::new();
    for _ in 0..40 {
        let answer = tcp_ask(ns, to);
        assert!(answer.contains(" from "), "{to}: {answer}");
        answers.insert(answer);
    }
    answers.into_iter().collect()
}

#[test]
fn a_cluster_address_spreads_and_keeps_sources() {
    let (world, a, _b) = world(WEB);
    let c = world.pod("c");
    assert_eq!(many(&c.ns, "10.96.0.10:80"), ["a from 10.244.0.4", "b from 10.244.0.4"]);
    let node = many(&world.node, "10.96.0.10:80");
    assert_eq!(node, ["a from 10.244.0.1", "b from 10.244.0.1"], "a node without a default route");
    let hairpin = many(&a.ns, "10.96.0.10:80");
    assert_eq!(hairpin.len(), 2, "{hairpin:?}");
    assert!(hairpin[0].starts_with("a from ") && hairpin[0] != "a from 10.244.0.2", "{hairpin:?}");
    assert_eq!(hairpin[1], "b from 10.244.0.2");
}

#[test]
fn a_node_port_answers_on_every_address_of_the_node() {
    let (world, a, _b) = world(WEB);
    let outside = many(&world.client, "192.168.77.1:30080");
    assert_eq!(outside.len(), 2, "{outside:?}");
    assert!(outside.iter().all(|o| !o.contains(CLIENT)), "masqueraded: {outside:?}");
    for (ns, to) in [
        (&a.ns, "192.168.77.1:30080"),
        (&a.ns, "10.244.0.1:30080"),
        (&world.node, "192.168.77.1:30080"),
        (&world.node, "127.0.0.1:30080"),
    ] {
        let all = many(ns, to);
        assert_eq!(all.len(), 2, "{to}: {all:?}");
        assert!(all[0].starts_with("a from ") && all[1].starts_with("b from "), "{to}: {all:?}");
    }
    assert_eq!(tcp_ask(&world.client, "192.168.77.1:30081"), "ConnectionRefused");
}

#[test]
fn loopback_node_ports_can_be_left_out() {
    let (mut world, _a, _b) = world(WEB);
    let mut config = table_config(&world.node);
    config.loopback_node_ports = LoopbackNodePorts::Ignore;
    world.table = ServiceTable::open(config).unwrap();
    world.table.change(&services(WEB)).unwrap();
    assert_eq!(tcp_ask(&world.node, "127.0.0.1:30080"), "ConnectionRefused");
    assert_eq!(many(&world.node, "192.168.77.1:30080").len(), 2);
}

#[test]
fn an_external_policy_of_local_keeps_the_source_and_stays_here() {
    let far = "-> 10.244.0.2:80* 10.244.0.3:80";
    let (mut world, a, _b) =
        world(&format!("web tcp 10.96.0.10:80 node 30080 external out 192.168.77.1 {far}"));
    for to in ["192.168.77.1:30080", "192.168.77.1:80"] {
        assert_eq!(many(&world.client, to), ["a from 192.168.77.2"], "{to}");
        assert_eq!(many(&a.ns, to).len(), 2, "pods may reach all: {to}");
        assert_eq!(many(&world.node, to).len(), 2, "the node may reach all: {to}");
    }
    let nobody = "web tcp 10.96.0.10:80 node 30080 external -> 10.244.0.3:80";
    world.table.change(&services(nobody)).unwrap();
    assert_eq!(tcp_silence(&world.client, "192.168.77.1:30080"), "TimedOut", "dropped");
    assert_eq!(many(&world.node, "192.168.77.1:30080").len(), 1);
}

#[test]
fn an_internal_policy_of_local_stays_here() {
    let (mut world, a, _b) =
        world("web tcp 10.96.0.10:80 internal node 30080 -> 10.244.0.2:80 10.244.0.3:80*");
    assert_eq!(many(&a.ns, "10.96.0.10:80"), ["b from 10.244.0.2"]);
    assert_eq!(many(&world.client, "192.168.77.1:30080").len(), 2);
    world.table.change(&services("web tcp 10.96.0.10:80 internal -> 10.244.0.2:80")).unwrap();
    assert_eq!(tcp_silence(&a.ns, "10.96.0.10:80"), "TimedOut", "dropped");
}

#[test]
fn a_sticky_client_stays_until_its_endpoint_is_gone() {
    let (mut world, _a, _b) =
        world("web tcp 10.96.0.10:80 node 30080 sticky 60 -> 10.244.0.2:80* 10.244.0.3:80*");
    let c = world.pod("c");
    let first = many(&c.ns, "10.96.0.10:80");
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(many(&c.ns, "192.168.77.1:30080").len(), 1);
    // A new table remembers the client.
    world.table = ServiceTable::open(table_config(&world.node)).unwrap();
    let order = "web tcp 10.96.0.10:80 node 30080 sticky 60 -> 10.244.0.2:80* 10.244.0.3:80*";
    world.table.change(&services(&format!("dns udp 10.96.0.9:53\n{order}"))).unwrap();
    assert_eq!(many(&c.ns, "10.96.0.10:80"), first);
    let (left, other) = match first[0].starts_with('a') {
        true => ("10.244.0.3:80*", "b from 10.244.0.4"),
        false => ("10.244.0.2:80*", "a from 10.244.0.4"),
    };
    let less = format!("web tcp 10.96.0.10:80 node 30080 sticky 60 -> {left}");
    world.table.change(&services(&less)).unwrap();
    assert_eq!(many(&c.ns, "10.96.0.10:80"), [other]);
    world.table.change(&services(order)).unwrap();
    assert_eq!(many(&c.ns, "10.96.0.10:80"), [other], "the new choice sticks");
    assert_eq!(world.table.stats().rebuilds, 1);
}

#[test]
fn what_has_no_endpoint_is_refused_at_once() {
    let (world, a, _b) = world(
        "web tcp 10.96.0.10:80 node 30080
         dns udp 10.96.0.10:53",
    );
    for (ns, to) in [
        (&a.ns, "10.96.0.10:80"),
        (&world.node, "10.96.0.10:80"),
        (&a.ns, "10.96.0.10:81"),
        (&world.client, "192.168.77.1:30080"),
        (&world.node, "192.168.77.1:30080"),
    ] {
        assert_eq!(tcp_ask(ns, to), "ConnectionRefused", "{to}");
    }
    assert_eq!(udp_ask(&udp_client(&a.ns, "10.96.0.10:53")), "ConnectionRefused");
    assert_eq!(tcp_silence(&a.ns, "10.96.0.99:80"), "TimedOut", "nobody's address");
}

#[test]
fn a_udp_flow_leaves_an_endpoint_that_is_gone() {
    let (mut world, _a, _b) = world("dns udp 10.96.0.10:53 node 30053 -> 10.244.0.2:53*");
    let c = world.pod("c");
    let inside = udp_client(&c.ns, "10.96.0.10:53");
    let outside = udp_client(&world.client, "192.168.77.1:30053");
    assert_eq!(udp_ask(&inside), "a from 10.244.0.4");
    assert!(udp_ask(&outside).starts_with("a from "));
    let both = "dns udp 10.96.0.10:53 node 30053 -> 10.244.0.2:53* 10.244.0.3:53*";
    world.table.change(&services(both)).unwrap();
    assert_eq!(udp_ask(&inside), "a from 10.244.0.4", "one more takes nothing away");
    assert_eq!(world.table.stats().stale_flows_deleted, 0);
    let other = "dns udp 10.96.0.10:53 node 30053 -> 10.244.0.3:53*";
    world.table.change(&services(other)).unwrap();
    assert_eq!(udp_ask(&inside), "b from 10.244.0.4");
    assert!(udp_ask(&outside).starts_with("b from "));
    assert_eq!(world.table.stats().stale_flows_deleted, 2);
    // With more frontends at once than are asked for one by one.
    let mut lines: Vec<String> =
        (20..40).map(|i| format!("x{i} udp 10.96.0.{i}:53 -> 10.244.0.2:53*")).collect();
    lines.push("dns udp 10.96.0.10:53 node 30053 -> 10.244.0.2:53*".to_string());
    world.table.change(&services(&lines.join("\n"))).unwrap();
    assert_eq!(udp_ask(&inside), "a from 10.244.0.4");
}

#[test]
fn a_udp_flow_that_began_too_early_finds_the_service() {
    let (mut world, _a, _b) = world("");
    let c = world.pod("c");
    let early = udp_client(&c.ns, "10.244.0.1:30053");
    // The node answers by ICMP that nobody listens; the flow is tracked nevertheless.
    assert_eq!(udp_ask(&early), "ConnectionRefused");
    world.table.change(&services("dns udp 10.96.0.10:53 node 30053 -> 10.244.0.2:53*")).unwrap();
    assert!(udp_ask(&early).starts_with("a from "));
}

/// As Debian 12's does; it aborts on what its own language cannot say, and then shows no table.
#[test]
fn nft_prints_all_tables() {
    let (world, _a, _b) = world(
        "dns udp 10.96.0.10:53 -> 10.244.0.2:53* 10.244.0.3:53*
         none tcp 10.96.0.11:80 node 30081
         sticky tcp 10.96.0.12:80 node 30082 external sticky 60 -> 10.244.0.2:80*
         web tcp 10.96.0.13:80 node 30083 -> 10.244.0.2:80* 10.244.0.3:80*",
    );
    let (protocol, host_ip) = (Protocol::Tcp, None);
    let host_port = crate::HostPort { protocol, host_ip, host_port: 8080, container_port: 80 };
    let _c = world.pod_with("c", &[host_port]);
    assert_eq!(many(&world.node, "10.96.0.12:80"), ["a from 10.244.0.1"]);
    let text = nft(&world.node, "ruleset");
    assert!(!text.contains("invalid"), "{text}");
    // A set's elements stand in any order, some in one line, and how long is left varies.
    let text = text.replace("elements = { ", "").replace(" }\n", "\n").replace(", ", "\n");
    let lines = text.lines().map(|line| line.trim().trim_end_matches(','));
    let lines: BTreeSet<&str> = lines.map(|l| l.split(" expires").next().unwrap()).collect();
    for wanted in NFT_LINES.lines() {
        assert!(lines.contains(wanted), "{wanted}\nis not in\n{text}");
    }
}

/// Of a service with UDP, node ports, affinity, without endpoints; of a pod with a host port.
const NFT_LINES: &str = "\
type ipv4_addr . inet_proto . inet_service : classid
10.96.0.10 . udp . 53 : 1:1
10.96.0.13 . tcp . 80 : 4:1
0.0.0.0 . tcp . 30083 : 4:1
meta priority set ip daddr . meta l4proto . th dport map @frontends meta priority & 0:ffff vmap @picks
fib daddr type local meta priority set ip daddr & 0.0.0.0 . meta l4proto . th dport map @frontends \
meta priority & 0:ffff vmap @picks
0:1 : goto pick-2
dnat ip to meta priority & ffff:0 . numgen random mod 2 map @slots
4:0 . 0x00000001 : 10.244.0.3 . 80
0:2 : goto pick-1-60s
meta priority set ip saddr . meta priority & ffff:0 map @clients-60s \
update @clients-60s { ip saddr . meta priority & ffff:0 timeout 1m : meta priority } \
dnat ip to meta priority map @endpoints
meta priority set meta priority & ffff:0 . numgen random mod 1 map @sticky-slots \
delete @clients-60s { ip saddr . meta priority & ffff:0 : meta priority } \
update @clients-60s { ip saddr . meta priority & ffff:0 timeout 1m : meta priority } \
dnat ip to meta priority map @endpoints
10.244.0.1 . 2:0
2:0 : 10.244.0.2 . 80
10.96.0.11 . tcp . 80 : goto refuse
0.0.0.0 . tcp . 30081 : goto refuse
ip daddr . meta l4proto . th dport vmap @refuse-frontends
reject with tcp reset
ip daddr . meta l4proto . th dport @masquerade meta mark set meta mark | 0x00004000
iif 0 ct status dnat meta priority set none
ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random
0.0.0.0 . tcp . 8080 : 10.244.0.4 . 80
fib daddr type local dnat ip to ip daddr & 0.0.0.0 . meta l4proto . th dport map @host-ports";
