//! Services that ask for what is somebody else's, with true packets.

use std::net::TcpListener;

use super::tests::services;
use crate::Protocol;
use crate::netlink::route;
use crate::netlink::socket::{Family, Socket};
use crate::testkit::*;

/// `a` and `b` answer on 80 and 53; the first is the DNS's and the owner's, the other the thief's.
fn world(table: &str) -> (World, Pod) {
    let mut world = World::new();
    for name in ["a", "b"] {
        let pod = world.pod(name);
        tcp_server(&pod.ns, name, 80);
        udp_server(&pod.ns, name, 53);
    }
    let c = world.pod("c");
    tcp_server(&world.node, "node", 22);
    world.table.change(&services(table)).unwrap();
    (world, c)
}

/// Whatever names come first.
#[test]
fn addresses_of_pods_and_services_are_their_owners() {
    for thief in ["aaa", "zzz"] {
        let (world, c) = world(&format!(
            "dns udp 10.96.0.10:53 -> 10.244.0.2:53*
             {thief}:dns udp 10.96.0.20:53 out 10.96.0.10 -> 10.244.0.3:53*
             {thief}:pod tcp 10.96.0.20:80 out 10.244.0.2 out 10.96.0.10 external -> 10.244.0.3:80*
             {thief}:gone tcp 10.96.0.20:81 out 10.244.0.2 out 10.244.0.1"
        ));
        assert_eq!(udp_ask(&udp_client(&c.ns, "10.96.0.10:53")), "a from 10.244.0.4", "{thief}");
        assert_eq!(udp_ask(&udp_client(&world.node, "10.96.0.10:53")), "a from 10.244.0.1");
        for ns in [&c.ns, &world.node] {
            assert!(tcp_ask(ns, "10.244.0.2:80").starts_with("a from "), "{thief}");
            assert_eq!(tcp_ask(ns, "10.96.0.10:80"), "ConnectionRefused", "no port of the DNS's");
        }
        assert_eq!(udp_ask(&udp_client(&c.ns, "10.96.0.20:53")), "b from 10.244.0.4", "its own");
    }
}

#[test]
fn what_the_machine_listens_on_stays_the_machines() {
    let (mut world, c) = world(
        "ssh tcp 10.96.0.20:22 node 30080 out 192.168.77.1 -> 10.244.0.3:80*
         web tcp 10.96.0.21:80 out 192.168.77.1 out 203.0.113.7 -> 10.244.0.3:80*",
    );
    let check = |world: &World, what: &str| {
        for (ns, to) in [
            (&world.client, "192.168.77.1:22"),
            (&c.ns, "192.168.77.1:22"),
            (&world.node, "192.168.77.1:22"),
        ] {
            let answer = tcp_ask(ns, to);
            assert!(answer.starts_with("node from "), "{what}: {to}: {answer}");
        }
    };
    check(&world, "external address");
    assert!(tcp_ask(&world.client, "192.168.77.1:80").starts_with("b from "), "a free port is not");
    assert!(tcp_ask(&c.ns, "203.0.113.7:80").starts_with("b from "), "an address that is nobody's");
    assert!(tcp_ask(&world.client, "192.168.77.1:30080").starts_with("b from "));
    for (what, thief) in [
        ("a node port", "ssh tcp 10.96.0.20:80 node 22 -> 10.244.0.3:80*"),
        ("without endpoints", "ssh tcp 10.96.0.20:22 out 192.168.77.1"),
        ("every address", "ssh tcp 10.96.0.20:22 out 0.0.0.0 -> 10.244.0.3:80*"),
        ("local", "ssh tcp 10.96.0.20:22 external out 192.168.77.1 -> 10.244.0.3:80*"),
        ("to where it listens", "ssh tcp 10.96.0.20:22 out 192.168.77.1 -> 127.0.0.1:80*"),
    ] {
        world.table.change(&services(thief)).unwrap();
        check(&world, what);
    }
}

#[test]
fn nobody_is_sent_to_loopback_or_takes_it() {
    let (world, c) = world(
        "a tcp 10.96.0.20:80 -> 127.0.0.1:22*
         b tcp 10.96.0.21:80 out 127.0.0.1 out 169.254.169.254 out 224.0.0.1 -> 10.244.0.3:80*",
    );
    for ns in [&c.ns, &world.node] {
        assert_eq!(tcp_ask(ns, "10.96.0.20:80"), "ConnectionRefused");
    }
    assert_eq!(tcp_ask(&world.node, "127.0.0.1:80"), "ConnectionRefused");
    let clouds = tcp_silence(&c.ns, "169.254.169.254:80");
    assert!(!clouds.contains(" from "), "{clouds}");
}

/// The address comes later, or the program is away for a moment: the port is the machine's.
#[test]
fn what_was_the_machines_once_stays_so() {
    let (mut world, _c) = world("ssh tcp 10.96.0.20:22 out 192.168.77.50 -> 10.244.0.3:80*");
    let mut here = Socket::open(&world.node, Family::Route).unwrap();
    let link = route::link_by_name(&mut here, "up0").unwrap().unwrap().index;
    let later = "192.168.77.50".parse().unwrap();
    here.request(vec![route::add_address(link, later, 32)], "another address").unwrap();
    assert_eq!(tcp_ask(&world.client, "192.168.77.50:22"), "node from 192.168.77.2");

    let listen = || world.node.run(|| TcpListener::bind("192.168.77.1:23")).unwrap().unwrap();
    let thief = "telnet tcp 10.96.0.21:23 out 192.168.77.1 -> 10.244.0.3:80*";
    let first = listen();
    world.table.change(&services("x tcp 10.96.0.22:80 node 30080")).unwrap();
    drop(first);
    world.table.change(&services(thief)).unwrap();
    world.table.restore().unwrap();
    assert_eq!(tcp_ask(&world.client, "192.168.77.1:23"), "ConnectionRefused", "nobody's");
    let again = listen();
    let asks = std::thread::spawn({
        let client = world.client.clone();
        move || tcp_ask(&client, "192.168.77.1:23")
    });
    assert_eq!(again.accept().unwrap().1.ip().to_string(), CLIENT);
    asks.join().unwrap();
}

/// A pod's host port is one of the node's addresses, never another's (CVE-2019-9946).
#[test]
fn a_host_port_takes_nothing_from_a_service() {
    let (world, c) = world("web tcp 10.96.0.10:8080 node 30080 out 203.0.113.7 -> 10.244.0.2:80*");
    let port = |host_port| {
        let (protocol, host_ip) = (Protocol::Tcp, None);
        crate::HostPort { protocol, host_ip, host_port, container_port: 80 }
    };
    let thief = world.pod_with("thief", &[port(8080), port(30080)]);
    tcp_server(&thief.ns, "thief", 80);
    for to in ["10.96.0.10:8080", "203.0.113.7:8080", "192.168.77.1:30080"] {
        let answer = tcp_ask(&c.ns, to);
        assert!(answer.starts_with("a from "), "{to}: {answer}");
    }
    assert!(tcp_ask(&world.client, "192.168.77.1:8080").starts_with("thief from "));
}
