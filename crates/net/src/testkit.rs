//! For tests: a node, pods and a client outside, each in a namespace of its own, and the smallest
//! servers and clients that tell who talked to whom.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::netlink::route::{self, End};
use crate::netlink::socket::{Family, Socket};
use crate::*;

/// Longer than any answer takes on a busy machine; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// For what shall not answer.
const SILENCE: Duration = Duration::from_millis(300);

pub(crate) const NODE: &str = "192.168.77.1";
pub(crate) const CLIENT: &str = "192.168.77.2";

pub(crate) struct World {
    pub node: NetNs,
    pub client: NetNs,
    pub network: PodNetwork,
    pub table: ServiceTable,
}

pub(crate) struct Pod {
    pub ns: NetNs,
    pub at: Attachment,
}

pub(crate) fn pod_config(node: &NetNs) -> PodNetworkConfig {
    PodNetworkConfig {
        namespace: node.clone(),
        link: "skiff0".to_string(),
        pods: "10.244.0.0/24".parse().unwrap(),
        cluster: vec!["10.244.0.0/16".parse().unwrap()],
        services: vec!["10.96.0.0/12".parse().unwrap()],
        mtu: None,
    }
}

pub(crate) fn table_config(node: &NetNs) -> ServiceTableConfig {
    ServiceTableConfig {
        namespace: node.clone(),
        table: "skiff-services".to_string(),
        cluster: vec!["10.244.0.0/16".parse().unwrap()],
        services: vec!["10.96.0.0/12".parse().unwrap()],
        loopback_node_ports: LoopbackNodePorts::Answer,
    }
}

/// A node with one cable to a client, and no default route.
pub(crate) fn machines() -> (NetNs, NetNs) {
    let (node, client) = (NetNs::create().unwrap(), NetNs::create().unwrap());
    let mut here = Socket::open(&node, Family::Route).unwrap();
    let mut there = Socket::open(&client, Family::Route).unwrap();
    let ends = [End { name: "up0", mac: None }, End { name: "up0", mac: None }];
    here.request(vec![route::add_veth(&ends[0], &ends[1], &client, 1500, 0)], "cable").unwrap();
    for (socket, address) in [(&mut here, NODE), (&mut there, CLIENT)] {
        let link = route::link_by_name(socket, "up0").unwrap().unwrap().index;
        let set_up = vec![
            route::set_up(1),
            route::set_up(link),
            route::add_address(link, address.parse().unwrap(), 24),
        ];
        socket.request(set_up, "address").unwrap();
    }
    (node, client)
}

impl World {
    pub(crate) fn new() -> World {
        let (node, client) = machines();
        let network = PodNetwork::open(pod_config(&node)).unwrap();
        let table = ServiceTable::open(table_config(&node)).unwrap();
        World { node, client, network, table }
    }

    pub(crate) fn pod(&self, id: &str) -> Pod {
        self.pod_with(id, &[])
    }

    pub(crate) fn pod_with(&self, id: &str, host_ports: &[HostPort]) -> Pod {
        let ns = NetNs::create().unwrap();
        let wish = Attach { id, namespace: &ns, address: None, host_ports };
        let at = self.network.attach(&wish).unwrap();
        Pod { ns, at }
    }
}

/// What `nft list` prints.
pub(crate) fn nft(ns: &NetNs, what: &str) -> String {
    let listed = ns.run(|| Command::new("nft").args(["list", what]).output());
    let listed = listed.unwrap().expect("nft is installed (tests/kit/install)");
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8(listed.stdout).unwrap()
}

/// Does what somebody else on the machine does with `nft`.
pub(crate) fn nft_does(ns: &NetNs, what: &str) {
    let done = ns.run(|| Command::new("nft").arg(what).output()).unwrap().unwrap();
    assert!(done.status.success(), "{what}: {done:?}");
}

/// Answers each connection with the server's name and the address it came from.
pub(crate) fn tcp_server(ns: &NetNs, name: &str, port: u16) {
    let listener = ns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap();
    let name = name.to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let from = stream.peer_addr().unwrap().ip();
            write!(stream, "{name} from {from}").unwrap();
        }
    });
}

pub(crate) fn tcp_ask(ns: &NetNs, to: &str) -> String {
    tcp_ask_for(ns, to, PATIENCE)
}

/// For connections that shall find nobody.
pub(crate) fn tcp_silence(ns: &NetNs, to: &str) -> String {
    tcp_ask_for(ns, to, SILENCE)
}

fn tcp_ask_for(ns: &NetNs, to: &str, patience: Duration) -> String {
    let to: SocketAddr = to.parse().unwrap();
    let answer = ns.run(|| -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    answer.unwrap().unwrap_or_else(|error| format!("{:?}", error.kind()))
}

/// Answers each packet with the server's name and the address it came from.
pub(crate) fn udp_server(ns: &NetNs, name: &str, port: u16) {
    let socket = ns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap();
    let name = name.to_string();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(format!("{name} from {}", from.ip()).as_bytes(), from).unwrap();
        }
    });
}

/// A client that keeps its port, so that all its packets are one flow.
pub(crate) fn udp_client(ns: &NetNs, to: &str) -> UdpSocket {
    let to: SocketAddr = to.parse().unwrap();
    let socket = ns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap().unwrap();
    socket.connect(to).unwrap();
    socket
}

/// Asks again when nothing comes: a new link loses packets until the kernel has seen its cable.
pub(crate) fn udp_ask(socket: &UdpSocket) -> String {
    let mut buffer = [0; 64];
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let begin = Instant::now();
    loop {
        match socket.send(b"?").and_then(|_| socket.recv(&mut buffer)) {
            Ok(length) => return String::from_utf8_lossy(&buffer[..length]).into_owned(),
            Err(e) if e.kind() == ErrorKind::WouldBlock && begin.elapsed() < PATIENCE => {}
            Err(error) => return format!("{:?}", error.kind()),
        }
    }
}
