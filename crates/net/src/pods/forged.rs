//! Pods that lie about who they are, against the kernel: root in a pod may do as it likes with its
//! own end of the cable.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::netlink::message::Message;
use crate::netlink::route;
use crate::netlink::socket::{Family, Socket};
use crate::testkit::*;
use crate::*;

/// A node's ears: what is heard there within a moment.
fn ear(ns: &NetNs) -> UdpSocket {
    let ear = ns.run(|| UdpSocket::bind("0.0.0.0:81")).unwrap().unwrap();
    ear.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    ear
}

/// Who was heard. A new link loses packets until the kernel has seen its cable, so what shall be
/// heard is said until it is.
fn heard(ear: &UdpSocket, mut say: impl FnMut(), tries: usize) -> Option<String> {
    let mut buffer = [0; 8];
    (0..tries).find_map(|_| {
        say();
        ear.recv_from(&mut buffer).ok().map(|(_, from)| from.ip().to_string())
    })
}

fn eth0(pod: &Pod) -> (Socket, u32) {
    let mut inside = Socket::open(&pod.ns, Family::Route).unwrap();
    let link = route::link_by_name(&mut inside, "eth0").unwrap().unwrap().index;
    (inside, link)
}

#[test]
fn a_pod_sends_from_its_own_address_alone() {
    let world = World::new();
    let (a, b) = (world.pod("a"), world.pod("b"));
    let (of_node, of_b) = (ear(&world.node), ear(&b.ns));
    let (mut inside, link) = eth0(&a);
    let setting = "/proc/sys/net/ipv4/conf/eth0/route_localnet";
    a.ns.run(|| fs::write(setting, "1")).unwrap().unwrap();
    let say = |from: &str, to: &str| {
        let (from, to) = ((from.parse::<IpAddr>().unwrap(), 0), to.parse::<SocketAddr>().unwrap());
        let socket = a.ns.run(|| UdpSocket::bind(from)).unwrap().unwrap();
        socket.send_to(b"?", to).unwrap();
    };
    let (node, pod) = ("192.168.77.1:81", "10.244.0.3:81");
    let own = "10.244.0.2";
    assert_eq!(heard(&of_node, || say(own, node), 20).as_deref(), Some(own));
    assert_eq!(heard(&of_b, || say(own, pod), 20).as_deref(), Some(own));
    // Another pod's, the node's as pods see it, one outside that the node knows a way to, one that
    // nobody has, one of loopback that is nobody's own.
    for forged in ["10.244.0.3", "10.244.0.1", CLIENT, "10.244.0.99", "127.0.0.5"] {
        inside.request(vec![route::add_address(link, forged.parse().unwrap(), 32)], "lie").unwrap();
        assert_eq!(heard(&of_node, || say(forged, node), 2), None, "{forged} to the node");
        if forged != "10.244.0.3" {
            assert_eq!(heard(&of_b, || say(forged, pod), 2), None, "{forged} to a pod");
        }
    }
    assert_eq!(heard(&of_node, || say(own, node), 2).as_deref(), Some(own));
}

#[test]
fn a_link_that_waits_for_its_end_carries_no_lies() {
    let world = World::new();
    let a = world.pod("a");
    let of_node = ear(&world.node);
    let (mut inside, link) = eth0(&a);
    let say = || {
        let socket = a.ns.run(|| UdpSocket::bind("10.244.0.99:0")).unwrap().unwrap();
        socket.send_to(b"?", "192.168.77.1:81").unwrap();
    };
    inside.request(vec![route::add_address(link, [10, 244, 0, 99].into(), 32)], "lie").unwrap();
    assert_eq!(heard(&of_node, say, 2), None);
    let mut here = Socket::open(&world.node, Family::Route).unwrap();
    let doomed = super::doomed_group("skiff0");
    here.request(vec![route::set_group(a.at.link, doomed)], "doom").unwrap();
    assert_eq!(heard(&of_node, say, 2), None);
}

