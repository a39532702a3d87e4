//! The part of the service table that never changes: sets, maps, and the rules that read them.
//!
//! A new flow's packet is looked up by where it wants to go (address, protocol, port; a node port
//! is written with address 0.0.0.0). `frontends` gives the number of a pool of endpoints and that
//! of a class, which is how many there are and how long clients stick; `picks` leads to the chain
//! of the class, which draws a slot and translates. A chain exists per class, never per service, so
//! a change of a service is a change of data alone, which the kernel need not validate anew.
//!
//! The two numbers stand in the packet's priority from one lookup to the next. The kernel would
//! look up what it found in another map directly, but the language of `nft` cannot say that, and
//! `nft list ruleset` aborts on it (1.0.6, 1.1.6). The priority is for queues behind the rules: the
//! kernel gives a packet that is passed on a new one (`ip_forward`), and from what the node itself
//! sends it is taken away in the end.
//!
//! Two answers depend on where the packet comes from. With an external policy of Local, packets
//! from outside the cluster find their pool in `outside`, so that they stay on this node and keep
//! their source; pods and the node itself may reach all. What came in from outside under a policy
//! of Cluster is marked here and masqueraded on its way out, or the answer would not come back.
//!
//! What the machine itself listens on (`machine`) is passed by before anything is looked up: no
//! service takes it, whatever address of the node it names.

use super::layout::Place;
use super::machine;
use super::{LoopbackNodePorts, ServiceTableConfig};
use crate::nft::batch::{Batch, Hook, Work};
use crate::nft::expression::{
    Expression as E, Meta, Refusal, Register, STATE_NEW, STATUS_DESTINATION, Side, Track, When,
    destination, is_own, is_protocol, no_address, port, protocol, source, tracked, within,
};
use crate::nft::value::{DataType, Field, FieldType, Lifetime, Set, Verdict};
use skiff_base::Cidr;
use std::net::Ipv4Addr;

/// The bit of a packet's mark that says "masquerade me"; the same that kube-proxy uses, so that
/// other programs of the node, which know to leave it alone, need not learn another.
const MARK: u32 = 0x4000;

/// The bits of a packet's priority with the pool's number, and those with the class's.
const POOL: [u8; 4] = 0xffff_0000_u32.to_ne_bytes();
const CLASS: [u8; 4] = 0xffff_u32.to_ne_bytes();

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

/// Loads the frontend's key into the first three registers, for a node port if that is what the
/// packet can be for.
fn key(by: By) -> Vec<E> {
    let mut rule = match by {
        By::Address => vec![destination(0)],
        By::NodePort => is_own(Side::Destination).into_iter().chain(no_address()).collect(),
    };
    rule.extend([protocol(1), port(2)]);
    rule
}

/// Goes on with what the place's map holds under the key in the register.
pub(super) fn look_up(place: Place, key: Register, into: Register) -> E {
    E::Map { map: place.name().to_string(), key, into }
}

/// Loads the pool's number from the packet's priority.
pub(super) fn load_pool(into: Register) -> [E; 2] {
    let load = E::LoadMeta { meta: Meta::Priority, into };
    [load, E::Bits { register: into, mask: POOL.to_vec(), xor: vec![0; 4] }]
}

/// The sets and maps, by place. `picks` chains bring maps of their own for sticky clients.
pub(super) fn set(place: Place) -> Set {
    use FieldType::{Address, Number, Pair, Port, Protocol};
    let frontend = vec![Address, Protocol, Port];
    let (key, data) = match place {
        Place::Frontends | Place::Outside => (frontend, DataType::Row(vec![Pair])),
        Place::Picks => (vec![Pair], DataType::Verdict),
        Place::Slots => (vec![Pair, Number], DataType::Row(vec![Address, Port])),
        Place::StickySlots => (vec![Pair, Number], DataType::Row(vec![Pair])),
        Place::Endpoints => (vec![Pair], DataType::Row(vec![Address, Port])),
        Place::Masquerade | Place::MasqueradeOwn => (frontend, DataType::None),
        Place::Refuse => (frontend, DataType::Verdict),
        Place::Addresses => (vec![Address], DataType::None),
        Place::Hairpin => (vec![Address, Address], DataType::None),
        Place::Timeouts | Place::Classes | Place::Owners => (Vec::new(), DataType::None),
    };
    Set { name: place.name().to_string(), key, data, lifetime: Lifetime::Lasting }
}

/// Writes the frame into a batch whose table is empty.
pub(super) fn write(batch: &mut Batch, config: &ServiceTableConfig) {
    for place in Place::SETS {
        batch.set(set(place));
    }
    batch.set(machine::set());
    for name in ["own", "refusals", "refuse"] {
        batch.chain(name);
    }
    refusals(batch, &config.services);
    own(batch, config.loopback_node_ports);
    incoming(batch, config);
    outgoing(batch);
    leaving(batch);
}

/// Looks a frontend up and goes to the chain that picks an endpoint.
fn dispatch(batch: &mut Batch, chain: &str, by: By, map: Place) {
    let mut rule = key(by);
    rule.extend([
        look_up(map, 0, 3),
        E::SetMeta { meta: Meta::Priority, from: 3 },
        E::LoadMeta { meta: Meta::Priority, into: 0 },
        E::Bits { register: 0, mask: CLASS.to_vec(), xor: vec![0; 4] },
        E::VerdictMap { map: Place::Picks.name().to_string(), key: 0 },
    ]);
    batch.rule(chain, rule);
}

