//! What shall stand in the service table, and what a change of services changes in it. Pure.
//!
//! Each service port *wants* elements in places. A change compares what it wanted with what it
//! wants now. A place can be wanted twice (two services with one external address; two ports of
//! one service share the cluster address): the oldest service holds it, the others wait. A frontend
//! is held as a whole: who has it decides in every place, so that nobody takes a part of it, the
//! packets from outside for instance, that its owner leaves free.
//!
//! Invariants: slots of a pool are 0 to count-1 without a gap; an endpoint keeps its number in its
//! pool; an element is sent only if it differs from what the kernel holds.
//!
//! Numbers are given again. The memory of a client that leads to a number of another pool or
//! endpoint since is still a good one: it names an endpoint that the client may reach.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::picks::Class;
use super::{Affinity, Change, Endpoint, Locality, ServicePort, TrafficPolicy};
use crate::nft::value::{Data, Field, Row, Verdict};

pub(super) type Name = Arc<str>;
type Slot = (IpAddr, u16);

/// The sets and maps of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    /// Frontend to pool and class.
    Frontends,
    /// Frontend to pool and class, for packets from outside the cluster.
    Outside,
    /// Class to chain.
    Picks,
    /// Pool and slot to address and port.
    Slots,
    /// Pool and slot to the number of an endpoint, for pools whose clients stick.
    StickySlots,
    /// The number of an endpoint to address and port, for pools whose clients stick.
    Endpoints,
    /// Frontends whose packets are masqueraded.
    Masquerade,
    /// Frontends whose packets are masqueraded if the node itself sends them.
    MasqueradeOwn,
    /// Frontends without endpoints.
    Refuse,
    /// Cluster addresses.
    Addresses,
    /// Endpoints of this node, as source and destination of one packet.
    Hairpin,
    /// No set of the kernel's: each timeout in use has a set of its own.
    Timeouts,
    /// No set of the kernel's: each class in use has a number, a chain, and a pick that leads from
    /// one to the other.
    Classes,
    /// No set of the kernel's: who has a frontend.
    Owners,
}

impl Place {
    /// Those that are sets or maps.
    pub(super) const SETS: [Place; 11] = [
        Place::Frontends,
        Place::Outside,
        Place::Picks,
        Place::Slots,
        Place::StickySlots,
        Place::Endpoints,
        Place::Masquerade,
        Place::MasqueradeOwn,
        Place::Refuse,
        Place::Addresses,
        Place::Hairpin,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Place::Frontends => "frontends",
            Place::Outside => "outside",
            Place::Picks => "picks",
            Place::Slots => "slots",
            Place::StickySlots => "sticky-slots",
            Place::Endpoints => "endpoints",
            Place::Masquerade => "masquerade",
            Place::MasqueradeOwn => "masquerade-own",
            Place::Refuse => "refuse-frontends",
            Place::Addresses => "addresses",
            Place::Hairpin => "hairpin",
            Place::Timeouts => "timeouts",
            Place::Classes => "classes",
            Place::Owners => "owners",
        }
    }

    /// Those that say what becomes of a frontend.
    const OF_FRONTENDS: [Place; 6] = [
        Place::Frontends,
        Place::Outside,
        Place::Masquerade,
        Place::MasqueradeOwn,
        Place::Refuse,
        Place::Owners,
    ];

    /// Whether two services can want the same key.
    fn is_shared(self) -> bool {
        !matches!(self, Place::Slots | Place::StickySlots | Place::Endpoints)
    }

    /// The places whose holder may change with that of a key in this one.
    fn together(&self) -> &[Place] {
        match Place::OF_FRONTENDS.contains(self) {
            true => &Place::OF_FRONTENDS,
            false => std::slice::from_ref(self),
        }
    }
}

/// One key in one place.
pub(super) type Spot = (Place, Row);

/// Keys that differ: what they led to, and what they shall lead to.
pub(super) type Delta = BTreeMap<Spot, (Option<Data>, Option<Data>)>;

/// Numbers of 16 bits, from 1 on.
#[derive(Debug, Default)]
struct Numbers {
    last: u16,
    free: Vec<u16>,
}

impl Numbers {
    fn take(&mut self) -> Option<u16> {
        self.free.pop().or_else(|| {
            self.last = self.last.checked_add(1)?;
            Some(self.last)
        })
    }
}

/// Endpoints under one number.
#[derive(Clone, Debug)]
struct Pool {
    number: u16,
    class: Class,
    class_number: u16,
    seats: Vec<Seat>,
}

/// An endpoint in a slot of its pool.
#[derive(Clone, Copy, Debug)]
struct Seat {
    to: Slot,
    /// What clients that stick remember; stays when the endpoint moves to another slot.
    number: u16,
}