#[test]
fn a_pods_cable_carries_neither_arp_nor_ipv6() {
    let world = World::new();
    let a = world.pod("a");
    let of_node = ear(&world.node);
    let say = || {
        let socket = a.ns.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
        // Without a neighbour the kernel may say so at once.
        socket.send_to(b"?", "10.244.0.1:81").ok();
    };
    assert!(heard(&of_node, say, 20).is_some());
    let (mut inside, link) = eth0(&a);
    let mut fixed = [0; 12];
    fixed[0] = libc::AF_INET as u8;
    fixed[4..8].copy_from_slice(&link.to_ne_bytes());
    let mut forget = Message::new(libc::RTM_DELNEIGH, 0, &fixed);
    forget.put_address(libc::NDA_DST, a.at.gateway);
    inside.request(vec![forget], "forget the node").unwrap();
    assert_eq!(heard(&of_node, say, 3), None, "whoever asks by ARP gets no answer");
    let addresses = || fs::read_to_string("/proc/thread-self/net/if_inet6");
    let six = world.node.run(addresses).unwrap().unwrap_or_default();
    assert!(!six.contains(" pod"), "no address on a pod's cable: {six}");
}

/// From here on 127.0.0.0/8 is elsewhere.
fn sneak(ns: &NetNs, link: &str, via: &str) {
    let setting = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
    ns.run(|| fs::write(setting, "1")).unwrap().unwrap();
    let mut there = Socket::open(ns, Family::Route).unwrap();
    let link = route::link_by_name(&mut there, link).unwrap().unwrap().index;
    let of_loopback = [libc::AF_INET as u8, 8, 0, 0, 1, 0, 0, 0];
    let mut no_own = Message::new(libc::RTM_DELADDR, 0, &of_loopback);
    no_own.put(libc::IFA_LOCAL, &Ipv4Addr::LOCALHOST.octets());
    let via = Some(via.parse().unwrap());
    let away = route::Route { to: "127.0.0.0/8".parse().unwrap(), via, ..route::Route::on(link) };
    there.request(vec![no_own, route::add_route(&away)], "sneak").unwrap();
}

/// A host port on 127.0.0.1 is for the machine; pods' cables carry that address for answers only.
#[test]
fn a_port_of_the_machine_alone_is_no_pods() {
    let world = World::new();
    let a = world.pod("a");
    let host_ip = Some(Ipv4Addr::LOCALHOST.into());
    let (protocol, host_port, container_port) = (Protocol::Udp, 5300, 81);
    let b = world.pod_with("b", &[HostPort { protocol, host_ip, host_port, container_port }]);
    let of_b = ear(&b.ns);
    sneak(&a.ns, "eth0", "10.244.0.1");
    let say = |ns: &NetNs| drop(udp_client(ns, "127.0.0.1:5300").send(b"?"));
    assert!(heard(&of_b, || say(&world.node), 20).is_some());
    assert_eq!(heard(&of_b, || say(&a.ns), 3), None);
}

/// What a neighbour of the machine sends to 127.0.0.1 is heard by nobody (CVE-2020-8558).
#[test]
fn a_neighbour_cannot_reach_the_nodes_loopback() {
    let world = World::new();
    world.pod("a");
    let of_node = ear(&world.node);
    sneak(&world.client, "up0", NODE);
    let say = |to: &str| drop(udp_client(&world.client, to).send(b"?"));
    assert_eq!(heard(&of_node, || say("192.168.77.1:81"), 20).as_deref(), Some(CLIENT));
    assert_eq!(heard(&of_node, || say("127.0.0.1:81"), 3), None);
}

#[test]
fn a_host_port_is_none_that_the_machine_listens_on() {
    let world = World::new();
    tcp_server(&world.node, "node", 6443);
    let ns = NetNs::create().unwrap();
    let port =
        |host_port, protocol| [HostPort { protocol, host_ip: None, host_port, container_port: 80 }];
    let wish = |host_ports| Attach { id: "a", namespace: &ns, address: None, host_ports };
    let taken = port(6443, Protocol::Tcp);
    assert!(world.network.attach(&wish(&taken)).is_err());
    assert_eq!(tcp_ask(&world.client, "192.168.77.1:6443"), "node from 192.168.77.2");
    world.network.attach(&wish(&port(6443, Protocol::Udp))).unwrap();
}
