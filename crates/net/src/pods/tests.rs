//! The pod network against the kernel.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::*;
use crate::ServiceTable;
use crate::netlink::message::Message;
use crate::testkit::*;

/// All of a namespace that a network could leave behind.
fn traces(node: &NetNs) -> String {
    let mut routes = Socket::open(node, Family::Route).unwrap();
    let mut links = route::links(&mut routes).unwrap();
    links.sort_by_key(|link| link.index);
    // Whether the cable has settled yet is nobody's doing.
    links
        .iter_mut()
        .for_each(|link| link.flags &= !(libc::IFF_RUNNING as u32 | libc::IFF_LOWER_UP as u32));
    let all_routes = route::routes(&mut routes).unwrap();
    let addresses = route::addresses(&mut routes).unwrap();
    let rules = nft(node, "ruleset");
    let settings = node.run(|| {
        let all = [
            "ip_forward",
            "conf/all/forwarding",
            "conf/all/route_localnet",
            "conf/all/rp_filter",
            "conf/all/send_redirects",
            "conf/default/forwarding",
        ];
        all.map(|name| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap())
    });
    format!("{links:?} {all_routes:?} {addresses:?} {rules} {settings:?}")
}

#[test]
fn pods_reach_each_other_the_node_and_are_reached_with_true_sources() {
    let world = World::new();
    let (a, b) = (world.pod("a"), world.pod("b"));
    assert_eq!(a.at.address.to_string(), "10.244.0.2");
    assert_eq!(b.at.address.to_string(), "10.244.0.3");
    tcp_server(&b.ns, "b", 80);
    tcp_server(&world.node, "node", 81);
    tcp_server(&world.client, "client", 82);
    assert_eq!(tcp_ask(&a.ns, "10.244.0.3:80"), "b from 10.244.0.2");
    assert_eq!(tcp_ask(&a.ns, "127.0.0.1:80"), "ConnectionRefused", "loopback is up");
    assert_eq!(tcp_ask(&b.ns, "10.244.0.3:80"), "b from 10.244.0.3");
    assert_eq!(tcp_ask(&world.node, "10.244.0.3:80"), "b from 10.244.0.1");
    assert_eq!(tcp_ask(&a.ns, "10.244.0.1:81"), "node from 10.244.0.2");
    assert_eq!(tcp_ask(&a.ns, "192.168.77.1:81"), "node from 10.244.0.2");
    assert_eq!(tcp_ask(&a.ns, "192.168.77.2:82"), "client from 192.168.77.1", "masqueraded");
}

#[test]
fn a_pod_cannot_reach_the_nodes_loopback() {
    let world = World::new();
    let a = world.pod("a");
    let ear = world.node.run(|| UdpSocket::bind("0.0.0.0:81")).unwrap().unwrap();
    ear.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // A pod that is root in its own namespace sends 127.0.0.1 out to the node.
    let mut inside = Socket::open(&a.ns, Family::Route).unwrap();
    let link = route::link_by_name(&mut inside, "eth0").unwrap().unwrap().index;
    let setting = "/proc/sys/net/ipv4/conf/eth0/route_localnet";
    a.ns.run(|| fs::write(setting, "1")).unwrap().unwrap();
    let of_loopback = [libc::AF_INET as u8, 8, 0, 0, 1, 0, 0, 0];
    let mut no_own = Message::new(libc::RTM_DELADDR, 0, &of_loopback);
    no_own.put(libc::IFA_LOCAL, &[127, 0, 0, 1]);
    let to = "127.0.0.0/8".parse().unwrap();
    let sneak = route::Route { to, via: Some(a.at.gateway), ..route::Route::on(link) };
    inside.request(vec![no_own, route::add_route(&sneak)], "sneak").unwrap();
    let mut buffer = [0; 8];
    for (to, heard) in [("10.244.0.1:81", true), ("127.0.0.1:81", false)] {
        udp_client(&a.ns, to).send(b"?").unwrap();
        assert_eq!(ear.recv(&mut buffer).is_ok(), heard, "{to}");
    }
}

#[test]
fn host_ports_answer_everywhere_and_are_freed() {
    let mut world = World::new();
    let port = |host_port, host_ip| HostPort {
        protocol: Protocol::Tcp,
        host_ip,
        host_port,
        container_port: 80,
    };
    let (any, one) = (port(8080, None), port(8081, Some("192.168.77.1".parse().unwrap())));
    let a = world.pod_with("a", &[any, one]);
    tcp_server(&a.ns, "a", 80);
    assert_eq!(tcp_ask(&world.client, "192.168.77.1:8080"), "a from 192.168.77.2");
    assert_eq!(tcp_ask(&world.client, "192.168.77.1:8081"), "a from 192.168.77.2");
    assert_eq!(tcp_ask(&world.node, "192.168.77.1:8080"), "a from 192.168.77.1");
    let local = tcp_ask(&world.node, "127.0.0.1:8080");
    assert!(local.starts_with("a from ") && !local.contains("127."), "{local}");
    assert_eq!(tcp_ask(&world.node, "127.0.0.1:8081"), "ConnectionRefused");
    let itself = tcp_ask(&a.ns, "192.168.77.1:8080");
    assert!(itself.starts_with("a from ") && !itself.contains("10.244.0.2"), "{itself}");

    let ns = NetNs::create().unwrap();
    let only = [one];
    let wish = |host_ports| Attach { id: "b", namespace: &ns, address: None, host_ports };
    let taken = world.network.attach(&wish(&only)).unwrap_err();
    assert_eq!(
        taken.to_string(),
        "host port 8081/tcp is already taken by another pod of this node"
    );

    world.network = reopen(world.network, &world.node);
    assert_eq!(world.network.attachments(), [a.at]);
    assert_eq!(tcp_ask(&world.client, "192.168.77.1:8080"), "a from 192.168.77.2");
    world.network.detach("a").unwrap();
    world.network.attach(&wish(&only)).unwrap();
    assert_eq!(tcp_ask(&world.client, "192.168.77.1:8080"), "ConnectionRefused");
}