#[derive(Clone, Debug)]
struct Applied {
    port: Arc<ServicePort>,
    all: Option<Pool>,
    local: Option<Pool>,
    outside: Option<Pool>,
}

/// Who wants something: the older service comes first, then the one whose name does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    since_s: i64,
    name: Name,
}

/// All that stands.
#[derive(Debug, Default)]
pub(super) struct Layout {
    services: BTreeMap<Name, Applied>,
    claims: BTreeMap<Spot, Vec<(Claimant, Data)>>,
    pools: Numbers,
    class_numbers: Numbers,
    classes: BTreeMap<Class, u16>,
    pub(super) slots: usize,
}

/// A frontend: who asks for this address and port gets an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Frontend {
    /// 0.0.0.0: every address of the node (a node port).
    pub address: IpAddr,
    pub port: u16,
    pub reach: Reach,
}

/// Who a frontend is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Internal,
    External,
}

/// All frontends of a service port.
pub(super) fn frontends(port: &ServicePort) -> impl Iterator<Item = Frontend> + '_ {
    let internal = port.cluster_ip.map(|address| Frontend {
        address,
        port: port.port,
        reach: Reach::Internal,
    });
    let node_port = port.node_port.map(|number| Frontend {
        address: Ipv4Addr::UNSPECIFIED.into(),
        port: number,
        reach: Reach::External,
    });
    let external = port.external_ips.iter().map(|address| Frontend {
        address: *address,
        port: port.port,
        reach: Reach::External,
    });
    internal.into_iter().chain(node_port).chain(external)
}

impl Layout {
    /// The services as they stand, for a table that has to be written anew.
    pub(super) fn services(&self) -> Vec<Change> {
        self.services.iter().map(|(n, a)| (n.clone(), Some(a.port.clone()))).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<ServicePort>> {
        self.services.get(name).map(|applied| &applied.port)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.services.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.services.len()
    }

    /// The pool that a frontend leads to, for whom it is not outside.
    pub(super) fn pool_of(&self, frontend: &Row) -> Option<u16> {
        let held = self.holder(&(Place::Frontends, frontend.clone()))?;
        held.pair().map(|(pool, _class)| pool)
    }

    /// The timeouts that some service has.
    pub(super) fn timeouts(&self) -> impl Iterator<Item = u32> + '_ {
        let from = (Place::Timeouts, Row::new());
        let spots =
            self.claims.range(from..).take_while(|((place, _), _)| *place == Place::Timeouts);
        spots.filter_map(|((_, row), _)| match row[..] {
            [Field::Number(timeout_s)] => Some(timeout_s),
            _ => None,
        })
    }

    /// Takes changes in; what differs in the table is returned.
    pub(super) fn change(&mut self, changes: &[Change]) -> Delta {
        let mut delta = Delta::new();
        for (name, port) in changes {
            let old = self.services.remove(name);
            if let (Some(old), Some(new)) = (&old, port)
                && (Arc::ptr_eq(&old.port, new) || old.port == *new)
            {
                self.services.extend([(name.clone(), old.clone())]);
                continue;
            }
            let before = old.as_ref().map_or_else(Wants::new, wants);
            let claimant = |port: &Arc<ServicePort>| port.since_s;
            let was = old.as_ref().map(|old| claimant(&old.port));
            self.slots -= old.as_ref().map_or(0, Applied::slots);
            let new = match port {
                Some(port) => Some(self.place(old, port)),
                None => {
                    self.pools.free.extend(old.iter().flat_map(Applied::pools).map(|p| p.number));
                    None
                }
            };
            self.slots += new.as_ref().map_or(0, Applied::slots);
            let after = new.as_ref().map_or_else(Wants::new, wants);
            self.services.extend(new.map(|new| (name.clone(), new)));
            let of = |since_s| Claimant { since_s, name: name.clone() };
            let is = port.as_ref().map(claimant);
            let (was, is) = (of(was.or(is).unwrap_or(0)), of(is.or(was).unwrap_or(0)));
            self.replace((&was, before), (&is, after), &mut delta);
        }
        for (spot, (_, after)) in &mut delta {
            if spot.0.is_shared() {
                *after = self.holder(spot);
            }
        }
        delta.retain(|(place, _), (before, after)| *place != Place::Owners && before != after);
        let gone = |((place, row), (_, after)): (&Spot, &(_, Option<Data>))| {
            (*place == Place::Classes && after.is_none()).then(|| Class::from_row(row))?
        };
        for class in delta.iter().filter_map(gone) {
            self.class_numbers.free.extend(self.classes.remove(&class));
        }
        delta
    }

