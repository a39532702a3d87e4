//! The part of the service table that never changes: sets, maps, and the rules that read them.
//!
//! A new flow's packet is looked up by where it wants to go (address, protocol, port; a node port
//! is written with address 0.0.0.0). `ids` gives the number of a pool of endpoints, `classes` says
//! how many there are and whether clients stick, and `picks` leads to the chain for that, which
//! draws a slot and translates. A chain exists per distinct count and timeout, never per service,
//! so a change of a service is a change of data alone, which the kernel need not validate anew.
//!
//! Two answers depend on where the packet comes from. With an external policy of Local, packets
//! from outside the cluster find their pool in `outside`, so that they stay on this node and keep
//! their source; pods and the node itself may reach all. What came in from outside under a policy
//! of Cluster is marked here and masqueraded on its way out, or the answer would not come back.

use super::layout::Place;
use super::{LoopbackNodePorts, ServiceTableConfig};
use crate::Cidr;
use crate::nft::batch::{Batch, Hook, Work};
use crate::nft::expression::{
    Expression as E, Meta, Refusal, Register, STATE_NEW, STATUS_DESTINATION, Side, Track, When,
    destination, is_own, is_protocol, port, protocol, source, tracked, within,
};
use crate::nft::value::{DataType, Field, FieldType, Lifetime, Set, Verdict};
use std::net::Ipv4Addr;

/// The bit of a packet's mark that says "masquerade me"; the same that kube-proxy uses, so that
/// other programs of the node, which know to leave it alone, need not learn another.
const MARK: u32 = 0x4000;

/// Before other programs' translation (-100) nobody else looks at service addresses, so the usual
/// priorities do.
const TRANSLATE_DESTINATION: i32 = -100;
const TRANSLATE_SOURCE: i32 = 100;
const FILTER: i32 = 0;

/// Which address a packet's frontend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Address,
    NodePort,
}

/// Loads the frontend's key into this register and the next two.
pub(super) fn key(by: By, into: Register) -> [E; 3] {
    let address = match by {
        By::Address => destination(into),
        By::NodePort => E::Put { field: Field::Address(Ipv4Addr::UNSPECIFIED), into },
    };
    [address, protocol(into + 1), port(into + 2)]
}

/// The sets and maps, by place. `picks` chains bring maps of their own for sticky clients.
pub(super) fn set(place: Place) -> Set {
    use FieldType::{Address, Number, Port, Protocol};
    let frontend = vec![Address, Protocol, Port];
    let (key, data) = match place {
        Place::Ids | Place::Outside => (frontend, DataType::Row(vec![Number])),
        Place::Classes => (vec![Number], DataType::Row(vec![Number, Number, Number])),
        Place::Picks => (vec![Number, Number, Number], DataType::Verdict),
        Place::Slots => (vec![Number, Number], DataType::Row(vec![Address, Port])),
        Place::Live => (vec![Number, Address, Port], DataType::None),
        Place::Masquerade | Place::MasqueradeOwn => (frontend, DataType::None),
        Place::Refuse => (frontend, DataType::Verdict),
        Place::Addresses => (vec![Address], DataType::None),
        Place::Hairpin => (vec![Address, Address], DataType::None),
        Place::Timeouts => (vec![Number], DataType::None),
    };
    Set { name: place.name().to_string(), key, data, lifetime: Lifetime::Lasting }
}

/// Writes the frame into a batch whose table is empty.
pub(super) fn write(batch: &mut Batch, config: &ServiceTableConfig) {
    for place in Place::SETS {
        batch.set(set(place));
    }
    for name in ["own", "refusals", "refuse"] {
        batch.chain(name);
    }
    refusals(batch, config.services);
    own(batch, config.loopback_node_ports);
    incoming(batch, config);
    outgoing(batch);
    leaving(batch);
}

/// Looks a frontend up and goes to the chain that picks an endpoint.
fn dispatch(batch: &mut Batch, chain: &str, by: By, map: Place) {
    let mut rule = node_port_guard(by);
    rule.extend(key(by, 0));
    rule.extend([
        E::Map { map: map.name().to_string(), key: 0, into: 3 },
        E::Map { map: Place::Classes.name().to_string(), key: 3, into: 4 },
        E::VerdictMap { map: Place::Picks.name().to_string(), key: 4 },
    ]);
    batch.rule(chain, rule);
}

fn node_port_guard(by: By) -> Vec<E> {
    match by {
        By::Address => Vec::new(),
        By::NodePort => is_own(Side::Destination).to_vec(),
    }
}

/// For pods and the node itself.
fn own(batch: &mut Batch, loopback: LoopbackNodePorts) {
    dispatch(batch, "own", By::Address, Place::Ids);
    if loopback == LoopbackNodePorts::Ignore {
        let loopback = Cidr::new(Ipv4Addr::LOCALHOST, 8).expect("8 is a valid prefix");
        let mut rule = within(Side::Destination, loopback, When::Equal);
        rule.push(E::End(Verdict::Return));
        batch.rule("own", rule);
    }
    dispatch(batch, "own", By::NodePort, Place::Ids);
}