fn reopen(network: PodNetwork, node: &NetNs) -> PodNetwork {
    drop(network);
    PodNetwork::open(pod_config(node)).unwrap()
}

#[test]
fn a_udp_flow_follows_its_host_port() {
    let world = World::new();
    let port =
        [HostPort { protocol: Protocol::Udp, host_ip: None, host_port: 5353, container_port: 53 }];
    let client = udp_client(&world.client, "192.168.77.1:5353");
    assert_eq!(udp_ask(&client), "ConnectionRefused", "and the flow is tracked");
    for name in ["a", "b"] {
        let pod = world.pod_with(name, &port);
        udp_server(&pod.ns, name, 53);
        assert_eq!(udp_ask(&client), format!("{name} from 192.168.77.2"));
        world.network.detach(name).unwrap();
    }
    assert_eq!(udp_ask(&client), "ConnectionRefused");
}

#[test]
fn a_restart_finds_pods_and_removes_what_is_half_made() {
    let mut world = World::new();
    let (a, b) = (world.pod("a"), world.pod("b"));
    world.network.detach("a").unwrap();
    let half = route::End { name: "half", mac: None };
    let other = NetNs::create().unwrap();
    let mut socket = Socket::open(&world.node, Family::Route).unwrap();
    let message = route::add_veth(&half, &half, &other, 1500, group("skiff0"));
    socket.request(vec![message], "half-made").unwrap();
    world.network = reopen(world.network, &world.node);
    assert_eq!(world.network.attachments(), std::slice::from_ref(&b.at));
    world.network.settle().unwrap();
    let links = route::links(&mut socket).unwrap();
    assert!(links.iter().all(|l| l.name != "half" && l.index != a.at.link), "{links:?}");
    tcp_server(&b.ns, "b", 80);
    assert_eq!(tcp_ask(&world.node, "10.244.0.3:80"), "b from 10.244.0.1");
}

#[test]
fn refusals_leave_nothing() {
    let world = World::new();
    let before = traces(&world.node);
    let ns = NetNs::create().unwrap();
    let mut wish = Attach { id: "a b", namespace: &ns, address: None, host_ports: &[] };
    assert!(matches!(world.network.attach(&wish), Err(Error::BadId(_))));
    wish = Attach { id: "a", address: Some("10.0.0.1".parse().unwrap()), ..wish };
    assert!(matches!(world.network.attach(&wish), Err(Error::AddressOutside(..))));
    let mut inside = Socket::open(&ns, Family::Route).unwrap();
    inside.request(vec![route::add_bridge("eth0", 1500, 0)], "in the way").unwrap();
    wish.address = None;
    let error = world.network.attach(&wish).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EEXIST), "{error}");
    world.network.settle().unwrap();
    assert_eq!(traces(&world.node), before);
    let all = world.network.attachments();
    assert!(all.is_empty(), "{all:?}");
    world.pod("a");
}

#[test]
fn teardown_leaves_no_trace() {
    let (node, client) = machines();
    node.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "0")).unwrap().unwrap();
    let before = traces(&node);
    let network = PodNetwork::open(pod_config(&node)).unwrap();
    let table = ServiceTable::open(table_config(&node)).unwrap();
    let world = World { node, client, network, table };
    let (_a, b) = (world.pod("a"), world.pod("b"));
    tcp_server(&b.ns, "b", 80);
    tcp_ask(&world.node, "10.244.0.3:80");
    world.network.detach("b").unwrap();
    let network = reopen(world.network, &world.node);
    network.teardown().unwrap();
    assert_eq!(traces(&world.node), before);
}

#[test]
fn the_node_has_an_address_with_and_without_a_default_route() {
    let (node, _client) = machines();
    assert_eq!(node_address(&node).unwrap().to_string(), "192.168.77.1");
    let alone = NetNs::create().unwrap();
    assert!(matches!(node_address(&alone), Err(Error::NoNodeAddress)));
    let network = PodNetwork::open(pod_config(&alone)).unwrap();
    assert_eq!(node_address(&alone).unwrap(), network.gateway());
}

#[test]
fn a_hundred_pods_come_and_go() {
    let world = World::new();
    let mut times = Vec::new();
    let mut pods = Vec::new();
    for i in 0..100 {
        let ns = NetNs::create().unwrap();
        let id = format!("pod-{i}");
        let begin = Instant::now();
        let wish = Attach { id: &id, namespace: &ns, address: None, host_ports: &[] };
        let at = world.network.attach(&wish).unwrap();
        times.push(begin.elapsed());
        pods.push(Pod { ns, at });
    }
    times.sort();
    let begin = Instant::now();
    pods.iter().for_each(|pod| world.network.detach(&pod.at.id).unwrap());
    let detached = begin.elapsed();
    let begin = Instant::now();
    world.network.settle().unwrap();
    println!(
        "attach p50 {:?} p90 {:?} max {:?}; 100 detaches {detached:?}, gone after {:?}",
        times[50],
        times[90],
        times[99],
        begin.elapsed()
    );
    let mut socket = Socket::open(&world.node, Family::Route).unwrap();
    assert_eq!(route::links(&mut socket).unwrap().len(), 3, "loopback, cable, skiff0");
}