    /// Gives the endpoints of a service port their slots, keeping those that have one.
    fn place(&mut self, old: Option<Applied>, port: &Arc<ServicePort>) -> Applied {
        let (all, local, outside) = match old {
            Some(old) => (old.all, old.local, old.outside),
            None => (None, None, None),
        };
        let everywhere: BTreeSet<Slot> = port.endpoints.iter().map(slot).collect();
        let here: BTreeSet<Slot> = port.endpoints.iter().filter(|e| is_here(e)).map(slot).collect();
        let any = !everywhere.is_empty();
        let has_external = frontends(port).any(|f| f.reach == Reach::External);
        let inside_local = port.internal_policy == TrafficPolicy::Local;
        let outside_local = port.external_policy == TrafficPolicy::Local && has_external;
        let need_all = any && (!inside_local || has_external);
        let timeout_s = match port.affinity {
            Affinity::None => 0,
            Affinity::ClientIp { timeout_s } => timeout_s,
        };
        let mut pool = |old, wanted: Option<_>| self.pool(old, wanted, timeout_s);
        Applied {
            port: port.clone(),
            all: pool(all, need_all.then_some(&everywhere)),
            local: pool(local, (inside_local && !here.is_empty()).then_some(&here)),
            // Without an endpoint here it stays, empty: its packets are dropped, not sent away.
            outside: pool(outside, (outside_local && any).then_some(&here)),
        }
    }

    /// The pool that holds what is wanted; none if nothing is, or if all numbers are given away.
    fn pool(
        &mut self,
        old: Option<Pool>,
        wanted: Option<&BTreeSet<Slot>>,
        timeout_s: u32,
    ) -> Option<Pool> {
        let (old, mut seats) = old.map_or((None, Vec::new()), |p| (Some(p.number), p.seats));
        let number = old.or_else(|| wanted.and_then(|_| self.pools.take()))?;
        let pool = wanted.and_then(|wanted| {
            fill(&mut seats, wanted);
            let count = seats.len() as u32;
            // An empty pool drops; nobody sticks to it.
            let class = Class { timeout_s: if count == 0 { 0 } else { timeout_s }, count };
            Some(Pool { number, class, class_number: self.class_number(class)?, seats })
        });
        if pool.is_none() {
            self.pools.free.push(number);
        }
        pool
    }

    fn class_number(&mut self, class: Class) -> Option<u16> {
        if let Some(number) = self.classes.get(&class) {
            return Some(*number);
        }
        let number = self.class_numbers.take()?;
        self.classes.insert(class, number);
        Some(number)
    }

    /// What stands at a spot: of a frontend what its owner wants, else what the first one does.
    pub(super) fn holder(&self, spot: &Spot) -> Option<Data> {
        let claims = self.claims.get(spot)?;
        let at = match Place::OF_FRONTENDS.contains(&spot.0) {
            true => {
                let (owner, _) = self.claims.get(&(Place::Owners, spot.1.clone()))?.first()?;
                claims.binary_search_by(|(claimant, _)| claimant.cmp(owner)).ok()?
            }
            false => 0,
        };
        claims.get(at).map(|(_, data)| data.clone())
    }

    /// A service of the same name may be another one, and younger, than the one before.
    fn replace(
        &mut self,
        (was, before): (&Claimant, Wants),
        (is, mut after): (&Claimant, Wants),
        delta: &mut Delta,
    ) {
        for (spot, data) in before {
            let new = if was == is { after.remove(&spot) } else { None };
            if new.as_ref() != Some(&data) {
                self.set(was, spot, Some(data), new, delta);
            }
        }
        for (spot, data) in after {
            self.set(is, spot, None, Some(data), delta);
        }
    }

    fn set(
        &mut self,
        who: &Claimant,
        spot: Spot,
        before: Option<Data>,
        after: Option<Data>,
        delta: &mut Delta,
    ) {
        if !spot.0.is_shared() {
            delta.entry(spot).or_insert((before, None)).1 = after;
            return;
        }
        for place in spot.0.together() {
            let touched = (*place, spot.1.clone());
            if let Entry::Vacant(vacant) = delta.entry(touched) {
                let holder = self.holder(vacant.key());
                vacant.insert((holder, None));
            }
        }
        let claims = self.claims.entry(spot.clone()).or_default();
        match (claims.binary_search_by(|(claimant, _)| claimant.cmp(who)), after) {
            (Ok(at), Some(data)) => claims[at].1 = data,
            (Ok(at), None) => drop(claims.remove(at)),
            (Err(at), Some(data)) => claims.insert(at, (who.clone(), data)),
            (Err(_), None) => {}
        }
        if claims.is_empty() {
            self.claims.remove(&spot);
        }
    }
}