/// Marks a packet to be masqueraded if its frontend is in the set.
fn mark(batch: &mut Batch, chain: &str, by: By, set: Place) {
    let mut rule = node_port_guard(by);
    rule.extend(key(by, 0));
    rule.push(E::Contains { set: set.name().to_string(), key: 0, when: When::Equal });
    rule.extend(set_mark());
    batch.rule(chain, rule);
}

fn set_mark() -> [E; 3] {
    [
        E::LoadMeta { meta: Meta::Mark, into: 0 },
        E::Bits { register: 0, mask: (!MARK).to_ne_bytes(), xor: MARK.to_ne_bytes() },
        E::SetMark { from: 0 },
    ]
}

fn incoming(batch: &mut Batch, config: &ServiceTableConfig) {
    const CHAIN: &str = "incoming";
    batch.base_chain(CHAIN, Work::Nat, Hook::Prerouting, TRANSLATE_DESTINATION);
    mark(batch, CHAIN, By::Address, Place::Masquerade);
    mark(batch, CHAIN, By::NodePort, Place::Masquerade);
    let mut from_pods = within(Side::Source, config.cluster, When::Equal);
    from_pods.push(E::End(Verdict::Goto("own".to_string())));
    batch.rule(CHAIN, from_pods);
    // A stranger who is routed to a cluster address: the answer has to come back through here.
    let addresses = Place::Addresses.name().to_string();
    let stranger = [destination(0), E::Contains { set: addresses, key: 0, when: When::Equal }];
    batch.rule(CHAIN, stranger.into_iter().chain(set_mark()));
    dispatch(batch, CHAIN, By::Address, Place::Outside);
    dispatch(batch, CHAIN, By::NodePort, Place::Outside);
    batch.rule(CHAIN, [E::End(Verdict::Goto("own".to_string()))]);
}

fn outgoing(batch: &mut Batch) {
    const CHAIN: &str = "outgoing";
    batch.base_chain(CHAIN, Work::Nat, Hook::Output, TRANSLATE_DESTINATION);
    for set in [Place::Masquerade, Place::MasqueradeOwn] {
        mark(batch, CHAIN, By::Address, set);
        mark(batch, CHAIN, By::NodePort, set);
    }
    batch.rule(CHAIN, [E::End(Verdict::Goto("own".to_string()))]);
}

/// Masquerades what was marked, and a pod's connection that came back to the pod itself.
fn leaving(batch: &mut Batch) {
    const CHAIN: &str = "leaving";
    batch.base_chain(CHAIN, Work::Nat, Hook::Postrouting, TRANSLATE_SOURCE);
    let bits = MARK.to_ne_bytes();
    batch.rule(
        CHAIN,
        [
            E::LoadMeta { meta: Meta::Mark, into: 0 },
            E::Bits { register: 0, mask: bits, xor: [0; 4] },
            E::Compare { register: 0, when: When::Equal, with: bits, length: 4 },
            E::LoadMeta { meta: Meta::Mark, into: 0 },
            E::Bits { register: 0, mask: (!MARK).to_ne_bytes(), xor: [0; 4] },
            E::SetMark { from: 0 },
            E::Masquerade,
        ],
    );
    let hairpin = [
        source(0),
        destination(1),
        E::Contains { set: Place::Hairpin.name().to_string(), key: 0, when: When::Equal },
        E::Masquerade,
    ];
    batch.rule(CHAIN, tracked(Track::Status, STATUS_DESTINATION).into_iter().chain(hairpin));
}

/// Refuses what has no endpoint, on all three ways a packet can take. A translated packet carries
/// its endpoint's address here and matches nothing.
fn refusals(batch: &mut Batch, services: Cidr) {
    let refuse = || E::End(Verdict::Goto("refuse".to_string()));
    for by in [By::Address, By::NodePort] {
        let mut rule = node_port_guard(by);
        rule.extend(key(by, 0));
        rule.push(E::VerdictMap { map: Place::Refuse.name().to_string(), key: 0 });
        batch.rule("refusals", rule);
    }
    let addresses = Place::Addresses.name().to_string();
    batch.rule(
        "refusals",
        [destination(0), E::Contains { set: addresses, key: 0, when: When::Equal }, refuse()],
    );
    let mut nobody = within(Side::Destination, services, When::Equal);
    nobody.push(E::End(Verdict::Drop));
    batch.rule("refusals", nobody);
    let tcp = is_protocol(libc::IPPROTO_TCP as u8);
    batch.rule("refuse", tcp.into_iter().chain([E::Refuse(Refusal::TcpReset)]));
    batch.rule("refuse", [E::Refuse(Refusal::PortUnreachable)]);
    for (name, hook) in [
        ("refuse-input", Hook::Input),
        ("refuse-forward", Hook::Forward),
        ("refuse-output", Hook::Output),
    ] {
        batch.base_chain(name, Work::Filter, hook, FILTER);
        let jump = E::End(Verdict::Jump("refusals".to_string()));
        batch.rule(name, tracked(Track::State, STATE_NEW).into_iter().chain([jump]));
    }
}