/// For pods and the node itself.
fn own(batch: &mut Batch, loopback: LoopbackNodePorts) {
    dispatch(batch, "own", By::Address, Place::Frontends);
    if loopback == LoopbackNodePorts::Ignore {
        let loopback = Cidr::new(Ipv4Addr::LOCALHOST, 8).expect("8 is a valid prefix");
        let mut rule = within(Side::Destination, loopback, When::Equal);
        rule.push(E::End(Verdict::Return));
        batch.rule("own", rule);
    }
    dispatch(batch, "own", By::NodePort, Place::Frontends);
}

/// Marks a packet to be masqueraded if its frontend is in the set.
fn mark(batch: &mut Batch, chain: &str, by: By, set: Place) {
    let mut rule = key(by);
    rule.push(E::Contains { set: set.name().to_string(), key: 0, when: When::Equal });
    rule.extend(set_mark());
    batch.rule(chain, rule);
}

fn set_mark() -> [E; 3] {
    [
        E::LoadMeta { meta: Meta::Mark, into: 0 },
        E::Bits {
            register: 0,
            mask: (!MARK).to_ne_bytes().to_vec(),
            xor: MARK.to_ne_bytes().to_vec(),
        },
        E::SetMeta { meta: Meta::Mark, from: 0 },
    ]
}

/// Leaves alone what goes to the node itself, to a port that the machine listens on at this address
/// or at every one.
fn spare(batch: &mut Batch, chain: &str) {
    for by in [By::Address, By::NodePort] {
        let mut rule = is_own(Side::Destination).to_vec();
        rule.extend(key(by));
        let set = machine::set().name;
        rule.push(E::Contains { set, key: 0, when: When::Equal });
        rule.push(E::End(Verdict::Return));
        batch.rule(chain, rule);
    }
}

fn incoming(batch: &mut Batch, config: &ServiceTableConfig) {
    const CHAIN: &str = "incoming";
    batch.base_chain(CHAIN, Work::Nat, Hook::Prerouting, TRANSLATE_DESTINATION);
    spare(batch, CHAIN);
    mark(batch, CHAIN, By::Address, Place::Masquerade);
    mark(batch, CHAIN, By::NodePort, Place::Masquerade);
    for range in &config.cluster {
        let mut from_pods = within(Side::Source, *range, When::Equal);
        from_pods.push(E::End(Verdict::Goto("own".to_string())));
        batch.rule(CHAIN, from_pods);
    }
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
    spare(batch, CHAIN);
    for set in [Place::Masquerade, Place::MasqueradeOwn] {
        mark(batch, CHAIN, By::Address, set);
        mark(batch, CHAIN, By::NodePort, set);
    }
    batch.rule(CHAIN, [E::End(Verdict::Goto("own".to_string()))]);
}

/// Masquerades what was marked, and a pod's connection that came back to the pod itself. The node's
/// own packets keep their priority up to here.
fn leaving(batch: &mut Batch) {
    const CHAIN: &str = "leaving";
    batch.base_chain(CHAIN, Work::Nat, Hook::Postrouting, TRANSLATE_SOURCE);
    let no_link = E::Compare { register: 0, when: When::Equal, with: vec![0; 4] };
    let of_the_node = [E::LoadMeta { meta: Meta::InputIndex, into: 0 }, no_link];
    let none = E::Put { field: Field::Pair(0, 0), into: 0 };
    let clear = [none, E::SetMeta { meta: Meta::Priority, from: 0 }];
    let translated = || tracked(Track::Status, STATUS_DESTINATION);
    batch.rule(CHAIN, of_the_node.into_iter().chain(translated()).chain(clear));
    let bits = MARK.to_ne_bytes();
    batch.rule(
        CHAIN,
        [
            E::LoadMeta { meta: Meta::Mark, into: 0 },
            E::Bits { register: 0, mask: bits.to_vec(), xor: vec![0; 4] },
            E::Compare { register: 0, when: When::Equal, with: bits.to_vec() },
            E::LoadMeta { meta: Meta::Mark, into: 0 },
            E::Bits { register: 0, mask: (!MARK).to_ne_bytes().to_vec(), xor: vec![0; 4] },
            E::SetMeta { meta: Meta::Mark, from: 0 },
            E::Masquerade,
        ],
    );
    let hairpin = [
        source(0),
        destination(1),
        E::Contains { set: Place::Hairpin.name().to_string(), key: 0, when: When::Equal },
        E::Masquerade,
    ];
    batch.rule(CHAIN, translated().into_iter().chain(hairpin));
}

/// Refuses what has no endpoint, on all three ways a packet can take. A translated packet carries
/// its endpoint's address here and matches nothing.
fn refusals(batch: &mut Batch, services: &[Cidr]) {
    let refuse = || E::End(Verdict::Goto("refuse".to_string()));
    spare(batch, "refusals");
    for by in [By::Address, By::NodePort] {
        let mut rule = key(by);
        rule.push(E::VerdictMap { map: Place::Refuse.name().to_string(), key: 0 });
        batch.rule("refusals", rule);
    }
    let addresses = Place::Addresses.name().to_string();
    batch.rule(
        "refusals",
        [destination(0), E::Contains { set: addresses, key: 0, when: When::Equal }, refuse()],
    );
    for range in services {
        let mut nobody = within(Side::Destination, *range, When::Equal);
        nobody.push(E::End(Verdict::Drop));
        batch.rule("refusals", nobody);
    }
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