fn slot(endpoint: &Endpoint) -> Slot {
    (endpoint.address, endpoint.port)
}

fn is_here(endpoint: &Endpoint) -> bool {
    endpoint.locality == Locality::ThisNode
}

/// Makes `seats` hold exactly `wanted` (of which there are no more than numbers), moving as few as
/// possible: a gap is filled by a newcomer, else by the last one.
fn fill(seats: &mut Vec<Seat>, wanted: &BTreeSet<Slot>) {
    let have: BTreeSet<Slot> = seats.iter().map(|seat| seat.to).collect();
    let mut newcomers = wanted.difference(&have).copied();
    let mut at = 0;
    while at < seats.len() {
        if wanted.contains(&seats[at].to) {
            at += 1;
        } else if let Some(newcomer) = newcomers.next() {
            seats[at].to = newcomer;
            at += 1;
        } else {
            seats.swap_remove(at);
        }
    }
    let taken: BTreeSet<u16> = seats.iter().map(|seat| seat.number).collect();
    let free = (0..=u16::MAX).filter(|number| !taken.contains(number));
    seats.extend(newcomers.zip(free).map(|(to, number)| Seat { to, number }));
}

type Wants = BTreeMap<Spot, Data>;

impl Applied {
    fn pools(&self) -> impl Iterator<Item = &Pool> {
        [&self.all, &self.local, &self.outside].into_iter().flatten()
    }

    fn slots(&self) -> usize {
        self.pools().map(|pool| pool.seats.len()).sum()
    }
}

/// All elements that a service port wants.
fn wants(applied: &Applied) -> Wants {
    let port = &*applied.port;
    let mut wants = Wants::new();
    for frontend in frontends(port) {
        frontend_wants(applied, frontend, &mut wants);
    }
    applied.pools().for_each(|pool| pool_wants(pool, &mut wants));
    for endpoint in port.endpoints.iter().filter(|e| is_here(e)) {
        let twice = vec![endpoint.address.into(), endpoint.address.into()];
        wants.insert((Place::Hairpin, twice), Data::None);
    }
    if let Some(address) = port.cluster_ip {
        wants.insert((Place::Addresses, vec![address.into()]), Data::None);
    }
    wants
}

fn frontend_wants(applied: &Applied, frontend: Frontend, wants: &mut Wants) {
    let port = &*applied.port;
    let key = vec![frontend.address.into(), port.protocol.into(), frontend.port.into()];
    let mut want = |place, data| wants.insert((place, key.clone()), data);
    let to = |pool: &Pool| Data::Row(vec![Field::Pair(pool.number, pool.class_number)]);
    let refuse = || Data::Verdict(Verdict::Goto("refuse".to_string()));
    want(Place::Owners, Data::None);
    if port.endpoints.is_empty() {
        want(Place::Refuse, refuse());
        return;
    }
    let pool = match (frontend.reach, port.internal_policy) {
        (Reach::Internal, TrafficPolicy::Local) => &applied.local,
        _ => &applied.all,
    };
    match pool {
        Some(pool) => want(Place::Frontends, to(pool)),
        // There are endpoints, but none that this traffic may reach.
        None => want(Place::Refuse, Data::Verdict(Verdict::Drop)),
    };
    if frontend.reach == Reach::External {
        match &applied.outside {
            Some(pool) => {
                want(Place::Outside, to(pool));
                want(Place::MasqueradeOwn, Data::None);
            }
            None => {
                want(Place::Masquerade, Data::None);
            }
        }
    }
}

fn pool_wants(pool: &Pool, wants: &mut Wants) {
    let Pool { number, class, class_number, seats } = pool;
    wants.insert((Place::Classes, class.row()), Data::Row(vec![Field::Pair(0, *class_number)]));
    let sticky = class.timeout_s > 0;
    if sticky {
        wants.insert((Place::Timeouts, vec![class.timeout_s.into()]), Data::None);
    }
    for (slot, Seat { to: (address, port), number: endpoint }) in seats.iter().enumerate() {
        let key = vec![Field::Pair(*number, 0), (slot as u32).into()];
        let to = Data::Row(vec![(*address).into(), (*port).into()]);
        if sticky {
            let endpoint = vec![Field::Pair(*number, *endpoint)];
            wants.insert((Place::StickySlots, key), Data::Row(endpoint.clone()));
            wants.insert((Place::Endpoints, endpoint), to);
        } else {
            wants.insert((Place::Slots, key), to);
        }
    }
}
